//! [`Change`], and the event `Cluster::table_change_infos` (WIRE.md §8.7).

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::Event;
use crate::event::TypedEvent;
use crate::value::{Timestamp, Value};

/// What happened to an element of a table (`TableChange`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Change {
    /// It was added.
    #[serde(rename = "TABLE_ELEMENT_NEW")]
    New,
    /// It was there, and was assigned again, perhaps with the same value.
    #[serde(rename = "TABLE_ELEMENT_CHANGED")]
    Changed,
    /// It was removed.
    #[serde(rename = "TABLE_ELEMENT_REMOVED")]
    Removed,
    /// It was removed because of its age.
    #[serde(rename = "TABLE_ELEMENT_EXPIRED")]
    Expired,
}

impl Change {
    /// Zeek's name of it: `TABLE_ELEMENT_NEW` …
    pub const fn name(self) -> &'static str {
        match self {
            Change::New => "TABLE_ELEMENT_NEW",
            Change::Changed => "TABLE_ELEMENT_CHANGED",
            Change::Removed => "TABLE_ELEMENT_REMOVED",
            Change::Expired => "TABLE_ELEMENT_EXPIRED",
        }
    }

    /// Whether the element is there afterwards.
    pub(super) fn assigns(self) -> bool {
        matches!(self, Change::New | Change::Changed)
    }
}

/// A set of [`Change`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes(u8);

impl Changes {
    pub(super) fn contains(self, change: Change) -> bool {
        self.0 & (1 << change as u8) != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Change> for Changes {
    fn from_iter<I: IntoIterator<Item = Change>>(changes: I) -> Self {
        Changes(changes.into_iter().fold(0, |bits, change| bits | 1 << change as u8))
    }
}

/// The event `Cluster::table_change_infos`: changes of one table, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableChangeInfos {
    /// Which table, and who changed it.
    pub header: TableChangeHeader,
    /// The changes.
    pub infos: Vec<TableChangeInfo>,
}

impl TypedEvent for TableChangeInfos {
    const NAME: &'static str = "Cluster::table_change_infos";
}

/// Which table changed, and where (`Cluster::TableChangeHeader`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableChangeHeader {
    /// The qualified name of the table.
    pub id: BString,
    /// When the changes were published.
    pub ts: Timestamp,
    /// The id of the process that published them, as it says.
    pub node_id: BString,
}

/// A change of one element (`Cluster::TableChangeInfo`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableChangeInfo {
    /// What happened.
    pub change: Change,
    /// When it happened.
    pub ts: Timestamp,
    /// The components of the key: always a vector, even of one.
    pub index: Vec<Value>,
    /// The value of the element, or the one it had; none in sets.
    pub value: Value,
    /// The value before, if it was assigned again; none in sets.
    pub previous_value: Value,
}

/// A [`TableChangeInfo`] as it is sent.
pub(super) fn row(
    change: Change,
    ts: Timestamp,
    index: Vec<Value>,
    value: Value,
    previous: Value,
) -> Value {
    let change = Value::enum_value(change.name());
    Value::Vector(vec![change, ts.into(), Value::Vector(index), value, previous])
}

/// The event with these rows.
pub(super) fn event(id: &BString, ts: Timestamp, node_id: &[u8], rows: Vec<Value>) -> Event {
    let header = Value::Vector(vec![id.clone().into(), ts.into(), node_id.into()]);
    Event::new(TableChangeInfos::NAME, vec![header, Value::Vector(rows)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ToEvent;

    #[test]
    fn what_is_sent_is_what_is_read() {
        for change in [Change::New, Change::Changed, Change::Removed, Change::Expired] {
            let (index, value) = (vec![1_u64.into(), "x".into()], Value::from("new"));
            let rows =
                vec![row(change, Timestamp(7), index.clone(), value.clone(), "before".into())];
            let sent = event(&"Demo::t".into(), Timestamp(8), b"me", rows);
            let read = TableChangeInfos::from_event(&sent).unwrap();
            let header =
                TableChangeHeader { id: "Demo::t".into(), ts: Timestamp(8), node_id: "me".into() };
            let ts = Timestamp(7);
            let info =
                TableChangeInfo { change, ts, index, value, previous_value: "before".into() };
            assert_eq!(read, TableChangeInfos { header, infos: vec![info] });
            assert_eq!(*read.to_event().unwrap(), sent);
        }
    }
}
