//! Zeek script to [`Layout`]: `cluster-layout.zeek` of zeekctl, of zeek-cluster-layout-generator
//! and by hand, and the ZeroMQ options of zeekctl's generated configuration (WIRE.md §8.1).
//!
//! It reads declarations, not programs: what depends on the running Zeek is reported with its
//! place and never guessed. Any text is read to its end in one pass.

use std::net::{IpAddr, Ipv4Addr};

use super::super::diagnostic::{Diagnostic, Places, Reporter, Span};
use super::super::setting::Setting;
use super::super::table::Table;
use super::super::toml::suggestion;
use super::super::validate::validate;
use super::super::{EventSerializer, Layout, LogFormat, Node, NodeType, WebSocket, ZeroMq};
use super::conditional::{guard_of, is_end, select};
use super::expr::{Cursor, Entry, Field, Value};
use super::token::{Kind, tokens};
use super::{LOG_ASCII, ZEROMQ, log_name};

/// What scripts say, and what was to be said about them.
#[derive(Clone, Debug)]
pub struct Import {
    /// The layout as far as it is known. An address that is not known is `0.0.0.0`.
    pub layout: Layout,
    /// Errors, warnings and notes in the order of the files. With errors the layout needs work.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads one script. `file_name` is for messages.
pub fn import(text: &str, file_name: &str) -> Import {
    let mut importer = Importer::new();
    importer.file(text, file_name);
    importer.finish()
}

/// Reads the scripts of a deployment one after the other, as Zeek would load them.
#[derive(Debug, Default)]
pub struct Importer {
    reporter: Reporter,
    places: Places,
    layout: Layout,
    manager_is_logger: Option<bool>,
    /// WebSocket APIs, each with the node it is meant for where the script says, and its place.
    websockets: Vec<(Option<String>, WebSocket, Span)>,
}

impl Importer {
    /// An importer that has read nothing.
    pub fn new() -> Self {
        Importer::default()
    }

    /// Reads one script.
    pub fn file(&mut self, text: &str, file_name: &str) {
        let source = self.reporter.add_source(file_name, text);
        let (selected, left_out) = select(tokens(text));
        for (start, end) in left_out {
            let span = Span { source, start, end };
            self.reporter.note(span, "what depends on the running Zeek is left out, up to @endif");
        }
        let cursor = Cursor::new(selected, text.len());
        Script { importer: self, cursor, source }.read();
    }

    /// Checks what the scripts say together.
    pub fn finish(mut self) -> Import {
        let layout = &mut self.layout;
        layout.cluster.manager_is_logger = match self.manager_is_logger {
            Some(value) => value,
            // Zeek's default is true, and means nothing where there is no manager.
            None => layout.manager().is_some(),
        };
        follow_broker(layout);
        for (name, websocket, span) in self.websockets {
            let node = match &name {
                Some(name) => layout.nodes.get_mut(name),
                None => layout.nodes.values_mut().find(|n| n.node_type == NodeType::Manager),
            };
            if let Some(node) = node {
                node.websocket = Some(websocket);
            } else {
                let name = name.as_deref().unwrap_or("manager");
                self.reporter
                    .warn(span, format!("there is no `{name}` to offer the WebSocket API"));
            }
        }
        validate(&self.layout, &self.places, &mut self.reporter);
        Import { layout: self.layout, diagnostics: self.reporter.finish() }
    }
}

/// Where nodes connect stays unsaid as long as it is where the broker listens: then the layout
/// says it once. What no script says is Zeek's default.
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

/// One script on its way into an [`Importer`].
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
                Kind::Directive(line) => self.directive(line),
                Kind::Ident("module") => {
                    self.cursor.bump();
                    if let Some(Kind::Ident(name)) = self.cursor.peek() {
                        self.cursor.module =
                            if *name == "GLOBAL" { String::new() } else { (*name).into() };
                    }
                    self.skip_statement();
                }
                // Its members are read as if they stood outside.
                Kind::Ident("export") => {
                    self.cursor.bump();
                    self.cursor.eat("{");
                }
                Kind::Ident("redef" | "const" | "global" | "option") => self.declaration(),
                Kind::Ident("event" | "function" | "hook") => self.body(),
                Kind::Ident(_) => self.skip_statement(),
                _ => {
                    self.cursor.bump();
                }
            }
        }
    }

    /// A guard that is false hides what is below it.
    fn directive(&mut self, line: &str) {
        self.cursor.bump();
        let Some(option) = guard_of(line) else { return };
        if self.is_empty(option) {
            return;
        }
        let mut depth = 1;
        while depth > 0 {
            match self.cursor.bump() {
                Some(Kind::Directive(line)) if is_end(line) => depth -= 1,
                Some(Kind::Directive(_)) => depth += 1,
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Whether an option is empty, as far as it is known here.
    fn is_empty(&mut self, option: &str) -> bool {
        let layout = &mut self.importer.layout;
        match option.strip_prefix(ZEROMQ) {
            Some(name) => {
                let mut options = layout.zeromq.options();
                let found = options.iter_mut().find(|(known, _)| *known == name);
                let text = found.and_then(|(_, value)| value.to_toml());
                text.is_none_or(|text| text == "\"\"" || text == "[]")
            }
            None if option == "Cluster::nodes" => layout.nodes.is_empty(),
            None => true,
        }
    }

    fn skip_statement(&mut self) {
        loop {
            self.cursor.skip_to(&[";"]);
            // A bracket too many is no end of the statement, unless it ends what holds it.
            match self.cursor.bump() {
                Some(Kind::Punct(")" | "]")) => {}
                _ => return,
            }
        }
    }

    /// `redef NAME [: type] (= | +=) value [attributes] ;` and the like.
    fn declaration(&mut self) {
        let start = self.cursor.place().0;
        self.cursor.bump();
        let Some(Kind::Ident(name)) = self.cursor.peek().cloned() else { return };
        let name_at = self.cursor.place();
        self.cursor.bump();
        // `redef record X += { … };` and `redef enum`.
        if name == "record" || name == "enum" {
            return self.skip_statement();
        }
        if self.cursor.eat(":") {
            self.cursor.skip_to(&["=", "+=", "-=", "&", ";"]);
        }
        let replaces = self.cursor.at_punct("=");
        if replaces || self.cursor.at_punct("+=") {
            self.cursor.bump();
            let value_start = self.cursor.place().0;
            let value = self.cursor.expr();
            let value_at = self.cursor.since(value_start);
            let place = Assignment {
                name_at: self.span(name_at),
                value_at: self.span(value_at),
                statement: self.span((start, value_at.1)),
            };
            self.assign(&self.cursor.qualified(name), replaces, value, place);
        }
        self.skip_statement();
    }

    fn assign(&mut self, name: &str, replaces: bool, value: Value, at: Assignment) {
        match name {
            "Cluster::nodes" => self.nodes(replaces, value, at),
            "Cluster::manager_is_logger" => {
                let mut flag = true;
                self.importer.places.put(&["cluster", "manager_is_logger"], at.value_at);
                if read(
                    &mut self.importer.reporter,
                    "manager_is_logger",
                    &mut flag,
                    &value,
                    at.value_at,
                ) {
                    self.importer.manager_is_logger = Some(flag);
                }
            }
            "Cluster::event_serializer" => self.event_serializer(&value, at),
            "LogAscii::use_json" => {
                let mut json = false;
                if read(&mut self.importer.reporter, "use_json", &mut json, &value, at.value_at) {
                    let format = if json { LogFormat::Json } else { LogFormat::Tsv };
                    self.importer.layout.log.format = format;
                }
            }
            _ if name.starts_with(ZEROMQ) => {
                self.zeromq(&name[ZEROMQ.len()..], replaces, value, at);
            }
            _ if name.starts_with("LogAscii::") => {
                let option = &name["LogAscii::".len()..];
                if let Some(option) = LOG_ASCII.iter().find(|known| **known == option) {
                    self.log(option, replaces, &value, at);
                }
            }
            _ => {
                let aliases = self.importer.layout.log.aliases().iter();
                let mut named = aliases.filter(|(alias, _)| log_name(alias) == name);
                match named.next() {
                    Some((_, option)) => self.log(option, replaces, &value, at),
                    None => self.constant(name, replaces, value),
                }
            }
        }
    }

    fn log(&mut self, option: &'static str, replaces: bool, value: &Value, at: Assignment) {
        let Importer { layout, places, reporter, .. } = &mut *self.importer;
        let earlier = layout.log.rotation_postprocessor_env.clone();
        let mut options = layout.log.options();
        let Some((_, setting)) = options.iter_mut().find(|(known, _)| *known == option) else {
            return;
        };
        places.put(&["log", option], at.value_at);
        let taken = read(reporter, option, *setting, value, at.value_at);
        if option == "dir" && taken {
            let message = "loggers write to a folder of their own in there, named after the node";
            reporter.note(at.value_at, message);
        }
        if option == "rotation_postprocessor_env" && taken && !replaces {
            let added = std::mem::replace(&mut layout.log.rotation_postprocessor_env, earlier);
            layout.log.rotation_postprocessor_env.extend(added);
        }
    }

    /// Keeps a constant for expressions below.
    fn constant(&mut self, name: &str, replaces: bool, value: Value) {
        let constants = &mut self.cursor.constants;
        let value = match (constants.remove(name), value) {
            (Some(Value::Table(mut old)), Value::Table(new)) if !replaces => {
                old.extend(new);
                Value::Table(old)
            }
            (_, value) => value,
        };
        if value.is_constant() {
            constants.insert(name.into(), value);
        }
    }

    fn zeromq(&mut self, option: &str, replaces: bool, value: Value, at: Assignment) {
        if ZeroMq::IGNORED.contains(&option) {
            return;
        }
        let Importer { layout, places, reporter, .. } = &mut *self.importer;
        let earlier = layout.zeromq.connect_log_endpoints.clone();
        let mut options = layout.zeromq.options();
        options.retain(|(name, _)| !ZeroMq::OWN.contains(name));
        let names: Vec<&'static str> = options.iter().map(|(name, _)| *name).collect();
        let Some((known, setting)) = options.iter_mut().find(|(name, _)| *name == option) else {
            let hint = suggestion(option, names)
                .map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"));
            reporter.warn(at.name_at, format!("unknown option `{option}`{hint}"));
            return;
        };
        places.put(&["zeromq", known], at.value_at);
        if setting.is_secret() {
            reporter.keep_secret(at.statement);
        }
        let value = match value {
            // `{ "a", "b" }` and `vector()` are lists, empty or not.
            Value::Table(entries) if entries.is_empty() => Value::List(Vec::new()),
            value => value,
        };
        let taken = read(reporter, option, *setting, &value, at.value_at);
        if taken && !replaces && *known == "connect_log_endpoints" {
            let added = std::mem::replace(&mut layout.zeromq.connect_log_endpoints, earlier);
            layout.zeromq.connect_log_endpoints.extend(added);
        }
    }

    fn event_serializer(&mut self, value: &Value, at: Assignment) {
        let word = match value {
            Value::Text(text) => text.rsplit("::").next().unwrap_or_default(),
            _ => "",
        };
        let Importer { layout, reporter, .. } = &mut *self.importer;
        layout.cluster.event_serializer = match word {
            "EVENT_SERIALIZER_BROKER_BIN_V1" => EventSerializer::BrokerBinV1,
            "EVENT_SERIALIZER_BROKER_JSON_V1" => EventSerializer::BrokerJsonV1,
            _ => {
                reporter.error(
                    at.value_at,
                    "unknown event serializer; expected \
                     Cluster::EVENT_SERIALIZER_BROKER_BIN_V1 or …_BROKER_JSON_V1",
                );
                return;
            }
        };
    }

    fn nodes(&mut self, replaces: bool, value: Value, at: Assignment) {
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
                let message = format!("cannot tell the nodes from {what}; expected a table");
                self.importer.reporter.error(at.value_at, message);
                return;
            }
            other => {
                let message = format!("found {}, expected a table of nodes", other.raw());
                self.importer.reporter.error(at.value_at, message);
                return;
            }
        };
        for Entry { key, key_at, value, value_at } in entries {
            let (key_at, value_at) = (self.span(key_at), self.span(value_at));
            let mut name = String::new();
            if !read(&mut self.importer.reporter, "the name of a node", &mut name, &key, key_at) {
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
                && matches!(&field.value, Value::Text(t) if t.ends_with("TIME_MACHINE"))
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
        // The defaults of Zeek's record mean the same as no value.
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

    /// A function: searched for the WebSocket API it starts, and for the node it does so on.
    fn body(&mut self) {
        let mut depth = 0usize;
        let mut node = None;
        while let Some(kind) = self.cursor.peek().cloned() {
            let at = self.cursor.place();
            self.cursor.bump();
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
                    self.websocket(node.clone(), &value, self.span(at));
                }
                _ => {}
            }
        }
    }

    fn websocket(&mut self, node: Option<String>, value: &Value, at: Span) {
        let Value::Record(fields) = value else {
            let message = "cannot tell where the WebSocket API listens; expected [$listen_addr=…]";
            self.importer.reporter.warn(at, message);
            return;
        };
        let mut websocket = WebSocket::default();
        self.websocket_fields(&mut websocket, fields);
        self.importer.websockets.push((node, websocket, at));
    }

    fn websocket_fields(&mut self, websocket: &mut WebSocket, fields: &[Field]) {
        for field in fields {
            if let ("tls_options", Value::Record(fields)) = (field.name.as_str(), &field.value) {
                self.websocket_fields(websocket, fields);
                continue;
            }
            let (name_at, value_at) = (self.span(field.name_at), self.span(field.value_at));
            let name = if field.name == "listen_host" { "listen_addr" } else { &field.name };
            let reporter = &mut self.importer.reporter;
            let mut options = websocket.options();
            if let Some((known, setting)) = options.iter_mut().find(|(known, _)| *known == name) {
                read(reporter, known, *setting, &field.value, value_at);
            } else {
                let message = format!("`${}` of the WebSocket API is left out", field.name);
                reporter.warn(name_at, message);
            }
        }
    }
}

/// The places of an assignment.
#[derive(Clone, Copy)]
struct Assignment {
    name_at: Span,
    value_at: Span,
    statement: Span,
}

/// Reads a value into an option; reports why it cannot.
fn read(
    reporter: &mut Reporter,
    name: &str,
    setting: &mut dyn Setting,
    value: &Value,
    at: Span,
) -> bool {
    read_as(reporter, &format!("`{name}`"), setting, value, at)
}

fn read_as(
    reporter: &mut Reporter,
    what: &str,
    setting: &mut dyn Setting,
    value: &Value,
    at: Span,
) -> bool {
    if let Value::Unknown(reason) = value {
        reporter.error(at, format!("{what} is {reason}, which cannot be known here"));
        return false;
    }
    let raw = value.raw();
    match setting.read(&raw) {
        Ok(()) => true,
        Err(expected) if setting.is_secret() => {
            reporter.error(at, format!("{what}: expected {expected}"));
            false
        }
        Err(expected) => {
            reporter.error(at, format!("{what}: found {raw}, expected {expected}"));
            false
        }
    }
}
