//! Rotation from the live log to the last step, and recovery from a crash at each.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Receiver;
use jiff::tz::TimeZone;
use serde_json::Value;
use tempfile::TempDir;
use zcluster::file_name::unescape;
use zcluster::telemetry::{LoggerMetrics, Telemetry};

use super::job::{Job, JobDir, JobId, Stage};
use super::manifest::MANIFEST;
use super::*;
use crate::end::{End, TellEnd};
use crate::files;
use crate::path::LogPath;
use crate::trouble::Trouble;

mod recovery;

const HEAD: &str =
    "#separator \\x09\n#path\tx\n#open\t2026-01-01-00-00-00\n#fields\tts\ta\n#types\ttime\tint\n";

/// A log directory and the settings for it.
struct Fixture {
    dir: TempDir,
    settings: RotationSettings,
    metrics: LoggerMetrics,
    trouble: Trouble,
}

/// A logger's threads. They stop only on request.
struct Running {
    finisher: Finisher,
    rotator: Rotator,
    ended: Receiver<End>,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = RotationSettings {
            log_dir: dir.path().to_owned(),
            rotation_dir: None,
            name: RotationName::Ascii,
            suffix: "log".into(),
            gzip_extension: "gz".into(),
            logger: None,
            name_in_all_forms: false,
            compress: Compression::None,
            postprocessor: None,
            zone: TimeZone::UTC,
            fsync: false,
            bare_header: false,
        };
        let metrics = Telemetry::new("", "").logger().clone();
        Fixture { dir, settings, metrics, trouble: Trouble::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn start(&self) -> Running {
        let settings = Arc::new(self.settings.clone());
        let (ends, ended) = crossbeam_channel::unbounded();
        let guard = |name| TellEnd(ends.clone(), name);
        let finisher = Finisher::start(&settings, &self.metrics, &self.trouble, guard).unwrap();
        let rotator = Rotator::new(settings, self.metrics.clone(), finisher.waker());
        Running { finisher, rotator, ended }
    }

    /// Returns a rotator without a finisher: jobs stay where they are.
    fn rotator(&self) -> Rotator {
        let settings = Arc::new(self.settings.clone());
        Rotator::new(settings, self.metrics.clone(), super::signal::Waker::default())
    }

    fn jobs(&self) -> JobDir {
        self.settings.jobs()
    }

    fn write(&self, name: &str, text: &[u8]) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Reads the lines of `rotated.ndjson`.
    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path(MANIFEST)).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Returns the names in the log directory, except for those always present.
    fn names(&self) -> Vec<String> {
        names(self.dir.path())
    }
}

impl Running {
    /// Finishes all jobs.
    fn finish(self) {
        assert_eq!(self.finisher.stop(soon()), 0, "jobs are left");
        let ended: Vec<End> = self.ended.try_iter().collect();
        assert_eq!(ended.len(), 2, "{ended:?}");
    }

    /// Stops at once.
    fn abandon(self) {
        self.finisher.stop(Instant::now());
        for _ in 0..2 {
            self.ended.recv_deadline(soon()).unwrap();
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name != MANIFEST && name != job::JOB_DIR)
        .collect();
    names.sort();
    names
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn info(path: &[u8]) -> RotationInfo {
    RotationInfo {
        path: LogPath::new(path).unwrap(),
        open: time(1_767_225_600),
        close: time(1_767_229_200),
        terminating: false,
        times: None,
        bare_header: false,
    }
}

/// Returns the name of a path's live log.
fn live_name(path: &[u8]) -> String {
    LogPath::new(path).unwrap().file_name(1, "log").to_string()
}

fn text() -> String {
    format!("{HEAD}2.5\t1\n1.5\t2\n#close\t2026-01-01-01-00-00\n")
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::read::GzEncoder::new(text, flate2::Compression::default());
    let mut packed = Vec::new();
    encoder.read_to_end(&mut packed).unwrap();
    packed
}

/// Returns the text of a file, compressed or not.
fn unpack(file: &Path) -> Vec<u8> {
    let bytes = fs::read(file).unwrap();
    let mut text = Vec::new();
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(&*bytes).read_to_end(&mut text).unwrap();
            text
        }
        Some("zst") => zstd::decode_all(&*bytes).unwrap(),
        _ => bytes,
    }
}

fn sha256(file: &Path) -> String {
    use sha2::Digest;
    data_encoding::HEXLOWER.encode(&sha2::Sha256::digest(fs::read(file).unwrap()))
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = soon();
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Returns a directory on another file system than the temporary directories, if there is one.
fn elsewhere(dir: &Path) -> Option<TempDir> {
    let other = tempfile::tempdir_in("/dev/shm").ok()?;
    let device = |path: &Path| rustix::fs::stat(path).map(|stat| stat.st_dev).ok();
    if device(dir) == device(other.path()) {
        eprintln!("skipped: /dev/shm is no other file system");
        return None;
    }
    Some(other)
}

#[test]
fn from_the_live_log_to_the_announcement() {
    let name = "conn.2026-01-01-00-00-00";
    for (compress, live, packed, file) in [
        (Compression::None, "conn.log", false, format!("{name}.log")),
        (Compression::Zstd(0), "conn.log", false, format!("{name}.log.zst")),
        (Compression::Gzip(6), "conn.log", false, format!("{name}.log.gz")),
        (Compression::None, "conn.log.gz", true, format!("{name}.log.gz")),
        (Compression::Zstd(3), "conn.log.gz", true, format!("{name}.log.gz")),
    ] {
        for abroad in [false, true] {
            let mut fixture = Fixture::new();
            fixture.settings.compress = compress;
            fixture.settings.fsync = abroad;
            let other = abroad.then(|| elsewhere(fixture.dir.path())).flatten();
            if abroad && other.is_none() {
                continue;
            }
            fixture.settings.rotation_dir =
                other.as_ref().map(|dir| dir.path().join("made for it"));
            let target = fixture.settings.target_dir().to_owned();
            let bytes = if packed { gzip(text().as_bytes()) } else { text().into_bytes() };
            let live = fixture.write(live, &bytes);
            let running = fixture.start();
            let rotated = running.rotator.rotate(&live, &info(b"conn")).unwrap();
            assert_eq!(rotated.parent().unwrap(), target);
            assert!(!live.exists());
            running.finish();

            let file = target.join(&file);
            assert_eq!(unpack(&file), text().as_bytes());
            assert_eq!(names(&target), [file.file_name().unwrap().to_str().unwrap()]);
            let expected = serde_json::json!({
                "path": "conn",
                "first": 1.5,
                "last": 2.5,
                "open": 1_767_225_600.0,
                "close": 1_767_229_200.0,
                "records": 2,
                "bytes": text().len(),
                "sha256": sha256(&file),
                "file": file,
                "size": fs::metadata(&file).unwrap().len(),
                "terminating": false,
            });
            assert_eq!(fixture.lines(), [expected]);
            let counters = fixture.metrics.path("conn");
            assert_eq!(counters.rotations.get(), 1);
            let compressions = u64::from(!packed && compress != Compression::None);
            assert_eq!(counters.compressions.get(), compressions);
            assert_eq!(fixture.trouble.get(), None);
        }
    }
}

#[test]
fn names_that_are_taken_get_numbers() {
    for compress in [Compression::None, Compression::Zstd(0), Compression::Gzip(0)] {
        let mut fixture = Fixture::new();
        fixture.settings.compress = compress;
        let other = fixture.write("x.2026-01-01-00-00-00.log.zst", b"somebody else's");
        fixture.write("x.2026-01-01-00-00-00-3.log", b"somebody else's");
        let running = fixture.start();
        for number in 0..4 {
            let live = fixture.write("x.log", format!("{number}\n").as_bytes());
            running.rotator.rotate(&live, &info(b"x")).unwrap();
        }
        running.finish();
        assert_eq!(fs::read_to_string(other).unwrap(), "somebody else's");
        let files: Vec<String> =
            fixture.lines().iter().map(|line| line["file"].as_str().unwrap().to_owned()).collect();
        let numbers: Vec<&str> = files
            .iter()
            .map(|file| file.split("00-00-00").nth(1).unwrap().split('.').next().unwrap())
            .collect();
        assert_eq!(numbers, ["-1", "-2", "-4", "-5"]);
        let texts: Vec<Vec<u8>> = files.iter().map(|file| unpack(Path::new(file))).collect();
        assert_eq!(texts, [b"0\n", b"1\n", b"2\n", b"3\n"]);
    }
}

#[test]
fn a_name_taken_at_the_last_moment_is_left_alone() {
    let mut fixture = Fixture::new();
    fixture.settings.compress = Compression::Gzip(0);
    let live = fixture.write("x.log", b"ours\n");
    fixture.rotator().rotate(&live, &info(b"x")).unwrap();
    fixture.write("x.2026-01-01-00-00-00.log.gz", b"theirs");
    fixture.start().finish();
    assert_eq!(fs::read(fixture.path("x.2026-01-01-00-00-00.log.gz")).unwrap(), b"theirs");
    assert_eq!(unpack(&fixture.path("x.2026-01-01-00-00-00-1.log.gz")), b"ours\n");
    assert_eq!(fixture.names().len(), 2);
}

#[test]
fn hostile_paths_stay_in_the_directory() {
    let path = b"-a'b\"c $(x) \xff\xe2\x80\xae \\%;".as_slice();
    let long = [0xff; crate::path::MAX_PATH / 3];
    for form in [RotationName::Ascii, RotationName::Generic, RotationName::Archiver] {
        let mut fixture = Fixture::new();
        fixture.settings.compress = Compression::Zstd(0);
        fixture.settings.name = form;
        fixture.settings.logger = Some("logger-1".into());
        fixture.settings.name_in_all_forms = true;
        let running = fixture.start();
        for path in [path, &long] {
            let live = fixture.write(&live_name(path), b"1\n");
            running.rotator.rotate(&live, &info(path)).unwrap();
        }
        running.finish();
        let lines = fixture.lines();
        for (line, path) in lines.iter().zip([path, &long]) {
            let text = line["path"].as_str().unwrap();
            assert_eq!(unescape(text.as_bytes()).as_deref(), Some(path));
            let file = Path::new(line["file"].as_str().unwrap());
            assert_eq!(file.parent().unwrap(), fixture.dir.path());
            assert_eq!(unpack(file), b"1\n");
        }
        assert_eq!(lines.len(), 2);
    }
}

#[test]
fn postprocessors_get_what_was_announced() {
    let mut fixture = Fixture::new();
    fixture.settings.compress = Compression::Gzip(0);
    let out = fixture.path("calls");
    fixture.settings.postprocessor = Some(Postprocessor {
        command: "f() { printf '%s|' \"$@\" >> \"$OUT\"; echo >> \"$OUT\"; test \"$5\" = 0; }; f"
            .into(),
        environment: vec![("OUT".into(), out.to_str().unwrap().into())],
        timeout: POSTPROCESSOR_TIMEOUT,
    });
    let running = fixture.start();
    for (path, terminating) in [("a", false), (r"it's\b", true)] {
        let live = fixture.write(&live_name(path.as_bytes()), b"1\n");
        let info = RotationInfo { terminating, ..info(path.as_bytes()) };
        running.rotator.rotate(&live, &info).unwrap();
    }
    running.finish();
    let calls = fs::read_to_string(&out).unwrap();
    let dir = fixture.dir.path().display();
    let times = "26-01-01_00.00.00|26-01-01_01.00.00";
    let expected = [
        format!("{dir}/a.2026-01-01-00-00-00.log.gz|a|{times}|0|ascii|"),
        format!("{dir}/it's%5Cb.2026-01-01-00-00-00.log.gz|it's%5Cb|{times}|1|ascii|"),
    ];
    assert_eq!(calls.lines().collect::<Vec<_>>(), expected);
    assert_eq!(fixture.metrics.postprocessor_failures.get(), 1);
    assert_eq!(fixture.lines().len(), 2);
}

#[test]
fn a_running_postprocessor_holds_nothing_back_and_is_left_alone() {
    let mut fixture = Fixture::new();
    let file = |name: &str| fixture.path(name).to_str().unwrap().to_owned();
    let environment = ["STARTED", "GO", "DONE"].map(|name| (name.to_owned(), file(name)));
    let command = "f() { touch \"$STARTED\"; until [ -e \"$GO\" ]; do sleep 0.05; done; \
                   touch \"$DONE\"; }; f";
    fixture.settings.postprocessor = Some(Postprocessor {
        command: command.into(),
        environment: environment.into(),
        timeout: POSTPROCESSOR_TIMEOUT,
    });
    let running = fixture.start();
    for path in ["a", "b"] {
        let live = fixture.write(&format!("{path}.log"), b"1\n");
        running.rotator.rotate(&live, &info(path.as_bytes())).unwrap();
    }
    let waiting = || fixture.jobs().list(Stage::Announced, None, 9).unwrap().len();
    wait_until("both are announced", || fixture.lines().len() == 2 && waiting() == 2);
    wait_until("the first runs", || fixture.path("STARTED").exists());
    running.abandon();
    assert_eq!(waiting(), 1);
    fixture.write("GO", b"");
    wait_until("it ended by itself", || fixture.path("DONE").exists());
    fixture.start().finish();
}

#[test]
fn rotations_at_once_add_up() {
    let mut fixture = Fixture::new();
    fixture.settings.compress = Compression::Zstd(0);
    let running = fixture.start();
    let live = |thread, number| fixture.path(&format!("live-{thread}-{number}.log"));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (rotator, live) = (&running.rotator, &live);
            scope.spawn(move || {
                for number in 0..25 {
                    let live = live(thread, number);
                    fs::write(&live, "1\n".repeat(thread + 1)).unwrap();
                    rotator.rotate(&live, &info(b"x")).unwrap();
                }
            });
        }
    });
    running.finish();
    let lines = fixture.lines();
    let records: u64 = lines.iter().map(|line| line["records"].as_u64().unwrap()).sum();
    assert_eq!((lines.len(), records), (100, 25 * (1 + 2 + 3 + 4)));
    assert_eq!(fixture.names().len(), 100);
}

#[test]
fn what_cannot_be_written_is_tried_again_and_nothing_is_lost() {
    let mut fixture = Fixture::new();
    fixture.settings.compress = Compression::Zstd(0);
    // Even root cannot write a line to a directory.
    fs::create_dir(fixture.path(MANIFEST)).unwrap();
    let running = fixture.start();
    let live = fixture.write("x.log", b"1\n");
    running.rotator.rotate(&live, &info(b"x")).unwrap();
    wait_until("it is told", || fixture.trouble.get().is_some());
    assert!(fixture.metrics.compression_failures.get() > 0);
    fs::remove_dir(fixture.path(MANIFEST)).unwrap();
    wait_until("it is over", || fixture.trouble.get().is_none());
    running.finish();
    assert_eq!(fixture.lines().len(), 1);
    assert_eq!(fixture.names(), ["x.2026-01-01-00-00-00.log.zst"]);
    assert_eq!(fixture.metrics.path("x").compressions.get(), 1);
}

#[test]
fn a_bad_file_does_not_hold_the_others_back() {
    let mut fixture = Fixture::new();
    fixture.settings.compress = Compression::Zstd(0);
    let rotator = fixture.rotator();
    let mut bad = rotator.rotate(&fixture.write("a.log", b"1\n"), &info(b"a")).unwrap();
    // The first job's target directory cannot be created, because a file has its name.
    let ids = fixture.jobs().list(Stage::Rotated, None, 1).unwrap();
    let mut job = fixture.jobs().load(&ids[0], Stage::Rotated).unwrap();
    fixture.write("file", b"");
    fs::create_dir(fixture.jobs().path().join("held")).unwrap();
    fs::remove_dir(fixture.jobs().path().join("held")).unwrap();
    fs::rename(&bad, fixture.jobs().path().join("held")).unwrap();
    bad = fixture.path("file/a.log");
    job.file = bad.as_os_str().as_bytes().into();
    job.held = Some("held".into());
    fixture.jobs().write(&ids[0], Stage::Rotated, &job).unwrap();
    rotator.rotate(&fixture.write("b.log", b"1\n"), &info(b"b")).unwrap();

    let running = fixture.start();
    wait_until("the other is announced", || fixture.lines().len() == 1);
    assert!(fixture.trouble.get().is_some());
    fs::remove_file(fixture.path("file")).unwrap();
    wait_until("then this one too", || fixture.lines().len() == 2);
    running.finish();
    assert_eq!(unpack(&fixture.path("file/a.log.zst")), b"1\n");
}

/// Runs a job to its end from each state in which a crash can leave it.
#[test]
fn a_crash_between_any_two_steps_is_made_good() {
    for compress in [Compression::None, Compression::Zstd(0)] {
        for abroad in [false, true] {
            crash_points(compress, abroad);
        }
    }
}

fn crash_points(compress: Compression, abroad: bool) {
    let mut fixture = Fixture::new();
    fixture.settings.compress = compress;
    let other = abroad.then(|| elsewhere(fixture.dir.path())).flatten();
    if abroad && other.is_none() {
        return;
    }
    fixture.settings.rotation_dir = other.as_ref().map(|dir| dir.path().to_owned());
    let live = fixture.write("x.log", text().as_bytes());
    fixture.rotator().rotate(&live, &info(b"x")).unwrap();
    let jobs = fixture.jobs();
    let id = jobs.list(Stage::Rotated, None, 1).unwrap().remove(0);
    let rotated = jobs.load(&id, Stage::Rotated).unwrap();
    let source = jobs.source_path(&rotated);
    let target = files::with_end(rotated.file_path(), compress.extension());
    let temporary = target.parent().unwrap().join(id.temporary_name());
    let check = |what: &str| {
        fixture.start().finish();
        assert_eq!(unpack(&target), text().as_bytes(), "{what}");
        let names = names(target.parent().unwrap());
        assert_eq!(names, [target.file_name().unwrap().to_str().unwrap()], "{what}");
        let lines = fixture.lines();
        assert_eq!(lines.len(), 1, "{what}");
        assert_eq!(lines[0]["sha256"], sha256(&target), "{what}");
        assert_eq!(names_of_jobs(&jobs), [] as [String; 0], "{what}");
    };
    // Half compressed.
    if source != target {
        fs::write(&temporary, "half").unwrap();
    }
    check("half compressed");

    // From here on the result has its name. The job's contents at that time are recreated.
    let finished = Job { finished: Some(finished_of(&fixture, &target)), ..rotated.clone() };
    let announced = fs::read(fixture.path(MANIFEST)).unwrap();
    jobs.write(&id, Stage::Rotated, &finished).unwrap();
    check("announced");
    for torn in [0, 1, announced.len() / 2, announced.len() - 1] {
        jobs.write(&id, Stage::Rotated, &finished).unwrap();
        fs::write(fixture.path(MANIFEST), &announced[..torn]).unwrap();
        check("half announced");
        assert_eq!(fs::read(fixture.path(MANIFEST)).unwrap(), announced);
    }
    if source == target {
        return;
    }
    // The source still exists, under its old name and as the file the job identifies.
    fs::write(&source, text()).unwrap();
    let id_of = |file: &Path| files::FileId::new(&fs::metadata(file).unwrap());
    let with_source = Job { source: id_of(&source), ..finished.clone() };
    jobs.write(&id, Stage::Rotated, &with_source).unwrap();
    check("named");
    assert_eq!(fs::read(fixture.path(MANIFEST)).unwrap(), announced);
    // The job has the result, which does not have its name yet.
    fs::write(&source, text()).unwrap();
    fs::rename(&target, &temporary).unwrap();
    let with_source = Job { source: id_of(&source), ..finished };
    jobs.write(&id, Stage::Rotated, &with_source).unwrap();
    fs::remove_file(fixture.path(MANIFEST)).unwrap();
    check("about to be named");
}

#[test]
fn what_an_aborted_step_left_is_gone_or_kept_after_the_next_start() {
    let mut fixture = Fixture::new();
    let rotated = tempfile::tempdir().unwrap();
    fixture.settings.rotation_dir = Some(rotated.path().to_owned());
    let [lost, busy, held, broken] = [(); 4].map(|()| JobId::new());
    // Compressed half, by a run whose job is gone; also where compression was switched off since.
    let in_logs = fixture.write(&lost.temporary_name(), b"half");
    let in_rotated = rotated.path().join(lost.temporary_name());
    fs::write(&in_rotated, "half").unwrap();
    // Another logger is at this one.
    let in_use = rotated.path().join(busy.temporary_name());
    let writer = fs::File::create(&in_use).unwrap();
    leftovers::mark_in_use(&writer);
    // Not ours, whatever their names are like.
    let others = [".tmp.notes", ".tmp.1-2", &format!("{}.old", lost.temporary_name())];
    for other in others {
        fixture.write(other, b"mine");
        fs::write(rotated.path().join(other), "mine").unwrap();
    }
    // On the way to another file system, when a power cut took the jobs, or what is in them.
    let jobs = fixture.jobs();
    jobs.make().unwrap();
    fs::write(jobs.path().join(held.held_name()), "1\n").unwrap();
    fs::write(jobs.path().join(broken.held_name()), "2\n").unwrap();
    fs::write(jobs.path().join(format!("{broken}.json")), "").unwrap();
    fs::write(jobs.path().join(format!("{lost}.tmp")), "{").unwrap();

    fixture.start().finish();
    assert!(!in_logs.exists() && !in_rotated.exists());
    assert!(in_use.exists(), "it is written just now");
    for other in others {
        assert!(fixture.path(other).exists() && rotated.path().join(other).exists(), "{other}");
    }
    for (id, text) in [(held, "1\n"), (broken, "2\n")] {
        let kept = fixture.path(&format!("{}.damaged", id.held_name()));
        assert_eq!(fs::read_to_string(kept).unwrap(), text);
    }
    assert_eq!(names_of_jobs(&jobs), [] as [String; 0]);
    drop(writer);
    fixture.start().finish();
    assert!(!in_use.exists(), "whoever wrote it is gone");
}

#[test]
fn half_a_file_goes_with_its_job_wherever_that_points() {
    let mut fixture = Fixture::new();
    let former = tempfile::tempdir().unwrap();
    fixture.settings.rotation_dir = Some(former.path().to_owned());
    for is_gone in [false, true] {
        let live = fixture.write("x.log", text().as_bytes());
        let file = fixture.rotator().rotate(&live, &info(b"x")).unwrap();
        let id = fixture.jobs().list(Stage::Rotated, None, 1).unwrap().remove(0);
        fs::write(former.path().join(id.temporary_name()), "half").unwrap();
        if is_gone {
            fs::remove_file(&file).unwrap();
        }
        // Neither this directory nor the compression is set any more.
        let settings = RotationSettings { rotation_dir: None, ..fixture.settings.clone() };
        let now = Fixture { settings, ..Fixture::new() };
        now.start().finish();
        assert_eq!(names(former.path()).len(), usize::from(!is_gone));
        let _ = fs::remove_file(&file);
    }
}

fn finished_of(fixture: &Fixture, target: &Path) -> job::Finished {
    let line = &fixture.lines()[0];
    let number = |key: &str| line[key].as_u64().unwrap();
    let micros = |key: &str| Some(job::Micros((line[key].as_f64().unwrap() * 1e6) as i64));
    job::Finished {
        file: target.as_os_str().as_bytes().into(),
        id: files::FileId::new(&fs::metadata(target).unwrap()),
        size: number("size"),
        sha256: sha256(target),
        records: number("records"),
        bytes: number("bytes"),
        first: micros("first"),
        last: micros("last"),
    }
}

fn names_of_jobs(jobs: &JobDir) -> Vec<String> {
    names(jobs.path())
}

#[test]
fn a_job_without_its_file_is_dropped() {
    let fixture = Fixture::new();
    let rotated = fixture.rotator().rotate(&fixture.write("x.log", b"1\n"), &info(b"x")).unwrap();
    fs::remove_file(&rotated).unwrap();
    fixture.write("x.2026-01-01-00-00-00.log", b"another file of that name\n");
    fixture.start().finish();
    assert_eq!(fixture.lines(), [] as [Value; 0]);
    assert_eq!(fixture.names(), ["x.2026-01-01-00-00-00.log"]);
}

#[test]
fn a_compression_is_given_up_at_the_deadline() {
    let mut fixture = Fixture::new();
    fixture.settings.compress = Compression::Zstd(19);
    fixture.rotator().rotate(&fixture.write("x.log", text().as_bytes()), &info(b"x")).unwrap();
    // Whether or not it finished in time: nothing is lost, and nothing unfinished remains.
    fixture.start().abandon();
    fixture.settings.compress = Compression::Zstd(0);
    fixture.start().finish();
    assert_eq!(fixture.lines().len(), 1);
    assert_eq!(unpack(&fixture.path("x.2026-01-01-00-00-00.log.zst")), text().as_bytes());
    assert_eq!(fixture.names().len(), 1);
}

#[test]
fn a_failed_rotation_leaves_the_log() {
    let mut fixture = Fixture::new();
    let in_the_way = fixture.write("file", b"");
    fixture.settings.rotation_dir = Some(in_the_way.join("dir"));
    let live = fixture.write("x.log", b"1\n");
    let rotator = fixture.rotator();
    rotator.rotate(&live, &info(b"x")).unwrap_err();
    assert_eq!(fs::read(&live).unwrap(), b"1\n");
    rotator.rotate(&fixture.path("missing.log"), &info(b"missing")).unwrap_err();
    fs::create_dir(fixture.path("dir.log")).unwrap();
    rotator.rotate(&fixture.path("dir.log"), &info(b"dir")).unwrap_err();
    assert_eq!(fixture.jobs().count().unwrap(), 0);
}
