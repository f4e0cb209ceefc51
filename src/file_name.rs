//! A reversible escape for log paths in file names, `rotated.ndjson` and labels.
//!
//! Paths come from the network and are arbitrary bytes. Shells, log shippers and JSON want file
//! names that are one line of text, and treat `\` as an escape of their own. So `%XX`, in upper
//! case, replaces each byte
//!
//! - that is not UTF-8;
//! - of `%`, `\` and `/`;
//! - of control and invisible characters (U+0000–001F, U+007F–009F, U+061C, U+200B–200F,
//!   U+2028–202E, U+2060–206F, U+FEFF, U+FFF9–FFFB), including line ends, also those of Unicode,
//!   and characters that change the writing direction;
//! - of `-` and `.` at the start: a command given `*` would treat the file as an option, or miss
//!   it.
//!
//! All other bytes are unchanged. Two different paths never get the same name.

use std::borrow::Cow;

use percent_encoding::{percent_decode, percent_encode_byte};

/// Returns the name of a path.
///
/// ```
/// # use zcluster::file_name::escape;
/// assert_eq!(escape("conn".as_bytes()), "conn");
/// assert_eq!(escape(br"we\ird"), "we%5Cird");
/// assert_eq!(escape(b"caf\xe9 100%"), "caf%E9 100%25");
/// ```
pub fn escape(path: &[u8]) -> String {
    let mut name = String::with_capacity(path.len());
    let put = |name: &mut String, bytes: &[u8]| {
        name.extend(bytes.iter().map(|byte| percent_encode_byte(*byte)));
    };
    for chunk in path.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_escaped(char) || name.is_empty() && matches!(char, '-' | '.') {
                put(&mut name, char.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                name.push(char);
            }
        }
        put(&mut name, chunk.invalid());
    }
    name
}

/// Returns the path with this name; `None` if no path has it.
///
/// ```
/// # use zcluster::file_name::unescape;
/// assert_eq!(unescape(b"we%5Cird").as_deref(), Some(br"we\ird".as_slice()));
/// // `escape` never escapes an `A`.
/// assert_eq!(unescape(b"%41"), None);
/// ```
pub fn unescape(name: &[u8]) -> Option<Vec<u8>> {
    let path: Cow<'_, [u8]> = percent_decode(name).into();
    (escape(&path).as_bytes() == name).then(|| path.into_owned())
}

fn is_escaped(char: char) -> bool {
    matches!(
        char,
        '%' | '\\'
            | '/'
            | '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_paths() {
        for (path, name) in [
            (&b"conn"[..], "conn"),
            (b"", ""),
            ("grüße 🐝".as_bytes(), "grüße 🐝"),
            (b"a b'c\"d$(e)*?[f]&;|<>#~!{}", "a b'c\"d$(e)*?[f]&;|<>#~!{}"),
            (br"we\ird", "we%5Cird"),
            (b"100%", "100%25"),
            (b"%5C", "%255C"),
            (b"caf\xe9", "caf%E9"),
            (b"\xe2\x80", "%E2%80"),
            (b"\xed\xa0\x80", "%ED%A0%80"),
            (b"a/../b", "a%2F..%2Fb"),
            (b"-rf", "%2Drf"),
            (b"a-b", "a-b"),
            (b"..", "%2E."),
            (b"\n\t\0\x7f", "%0A%09%00%7F"),
            ("a\u{80}\u{9f}\u{a0}".as_bytes(), "a%C2%80%C2%9F\u{a0}"),
            ("\u{2028}\u{202e}\u{feff}".as_bytes(), "%E2%80%A8%E2%80%AE%EF%BB%BF"),
            ("\u{f00e9}".as_bytes(), "\u{f00e9}"),
        ] {
            assert_eq!(escape(path), name);
            assert_eq!(unescape(name.as_bytes()).as_deref(), Some(path), "{name}");
        }
    }

    #[test]
    fn what_is_no_name_of_a_path() {
        for name in [
            &b"%41"[..],
            b"%",
            b"%5",
            b"a%5c",
            b"we\\ird",
            b"caf\xe9",
            b"-x",
            b".x",
            b"a/b",
            b"a\n",
        ] {
            assert_eq!(unescape(name), None, "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn every_path_has_a_name_of_its_own(
            path in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..60),
                ".{0,20}".prop_map(String::into_bytes),
                r"[-.%\\/a\x{80}5C]{0,10}".prop_map(String::into_bytes),
            ],
        ) {
            let name = escape(&path);
            prop_assert!(!name.contains(['\\', '/']) && !name.chars().any(char::is_control));
            prop_assert!(!name.starts_with(['-', '.']));
            prop_assert_eq!(unescape(name.as_bytes()), Some(path));
        }

        #[test]
        fn any_name_can_be_asked_about(name in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(path) = unescape(&name) {
                let again = escape(&path);
                prop_assert_eq!(again.as_bytes(), &*name);
            }
        }
    }
}
