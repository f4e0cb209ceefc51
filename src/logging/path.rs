//! The path of a log that names none (WIRE.md §4.6).

use std::ops::Range;

/// `Notice::LOG` → `notice`, `FooBar::LOG` → `foo_bar`, `Notice::POLICY_LOG` → `notice_policy`.
pub(super) fn default_path(stream: &str) -> String {
    let path = match stream.split_once("::") {
        Some((module, "LOG")) => snake(module),
        Some((module, name)) => format!("{module}_{}", name.strip_suffix("_LOG").unwrap_or(name)),
        None => stream.to_owned(),
    };
    path.to_ascii_lowercase()
}

/// Joins words by `_`. As in Zeek, only the first two places where words meet are found directly,
/// a third one only right before a single word, and what follows is left out.
fn snake(module: &str) -> String {
    let Some(first) = seam(module) else { return module.into() };
    let (mut out, rest) = (join(&module[..first.end], first.start), &module[first.end..]);
    let (between, second) = match seam(rest) {
        Some(second) => (&rest[..second.start], &rest[second]),
        None => (rest, ""),
    };
    if !between.is_empty() {
        out.push('_');
        out.push_str(between);
    }
    if !second.is_empty() {
        out.push_str(&join(second, 0));
    }
    out
}

/// The text with `_` after the character at `at`.
fn join(text: &str, at: usize) -> String {
    let after = at + text[at..].chars().next().map_or(0, char::len_utf8);
    format!("{}_{}", &text[..after], &text[after..])
}

/// The first character that is no capital before one that is, with the rest of that word.
fn seam(text: &str) -> Option<Range<usize>> {
    let mut chars = text.char_indices().zip(text.char_indices().skip(1));
    let is_seam = |a: char, b: char| !a.is_ascii_uppercase() && b.is_ascii_uppercase();
    let ((start, _), (capital, _)) = chars.find(|((_, a), (_, b))| is_seam(*a, *b))?;
    let tail = &text[capital + 1..];
    let end = tail.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(tail.len());
    Some(start..capital + 1 + end)
}

#[cfg(test)]
mod tests {
    use super::default_path;

    #[test]
    fn paths_are_those_of_zeek() {
        for (stream, path) in [
            ("Notice::LOG", "notice"),
            ("HTTP::LOG", "http"),
            ("FooBar::LOG", "foo_bar"),
            ("DataLog::LOG", "data_log"),
            ("FooBarBaz::LOG", "foo_bar_baz"),
            ("AbCdEfGhIj::LOG", "ab_cd_ef_gh"),
            ("SMBFiles::LOG", "smbfiles"),
            ("FooBAR::LOG", "foo_b_ar"),
            ("Notice::POLICY_LOG", "notice_policy"),
            ("PacketFilter::LOG", "packet_filter"),
            ("Known::HOSTS_LOG", "known_hosts"),
            ("X::Y", "x_y"),
            ("A::B::LOG", "a_b::log"),
            ("Éa::LOG", "Éa"),
            ("ÉA::LOG", "É_a"),
            ("LOG", "log"),
            ("", ""),
        ] {
            assert_eq!(default_path(stream), path, "{stream}");
        }
    }
}
