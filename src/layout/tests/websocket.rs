//! The WebSocket API of a node: its options, who may use it, and how it is written.

use super::*;

/// A layout whose manager has a WebSocket API with these options.
fn api(options: &str) -> String {
    format!("{HEAD}[nodes.m.websocket]\n{options}")
}

fn websocket(text: &str) -> WebSocket {
    let (layout, _) = read(text).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    layout.nodes["m"].websocket.clone().unwrap()
}

const TLS: &str = "cert_file = \"c.pem\"\nkey_file = \"k.pem\"\n";
const VERIFIED: &str =
    "cert_file = \"c.pem\"\nkey_file = \"k.pem\"\nenable_peer_verification = true\n";
const TOKEN: &str = "[nodes.m.websocket.applications.a]\ntoken_file = \"t\"\n";

/// Every option set, as the printer writes it.
const ALL: &str = r#"[nodes.m.websocket]
listen_addr = "10.0.0.1"
listen_port = 1
max_event_queue_size = 2
ping_interval = "3s"
allow_anonymous = true
allowed_origins = ["https://example.org", "*"]
max_connections = 4
max_message_size = "5KiB"
max_subscriptions = 6
max_rate = 7
handshake_timeout = "8s"
client_queue_messages = 900
client_queue_bytes = "10KiB"
when_full = "drop-oldest"
replay_events = 11
replay_bytes = "12KiB"
resume_timeout = "13s"
schema_file = "events.toml"
tls_options = { cert_file = "c", key_file = "k", enable_peer_verification = true, ca_file = "ca", ciphers = "x:y" }

[nodes.m.websocket.applications.a]
token_file = "t"
certificates = ["a.example", "A"]
publish = ["zeek.", "x"]
subscribe = []

[nodes.m.websocket.applications.anonymous]
publish = []
"#;

#[test]
fn what_is_printed_is_read_and_has_every_option() {
    let (layout, warnings) = read(&format!("{HEAD}{ALL}")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].message.contains("any web page"), "{warnings:?}");
    let printed = to_toml(&layout);
    assert!(printed.ends_with(ALL), "{printed}");
    let names = |table: &mut dyn super::super::table::Table| {
        table.options().into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    let all = [
        names(&mut WebSocket::default()),
        names(&mut TlsOptions::default()),
        names(&mut Application::default()),
    ];
    for name in all.concat() {
        assert!(ALL.contains(&format!("{name} = ")), "{name}");
    }
}

#[test]
fn braces_hold_what_is_short() {
    for (options, printed) in [
        ("", "websocket = { listen_addr = \"127.0.0.1\", listen_port = 27759 }\n"),
        (
            "[nodes.m.websocket.tls_options]\nciphers = \"x\"",
            "websocket = { listen_addr = \"127.0.0.1\", listen_port = 27759, tls_options = { ciphers = \
             \"x\" } }\n",
        ),
        (
            "schema_file = \"/etc/zcluster/events.toml\"",
            "\n[nodes.m.websocket]\nlisten_addr = \"127.0.0.1\"\nlisten_port = 27759\nschema_file = \
             \"/etc/zcluster/events.toml\"\n",
        ),
        (TOKEN, "\n[nodes.m.websocket.applications.a]\ntoken_file = \"t\"\n"),
    ] {
        let (layout, _) = read(&api(options)).unwrap();
        let text = to_toml(&layout);
        assert!(text.ends_with(printed), "{text}");
        assert_eq!(read(&text).unwrap().0, layout);
    }
}

#[test]
fn tls_options_are_in_a_table_of_their_own_or_not() {
    let expected = websocket(&api(VERIFIED));
    assert!(expected.tls_options.is_set() && expected.tls_options.enable_peer_verification);
    let inline = VERIFIED.trim().replace('\n', ", ");
    for options in [
        format!("tls_options = {{ {inline} }}\n"),
        format!("[nodes.m.websocket.tls_options]\n{VERIFIED}"),
        format!("{TLS}tls_options.enable_peer_verification = true\n"),
    ] {
        assert_eq!(websocket(&api(&options)), expected, "{options}");
    }
}

#[test]
fn each_rule_has_its_error() {
    let file = |line: &str| format!("applications.a = {{ token_file = \"t\" }}\n{line}");
    let named = |name: &str| format!("[nodes.m.websocket.applications.{name}]\ntoken_file = \"t\"");
    let verified = |more: &str| format!("{VERIFIED}{more}");
    for (options, expected) in [
        (
            "listen_addr = \"10.0.0.1\"".into(),
            "6:15: the WebSocket API of `m` would be open to any client that reaches 10.0.0.1; \
             expected `applications` with a `token_file` or `certificates`, or \
             `enable_peer_verification`, or `allow_anonymous = true`",
        ),
        (
            "listen_addr = \"::\"\napplications.a = {}".into(),
            "6:15: the WebSocket API of `m` would",
        ),
        (
            TLS.replace("c.pem", "c") + "tls_options.cert_file = \"d\"",
            "6:1: `cert_file` is in `websocket` of [nodes.m] and in its `tls_options`; expected it \
             once",
        ),
        ("client_queue_messages = 99".into(), "found `99`, expected at least 100"),
        (
            "ping_interval = \"500ms\"".into(),
            "`ping_interval`: found 500ms, expected whole seconds, or 0 for no pings",
        ),
        (
            "tls_options.cert_fil = 1".into(),
            "6:13: unknown key `cert_fil` in [nodes.m.websocket.tls_options]; did you mean \
             `cert_file`?",
        ),
        ("cert_fil = 1".into(), "`websocket` of [nodes.m]; did you mean `cert_file`?"),
        ("tls = {}".into(), "6:1: unknown key `tls` in `websocket` of [nodes.m]"),
        ("tls_options = true".into(), "[nodes.m.websocket.tls_options]: found `true`, expected a"),
        ("applications = []".into(), "[nodes.m.websocket.applications]: found a list, expected a"),
        (
            "token_file = \"t\"".into(),
            "6:1: `token_file` in `websocket` of [nodes.m]; expected it in \
             [nodes.m.websocket.applications.NAME]",
        ),
        (
            "applications.a = { certificates = \"x\" }".into(),
            "`certificates` in [nodes.m.websocket.applications.a]: found \"x\", expected a list of \
             strings, such as [\"x\"]",
        ),
        ("cert_file = \"c\"".into(), "6:13: `cert_file` without `key_file`; expected both"),
        ("tls_options.key_file = \"k\"".into(), "6:24: `key_file` without `cert_file`; expected"),
        (
            "enable_peer_verification = true".into(),
            "6:28: clients can be verified over TLS only; expected `cert_file` and `key_file` too",
        ),
        (
            "applications.a.certificates = [\"x\"]".into(),
            "6:31: `certificates` without `enable_peer_verification = true` in `tls_options`",
        ),
        (
            verified("applications.a.certificates = [\"x\", \"\"]"),
            "9:31: `certificates`: found \"\", expected names in client certificates",
        ),
        (
            verified("applications = { a.certificates = [\"x\"], b.certificates = [\"X\"] }"),
            "9:59: `b` and `a` have the same certificate \"X\"; expected it in one of them",
        ),
        (
            "applications.anonymous.token_file = \"t\"".into(),
            "6:37: the application `anonymous` is that of clients without credentials; expected no \
             `token_file`, or another name",
        ),
        (
            file("listen_addr = \"0.0.0.0\"\napplications.anonymous = {}"),
            "8:14: the application `anonymous` is that of clients without credentials, which are \
             not admitted at 0.0.0.0; expected `allow_anonymous = true` too",
        ),
        (
            named("\"a b\""),
            "6:33: the name of an application: found \"a b\", expected 1 to 64 letters, digits",
        ),
        (named("\"\""), "the name of an application: found \"\", expected 1 to 64 letters"),
        (named(&"x".repeat(65)), "expected 1 to 64 letters, digits, `-`, `_` and `.`"),
        (
            "allowed_origins = [\"https://a\", \"example.org\"]".into(),
            "6:19: `allowed_origins`: found \"example.org\", expected an origin as browsers send \
             it, such as \"https://example.org\", or \"*\" for any",
        ),
        ("allowed_origins = [\"https://a/\"]".into(), "found \"https://a/\", expected an origin"),
        ("allowed_origins = [\"https://\"]".into(), "found \"https://\", expected an origin"),
        ("when_full = \"block\"".into(), "expected one of \"close\", \"drop-oldest\""),
        ("max_connections = 0".into(), "found `0`, expected a whole number from 1 to 1000000"),
        ("client_queue_bytes = 4095".into(), "found `4095`, expected at least 4096"),
        ("replay_bytes = 1".into(), "found `1`, expected at least 4096"),
    ] {
        let text = api(&options);
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
    }
}

#[test]
fn what_is_legal_but_unwise_is_a_warning() {
    let everywhere = |more: &str| format!("listen_addr = \"0.0.0.0\"\n{more}");
    for (options, expected) in [
        (String::new(), None),
        (TOKEN.into(), None),
        (everywhere("allow_anonymous = true"), None),
        (everywhere(VERIFIED), None),
        (everywhere(&format!("{TLS}{TOKEN}")), None),
        (
            everywhere(TOKEN),
            Some(
                "8:14: clients send their tokens to 0.0.0.0 unencrypted; expected `cert_file` and \
                 `key_file` in `tls_options`",
            ),
        ),
        ("ca_file = \"x\"".into(), Some("6:11: `ca_file` has no effect without `enable_peer_")),
        ("ciphers = \"x\"".into(), Some("6:11: `ciphers` has no effect without `cert_file`")),
        (
            format!("allow_anonymous = true\n{TOKEN}"),
            Some(
                "6:19: clients without credentials may do everything, as there is no application \
                 `anonymous` to limit them",
            ),
        ),
        (
            "allow_anonymous = true\napplications = { anonymous = {}, a.token_file = \"t\" }"
                .into(),
            None,
        ),
        (
            "applications.a = { publish = [] }".into(),
            Some(
                "6:14: no client can belong to the application `a`; expected `token_file` or \
                 `certificates`",
            ),
        ),
        (
            "applications.anonymous.subscribe = [\"\"]".into(),
            Some("6:36: `subscribe`: every topic begins with \"\": it allows all"),
        ),
        (
            "allowed_origins = [\"*\"]".into(),
            Some(
                "6:19: `allowed_origins`: any web page that a user opens in reach of the WebSocket \
                 API may use it, without credentials",
            ),
        ),
        (format!("allowed_origins = [\"*\", \"app://x\", \"http://[::1]:80\"]\n{TOKEN}"), None),
    ] {
        let text = api(&options);
        let warnings = warnings(&text);
        assert_eq!(warnings.len(), usize::from(expected.is_some()), "{text}: {warnings:?}");
        assert!(warnings.iter().all(|w| w.contains(expected.unwrap())), "{text}: {warnings:?}");
    }
}

#[test]
fn what_follows_braces_is_told_where_it_belongs() {
    for (more, expected) in [
        (
            TOKEN,
            "6:1: `nodes.m.websocket.applications.a` cannot add to `websocket`, which is in braces \
             at line 5; expected [nodes.m.websocket] there",
        ),
        (
            "websocket.listen_addr = \"::1\"\n",
            "6:1: `websocket.listen_addr` cannot add to `websocket`, which is in braces at line 5; \
             expected it inside of them",
        ),
    ] {
        let text = format!("{HEAD}websocket = {{ listen_port = 2 }}\n{more}");
        assert_eq!(errors(&text), [expected]);
    }
}

#[test]
fn tokens_are_never_shown() {
    for options in [
        "token = \"hunter2\"",
        "tokens = [\"hunter2\"]",
        "applications.a.token = \"hunter2\"",
        "applications.a = { token = \"hunter2\", tokenfile = 3 }",
        "applications.a.token = hunter2",
    ] {
        let errors = read(&api(options)).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{errors}");
    }
    let shown = read(&api("applications.a.token_file = 3")).unwrap_err().to_string();
    assert!(shown.contains("6 | applications.a.token_file = 3\n"), "{shown}");
}

#[test]
fn queues_beyond_the_memory_of_the_host_are_told() {
    let text = api("client_queue_bytes = \"2GiB\"\nreplay_bytes = \"2GiB\"\n");
    let (_, warnings) = Layout::inspect_toml(&text, "l", Some(1 << 30));
    let warnings: Vec<_> = warnings.into_iter().map(|warning| warning.message).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].starts_with("`client_queue_bytes` is 2.0 GiB, and"), "{warnings:?}");
}

#[test]
fn a_logger_does_not_serve_it() {
    let text = "[nodes.l]\nnode_type = \"logger\"\nip = \"127.0.0.1\"\nport = 1\n\
                websocket = { listen_port = 2 }\n";
    let warnings = warnings(text);
    let expected = "the WebSocket API of `l` is not served: loggers do not offer it";
    assert!(warnings.iter().any(|warning| warning.contains(expected)), "{warnings:?}");
}
