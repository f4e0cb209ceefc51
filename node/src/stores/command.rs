//! [`Command`]: a line that says what to do with a store. Pure.

use std::borrow::Cow;
use std::time::Duration;

use zcluster::layout::check_store_name;
use zcluster::readable::{ENVELOPE, Json, Part, ReadableError};
use zcluster::store::Expiry;
use zcluster::value::{Timespan, Value};

/// What a line asks for: `{"store":"NAME","put":[KEY,VALUE],"expires":"5min","id":7}`.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    /// The name of the store.
    pub(super) store: String,
    /// What to do.
    pub(super) operation: Operation,
    /// Comes back with the result.
    pub(super) id: Option<Value>,
    /// When the entry is to expire.
    pub(super) expiry: Option<Expiry>,
    /// How long to wait for the result.
    pub(super) timeout: Option<Duration>,
}

macro_rules! operations {
    ($($name:literal = $operation:ident [$($argument:ident),*];)*) => {
        /// An operation, and its arguments.
        #[derive(Debug, PartialEq)]
        pub(super) enum Operation {
            $($operation { $($argument: Value),* },)*
            /// Of any number of keys.
            Lookup(Vec<Value>),
        }

        impl Operation {
            /// As it is called in a line.
            pub(super) fn name(&self) -> &'static str {
                match self {
                    $(Operation::$operation { .. } => $name,)*
                    Operation::Lookup(_) => "lookup",
                }
            }

            /// Reads the arguments of the operation of that name, if there is one.
            fn read(name: &str, part: Part<'_, '_>) -> Result<Option<Self>, ReadableError> {
                Ok(Some(match name {
                    $($name => {
                        let [$($argument),*] = arguments(part, &[$(stringify!($argument)),*])?;
                        Operation::$operation { $($argument),* }
                    })*
                    "lookup" => {
                        Operation::Lookup(part.elements()?.map(Part::value).collect::<Result<_, _>>()?)
                    }
                    _ => return Ok(None),
                }))
            }
        }
    };
}

operations! {
    "exists" = Exists[key];
    "get" = Get[key];
    "get_index_from_value" = GetIndexFromValue[key, index];
    "keys" = Keys[];
    "size" = Size[];
    "put" = Put[key, value];
    "put_unique" = PutUnique[key, value];
    "erase" = Erase[key];
    "clear" = Clear[];
    "increment" = Increment[key, amount];
    "decrement" = Decrement[key, amount];
    "append" = Append[key, string];
    "insert_into_set" = InsertIntoSet[key, element];
    "insert_into_table" = InsertIntoTable[key, index, value];
    "remove_from" = RemoveFrom[key, index];
    "push" = Push[key, element];
    "push_left" = PushLeft[key, element];
    "pop" = Pop[key];
    "pop_left" = PopLeft[key];
    "watch" = Watch[];
    "frontend" = Frontend[];
}

impl Operation {
    /// Whether it leaves an entry that can expire.
    fn keeps_entry(&self) -> bool {
        use Operation as Op;
        !matches!(
            self,
            Op::Exists { .. }
                | Op::Get { .. }
                | Op::GetIndexFromValue { .. }
                | Op::Lookup(_)
                | Op::Keys {}
                | Op::Size {}
                | Op::Erase { .. }
                | Op::Clear {}
                | Op::Watch {}
                | Op::Frontend {}
        )
    }
}

impl Command {
    /// Reads a line, if it is one for a store: an object with the member `store`.
    ///
    /// # Errors
    /// What is wrong with a line for a store.
    pub(super) fn read(line: &str) -> Result<Option<Self>, String> {
        // Most lines are events, which are read elsewhere.
        if !line.contains(r#""store""#) {
            return Ok(None);
        }
        // What is no JSON at all is reported with the events.
        let Ok(json) = Json::parse(line) else { return Ok(None) };
        let Some(members) = json.as_object() else { return Ok(None) };
        if !members.iter().any(|(name, _)| name == "store") {
            return Ok(None);
        }
        Command::of(Part::whole(&json), members).map(Some)
    }

    fn of(whole: Part<'_, '_>, members: &[(Cow<'_, str>, Json<'_>)]) -> Result<Self, String> {
        let (mut store, mut operation, mut id) = (String::new(), None, None);
        let (mut expiry, mut timeout) = (None, None);
        for (name, json) in members {
            let part = whole.member(name, json).inside(ENVELOPE + AROUND);
            match &**name {
                "store" => store = part.text("the name of a store").map_err(told)?.into_owned(),
                "id" => id = Some(part.value().map_err(told)?),
                "expires" => expiry = Some(read_expiry(part)?),
                "timeout" => timeout = Some(read_span(part)?),
                other => {
                    let Some(read) = Operation::read(other, part).map_err(told)? else {
                        let expected = "store, one operation, id, expires or timeout";
                        return Err(format!("unknown member `{other}`; expected {expected}"));
                    };
                    if let Some(before) = operation.replace(read) {
                        return Err(format!(
                            "expected one operation, found {} and {other}",
                            before.name()
                        ));
                    }
                }
            }
        }
        check_store_name(&store).map_err(|error| error.to_string())?;
        let operation = operation
            .ok_or(r#"missing operation, such as "get":[KEY] or "put":[KEY,VALUE]"#.to_owned())?;
        if expiry.is_some() && !operation.keeps_entry() {
            return Err(format!("expires: {} leaves no entry that expires", operation.name()));
        }
        Ok(Command { store, operation, id, expiry, timeout })
    }
}

#[allow(clippy::needless_pass_by_value)] // As a function for `map_err`.
fn told(error: ReadableError) -> String {
    error.to_string()
}

/// Containers around the arguments of a command in an event, beside their own: a vector and a record.
const AROUND: usize = 2;

/// An array with these arguments.
fn arguments<const N: usize>(
    part: Part<'_, '_>,
    names: &[&str],
) -> Result<[Value; N], ReadableError> {
    let wrong = || {
        let names: Vec<_> = names.iter().map(|name| name.to_uppercase()).collect();
        part.unexpected(format!("[{}]", names.join(",")))
    };
    let elements = match part.json() {
        Json::Array(elements) if elements.len() == N => part.elements()?,
        _ => return Err(wrong()),
    };
    let values = elements.map(Part::value).collect::<Result<Vec<_>, _>>()?;
    values.try_into().map_err(|_| wrong())
}

/// A time after the last change of the entry, or a point in time.
fn read_expiry(part: Part<'_, '_>) -> Result<Expiry, String> {
    if part.value_of("interval").is_ok() {
        return read_span(part).map(Expiry::after);
    }
    match part.value_of("time") {
        Ok(Some(Value::Timestamp(time))) => Ok(Expiry::at(time)),
        _ => Err(told(part.unexpected(
            "a time after the last change as in 5min, or a point in time as in 2026-01-01T00:00:00Z",
        ))),
    }
}

fn read_span(part: Part<'_, '_>) -> Result<Duration, String> {
    match part.value_of("interval") {
        Ok(Some(Value::Timespan(Timespan(nanos)))) if nanos > 0 => {
            Ok(Duration::from_nanos(nanos.unsigned_abs()))
        }
        Ok(_) => Err(told(part.unexpected("a time above 0"))),
        Err(error) => Err(told(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zcluster::value::Timestamp;

    fn read(line: &str) -> Command {
        Command::read(line).unwrap_or_else(|error| panic!("{line}: {error}")).unwrap()
    }

    #[test]
    fn a_line_has_one_operation_with_its_arguments() {
        let key = || Value::from("k");
        for (text, operation) in [
            (r#""exists":["k"]"#, Operation::Exists { key: key() }),
            (
                r#""get_index_from_value":["k",0]"#,
                Operation::GetIndexFromValue { key: key(), index: Value::Count(0) },
            ),
            (r#""lookup":["k",1]"#, Operation::Lookup(vec![key(), Value::Count(1)])),
            (r#""lookup":[]"#, Operation::Lookup(vec![])),
            (r#""keys":[]"#, Operation::Keys {}),
            (r#""put":["k",{"int":-1}]"#, Operation::Put { key: key(), value: Value::Integer(-1) }),
            (r#""get":[["k",1]]"#, Operation::Get { key: vec![key(), Value::Count(1)].into() }),
            (
                r#""insert_into_table":["k",1,2]"#,
                Operation::InsertIntoTable {
                    key: key(),
                    index: Value::Count(1),
                    value: Value::Count(2),
                },
            ),
            (r#""watch":[]"#, Operation::Watch {}),
        ] {
            let command = read(&format!(r#"{{"id":7,{text},"store":"a/b"}}"#));
            let (store, id) = ("a/b".into(), Some(Value::Count(7)));
            assert_eq!(command, Command { store, operation, id, expiry: None, timeout: None });
        }
    }

    #[test]
    fn an_entry_expires_after_its_last_change_or_at_a_time() {
        let minute = Expiry::after(Duration::from_secs(60));
        for (text, expiry) in [
            (r#""1min""#, minute),
            ("60", minute),
            (r#""1970-01-01T00:00:01Z""#, Expiry::at(Timestamp(1_000_000_000))),
        ] {
            let line = format!(r#"{{"store":"s","put":[1,2],"expires":{text},"timeout":"500ms"}}"#);
            let command = read(&line);
            assert_eq!(command.expiry, Some(expiry), "{text}");
            assert_eq!(command.timeout, Some(Duration::from_millis(500)));
        }
    }

    #[test]
    fn other_lines_are_events() {
        for line in
            ["", "no JSON \"store\"", r#"["store"]"#, r#"{"topic":"t","event":"\"store\""}"#]
        {
            assert_eq!(Command::read(line), Ok(None), "{line}");
        }
    }

    #[test]
    fn mistakes_are_told_by_their_place() {
        for (line, expected) in [
            (r#"{"store":7,"keys":[]}"#, "store: expected the name of a store, found 7"),
            (r#"{"store":"a b","keys":[]}"#, "the store name \"a b\" "),
            (r#"{"store":"s"}"#, "missing operation, such as "),
            (r#"{"store":"s","put":["k"]}"#, "put: expected [KEY,VALUE], found an array of 1"),
            (r#"{"store":"s","get":"k"}"#, "get: expected [KEY], found \"k\""),
            (r#"{"store":"s","size":null}"#, "size: expected [], found null"),
            (r#"{"store":"s","get":[{"port":"http"}]}"#, "get[0].port: expected a port as in "),
            (r#"{"store":"s","get":[1],"keys":[]}"#, "expected one operation, found get and keys"),
            (r#"{"store":"s","got":[1]}"#, "unknown member `got`; expected store, one operation"),
            (r#"{"store":"s","get":[1],"expires":1}"#, "expires: get leaves no entry"),
            (
                r#"{"store":"s","put":[1,1],"expires":"soon"}"#,
                "expires: expected a time after the last change as in 5min, or",
            ),
            (
                r#"{"store":"s","put":[1,1],"expires":"-5s"}"#,
                "expires: expected a time above 0, found \"-5s\"",
            ),
            (
                r#"{"store":"s","get":[1],"timeout":"2026-01-01T00:00:00Z"}"#,
                "timeout: expected a number with one of the units",
            ),
        ] {
            let error = Command::read(line).unwrap_err();
            assert!(error.starts_with(expected), "{line}: {error}");
        }
    }
}
