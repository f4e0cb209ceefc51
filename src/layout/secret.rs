//! [`Secret`]: text that must not reach a log line, an error message or a terminal.

use std::fmt;

use zeroize::Zeroizing;

/// Minimum length of text that may be a key, a few short of its 40 characters.
const MOST_OF_A_KEY: usize = 32;

/// A secret text, wiped when it is dropped; empty means unset. [`fmt::Debug`] and [`fmt::Display`]
/// show only whether it is set, so that it survives a careless `{layout:?}`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `text` secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text itself. The caller is responsible for where it goes.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether it is unset.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where a text first contains something that may be a key: a run of Z85 digits nearly as long as
/// one that is not a path, topic or name.
pub(super) fn key_in(text: &str) -> Option<usize> {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || ".-:+=^!/*?&<>()[]{}@%$#".contains(c);
    let is_rare = |c: char| is_digit(c) && !c.is_ascii_alphanumeric() && !".-:/".contains(c);
    let mut start = 0;
    text.split_inclusive(|c| !is_digit(c)).find_map(|run| {
        let at = start;
        start += run.len();
        let length = run.bytes().take_while(|byte| is_digit(char::from(*byte))).count();
        // The header of a table has brackets.
        let inner = run[..length].trim_matches(['[', ']']);
        (length >= MOST_OF_A_KEY && inner.contains(is_rare)).then_some(at)
    })
}

/// Where a text first contains a name as secrets have: that of an option, or what users call one.
pub(super) fn name_in(text: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let names = ["curve", "secret", "publickey"].into_iter().filter_map(|name| lower.find(name));
    // The path of a file of tokens is not secret.
    let mut tokens = lower.match_indices("token").map(|(at, _)| at);
    let token = tokens.find(|at| !lower[*at..].starts_with("token_file"));
    names.chain(token).min()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "unset" } else { "<secret>" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_shows_its_text() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "<secret> <secret>");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn names_of_secrets_are_known_wherever_they_are() {
        for (text, at) in [
            ("é.curve_mode", Some(3)),
            ("my_SECRET, curve", Some(3)),
            ("[x]publickey", Some(3)),
            ("token = 1", Some(0)),
            ("token_file, tokens = [", Some(12)),
            ("token_file = \"a\"", None),
            ("ciphers", None),
        ] {
            assert_eq!(name_in(text), at, "{text}");
        }
    }

    #[test]
    fn keys_are_known_by_their_looks() {
        let key = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
        for (text, at) in [
            (key.to_owned(), Some(0)),
            (format!("a = \"{key}\""), Some(5)),
            (format!("é,'{}", &key[5..]), Some(4)),
            (key[..31].into(), None),
            ("/a/rather/long/path/to/some/directory/of/logs".into(), None),
            ("zeek.cluster.nodeid.zeromq_worker-1_host_1_N0.".into(), None),
            ("[nodes.manager.websocket.applications.zeekctl]".into(), None),
            (format!("[{key}]"), Some(0)),
            ("[$node_type=Cluster::WORKER,$ip=10.0.0.1,$p=27760/tcp]".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(key_in(&text), at, "{text}");
        }
    }
}
