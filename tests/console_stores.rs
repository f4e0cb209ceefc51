//! Data stores on the console of `zcluster-node`: masters where the layout says, commands as lines of JSON.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use serde_json::{Value as Json, json};
use support::{Cluster, NodeSpec, Process, command, run_to_end};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

/// Limits the wait for loggers that do not exist.
const IMPATIENT: &str = "[log]\nshutdown_timeout = \"100ms\"";

/// Stores of the manager, one of them in a file.
fn with_stores() -> String {
    format!(
        "{IMPATIENT}\n[cluster]\ndefault_store_dir = \"{{dir}}\"\n[stores.\"a/b\"]\n\
         [stores.kept]\nbackend = \"sqlite\"\n"
    )
}

/// Sends a command; returns what comes back: the members after time, store and id.
fn ask(process: &mut Process, store: &str, id: u64, what: &Json) -> Json {
    let mut line = json!({ "store": store, "id": id });
    let members = line.as_object_mut().unwrap();
    members.extend(what.as_object().unwrap().clone());
    process.write_line(&line.to_string());
    process.wait_line(&format!("the result of {line}"), |line| {
        if line["store"] != store || line["id"] != id {
            return None;
        }
        let mut rest = line.as_object().unwrap().clone();
        for member in ["time", "store", "id"] {
            assert!(rest.shift_remove(member).is_some(), "{line}");
        }
        Some(rest.into())
    })
}

fn change(process: &mut Process, kind: &str) -> Json {
    process.wait_line(kind, |line| line.get(kind).cloned())
}

#[test]
fn every_operation_is_a_line() {
    let cluster = Cluster::new(NODES, &with_stores());
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &[]);
    let address = json!({ "addr": "192.0.2.1" });
    let none = json!({ "result": null });
    let missing = json!({ "error": "NO_SUCH_KEY", "text": "" });
    let steps = [
        (json!({ "exists": [address] }), json!({ "result": false })),
        (json!({ "get": [address] }), missing.clone()),
        (json!({ "decrement": ["n", 1] }), missing.clone()),
        (json!({ "put": [address, { "int": -1 }] }), none.clone()),
        (json!({ "get": [address] }), json!({ "result": { "int": -1 } })),
        (json!({ "put_unique": [address, 2] }), json!({ "result": false })),
        (json!({ "put_unique": ["n", 2] }), json!({ "result": true })),
        (json!({ "increment": ["n", 5] }), none.clone()),
        (json!({ "decrement": ["n", 1] }), none.clone()),
        (json!({ "lookup": ["n", "no"] }), json!({ "result": { "table": [["n", 6]] } })),
        (json!({ "keys": [] }), json!({ "result": { "set": ["n", address] } })),
        (json!({ "size": [] }), json!({ "result": 2 })),
        (json!({ "append": ["s", "ab"] }), none.clone()),
        (json!({ "append": ["s", { "bytes": "ff" }] }), none.clone()),
        (json!({ "get": ["s"] }), json!({ "result": { "bytes": "6162ff" } })),
        (json!({ "insert_into_set": ["set", 1] }), none.clone()),
        (json!({ "get_index_from_value": ["set", 1] }), json!({ "result": true })),
        (json!({ "remove_from": ["set", 1] }), none.clone()),
        (json!({ "get": ["set"] }), json!({ "result": { "set": [] } })),
        (json!({ "insert_into_table": ["t", 1, "one"] }), none.clone()),
        (json!({ "get_index_from_value": ["t", 1] }), json!({ "result": "one" })),
        (json!({ "push": ["v", 2] }), none.clone()),
        (json!({ "push_left": ["v", 1] }), none.clone()),
        (json!({ "pop": ["v"] }), json!({ "result": 2 })),
        (json!({ "pop_left": ["v"] }), json!({ "result": 1 })),
        (json!({ "pop_left": ["v"] }), none.clone()),
        (json!({ "erase": [address] }), none.clone()),
        (json!({ "exists": [address] }), json!({ "result": false })),
        (json!({ "clear": [] }), none.clone()),
        (json!({ "size": [] }), json!({ "result": 0 })),
    ];
    // The master, a clone, and a frontend.
    assert_eq!(ask(&mut worker, "kept", 1, &json!({ "frontend": [] })), none);
    for (process, store) in [(0, "a/b"), (1, "a/b"), (1, "kept")] {
        let process = [&mut manager, &mut worker].into_iter().nth(process).unwrap();
        for (id, (what, expected)) in steps.iter().enumerate() {
            assert_eq!(ask(process, store, id as u64, what), *expected, "{store}: {what}");
        }
    }
    for (what, code) in [
        (json!({ "put": ["n", 1] }), None),
        (json!({ "append": ["n", "x"] }), Some("TYPE_CLASH")),
        (json!({ "append": ["n", 1] }), Some("TYPE_CLASH")),
        (json!({ "decrement": ["n", 2] }), Some("INVALID_DATA")),
        (json!({ "put": ["n", "x".repeat(2 << 20)] }), Some("INVALID_DATA")),
        (json!({ "frontend": [] }), Some("MASTER_EXISTS")),
    ] {
        let answer = ask(&mut worker, "a/b", 1, &what);
        assert_eq!(answer.get("error"), code.map(Json::from).as_ref(), "{answer}");
        assert!(code.is_none() || !answer["text"].as_str().unwrap().is_empty(), "{answer}");
    }
    // What stores tell each other is not printed.
    for process in [&mut manager, &mut worker] {
        process.stop();
        let lines = process.remaining_lines();
        let of_stores = |line: &&Json| {
            line.get("topic").is_some_and(|topic| topic.as_str().unwrap().contains("zcluster"))
        };
        assert_eq!(process.seen.iter().chain(&lines).find(of_stores), None);
    }
}

#[test]
fn changes_are_lines_for_those_who_watch() {
    let cluster = Cluster::new(NODES, &with_stores());
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &["--subscribe", "zcluster.store.a/b.changes"]);
    for _ in 0..2 {
        let answer = ask(&mut worker, "a/b", 1, &json!({ "watch": [] }));
        assert_eq!(answer, json!({ "result": null }));
    }
    // It has content, and so what was there before each change.
    assert_eq!(ask(&mut worker, "a/b", 2, &json!({ "size": [] })), json!({ "result": 0 }));
    manager.write_line(r#"{"store":"a/b","put":["k",1]}"#);
    manager.write_line(r#"{"store":"a/b","put":["k",2],"expires":"2200-01-01T00:00:00Z"}"#);
    manager.write_line(r#"{"store":"a/b","put":["k",3],"expires":"100ms"}"#);
    assert_eq!(change(&mut worker, "insert"), json!({ "key": "k", "value": 1 }));
    let update = change(&mut worker, "update");
    let at = "2200-01-01T00:00:00Z";
    assert_eq!(update, json!({ "key": "k", "old": 1, "value": 2, "expires": at }));
    let update = change(&mut worker, "update");
    assert_eq!((&update["old"], &update["lifetime"]), (&json!(2), &json!("0.1s")), "{update}");
    assert_eq!(change(&mut worker, "expire"), json!({ "key": "k" }));
    manager.write_line(r#"{"store":"a/b","put":["k",1]}"#);
    manager.write_line(r#"{"store":"a/b","erase":["k"]}"#);
    assert_eq!(change(&mut worker, "erase"), json!({ "key": "k" }));
    // What the user subscribes to is printed, whoever else has asked for it.
    assert!(worker.seen.iter().any(|line| line["event"] == "ZCluster::store_changes"));
    worker.stop();
    let lines = worker.remaining_lines();
    let expired = worker.seen.iter().chain(&lines).filter(|line| line.get("expire").is_some());
    assert_eq!(expired.count(), 1);
    manager.stop();
}

#[test]
fn a_store_in_a_file_survives_sigkill() {
    let cluster = Cluster::new(NODES, &with_stores());
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let mut worker = cluster.node("worker-1", &[]);
    let none = json!({ "result": null });
    let put = json!({ "put": ["k", { "set": [1, 2] }], "expires": "1h" });
    assert_eq!(ask(&mut worker, "kept", 1, &put), none);
    assert_eq!(ask(&mut worker, "a/b", 1, &json!({ "put": ["k", 1] })), none);
    manager.kill();
    // Commands wait for the next master.
    let increment = json!({ "store": "kept", "increment": ["n", 1], "id": 2 });
    worker.write_line(&increment.to_string());
    let mut manager = cluster.node("manager", &[]);
    worker.wait_line("the result", |line| {
        (line["store"] == "kept" && line["id"] == 2).then(|| assert_eq!(line["result"], Json::Null))
    });
    let set = json!({ "result": { "set": [1, 2] } });
    assert_eq!(ask(&mut manager, "kept", 3, &json!({ "get": ["k"] })), set);
    assert_eq!(ask(&mut manager, "kept", 4, &json!({ "get": ["n"] })), json!({ "result": 1 }));
    assert_eq!(ask(&mut manager, "a/b", 5, &json!({ "size": [] })), json!({ "result": 0 }));
    worker.stop();
    manager.stop();
}

#[test]
fn of_two_masters_one_closes_and_says_so() {
    let cluster = Cluster::new(NODES, &with_stores());
    let text = std::fs::read_to_string(&cluster.layout).unwrap();
    let other = cluster.dir.path().join("other.toml");
    let text = text.replace("[stores.\"a/b\"]", "[stores.\"a/b\"]\nmaster_node = \"worker-1\"");
    std::fs::write(&other, text).unwrap();
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let size = json!({ "size": [] });
    assert_eq!(ask(&mut manager, "a/b", 1, &size), json!({ "result": 0 }));
    let args = ["--layout", other.to_str().unwrap(), "--node", "worker-1"];
    let mut worker = Process::start("worker-1", "zcluster-node", &args);
    worker.wait_stderr_line(&["ERROR", "store a/b: another process has the master"]);
    assert_eq!(ask(&mut worker, "a/b", 1, &size)["error"], "MASTER_EXISTS");
    assert_eq!(ask(&mut manager, "a/b", 2, &size), json!({ "result": 0 }));
    worker.stop();
    manager.stop();
}

#[test]
fn commands_without_a_master_fail_in_the_time_they_give() {
    let cluster = Cluster::new(NODES, &with_stores());
    let _broker = cluster.broker();
    let mut worker = cluster.node("worker-1", &[]);
    for what in [json!({ "get": ["k"] }), json!({ "put": ["k", 1] })] {
        let mut timely = what.clone();
        timely["timeout"] = json!("200ms");
        assert_eq!(ask(&mut worker, "a/b", 1, &timely)["error"], "NO_SUCH_MASTER", "{what}");
    }
    worker.stop();
}

#[test]
fn bad_lines_are_told_by_number() {
    let cluster = Cluster::new(NODES, IMPATIENT);
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &[]);
    let lines = [
        (r#"{"store":"s","put":[1]}"#, "put: expected [KEY,VALUE], found an array of 1"),
        (r#"{"store":"../s","keys":[]}"#, "the store name \"../s\" has `.` or `..` as a part"),
        (r#"{"store":"s","keys":[],"event":"e"}"#, "unknown member `event`; expected store"),
        (r#"{"store":"s","keys":[]"#, "not JSON"),
    ];
    for (line, _) in lines {
        manager.write_line(line);
    }
    // A store that is not in the layout has its master here, too.
    assert_eq!(ask(&mut manager, "s", 1, &json!({ "size": [] })), json!({ "result": 0 }));
    for (number, (line, expected)) in (1..).zip(lines) {
        manager.wait_stderr_line(&[&format!("stdin line {number}: {expected}")]);
        assert!(!manager.stderr().contains("panicked"), "{line}");
    }
    manager.stop();
}

#[test]
fn a_file_that_is_no_store_stops_the_start() {
    let cluster = Cluster::new(NODES, &with_stores());
    let path = cluster.dir.path().join("kept.sqlite");
    std::fs::write(&path, "this is no database, and it is not empty").unwrap();
    let args = ["--layout", cluster.layout_arg(), "--node"];
    let ended = run_to_end(command("zcluster-node").args(args).arg("manager"));
    assert_eq!((ended.code, &*ended.stdout), (Some(74), ""), "{}", ended.stderr);
    let told: Vec<_> = ended.stderr.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(told.len(), 1, "{}", ended.stderr);
    for part in ["store \"kept\": CANNOT_OPEN_FILE: ", path.to_str().unwrap()] {
        assert!(told[0].contains(part), "{}", told[0]);
    }
    // The other node does not need it, and the check of the manager opens nothing.
    let mut worker = cluster.node("worker-1", &[]);
    worker.stop();
    let check = run_to_end(command("zcluster-node").args(args).args(["manager", "--check"]));
    let place = format!("master of the store: kept, in {}", path.display());
    assert!(check.stdout.contains(&place), "{check:?}");
}

#[test]
fn quiet_nodes_have_stores_and_log_what_fails() {
    let cluster = Cluster::new(NODES, &with_stores());
    let _broker = cluster.broker();
    let mut manager = cluster.node("manager", &["--quiet"]);
    let mut worker = cluster.node("worker-1", &[]);
    manager.write_line(r#"{"store":"a/b","watch":[]}"#);
    manager.write_line(r#"{"store":"a/b","put":["k",1]}"#);
    manager.write_line(r#"{"store":"a/b","pop":["k"],"id":7}"#);
    manager.wait_stderr("store \"a/b\": pop failed: TYPE_CLASH: ");
    assert_eq!(ask(&mut worker, "a/b", 1, &json!({ "get": ["k"] })), json!({ "result": 1 }));
    manager.stop();
    let lines = manager.remaining_lines();
    assert!(manager.seen.iter().chain(&lines).all(|line| line.get("ready").is_some()), "{lines:?}");
    worker.stop();
}
