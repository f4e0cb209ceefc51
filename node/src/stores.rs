//! [`Hosted`]: the data stores of this node. It has the masters that the layout gives it, and does with stores what lines of
//! standard input say.

mod command;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zcluster::app::{App, Context, Module};
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::Layout;
use zcluster::node::Node;
use zcluster::peers::ErrorCode;
use zcluster::queue::{self, Limits};
use zcluster::readable::{Numbers, rfc3339, write_text, write_value};
use zcluster::store::{Request, Store, StoreError, Stores};
use zcluster::value::{Timestamp, Value};

use self::command::{Command, Operation};
use super::console::Printer;

/// Commands that wait for the app; reading further lines waits while they are as many.
const LIMITS: Limits = Limits { messages: 1_000, bytes: 8 << 20 };

/// Takes lines for the stores, from another thread than that of the app.
#[derive(Debug)]
pub(super) struct Lines {
    node: Node,
    commands: queue::Sender<Command>,
}

/// The commands of the lines.
#[derive(Debug)]
pub(super) struct Commands(queue::Receiver<Command>);

impl Lines {
    /// For the app of this node.
    pub(super) fn new(node: &Node) -> (Self, Commands) {
        let (commands, taken) = queue::bounded(LIMITS, || {});
        (Lines { node: node.clone(), commands }, Commands(taken))
    }

    /// Takes a line, if it is one for a store; blocks while too many wait.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn take(&self, line: &str) -> Result<bool, String> {
        let Some(command) = Command::read(line)? else { return Ok(false) };
        if self.commands.send(command, line.len()).is_err() {
            return Err("the node has ended".into());
        }
        // If the app has so much to wake up for that it cannot be told, it looks anyway. (Or it has ended.)
        _ = self.node.nudge();
        Ok(true)
    }
}

/// The names of the stores in the layout whose masters this node has.
pub(super) fn mastered<'l>(layout: &'l Layout, node: &str) -> impl Iterator<Item = &'l str> {
    let names = layout.stores.keys().map(String::as_str);
    names.filter(move |name| layout.store_master(name) == Some(node))
}

/// The stores of this node.
pub(super) struct Hosted {
    stores: Stores,
    open: BTreeMap<String, Open>,
    commands: Commands,
    /// Where results and changes go, if anything is printed.
    printer: Option<Printer>,
}

/// A store in use.
struct Open {
    store: Store<Value, Value>,
    is_frontend: bool,
    is_watched: bool,
}

impl Hosted {
    /// Opens the masters that the layout gives this node.
    ///
    /// # Errors
    /// A file that cannot be opened, or is not one of the store (74).
    pub(super) fn new(
        node: &Node,
        commands: Commands,
        printer: Option<Printer>,
    ) -> Result<Self, Failure> {
        let (stores, open) = (Stores::new(node), BTreeMap::new());
        let mut hosted = Hosted { stores, open, commands, printer };
        for name in mastered(node.layout(), node.name()) {
            hosted.open(name, false).map_err(|error| {
                let code = match error.code {
                    ErrorCode::CannotOpenFile | ErrorCode::BackendFailure => ExitCode::Io,
                    _ => ExitCode::Config,
                };
                Failure::new(code, format!("store {name:?}: {error}"))
            })?;
        }
        Ok(hosted)
    }

    /// The store of that name; the first time, as the layout says or as a frontend.
    fn open(&mut self, name: &str, is_frontend: bool) -> Result<&mut Open, StoreError> {
        if !self.open.contains_key(name) {
            let store = if is_frontend {
                self.stores.create_frontend(name)?
            } else {
                self.stores.create_store(name, false)?
            };
            let open = Open { store, is_frontend, is_watched: false };
            self.open.insert(name.to_owned(), open);
        }
        let open = self.open.get_mut(name).filter(|open| !is_frontend || open.is_frontend);
        open.ok_or_else(|| {
            let text = format!("this process has a clone or the master of store {name:?} already");
            StoreError::new(ErrorCode::MasterExists, text)
        })
    }

    /// Does what has come.
    fn take(&mut self, context: &mut Context<'_>) {
        // Whatever comes later announces itself again.
        for _ in 0..LIMITS.messages {
            let Ok(command) = self.commands.0.receive_until(Some(Instant::now())) else { break };
            self.carry_out(command, context);
        }
    }

    fn carry_out(&mut self, command: Command, context: &mut Context<'_>) {
        use Operation as Op;
        let Command { store: name, operation, id, expiry, timeout } = command;
        let reporter = Reporter {
            store: name.clone(),
            operation: operation.name(),
            id,
            printer: self.printer.clone(),
        };
        let printer = self.printer.clone();
        let open = match self.open(&name, operation == Op::Frontend {}) {
            Ok(open) => open,
            Err(error) => return reporter.report(Err(error), context),
        };
        let store = &open.store;
        let how = How { expiry, timeout, reporter };
        match operation {
            Op::Exists { key } => how.then(store.exists(&key), Value::Boolean),
            Op::Get { key } => how.then(store.get(&key), |value| value),
            Op::GetIndexFromValue { key, index } => {
                how.then(store.get_index_from_value(&key, &index), |value| value);
            }
            Op::Lookup(keys) => how.then(store.lookup(&keys), Value::Table),
            Op::Keys {} => how.then(store.keys(), |keys| Value::Set(keys.into_iter().collect())),
            Op::Size {} => how.then(store.size(), Value::Count),
            Op::Put { key, value } => how.then(store.put(&key, &value), nothing),
            Op::PutUnique { key, value } => {
                how.then(store.put_unique(&key, &value), Value::Boolean);
            }
            Op::Erase { key } => how.then(store.erase(&key), nothing),
            Op::Clear {} => how.then(store.clear(), nothing),
            Op::Increment { key, amount } => how.then(store.increment(&key, &amount), nothing),
            Op::Decrement { key, amount } => how.then(store.decrement(&key, &amount), nothing),
            Op::Append { key, string: Value::String(text) } => {
                how.then(store.append(&key, text), nothing);
            }
            Op::Append { string, .. } => {
                let text = format!("a {} cannot be appended", string.type_name());
                how.reporter.report(Err(StoreError::new(ErrorCode::TypeClash, text)), context);
            }
            Op::InsertIntoSet { key, element } => {
                how.then(store.insert_into_set(&key, &element), nothing);
            }
            Op::InsertIntoTable { key, index, value } => {
                how.then(store.insert_into_table(&key, &index, &value), nothing);
            }
            Op::RemoveFrom { key, index } => how.then(store.remove_from(&key, &index), nothing),
            Op::Push { key, element } => how.then(store.push(&key, &element), nothing),
            Op::PushLeft { key, element } => how.then(store.push_left(&key, &element), nothing),
            Op::Pop { key } => how.then(store.pop(&key), Option::unwrap_or_default),
            Op::PopLeft { key } => how.then(store.pop_left(&key), Option::unwrap_or_default),
            Op::Watch {} => {
                if let Some(printer) = printer.filter(|_| !open.is_watched) {
                    open.store.watch(move |change, context| {
                        printer.print(&change.to_json(context.time(), &name), context);
                        Ok(())
                    });
                    open.is_watched = true;
                }
                how.reporter.report(Ok(Value::None), context);
            }
            Op::Frontend {} => how.reporter.report(Ok(Value::None), context),
        }
    }
}

/// How a request is made.
struct How {
    expiry: Option<zcluster::store::Expiry>,
    timeout: Option<Duration>,
    reporter: Reporter,
}

impl How {
    fn then<R: 'static>(self, mut request: Request<R>, value: fn(R) -> Value) {
        let How { expiry, timeout, reporter } = self;
        request = request.expires(expiry);
        if let Some(timeout) = timeout {
            request = request.timeout(timeout);
        }
        request.then(move |result, context| {
            reporter.report(result.map(value), context);
            Ok(())
        });
    }
}

fn nothing((): ()) -> Value {
    Value::None
}

/// Tells what came of a command.
struct Reporter {
    store: String,
    operation: &'static str,
    id: Option<Value>,
    printer: Option<Printer>,
}

impl Reporter {
    fn report(&self, result: Result<Value, StoreError>, context: &mut Context<'_>) {
        match (&self.printer, result) {
            (Some(printer), result) => printer.print(&self.line(context.time(), result), context),
            (None, Ok(_)) => {}
            (None, Err(error)) => {
                log::warn!("store {:?}: {} failed: {error}", self.store, self.operation);
            }
        }
    }

    /// `{"time":"…","store":"NAME","id":7,"result":…}`, or `error` and `text`.
    fn line(&self, time: Timestamp, result: Result<Value, StoreError>) -> String {
        let mut line = format!(r#"{{"time":"{:.6}","store":"#, rfc3339(time));
        write_text(self.store.as_bytes(), &mut line);
        if let Some(id) = &self.id {
            line.push_str(r#","id":"#);
            write_value(id, Numbers::Exact, &mut line);
        }
        match result {
            Ok(value) => {
                line.push_str(r#","result":"#);
                write_value(&value, Numbers::Exact, &mut line);
            }
            Err(StoreError { code, text }) => {
                line.push_str(&format!(r#","error":"{}","text":"#, code.name()));
                write_text(text.as_bytes(), &mut line);
            }
        }
        line.push('}');
        line
    }
}

impl Module for Hosted {
    fn install(mut self, app: App) -> App {
        let stores = self.stores.clone();
        // Before the stores, which then do what they are asked for.
        app.at_end_of_turn(move |context| {
            self.take(context);
            Ok(())
        })
        .with(stores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_result_or_an_error() {
        let reporter = |id| Reporter { store: "a/b".into(), operation: "get", id, printer: None };
        let begin = r#"{"time":"1970-01-01T00:00:00.000000Z","store":"a/b","#;
        for (id, result, expected) in [
            (None, Ok(Value::None), r#""result":null}"#),
            (Some(7_u64.into()), Ok(Value::Integer(-1)), r#""id":7,"result":{"int":-1}}"#),
            (
                Some("x".into()),
                Err(ErrorCode::NoSuchKey.into()),
                r#""id":"x","error":"NO_SUCH_KEY","text":""}"#,
            ),
            (
                None,
                Err(StoreError::new(ErrorCode::TypeClash, "a \"b\"\n")),
                r#""error":"TYPE_CLASH","text":"a \"b\"\n"}"#,
            ),
        ] {
            assert_eq!(reporter(id).line(Timestamp(0), result), format!("{begin}{expected}"));
        }
    }
}
