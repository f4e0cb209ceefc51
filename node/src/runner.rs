//! [`Runner`]: runs the app of this node in a thread of its own, which may wait for whoever reads
//! standard output while signals are still handled.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, Sender, bounded};

use zcluster::app::{App, Stopper};
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::node::{LogStream, Node, Notifications};

use super::console::{Console, Printer};
use super::demo::Demo;
use super::stores::{Commands, Hosted};

/// What the app does.
pub(super) struct Work {
    /// What it hears of.
    pub(super) notifications: Notifications,
    /// Commands for the stores.
    pub(super) commands: Commands,
    /// Whether it prints events.
    pub(super) is_printing: bool,
    /// What the user has subscribed to.
    pub(super) prefixes: Vec<String>,
    /// Where demo traffic is logged to, if there is to be any.
    pub(super) demo: Option<LogStream>,
}

/// An app that runs, or is about to.
pub(super) struct Runner {
    stopper: Stopper,
    go: Sender<()>,
    ended: Receiver<Result<(), Failure>>,
}

impl Runner {
    /// Prepares the app: opens its stores, which blocks. It runs after [`Runner::go`].
    ///
    /// # Errors
    /// Those of [`Hosted::new`].
    pub(super) fn new(node: &Node, work: Work) -> Result<Self, Failure> {
        let stopper = Stopper::new(node);
        let ((opened, is_open), (go, may_go), (end, ended)) = (bounded(1), bounded(1), bounded(1));
        let (node, stopped_by) = (node.clone(), stopper.clone());
        let body = move || {
            let printer = Printer::default();
            let results = work.is_printing.then(|| printer.clone());
            let stores = match Hosted::new(&node, work.commands, results) {
                Ok(stores) => stores,
                Err(failure) => {
                    let _ = opened.send(Err(failure));
                    return;
                }
            };
            // The process ends for another reason if nobody waits, or nobody lets this go.
            if opened.send(Ok(())).is_err() || may_go.recv().is_err() {
                return;
            }
            let mut app = App::new().stopped_by(&stopped_by).with(stores);
            if work.is_printing {
                app = app.with(Console { printer: printer.clone(), prefixes: work.prefixes });
            }
            if let Some(log) = work.demo {
                app = app.with(Demo { log });
            }
            let outcome = app.run(&node, &work.notifications).map_err(Failure::from);
            let outcome = printer.take_failure().map_or(outcome, Err);
            let _ = end.send(outcome);
        };
        std::thread::Builder::new()
            .name("app".into())
            .spawn(body)
            .map_err(|error| Failure::new(ExitCode::Software, error))?;
        is_open.recv().unwrap_or_else(|error| outcome(Err(error)))?;
        Ok(Runner { stopper, go, ended })
    }

    /// Lets the app run.
    pub(super) fn go(&self) {
        // An app that has panicked has ended.
        let _ = self.go.send(());
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
