//! Recovery of live logs left by a previous process, the logger's own or Zeek's.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use super::super::job::{Job, JobId, Micros, Stage};
use super::super::recovery::Recovered;
use super::super::{job, recover, recover_one, repair};
use super::{Compression, Fixture, HEAD, MANIFEST, gzip, names_of_jobs, text, time, unpack};

/// Returns the lines of `rotated.ndjson`, shortened: name, records, open and close.
fn summary(fixture: &Fixture) -> Vec<(String, u64, f64, f64)> {
    let number = |value: &Value| value.as_f64().unwrap();
    let short = |line: &Value| {
        let file = Path::new(line["file"].as_str().unwrap()).file_name().unwrap();
        let records = line["records"].as_u64().unwrap();
        let name = file.to_str().unwrap().to_owned();
        (name, records, number(&line["open"]), number(&line["close"]))
    };
    let mut lines: Vec<_> = fixture.lines().iter().map(short).collect();
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines
}

fn set_modified(file: &Path, seconds: u64) {
    let file = fs::OpenOptions::new().append(true).open(file).unwrap();
    file.set_modified(time(seconds)).unwrap();
}

#[test]
fn leftover_logs_are_put_in_order_and_rotated() {
    let mut fixture = Fixture::new();
    fixture.settings.gzip_extension = "z".into();
    let torn = format!("{HEAD}2.5\t1\n3.5\t");
    set_modified(&fixture.write("conn.log", torn.as_bytes()), 1_767_229_200);
    let packed = gzip("{\"ts\":1.5}\n{\"ts\":2.5}\n{\"ts\":".as_bytes());
    let packed = fixture.write("http.log.z", &packed[..packed.len() - 8]);
    set_modified(&packed, 1_767_229_200);
    fixture.write("empty.log", b"");
    let hopeless = fixture.write("bad.log", b"no line");
    for untouched in [
        "conn.2025-01-01-00-00-00.log",
        "conn.2025-01-01-00-00-00-1.log",
        "conn-25-01-01_00.00.00.log.z",
        "notes.txt",
        "stderr.log",
        ".hidden.log",
        "conn.log.damaged",
    ] {
        fixture.write(untouched, b"no line");
    }
    fs::create_dir(fixture.path("dir.log")).unwrap();
    std::os::unix::fs::symlink(&hopeless, fixture.path("link.log")).unwrap();
    let before = fixture.names().len();

    let running = fixture.start();
    let recovered = recover(&running.rotator, &|| false).unwrap();
    let expected = Recovered { rotated: 2, empty: 1, set_aside: 1, ..Recovered::default() };
    assert_eq!(recovered, expected);
    assert_eq!(recover(&running.rotator, &|| false).unwrap(), Recovered::default());
    running.finish();
    assert_eq!(fs::read(fixture.path("bad.log.damaged")).unwrap(), b"no line");
    assert_eq!(fixture.names().len(), before - 1);
    let conn = fixture.path("conn.2026-01-01-00-00-00.log");
    let closed = format!("{HEAD}2.5\t1\n#close\t2026-01-01-01-00-00\n");
    assert_eq!(fs::read_to_string(conn).unwrap(), closed);
    let lines = summary(&fixture);
    let open = 1_767_225_600.0;
    assert_eq!(lines[0], ("conn.2026-01-01-00-00-00.log".into(), 1, open, 1_767_229_200.0));
    assert_eq!((lines[1].1, lines[1].3), (2, 1_767_229_200.0));
    assert!(lines[1].0.ends_with(".log.z"), "{}", lines[1].0);
}

#[test]
fn a_log_that_appears_later_is_recovered_by_name() {
    let fixture = Fixture::new();
    let rotator = fixture.rotator();
    let live = fixture.path("x.log");
    assert_eq!(recover_one(&rotator, &live).unwrap(), None);
    fixture.write("x.log", format!("{HEAD}1.5\t1\n2").as_bytes());
    let rotated = recover_one(&rotator, &live).unwrap().unwrap();
    assert!(fs::read_to_string(&rotated).unwrap().contains("\n1.5\t1\n#close\t"));
    fixture.write("x.log", b"torn");
    assert_eq!(recover_one(&rotator, &live).unwrap(), None);
    assert!(!live.exists() && fixture.path("x.log.damaged").exists());
    fs::create_dir(&live).unwrap();
    assert_eq!(recover_one(&rotator, &live).unwrap(), None);
    fixture.write("x.txt", b"1\n");
    recover_one(&rotator, &fixture.path("x.txt")).unwrap_err();
}

#[test]
fn leftover_logs_of_odd_names_get_names_that_everybody_can_read() {
    let mut fixture = Fixture::new();
    fixture.settings.compress = Compression::Zstd(0);
    let long = "x".repeat(250);
    let odd: [(&[u8], &str); 9] = [
        // Named by Zeek.
        (br"we\ird", "we%5Cird"),
        (b"caf\xe9", "caf%E9"),
        (b"-x", "%2Dx"),
        (b"two\nlines", "two%0Alines"),
        (b"100%", "100%25"),
        (&[0xff; 100], &"%FF".repeat(100)),
        (long.as_bytes(), &long),
        // Named by this logger.
        (b"a%5Cb", "a%5Cb"),
        (b"%2Dy", "%2Dy"),
    ];
    for (name, _) in odd {
        let file = fixture.dir.path().join(OsStr::from_bytes(&[name, b".log"].concat()));
        fs::write(&file, text()).unwrap();
    }
    // Not a log, though its name looks like one if the suffix is `ndjson`.
    fixture.settings.suffix = "ndjson".into();
    fixture.write(MANIFEST, b"");
    let running = fixture.start();
    assert_eq!(recover(&running.rotator, &|| false).unwrap(), Recovered::default());
    running.finish();
    fixture.settings.suffix = "log".into();

    let running = fixture.start();
    let recovered = recover(&running.rotator, &|| false).unwrap();
    assert_eq!(recovered, Recovered { rotated: odd.len(), ..Recovered::default() });
    running.finish();
    let lines = fixture.lines();
    assert_eq!(lines.len(), odd.len());
    for (name, expected) in odd {
        let line = lines.iter().find(|line| line["path"] == expected).unwrap();
        let file = Path::new(line["file"].as_str().unwrap());
        assert_eq!(unpack(file), text().as_bytes(), "{file:?}");
        let start = &expected[..expected.len().min(198)];
        let file = file.file_name().unwrap().to_str().unwrap();
        assert!(file.starts_with(start) && file.ends_with(".log.zst"), "{name:?}: {file}");
    }
    assert_eq!(fixture.names().len(), odd.len());
}

#[test]
fn a_directory_of_zeeks_is_taken_over() {
    let fixture = Fixture::new();
    let log = |name: &str| set_modified(&fixture.write(name, text().as_bytes()), 4_102_444_800);
    log("conn.log");
    fixture.write(".shadow.conn.log", b".log\nMy::postprocessor\n");
    log("dns.log");
    fixture.write(".shadow.dns.log", b".log\n");
    // Another extension than the logger's: its shadow file defines it.
    log("ssl.txt");
    fixture.write(".shadow.ssl.txt", b".txt\n\n");
    fixture.write(".shadow.gone.log", b".log\n\n");
    fixture.write(".tmp.shadow.http.log", b".l");
    let now = Micros::from(SystemTime::now()).0 as f64 / 1e6;

    let running = fixture.start();
    let recovered = recover(&running.rotator, &|| false).unwrap();
    assert_eq!(recovered, Recovered { rotated: 3, ..Recovered::default() });
    running.finish();
    let lines = summary(&fixture);
    assert_eq!(fixture.names(), lines.iter().map(|line| &*line.0).collect::<Vec<_>>());
    for ((name, records, open, close), path) in lines.iter().zip(["conn", "dns", "ssl"]) {
        assert!(name.starts_with(&format!("{path}.")), "{name}");
        assert_eq!((*records, *close), (2, 4_102_444_800.0));
        assert!((open - now).abs() < 3600.0, "the shadow's ctime, not the log's own: {open}");
    }
    assert_eq!(Path::new(&lines[2].0).extension().unwrap(), "txt");
}

#[test]
fn a_crash_in_the_middle_of_the_recovery_is_made_good() {
    let fixture = Fixture::new();
    fixture.write("conn.log", format!("{HEAD}2.5\t1\n3.5\t").as_bytes());
    fixture.write(".shadow.conn.log", b".log\n\n");
    // Killed after the log was repaired and its rename was recorded, but before the rename.
    repair::repair_plain(&fixture.path("conn.log"), fixture.rotator().names(), &|| false).unwrap();
    let id = JobId::new();
    let job =
        Job { live: "conn.log".into(), path: "conn".into(), ..job::tests::job(&fixture.path("")) };
    fixture.write("conn.log", format!("{HEAD}2.5\t1\n#close\tx\n").as_bytes());
    fixture.jobs().write(&id, Stage::Intent, &job).unwrap();
    fs::write(fixture.jobs().path().join("recovered.tmp"), "half a stream").unwrap();
    let running = fixture.start();
    assert_eq!(recover(&running.rotator, &|| false).unwrap().rotated, 1);
    running.finish();
    // Killed between the rotation and the removal of the shadow file.
    fixture.write(".shadow.conn.log", b".log\n\n");
    let running = fixture.start();
    assert_eq!(recover(&running.rotator, &|| false).unwrap(), Recovered::default());
    running.finish();
    assert_eq!(fixture.lines().len(), 1);
    assert_eq!(fixture.names().len(), 1);
    assert_eq!(names_of_jobs(&fixture.jobs()), [] as [String; 0]);
}

#[test]
fn a_recovery_that_is_told_to_stop_leaves_the_rest_as_it_was() {
    let fixture = Fixture::new();
    let mut live = vec![
        ("a.log", format!("{HEAD}2.5\t1\n3.5\t").into_bytes()),
        // The end of its last line is far back, and a stream has many pieces.
        ("b.log", [format!("{HEAD}2.5\t1\n").as_bytes(), &vec![0; 300_000]].concat()),
        ("c.log.gz", gzip("{\"ts\":2.5}\n".repeat(30_000).as_bytes())),
        ("d.log", text().into_bytes()),
    ];
    let end = live[2].1.len() - 8;
    live[2].1.truncate(end);
    for (name, bytes) in &live {
        fixture.write(name, bytes);
    }
    fixture.write(".shadow.d.log", b".log\n\n");
    // Stops after each number of checks, until it finishes.
    let mut rotated = 0;
    for patience in 0.. {
        let asked = std::cell::Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) >= patience;
        let running = fixture.start();
        let recovered = recover(&running.rotator, &stop).unwrap();
        running.finish();
        rotated += recovered.rotated;
        assert_eq!((recovered.empty, recovered.set_aside, recovered.failed), (0, 0, 0));
        let is_left = |(name, bytes): &&(&str, Vec<u8>)| {
            let found = fs::read(fixture.path(name)).ok();
            assert!(found.is_none() || found.as_ref() == Some(bytes), "{name} was changed");
            found.is_some()
        };
        let left = live.iter().filter(is_left).count();
        assert_eq!((left, recovered.is_stopped), (live.len() - rotated, left > 0));
        assert_eq!(fixture.jobs().count().unwrap_or(0), 0);
        assert!(fixture.path(".shadow.d.log").exists() == (left > 0 && rotated == 0));
        if !recovered.is_stopped {
            break;
        }
    }
    assert_eq!((rotated, fixture.lines().len()), (live.len(), live.len()));
}

#[test]
fn junk_that_looks_like_a_compressed_log_is_kept() {
    let fixture = Fixture::new();
    let stream = gzip(b"{\"ts\":1.5}\n");
    let junk: [(&str, &[u8]); 4] = [
        ("two.log.gz", b"ok"),
        ("six.log.gz", b"notes\n"),
        ("start.log.gz", &stream[..2]),
        ("head.log.gz", &stream[..10]),
    ];
    for (name, bytes) in junk {
        fixture.write(name, bytes);
    }
    fixture.write("empty.log.gz", &gzip(b""));
    let running = fixture.start();
    let recovered = recover(&running.rotator, &|| false).unwrap();
    assert_eq!(recovered, Recovered { set_aside: 4, empty: 1, ..Recovered::default() });
    running.finish();
    assert_eq!(fixture.names().len(), junk.len());
    for (name, bytes) in junk {
        assert_eq!(fs::read(fixture.path(&format!("{name}.damaged"))).unwrap(), bytes, "{name}");
    }
}
