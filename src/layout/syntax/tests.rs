//! Syntax errors of a layout file: each is reported once, on its line, with what was meant.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::{Layout, Severity};
use super::*;

const SHIPPED: &str = include_str!("../../../cluster-layout.toml");

/// The errors of a text, each with its line and column.
fn errors(text: &str) -> Vec<String> {
    let Err(errors) = Layout::from_toml(text, "l.toml") else { return Vec::new() };
    errors.errors().map(|e| format!("{}:{}: {}", e.line, e.column, e.message)).collect()
}

/// A manager in the first four lines, followed by more lines.
fn node(lines: &str) -> String {
    format!("[nodes.m]\nnode_type = \"manager\"\nport = 1\nmetrics_port = 2\n{lines}\n")
}

#[test]
fn text_without_quotes_is_told_with_what_to_write() {
    let (address, ip) = ("an address is text: write ip = ", "ip = \"::1\"\n");
    for (line, expected) in [
        ("ip = 127.0.0.1".into(), format!("6: {address}\"127.0.0.1\"")),
        ("ip = 127.0.0.1 # here".into(), format!("6: {address}\"127.0.0.1\"")),
        ("ip=::1".into(), format!("4: {address}\"::1\"")),
        ("ip = [::1]".into(), format!("6: {address}\"::1\"")),
        ("ip = 2001:db8::5".into(), format!("6: {address}\"2001:db8::5\"")),
        ("ip = manager".into(), "6: text needs quotes: write ip = \"manager\"".into()),
        (format!("{ip}manager = m"), "11: text needs quotes: write manager = \"m\"".into()),
        (
            format!("{ip}[zeromq]\nlisten_log_endpoint = tcp://*:5"),
            "23: an endpoint is text: write listen_log_endpoint = \"tcp://*:5\"".into(),
        ),
        (
            format!("{ip}[zeromq]\nlisten_log_endpoint = tcp://[::1]:5"),
            "23: an endpoint is text: write listen_log_endpoint = \"tcp://[::1]:5\"".into(),
        ),
        (
            format!("{ip}[zeromq]\nconnect_log_endpoints = [tcp://h:5, \"tcp://i:5\"]"),
            "26: an endpoint is text: write \"tcp://h:5\"".into(),
        ),
        (
            format!("{ip}[zeromq]\nmax_message_size = 64MiB"),
            "20: a size with its unit is text: write max_message_size = \"64MiB\"".into(),
        ),
        (
            format!("{ip}[zeromq]\nhello_delay = 5s"),
            "15: a duration with its unit is text: write hello_delay = \"5s\"".into(),
        ),
        (
            format!("{ip}[zeromq]\nhello_delay = 1 hr"),
            "15: a duration with its unit is text: write hello_delay = \"1 hr\"".into(),
        ),
        (
            format!("{ip}[log.path.x]\nrename = /var/x"),
            "10: a path is text: write rename = \"/var/x\"".into(),
        ),
        (format!("{ip}[zeromq]\nipv6 = True"), "8: write ipv6 = true".into()),
        (format!("{ip}[zeromq]\nipv6 = yes"), "8: write ipv6 = true".into()),
        (format!("{ip}[zeromq]\nipv6 = F"), "8: write ipv6 = false".into()),
        (
            format!("{ip}websocket = {{ listen_port = 27759/tcp }}"),
            "29: a port is a number: write listen_port = 27759".into(),
        ),
        (
            format!("{ip}[zeromq]\nlinger_ms = 0500"),
            "13: `0500` is not how a number is written: write linger_ms = 500".into(),
        ),
        (
            format!("{ip}[zeromq]\nhello_delay = .5"),
            "15: `.5` is not how a number is written: write hello_delay = 0.5".into(),
        ),
        (
            format!("{ip}[zeromq]\nlinger_ms = 500;"),
            "13: expected the end of the line instead of `;`".into(),
        ),
        (
            format!("{ip}[log]\ndir = \"logs\","),
            "13: expected the end of the line instead of `,`".into(),
        ),
        (
            "ip = 127.0.0.1\"".into(),
            "6: this text has no opening `\"`: write ip = \"127.0.0.1\"".into(),
        ),
        (
            "ip = \"127.0.0.1".into(),
            "6: this text has no closing `\"`: write ip = \"127.0.0.1\"".into(),
        ),
        (
            "ip = '127.0.0.1 # here".into(),
            "6: this text has no closing `'`: write ip = \"127.0.0.1\"".into(),
        ),
    ] {
        let text = node(&line);
        let at = 4 + line.lines().count();
        assert_eq!(errors(&text), [format!("{at}:{expected}")], "{text}");
    }
}

#[test]
fn signs_that_are_missing_or_others_are_told_where_they_belong() {
    for (line, expected) in [
        ("ip \"::1\"", "5:1: `ip` has no `=`; expected `ip = …`"),
        ("ip : \"::1\"", "5:4: expected `ip = …`, with `=` instead of `:`"),
        ("ip: \"::1\"", "5:3: expected `ip = …`, with `=` instead of `:`"),
        ("ip:\"::1\"", "5:3: expected `ip = …`, with `=` instead of `:`"),
        ("ip :\"::1\"", "5:4: expected `ip = …`, with `=` instead of `:`"),
        ("ip := \"::1\"", "5:4: expected `ip = …`"),
        ("ip\"::1\"", "5:3: `ip` has no `=`; expected `ip = …`"),
        ("ip += \"::1\"", "5:4: expected `ip = …`: a layout file has no `+=`"),
        ("ip =", "5:4: `ip` has no value; expected one after `=`"),
        ("ip", "5:1: `ip` has no value; expected `ip = …`"),
        ("ip = \"::1\" \"x\"", "5:12: expected the end of the line after the value"),
        ("ip = \"::1\"\"", "5:11: the quotes on this line do not match"),
        ("ip = \"::1\"\n[log", "6:1: the header of a table has no `]`: write [log]"),
        ("ip = \"::1\"\nlog] # here", "6:1: the header of a table has no `[`: write [log]"),
        ("ip = \"::1\"\n[[log]", "6:1: the brackets do not match: write [log]"),
        ("ip = \"::1\"\n[[log", "6:1: the brackets do not match: write [log]"),
        ("ip = \"::1\"\n[log]]", "6:1: the brackets do not match: write [log]"),
        (
            "ip = \"::1\"\n[nodes.my node]\nip = \"::1\"\nnode_type = \"worker\"",
            "6:1: a name with spaces needs quotes: write [nodes.\"my node\"]",
        ),
        (
            "ip = \"::1\"\n[zeromq]\nconnect_log_endpoints = [\"tcp://h:1\"\n",
            "7:25: the list that begins here has no `]`",
        ),
        (
            "ip = \"::1\"\n[zeromq]\nconnect_log_endpoints = [\n\"tcp://h:1\",\n# and\n\nipv6 = true",
            "7:25: the list that begins here has no `]`",
        ),
        (
            "ip = \"::1\"\n[zeromq]\nconnect_log_endpoints = [\n\"tcp://h:1\"\n[telemetry]",
            "7:25: the list that begins here has no `]`",
        ),
        (
            "ip = \"::1\"\n[zeromq]\nconnect_log_endpoints = [\"tcp://h:1\" \"tcp://h:2\"]",
            "7:37: expected `,` between the values of a list",
        ),
        (
            "ip = \"::1\"\n[zeromq]\nconnect_log_endpoints = [\"tcp://h:1, \"tcp://h:2\"]",
            "the quotes on this line do not match",
        ),
        (
            "ip = \"::1\"\nwebsocket = { listen_port = 3\nmanager = \"m\"",
            "6:13: the table that begins here has no `}`",
        ),
        (
            "ip = \"::1\"\nwebsocket = { listen_port = 3, listen_addr \"::1\" }",
            "6:32: `listen_addr` has no `=`; expected `listen_addr = …`",
        ),
        (
            "ip = \"::1\"\nwebsocket = { listen_port = 3 listen_addr = \"::1\" }",
            "6:30: expected `,` between the entries of a table",
        ),
        (
            "ip = \"::1\"\nwebsocket = { listen_addr = \"::1, listen_port = 3 }",
            "6:29: the quotes on this line do not match",
        ),
        ("ip = \"::1\"\n[log]\rdir = \"x\"", "6:6: a line ends with a carriage return alone"),
        ("ip = \"::1\"\n[log.path.\"a]", "6:"),
        ("ip = \"::1\"\nmanager = \"\\q\"", "6:13: missing escaped value"),
        ("ip = \"::1\"\nmanager = \"\"\"m", "6:11: this text has no closing `\"\"\"`"),
        ("ip = \"::1\"\n} # what", "6:1: "),
    ] {
        let text = node(line);
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
    }
}

#[test]
fn what_is_there_twice_is_told_once_with_the_first_place() {
    for (text, expected) in [
        (
            "ip = \"::1\"\n[nodes.m]\nnode_type = \"manager\"\nip = \"::2\"\nport = 3",
            "6:1: [nodes.m] appears twice, first at line 1; expected it once",
        ),
        (
            "ip = \"::1\"\n[log]\ndir = \"x\"\n[log] # again\ndir = \"y\"",
            "8:1: [log] appears twice, first at line 6",
        ),
        ("ip = \"::1\"\nport = 2", "6:1: `port` in [nodes.m] appears twice, first at line 3"),
        ("ip = \"::1\"\nmanager = \"m\"\nip = 10.0.0.1", "7:6: an address is text"),
        (
            "ip = \"::1\"\nwebsocket = { listen_port = 3 }\n[nodes.m.websocket]\nlisten_port = 2",
            "7:1: [nodes.m.websocket] appears twice, first at line 6",
        ),
        ("ip = \"::1\"\nwebsocket = { listen_port = 3, listen_port = 2 }", "6:32: duplicate key"),
    ] {
        let text = node(text);
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].starts_with(expected), "{text}: {errors:?}");
    }
}

#[test]
fn other_mistakes_of_the_file_are_told_with_them() {
    let text = "[zeromq\nipv6 = yes\nlinger_mss = 3\n[nodes.m]\nnode_type = worker\nip = \"10.0.0\"\n\
                [nodes.m]\nport = 1\n[telemetry]\nmetrics_address = 1.2.3.4\n";
    assert_eq!(
        errors(text),
        [
            "1:1: the header of a table has no `]`: write [zeromq]",
            "2:8: write ipv6 = true",
            "3:1: unknown key `linger_mss` in [zeromq]; did you mean `linger_ms`?",
            "5:13: text needs quotes: write node_type = \"worker\"",
            "6:6: `ip` in [nodes.m]: found \"10.0.0\", expected an IPv4 or IPv6 address",
            "7:1: [nodes.m] appears twice, first at line 4; expected it once",
            "10:19: an address is text: write metrics_address = \"1.2.3.4\"",
        ]
    );
    // References between parts are also checked if nothing was left out.
    let text = "[nodes.m]\nnode_type = manager\nip = \"::1\"\nmanager = \"x\"\n";
    let errors = errors(text);
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(errors[1].contains("`m` names `x` as its manager"), "{errors:?}");
}

#[test]
fn a_text_that_is_no_layout_is_told_in_a_few_lines() {
    for (text, expected) in [
        (
            "redef Cluster::nodes = {\n\t[\"m\"] = [$ip=127.0.0.1],\n};\n",
            "1:1: this is Zeek script;",
        ),
        ("# mine\n@load base/frameworks\n", "1:1: this is Zeek script;"),
        ("[manager]\ntype=manager\nhost=localhost\n", "1:1: this is node.cfg of ZeekControl;"),
        ("{ \"nodes\": {} }\n", "1:1: this is JSON or the like;"),
        ("a\0b", "1:1: this is not text;"),
        ("\u{feff}", "1:1: the layout has no nodes"),
        ("# nothing\n", "1:1: the layout has no nodes"),
    ] {
        let errors = errors(text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].starts_with(expected), "{text}: {errors:?}");
    }
    let prose = "Dear reader, this is not\nwhat you were looking for\n\n".repeat(100);
    let errors = errors(&prose);
    assert_eq!(errors.len(), MOST_TOLD, "{errors:?}");
    assert!(errors[MOST_TOLD - 1].ends_with("more mistakes follow, which are not shown"));
}

/// Twenty, and one that says that more follow.
const MOST_TOLD: usize = 21;

#[test]
fn line_ends_and_a_byte_order_mark_are_no_mistakes() {
    for text in
        [format!("\u{feff}{SHIPPED}"), SHIPPED.replace('\n', "\r\n"), format!("{SHIPPED}\t \n")]
    {
        assert_eq!(errors(&text), [""; 0]);
    }
}

/// Removes each of the characters from the shipped layout, one at a time.
#[test]
fn one_character_less_is_a_line_or_two_the_first_of_them_right() {
    let mut wrong = String::new();
    let signs = ['[', ']', '"', '=', '{', '}', ','];
    for (at, sign) in SHIPPED.char_indices().filter(|(_, c)| signs.contains(c)) {
        let text = [&SHIPPED[..at], &SHIPPED[at + 1..]].concat();
        let line = SHIPPED[..at].matches('\n').count() + 1;
        let errors = errors(&text);
        let is_comment = SHIPPED.lines().nth(line - 1).unwrap().split('#').next().unwrap().len()
            <= at - SHIPPED[..at].rfind('\n').map_or(0, |n| n + 1);
        let is_right = if is_comment {
            errors.is_empty()
        } else {
            let first = errors.first().is_some_and(|e| e.starts_with(&format!("{line}:")));
            first && errors.len() <= 2
        };
        if !is_right {
            let _ = writeln!(wrong, "{sign} on line {line}: {errors:#?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn one_line_less_of_a_table_is_told_of_that_table() {
    // A header that is missing entirely: its entries belong to the table above.
    let text = SHIPPED.replacen("[nodes.logger-2]\n", "", 1);
    let errors = errors(&text);
    assert_eq!(errors.len(), 4, "{errors:#?}");
    let told =
        errors.iter().all(|e| e.contains("in [nodes.logger-1] appears twice, first at line"));
    assert!(told, "{errors:#?}");
}

#[test]
fn places_of_a_mended_text_are_those_of_the_original() {
    let text = "[zeromq\nipv6 = yes\nlinger_ms = \"x\"\n";
    let mended = mend(text).unwrap();
    assert_eq!(&**mended.text, "[zeromq]\nipv6 = true\nlinger_ms = \"x\"\n");
    assert!(mended.is_whole);
    for (sign, count) in [("l", 1), ("\"", 2), ("[", 1), ("\n", 3)] {
        let places = |text: &str| text.match_indices(sign).map(|(at, _)| at).collect::<Vec<_>>();
        let there: Vec<_> =
            places(&mended.text).into_iter().map(|at| mended.original(at)).collect();
        assert_eq!(there, places(text), "{sign:?}");
        assert_eq!(there.len(), count);
    }
}

#[test]
fn deep_nesting_ends() {
    for text in
        ["a = ".to_owned() + &"[".repeat(100_000), "a = ".to_owned() + &"{ a = ".repeat(50_000)]
    {
        assert!(!errors(&text).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a layout is damaged, its mistakes are reported at places in the file, and the
    /// corrected text is valid TOML.
    #[test]
    fn any_change_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}\"'=,.:#\n\r a0\\\\]{0,3}"), 1..6)
    ) {
        let mut text = SHIPPED.to_owned();
        for (at, new) in &changes {
            let at = at.index(text.len());
            let end = at + usize::from(at < text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(end) {
                text.replace_range(at..end, new);
            }
        }
        if let Some(mended) = mend(&text) {
            prop_assert!(DeTable::parse(&mended.text).is_ok());
            prop_assert!(!mended.remarks.is_empty());
            for remark in &mended.remarks {
                prop_assert!(remark.at.start <= remark.at.end && remark.at.end <= text.len());
            }
            for at in 0..=mended.text.len() {
                prop_assert!(mended.original(at) <= text.len());
            }
        }
        if let Err(errors) = Layout::from_toml(&text, "l") {
            prop_assert!(errors.errors().all(|e| e.line <= text.lines().count() + 1));
            prop_assert!(errors.diagnostics.iter().all(|d| d.severity >= Severity::Note));
        }
    }
}
