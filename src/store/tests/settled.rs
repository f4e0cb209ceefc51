//! What the process of a master sees of changes that are not written yet.

use std::time::{Duration, Instant};

use bstr::BStr;

use super::command;
use crate::Value;
use crate::store::master::Master;
use crate::store::operation::Operation;
use crate::store::protocol::{Command, Moment, Request};
use crate::value::Timestamp;

fn content(master: &Master) -> Vec<(Value, Value)> {
    let mut entries = master.settled_entries();
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, entry) in &entries {
        assert_eq!(master.settled_value(key), Some(&entry.value));
    }
    assert_eq!(entries.len(), master.settled_len());
    entries.into_iter().map(|(key, entry)| (key, entry.value)).collect()
}

#[test]
fn entries_are_those_that_are_written() {
    let start = Instant::now();
    let at = |seconds: u64| Moment {
        instant: start + Duration::from_secs(seconds),
        time: Timestamp(seconds as i64),
    };
    let mut master = Master::new(BStr::new("s"), 1 << 20, false, at(0));
    master.bus_is_ready(at(0));
    for seconds in 0..3 {
        master.tick(at(seconds));
    }
    let mut id = 0;
    let mut request = |master: &mut Master, commands: Vec<Command>| {
        let commands = commands.into_iter().map(|command| {
            id += 1;
            Command { id, ..command }
        });
        let commands = commands.collect();
        let request = Request { store: "s".into(), client: 1, oldest: 1, commands };
        master.request(BStr::new("p"), request, at(3));
        master.flush(at(3), &mut Vec::new());
    };
    let put = |key: &str, value: u64| command(Operation::Put, key, vec![value.into()]);
    let pair = |key: &str, value: u64| (Value::from(key), Value::from(value));

    request(&mut master, vec![put("a", 1), put("b", 1)]);
    assert_eq!(content(&master), []);
    let first = master.take_batch().unwrap().sequence;
    // One batch after the other is written; meanwhile more is changed, and everything is removed.
    request(&mut master, vec![put("a", 2), put("c", 1), command(Operation::Erase, "b", vec![])]);
    assert_eq!(content(&master), []);
    master.written(first, Ok(()), at(3), &mut Vec::new());
    assert_eq!(content(&master), [pair("a", 1), pair("b", 1)]);
    let clear = command(Operation::Clear, Value::None, vec![]);
    request(&mut master, vec![clear, put("d", 1), put("a", 3)]);
    assert_eq!(content(&master), [pair("a", 1), pair("b", 1)]);
    let second = master.take_batch().unwrap().sequence;
    master.written(second, Ok(()), at(3), &mut Vec::new());
    assert_eq!(content(&master), [pair("a", 3), pair("d", 1)]);
}
