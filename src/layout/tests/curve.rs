//! Keys, `[curve]` and `allow`: what is accepted, rejected and warned about, and that secrets stay
//! secret.

use super::*;

// The public test keys of the ZeroMQ documentation: of a server, its secret, and of a client.
const KEY: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
const OTHER: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";

/// `text` with each `KEY`, `SECRET` and `OTHER` replaced by that key, after the nodes, which are
/// the first five lines.
fn with_keys(text: &str) -> String {
    let nodes = "nodes.m.node_type = \"manager\"\nnodes.m.ip = \"::1\"\nnodes.m.port = 1\n\n\n";
    let keys = text.replace("SECRET", SECRET).replace("OTHER", OTHER).replace("KEY", KEY);
    format!("{nodes}{keys}\n")
}

const PER_NODE: &str = "curve.mode = \"per-node\"\n";
const WORKERS: &str = "[nodes.a]\nnode_type = \"worker\"\nip = \"::1\"\nport = 0\n\
                       curve_publickey = \"KEY\"\n[nodes.b]\nnode_type = \"worker\"\nip = \"::1\"\n";

#[test]
fn every_option_is_read_and_printed() {
    let text = with_keys(
        r#"
        [curve]
        mode = "per-node"
        authorized_keys_dir = "/etc/zcluster/keys"
        secret_keys_dir = "/etc/zcluster/secret"
        broker_publickey = "KEY"
        [nodes.a]
        node_type = "worker"
        ip = "::1"
        curve_publickey = ["OTHER", "SECRET"]
        allow = { publish = ["a", "b"], subscribe = [], logs = false }
        [allow.worker]
        logs = true
        "#,
    );
    let (layout, warnings) = read(&text).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(warnings, []);
    assert_eq!(layout.curve.broker_publickey, Some(KEY.parse().unwrap()));
    assert_eq!(layout.nodes["a"].curve_publickey.len(), 2);
    assert_eq!(layout.allow("a").publish.unwrap(), ["a", "b"]);
    assert_eq!(layout.allow("a").logs, Some(false));
    assert_eq!(layout.allow("m"), Allow::default());
    assert_eq!(read(&to_toml(&layout)).unwrap().0, layout);
    let exported = both(zeek::export(&layout));
    let names = [KEY, OTHER, "authorized_keys_dir", "publish"];
    assert!(names.iter().all(|name| !exported.contains(name)), "{exported}");
    assert!(exported.contains("zcluster keys zeek"), "{exported}");
}

#[test]
fn each_rule_has_its_error() {
    let per_node = |text: &str| format!("{PER_NODE}{text}");
    let of_zeek = "zeromq.curve_server_secretkey = \"SECRET\"\n\
                   zeromq.curve_client_publickey = \"OTHER\"\n";
    for (text, expected) in [
        ("curve.mode = \"pernode\"".into(), "expected one of \"shared\", \"per-node\""),
        (
            "curve.broker_publickey = \"x\"".into(),
            "6:26: `broker_publickey` in [curve]: expected a",
        ),
        (
            WORKERS.replace("KEY", "x"),
            "10:19: `curve_publickey` in [nodes.a]: expected a CURVE public key",
        ),
        ("allow.wrker.logs = true".into(), "6:7: unknown type of node `wrker` in [allow]"),
        ("nodes.m.allow.publish = \"a\"".into(), "found \"a\", expected a list of strings"),
        // Only one of the two sources.
        (per_node(of_zeek), "7:33: `curve_server_secretkey` is for `mode = \"shared\"` in [curve]"),
        ("zeromq.curve_client_publickey = \"OTHER\"".into(), "6:33: CURVE stays off: clients need"),
        (
            format!("curve.old_server_secretkey = \"short\"\n{of_zeek}"),
            "6:30: `old_server_secretkey`: found 5 characters, expected a key of 40",
        ),
        (
            "curve.old_server_secretkey = \"SECRET\"".into(),
            "6:30: `old_server_secretkey` without `curve_server_secretkey` in [zeromq]",
        ),
        (
            "curve.old_client_publickey = \"KEY\"".into(),
            "6:30: `old_client_publickey` without `curve_client_publickey` in [zeromq]",
        ),
        (
            per_node("curve.old_client_publickey = \"KEY\""),
            "7:30: `old_client_publickey` is for `mode = \"shared\"`; with keys per node",
        ),
        // One key, one node.
        (
            per_node(&format!("{WORKERS}curve_publickey = [\"OTHER\", \"KEY\"]")),
            "15:19: b and a have the same public key rq:rM>",
        ),
        (
            format!("curve.broker_publickey = \"KEY\"\n{PER_NODE}{WORKERS}"),
            "12:19: a and the broker have the same public key",
        ),
        (
            per_node(&WORKERS.replace("nodes.b", "nodes.servers")),
            "12:8: `servers` is the name of keys that belong to no node",
        ),
        (
            per_node(&WORKERS.replace("nodes.a", "nodes.broker")),
            "7:8: `broker` is the name of keys",
        ),
    ] {
        let text = with_keys(&text);
        let errors = errors(&text);
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
    }
}

#[test]
fn what_is_legal_but_unwise_is_a_warning() {
    for (text, expected) in [
        (
            "curve.authorized_keys_dir = \"/k\"",
            vec!["6:29: `authorized_keys_dir` has no effect without `mode = \"per-node\"`"],
        ),
        ("curve.secret_keys_dir = \"/k\"", vec!["`secret_keys_dir` has no effect"]),
        ("curve.broker_publickey = \"KEY\"", vec!["`broker_publickey` has no effect"]),
        (WORKERS, vec!["10:19: `curve_publickey` of `a` has no effect"]),
        ("allow.worker.logs = false", vec!["6:7: `allow` is no protection without keys per node"]),
        (
            // Once is enough.
            "allow.worker.logs = false\nnodes.m.allow.publish = []",
            vec!["6:7: `allow` is no protection without keys per node"],
        ),
        (
            "allow.worker.subscribe = []\nnodes.m.allow.subscribe = []",
            vec!["6:26: `subscribe` has no effect without keys per node"],
        ),
        (
            "allow.worker.subscribe = []\nallow.manager.publish = []",
            vec![
                "`subscribe` has no effect without keys per node",
                "`allow` is no protection without keys per node",
            ],
        ),
        (
            "curve.mode = \"per-node\"\nallow.worker.publish = [\"a\", \"\"]",
            vec!["7:24: `publish`: every topic begins with \"\": it allows all"],
        ),
        (
            "curve.mode = \"per-node\"\nnodes.m.allow.subscribe = [\"\"]",
            vec!["7:27: `subscribe`: every topic begins with \"\""],
        ),
        ("curve.mode = \"per-node\"\nallow.worker.publish = []", vec![]),
        // An `allow` without rules needs nothing.
        ("[allow.worker]", vec![]),
        ("curve.mode = \"shared\"", vec![]),
        (
            "zeromq.curve_server_secretkey = \"SECRET\"\nzeromq.curve_client_publickey = \"KEY\"\n\
             curve.old_client_publickey = \"OTHER\"\ncurve.old_server_secretkey = \"SECRET\"",
            vec![],
        ),
    ] {
        let warnings = warnings(&with_keys(text));
        assert_eq!(warnings.len(), expected.len(), "{text}: {warnings:?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.contains(expected), "{text}: {warnings:?}");
        }
    }
}

#[test]
fn secrets_are_printed_only_where_they_are_asked_for() {
    let text = with_keys(
        "[zeromq]\ncurve_server_publickey = \"KEY\"\ncurve_server_secretkey = \"SECRET\"\n\
         curve_client_publickey = \"OTHER\"\ncurve_client_secretkey = \"SECRET\"\n\
         [curve]\nold_server_secretkey = \"SECRET\"",
    );
    let (layout, _) = read(&text).unwrap();
    let printed = to_toml(&layout);
    for shown in [&printed, &both(zeek::export(&layout)), &format!("{layout:?}")] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    for option in ["curve_server_secretkey", "curve_client_secretkey", "old_server_secretkey"] {
        let comment = format!("\n# {option}: a secret, not printed;");
        assert!(printed.contains(&comment), "{printed}");
    }
    assert!(printed.contains(KEY) && printed.contains(OTHER), "{printed}");
    // Without its secrets the file is rejected, rather than read as that of an unencrypted cluster.
    assert!(errors(&printed)[0].contains("CURVE stays off"));
    let whole = to_toml_with_secrets(&layout);
    assert!(whole.len() <= printed.len());
    assert_eq!(read(&whole).unwrap().0, layout);
}

#[test]
fn whatever_is_wrong_with_a_secret_it_is_not_shown() {
    let options = [
        ("zeromq", "curve_server_secretkey"),
        ("zeromq", "curve_client_secretkey"),
        ("curve", "old_server_secretkey"),
        // A user may mistake one key for the other.
        ("curve", "broker_publickey"),
        ("curve", "old_client_publickey"),
        ("nodes.m", "curve_publickey"),
    ];
    for (section, option) in options {
        for value in [
            "= \"hunter2\"",
            "= \"hunter2\"\nlinger_mss = 3",
            "= [\"hunter2\"]",
            "= [\n\"hunter2\", 3\n]",
            "= { a = \"hunter2\" }",
            ".hunter = { a = \"hunter2\" }",
            "= \"hunter2",
            "= \"\"\"\nhunter2",
            "= '''\nhunter2 = hunter2",
            "= '''\nhunter2''' x",
            "= \"\"\"\nhunter2 \\q \"\"\"",
            "= hunter2",
            "= \"hunter2\" \"hunter2\"",
            "\"hunter2\"",
        ] {
            let head = "[nodes.m]\nnode_type = \"manager\"\nip = \"::1\"\n";
            let head = if section == "nodes.m" { "" } else { head };
            let text = format!("{head}[{section}]\n{option} {value}\n");
            let errors = read(&text).unwrap_err();
            assert!(!format!("{errors} {errors:?}").contains("hunter2"), "{text}\n{errors}");
        }
    }
    // Even if nothing marks it as one.
    for text in ["[curve]\nold_server = \"KEY\"", "[log]\n\"KEY\"", "[log]\nformat = \"KEY\""] {
        let errors = read(&text.replace("KEY", KEY)).unwrap_err();
        assert!(!format!("{errors} {errors:?}").contains(&KEY[1..20]), "{errors}");
    }
    // The text before it is shown.
    let text = "nodes = { m = { curve_publickey = \"hunter2\", node_type = \"manager\" } }";
    let shown = read(text).unwrap_err().to_string();
    assert!(shown.contains("1 | nodes =\n") && !shown.contains("hunter2"), "{shown}");
}

/// Both scripts of an export.
fn both(exported: zeek::Exported) -> String {
    exported.layout + &exported.options
}
