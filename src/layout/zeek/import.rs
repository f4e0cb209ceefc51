//! Imports Zeek script as a [`Layout`]: `cluster-layout.zeek` from zeekctl,
//! zeek-cluster-layout-generator or written by hand, and the options in zeekctl's generated
//! configuration (WIRE.md §8.1).
//!
//! It reads declarations, not programs: anything that depends on the running Zeek is reported with
//! its place and never guessed, and so is every statement that sets something zcluster does not
//! have. Any text is read to its end in one pass.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use super::super::diagnostic::{Diagnostic, Places, Reporter, Span};
use super::super::table::Table;
use super::super::toml::suggestion;
use super::super::validate::{Origin, validate};
use super::super::{Layout, Node, NodeType, WebSocket, ZeroMq};
use super::condition::Condition;
use super::cursor::Cursor;
use super::loads::{Meaning, file_stem, meaning};
use super::names::{ZEROMQ, is_known, known, zeromq_options};
use super::settle::{Assignment, Said, read, read_as, settle};
use super::token::{Kind, tokens};
use super::value::{Entry, Field, Value};

/// The layout read from scripts, and the messages about them.
#[derive(Clone, Debug)]
pub struct Import {
    /// The layout, as far as known. An unknown address is `0.0.0.0`.
    pub layout: Layout,
    /// Errors, warnings and notes in the order of the files. With errors, the layout is incomplete.
    pub diagnostics: Vec<Diagnostic>,
}

/// Imports one script. `file_name` is for messages.
pub fn import(text: &str, file_name: &str) -> Import {
    let mut importer = Importer::new();
    importer.file(text, file_name);
    importer.finish()
}

/// Imports the scripts of a deployment one after the other, as Zeek would load them.
#[derive(Debug, Default)]
pub struct Importer {
    reporter: Reporter,
    places: Places,
    layout: Layout,
    /// Options in the order in which they were set.
    said: Vec<Said>,
    /// The values of names, carried from one script to the next.
    constants: HashMap<String, Value>,
    /// Constants declared by the scripts themselves.
    declared: BTreeSet<String>,
    /// WebSocket APIs.
    websockets: Vec<Api>,
    /// Scripts that are loaded but were not given, by the stems of their names.
    loaded: Vec<(String, String, Span)>,
    /// The stems of the names of the given scripts.
    given: BTreeSet<String>,
    /// Where the multi-host helper is loaded, and for which nodes.
    multi_host: Option<(Condition, Span)>,
}

/// A WebSocket API that a script starts.
#[derive(Debug)]
struct Api {
    /// The node it is meant for, if the script says so.
    node: Option<String>,
    websocket: WebSocket,
    scope: Condition,
    at: Span,
}

impl Importer {
    /// An importer that has read nothing.
    pub fn new() -> Self {
        Importer::default()
    }

    /// Reads one script.
    pub fn file(&mut self, text: &str, file_name: &str) {
        let source = self.reporter.add_source(file_name, text);
        self.given.insert(file_stem(file_name).to_owned());
        let constants = std::mem::take(&mut self.constants);
        let cursor = Cursor::new(tokens(text), text.len(), constants);
        let mut script = Script { importer: self, cursor, source };
        script.read();
        for (at, message) in script.cursor.unpaired() {
            let at = script.span(at);
            script.importer.reporter.error(at, message);
        }
        self.constants = std::mem::take(&mut script.cursor.constants);
    }

    /// Checks all scripts together.
    pub fn finish(mut self) -> Import {
        for (stem, path, span) in std::mem::take(&mut self.loaded) {
            if !self.given.contains(&stem) {
                let message = format!("`{path}` is not read: pass it too if it sets options");
                self.reporter.note(span, message);
            }
        }
        let layout = &mut self.layout;
        // Zeek's default is true, which has no meaning without a manager.
        layout.cluster.manager_is_logger = layout.manager().is_some();
        self.multi_host();
        let said = std::mem::take(&mut self.said);
        let Importer { layout, places, reporter, .. } = &mut self;
        settle(said, layout, places, reporter);
        follow_broker(layout);
        self.rotation_of_zeek();
        for api in std::mem::take(&mut self.websockets) {
            self.place_websocket(api);
        }
        self.commands_of_zeek();
        validate(&self.layout, Origin::Zeek, &self.places, &mut self.reporter);
        Import { layout: self.layout, diagnostics: self.reporter.finish() }
    }

    /// `misc/zeromq-multi-host-auto-setup`: the broker is on the host of the node `manager`.
    /// Options set by scripts take precedence.
    fn multi_host(&mut self) {
        let Some((scope, span)) = self.multi_host.take() else { return };
        let manager = self.layout.node("manager").filter(|_| scope.as_known() == Some(true));
        let Some(manager) = manager.cloned() else {
            let message = "zeromq-multi-host-auto-setup is left out: it needs a node `manager`, and \
                           to be loaded by all nodes";
            self.reporter.warn(span, message);
            return;
        };
        let (xpub, xsub) = (manager.endpoint(5555), manager.endpoint(5556));
        self.layout.zeromq.listen_xpub_endpoint.clone_from(&xpub);
        self.layout.zeromq.listen_xsub_endpoint.clone_from(&xsub);
        self.layout.zeromq.connect_xpub_endpoint = xsub;
        self.layout.zeromq.connect_xsub_endpoint = xpub;
        self.layout.zeromq.ipv6 = manager.ip.is_ipv6();
        let message = "the ports of the broker are assumed to be 5555 and 5556; the environment \
                       may override them";
        self.reporter.note(span, message);
    }

    /// Zeek's loggers rotate hourly by default, zcluster's do not.
    fn rotation_of_zeek(&mut self) {
        let set = self.places.has(&["log", "rotation"]);
        if !set && self.layout.log_receivers().next().is_some() && self.places.has(&["nodes"]) {
            let message = "no script sets Log::default_rotation_interval: Zeek's loggers then \
                           rotate every hour, zcluster's only if `rotation` of [log] is set";
            self.reporter.note(self.places.find(&["nodes"]), message);
        }
    }

    /// A command that only ZeekControl's search path contains would fail for each rotated file.
    fn commands_of_zeek(&mut self) {
        let path = ["log", "rotation_postprocessor"];
        let at = self.places.find(&path);
        let Some(command) = of_zeekctl(&self.layout.log.rotation_postprocessor) else { return };
        if command.contains('/') {
            let message =
                format!("`{command}` is part of ZeekControl: it must exist on the loggers' hosts");
            self.reporter.note(at, message);
            return;
        }
        let message = format!(
            "`Log::default_rotation_postprocessor_cmd` is left out: zcluster's loggers do not find \
             `{command}`, which is part of ZeekControl; `rotation_dir`, `rotation_name` and \
             `compress` of [log] replace it"
        );
        self.reporter.note(at, message);
        self.layout.log.rotation_postprocessor.clear();
        self.layout.log.rotation_postprocessor_env.clear();
        self.places.forget(&path);
        self.places.forget(&["log", "rotation_postprocessor_env"]);
    }

    fn place_websocket(&mut self, api: Api) {
        let Api { node, websocket, scope, at } = api;
        let names: Vec<String> = match &node {
            Some(name) => vec![name.clone()],
            None if scope.as_known() == Some(true) => {
                vec![self.layout.manager().map_or("manager", |(name, _)| name).to_owned()]
            }
            None => {
                let holds = |(name, node): &(&String, &Node)| {
                    scope.holds_for(node.node_type, Some(name)) == Some(true)
                };
                self.layout.nodes.iter().filter(holds).map(|(name, _)| name.clone()).collect()
            }
        };
        if names.is_empty() {
            let message =
                format!("the WebSocket API is left out: it depends on {}", scope.asks_for());
            self.reporter.warn(at, message);
        }
        for name in names {
            if let Some(node) = self.layout.nodes.get_mut(&name) {
                node.websocket = Some(websocket.clone());
            } else {
                let message = format!("there is no `{name}` to offer the WebSocket API");
                self.reporter.warn(at, message);
            }
        }
    }
}

/// Scripts of ZeekControl, which are only in the search path of its processes.
const OF_ZEEKCTL: [&str; 16] = [
    "archive-log",
    "check-config",
    "crash-diag",
    "create-link-for-log",
    "delete-log",
    "expire-crash",
    "expire-logs",
    "get-prof-log",
    "make-archive-name",
    "make-crash-reports",
    "post-terminate",
    "post-terminate-standalone",
    "run-zeek",
    "send-mail",
    "set-zeek-path",
    "stats-to-csv",
];

/// The ZeekControl command that a shell command line runs, if any.
fn of_zeekctl(line: &str) -> Option<&str> {
    let words = line.split([' ', '\t', ';', '|', '&', '(', ')', '"', '\'']);
    let mut commands = words.filter(|word| !word.is_empty());
    commands.find(|word| OF_ZEEKCTL.contains(word) || word.contains("/zeekctl/scripts/"))
}

/// Leaves unset where nodes connect if it is where the broker listens, so that the layout says it
/// once. Endpoints that no script sets have Zeek's default.
fn follow_broker(layout: &mut Layout) {
    let defaults = ZeroMq::default();
    let effective = |said: String, default| if said.is_empty() { default } else { said };
    let zeromq = &mut layout.zeromq;
    let sends_to = std::mem::take(&mut zeromq.connect_xpub_endpoint);
    let sends_to = effective(sends_to, defaults.listen_xsub_endpoint);
    let reads_from = std::mem::take(&mut zeromq.connect_xsub_endpoint);
    let reads_from = effective(reads_from, defaults.listen_xpub_endpoint);
    if sends_to != layout.connect_xpub_endpoint() {
        layout.zeromq.connect_xpub_endpoint = sends_to;
    }
    if reads_from != layout.connect_xsub_endpoint() {
        layout.zeromq.connect_xsub_endpoint = reads_from;
    }
}

/// One script being read into an [`Importer`].
struct Script<'t, 'i> {
    importer: &'i mut Importer,
    cursor: Cursor<'t>,
    source: usize,
}

impl Script<'_, '_> {
    fn span(&self, (start, end): (usize, usize)) -> Span {
        Span { source: self.source, start, end }
    }

    fn read(&mut self) {
        while let Some(kind) = self.cursor.peek().cloned() {
            match kind {
                Kind::Directive(line) => {
                    self.directive(line);
                    self.cursor.advance();
                }
                Kind::Ident("module") => {
                    self.cursor.advance();
                    if let Some(Kind::Ident(name)) = self.cursor.peek() {
                        self.cursor.module =
                            if *name == "GLOBAL" { String::new() } else { (*name).into() };
                    }
                    self.skip_statement();
                }
                // Its members are read as if they were outside.
                Kind::Ident("export") => {
                    self.cursor.advance();
                    self.cursor.eat("{");
                }
                Kind::Ident("redef" | "const" | "global" | "option") => self.declaration(),
                Kind::Ident(kind @ ("event" | "function" | "hook")) => self.body(kind),
                Kind::Ident("type") => self.skip_statement(),
                Kind::Ident(_) => self.statement(),
                _ => {
                    self.cursor.advance();
                }
            }
        }
    }

    /// `@load` and the like; the cursor processes conditions.
    fn directive(&mut self, line: &str) {
        let at = self.span(self.cursor.place());
        let scope = self.cursor.scope();
        let path = line.strip_prefix("load").filter(|rest| rest.starts_with(char::is_whitespace));
        let Some(path) = path.map(str::trim) else {
            self.importer
                .reporter
                .note(at, format!("`@{line}` is left out: it does not affect a layout"));
            return;
        };
        match meaning(path) {
            Meaning::Nothing => {}
            Meaning::Sets(options, node_type) => {
                let scope = match node_type {
                    Some(node_type) => scope.and(&Condition::is_type(node_type)),
                    None => scope,
                };
                let at = Assignment { name_at: at, value_at: at, statement: at };
                for (name, set) in options {
                    self.set(name, true, set.value(), scope.clone(), at);
                }
            }
            Meaning::MultiHost => self.importer.multi_host = Some((scope, at)),
            Meaning::WebSocket => {
                let websocket = WebSocket::default();
                self.importer.websockets.push(Api { node: None, websocket, scope, at });
            }
            Meaning::Script => {
                let stem = file_stem(path).to_owned();
                self.importer.loaded.push((stem, path.to_owned(), at));
            }
        }
    }

    /// A statement outside of any function: Zeek executes it, the importer does not.
    fn statement(&mut self) {
        let begin = self.cursor.place();
        let mut touched = None;
        let mut depth = 0usize;
        while let Some(kind) = self.cursor.peek().cloned() {
            let at = self.cursor.place();
            match kind {
                Kind::Ident("redef") if self.cursor.at_redef() => break,
                Kind::Ident(name) => {
                    let name = self.cursor.qualified(name);
                    if touched.is_none() && is_known(&name) && name != "Cluster::node" {
                        touched = Some((name, at));
                    }
                }
                Kind::Punct("{" | "[" | "(") => depth += 1,
                Kind::Punct("]" | ")") => depth = depth.saturating_sub(1),
                Kind::Punct("}") if depth <= 1 => {
                    self.cursor.advance();
                    break;
                }
                Kind::Punct("}") => depth -= 1,
                Kind::Punct(";") if depth == 0 => {
                    self.cursor.advance();
                    break;
                }
                _ => {}
            }
            self.cursor.advance();
        }
        let reporter = &mut self.importer.reporter;
        let span = |(start, end)| Span { source: self.source, start, end };
        match touched {
            Some((name, at)) if name == "Cluster::nodes" => {
                let message = "statements are not executed; expected `redef Cluster::nodes`";
                reporter.error(span(at), message);
            }
            Some((name, at)) => {
                let message = format!(
                    "this statement with `{name}` is left out: options are read from `redef`"
                );
                reporter.warn(span(at), message);
            }
            None => reporter.note(span(begin), "this statement is left out"),
        }
    }

    fn skip_statement(&mut self) {
        loop {
            self.cursor.skip_to(&[";"]);
            if self.cursor.at_redef() || self.cursor.peek().is_none() {
                let end = self.cursor.since(0).1;
                let message = "this statement does not end; expected `;`";
                self.importer.reporter.error(self.span((end, end)), message);
                return;
            }
            // An unmatched closing bracket does not end the statement, unless it ends the enclosing
            // block.
            match self.cursor.bump() {
                Some(Kind::Punct(")" | "]")) => {}
                _ => return,
            }
        }
    }

    /// `redef NAME [: type] (= | +=) value [attributes] ;` and the like.
    fn declaration(&mut self) {
        let start = self.cursor.place().0;
        let scope = self.cursor.scope();
        let is_redef = self.cursor.at_ident("redef");
        self.cursor.advance();
        let Some(Kind::Ident(name)) = self.cursor.peek().cloned() else { return };
        let name_at = self.cursor.place();
        self.cursor.advance();
        // `redef record X += { … };` and `redef enum`.
        if name == "record" || name == "enum" {
            let what = match self.cursor.peek() {
                Some(Kind::Ident(of)) => format!("{name} {of}"),
                _ => name.to_owned(),
            };
            let message = format!("`redef {what}` is left out: it does not affect a layout");
            let at = self.span((start, name_at.1));
            self.importer.reporter.note(at, message);
            return self.skip_statement();
        }
        let name = self.cursor.qualified(name);
        if !is_redef {
            self.importer.declared.insert(name.clone());
        }
        if self.cursor.eat(":") {
            self.cursor.skip_to(&["=", "+=", "-=", "&", ";"]);
        }
        let replaces = self.cursor.at_punct("=");
        if replaces || self.cursor.at_punct("+=") {
            self.cursor.advance();
            let value_start = self.cursor.place().0;
            let value = self.cursor.expr();
            let value_at = self.cursor.since(value_start);
            let at = Assignment {
                name_at: self.span(name_at),
                value_at: self.span(value_at),
                statement: self.span((start, value_at.1)),
            };
            if name == "Cluster::nodes" {
                self.nodes(replaces, value, &scope, at);
            } else {
                self.assign(&name, is_redef, replaces, value, scope, at);
            }
        } else if is_redef {
            let at = self.span(name_at);
            let reporter = &mut self.importer.reporter;
            if name == "Cluster::nodes" {
                reporter.error(at, "`Cluster::nodes`: expected `=` or `+=` and a table");
            } else {
                let message = format!("this redef of `{name}` is left out: expected `=` or `+=`");
                reporter.warn(at, message);
            }
        }
        self.skip_statement();
    }

    fn assign(
        &mut self,
        name: &str,
        is_redef: bool,
        replaces: bool,
        value: Value,
        scope: Condition,
        at: Assignment,
    ) {
        if known(name).is_some() {
            self.set(name, replaces, value, scope, at);
            return;
        }
        let is_own = self.importer.declared.contains(name) || name == "Cluster::hosts";
        if is_redef && !is_own {
            self.left_out(name, &value, at.name_at);
        }
        self.constant(name, replaces, value, &scope);
    }

    /// An option that zcluster has.
    fn set(&mut self, name: &str, replaces: bool, value: Value, scope: Condition, at: Assignment) {
        let value = match value {
            Value::Choice(condition, values) => {
                let (yes, no) = *values;
                self.set(name, replaces, yes, scope.and(&condition), at);
                self.set(name, replaces, no, scope.and(&condition.not()), at);
                return;
            }
            value => value,
        };
        let Some(known) = known(name) else { return };
        let said = Said { name: name.into(), known, replaces, value, scope, at };
        let remembered = if said.is_secret() {
            self.importer.reporter.keep_secret(at.statement);
            match &said.value {
                Value::Text(text) if !text.is_empty() => Value::Hidden,
                value => value.clone(),
            }
        } else {
            said.value.clone()
        };
        self.constant(name, replaces, remembered, &said.scope);
        self.importer.said.push(said);
    }

    /// Reports a redef of an option that zcluster does not have.
    fn left_out(&mut self, name: &str, value: &Value, at: Span) {
        let reporter = &mut self.importer.reporter;
        let last_word = match value {
            Value::Name(name) => name.rsplit("::").next().unwrap_or_default(),
            _ => "",
        };
        if let Some(option) = name.strip_prefix(ZEROMQ)
            && !ZeroMq::IGNORED.contains(&option)
        {
            let hint = suggestion(option, zeromq_options())
                .map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"));
            reporter.warn(at, format!("unknown option `{option}`{hint}"));
            return;
        }
        match (name, value) {
            // What zcluster does anyway.
            ("Cluster::Backend::ZeroMQ::run_proxy_thread", Value::Bool(false))
            | ("Telemetry::metrics_port", Value::OwnMetricsPort) => {}
            ("Cluster::backend", _) if last_word == "CLUSTER_BACKEND_ZEROMQ" => {}
            ("Cluster::log_serializer", _) if last_word == "LOG_SERIALIZER_ZEEK_BIN_V1" => {}
            ("Log::default_writer", _) if last_word == "WRITER_ASCII" => {}
            ("Cluster::backend" | "Cluster::log_serializer" | "Log::default_writer", _) => {
                let message = format!("`{name}` is left out: zcluster knows only Zeek's default");
                let message = if name == "Cluster::backend" {
                    "`Cluster::backend` is left out: zcluster supports only the ZeroMQ backend"
                        .into()
                } else {
                    message
                };
                reporter.warn(at, message);
            }
            ("Cluster::Backend::ZeroMQ::run_proxy_thread", _) => reporter.note(
                at,
                "`run_proxy_thread` is left out: the broker is a separate process, \
                 zcluster-broker, and Zeek nodes need `F`",
            ),
            ("Log::enable_local_logging" | "Log::enable_remote_logging", _) => {
                let message = format!(
                    "`{name}` is left out: with zcluster loggers write logs, and all others send them"
                );
                reporter.note(at, message);
            }
            ("LogAscii::enable_leftover_log_rotation", _) => {
                let message = format!(
                    "`{name}` is left out: zcluster always rotates files left over at startup"
                );
                reporter.note(at, message);
            }
            ("Cluster::stores", _) => {
                let message = "`Cluster::stores` is left out: a layout has `[stores.NAME]`";
                reporter.note(at, message);
            }
            ("Telemetry::metrics_port", _) => {
                let message = format!("`{name}` is left out: each node has a `metrics_port`");
                reporter.note(at, message);
            }
            _ => reporter.note(at, format!("`{name}` is left out: zcluster has no such option")),
        }
    }

    /// Keeps a value for later expressions.
    fn constant(&mut self, name: &str, replaces: bool, value: Value, scope: &Condition) {
        let constants = &mut self.cursor.constants;
        let value = match (constants.remove(name), value) {
            (Some(Value::Table(mut old)), Value::Table(new)) if !replaces => {
                old.extend(new);
                Value::Table(old)
            }
            (None, value @ Value::Table(_)) => value,
            _ if !replaces => Value::unknown(format!("`{name}`")),
            (_, value) => value,
        };
        let value = match scope.as_known() {
            Some(true) => value,
            _ => Value::unknown(format!("something that depends on {}", scope.asks_for())),
        };
        if value.is_constant() {
            constants.insert(name.into(), value);
        }
    }

    /// All nodes must see the same nodes.
    fn holds_for_all(&mut self, what: &str, scope: &Condition, at: Span) -> bool {
        let known = scope.as_known();
        if known.is_none() {
            let message = format!(
                "cannot determine whether {what} in the layout: it depends on {}",
                scope.asks_for()
            );
            self.importer.reporter.error(at, message);
        }
        known == Some(true)
    }

    fn nodes(&mut self, replaces: bool, value: Value, scope: &Condition, at: Assignment) {
        if !self.holds_for_all("these nodes are", scope, at.name_at) {
            return;
        }
        if replaces {
            self.importer.layout.nodes.clear();
            self.importer.places.forget(&["nodes"]);
        }
        if !self.importer.places.has(&["nodes"]) {
            self.importer.places.put(&["nodes"], at.name_at);
        }
        let entries = match value {
            Value::Table(entries) => entries,
            Value::Unknown(what) => {
                let message = format!("cannot determine the nodes from {what}; expected a table");
                self.importer.reporter.error(at.value_at, message);
                return;
            }
            other => {
                let message = format!("found {}, expected a table of nodes", other.raw());
                self.importer.reporter.error(at.value_at, message);
                return;
            }
        };
        for Entry { key, key_at, value, value_at, scope } in entries {
            let (key_at, value_at) = (self.span(key_at), self.span(value_at));
            let mut name = String::new();
            if !read(&mut self.importer.reporter, "the name of a node", &mut name, &key, key_at) {
                continue;
            }
            if !self.holds_for_all(&format!("`{name}` is"), &scope, key_at) {
                continue;
            }
            let Value::Record(fields) = value else {
                let message = format!("node `{name}`: expected a record, [$node_type=…, $ip=…]");
                self.importer.reporter.error(value_at, message);
                continue;
            };
            self.node(name, key_at, &fields);
        }
    }

    fn node(&mut self, name: String, key_at: Span, fields: &[Field]) {
        let is_time_machine = |field: &Field| {
            field.name == "node_type"
                && matches!(&field.value, Value::Name(t) if t.ends_with("TIME_MACHINE"))
        };
        if fields.iter().any(is_time_machine) {
            let message = format!("`{name}` is a time machine, which no longer exists: left out");
            self.importer.reporter.note(key_at, message);
            return;
        }
        self.importer.places.forget(&["nodes", &name]);
        self.importer.places.put(&["nodes", &name], key_at);
        let mut node = Node::new(NodeType::None, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        for field in fields {
            self.field(&name, &mut node, field);
        }
        // The defaults of Zeek's record mean the same as an unset field.
        node.zone_id = node.zone_id.filter(|zone| !zone.is_empty());
        node.port = node.port.filter(|port| *port != 0);
        node.metrics_port = node.metrics_port.filter(|port| *port != 0);
        for required in ["node_type", "ip"] {
            if !self.importer.places.has(&["nodes", &name, required]) {
                let message = format!("node `{name}` has no `${required}`; expected one");
                self.importer.reporter.error(key_at, message);
            }
        }
        self.importer.layout.nodes.insert(name, node);
    }

    fn field(&mut self, name: &str, node: &mut Node, field: &Field) {
        let (name_at, value_at) = (self.span(field.name_at), self.span(field.value_at));
        let Importer { places, reporter, .. } = &mut *self.importer;
        let option = match field.name.as_str() {
            "p" => "port",
            "port" => "",
            other => other,
        };
        if matches!(option, "id" | "interface" | "logger" | "time_machine") {
            reporter
                .note(name_at, format!("`${option}` of `{name}` has no effect and is left out"));
            return;
        }
        let mut options = node.options();
        let Some((known, setting)) = options.iter_mut().find(|(known, _)| *known == option) else {
            let known = ["node_type", "ip", "zone_id", "p", "manager", "metrics_port"];
            let hint = suggestion(&field.name, known)
                .map_or_else(String::new, |hint| format!("; did you mean `${hint}`?"));
            let message = format!("unknown field `${}` of `{name}`{hint}", field.name);
            reporter.warn(name_at, message);
            return;
        };
        places.put(&["nodes", name, known], value_at);
        let what = format!("`${}` of `{name}`", field.name);
        read_as(reporter, &what, *setting, &field.value, value_at);
    }

    /// A function: searched for the WebSocket API that it starts, and for the node on which it does
    /// so.
    fn body(&mut self, kind: &str) {
        let begin = self.cursor.place();
        let apis = self.importer.websockets.len();
        self.cursor.advance();
        let name = match self.cursor.peek() {
            Some(Kind::Ident(name)) => (*name).to_owned(),
            _ => String::new(),
        };
        let at = self.span(self.cursor.since(begin.0));
        self.statements();
        // A function has no effect until it is called.
        if kind != "function" && self.importer.websockets.len() == apis {
            let message =
                format!("`{kind} {name}` is left out: only `listen_websocket` is read from code");
            self.importer.reporter.note(at, message);
        }
    }

    fn statements(&mut self) {
        let mut depth = 0usize;
        let mut node = None;
        while let Some(kind) = self.cursor.peek().cloned() {
            let at = self.cursor.place();
            let scope = self.cursor.scope();
            self.cursor.advance();
            match kind {
                Kind::Punct("{") => depth += 1,
                Kind::Punct("}") if depth <= 1 => return,
                Kind::Punct("}") => depth -= 1,
                Kind::Punct(";") if depth == 0 => return,
                Kind::Ident("Cluster::node") if self.cursor.eat("==") => {
                    if let Some(Kind::Text(name)) = self.cursor.peek() {
                        node = Some(name.clone());
                    }
                }
                Kind::Ident("Cluster::listen_websocket" | "listen_websocket")
                    if self.cursor.eat("(") =>
                {
                    let value = self.cursor.expr();
                    self.websocket(node.clone(), &value, scope, self.span(at));
                }
                _ => {}
            }
        }
    }

    fn websocket(&mut self, node: Option<String>, value: &Value, scope: Condition, at: Span) {
        let Value::Record(fields) = value else {
            let message = "cannot determine where the WebSocket API listens; expected \
                           [$listen_addr=…]";
            self.importer.reporter.warn(at, message);
            return;
        };
        let mut websocket = WebSocket::default();
        self.websocket_fields(&mut websocket, fields);
        let address = websocket.listen_addr;
        if !address.is_loopback() && !websocket.has_access() {
            websocket.allow_anonymous = true;
            let message = format!(
                "the WebSocket API is open to any client that reaches {address}, as in Zeek, by \
                 `allow_anonymous = true`; instead, expected `applications` or \
                 `enable_peer_verification` in the layout"
            );
            self.importer.reporter.warn(at, message);
        }
        self.importer.websockets.push(Api { node, websocket, scope, at });
    }

    fn websocket_fields(&mut self, websocket: &mut WebSocket, fields: &[Field]) {
        for field in fields {
            let name = field.name.as_str();
            if let ("tls_options", Value::Record(fields)) = (name, &field.value) {
                for field in fields {
                    self.websocket_field(&mut websocket.tls_options, &field.name, field);
                }
            } else if name == "listen_host" {
                self.websocket_field(websocket, "listen_addr", field);
            } else {
                self.websocket_field(websocket, name, field);
            }
        }
    }

    fn websocket_field(&mut self, options: &mut dyn Table, name: &str, field: &Field) {
        let (name_at, value_at) = (self.span(field.name_at), self.span(field.value_at));
        let reporter = &mut self.importer.reporter;
        let mut options = options.options();
        let of_zeek = options.iter_mut().filter(|(known, _)| !WebSocket::OWN.contains(known));
        if let Some((known, setting)) = of_zeek.into_iter().find(|(known, _)| *known == name) {
            read(reporter, known, *setting, &field.value, value_at);
        } else {
            let message = format!("`${}` of the WebSocket API is left out", field.name);
            reporter.warn(name_at, message);
        }
    }
}
