//! The thread that prints events and members.

use std::io::ErrorKind;
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Receiver, bounded};

use zcluster::daemon::{self, Failure};
use zcluster::exit::ExitCode;
use zcluster::node::{Notification, Notifications, ReceivedEvent};
use zcluster::rate_limit::RateLimit;
use zcluster::readable;
use zcluster::value::Timestamp;

/// Starts to print. The receiver returns a failure once, when an event cannot be printed because
/// standard output is closed; it disconnects when the node has ended. Failing to print a status
/// line does not end the node, and a full disk may have room again later.
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
        if self.quiet {
            return Ok(());
        }
        if let Notification::Event(received) = notification {
            let Some(line) = self.event_line(received) else { return Ok(()) };
            return match daemon::print_line(&line) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                    Err(daemon::cannot_print(&error))
                }
                _ => Ok(()),
            };
        }
        if let Some(line) = daemon::member_line(notification) {
            let _ = daemon::print_line(&line);
        }
        Ok(())
    }

    fn event_line(&mut self, received: &ReceivedEvent) -> Option<String> {
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
