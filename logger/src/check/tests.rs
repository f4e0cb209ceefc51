//! Reports on layouts in temporary directories.

use std::os::unix::fs::{PermissionsExt, symlink};

use zcluster::wire::zmtp::KeyPair;

use super::*;
use crate::path::LogPath;

const LOGGER: &str = "[nodes.logger-1]\nnode_type = \"logger\"\nip = \"127.0.0.1\"\nport = 5560\n";

fn layout(text: &str) -> Layout {
    Layout::from_toml(&format!("{LOGGER}{text}"), "l.toml").unwrap_or_else(|e| panic!("{e}")).0
}

fn host() -> Host {
    let local_time = Ok("UTC (neither TZ nor /etc/localtime)".into());
    Host { cores: 4, search_path: None, local_time }
}

fn report_of(text: &str) -> Report {
    report(&layout(text), "logger-1", &host())
}

/// Counts the entries of a directory, to check that nothing was added.
fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_plain_logger() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let mut report = report_of(&format!("[log]\ndir = \"{path}/logs\"\n"));
    assert_eq!((&report.warnings[..], report.problems.len()), (&[][..], 0));
    let directory = report.found.remove(3);
    let expected = format!("log directory: {path}/logs/logger-1, to be created in {path}, ");
    assert!(directory.starts_with(&expected) && directory.ends_with("iB free"), "{directory}");
    assert_eq!(
        report.found,
        [
            "node: logger-1, receives logs at tcp://127.0.0.1:5560",
            "encryption: none",
            "local time: UTC (neither TZ nor /etc/localtime)",
            "rotated files: stay in the log directory",
            "format: tsv, extension log",
            "rotation: never, names as of ascii",
            "compression: none",
            "fsync: never",
            "postprocessor: none",
            "memory: at most 256.0 MiB in queues and buffers",
            "format threads: 2, on 4 cores",
            "broker: publishes to tcp://127.0.0.1:5556, receives events from tcp://127.0.0.1:5555",
            "metrics: not served (no metrics_port)",
            "heartbeats: every 5s, disconnects after 15s without an answer",
        ]
    );
    assert_eq!(entries(dir.path()), 0);

    fs::create_dir_all(dir.path().join("logs/logger-1")).unwrap();
    let report = report_of(&format!("[log]\ndir = \"{path}/logs\"\n"));
    let expected = format!("log directory: {path}/logs/logger-1, ");
    assert!(report.found[3].starts_with(&expected) && !report.found[3].contains("to be made"));
}

#[test]
fn a_logger_with_everything() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let program = dir.path().join("archive-log");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!(
        r#"[log]
        dir = "{path}"
        format = "json"
        rotation = "1h"
        rotation_dir = "{path}/rotated"
        rotation_name = "archiver"
        rotation_postprocessor = "{path}/archive-log --fast"
        compress = "zstd"
        fsync = "interval"
        format_threads = 3
        max_memory = "1GiB"
        [log.path]
        conn = {{ format = "tsv", rename = "connections", rotation = 0, fsync = "batch" }}
        dns = {{ include = ["ts", "query"], exclude = ["uid"] }}
        ftp = {{ rotation = "1day" }}
        http = {{}}
        weird = {{ disabled = true }}
        "#
    );
    let report = report_of(&text);
    assert_eq!((&report.warnings[..], &report.problems[..]), (&[][..], &[][..]));
    assert!(
        report.found[4]
            .starts_with(&format!("rotation directory: {path}/rotated, to be created in {path}, "))
    );
    assert_eq!(
        report.found[5..report.found.len() - 3],
        [
            "format: json, extension log",
            "rotation: every 1h, counted from 0:00 local time, names as of archiver",
            "compression: zstd level 3, after rotation",
            "fsync: every 5s",
            &format!("postprocessor: {path}/archive-log --fast, program {path}/archive-log"),
            "memory: at most 1.0 GiB in queues and buffers",
            "format threads: 3, on 4 cores",
            "path conn: written as connections; format tsv; rotation never; fsync batch",
            "path dns: only the columns ts, query; without the columns uid",
            "path ftp: rotation every 1day",
            "path http: as all others",
            "path weird: thrown away",
        ]
    );
}

#[test]
fn directories_above_are_made_only_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    for (options, missing) in [
        ("dir = \"{dir}/logs\"", None),
        ("dir = \"{dir}/mnt/logs\"", Some("mnt")),
        ("dir = \"{dir}/mnt/a/b\"", Some("mnt")),
        ("dir = \"{dir}/mnt/a/b\"\ncreate_parents = true", None),
        ("dir = \"{dir}\"\nrotation_dir = \"{dir}/rotated\"", None),
        ("dir = \"{dir}\"\nrotation_dir = \"{dir}/mnt/rotated\"", Some("mnt")),
        ("dir = \"{dir}\"\nrotation_dir = \"{dir}/mnt/rotated\"\ncreate_parents = true", None),
    ] {
        let report = report_of(&format!("[log]\n{}", options.replace("{dir}", &path.to_string())));
        let Some(missing) = missing else {
            assert_eq!(report.problems, [], "{options}");
            continue;
        };
        let (code, text) = &report.problems[0];
        assert_eq!((report.problems.len(), *code), (1, ExitCode::Unavailable), "{options}");
        let expected = format!(
            "does not exist, and neither does {path}/{missing}: mount or create that, or set \
             `create_parents"
        );
        assert!(text.contains(&expected), "{text}");
        assert_eq!(report.exit_code(), ExitCode::Unavailable);
    }
    assert_eq!(entries(dir.path()), 0);
}

#[test]
fn gzip_streams() {
    let report =
        report_of("[log]\ngzip_level = 6\ncompress = \"gzip\"\nrotation_base_time = \"\"\n");
    for line in [
        "format: tsv, extension log.gz, gzip level 6",
        "compression: none, files are gzip streams already",
    ] {
        assert!(report.found.iter().any(|found| found == line), "{:?}", report.found);
    }
}

#[test]
fn keys() {
    let [server, client] = [(); 2].map(|()| KeyPair::generate());
    let of_server = format!("curve_server_secretkey = {:?}\n", *server.secret().expose_text());
    let public =
        |of: &str, pair: &KeyPair| format!("curve_{of}_publickey = \"{}\"\n", pair.public());
    let of_client = public("server", &server)
        + &public("client", &client)
        + &format!("curve_client_secretkey = {:?}\n", *client.secret().expose_text());
    let dir = tempfile::tempdir().unwrap();
    let per_node = format!("[curve]\nmode = \"per-node\"\nsecret_keys_dir = {:?}\n", dir.path());
    for (text, expected) in [
        (format!("[zeromq]\n{of_server}{of_client}"), Ok("mode shared, keys that may connect: 1")),
        (format!("[zeromq]\n{of_client}"), Err("curve_server_secretkey is not set")),
        (
            format!("[zeromq]\n{of_server}{}", public("client", &client)),
            Err("curve_server_publickey is not set"),
        ),
        (per_node, Err("cannot read the key file")),
    ] {
        let report = report_of(&text);
        let has = |line: &str| report.found.iter().any(|found| found.contains(line));
        match expected {
            Ok(line) => assert!(report.problems.is_empty() && has(line), "{report:?}"),
            Err(what) => {
                let [(ExitCode::Config, problem)] = &report.problems[..] else {
                    panic!("{text}: {report:?}");
                };
                assert!(problem.contains(what) && !has("encryption"), "{report:?}");
            }
        }
        assert!(!format!("{report:?}").contains(server.secret().expose_text().as_str()));
    }
}

#[test]
fn directories_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    symlink("nowhere", dir.path().join("link")).unwrap();
    let path = dir.path().display();
    for (log_dir, why) in [
        ("file", format!("{path}/file is not a directory")),
        ("file/deeper", format!("{path}/file is not a directory")),
        ("link", format!("{path}/link is a link to nothing")),
    ] {
        let report = report_of(&format!("[log]\ndir = \"{path}/{log_dir}\"\n"));
        let [(ExitCode::Io, problem)] = &report.problems[..] else { panic!("{report:?}") };
        assert!(problem.starts_with("cannot write to the log directory"), "{problem}");
        // Below a file, the system gives the reason.
        assert!(problem.ends_with(&why) || problem.contains("Not a directory"), "{problem}");
    }
    assert_eq!(entries(dir.path()), 2);

    let report = report_of(&format!("[log]\ndir = \"{path}\"\nrotation_dir = \"{path}/file\"\n"));
    assert!(report.problems[0].1.starts_with("cannot write to the rotation directory"));
    assert_eq!(report.exit_code(), ExitCode::Io);
}

#[test]
fn another_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let other = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let differs = device(other).is_some() && device(other) != device(dir.path());
    let report =
        report_of(&format!("[log]\ndir = \"{path}\"\nrotation_dir = \"/dev/shm/rotated\"\n"));
    let warned = report.warnings.iter().any(|line| line.contains("on another file system"));
    assert_eq!(warned, differs && report.problems.is_empty(), "{report:?}");
}

#[test]
fn nodes_that_receive_no_logs() {
    let layout = layout("[nodes.w]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\n");
    let report = report(&layout, "w", &host());
    assert_eq!(report.problems[0].0, ExitCode::Config);
    assert!(report.problems[0].1.starts_with("node 'w' receives no logs"));
}

#[test]
fn programs() {
    let dir = tempfile::tempdir().unwrap();
    for (name, mode) in [("run", 0o755), ("text", 0o644)] {
        fs::write(dir.path().join(name), "").unwrap();
        fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(dir.path().join("folder")).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let search_path = env::join_paths([Path::new("/nonexistent"), dir.path()]).unwrap();
    for (program, expected) in [
        ("run".to_owned(), Ok(at("run"))),
        (at("run"), Ok(at("run"))),
        (at("text"), Err("is not an executable file")),
        (at("folder"), Err("is not an executable file")),
        (at("none"), Err("is not there")),
        ("text".into(), Err("is not in any directory of PATH")),
        ("folder".into(), Err("is not in any directory of PATH")),
        ("none".into(), Err("is not in any directory of PATH")),
    ] {
        let found = find_program(&program, Some(&search_path));
        assert_eq!(found.map(|path| path.display().to_string()), expected, "{program}");
    }

    for (command, program) in [
        ("archive-log", Some("archive-log")),
        ("  /usr/bin/x\t-a 'b c'", Some("/usr/bin/x")),
        ("A=b run", None),
        ("\"my program\" x", None),
        ("$HOME/x", None),
        ("(cd /; run)", None),
        ("cd / && run", None),
        ("[ -e x ]", None),
        ("", None),
    ] {
        assert_eq!(program_of(command), program, "{command}");
    }

    let report = report_of("[log]\nrotation_postprocessor = \"archive-logg\"\n");
    let problem = "rotation_postprocessor: archive-logg is not in any directory of PATH";
    assert_eq!(report.problems, [(ExitCode::Config, problem.to_owned())]);
    let report = report_of("[log]\nrotation_postprocessor = \"A=b\\nrun\"\n");
    assert!(report.found.contains(&"postprocessor: A=b run, run by the shell".to_owned()));
}

/// The layout refuses exactly the paths that the logger would refuse.
#[test]
fn paths_of_the_layout_are_paths_of_the_logger() {
    let long = "x".repeat(201);
    let longest = "x".repeat(200);
    let [escaped, too_much] = [66, 67].map(|count| r"\".repeat(count));
    for path in [
        "conn", "a b", "grüße", "a.b", "\u{80}", "", ".x", "a/b", "..", "a\u{7f}", &long, &longest,
        &escaped, &too_much,
    ] {
        let text = format!("{LOGGER}[log.path.a]\nrename = {path:?}\n");
        let text = text.replace("\\u{7f}", "\\u007f").replace("\\u{80}", "\\u0080");
        let accepted = Layout::from_toml(&text, "l.toml").is_ok();
        assert_eq!(accepted, LogPath::new(path.as_bytes()).is_ok(), "{path:?}");
    }
}
