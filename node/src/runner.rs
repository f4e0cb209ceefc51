//! [`Runner`]: runs the app of this node in a thread of its own, which may wait for whoever reads
//! standard output while signals are still handled.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, bounded};

use zcluster::app::{App, Stopper};
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::node::{LogStream, Node, Notifications};

use super::console::Console;
use super::demo::Demo;

/// A running app.
pub(super) struct Runner {
    stopper: Stopper,
    ended: Receiver<Result<(), Failure>>,
}

impl Runner {
    /// Starts it; it prints with `is_printing`, and sends demo traffic with a stream to log to.
    pub(super) fn start(
        node: &Node,
        notifications: Notifications,
        is_printing: bool,
        demo: Option<LogStream>,
    ) -> Result<Self, Failure> {
        let stopper = Stopper::new(node);
        let (end, ended) = bounded(1);
        let (node, stopped_by) = (node.clone(), stopper.clone());
        let body = move || {
            let console = Console::default();
            let failed = console.ended.clone();
            let mut app = App::new().stopped_by(&stopped_by);
            if is_printing {
                app = app.with(console);
            }
            if let Some(log) = demo {
                app = app.with(Demo { log });
            }
            let outcome = app.run(&node, &notifications).map_err(Failure::from);
            let outcome = failed.take().map_or(outcome, Err);
            let _ = end.send(outcome);
        };
        std::thread::Builder::new()
            .name("app".into())
            .spawn(body)
            .map_err(|error| Failure::new(ExitCode::Software, error))?;
        Ok(Runner { stopper, ended })
    }

    /// Returns how the app has ended, once it has.
    pub(super) fn ended(&self) -> &Receiver<Result<(), Failure>> {
        &self.ended
    }

    /// Stops the app. Waits for its last handler, but not for ever: nobody may read what it prints.
    pub(super) fn stop(&self, patience: Duration) -> Result<(), Failure> {
        self.stopper.stop();
        match self.ended.recv_timeout(patience) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => outcome(Err(RecvError)),
        }
    }
}

/// What the end of an app that nobody has stopped means.
pub(super) fn outcome(ended: Result<Result<(), Failure>, RecvError>) -> Result<(), Failure> {
    // Without a cause it panicked, or the node ended without saying why.
    let by_itself = || Failure::new(ExitCode::Software, "the node ended by itself");
    match ended {
        Ok(Err(failure)) => Err(failure),
        Ok(Ok(())) | Err(RecvError) => Err(by_itself()),
    }
}
