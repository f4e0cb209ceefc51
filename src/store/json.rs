//! Changes and entries as lines of JSON, with values in the forms of [`readable`](crate::readable).

use super::change::Change;
use super::expiry::Expiry;
use super::handle::Entry;
use crate::readable::{Numbers, rfc3339, write_text, write_value};
use crate::value::{Timestamp, Value};

impl Change<Value, Value> {
    /// The change as a line of JSON, in which `time` is when this process heard of it:
    /// `{"time":"…","store":"NAME","insert":{"key":…,"value":…,"expires":"…"}}`.
    ///
    /// The last member is `insert`, `update`, `erase`, `expire` or `clear`. It has a `key`, unless all entries are removed; and,
    /// where there is one, the `value`, what was before as `old`, when the entry `expires`, and the `lifetime` after which it
    /// does so without a further change.
    pub fn to_json(&self, time: Timestamp, store: &str) -> String {
        let mut line = format!(r#"{{"time":"{:.6}","store":"#, rfc3339(time));
        write_text(store.as_bytes(), &mut line);
        let (name, key, old, value, expiry) = match self {
            Change::Insert { key, value, expiry } => {
                ("insert", Some(key), None, Some(value), *expiry)
            }
            Change::Update { key, old, value, expiry } => {
                ("update", Some(key), old.as_ref(), Some(value), *expiry)
            }
            Change::Erase { key } => ("erase", Some(key), None, None, None),
            Change::Expire { key } => ("expire", Some(key), None, None, None),
            Change::Clear => ("clear", None, None, None, None),
        };
        line.push_str(&format!(r#","{name}":"#));
        write_members([("key", key), ("old", old), ("value", value)], expiry, &mut line);
        line.push('}');
        line
    }
}

impl Entry<Value, Value> {
    /// The entry as a line of JSON: `{"key":…,"value":…}`, and, if it expires, when as `expires`, and the `lifetime` after which
    /// it does so without a further change.
    pub fn to_json(&self) -> String {
        let mut line = String::new();
        let members = [("key", Some(&self.key)), ("value", Some(&self.value))];
        write_members(members, self.expiry, &mut line);
        line
    }
}

fn write_members<const N: usize>(
    values: [(&str, Option<&Value>); N],
    expiry: Option<Expiry>,
    out: &mut String,
) {
    out.push('{');
    let mut separator = "";
    for (name, value) in values {
        if let Some(value) = value {
            out.push_str(&format!(r#"{separator}"{name}":"#));
            write_value(value, Numbers::Exact, out);
            separator = ",";
        }
    }
    if let Some(Expiry { expires, lifetime }) = expiry {
        out.push_str(&format!(r#"{separator}"expires":"{}""#, rfc3339(expires)));
        if let Some(lifetime) = lifetime {
            out.push_str(&format!(r#","lifetime":"{lifetime}""#));
        }
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Timespan;

    #[test]
    fn lines_have_what_there_is() {
        let key = || Value::from("k");
        let at = Timestamp(1_500_000_000);
        let expiry = Some(Expiry { expires: at, lifetime: Some(Timespan(1_000_000_000)) });
        let fixed = Some(Expiry::at(at));
        for (change, expected) in [
            (
                Change::Insert { key: key(), value: Value::Count(1), expiry: None },
                r#""insert":{"key":"k","value":1}"#,
            ),
            (
                Change::Update {
                    key: key(),
                    old: Some(Value::Count(1)),
                    value: Value::Integer(-2),
                    expiry,
                },
                r#""update":{"key":"k","old":1,"value":{"int":-2},"expires":"1970-01-01T00:00:01.5Z","lifetime":"1s"}"#,
            ),
            (
                Change::Update { key: key(), old: None, value: Value::None, expiry: fixed },
                r#""update":{"key":"k","value":null,"expires":"1970-01-01T00:00:01.5Z"}"#,
            ),
            (Change::Erase { key: key() }, r#""erase":{"key":"k"}"#),
            (Change::Expire { key: key() }, r#""expire":{"key":"k"}"#),
            (Change::Clear, r#""clear":{}"#),
        ] {
            let expected =
                format!(r#"{{"time":"1970-01-01T00:00:00.000001Z","store":"a/\"b",{expected}}}"#);
            assert_eq!(change.to_json(Timestamp(1_000), "a/\"b"), expected);
        }
        let entry = Entry { key: key(), value: Value::Boolean(true), expiry: fixed };
        assert_eq!(
            entry.to_json(),
            r#"{"key":"k","value":true,"expires":"1970-01-01T00:00:01.5Z"}"#
        );
    }
}
