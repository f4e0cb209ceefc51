//! Bounds: for every option, values that are too large or too small; and layout versions.

use super::super::setting::Setting;
use super::super::table::Table;
use super::*;

/// Every option of every section that has options of its own, by section.
fn sections() -> Vec<(&'static str, Box<dyn Table>)> {
    vec![
        ("cluster", Box::new(Cluster::default())),
        ("zeromq", Box::new(ZeroMq::default())),
        ("curve", Box::new(CurveKeys::default())),
        ("broker", Box::new(Broker::default())),
        ("log", Box::new(Log::default())),
        ("telemetry", Box::new(Telemetry::default())),
        ("stores.s", Box::new(Store::default())),
        ("nodes.m.websocket", Box::new(WebSocket::default())),
    ]
}

/// What an option accepts, by what it expects when given something else.
fn kind(setting: &mut dyn Setting) -> String {
    setting.read(&super::super::setting::Raw::Other("nothing")).unwrap_err()
}

/// Whole numbers, any of which may be intended.
const ANY_NUMBER: [&str; 13] = [
    // It has a message of its own.
    "layout_version",
    "onloop_queue_hwm",
    "poll_max_messages",
    "subscriber_hwm",
    "control_hwm",
    "max_subscriptions",
    "max_event_queue_size",
    "max_rate",
    "client_queue_messages",
    "replay_events",
    "compress_level",
    "linger_ms",
    "xpub_sndhwm",
];

#[test]
fn every_option_has_an_end() {
    let (mut sizes, mut durations, mut numbers) = (0, 0, 0);
    for (section, mut table) in sections() {
        for (name, setting) in table.options() {
            let kind = kind(setting);
            let (values, expected): (&[&str], &str) = if kind.starts_with("a number of bytes") {
                sizes += 1;
                (
                    &["\"99999TiB\"", "\"1EiB\"", "\"99999999EiB\"", "9223372036854775807"],
                    "at most 128TiB",
                )
            } else if kind.starts_with("a duration") {
                durations += 1;
                (
                    &["\"400days\"", "\"9999years\"", "1e12", "9223372036854775807"],
                    "expected at most",
                )
            } else if kind.starts_with("a whole number from 0") && !ANY_NUMBER.contains(&name) {
                numbers += 1;
                (&["4294967295"], "expected a whole number from")
            } else {
                continue;
            };
            for value in values {
                let errors = errors(&format!("{HEAD}[{section}]\n{name} = {value}\n"));
                assert_eq!(errors.len(), 1, "{name} = {value}: {errors:?}");
                assert!(
                    errors[0].starts_with("6:") && errors[0].contains(&format!("`{name}`")),
                    "{errors:?}"
                );
                assert!(errors[0].contains(expected), "{name} = {value}: {errors:?}");
            }
        }
    }
    assert!(sizes >= 7 && durations >= 18 && numbers >= 5, "{sizes} {durations} {numbers}");
}

#[test]
fn zero_is_taken_where_it_means_something() {
    // The options that reject 0. The others accept it, silently or with a warning; their
    // documentation says what it means.
    let refused = [
        "layout_version",
        "proxy_io_threads",
        "hello_expiration",
        "publish_queue_bytes",
        "onloop_queue_bytes",
        "log_queue_bytes",
        "max_message_size",
        "io_threads",
        "max_subscriptions",
        "max_subscription_length",
        "handshake_timeout",
        "write_buffer_size",
        "max_memory",
        "fsync_interval",
        "schema_timeout",
        "clone_resync_interval",
        "max_value_size",
        // Of a WebSocket API.
        "max_event_queue_size",
        "max_connections",
        "max_message_size",
        "max_subscriptions",
        "handshake_timeout",
        "client_queue_messages",
        "client_queue_bytes",
    ];
    let mut found = Vec::new();
    for (section, mut table) in sections() {
        for (name, setting) in table.options() {
            let kind = kind(setting);
            let counts = ["a number of bytes", "a duration", "a whole number"];
            if counts.iter().any(|count| kind.starts_with(count))
                && let Err(errors) = read(&format!("{HEAD}[{section}]\n{name} = 0\n"))
            {
                let told = errors.errors().next().unwrap().message.clone();
                assert!(
                    told.starts_with(&format!("`{name}`")) && told.contains(": found"),
                    "{told}"
                );
                found.push(name);
            }
        }
    }
    let mut expected = refused.to_vec();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[test]
fn values_in_the_wrong_form_say_what_is_right() {
    for (text, expected) in [
        ("[zeromq]\nipv6 = \"true\"\n", "expected `true` or `false`, without quotes"),
        ("[zeromq]\nlinger_ms = \"500\"\n", "2147483647, without quotes"),
        ("[zeromq]\nproxy_io_threads = \"2\"\n", "4294967295, without quotes"),
        ("[zeromq]\nhello_delay = \"5\"\n", "a number of seconds has no quotes"),
        ("[zeromq]\nhello_delay = \"-1s\"\n", "not below 0"),
        (
            "[zeromq]\nconnect_log_endpoints = \"tcp://h:1\"\n",
            "expected a list of strings, such as [\"tcp://h:1\"]",
        ),
        (
            "[[nodes.x]]\nip = \"::1\"\n",
            "[nodes.x]: found a list of tables, expected one, in single brackets",
        ),
        ("[nodes]\nip = \"::1\"\n", "`ip` in [nodes]; expected a table of its own, [nodes.NAME]"),
    ] {
        let text =
            if text.starts_with("[nodes]") { text.to_owned() } else { format!("{HEAD}{text}") };
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
    }
    for (text, seconds) in
        [("1 hr", 3600), ("1hr", 3600), ("2 hrs 30 mins", 9000), ("1day", 86400), ("5 secs", 5)]
    {
        let (layout, _) = read(&format!("{HEAD}[log]\nrotation = \"{text}\"\n")).unwrap();
        assert_eq!(layout.log.rotation, Duration::from_secs(seconds), "{text}");
    }
}

#[test]
fn nodes_under_another_name_are_one_mistake() {
    let text = HEAD.replace("[nodes.m]", "[node.m]");
    assert_eq!(errors(&text), ["1:2: unknown section `node`; did you mean `nodes`?"]);
}

#[test]
fn memory_of_the_host_is_a_bound_where_it_is_known() {
    let text =
        format!("{HEAD}[log]\nmax_memory = \"2GiB\"\n[broker]\nsubscriber_max_bytes = \"1GiB\"\n");
    for (memory, expected) in [
        (None, vec![]),
        (Some(1 << 30), vec!["max_memory"]),
        (Some(1 << 20), vec!["max_memory", "subscriber_max_bytes"]),
    ] {
        let (layout, warnings) = Layout::inspect_toml(&text, "l", memory);
        assert!(layout.is_some());
        assert_eq!(warnings.len(), expected.len(), "{memory:?}: {warnings:?}");
        for (warning, option) in warnings.iter().zip(expected) {
            assert!(warning.message.starts_with(&format!("`{option}` is ")), "{warning}");
            assert!(warning.message.ends_with(" of memory"), "{warning}");
        }
    }
}

#[test]
fn a_layout_for_a_newer_program_says_so() {
    let text = format!(
        "{HEAD}[cluster]\nlayout_version = 2\nshards = 3\n[futures]\n[log]\nwait_for = \"x\"\n"
    );
    assert_eq!(
        errors(&text),
        [
            format!(
                "6:18: this layout is for `layout_version` 2, and zcluster {} knows 1: upgrade \
                 zcluster on this host, or set 1 and remove what newer versions added",
                env!("CARGO_PKG_VERSION")
            ),
            "7:1: unknown key `shards` in [cluster]; a newer zcluster may know it".into(),
            "8:2: unknown section `futures`; a newer zcluster may know it".into(),
            "10:1: unknown key `wait_for` in [log]; a newer zcluster may know it".into(),
        ]
    );
    let (layout, warnings) = read(&format!("{HEAD}[cluster]\nlayout_version = 1\n")).unwrap();
    assert_eq!((layout.cluster.layout_version, warnings), (1, vec![]));
    // It goes without saying.
    assert!(!to_toml(&layout).contains("layout_version"));
    for (version, expected) in [
        ("0", "expected a whole number from 1 to 1"),
        ("\"1\"", "without quotes"),
        ("1.5", "expected a whole"),
    ] {
        let errors = errors(&format!("{HEAD}[cluster]\nlayout_version = {version}\n"));
        assert!(errors.len() == 1 && errors[0].contains(expected), "{version}: {errors:?}");
    }
}
