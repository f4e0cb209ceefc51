//! [`Stores`]: the stores of an app by their name.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use bstr::{BStr, BString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::backend::{Backend, Memory, Record};
use super::bus::{publish, subscribe};
use super::follower::{Follower, Times};
use super::handle::Store;
use super::local::{Local, Received};
use super::master::Master;
use super::names::{STORES, stores_to};
use super::protocol::{
    Answers, Changes, Chunk, List, Message, Moment, Probe, Pull, Request, Status, Sync,
};
use super::remote::{Submission, Submitted, Wires};
use super::seat::Seat;
use super::writer::Writer;
use crate::app::{App, Clock, Context, Module, NodeDown};
use crate::layout::{self, Layout, StoreBackend, check_store_name};
use crate::node::Node;
use crate::peers::ErrorCode;
use crate::value::Timestamp;

/// How long a command waits for its answer, if nothing else is said. Changes at a clone wait for
/// `clone_mutation_buffer_interval`, if that is longer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The stores of an app: [`App::with`] takes it. This is a handle: clones are the same stores, and stores may be
/// created while the app runs.
#[derive(Clone)]
pub struct Stores {
    shared: Rc<Shared>,
}

struct Shared {
    layout: Arc<Layout>,
    /// The name of this node.
    name: String,
    clock: RefCell<Clock>,
    stores: RefCell<BTreeMap<BString, Rc<Local>>>,
    /// Those whose place another one has taken, as long as there are handles.
    closed: RefCell<Vec<Weak<Local>>>,
    /// Other threads; `None` in a harness.
    wires: Option<(Wires, Submitted)>,
    request_timeout: Cell<Duration>,
    /// The epoch of the master that was created last.
    last_epoch: Cell<i64>,
    /// Whether this process can be asked which stores it has.
    is_listed: Cell<bool>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.shared.stores.borrow().keys()).finish()
    }
}

/// What this process is for a store.
enum Role {
    Master(Box<dyn Backend>),
    Clone,
    Frontend,
}

impl Stores {
    /// For an app that will run on this node.
    pub fn new(node: &Node) -> Self {
        Stores::with(Arc::clone(node.layout()), node.name(), Some(Wires::new(node)))
    }

    /// For an app in a [`Harness`](crate::app::Harness) with this layout and name. Backends write on the thread of the test.
    pub fn for_harness(layout: Layout, name: &str) -> Self {
        Stores::with(Arc::new(layout), name, None)
    }

    fn with(layout: Arc<Layout>, name: &str, wires: Option<(Wires, Submitted)>) -> Self {
        let shared = Shared {
            layout,
            name: name.into(),
            clock: RefCell::default(),
            stores: RefCell::default(),
            closed: RefCell::default(),
            wires,
            request_timeout: Cell::new(REQUEST_TIMEOUT),
            last_epoch: Cell::new(0),
            is_listed: Cell::new(false),
        };
        Stores { shared: Rc::new(shared) }
    }

    /// How long commands of stores that are created from now on wait for their answers; [`REQUEST_TIMEOUT`] by
    /// default.
    pub fn request_timeout(&self, timeout: Duration) {
        self.shared.request_timeout.set(timeout);
    }

    /// Creates a store as Zeek's `Cluster::create_store`: this process has the master if the layout says so
    /// ([`Layout::store_master`]), and a clone otherwise. All options are those of the layout. A persistent store has a file
    /// ([`Layout::store_backend`]).
    ///
    /// # Errors
    /// `CANNOT_OPEN_FILE`; `NO_SUCH_MASTER` if the layout names no node for it; `INVALID_DATA` for a name that no store can
    /// have; `MASTER_EXISTS` if there is a frontend of that name here.
    pub fn create_store<K, V>(
        &self,
        name: &str,
        persistent: bool,
    ) -> Result<Store<K, V>, StoreError>
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        let Some(master) = self.shared.layout.store_master(name) else {
            let text = format!("the layout names no node for the master of store {name:?}");
            return Err(StoreError::new(ErrorCode::NoSuchMaster, text));
        };
        if master != self.shared.name {
            return self.create_clone(name);
        }
        if let Some(local) = self.find(name, Local::has_master)? {
            return Ok(Store::new(local));
        }
        let backend = self.backend(name, persistent)?;
        self.create_master(name, backend)
    }

    /// Creates the master of a store, with a backend of your own or [`Memory`].
    ///
    /// # Errors
    /// `MASTER_EXISTS` if this process has something of that store, and what the backend says when it is read. If another process
    /// has the master, this is found out later: everything then fails with `MASTER_EXISTS`.
    pub fn create_master<K, V>(
        &self,
        name: &str,
        backend: impl Backend + 'static,
    ) -> Result<Store<K, V>, StoreError>
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        self.add(name, Role::Master(Box::new(backend))).map(Store::new)
    }

    /// Creates a clone of a store whose master is, or will be, elsewhere. If there is one here, or the master, it is that.
    ///
    /// # Errors
    /// `MASTER_EXISTS` if there is a frontend of that name here; `INVALID_DATA` for a name that no store can have.
    pub fn create_clone<K, V>(&self, name: &str) -> Result<Store<K, V>, StoreError>
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        match self.find(name, |local| local.has_master() || local.is_clone())? {
            Some(local) => Ok(Store::new(local)),
            None => self.add(name, Role::Clone).map(Store::new),
        }
    }

    /// Creates a frontend: it has no content and asks the master for everything. If this process has the store already, it is
    /// that.
    ///
    /// # Errors
    /// `INVALID_DATA` for a name that no store can have.
    pub fn create_frontend<K, V>(&self, name: &str) -> Result<Store<K, V>, StoreError>
    where
        K: Serialize + DeserializeOwned,
        V: Serialize + DeserializeOwned,
    {
        match self.find(name, |_| true)? {
            Some(local) => Ok(Store::new(local)),
            None => self.add(name, Role::Frontend).map(Store::new),
        }
    }

    /// The store of that name in this process, if it is of that kind.
    fn find(
        &self,
        name: &str,
        is_of_kind: impl Fn(&Local) -> bool,
    ) -> Result<Option<Rc<Local>>, StoreError> {
        let stores = self.shared.stores.borrow();
        match stores.get(BStr::new(name)).filter(|local| !local.is_closed()) {
            None => Ok(None),
            Some(local) if is_of_kind(local) => Ok(Some(Rc::clone(local))),
            Some(_) => Err(taken(name)),
        }
    }

    fn backend(&self, name: &str, persistent: bool) -> Result<Box<dyn Backend>, StoreError> {
        match self.shared.layout.store_backend(name, persistent) {
            StoreBackend::Memory => Ok(Box::new(Memory)),
            StoreBackend::Sqlite => sqlite(&self.shared.layout, name),
        }
    }

    fn add(&self, name: &str, role: Role) -> Result<Rc<Local>, StoreError> {
        let invalid = |error| StoreError::new(ErrorCode::InvalidData, format!("{error}"));
        check_store_name(name).map_err(invalid)?;
        if self.find(name, |_| false)?.is_some() {
            return Err(taken(name));
        }
        let clock = self.shared.clock.borrow().clone();
        let now = Moment { instant: clock.instant(), time: clock.time() };
        let options = self.shared.layout.store(name);
        let times = self.times(&options);
        let is_clone = matches!(role, Role::Clone);
        let follower = Follower::new(name.into(), random()?, is_clone, times, now);
        let seat = match role {
            Role::Master(backend) => Some(self.open(name, backend, &options, now)?),
            Role::Clone | Role::Frontend => None,
        };
        let patience = times.request.max(times.buffer);
        let outside = self.shared.wires.as_ref().map(|(wires, _)| wires.outside(name, patience));
        let local = Rc::new(Local::new(name, clock, follower, seat, outside));
        let closed = self.shared.stores.borrow_mut().insert(name.into(), Rc::clone(&local));
        self.shared.closed.borrow_mut().extend(closed.as_ref().map(Rc::downgrade));
        // The app has to subscribe for it.
        if let Some((wires, _)) = &self.shared.wires {
            wires.wake();
        }
        Ok(local)
    }

    fn times(&self, options: &layout::Store) -> Times {
        Times {
            request: self.shared.request_timeout.get(),
            resync: options.clone_resync_interval,
            stale: options.stale_after(),
            buffer: options.buffers_for(),
        }
    }

    /// Reads what a backend has kept, and starts its thread.
    fn open(
        &self,
        name: &str,
        mut backend: Box<dyn Backend>,
        options: &layout::Store,
        now: Moment,
    ) -> Result<Seat, StoreError> {
        let max_value_size = usize::try_from(options.max_value_size).unwrap_or(usize::MAX);
        // Masters have different epochs, however soon one follows another.
        let time = Timestamp(now.time.0.max(self.shared.last_epoch.get() + 1));
        self.shared.last_epoch.set(time.0);
        let now = Moment { time, ..now };
        let mut master = Master::new(name.into(), max_value_size, backend.is_volatile(), now);
        let mut damage = Ok(());
        backend.load(&mut |record| {
            if damage.is_ok() {
                damage = master.restore(record);
            }
        })?;
        damage?;
        if !backend.is_volatile() {
            backend.commit(vec![Record::Epoch(master.epoch())])?;
        }
        let kind = backend.name();
        let writer = match &self.shared.wires {
            None => Writer::Here { backend, done: None },
            Some((wires, _)) => {
                let wires = wires.clone();
                Writer::start(backend, move || wires.wake()).map_err(|error| {
                    StoreError::new(ErrorCode::BackendFailure, format!("no thread: {error}"))
                })?
            }
        };
        Ok(Seat::new(master, writer, kind))
    }

    fn get(&self, store: &BString) -> Option<Rc<Local>> {
        self.shared.stores.borrow().get(store).cloned()
    }

    fn all(&self) -> Vec<Rc<Local>> {
        self.shared.stores.borrow().values().cloned().collect()
    }

    /// Commands of other threads.
    fn take_submitted(&self) {
        let Some((_, submitted)) = &self.shared.wires else { return };
        for Submission { store, command, timeout, reply } in submitted.take() {
            if let Some(local) = self.get(&store) {
                let then = move |result, _: &mut Context<'_>| {
                    // Whoever has asked may not wait any more.
                    _ = reply.send(result);
                    Ok(())
                };
                local.submit(Ok(command), timeout, Box::new(then));
            }
        }
    }

    fn step(&self, context: &mut Context<'_>) {
        self.take_submitted();
        let is_listed = &self.shared.is_listed;
        for local in self.all() {
            if local.has_master()
                && !is_listed.replace(true)
                && let Err(error) = subscribe(&STORES.into(), context)
            {
                log::error!("cannot subscribe to {STORES}: {error}");
            }
            if local.is_due() {
                local.step(context);
            }
        }
        if self.all().iter().any(|local| local.has_news()) {
            // What is done with the results of one store may ask for something of another: in the next turn.
            context.call_after(Duration::ZERO, |_| Ok(()));
        }
        let mut closed = self.shared.closed.take();
        closed.retain(|local| {
            local.upgrade().is_some_and(|local| {
                local.step(context);
                true
            })
        });
        closed.append(&mut self.shared.closed.borrow_mut());
        self.shared.closed.replace(closed);
    }
}

impl Module for Stores {
    fn install(self, app: App) -> App {
        self.shared.clock.replace(app.clock().clone());
        for local in self.all() {
            local.set_clock(app.clock());
        }
        macro_rules! receive {
            ($app:ident, $($message:ident)*) => {
                $app$(.on::<$message>({
                    let stores = self.clone();
                    move |message, context| {
                        if let (Some(local), Some(origin)) =
                            (stores.get(&message.store), context.origin())
                        {
                            let received = Received::$message(message);
                            local.received(origin.topic.as_ref(), origin.sender.as_ref(), received);
                        }
                        Ok(())
                    }
                }))*
            };
        }
        let app = receive!(app, Request Sync Pull Probe Answers Changes Chunk Status);
        let (listing, gone, turn) = (self.clone(), self.clone(), self.clone());
        app.on::<List>(move |_, context| {
            let Some(origin) = context.origin() else { return Ok(()) };
            let topic = stores_to(&origin.sender);
            for info in listing.all().iter().filter_map(|local| local.info()) {
                publish(&topic, &Message::Info(info), context);
            }
            Ok(())
        })
        .on::<NodeDown>(move |NodeDown { id, .. }, _| {
            for local in gone.all() {
                local.process_gone(id.as_ref());
            }
            Ok(())
        })
        .at_end_of_turn(move |context| {
            turn.step(context);
            Ok(())
        })
        // After all other handlers, which may use stores.
        .on_event_with(i64::MIN, "zeek_done", move |_, context| {
            self.take_submitted();
            for local in self.all() {
                local.close(context);
            }
            Ok(())
        })
    }
}

impl Module for &Stores {
    fn install(self, app: App) -> App {
        self.clone().install(app)
    }
}

fn taken(name: &str) -> StoreError {
    StoreError::new(ErrorCode::MasterExists, format!("this process has store {name:?} already"))
}

fn random() -> Result<u64, StoreError> {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => Ok(u64::from_ne_bytes(bytes)),
        _ => Err(StoreError::new(ErrorCode::Unspecified, "the system has no random numbers")),
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(layout: &Layout, name: &str) -> Result<Box<dyn Backend>, StoreError> {
    use super::backend::sqlite::{Options, Sqlite};
    let (path, options) = (layout.store_path(name), layout.store(name));
    // A name with slashes is a path below the directory of all stores.
    let dir = layout.cluster.default_store_dir.clone().unwrap_or_else(|| ".".into());
    let created = options.path.is_none().then_some(dir);
    let options = Options::of(path, &options);
    Ok(Box::new(Sqlite::open(options, created.as_deref())?))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &Layout, name: &str) -> Result<Box<dyn Backend>, StoreError> {
    let text = format!("store {name:?} needs SQLite, which this program was built without");
    Err(StoreError::new(ErrorCode::CannotOpenFile, text))
}
