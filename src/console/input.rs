//! The thread that reads lines and publishes them.

use std::io::{BufRead, Read};

use crossbeam_channel::{Receiver, bounded};

use crate::daemon::Failure;
use crate::exit::ExitCode;
use crate::node::Node;
use crate::readable;

/// Longer lines are refused: a line is held in memory.
const MAX_LINE: u64 = 16 << 20;

/// The input has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Lines that were no publication.
    pub(super) bad_lines: u64,
}

/// Starts to read standard input; the end of it comes out of the receiver.
pub(super) fn start(node: Node) -> Result<Receiver<End>, Failure> {
    let (ended, end) = bounded(1);
    let body = move || {
        let bad_lines = publish_lines(&node, std::io::stdin().lock());
        let _ = ended.send(End { bad_lines });
    };
    std::thread::Builder::new()
        .name("input".into())
        .spawn(body)
        .map_err(|error| Failure::new(ExitCode::Software, error))?;
    Ok(end)
}

/// Publishes every line; tells those that are no publication and returns their number.
fn publish_lines(node: &Node, mut input: impl BufRead) -> u64 {
    let mut bad = 0;
    let mut line = Vec::new();
    for number in 1u64.. {
        line.clear();
        match input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                log::error!("reading standard input: {error}");
                break;
            }
        }
        let outcome = if line.len() as u64 == MAX_LINE && !line.ends_with(b"\n") {
            skip_line(&mut input);
            Err(format!("longer than {MAX_LINE} bytes"))
        } else {
            publish_line(node, &line)
        };
        if let Err(error) = outcome {
            bad += 1;
            log::error!("stdin line {number}: {error}");
        }
    }
    bad
}

fn publish_line(node: &Node, line: &[u8]) -> Result<(), String> {
    let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    if line.trim().is_empty() {
        return Ok(());
    }
    let (topic, event) =
        readable::publication_from_json(line).map_err(|error| error.to_string())?;
    node.publish(&topic, &event).map_err(|error| error.to_string())
}

/// Reads to the end of an overlong line without keeping it.
fn skip_line(input: &mut impl BufRead) {
    loop {
        let chunk = match input.fill_buf() {
            Ok(chunk) if !chunk.is_empty() => chunk,
            _ => return,
        };
        let end = memchr::memchr(b'\n', chunk);
        let length = end.map_or(chunk.len(), |end| end + 1);
        input.consume(length);
        if end.is_some() {
            return;
        }
    }
}
