//! No subcommand shows a secret of a layout, whatever is wrong with it, except those that say so.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use zcluster::access::key_file::read_secret_keys;
use zcluster::wire::zmtp::KeyPair;

const NODES: &str = "[nodes.logger-1]\nnode_type = \"logger\"\nip = \"127.0.0.1\"\nport = 1\n\
                     [nodes.worker-1]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\n";

/// Every subcommand that reads a layout. One that would start a cluster names a node that does not
/// exist.
const COMMANDS: [&str; 13] = [
    "layout check",
    "layout check broken.toml",
    "layout export",
    "layout export broken.toml",
    "layout import script.zeek",
    "layout import broken.zeek",
    "status",
    "up no-such-node",
    "up --layout broken.toml",
    "keygen --per-node --servers",
    "keygen --per-node --replace --node worker-1 --node broker",
    "keys list",
    "keys list --json",
];

fn zcluster(dir: &Path, line: &str, environment: &[(&str, &str)]) -> String {
    let output = Command::new(snapbox::cmd::cargo_bin!("zcluster"))
        .args(line.split(' '))
        .envs(environment.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let both = [output.stdout, output.stderr].concat();
    String::from_utf8(both).unwrap()
}

/// Secrets in files, if any were created.
fn secrets_of(dir: &Path) -> Vec<String> {
    let Ok(files) = fs::read_dir(dir.join("keys/secret")) else { return Vec::new() };
    let keys = files.flat_map(|file| read_secret_keys(&file.unwrap().path()).unwrap());
    keys.map(|pair| pair.secret().expose_text().to_string()).collect()
}

#[test]
fn keys_that_all_share() {
    let dir = tempfile::tempdir().unwrap();
    let [server, client, old] = [(); 3].map(|()| KeyPair::generate());
    let secret = |pair: &KeyPair| pair.secret().expose_text().to_string();
    let keys = [
        ("curve_server_publickey", server.public().to_string()),
        ("curve_server_secretkey", secret(&server)),
        ("curve_client_publickey", client.public().to_string()),
        ("curve_client_secretkey", secret(&client)),
    ];
    let (mut options, mut zeek) = (String::new(), String::new());
    for (name, key) in keys {
        options += &format!("{name} = \"{key}\"\n");
        zeek += &format!("redef Cluster::Backend::ZeroMQ::{name} = \"{key}\";\n");
    }
    let old_key = format!("[curve]\nold_server_secretkey = \"{}\"\n", secret(&old));
    let layout = format!("[zeromq]\n{options}{old_key}{NODES}");
    fs::write(dir.path().join("cluster-layout.toml"), &layout).unwrap();
    fs::write(dir.path().join("script.zeek"), &zeek).unwrap();

    let secrets = [secret(&server), secret(&client), secret(&old)];
    let check = |line: &str, environment: &[(&str, &str)]| {
        let shown = zcluster(dir.path(), line, environment);
        assert!(!shown.is_empty(), "{line}");
        let made = secrets_of(dir.path());
        for key in secrets.iter().chain(&made) {
            // Not even half of one.
            assert!(!shown.contains(&key[..20]) && !shown.contains(&key[20..]), "{line}: {shown}");
        }
    };
    for (from, to) in [
        ("\"\n", "\"\nx = 1\n"),
        ("\"\n", "\" 1\n"),
        ("\"\n", "\n"),
        ("\"\n", "#\"\n"),
        (" = ", " "),
        (" = ", " = x"),
        ("secretkey", "secret_key"),
        ("_secretkey", ""),
        (" = \"", " = 3 \""),
        (" = \"", " = '''\n\""),
        (" = ", " = { a = 3, b = "),
    ] {
        fs::write(dir.path().join("broken.toml"), layout.replace(from, to)).unwrap();
        fs::write(dir.path().join("broken.zeek"), zeek.replace(from, to)).unwrap();
        for line in ["layout check broken.toml", "layout import broken.zeek"] {
            check(line, &[]);
        }
    }
    let variable = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_SECRETKEY";
    for environment in [vec![], vec![(variable, &*secrets[1])], vec![(variable, &secrets[1][1..])]]
    {
        for line in COMMANDS {
            check(line, &environment);
        }
    }
    // A layout has nodes.
    let nodes =
        "redef Cluster::nodes = { [\"m\"] = [$node_type=Cluster::MANAGER, $ip=127.0.0.1] };\n";
    fs::write(dir.path().join("nodes.zeek"), nodes).unwrap();
    let shown = zcluster(dir.path(), "layout import nodes.zeek script.zeek --secrets", &[]);
    assert!(secrets[..2].iter().all(|key| shown.contains(key)), "{shown}");
}

#[test]
fn keys_of_each_node() {
    let dir = tempfile::tempdir().unwrap();
    let layout = format!("[curve]\nmode = \"per-node\"\n{NODES}");
    fs::write(dir.path().join("cluster-layout.toml"), &layout).unwrap();
    fs::write(dir.path().join("script.zeek"), "redef Cluster::nodes = { };").unwrap();
    fs::write(dir.path().join("broken.zeek"), "redef Cluster::nodes = [").unwrap();
    let mut shown = zcluster(dir.path(), "keygen --per-node --servers", &[]);
    // A secret key where a public one should be.
    let mistaken = secrets_of(dir.path()).remove(0);
    let broken = format!("{layout}curve_publickey = \"{}\"\n", &mistaken[1..]);
    fs::write(dir.path().join("broken.toml"), broken).unwrap();
    shown += &zcluster(dir.path(), &format!("keys revoke worker-1 --key={mistaken}"), &[]);
    shown += &zcluster(dir.path(), &format!("keys revoke worker-1 --key={}", &mistaken[1..]), &[]);
    let secret = dir.path().join("keys/secret/worker-1.secret");
    let text = fs::read_to_string(&secret).unwrap();
    for line in COMMANDS {
        shown += &zcluster(dir.path(), line, &[]);
    }
    let secrets = secrets_of(dir.path());
    // A file of secrets with something else in it.
    fs::write(&secret, &text.as_bytes()[..text.len() - 3]).unwrap();
    for line in COMMANDS.into_iter().chain(["keys zeek worker-1", "keys revoke worker-1"]) {
        shown += &zcluster(dir.path(), line, &[]);
    }
    assert!(shown.contains("worker-1.secret, line 2: found 38 characters"), "{shown}");
    for key in secrets {
        assert!(!shown.contains(&key[1..38]), "{shown}");
    }
}
