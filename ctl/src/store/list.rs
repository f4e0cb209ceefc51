//! `zcluster store list`: which stores there are, and which have no master.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bstr::{BString, ByteSlice};
use serde_json::json;
use zcluster::app::App;
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::Layout;
use zcluster::store::{self, StoreInfo};

use super::session::{Session, Slot, every};
use crate::client::{ClientArgs, duration};
use crate::output::{aligned, print, printable};

/// How often to look whether all have answered.
const LOOK: Duration = Duration::from_millis(20);
/// How long nothing new may come until those that have answered are all: stores need not be in the layout.
const SILENCE: Duration = Duration::from_millis(300);

/// The arguments of `zcluster store list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    client: ClientArgs,
    /// How long to wait for the broker to answer, and then for the masters: in seconds, or with a unit.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    timeout: Duration,
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

/// What was answered, by store and process.
type Answers = BTreeMap<(BString, BString), StoreInfo>;

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let layout = args.client.layout()?;
    let session = Session::open(&args.client, layout.clone(), args.timeout)?;
    let found: Slot<Answers> = Rc::default();
    found.replace(Some(Answers::new()));
    let app = collect(&found, layout.stores.keys().cloned().collect(), args.timeout);
    let rows = rows(&layout, session.run(app, &found)?);
    print(&if args.json { as_json(&rows) } else { table(&rows) })?;
    match absent(&rows) {
        None => Ok(()),
        Some(absent) => {
            let timeout = humantime::format_duration(args.timeout);
            let text = format!("no master has answered within {timeout}: {absent}");
            Err(Failure::new(ExitCode::Unavailable, text))
        }
    }
}

/// An app that collects answers until all of these stores have answered, or it is time.
fn collect(found: &Slot<Answers>, expected: Vec<String>, patience: Duration) -> App {
    let changed = Rc::new(std::cell::Cell::new(Instant::now()));
    let (answers, news) = (Rc::clone(found), Rc::clone(&changed));
    let list = store::list(move |info, _| {
        let key = (info.name.clone(), info.process.clone());
        let before = answers.borrow_mut().get_or_insert_default().insert(key, info);
        if before.is_none() {
            news.set(Instant::now());
        }
        Ok(())
    });
    let answers = Rc::clone(found);
    App::new().with(list).on_event("zeek_init", move |_, context| {
        let (answers, changed, expected) =
            (Rc::clone(&answers), Rc::clone(&changed), expected.clone());
        let begin = Instant::now();
        every(LOOK, context, move |context| {
            let has_answered = |name: &String| {
                let answers = answers.borrow();
                let mut answers = answers.iter().flatten();
                answers.any(|((store, _), _)| store == name.as_str())
            };
            let is_complete = !expected.is_empty()
                && changed.get().elapsed() >= SILENCE
                && expected.iter().all(has_answered);
            let is_over = is_complete || begin.elapsed() >= patience;
            if is_over {
                context.stop();
            }
            !is_over
        });
        Ok(())
    })
}

/// A store, and its master, if that has answered.
#[derive(Debug, PartialEq)]
struct Row {
    name: String,
    /// The node that has the master, as its id says, or that should have it.
    node: Option<String>,
    info: Option<StoreInfo>,
}

/// The stores of the layout and those that have answered, by name.
fn rows(layout: &Layout, answers: Answers) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for name in layout.stores.keys() {
        if !answers.keys().any(|(store, _)| store == name.as_str()) {
            let node = layout.store_master(name).map(str::to_owned);
            rows.push(Row { name: name.clone(), node, info: None });
        }
    }
    rows.extend(answers.into_values().map(|info| Row {
        name: info.name.to_str_lossy().into_owned(),
        node: node_of(layout, info.process.as_bytes()),
        info: Some(info),
    }));
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

/// The node whose name is in the id of a process.
fn node_of(layout: &Layout, process: &[u8]) -> Option<String> {
    let rest = process.strip_prefix(b"zeromq_")?;
    let names = layout.nodes.keys().filter(|name| {
        rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"_"))
    });
    names.max_by_key(|name| name.len()).cloned()
}

/// The stores of the layout without a master.
fn absent(rows: &[Row]) -> Option<String> {
    let absent = rows.iter().filter(|row| row.info.is_none()).map(|row| match &row.node {
        Some(node) => format!("{} (of node {node})", row.name),
        None => format!("{} (the layout names no node for it)", row.name),
    });
    let absent: Vec<_> = absent.collect();
    (!absent.is_empty()).then(|| absent.join(", "))
}

fn table(rows: &[Row]) -> String {
    const COLUMNS: [&str; 6] = ["STORE", "BACKEND", "ENTRIES", "SEQUENCE", "NODE", "PROCESS"];
    let mut lines = vec![COLUMNS.map(str::to_owned)];
    for Row { name, node, info } in rows {
        let of = |field: fn(&StoreInfo) -> String| info.as_ref().map_or("-".into(), field);
        lines.push([
            printable(name),
            info.as_ref().map_or("no master".into(), |info| printable(&info.backend)),
            of(|info| info.entries.to_string()),
            of(|info| info.sequence.to_string()),
            node.as_deref().map_or("-".into(), printable),
            of(|info| printable(&info.process.to_str_lossy())),
        ]);
    }
    aligned(&lines, 2..4)
}

/// An array of stores; what is not known is missing.
fn as_json(rows: &[Row]) -> String {
    let stores: serde_json::Value = rows
        .iter()
        .map(|Row { name, node, info }| {
            let mut store = json!({ "store": name, "master": info.is_some() });
            if let Some(node) = node {
                store["node"] = json!(node);
            }
            if let Some(info) = info {
                store["backend"] = json!(info.backend);
                store["entries"] = json!(info.entries);
                store["epoch"] = json!(info.epoch);
                store["sequence"] = json!(info.sequence);
                store["process"] = json!(info.process.to_str_lossy());
            }
            store
        })
        .collect();
    format!("{stores}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, process: &str) -> ((BString, BString), StoreInfo) {
        let info = StoreInfo {
            name: name.into(),
            process: process.into(),
            epoch: 1,
            sequence: 20,
            entries: 3,
            backend: "memory".into(),
        };
        ((name.into(), process.into()), info)
    }

    #[test]
    fn stores_of_the_layout_and_others_are_listed_by_name() {
        let text = "[nodes.m]\nnode_type = \"manager\"\nip = \"10.0.0.1\"\n\
                    [nodes.m_2]\nnode_type = \"worker\"\nip = \"10.0.0.1\"\nmanager = \"m\"\n\
                    [stores.b]\nmaster_node = \"m_2\"\n[stores.a]\n";
        let layout = Layout::from_toml(text, "l.toml").unwrap().0;
        let answers = [info("a", "zeromq_m_2_h_7_N1"), info("x\u{1b}", "zcluster_p")];
        let rows = rows(&layout, answers.into_iter().collect());
        assert_eq!(absent(&rows).as_deref(), Some("b (of node m_2)"));
        let expected = "\
STORE    BACKEND    ENTRIES  SEQUENCE  NODE  PROCESS
a        memory           3        20  m_2   zeromq_m_2_h_7_N1
b        no master        -         -  m_2   -
x\\u{1b}  memory           3        20  -     zcluster_p
";
        assert_eq!(table(&rows), expected);
        let json: serde_json::Value = serde_json::from_str(&as_json(&rows)).unwrap();
        assert_eq!(json[1], json!({ "store": "b", "master": false, "node": "m_2" }));
        assert_eq!((&json[0]["entries"], &json[0]["node"]), (&json!(3), &json!("m_2")));
        assert_eq!((json[2].get("node"), json.as_array().unwrap().len()), (None, 3));
    }
}
