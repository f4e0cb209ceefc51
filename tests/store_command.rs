//! `zcluster store`: what it does for a shell.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use support::keys::{PER_NODE, make_keys};
use support::{Cluster, Ended, NodeSpec, Process, command, run_to_end, wait_for};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

/// Two stores, one of each node.
const STORES: &str = "[log]\nshutdown_timeout = \"100ms\"\n[stores.\"a/b\"]\n\
                      [stores.other]\nmaster_node = \"worker-1\"\n";

fn store_command(cluster: &Cluster, args: &[&str]) -> Command {
    let mut command = command("zcluster");
    command.arg("store").args(args).args(["--layout", cluster.layout_arg()]);
    command
}

fn store(cluster: &Cluster, args: &[&str]) -> Ended {
    run_to_end(&mut store_command(cluster, args))
}

#[track_caller]
fn succeeds(cluster: &Cluster, args: &[&str]) -> String {
    let ended = store(cluster, args);
    assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{args:?}");
    ended.stdout
}

#[track_caller]
fn fails(cluster: &Cluster, args: &[&str], code: i32, parts: &[&str]) -> String {
    let ended = store(cluster, args);
    assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
    assert!(code == 64 || ended.stderr.lines().count() == 1, "{}", ended.stderr);
    for part in parts {
        assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
    }
    ended.stdout
}

fn lines(text: &str) -> Vec<Json> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_put_can_be_gotten_and_dumped() {
    let cluster = Cluster::new(NODES, STORES);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &["--quiet"]);
    let address = r#"{"addr":"192.0.2.1"}"#;
    assert_eq!(succeeds(&cluster, &["dump", "a/b"]), "");
    assert_eq!(succeeds(&cluster, &["put", "a/b", address, r#"{"set":["dns"]}"#]), "");
    succeeds(&cluster, &["put", "a/b", "word", "-1", "--expires-at", "2200-01-01T00:00:00Z"]);
    succeeds(&cluster, &["put", "a/b", "-7", "text", "--expires", "1h", "--unique"]);
    let unique = ["put", "a/b", "word", "2", "--unique"];
    fails(&cluster, &unique, 65, &["store \"a/b\": the key exists"]);

    assert_eq!(succeeds(&cluster, &["get", "a/b", address]), "{\"set\":[\"dns\"]}\n");
    assert_eq!(succeeds(&cluster, &["get", "a/b", "\"word\""]), "{\"int\":-1}\n");
    let missing = ["zcluster: store \"a/b\": NO_SUCH_KEY: 42"];
    assert_eq!(fails(&cluster, &["get", "a/b", "42"], 65, &missing), "");
    let missing = ["NO_SUCH_KEY: 42, \"no\""];
    let both = fails(&cluster, &["get", "a/b", "word", "42", "-7", "no"], 65, &missing);
    let found = [
        json!({ "key": "word", "value": {"int": -1} }),
        json!({ "key": {"int": -7}, "value": "text" }),
    ];
    assert_eq!(lines(&both), found);

    let mut dump = lines(&succeeds(&cluster, &["dump", "a/b"]));
    let expires = dump[0].as_object_mut().unwrap().shift_remove("expires").unwrap();
    assert!(expires.as_str().unwrap().ends_with('Z'), "{expires}");
    let expected = [
        json!({ "key": { "int": -7 }, "value": "text", "lifetime": "3600s" }),
        json!({ "key": "word", "value": { "int": -1 }, "expires": "2200-01-01T00:00:00Z" }),
        json!({ "key": { "addr": "192.0.2.1" }, "value": { "set": ["dns"] } }),
    ];
    assert_eq!(dump, expected);

    assert_eq!(succeeds(&cluster, &["erase", "a/b", "word"]), "");
    assert_eq!(succeeds(&cluster, &["erase", "a/b", "word"]), "");
    assert_eq!(lines(&succeeds(&cluster, &["dump", "a/b"])).len(), 2);
    // No node has noticed any of it.
    manager.stop();
    assert!(!manager.stderr().contains("unknown node"), "{}", manager.stderr());
}

#[test]
fn changes_are_printed_as_they_are_made() {
    let cluster = Cluster::new(NODES, STORES);
    let _broker = cluster.broker();
    let _manager = cluster.node("manager", &["--quiet"]);
    let args = ["store", "watch", "a/b", "--layout", cluster.layout_arg()];
    let mut all = Process::spawn("watch", "zcluster", &args);
    let mut two =
        Process::spawn("watch two", "zcluster", &[&args[..], &["--count", "2"][..]].concat());
    let unread = store_command(&cluster, &["watch", "a/b"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut unread = KilledOnDrop(unread.unwrap());
    for watching in [&all, &two] {
        watching.wait_stderr("zcluster: watching store \"a/b\"");
    }
    let mut told = BufReader::new(unread.0.stderr.take().unwrap());
    told.read_line(&mut String::new()).unwrap();
    succeeds(&cluster, &["put", "a/b", "k", "1"]);
    succeeds(&cluster, &["put", "a/b", "k", "2", "--expires", "1h"]);
    succeeds(&cluster, &["erase", "a/b", "k"]);
    let change = |process: &mut Process, kind: &str| {
        process.wait_line(kind, |line| {
            assert_eq!((&line["store"], line["time"].is_string()), (&json!("a/b"), true));
            Some(line[kind].clone())
        })
    };
    for process in [&mut all, &mut two] {
        assert_eq!(change(process, "insert"), json!({ "key": "k", "value": 1 }));
        let update = change(process, "update");
        assert_eq!((&update["value"], &update["lifetime"]), (&json!(2), &json!("3600s")));
    }
    assert_eq!(two.wait().code(), Some(0));
    assert_eq!(two.remaining_lines(), [] as [Json; 0]);
    assert_eq!(change(&mut all, "erase"), json!({ "key": "k" }));
    all.stop();
    // As in `… | head -1`, without a further change.
    drop(unread.0.stdout.take());
    let status = wait_for("the end of the unread one", || unread.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

struct KilledOnDrop(std::process::Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_dump_whose_reader_goes_away_ends_quietly() {
    let cluster = Cluster::new(NODES, STORES);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    // More than a pipe holds.
    for key in 0..20 {
        let put = json!({ "store": "a/b", "put": [key, "x".repeat(20_000)], "id": key });
        manager.write_line(&put.to_string());
    }
    manager.wait_line("the last one", |line| (line["id"] == 19).then_some(()));
    let mut dump = store_command(&cluster, &["dump", "a/b"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(dump.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with(r#"{"key":0,"value":"x"#), "{line}");
    let ended = dump.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), &*stderr), (Some(0), ""));
    assert_eq!(succeeds(&cluster, &["dump", "a/b"]).lines().count(), 20);
}

#[test]
fn all_stores_are_listed_and_those_without_a_master() {
    let cluster = Cluster::new(NODES, STORES);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    manager.write_line(r#"{"store":"a/b","put":["k",1]}"#);
    // It is not in the layout.
    manager.write_line(r#"{"store":"more","size":[],"id":1}"#);
    manager.wait_line("a store", |line| (line["id"] == 1).then_some(()));
    let absent = ["no master has answered within 500ms: other (of node worker-1)"];
    let table = fails(&cluster, &["list", "--timeout", "500ms"], 69, &absent);
    let words: Vec<Vec<&str>> = table.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(words[0], ["STORE", "BACKEND", "ENTRIES", "SEQUENCE", "NODE", "PROCESS"]);
    assert_eq!(words[1], ["a/b", "memory", "1", "1", "manager", manager.id()]);
    assert_eq!(words[2], ["more", "memory", "0", "0", "manager", manager.id()]);
    assert_eq!(words[3], ["other", "no", "master", "-", "-", "worker-1", "-"]);

    let worker = cluster.node("worker-1", &["--quiet"]);
    let json = succeeds(&cluster, &["list", "--json", "--timeout", "60s"]);
    let stores: Json = serde_json::from_str(&json).unwrap();
    let names: Vec<&Json> =
        stores.as_array().unwrap().iter().map(|store| &store["store"]).collect();
    assert_eq!(names, ["a/b", "more", "other"]);
    assert_eq!(
        (&stores[2]["node"], &stores[2]["process"]),
        (&json!("worker-1"), &json!(worker.id()))
    );
    assert!(stores.as_array().unwrap().iter().all(|store| store["master"] == true));
}

#[test]
fn failures_are_one_line_each() {
    let cluster = Cluster::new(NODES, STORES);
    let xsub = format!("tcp://127.0.0.1:{}", cluster.xsub_port);
    let unreachable = ["no answer from the broker at ", &xsub, "within 300ms"];
    for args in [
        &["get", "a/b", "k"][..],
        &["put", "a/b", "k", "1"],
        &["erase", "a/b", "k"],
        &["dump", "a/b"],
        &["watch", "a/b"],
        &["list"],
    ] {
        fails(&cluster, &[args, &["--timeout", "300ms"]].concat(), 69, &unreachable);
    }
    let _broker = cluster.broker();
    let no_master = ["zcluster: store \"a/b\": NO_SUCH_MASTER: no master was there within 1s"];
    for args in
        [&["get", "a/b", "k"][..], &["put", "a/b", "k", "1"], &["dump", "a/b"], &["watch", "a/b"]]
    {
        fails(&cluster, &[args, &["--timeout", "1s"]].concat(), 69, &no_master);
    }
    // A request to end is no failure, whether there is a master or not.
    let args = ["store", "watch", "a/b", "--layout", cluster.layout_arg(), "--timeout", "60s"];
    let mut watch = Process::spawn("watch", "zcluster", &args);
    wait_for("its thread", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", watch.pid())).unwrap();
        let names = threads
            .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
        names.map(|name| name.trim() == "standalone-io").find(|is_it| *is_it).map(drop)
    });
    watch.stop();
    assert_eq!(watch.stderr(), "");
    for (args, code, part) in [
        (&["get", "a b", "k"][..], 64, "contains a space"),
        (&["get", "a/b"], 64, "<KEY>"),
        (&["put", "a/b", "k", "1", "--expires", "soon"], 64, "500ms"),
        (&["put", "a/b", "k", "1", "--expires", "0"], 64, "above 0"),
        (&["put", "a/b", "k", "1", "--expires-at", "soon"], 64, "2026-01-01T00:00:00Z"),
        (
            &["put", "a/b", "k", "1", "--expires", "1", "--expires-at", "2200-01-01T00:00:00Z"],
            64,
            "cannot be used",
        ),
        (&["put", "a/b", "k", "{\"addr\":7}"], 65, "VALUE.addr: expected an IP address, found 7"),
        (&["get", "a/b", "[1,"], 65, "KEY: not JSON: "),
        (&["get", "a/b", "k", "--key", "manager"], 78, "mode = \"per-node\""),
    ] {
        fails(&cluster, args, code, &[part]);
    }
}

#[test]
fn commands_have_the_key_of_the_operator_or_another_one() {
    let cluster = Cluster::new(NODES, &format!("{PER_NODE}{STORES}"));
    make_keys(cluster.dir.path(), &["broker", "manager", "worker-1"]);
    let hint = ["operator.secret", "zcluster keygen --per-node --node operator"];
    fails(&cluster, &["get", "a/b", "k"], 78, &hint);
    make_keys(cluster.dir.path(), &["operator"]);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    manager.write_line(r#"{"store":"a/b","watch":[],"id":1}"#);
    manager.wait_line("the result", |line| (line["id"] == 1).then_some(()));
    succeeds(&cluster, &["put", "a/b", "k", "1"]);
    manager.wait_line("a change", |line| line.get("insert").cloned());
    assert_eq!(succeeds(&cluster, &["get", "a/b", "k", "--key", "worker-1"]), "1\n");
    manager.stop();
}
