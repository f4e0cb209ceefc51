//! What each operation does to an entry, row by row.

use super::command;
use crate::Value;
use crate::peers::ErrorCode;
use crate::store::content::{Content, Entry};
use crate::store::expiry::Expiry;
use crate::store::operation::{Effect, Operation, effect, query};
use crate::value::{Real, Timespan, Timestamp};

fn set(elements: &[u64]) -> Value {
    Value::Set(elements.iter().map(|n| Value::from(*n)).collect())
}

fn table(entries: &[(u64, &str)]) -> Value {
    Value::Table(entries.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
}

fn vector(elements: &[u64]) -> Value {
    Value::Vector(elements.iter().map(|n| Value::from(*n)).collect())
}

/// A row: the value before, the operation with its arguments, and the value after it, or the error.
type Row = (Option<Value>, Operation, Vec<Value>, Result<Value, ErrorCode>);

fn entry(value: Value) -> Entry {
    Entry { value, expiry: None }
}

#[test]
fn operations_make_new_values_of_old_ones() {
    use ErrorCode::{InvalidData, NoSuchKey, TypeClash};
    use Operation as Op;
    let count = |n: u64| Value::Count(n);
    let int = |n: i64| Value::Integer(n);
    let real = |x: f64| Value::Real(Real(x));
    let time = |n: i64| Value::Timestamp(Timestamp(n));
    let span = |n: i64| Value::Timespan(Timespan(n));
    let text = |s: &str| Value::from(s);
    let rows: Vec<Row> = vec![
        (None, Op::Put, vec![count(1)], Ok(count(1))),
        (Some(text("x")), Op::Put, vec![count(1)], Ok(count(1))),
        (None, Op::PutUnique, vec![count(1)], Ok(count(1))),
        (Some(count(7)), Op::PutUnique, vec![count(1)], Ok(count(7))),
        (None, Op::Increment, vec![count(2)], Ok(count(2))),
        (None, Op::Increment, vec![int(-2)], Ok(int(-2))),
        (None, Op::Increment, vec![real(0.5)], Ok(real(0.5))),
        (None, Op::Increment, vec![span(5)], Ok(time(5))),
        (None, Op::Increment, vec![text("x")], Err(TypeClash)),
        (Some(count(1)), Op::Increment, vec![count(2)], Ok(count(3))),
        (Some(count(u64::MAX)), Op::Increment, vec![count(1)], Err(InvalidData)),
        (Some(int(i64::MAX)), Op::Increment, vec![int(1)], Err(InvalidData)),
        (Some(int(1)), Op::Increment, vec![int(-3)], Ok(int(-2))),
        (Some(int(1)), Op::Increment, vec![count(1)], Err(TypeClash)),
        (Some(real(1.5)), Op::Increment, vec![real(1.0)], Ok(real(2.5))),
        (Some(span(1)), Op::Increment, vec![span(1)], Ok(span(2))),
        (Some(time(1)), Op::Increment, vec![span(1)], Ok(time(2))),
        (Some(time(1)), Op::Increment, vec![time(1)], Err(TypeClash)),
        (Some(text("x")), Op::Increment, vec![text("y")], Err(TypeClash)),
        (None, Op::Decrement, vec![count(2)], Err(NoSuchKey)),
        (Some(count(3)), Op::Decrement, vec![count(2)], Ok(count(1))),
        (Some(count(1)), Op::Decrement, vec![count(2)], Err(InvalidData)),
        (Some(time(i64::MIN)), Op::Decrement, vec![span(1)], Err(InvalidData)),
        (None, Op::Append, vec![text("b")], Ok(text("b"))),
        (Some(text("a")), Op::Append, vec![text("b")], Ok(text("ab"))),
        (Some(text("a")), Op::Append, vec![count(1)], Err(TypeClash)),
        (Some(count(1)), Op::Append, vec![text("b")], Err(TypeClash)),
        (None, Op::InsertIntoSet, vec![count(1)], Ok(set(&[1]))),
        (Some(set(&[1])), Op::InsertIntoSet, vec![count(2)], Ok(set(&[1, 2]))),
        (Some(vector(&[1])), Op::InsertIntoSet, vec![count(2)], Err(TypeClash)),
        (None, Op::InsertIntoTable, vec![count(1), text("a")], Ok(table(&[(1, "a")]))),
        (
            Some(table(&[(1, "a")])),
            Op::InsertIntoTable,
            vec![count(1), text("b")],
            Ok(table(&[(1, "b")])),
        ),
        (Some(set(&[])), Op::InsertIntoTable, vec![count(1), text("b")], Err(TypeClash)),
        (Some(table(&[])), Op::InsertIntoTable, vec![count(1)], Err(InvalidData)),
        (None, Op::RemoveFrom, vec![count(1)], Err(NoSuchKey)),
        (Some(set(&[1, 2])), Op::RemoveFrom, vec![count(1)], Ok(set(&[2]))),
        (Some(set(&[2])), Op::RemoveFrom, vec![count(1)], Ok(set(&[2]))),
        (Some(table(&[(1, "a")])), Op::RemoveFrom, vec![count(1)], Ok(table(&[]))),
        (Some(vector(&[1])), Op::RemoveFrom, vec![count(0)], Err(TypeClash)),
        (None, Op::PushRight, vec![count(1)], Ok(vector(&[1]))),
        (Some(vector(&[1])), Op::PushRight, vec![count(2)], Ok(vector(&[1, 2]))),
        (Some(vector(&[1])), Op::PushLeft, vec![count(2)], Ok(vector(&[2, 1]))),
        (Some(set(&[1])), Op::PushLeft, vec![count(2)], Err(TypeClash)),
        (None, Op::PopRight, vec![], Err(NoSuchKey)),
        (Some(vector(&[1, 2])), Op::PopRight, vec![], Ok(vector(&[1]))),
        (Some(vector(&[1, 2])), Op::PopLeft, vec![], Ok(vector(&[2]))),
        (Some(vector(&[])), Op::PopLeft, vec![], Ok(vector(&[]))),
        (Some(count(1)), Op::PopLeft, vec![], Err(TypeClash)),
        // As many arguments as there must be, whoever sends them.
        (Some(count(1)), Op::Put, vec![], Err(InvalidData)),
        (Some(count(1)), Op::Increment, vec![count(1), count(1)], Err(InvalidData)),
    ];
    for (before, operation, arguments, expected) in rows {
        let old = before.clone().map(entry);
        let what = format!("{operation:?} {arguments:?} of {before:?}");
        let result = effect(old.as_ref(), &command(operation, "k", arguments), Timestamp(0));
        let after = result.map(|(effect, _)| match effect {
            Effect::Set(entry) => Some(entry.value),
            Effect::Nothing => before,
            Effect::Erase | Effect::Clear => None,
        });
        assert_eq!(after.map_err(|error| error.code), expected.map(Some), "{what}");
    }
}

#[test]
fn what_is_taken_is_the_result() {
    let rows = [
        (vector(&[1, 2]), Operation::PopLeft, vec![], Value::Count(1)),
        (vector(&[1, 2]), Operation::PopRight, vec![], Value::Count(2)),
        (vector(&[]), Operation::PopRight, vec![], Value::None),
        (vector(&[]), Operation::PutUnique, vec![1_u64.into()], false.into()),
        (vector(&[]), Operation::Put, vec![1_u64.into()], Value::None),
    ];
    for (before, operation, arguments, expected) in rows {
        let command = command(operation, "k", arguments);
        let (_, result) = effect(Some(&entry(before)), &command, Timestamp(0)).unwrap();
        assert_eq!(result, expected, "{operation:?}");
    }
}

#[test]
fn expiries_stay_or_begin_anew() {
    let now = Timestamp(1_000);
    let at = Expiry::at(Timestamp(5_000));
    let after = Expiry { expires: Timestamp(0), lifetime: Some(Timespan(100)) };
    let renewed = Expiry { expires: Timestamp(1_100), ..after };
    let before = Expiry { expires: Timestamp(1_050), ..after };
    let rows = [
        // (before, with the command, operation, afterwards)
        (Some(at), None, Operation::Increment, Some(at)),
        (Some(before), None, Operation::Increment, Some(renewed)),
        (Some(at), Some(after), Operation::Increment, Some(renewed)),
        (None, Some(at), Operation::Increment, Some(at)),
        (Some(at), None, Operation::Put, None),
        (None, Some(after), Operation::Put, Some(renewed)),
    ];
    for (expiry, with, operation, expected) in rows {
        let old = Entry { value: 1_u64.into(), expiry };
        let mut command = command(operation, "k", vec![1_u64.into()]);
        command.expiry = with;
        let (effect, _) = effect(Some(&old), &command, now).unwrap();
        let Effect::Set(entry) = effect else { panic!("{effect:?}") };
        assert_eq!(entry.expiry, expected, "{operation:?} {expiry:?} {with:?}");
    }
}

#[test]
fn queries_say_what_there_is() {
    use ErrorCode::{InvalidData, NoSuchKey, TypeClash};
    use Operation as Op;
    let mut content = Content::default();
    for (key, value) in
        [("s", set(&[1])), ("t", table(&[(1, "a")])), ("v", vector(&[5, 6])), ("n", 1_u64.into())]
    {
        content.set(&key.into(), Some(entry(value)));
    }
    let one = || vec![Value::Count(1)];
    let rows = [
        ("n", Op::Exists, vec![], Ok("T".to_owned())),
        ("x", Op::Exists, vec![], Ok("F".into())),
        ("n", Op::Get, vec![], Ok("1".into())),
        ("x", Op::Get, vec![], Err(NoSuchKey)),
        ("s", Op::GetIndexFromValue, one(), Ok("T".into())),
        ("s", Op::GetIndexFromValue, vec![2_u64.into()], Ok("F".into())),
        ("t", Op::GetIndexFromValue, one(), Ok("a".into())),
        ("t", Op::GetIndexFromValue, vec![2_u64.into()], Err(NoSuchKey)),
        ("v", Op::GetIndexFromValue, one(), Ok("6".into())),
        ("v", Op::GetIndexFromValue, vec![1_i64.into()], Ok("6".into())),
        ("v", Op::GetIndexFromValue, vec![(-1_i64).into()], Err(TypeClash)),
        ("v", Op::GetIndexFromValue, vec![2_u64.into()], Err(NoSuchKey)),
        ("n", Op::GetIndexFromValue, one(), Err(TypeClash)),
        ("x", Op::GetIndexFromValue, one(), Err(NoSuchKey)),
        ("n", Op::GetIndexFromValue, vec![], Err(InvalidData)),
        ("", Op::Size, vec![], Ok("4".into())),
    ];
    for (key, operation, arguments, expected) in rows {
        let what = format!("{operation:?} {key} {arguments:?}");
        let result = query(&content, &command(operation, key, arguments));
        let result = result.map(|value| match value {
            Value::Boolean(true) => "T".into(),
            Value::Boolean(false) => "F".into(),
            Value::Count(n) => n.to_string(),
            other => other.as_str().unwrap().to_owned(),
        });
        assert_eq!(result.map_err(|error| error.code), expected, "{what}");
    }
    let keys = query(&content, &command(Op::Keys, Value::None, vec![])).unwrap();
    assert_eq!(keys, Value::Set(["n", "s", "t", "v"].map(Value::from).into()));
    let lookup = command(Op::Lookup, Value::None, vec!["n".into(), "x".into()]);
    let found = query(&content, &lookup).unwrap();
    assert_eq!(found, Value::Table([("n".into(), 1_u64.into())].into()));
}

#[test]
fn answers_are_of_limited_size() {
    let mut content = Content::default();
    let large = Value::string(vec![0; 1 << 20]);
    for key in 0..20_u64 {
        content.set(&Value::Vector(vec![key.into(), large.clone()]), Some(entry(large.clone())));
    }
    let keys: Vec<Value> = content.iter().map(|(key, _)| key.clone()).collect();
    for (operation, arguments) in [(Operation::Keys, vec![]), (Operation::Lookup, keys)] {
        let error = query(&content, &command(operation, Value::None, arguments)).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidData, "{operation:?}");
    }
}

#[test]
fn every_operation_is_a_query_or_a_change() {
    let content = Content::default();
    for operation in Operation::ALL {
        let command = command(*operation, "k", vec![]);
        let is_query =
            query(&content, &command).err().is_none_or(|error| error.text != "this is no query");
        assert_eq!(is_query, operation.is_query(), "{operation:?}");
        let is_change = effect(None, &command, Timestamp(0))
            .err()
            .is_none_or(|error| error.text != "this is a query");
        assert_eq!(is_change, !operation.is_query(), "{operation:?}");
    }
}
