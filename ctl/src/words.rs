//! Values as arguments of a command.

use zcluster::Value;
use zcluster::readable::{ENVELOPE, Json, Part};

/// Containers around a value in an event of a command: arguments, and what data stores have around theirs.
const AROUND: usize = ENVELOPE + 3;

/// Reads an argument: JSON, in the forms of `zcluster-node`, or a plain word. Text that starts with `{`, `[` or `"` must be JSON.
///
/// # Errors
/// What is wrong; begins with `place`.
pub(crate) fn value(place: &str, word: &str) -> Result<Value, String> {
    match Json::parse(word) {
        Ok(json) => {
            // The place is a member of this one, for errors.
            let whole = Json::Null;
            let part = Part::whole(&whole);
            let value = part.member(place, &json).inside(AROUND).value();
            value.map_err(|error| error.to_string())
        }
        Err(error) if word.trim_start().starts_with(['{', '[', '"']) => {
            Err(format!("{place}: not JSON: {error}"))
        }
        Err(_) => Ok(word.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_json_or_words() {
        for (word, expected) in [
            ("hello", "hello".into()),
            ("two words", "two words".into()),
            ("", "".into()),
            ("42", Value::Count(42)),
            ("-1", Value::Integer(-1)),
            ("1.5", 1.5.into()),
            ("true", true.into()),
            ("null", Value::None),
            ("\"42\"", "42".into()),
            ("192.0.2.1", "192.0.2.1".into()),
            ("{\"int\":1}", Value::Integer(1)),
            ("[1,2]", vec![Value::Count(1), Value::Count(2)].into()),
        ] {
            assert_eq!(value("args[0]", word), Ok(expected), "{word}");
        }
        for (word, expected) in [
            ("{\"addr\":", "KEY: not JSON: "),
            ("[1,", "KEY: not JSON: "),
            ("\"open", "KEY: not JSON: "),
            ("{\"addr\":7}", "KEY.addr: expected an IP address, found 7"),
            ("18446744073709551616", "KEY: expected an integer of 64 bits, or"),
        ] {
            let error = value("KEY", word).unwrap_err();
            assert!(error.starts_with(expected), "{word}: {error}");
        }
    }
}
