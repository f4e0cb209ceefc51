//! Whether a text is the name of an event.

/// Whether these are identifiers joined by `::`, as in `Cluster::Backend::ZeroMQ::hello`.
pub(crate) fn is_event_name(name: &str) -> bool {
    name.split("::").all(is_identifier)
}

fn is_identifier(part: &str) -> bool {
    let mut chars = part.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::is_event_name;

    #[test]
    fn names_are_identifiers_joined_by_colons() {
        for name in ["zeek_init", "Demo::ping", "Cluster::Backend::ZeroMQ::hello", "_x::y2"] {
            assert!(is_event_name(name), "{name}");
        }
        for name in
            ["", "::", "Demo::", "::ping", "Demo:ping", "Demo.ping", "Demo ping", "2fast", "é"]
        {
            assert!(!is_event_name(name), "{name}");
        }
    }
}
