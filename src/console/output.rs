//! The thread that prints events and members.

use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};

use crate::daemon::{self, Failure};
use crate::exit::ExitCode;
use crate::node::{Notification, Notifications, ReceivedEvent};
use crate::rate_limit::RateLimit;
use crate::readable;
use crate::value::Timestamp;

/// Starts to print. A failure comes out of the receiver once, when standard output is gone; it
/// disconnects when the node has ended.
pub(super) fn start(
    notifications: Notifications,
    quiet: bool,
) -> Result<Receiver<Failure>, Failure> {
    let (failed, failure) = bounded(1);
    let body = move || {
        let mut printer = Printer { quiet, warning: RateLimit::new(super::WARNING_INTERVAL) };
        while let Some(notification) = notifications.receive() {
            if let Err(failure) = printer.print(&notification) {
                let _ = failed.send(failure);
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("output".into())
        .spawn(body)
        .map_err(|error| Failure::new(ExitCode::Software, error))?;
    Ok(failure)
}

struct Printer {
    quiet: bool,
    warning: RateLimit,
}

impl Printer {
    fn print(&mut self, notification: &Notification) -> Result<(), Failure> {
        let line = match notification {
            _ if self.quiet => None,
            Notification::Event(received) => self.event_line(received),
            other => daemon::member_line(other),
        };
        line.map_or(Ok(()), |line| daemon::print_line(&line))
    }

    fn event_line(&mut self, received: &ReceivedEvent) -> Option<serde_json::Value> {
        match received.decode() {
            Ok(event) => {
                let now = Timestamp::from(SystemTime::now());
                Some(readable::event_to_json(now, received.topic(), received.sender(), &event))
            }
            Err(error) => {
                if let Some(more) = self.warning.check(Instant::now()) {
                    log::error!(
                        "Failed to unserialize message: {}: {error} (from {}; {more} more like this)",
                        received.topic(),
                        received.sender(),
                    );
                }
                None
            }
        }
    }
}
