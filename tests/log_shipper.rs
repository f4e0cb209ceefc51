//! The shell scripts in docs/logger.md that follow `rotated.ndjson`, run unchanged on the oddest
//! names that logs and their directories can have.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use support::log_dir::manifest;
use support::producer;
use support::raw::RawPeer;
use support::{Cluster, NodeSpec, Process, command, tools, wait_for};
use zcluster::file_name::unescape;
use zcluster::transport::SocketKind;
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, LogSchema, LogValue};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("logger-1", "logger")];

/// Possible log paths of producers.
const PATHS: &[&[u8]] = &[
    b"conn",
    br"we\ird",
    br"\",
    br"new\nline\t",
    b"caf\xe9",
    b"\xff\xfe",
    b"100%",
    b"%5C",
    b"-rf",
    b"--checkpoint-action=exec=sh",
    b"it's \"5\" $(touch pwned) `x` *?[a] ;&|<>#~!",
    b" two  spaces ",
    "grüße 🐝".as_bytes(),
    "lines\u{2028}and\u{85}lines".as_bytes(),
    "\u{202e}gol".as_bytes(),
    "\u{f00e9}".as_bytes(),
    &[0xff; 66],
];

const DOCS: &str = include_str!("../docs/logger.md");

/// The first shell block after a text in the documentation.
fn shell_after(text: &str) -> &'static str {
    let (_, rest) = DOCS.split_once(text).unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    rest.split_once("```\n").unwrap().0
}

/// Replaces text that must exist.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the documentation");
    text.replace(from, to)
}

/// Writes a record to a log of each path and stops the logger, which rotates all of them.
fn write_logs(cluster: &Cluster, working_dir: &Path) {
    let args = ["--layout", cluster.layout_arg(), "--node", "logger-1"];
    let mut logger = Process::start_command(
        "logger-1",
        command("zcluster-logger").args(args).current_dir(working_dir),
    );
    let peer = RawPeer::connect(SocketKind::Push, &logger.endpoint("log"));
    for path in PATHS {
        let schema = LogSchema::new("Test::NUMBERS", *path, producer::schema().fields);
        let mut batch = BatchBuilder::new(schema).unwrap();
        batch.push(&[LogValue::from("peer"), LogValue::Count(1)]).unwrap();
        peer.send(&[LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN, &batch.finish()]);
    }
    logger.wait_metric("zcluster_logger_records_written_total", PATHS.len() as f64);
    logger.stop();
}

/// Runs the shipper until it has shipped everything. Returns the shipped names.
fn ship(shell: &str, log_dir: &Path, outer: &Path) -> BTreeSet<Vec<u8>> {
    let archive = outer.join(format!("archive of {shell}"));
    fs::create_dir(&archive).unwrap();
    let stop = archive.join(".stop");
    let script = shell_after("A shipper in shell");
    let script = replace(script, "dir=/var/log/zcluster/logger-1\n", "dir=$1\n");
    let script = replace(&script, "archive=/mnt/archive\n", "archive=$2\n");
    let script = replace(&script, "while sleep 10;", "while ! test -e \"$3\";");
    let file = outer.join("ship");
    fs::write(&file, script).unwrap();
    let mut child = Command::new(shell)
        .args([&file, log_dir, &archive, &stop])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let all = PATHS.len().to_string();
    wait_for("the shipper to ship everything, or to end", || {
        let shipped = fs::read_to_string(log_dir.join(".shipped")).unwrap_or_default();
        (shipped.trim() == all || child.try_wait().unwrap().is_some()).then_some(())
    });
    fs::write(&stop, "").unwrap();
    let output = child.wait_with_output().unwrap();
    fs::remove_file(&stop).unwrap();
    fs::remove_file(log_dir.join(".shipped")).unwrap();
    assert_silent_success(&output);
    let entries = fs::read_dir(&archive).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_encoded_bytes()).collect()
}

fn assert_silent_success(output: &Output) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.is_empty(), "{}: {text}", output.status);
}

/// Runs the lines that verify all checksums.
fn verify(shell: &str, log_dir: &Path) -> Output {
    let block = shell_after("What was rotated, by path");
    let (_, lines) = block.split_once("@tsv' rotated.ndjson\n").unwrap();
    assert!(lines.contains("sha256sum --check"), "{lines}");
    Command::new(shell).args(["-c", lines]).current_dir(log_dir).output().unwrap()
}

/// Runs all checks with a logger in a working directory of that name and its log directories below
/// it.
fn check(working_dir: &[u8], dir: &str, rotation_dir: Option<&str>) {
    let rotation = rotation_dir.map_or(String::new(), |dir| format!("rotation_dir = '{dir}'\n"));
    let options = format!("[log]\nflush_interval = \"10ms\"\nrotation = \"1h\"\n{rotation}");
    let cluster = Cluster::new(NODES, &options);
    let outer = cluster.dir.path();
    let layout = fs::read_to_string(cluster.layout_arg()).unwrap();
    let usual = format!("dir = \"{}\"\n", outer.join("logs").display());
    fs::write(cluster.layout_arg(), replace(&layout, &usual, &format!("dir = '{dir}'\n"))).unwrap();
    let working_dir = outer.join(OsStr::from_bytes(working_dir));
    fs::create_dir(&working_dir).unwrap();
    write_logs(&cluster, &working_dir);

    let log_dir = working_dir.join(dir).join("logger-1");
    let lines = manifest(&log_dir);
    let paths: BTreeSet<_> = lines
        .iter()
        .map(|line| unescape(line["path"].as_str().unwrap().as_bytes()).unwrap())
        .collect();
    assert_eq!(paths, PATHS.iter().map(|path| path.to_vec()).collect());
    let mut names = BTreeSet::new();
    for line in &lines {
        let (file, path) = (line["file"].as_str().unwrap(), line["path"].as_str().unwrap());
        let file = log_dir.join(file);
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with(path) && !name.starts_with('-'), "{name:?}");
        assert!(!name.contains('\\') && !name.chars().any(char::is_control), "{name:?}");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.ends_with('\n') && text.contains("\npeer\t1\n#close\t"), "{text}");
        // The header contains the path as Zeek writes it.
        if path == "we%5Cird" {
            assert!(text.contains("\n#path\twe\\\\ird\n"), "{text}");
        }
        names.insert(name.as_bytes().to_vec());
    }
    assert_eq!(names.len(), PATHS.len());

    let shells = ["sh", "bash"].into_iter().filter(|shell| tools::find(shell).is_some());
    for shell in shells {
        assert_eq!(ship(shell, &log_dir, outer), names, "{shell}");
        assert_silent_success(&verify(shell, &log_dir));
    }
    assert!(!log_dir.join("pwned").exists());
    // Wrong checksums are detected.
    let file = log_dir.join(lines[3]["file"].as_str().unwrap());
    fs::write(file, "something else").unwrap();
    assert!(!verify("sh", &log_dir).status.success());
}

#[test]
fn every_name_is_shipped() {
    if tools::find("jq").is_none() {
        return;
    }
    check(b"work", "logs", None);
    check(b"it's $(touch pwned) 50%", r"we\ird", Some(r"new\nline"));
    check(b"two\nlines \\ \"x\"", "logs", None);
    check(b"caf\xe9", r"we\ird", None);
    check(b"\xff", "logs", Some("-rotated \u{f00ff}"));
}
