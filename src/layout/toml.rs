//! Parses `cluster-layout.toml` into a [`Layout`], reporting every error of the file at once.
//!
//! The tree of the parsed file is walked by hand: serde would stop at the first error and lose the
//! places of the others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::curve::is_type;
use super::diagnostic::{Diagnostic, LayoutErrors, Places, Reporter, Span};
use super::setting::{Raw, toml_key};
use super::syntax::{self, Mended};
use super::table::Table;
use super::validate::{self, validate};
use super::{
    Allow, Application, CurveKeys, LAYOUT_VERSION, Layout, Node, NodeType, TlsOptions, WebSocket,
    ZeroMq,
};

/// The former name of `[broker]`: still read, no longer written.
const FORMER_BROKER: &str = "proxy";
/// The tables a layout file may have.
const SECTIONS: [&str; 10] = [
    "cluster",
    "zeromq",
    "curve",
    "allow",
    "broker",
    "log",
    "telemetry",
    "pools",
    "stores",
    "nodes",
];

/// Options of nodes, which users may write into `[nodes]` itself by mistake.
const NODE_OPTIONS: [&str; 4] = ["node_type", "ip", "port", "metrics_port"];

impl Layout {
    /// Parses a layout file. `file_name` is for messages.
    ///
    /// Also returns the warnings: what is legal but unwise.
    ///
    /// # Errors
    ///
    /// Everything that makes the file unusable, each with its place: syntax errors, unknown keys,
    /// wrong types, values out of range, and parts that contradict each other.
    pub fn from_toml(
        text: &str,
        file_name: &str,
    ) -> Result<(Layout, Vec<Diagnostic>), LayoutErrors> {
        let (layout, diagnostics) = Layout::inspect_toml(text, file_name, None);
        match layout {
            Some(layout) => Ok((layout, diagnostics)),
            None => Err(LayoutErrors { diagnostics }),
        }
    }

    /// The same, but returns the messages in the same form whether or not the layout is good. For a
    /// check on a host with that much memory: everything that cannot work is an error.
    pub(super) fn inspect_toml(
        text: &str,
        file_name: &str,
        memory: Option<u64>,
    ) -> (Option<Layout>, Vec<Diagnostic>) {
        let mut reader = Reader::new(text, file_name);
        let layout = match other_format(text) {
            Some(message) => {
                reader.reporter.error(Span { source: reader.source, start: 0, end: 0 }, message);
                Layout::default()
            }
            None => reader.layout(text, memory),
        };
        let layout = (!reader.reporter.has_errors()).then_some(layout);
        (layout, reader.reporter.finish())
    }
}

/// What a text is that was mistaken for a layout file.
fn other_format(text: &str) -> Option<&'static str> {
    let starts = |line: &str, words: &[&str]| {
        let first = line.split([' ', '\t', '=', ';']).next().unwrap_or_default();
        words.contains(&first) && line.trim() != first
    };
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    if text.contains('\0') {
        return Some("this is not text; expected a layout file, which is TOML");
    }
    let has = |words: &[&str]| text.lines().any(|line| starts(line.trim_start(), words));
    if has(&["redef", "@load", "@if", "module"]) {
        return Some(
            "this is Zeek script; expected a layout file: `zcluster layout import` converts it to \
             one",
        );
    }
    if has(&["type"]) && has(&["host"]) && !has(&["node_type"]) {
        return Some(
            "this is node.cfg of ZeekControl; expected a layout file: `zeekctl install` converts \
             it to cluster-layout.zeek, and `zcluster layout import` converts that to a layout \
             file",
        );
    }
    if lines.next().is_some_and(|line| line.starts_with('{')) {
        return Some("this is JSON or the like; expected a layout file, which is TOML");
    }
    None
}

struct Reader {
    reporter: Reporter,
    places: Places,
    source: usize,
    /// The valid TOML used in place of a text with syntax errors.
    mended: Option<Rc<Mended>>,
    /// Whether the text declares that it is for a newer program.
    is_newer: bool,
}

impl Reader {
    fn new(text: &str, file_name: &str) -> Self {
        let mut reporter = Reporter::default();
        let source = reporter.add_source(file_name, text);
        Reader { reporter, places: Places::default(), source, mended: None, is_newer: false }
    }

    fn span<T>(&self, part: &Spanned<T>) -> Span {
        let range = part.span();
        let place = |at| self.mended.as_ref().map_or(at, |mended| mended.original(at));
        let start = place(range.start);
        Span { source: self.source, start, end: place(range.end).max(start) }
    }

    /// Reports the syntax errors of the text; returns whether all of its content can be read.
    fn mend(&mut self, text: &str) -> bool {
        let Some(mended) = syntax::mend(text) else { return true };
        let span = |at: &std::ops::Range<usize>| Span {
            source: self.source,
            start: at.start,
            end: at.end,
        };
        for secret in &mended.secrets {
            self.reporter.keep_secret(span(secret));
        }
        for remark in &mended.remarks {
            self.reporter.damage(span(&remark.at), remark.message.clone());
        }
        let is_whole = mended.is_whole;
        self.mended = Some(Rc::new(mended));
        is_whole
    }

    fn layout(&mut self, text: &str, memory: Option<u64>) -> Layout {
        let is_whole = self.mend(text);
        let mended = self.mended.clone();
        let text = mended.as_ref().map_or(text, |mended| &mended.text);
        let (root, _) = DeTable::parse_recoverable(text);
        self.version(root.get_ref());
        let mut layout = Layout::default();
        for (key, value) in root.get_ref() {
            let name: &str = key.get_ref();
            if syntax::is_hidden(name) {
                continue;
            }
            self.places.put(&[name], self.span(key));
            match name {
                "cluster" => self.section(&[name], "[cluster]", value, &mut layout.cluster, &[]),
                "zeromq" => {
                    self.section(&[name], "[zeromq]", value, &mut layout.zeromq, &ZeroMq::IGNORED);
                }
                "curve" => self.section(&[name], "[curve]", value, &mut layout.curve, &[]),
                "allow" => self.allow(value, &mut layout.allow),
                FORMER_BROKER if root.get_ref().contains_key("broker") => {
                    let message = "[proxy] is the former name of [broker]: use one of them";
                    self.error(key, message.into());
                }
                "broker" | FORMER_BROKER => {
                    self.section_with("broker", "topic", value, &mut layout.broker, |broker| {
                        &mut broker.topic
                    });
                }
                "log" => {
                    self.section_with("log", "path", value, &mut layout.log, |log| &mut log.path);
                }
                "telemetry" => {
                    self.section(&[name], "[telemetry]", value, &mut layout.telemetry, &[]);
                }
                "pools" => self.named_tables(&[name], value, &mut layout.pools),
                "stores" => self.named_tables(&[name], value, &mut layout.stores),
                "nodes" => self.nodes(value, &mut layout, is_whole),
                _ => {
                    let meant = suggestion(name, SECTIONS);
                    let hint = meant.map_or_else(
                        || format!("; expected one of {}", SECTIONS.join(", ")),
                        |hint| format!("; did you mean `{hint}`?"),
                    );
                    self.unknown(key, format!("unknown section `{name}`"), &hint);
                    if let Some(section) = meant {
                        // A section reported as misspelt is not also reported as missing.
                        self.places.put(&[section], self.span(key));
                    }
                }
            }
        }
        if !self.places.has(&["cluster", "manager_is_logger"]) {
            layout.cluster.manager_is_logger = layout.default_manager_is_logger();
        }
        // Parts left out of a damaged text may well be in the file, and one that has no nodes at all
        // probably ends too early.
        if is_whole && !(self.mended.is_some() && layout.nodes.is_empty()) {
            let checked = |memory| validate::Origin::Checked { memory };
            let origin = memory.map_or(validate::Origin::File, checked);
            validate(&layout, origin, &self.places, &mut self.reporter);
        }
        layout
    }

    /// Whether the file is for this program. A file for a newer program may have unknown options,
    /// whose meaning must not be guessed.
    fn version(&mut self, root: &DeTable<'_>) {
        let cluster = root.get("cluster").and_then(|section| section.get_ref().as_table());
        let Some(value) = cluster.and_then(|cluster| cluster.get("layout_version")) else { return };
        let Raw::Integer(version) = raw(value.get_ref()) else { return };
        if version > i64::from(LAYOUT_VERSION) {
            self.is_newer = true;
            let message = format!(
                "this layout is for `layout_version` {version}, and zcluster {} knows \
                 {LAYOUT_VERSION}: upgrade zcluster on this host, or set {LAYOUT_VERSION} and \
                 remove what newer versions added",
                env!("CARGO_PKG_VERSION")
            );
            self.error(value, message);
        }
    }

    /// Reports an error, unless its line has a syntax error.
    fn error<T>(&mut self, at: &Spanned<T>, message: String) {
        let span = self.span(at);
        self.reporter.unless_damaged(span, message);
    }

    /// Reports a name that this program does not know.
    fn unknown<T>(&mut self, at: &Spanned<T>, mut message: String, hint: &str) {
        if self.is_newer {
            // Writing to a string cannot fail.
            let _ = write!(message, "; a newer zcluster may know it");
        } else {
            message.push_str(hint);
        }
        self.error(at, message);
    }

    fn table<'t, 'i>(
        &mut self,
        value: &'t Spanned<DeValue<'i>>,
        label: &str,
    ) -> Option<&'t DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            let found = raw(value.get_ref());
            let message = match &found {
                Raw::List(list) if matches!(list[..], [Raw::Table(_), ..]) => {
                    format!("{label}: found a list of tables, expected one, in single brackets")
                }
                found => format!("{label}: found {found}, expected a table"),
            };
            self.error(value, message);
        }
        table
    }

    /// Reads a table of options. Keys in `ignored` are accepted with a warning.
    fn section(
        &mut self,
        path: &[&str],
        label: &str,
        value: &Spanned<DeValue<'_>>,
        options: &mut dyn Table,
        ignored: &[&str],
    ) {
        let Some(table) = self.table(value, label) else { return };
        for (key, value) in table {
            self.option(path, label, key, value, options, ignored, &[]);
        }
    }

    /// Reads one option. `others` are keys that the caller reads itself, used for suggestions only.
    #[allow(clippy::too_many_arguments)]
    fn option(
        &mut self,
        path: &[&str],
        label: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        options: &mut dyn Table,
        ignored: &[&str],
        others: &[&'static str],
    ) {
        let name: &str = key.get_ref();
        if ignored.contains(&name) {
            let span = self.span(key);
            self.reporter.warn(span, format!("`{name}` in {label} has no effect here"));
            return;
        }
        let aliases = options.aliases();
        let alias = aliases.iter().find(|(alias, _)| *alias == name);
        let option = alias.map_or(name, |(_, option)| *option);
        let mut options = options.options();
        let names: Vec<&'static str> = options.iter().map(|(name, _)| *name).collect();
        let Some((option, setting)) = options.iter_mut().find(|(known, _)| *known == option) else {
            let others = others.iter().copied().chain(aliases.iter().map(|(alias, _)| *alias));
            let hint = suggestion(name, names.into_iter().chain(others))
                .map_or_else(String::new, |hint| format!("; did you mean `{hint}`?"));
            self.unknown(key, format!("unknown key `{name}` in {label}"), &hint);
            return;
        };
        let place = [path, &[*option]].concat();
        if self.places.has(&place) {
            let other = aliases.iter().find(|(_, of)| of == option).map_or(*option, |(a, _)| *a);
            let message = format!("{label} has `{option}` and `{other}`, which are one option");
            self.error(key, format!("{message}; expected one of them"));
            return;
        }
        let span = self.span(value);
        self.places.put(&place, span);
        let raw = raw(value.get_ref());
        if setting.is_secret() {
            self.reporter.keep_secret(span);
        }
        if let Err(expected) = setting.read(&raw) {
            let found = if setting.is_secret() { String::new() } else { format!("found {raw}, ") };
            self.error(value, format!("`{name}` in {label}: {found}expected {expected}"));
        }
    }

    /// Reads a table of options that also has named tables, `[section.beside.NAME]`.
    fn section_with<T: Table, B: Table + Default>(
        &mut self,
        section: &'static str,
        beside: &'static str,
        value: &Spanned<DeValue<'_>>,
        options: &mut T,
        tables: impl Fn(&mut T) -> &mut BTreeMap<String, B>,
    ) {
        let label = format!("[{section}]");
        let Some(table) = self.table(value, &label) else { return };
        for (key, value) in table {
            if key.get_ref() == beside {
                self.named_tables(&[section, beside], value, tables(options));
            } else {
                self.option(&[section], &label, key, value, options, &[], &[beside]);
            }
        }
    }

    fn named_tables<B: Table + Default>(
        &mut self,
        path: &[&str],
        value: &Spanned<DeValue<'_>>,
        tables: &mut BTreeMap<String, B>,
    ) {
        let Some(table) = self.table(value, &header(path)) else { return };
        for (key, value) in table {
            let name: &str = key.get_ref();
            let path = [path, &[name]].concat();
            self.places.put(&path, self.span(key));
            let options = tables.entry(name.into()).or_default();
            self.section(&path, &header(&path), value, options, &[]);
        }
    }

    /// Reads what the nodes of each type may do.
    fn allow(&mut self, value: &Spanned<DeValue<'_>>, tables: &mut BTreeMap<String, Allow>) {
        let Some(table) = self.table(value, "[allow]") else { return };
        for (key, value) in table {
            let name: &str = key.get_ref();
            if !is_type(name) {
                let types = NodeType::ALL.iter().map(|node_type| node_type.as_str());
                let types = types.chain([CurveKeys::OPERATOR]).collect::<Vec<_>>().join(", ");
                self.error(
                    key,
                    format!("unknown type of node `{name}` in [allow]; expected one of {types}"),
                );
                continue;
            }
            self.places.put(&["allow", name], self.span(key));
            let label = format!("[allow.{name}]");
            let options = tables.entry(name.into()).or_default();
            self.section(&["allow", name], &label, value, options, &[]);
        }
    }

    fn nodes(&mut self, value: &Spanned<DeValue<'_>>, layout: &mut Layout, is_whole: bool) {
        let Some(table) = self.table(value, "[nodes]") else {
            self.places.put(&["nodes"], self.span(value));
            return;
        };
        for (key, value) in table {
            let name: &str = key.get_ref();
            self.places.put(&["nodes", name], self.span(key));
            let node = self.node(name, key, value, is_whole);
            layout.nodes.insert(name.into(), node);
        }
    }

    fn node(
        &mut self,
        name: &str,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        is_whole: bool,
    ) -> Node {
        let label = format!("[nodes.{}]", toml_key(name));
        let mut node = Node::new(NodeType::None, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        if !value.get_ref().is_table() && NODE_OPTIONS.contains(&name) {
            let message = format!("`{name}` in [nodes]; expected a table of its own, [nodes.NAME]");
            self.error(key, message);
            return node;
        }
        let Some(table) = self.table(value, &label) else { return node };
        for (key, value) in table {
            if key.get_ref() == "websocket" {
                self.places.put(&["nodes", name, "websocket"], self.span(key));
                let websocket = node.websocket.insert(WebSocket::default());
                self.websocket(name, value, websocket);
            } else if key.get_ref() == "allow" {
                let path = ["nodes", name, "allow"];
                self.places.put(&path, self.span(key));
                let label = format!("[nodes.{}.allow]", toml_key(name));
                self.section(&path, &label, value, &mut node.allow, &[]);
            } else {
                let others = ["websocket", "allow"];
                self.option(&["nodes", name], &label, key, value, &mut node, &[], &others);
            }
        }
        // In a damaged text it may be in a part that was left out.
        for required in ["node_type", "ip"].into_iter().filter(|_| is_whole) {
            if !self.places.has(&["nodes", name, required]) {
                let expected = match required {
                    "ip" => "the address of its host",
                    _ => "\"manager\", \"logger\", \"worker\", \"proxy\" or \"control\"",
                };
                self.error(key, format!("{label} has no `{required}`; expected {expected}"));
            }
        }
        node.zone_id = node.zone_id.filter(|zone| !zone.is_empty());
        node
    }

    /// Reads the WebSocket API of a node. Zeek's TLS options may also be in the table itself, where
    /// layouts have had them.
    fn websocket(&mut self, node: &str, value: &Spanned<DeValue<'_>>, websocket: &mut WebSocket) {
        let path = ["nodes", node, "websocket"];
        let label = format!("`websocket` of {}", header(&path[..2]));
        let of_tls = [&path[..], &["tls_options"]].concat();
        let of_applications = [&path[..], &["applications"]].concat();
        let tls_names = names(&mut TlsOptions::default());
        let application_names = names(&mut Application::default());
        let others = [&tls_names[..], &["tls_options", "applications"]].concat();
        let Some(table) = self.table(value, &label) else { return };
        if let Some((key, value)) = table.get_key_value("tls_options") {
            self.places.put(&of_tls, self.span(key));
            self.section(&of_tls, &header(&of_tls), value, &mut websocket.tls_options, &[]);
        }
        for (key, value) in table {
            match &**key.get_ref() {
                "tls_options" => {}
                "applications" => {
                    self.places.put(&of_applications, self.span(key));
                    self.named_tables(&of_applications, value, &mut websocket.applications);
                }
                name if tls_names.contains(&name) => {
                    if self.places.has(&[&of_tls[..], &[name]].concat()) {
                        let message = format!("`{name}` is in {label} and in its `tls_options`");
                        self.error(key, format!("{message}; expected it once"));
                        continue;
                    }
                    let options = &mut websocket.tls_options;
                    self.option(&of_tls, &label, key, value, options, &[], &[]);
                }
                name if application_names.contains(&name) => {
                    let place = header(&[&of_applications[..], &["NAME"]].concat());
                    let message = format!("`{name}` in {label}; expected it in {place}");
                    self.error(key, message);
                }
                _ => self.option(&path, &label, key, value, websocket, &[], &others),
            }
        }
    }
}

/// The header of a table.
fn header(path: &[&str]) -> String {
    format!("[{}]", path.iter().map(|name| toml_key(name)).collect::<Vec<_>>().join("."))
}

/// The names of a table's options.
fn names(table: &mut dyn Table) -> Vec<&'static str> {
    table.options().into_iter().map(|(name, _)| name).collect()
}

/// The value without its place.
fn raw<'t>(value: &'t DeValue<'_>) -> Raw<'t> {
    match value {
        DeValue::String(text) => Raw::Text(text),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other("a number beyond 64 bits"),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Raw::Float(number),
            Err(_) => Raw::Other("a number beyond 64 bits"),
        },
        DeValue::Boolean(value) => Raw::Bool(*value),
        DeValue::Datetime(_) => Raw::Other("a date or time"),
        DeValue::Array(list) => Raw::List(list.iter().map(|item| raw(item.get_ref())).collect()),
        DeValue::Table(table) => Raw::Table(
            table.iter().map(|(key, value)| (&**key.get_ref(), raw(value.get_ref()))).collect(),
        ),
    }
}

/// The known name nearest to the one typed, if any is close.
pub(super) fn suggestion<'k>(
    typed: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<&'k str> {
    // Long nonsense is similar to nothing, and the distance takes quadratic time.
    if typed.len() > 64 {
        return None;
    }
    let known: Vec<_> = known.into_iter().collect();
    let begun = |name: &&&str| typed.len() > 3 && name.starts_with(typed);
    if let Some(name) = known.iter().find(begun) {
        return Some(name);
    }
    let near = known.into_iter().map(|name| (strsim::damerau_levenshtein(typed, name), name));
    let (distance, name) = near.min()?;
    (distance <= (typed.len() / 3).clamp(1, 4)).then_some(name)
}
