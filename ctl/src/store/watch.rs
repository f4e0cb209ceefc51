//! `zcluster store watch`: changes, as they are made.

use std::io::ErrorKind;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use zcluster::Value;
use zcluster::app::{App, Stopper};
use zcluster::daemon::{self, Failure, Signal, Signals, cannot_print};
use zcluster::exit::ExitCode;
use zcluster::store::Stores;

use super::failure::failure;
use super::session::{Session, Slot, StoreArgs, every};
use crate::client::tell;
use crate::output::is_unread;

/// How often to look whether stdout is still read.
const LOOK: Duration = Duration::from_millis(100);
/// How long printing what was received may take after a request to stop.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// The arguments of `zcluster store watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// Exit after this many changes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let Args { store: args, count } = args;
    let signals = Signals::take()?;
    let session = Session::open(&args.client, args.client.layout()?, args.timeout)?;
    let stores = Stores::new(&session.node);
    let failed = |error| failure(&args.name, error, args.timeout);
    let store = stores.create_frontend::<Value, Value>(&args.name).map_err(failed)?;
    // The first thing that has ended it.
    let found: Slot<Result<(), Failure>> = Rc::default();

    let (result, name, mut left) = (Rc::clone(&found), args.name.clone(), *count);
    store.watch(move |change, context| {
        if left == Some(0) {
            return Ok(());
        }
        let line = change.to_json(context.time(), &name);
        if let Err(error) = daemon::print_text(&format!("{line}\n")) {
            if error.kind() != ErrorKind::BrokenPipe {
                result.borrow_mut().get_or_insert(Err(cannot_print(&error)));
            }
            left = Some(0);
        }
        left = left.map(|left| left.saturating_sub(1));
        if left == Some(0) {
            context.stop();
        }
        Ok(())
    });
    let (result, name, timeout) = (Rc::clone(&found), args.name.clone(), args.timeout);
    // The answer comes on the same way as the changes.
    store.size().timeout(timeout).then(move |answer, context| {
        match answer {
            Ok(_) => tell(format!("watching store {name:?}")),
            Err(error) => {
                result.borrow_mut().get_or_insert(Err(failure(&name, error, timeout)));
                context.stop();
            }
        }
        Ok(())
    });
    let stopper = Stopper::new(&session.node);
    stop_by(&signals, stopper.clone());
    let app = App::new().with(stores).stopped_by(&stopper);
    let result = Rc::clone(&found);
    let app = app.on_event("zeek_done", move |_, _| {
        // Without a failure, it was asked to end.
        _ = result.borrow_mut().get_or_insert(Ok(()));
        Ok(())
    });
    let app = app.on_event("zeek_init", |_, context| {
        // Without another change no write would show that the reader has gone.
        every(LOOK, context, |context| {
            let is_read = !is_unread();
            if !is_read {
                context.stop();
            }
            is_read
        });
        Ok(())
    });
    session.run(app, &found)?
}

/// Ends the command on a signal, even if nothing reads its output.
fn stop_by(signals: &Signals, stopper: Stopper) {
    signals.handle(move |signal| {
        if signal == Signal::Stop {
            stopper.stop();
            thread::spawn(|| {
                thread::sleep(END_PATIENCE);
                std::process::exit(ExitCode::Ok.code().into());
            });
        }
    });
}
