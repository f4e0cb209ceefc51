//! The thread that reads lines and publishes them.

use std::ops::ControlFlow;

use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::node::Node;
use zcluster::{input_lines, readable};

/// Starts to read standard input and to publish its lines, until its end. Logs lines that are not
/// valid publications.
pub(super) fn start(node: Node) -> Result<(), Failure> {
    let body = move || {
        let read = input_lines::for_each(std::io::stdin().lock(), |number, line| {
            if let Err(error) = line.and_then(|line| publish_line(&node, line)) {
                log::error!("stdin line {number}: {error}");
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = read {
            log::error!("reading standard input: {error}");
        }
    };
    std::thread::Builder::new()
        .name("input".into())
        .spawn(body)
        .map(drop)
        .map_err(|error| Failure::new(ExitCode::Software, error))
}

fn publish_line(node: &Node, line: &str) -> Result<(), String> {
    let (topic, event) =
        readable::publication_from_json(line).map_err(|error| error.to_string())?;
    node.publish(&topic, &event).map_err(|error| error.to_string())
}
