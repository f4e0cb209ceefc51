//! The thread that reads lines, and publishes them or passes them to the stores.

use std::ops::ControlFlow;

use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::node::Node;
use zcluster::{input_lines, readable};

use super::stores;

/// Starts to read standard input and to do what its lines say, until its end: to publish an event, or something with a store.
/// Logs lines that are neither.
pub(super) fn start(node: Node, stores: stores::Lines) -> Result<(), Failure> {
    let body = move || {
        let read = input_lines::for_each(std::io::stdin().lock(), |number, line| {
            if let Err(error) = line.and_then(|line| take_line(&node, &stores, line)) {
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

fn take_line(node: &Node, stores: &stores::Lines, line: &str) -> Result<(), String> {
    if stores.take(line)? {
        return Ok(());
    }
    let (topic, event) =
        readable::publication_from_json(line).map_err(|error| error.to_string())?;
    node.publish(&topic, &event).map_err(|error| error.to_string())
}
