//! `zcluster keygen --per-node` and `zcluster keys` as users see them: the files, the output, and
//! that processes use the keys.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;
use zcluster::access::key_file::{MAX_KEYS, read_public_keys, read_secret_keys};
use zcluster::access::{Access, Identity, client_keys, server_access};
use zcluster::layout::{Layout, load};
use zcluster::wire::zmtp::{KeyPair, PublicKey};

const NODES: &str = r#"
[nodes.logger-1]
node_type = "logger"
ip = "10.0.0.1"
port = 5560

[nodes.worker-1]                # the first
node_type = "worker"
ip = "10.0.0.2"
"#;

/// A directory with a layout, where commands run.
struct Site(tempfile::TempDir);

/// How a command ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Site {
    fn new(head: &str) -> Self {
        let site = Site(tempfile::tempdir().unwrap());
        fs::write(site.layout_file(), format!("{head}{NODES}")).unwrap();
        site
    }

    fn per_node() -> Self {
        Site::new("[curve]\nmode = \"per-node\"\n")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn layout_file(&self) -> PathBuf {
        self.path("cluster-layout.toml")
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(snapbox::cmd::cargo_bin!("zcluster"));
        command.args(line.split(' ')).current_dir(self.0.path());
        command
    }

    fn run(&self, line: &str) -> Ended {
        ended(&mut self.command(line))
    }

    /// Runs a command that must succeed.
    fn ok(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, 0, "{line}: {}", ended.stderr);
        ended.stdout
    }

    /// Runs a command that must fail, with one line that says why.
    fn fails(&self, line: &str, code: i32) -> String {
        let ended = self.run(line);
        assert_eq!(ended.code, code, "{line}: {}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{line}: {}", ended.stderr);
        ended.stderr
    }

    fn layout(&self) -> Layout {
        load(self.layout_file(), |_| None).unwrap().layout
    }

    fn broker(&self) -> Access {
        server_access(&self.layout(), "broker").unwrap()
    }

    fn public(&self, name: &str) -> Vec<PublicKey> {
        read_public_keys(&self.path(&format!("keys/authorized/{name}.pub"))).unwrap()
    }

    fn secret(&self, name: &str) -> Vec<KeyPair> {
        read_secret_keys(&self.path(&format!("keys/secret/{name}.secret"))).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap().permissions().mode() & 0o7777
    }
}

fn ended(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().unwrap();
    Ended {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn node(name: &str) -> Identity {
    Identity::Node(name.into())
}

#[test]
fn keys_of_a_whole_layout_are_ready_for_use() {
    let site = Site::new("");
    let said = site.ok("keygen --per-node");
    for line in [
        "broker: created keys/secret/broker.secret and keys/authorized/broker.pub",
        "  all hosts: keys/authorized",
        "  10.0.0.2: keys/secret/worker-1.secret",
        "  the host of the broker: keys/secret/broker.secret",
        "These keys have no effect yet. On all hosts, add to cluster-layout.toml:",
        "  mode = \"per-node\"",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
    assert_eq!(site.mode("keys/secret"), 0o700);
    assert_eq!(site.mode("keys/secret/worker-1.secret"), 0o600);
    assert!(!site.path("keys/secret/servers.secret").exists());

    fs::write(site.layout_file(), format!("[curve]\nmode = \"per-node\"\n{NODES}")).unwrap();
    let worker = client_keys(&site.layout(), "worker-1").unwrap().unwrap();
    assert_eq!(worker.broker(), site.public("broker")[0]);
    assert_eq!(worker.logger(Some("logger-1")), Some(site.public("logger-1")[0]));
    let broker = site.broker();
    assert_eq!(broker.server_keys().unwrap().len(), 1);
    assert_eq!(broker.admit(worker.keys().public()), Some(&node("worker-1")));
    assert_eq!(broker.admit(&worker.broker()), None);

    // Again: nothing is lost.
    let before = fs::read(site.path("keys/secret/worker-1.secret")).unwrap();
    fs::remove_file(site.path("keys/authorized/worker-1.pub")).unwrap();
    fs::remove_file(site.path("keys/secret/logger-1.secret")).unwrap();
    let said = site.ok("keygen --per-node --servers");
    assert_eq!(fs::read(site.path("keys/secret/worker-1.secret")).unwrap(), before);
    assert_eq!(site.public("worker-1"), [*worker.keys().public()]);
    assert!(said.contains("broker: kept keys/secret/broker.secret\n"), "{said}");
    assert!(said.contains("worker-1.pub was missing and has been written again"), "{said}");
    assert!(
        said.contains("logger-1: already has a public key, and its secret key is on"),
        "{said}"
    );
    assert!(!site.path("keys/secret/logger-1.secret").exists());
    assert!(!said.contains("no effect yet"), "{said}");
    assert_eq!(site.broker().server_keys().unwrap().len(), 2, "its own and that of all servers");
}

#[test]
fn keys_are_found_from_where_the_layout_is() {
    let site = Site::per_node();
    let other = tempfile::tempdir().unwrap();
    let layout = site.layout_file();
    let mut command = Command::new(snapbox::cmd::cargo_bin!("zcluster"));
    command.args(["keygen", "--per-node", "--node", "worker-1", "--layout"]).arg(layout);
    assert_eq!(ended(command.current_dir(other.path())).code, 0);
    assert_eq!(fs::read_dir(other.path()).unwrap().count(), 0);
    assert_eq!(site.secret("worker-1")[0].public(), &site.public("worker-1")[0]);
}

#[test]
fn a_key_is_changed_while_the_old_one_stays_valid() {
    let site = Site::per_node();
    site.ok("keygen --per-node");
    let old = [site.public("worker-1")[0], site.public("broker")[0]];
    let said = site.ok("keygen --per-node --replace --node worker-1 --node broker");
    let new = [site.public("worker-1")[0], site.public("broker")[0]];
    assert!(new.iter().all(|key| !old.contains(key)));
    assert_eq!(site.public("worker-1"), [new[0], old[0]]);
    assert_eq!(site.mode("keys/secret/worker-1.secret"), 0o600);

    // The broker accepts both, and answers to both.
    let broker = site.broker();
    for key in [new[0], old[0]] {
        assert_eq!(broker.admit(&key), Some(&node("worker-1")));
    }
    let answers: Vec<_> = broker.server_keys().unwrap().iter().map(|key| *key.public()).collect();
    assert_eq!(answers, [new[1], old[1]]);
    let worker = client_keys(&site.layout(), "worker-1").unwrap().unwrap();
    assert_eq!((*worker.keys().public(), worker.broker()), (new[0], new[1]));

    // Servers change first; of both keys, the secret one is copied last.
    let steps = |said: &str, name: &str| {
        let (_, steps) = said.split_once(&format!("The old key of {name} stays valid")).unwrap();
        steps
            .lines()
            .skip(1)
            .map_while(|line| line.split_once(". "))
            .map(|(_, s)| s.to_owned())
            .collect::<Vec<_>>()
    };
    let starts = [
        "copy keys/secret/broker.secret to its host; send SIGHUP to the broker, which then",
        "copy keys/authorized/broker.pub to all hosts",
        "restart the nodes, including loggers, one at a time",
        "zcluster keys revoke broker --key='",
        "copy keys/authorized to all hosts; send SIGHUP to the broker and the loggers",
    ];
    let broker_steps = steps(&said, "broker");
    assert_eq!(broker_steps.len(), starts.len(), "{said}");
    assert!(broker_steps.iter().zip(starts).all(|(step, start)| step.starts_with(start)), "{said}");
    assert_eq!(steps(&said, "worker-1").len(), 4, "{said}");

    // A shell can run the printed command.
    let revoke = said.lines().find_map(|line| Some(line.split_once("zcluster keys revoke w")?.1));
    let program = snapbox::cmd::cargo_bin!("zcluster");
    let script = format!("'{}' keys revoke w{}", program.display(), revoke.unwrap());
    let revoked = ended(Command::new("sh").arg("-c").arg(script).current_dir(site.0.path()));
    assert_eq!(revoked.code, 0, "{}", revoked.stderr);
    let expected = format!(
        "worker-1: {} is revoked, in keys/authorized/revoked\n\
         worker-1: removed {} from keys/authorized/worker-1.pub\n\
         To apply the change, copy the files, including keys/authorized/revoked, to their hosts, \
         then send SIGHUP to the broker and to logger-1.\n\
         You may also remove its secret key from keys/secret/worker-1.secret.\n",
        old[0], old[0]
    );
    assert_eq!(revoked.stdout, expected);
    let broker = site.broker();
    assert_eq!((broker.admit(&old[0]), broker.admit(&new[0]).is_some()), (None, true));

    // The number of keys is limited.
    for _ in 2..MAX_KEYS {
        site.ok("keygen --per-node --replace --node broker");
    }
    let error = site.fails("keygen --per-node --replace --node broker", 78);
    assert!(error.contains("broker has 8 keys, which is the maximum"), "{error}");
    site.broker();
}

#[test]
fn an_old_key_may_be_on_another_host_or_in_the_layout() {
    let key = *KeyPair::generate().public();
    let site = Site::new(&format!("[curve]\nmode = \"per-node\"\nbroker_publickey = \"{key}\"\n"));
    let said = site.ok("keygen --per-node --node broker");
    assert!(said.contains("broker: already has a public key"), "{said}");
    let said = site.ok("keygen --per-node --node broker --replace");
    assert!(said.contains("The old secret key is not on this host: append it to"), "{said}");
    assert!(said.contains("The layout has the old key of broker, and takes precedence"), "{said}");
    assert_eq!(site.public("broker")[1..], [key]);
    assert_eq!(site.secret("broker").len(), 1);
    let said = site.ok(&format!("keys revoke broker --key={key}"));
    assert!(said.contains("broker.pub\n") && said.contains("cluster-layout.toml\n"), "{said}");
    assert_eq!(site.layout().curve.broker_publickey, None);
}

#[test]
fn what_engine_zmq_cannot_do_is_told() {
    let site = Site::new("[curve]\nmode = \"per-node\"\n[broker]\nengine = \"zmq\"\n");
    let said = site.ok("keygen --per-node --servers");
    assert!(said.contains("Then send SIGHUP to the broker and the loggers"), "{said}");
    let warning = "answers to its own key only: Zeek nodes with their own keys cannot";
    assert!(said.contains(warning), "{said}");
    let said = site.ok("keygen --per-node --replace --node broker");
    assert!(said.contains("2. restart the broker and all nodes: with"), "{said}");
    assert!(!said.contains("answers to both keys"), "{said}");
    let warning = site.run("keys zeek worker-1").stderr;
    assert!(warning.contains("worker-1 cannot connect to it"), "{warning}");
}

#[test]
fn mistakes_are_one_line() {
    let site = Site::per_node();
    for (line, code, expected) in [
        (
            "keygen --per-node --node x",
            78,
            "'x' is not a node of cluster-layout.toml; expected one of",
        ),
        ("keygen --per-node --layout no", 74, "cannot read the layout file no: "),
        ("keys list --layout no", 74, "cannot read the layout file no: "),
        (
            "keys revoke x",
            78,
            "'x' is not a node of cluster-layout.toml; expected one of logger-1, worker-1",
        ),
        ("keys revoke worker-1", 78, "cluster-layout.toml has a public key of worker-1"),
        ("keys revoke worker-1 --key hunter2", 64, "--key: found 7 characters, expected a key of"),
        ("keys zeek worker-1", 78, "`zcluster keygen --per-node --servers` creates it"),
        ("keys zeek broker", 64, "broker is not a node"),
    ] {
        let error = site.fails(line, code);
        assert!(error.starts_with("zcluster: ") && error.contains(expected), "{line}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    for line in ["keygen --node worker-1", "keygen --replace", "keygen --per-node --json", "keys"] {
        assert_eq!(site.run(line).code, 64, "{line}");
    }
    let named = fs::read_to_string(site.layout_file()).unwrap().replace("worker-1]", "servers]");
    fs::write(site.path("named.toml"), named.replace("per-node", "shared")).unwrap();
    for line in ["keygen --per-node --layout named.toml", "keys list --layout named.toml"] {
        let error = site.fails(line, 78);
        assert!(error.contains("named.toml: `servers` is reserved for keys that"), "{error}");
    }
    assert!(!site.path("keys").exists());

    // Files created before a failure are reported.
    site.ok("keygen --per-node --node worker-1");
    let secret = site.path("keys/secret/worker-1.secret");
    fs::set_permissions(&secret, Permissions::from_mode(0o644)).unwrap();
    let ended = site.run("keygen --per-node");
    assert_eq!(ended.code, 78);
    assert!(ended.stdout.contains("logger-1: created "), "{}", ended.stdout);
    assert!(ended.stderr.contains("worker-1.secret has mode 0644"), "{}", ended.stderr);
}

#[test]
fn the_list_says_who_has_which_key_and_where() {
    let site = Site::per_node();
    site.ok("keygen --per-node --node worker-1 --node broker");
    let [worker, broker] = ["worker-1", "broker"].map(|name| site.public(name)[0]);
    let text = fs::read_to_string(site.layout_file()).unwrap();
    fs::write(site.layout_file(), format!("{text}curve_publickey = \"{worker}\"\n")).unwrap();
    fs::write(site.path("keys/authorized/gone.pub"), "").unwrap();
    let secret = site.path("keys/secret/broker.secret");
    fs::set_permissions(&secret, Permissions::from_mode(0o640)).unwrap();

    let listed = site.run("keys list");
    let gap = " ".repeat(30);
    let expected = format!(
        "NAME      TYPE     SECRET KEY  PUBLIC KEY{gap}  WHERE\n\
         broker    broker   refused     {broker}  keys/authorized/broker.pub\n\
         servers   servers  -           no key: Zeek cannot connect\n\
         logger-1  logger   -           no key: cannot connect\n\
         worker-1  worker   here        {worker}  layout, keys/authorized/worker-1.pub\n"
    );
    assert_eq!((listed.code, listed.stdout), (0, expected));
    let warnings: Vec<_> = listed.stderr.lines().collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("keys/secret/broker.secret has mode 0640"), "{warnings:?}");
    assert!(warnings[1].contains("keys/authorized/gone.pub belongs to no node"), "{warnings:?}");

    let json: Value = serde_json::from_str(&site.ok("keys list --json")).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
    let rows = json["keys"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows[0]["secret_key"], "refused");
    assert_eq!(rows[1]["public_keys"], Value::Array(Vec::new()));
    assert_eq!(rows[3]["public_keys"][0]["key"], worker.to_string());
    assert_eq!(rows[3]["public_keys"][0]["where"][0], "layout");

    // Problems that would stop servers are reported, but do not stop the list.
    fs::copy(site.path("keys/authorized/worker-1.pub"), site.path("keys/authorized/logger-1.pub"))
        .unwrap();
    fs::write(site.path("keys/authorized/servers.pub"), "hunter2\n").unwrap();
    let warnings = site.run("keys list").stderr;
    assert!(warnings.contains("logger-1 and worker-1 have the same public key"), "{warnings}");
    assert!(warnings.contains("servers.pub, line 1: found 7 characters"), "{warnings}");
}

#[test]
fn a_key_is_revoked_wherever_it_stands() {
    let keys = [(); 3].map(|()| *KeyPair::generate().public());
    let site = Site::per_node();
    let text = fs::read_to_string(site.layout_file()).unwrap();
    let list = format!("curve_publickey = [\"{}\", \"{}\"]  # two\n", keys[0], keys[1]);
    fs::write(site.layout_file(), text.clone() + &list).unwrap();
    fs::set_permissions(site.layout_file(), Permissions::from_mode(0o640)).unwrap();
    site.ok("keygen --per-node --node broker --node worker-1 --node logger-1");
    let file = site.path("keys/authorized/worker-1.pub");
    fs::write(&file, format!("# new\n{}\n{}\n", keys[2], keys[1])).unwrap();

    let error = site.fails(&format!("keys revoke logger-1 --key={}", keys[0]), 78);
    assert!(error.contains("has that public key of logger-1"), "{error}");

    site.ok(&format!("keys revoke worker-1 --key={}", keys[1]));
    let list = format!("curve_publickey = [\"{}\"]  # two\n", keys[0]);
    assert_eq!(fs::read_to_string(site.layout_file()).unwrap(), text.clone() + &list);
    assert_eq!(site.mode("cluster-layout.toml"), 0o640);
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("# new\n{}\n", keys[2]));
    let broker = site.broker();
    let admitted = keys.map(|key| broker.admit(&key).is_some());
    assert_eq!(admitted, [true, false, true]);

    let said = site.ok("keys revoke worker-1");
    assert!(said.contains("worker-1: removed all public keys from keys/authorized/worker-1.pub\n"));
    assert_eq!(fs::read_to_string(site.layout_file()).unwrap(), text);
    assert!(!file.exists());
    let broker = site.broker();
    assert!(keys.iter().all(|key| broker.admit(key).is_none()));

    site.ok("keygen --per-node --node broker");
    let said = site.ok("keys revoke broker");
    assert!(
        said.contains("keys/secret/broker.secret is still on this host; you may delete it."),
        "{said}"
    );
    let fails = client_keys(&site.layout(), "logger-1").unwrap_err().to_string();
    assert!(fails.contains("no public key of the broker"), "{fails}");
}

#[test]
fn a_revoked_node_stays_out_until_somebody_says_otherwise() {
    let site = Site::per_node();
    site.ok("keygen --per-node");
    let old = site.public("worker-1")[0];
    let file = site.path("keys/authorized/worker-1.pub");
    let copy = fs::read(&file).unwrap();
    let is_in = |key: &PublicKey| site.broker().admit(key).is_some();
    site.ok("keys revoke worker-1");
    assert!(!is_in(&old));

    // Commands that create keys say why they do not create this one.
    let refused = format!(
        "worker-1: its key {old} is revoked in keys/authorized/revoked: nothing created. `zcluster \
         keygen --per-node --node worker-1 --replace` creates a new key, `zcluster keys restore \
         worker-1` restores this one\n"
    );
    for line in ["keygen --per-node", "keygen --per-node --node worker-1"] {
        let said = site.ok(line);
        assert!(said.contains(&refused) && !file.exists(), "{line}: {said}");
    }
    // Also if its secret key is only on its own host, and nothing else is left of it.
    let secret = site.path("keys/secret/worker-1.secret");
    let elsewhere = site.path("elsewhere");
    fs::rename(&secret, &elsewhere).unwrap();
    assert!(site.ok("keygen --per-node").contains(&refused));
    assert!(!file.exists() && !secret.exists());
    // A restored copy of the public key is still refused.
    fs::write(&file, &copy).unwrap();
    assert!(site.ok("keygen --per-node").contains(&refused));
    assert!(!is_in(&old));
    fs::rename(&elsewhere, &secret).unwrap();
    let said = site.ok("keygen --per-node");
    assert!(said.contains(&refused), "{said}");
    let listed = site.run("keys list");
    let line = listed.stdout.lines().find(|line| line.starts_with("worker-1")).unwrap();
    assert!(line.contains(&format!("{old}  revoked 20")), "{line}");
    assert!(line.ends_with("Z, keys/authorized/worker-1.pub"), "{line}");
    let warning = format!("the key {old} of worker-1 in keys/authorized/worker-1.pub is revoked");
    assert!(listed.stderr.contains(&warning), "{}", listed.stderr);
    let error = site.fails("keys zeek worker-1", 78);
    assert!(error.contains("servers would refuse it") || error.contains("common key"), "{error}");

    // Revoking again says so, and removes it again.
    let said = site.ok("keys revoke worker-1");
    assert!(said.contains(&format!("{old} is revoked already, in keys/authorized/revoked")));
    assert!(!file.exists());
    site.ok("keys revoke worker-1");

    // A new key is a different key.
    let said = site.ok("keygen --per-node --node worker-1 --replace");
    assert!(
        said.contains("created a new key in keys/secret/worker-1.secret and keys/authorized"),
        "{said}"
    );
    assert!(!said.contains("stays valid until it is revoked"), "{said}");
    let new = site.public("worker-1");
    assert_eq!((new.len(), is_in(&new[0]), is_in(&old)), (1, true, false));
    assert!(site.ok("keygen --per-node").contains("worker-1: kept keys/secret/worker-1.secret\n"));

    // The old key is valid again only on request.
    let said = site.ok("keys restore worker-1");
    assert!(
        said.starts_with(&format!("worker-1: {old} is no longer revoked\nTo apply the change"))
    );
    assert_eq!(site.public("worker-1"), [new[0], old]);
    assert!(is_in(&old) && is_in(&new[0]));
    let error = site.fails("keys restore worker-1", 78);
    assert!(error.contains("no key of worker-1 is revoked in keys/authorized/revoked"), "{error}");
}

#[test]
fn one_of_several_revoked_keys_is_named() {
    let site = Site::per_node();
    site.ok("keygen --per-node");
    site.ok("keygen --per-node --replace --node worker-1");
    let keys = site.public("worker-1");
    site.ok(&format!("keys revoke worker-1 --key={}", keys[1]));
    let said = site.ok("keygen --per-node");
    assert!(said.contains("worker-1: kept "), "{said}");
    site.ok("keys revoke worker-1");
    let error = site.fails("keys restore worker-1", 64);
    assert!(error.contains("worker-1 has 2 revoked keys: choose one with --key"), "{error}");
    let error = site.fails(&format!("keys restore logger-1 --key={}", keys[0]), 78);
    assert!(error.contains("that key of logger-1 is not revoked"), "{error}");
    let json = || serde_json::from_str::<Value>(&site.ok("keys list --json")).unwrap();
    let worker = |json: &Value| {
        json["keys"].as_array().unwrap().iter().find(|row| row["name"] == "worker-1").cloned()
    };
    let listed = worker(&json()).unwrap();
    let revoked = listed["public_keys"].as_array().unwrap();
    assert_eq!(revoked.len(), 2);
    assert!(
        revoked
            .iter()
            .all(|key| key["revoked"].is_string() && key["where"] == Value::Array(vec![]))
    );

    site.ok(&format!("keys restore worker-1 --key={}", keys[0]));
    let broker = site.broker();
    assert!(broker.admit(&keys[0]).is_some() && broker.admit(&keys[1]).is_none());

    // A node that is no longer in the layout is listed, too.
    let text = fs::read_to_string(site.layout_file()).unwrap();
    fs::write(site.layout_file(), text.replace("worker-1", "worker-2")).unwrap();
    let listed = worker(&json()).unwrap();
    assert_eq!(
        (&listed["type"], listed["public_keys"].as_array().unwrap().len()),
        (&"-".into(), 1)
    );
}

#[test]
fn who_may_not_write_the_list_of_revoked_keys_revokes_nothing() {
    let site = Site::per_node();
    site.ok("keygen --per-node");
    fs::write(site.path("keys/authorized/revoked"), "no key\n").unwrap();
    for line in ["keys revoke worker-1", "keys restore worker-1", "keys list", "keygen --per-node"]
    {
        let error = site.fails(line, 78);
        assert!(error.contains("keys/authorized/revoked, line 1: found 2 characters"), "{error}");
    }
    assert!(site.path("keys/authorized/worker-1.pub").exists());
    assert!(server_access(&site.layout(), "broker").is_err(), "no key is accepted by mistake");
}

#[test]
fn a_node_of_zeek_gets_its_environment() {
    let site = Site::per_node();
    site.ok("keygen --per-node --servers");
    let secret = site.secret("worker-1")[0].secret().expose_text().to_string();
    let expected =
        [site.public("servers")[0].to_string(), site.public("worker-1")[0].to_string(), secret];

    // What a shell reads from it.
    site.ok("keys zeek worker-1 --out worker-1.env");
    assert_eq!(site.mode("worker-1.env"), 0o600);
    let names = ["SERVER_PUBLICKEY", "CLIENT_PUBLICKEY", "CLIENT_SECRETKEY"]
        .map(|name| format!("\"$ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_{name}\""));
    let script = format!(". ./worker-1.env; sh -c 'printf \"%s\\n\" {}'", names.join(" "));
    let shell = ended(Command::new("sh").arg("-c").arg(script).current_dir(site.0.path()));
    assert_eq!(shell.stdout.lines().collect::<Vec<_>>(), expected);

    let printed = site.ok("keys zeek worker-1");
    assert_eq!(printed, fs::read_to_string(site.path("worker-1.env")).unwrap());
    let error = site.fails("keys zeek worker-1 --out worker-1.env", 74);
    assert!(error.contains("cannot create worker-1.env: "), "{error}");
    let logger = site.run("keys zeek logger-1");
    assert!(logger.stderr.contains("warning: logger-1 receives logs"), "{}", logger.stderr);

    site.ok("keys revoke worker-1");
    let error = site.fails("keys zeek worker-1", 78);
    assert!(error.contains("servers would refuse it"), "{error}");
}

#[test]
fn a_secret_reaches_a_terminal_only_where_it_is_asked_for() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let site = Site::per_node();
    site.ok("keygen --per-node --servers");
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let name = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = || OpenOptions::new().write(true).open(&name).unwrap();
    for (line, code) in [("keys zeek worker-1", 64), ("keys zeek worker-1 --show", 0)] {
        let mut command = site.command(line);
        let child = command.stdout(terminal()).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert_eq!(error.contains("refusing to print a secret key"), code == 64, "{error}");
    }
}
