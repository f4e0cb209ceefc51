//! [`Session`]: a process that takes part in stores, for as long as a command runs. Other nodes do not notice it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use zcluster::Value;
use zcluster::app::{App, Context};
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::{Layout, check_store_name};
use zcluster::node::{Node, Notifications};
use zcluster::store::{Request, Store, StoreError, Stores};

use super::failure::failure;
use crate::client::{self, ClientArgs, duration};

/// How long the end of the process may take.
const END_PATIENCE: Duration = Duration::from_millis(500);

/// The store, and how to reach it.
#[derive(Debug, clap::Args)]
pub(super) struct StoreArgs {
    /// The name of the store, for example zeek/known/hosts.
    #[arg(value_name = "NAME", value_parser = name)]
    pub(super) name: String,
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// How long to wait for the broker to answer, and then for the master: in seconds, or with a unit.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(super) timeout: Duration,
}

fn name(text: &str) -> Result<String, String> {
    check_store_name(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// What a handler has found out, if it has.
pub(super) type Slot<T> = Rc<RefCell<Option<T>>>;

/// A running process.
pub(super) struct Session {
    pub(super) node: Node,
    notifications: Notifications,
}

impl Session {
    /// Connects to the broker; waits until that answers.
    pub(super) fn open(
        args: &ClientArgs,
        layout: Layout,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let layout = Arc::new(layout);
        // A node would try for ever. This says what is wrong with keys or the broker.
        let mut probe = args.client_of(Arc::clone(&layout)).publisher().map_err(client::failure)?;
        probe.wait_until_ready(patience).map_err(client::failure)?;
        // It has no logs.
        let mut builder = Node::standalone(layout).local_logs(|_| true);
        if let Some(key) = args.key() {
            builder = builder.key(key);
        }
        let (node, notifications) = builder.start()?;
        Ok(Session { node, notifications })
    }

    /// Runs an app until it stops; returns what it has found out.
    pub(super) fn run<T>(self, app: App, found: &Slot<T>) -> Result<T, Failure> {
        let outcome = app.run(&self.node, &self.notifications);
        self.node.shutdown(END_PATIENCE);
        outcome?;
        let by_itself = || Failure::new(ExitCode::Software, "the connection ended by itself");
        found.take().ok_or_else(by_itself)
    }
}

/// Has the master do something; returns the result.
pub(super) fn ask<R: 'static>(
    args: &StoreArgs,
    request: impl FnOnce(&Store<Value, Value>) -> Request<R>,
) -> Result<R, Failure> {
    let session = Session::open(&args.client, args.client.layout()?, args.timeout)?;
    let stores = Stores::new(&session.node);
    let failed = |error: StoreError| failure(&args.name, error, args.timeout);
    let store = stores.create_frontend(&args.name).map_err(failed)?;
    let found = Slot::default();
    let result = Rc::clone(&found);
    request(&store).timeout(args.timeout).then(move |answer, context| {
        *result.borrow_mut() = Some(answer);
        context.stop();
        Ok(())
    });
    session.run(App::new().with(stores), &found)?.map_err(failed)
}

/// Calls a function again and again, until it returns `false`.
pub(super) fn every(
    interval: Duration,
    context: &mut Context<'_>,
    mut call: impl FnMut(&mut Context<'_>) -> bool + 'static,
) {
    context.call_after(interval, move |context| {
        if call(context) {
            every(interval, context, call);
        }
        Ok(())
    });
}
