//! Tables in apps, without a bus.

mod expiry;
mod hooks;
mod publish;
mod receive;
mod replication;
mod snapshot;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::app::{App, Context, Harness, Published};
use crate::testing::layout;
use crate::topic::NodeId;
use crate::value::{Timestamp, Value};
use crate::{Event, TypedEvent};

const NODES: &[(&str, &str)] =
    &[("manager", "manager"), ("proxy-1", "proxy"), ("worker-1", "worker"), ("worker-2", "worker")];

const ALL: [Change; 4] = [Change::New, Change::Changed, Change::Removed, Change::Expired];

type Action = Box<dyn FnOnce(&mut Context<'_>)>;

/// A node with tables.
struct Node {
    harness: Harness,
    action: Rc<RefCell<Option<Action>>>,
}

impl Node {
    fn new(tables: &Tables) -> Self {
        Node::named(tables, "worker-1", "me")
    }

    fn named(tables: &Tables, name: &str, id: &str) -> Self {
        let action: Rc<RefCell<Option<Action>>> = Rc::default();
        let next = Rc::clone(&action);
        let app = App::new().with(tables).on_event("act", move |_, context| {
            let action = next.take().unwrap();
            action(context);
            Ok(())
        });
        let id = NodeId::from_bytes(id);
        let harness = Harness::with_id(app, layout(NODES), name, id).unwrap();
        Node { harness, action }
    }

    /// Does something in a handler. Fails if that panics.
    fn act<T: 'static>(&mut self, act: impl FnOnce(&mut Context<'_>) -> T + 'static) -> T {
        let result: Rc<RefCell<Option<T>>> = Rc::default();
        let out = Rc::clone(&result);
        self.action.replace(Some(Box::new(move |context| {
            let value = act(context);
            out.replace(Some(value));
        })));
        self.harness.receive("t", "somebody", &Event::new("act", vec![]));
        result.take().expect("it panicked")
    }

    /// Changes of a table come from another node.
    fn receive(&mut self, id: &str, rows: &[TableChangeInfo]) {
        let header = TableChangeHeader { id: id.into(), ts: Timestamp(0), node_id: "other".into() };
        let infos = TableChangeInfos { header, infos: rows.to_vec() };
        let event = crate::ToEvent::to_event(&infos).unwrap().into_owned();
        self.harness.receive("zeek/table/", "other", &event);
    }

    /// What was published: topics, and the changes as text.
    fn published(&mut self) -> Vec<(String, String)> {
        self.harness.published().iter().map(text).collect()
    }

    /// The changes alone.
    fn changes(&mut self) -> Vec<String> {
        self.published().into_iter().map(|(_, changes)| changes).collect()
    }

    fn advance(&mut self, millis: u64) {
        self.harness.advance(Duration::from_millis(millis));
    }
}

/// A topic, and changes as `+key=value`, `~key=value<previous`, `-key=value`, `!key=value`.
fn text(published: &Published) -> (String, String) {
    let infos = TableChangeInfos::from_event(&published.event).unwrap().infos;
    let changes: Vec<String> = infos.iter().map(info_text).collect();
    (published.topic.to_string(), changes.join(" "))
}

fn info_text(info: &TableChangeInfo) -> String {
    let sign = match info.change {
        Change::New => "+",
        Change::Changed => "~",
        Change::Removed => "-",
        Change::Expired => "!",
    };
    let index: Vec<String> = info.index.iter().map(scalar).collect();
    let mut text = format!("{sign}{}", index.join(","));
    for (mark, value) in [("=", &info.value), ("<", &info.previous_value)] {
        if *value != Value::None {
            text += &format!("{mark}{}", scalar(value));
        }
    }
    text
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Count(number) => number.to_string(),
        Value::String(bytes) => bytes.to_string(),
        Value::Address(address) => address.to_string(),
        Value::Port(port) => port.to_string(),
        other => format!("{other:?}"),
    }
}

fn info(change: Change, index: &[Value], value: Value, previous: Value) -> TableChangeInfo {
    let index = index.to_vec();
    TableChangeInfo { change, ts: Timestamp(0), index, value, previous_value: previous }
}

/// A change of an element whose key is one string.
fn of(change: Change, key: &str, value: impl Into<Value>) -> TableChangeInfo {
    info(change, &[key.into()], value.into(), Value::None)
}

/// The content of a table, sorted.
fn content(table: &Table<String, u64>) -> Vec<(String, u64)> {
    let mut content = Vec::new();
    table.for_each(|key, value| content.push((key.clone(), *value)));
    content.sort();
    content
}
