//! The postprocessor command (WIRE.md §5.8), such as zeekctl's `archive-log`.
//!
//! It runs through the shell in its own process group, one at a time, with quoted arguments: paths
//! come from the network. Its output is logged up to a limit.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bstr::{BStr, ByteSlice};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use zcluster::layout::SECRET_VARIABLES;

/// Bytes kept of a command's output.
const MAX_OUTPUT: usize = 4 << 10;
/// Time between checks for the command's end or a shutdown. A file descriptor for that
/// (`pidfd_open`) does not exist on kernels still in use.
const LOOK: Duration = Duration::from_millis(20);
/// The prefix Zeek adds to variables for such commands.
const VARIABLE_PREFIX: &str = "ZEEK_ARG_";

/// The command and its settings.
#[derive(Clone, Debug)]
pub(crate) struct Postprocessor {
    /// A piece of shell that precedes the arguments.
    pub(crate) command: String,
    /// Additional environment variables, each set under its name and, as in Zeek, under `ZEEK_ARG_`
    /// and its name.
    pub(crate) environment: Vec<(String, String)>,
    /// How long it may run before it is killed.
    pub(crate) timeout: Duration,
}

/// The arguments of the command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments<'a> {
    pub(crate) file: &'a Path,
    /// The log's path as it appears in the file name.
    pub(crate) path: &'a str,
    /// `%y-%m-%d_%H.%M.%S`, like `close`.
    pub(crate) open: &'a str,
    pub(crate) close: &'a str,
    pub(crate) terminating: bool,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It exited with status 0.
    Success,
    /// It failed or was killed: the reason and its output.
    Failure(String),
    /// It still runs, because the logger shuts down.
    LeftAlone,
}

impl Postprocessor {
    /// Runs the command and waits for its end, its timeout, or until `is_over`.
    ///
    /// # Errors
    /// If it cannot be started or waited for.
    pub(crate) fn run(
        &self,
        arguments: Arguments<'_>,
        is_over: &dyn Fn() -> bool,
    ) -> io::Result<Outcome> {
        let (mut output, write_end) = io::pipe()?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(self.command_line(arguments));
        for name in SECRET_VARIABLES {
            command.env_remove(name);
        }
        for (name, value) in &self.environment {
            command.env(name, value).env(format!("{VARIABLE_PREFIX}{name}"), value);
        }
        command.stdin(Stdio::null()).stdout(write_end.try_clone()?).stderr(write_end);
        let mut child = command.process_group(0).spawn()?;
        // Close the write end of the pipe here, so that its end can be detected.
        drop(command);
        let until = Instant::now().checked_add(self.timeout);
        let mut kept = Vec::new();
        let outcome = wait(&mut child, &mut output, &mut kept, until, is_over);
        let status = match outcome {
            Ok(Waited::Ended(status)) => status,
            Ok(Waited::Over) => return Ok(Outcome::LeftAlone),
            Ok(Waited::TooLong) => {
                kill(&mut child)?;
                let timeout = self.timeout;
                return Ok(Outcome::Failure(describe(&format!("killed after {timeout:?}"), &kept)));
            }
            Err(error) => {
                kill(&mut child)?;
                return Err(error);
            }
        };
        if status.success() {
            if !kept.is_empty() {
                log::debug!("postprocessor: {:?}", kept.trim_end().as_bstr());
            }
            return Ok(Outcome::Success);
        }
        Ok(Outcome::Failure(describe(&status.to_string(), &kept)))
    }

    fn command_line(&self, arguments: Arguments<'_>) -> OsString {
        let Arguments { file, path, open, close, terminating } = arguments;
        let mut line = self.command.clone().into_bytes();
        line.push(b' ');
        quote(file.as_os_str().as_bytes(), &mut line);
        line.push(b' ');
        quote(path.as_bytes(), &mut line);
        line.extend(format!(" {open} {close} {} ascii", u8::from(terminating)).into_bytes());
        OsString::from_vec(line)
    }
}

/// Appends a word in quotes, which shells take literally.
fn quote(word: &[u8], out: &mut Vec<u8>) {
    out.push(b'\'');
    for byte in word {
        match byte {
            b'\'' => out.extend_from_slice(br"'\''"),
            // No file name contains it, and no argument could.
            0 => {}
            other => out.push(*other),
        }
    }
    out.push(b'\'');
}

enum Waited {
    Ended(ExitStatus),
    TooLong,
    Over,
}

fn wait(
    child: &mut Child,
    output: &mut io::PipeReader,
    kept: &mut Vec<u8>,
    until: Option<Instant>,
    is_over: &dyn Fn() -> bool,
) -> io::Result<Waited> {
    rustix::io::ioctl_fionbio(&*output, true)?;
    let mut is_drained = false;
    loop {
        // In this order, the pipe has everything printed before the end; background processes may
        // keep the pipe open forever.
        let status = child.try_wait()?;
        is_drained = is_drained || drain(output, kept)?;
        if let Some(status) = status {
            return Ok(Waited::Ended(status));
        }
        if is_over() {
            return Ok(Waited::Over);
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Ok(Waited::TooLong);
        }
        if is_drained {
            std::thread::sleep(LOOK);
        } else {
            sleep(output)?;
        }
    }
}

/// Waits for output, but not long: a process may end without any.
fn sleep(output: &io::PipeReader) -> io::Result<()> {
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(LOOK.subsec_nanos()) };
    match poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads the available output and keeps its beginning; returns whether the pipe is closed.
fn drain(output: &mut io::PipeReader, kept: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 4096];
    // Bounded, because a command may print endlessly.
    for _ in 0..64 {
        match output.read(&mut piece) {
            Ok(0) => return Ok(true),
            Ok(count) => {
                let room = MAX_OUTPUT - kept.len();
                kept.extend_from_slice(&piece[..count.min(room)]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Kills the command and all processes in its group.
fn kill(child: &mut Child) -> io::Result<()> {
    // The child has not been waited for, so its process id is still valid.
    if let Err(error) = kill_process_group(Pid::from_child(child), Signal::KILL) {
        log::debug!("cannot kill a postprocessor: {error}");
    }
    child.wait().map(|_| ())
}

fn describe(why: &str, output: &[u8]) -> String {
    let output = output.trim();
    if output.is_empty() {
        return why.to_owned();
    }
    format!("{why}: {:?}", BStr::new(output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsStr;
    use std::fs;

    fn postprocessor(command: &str) -> Postprocessor {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Postprocessor {
            command: command.into(),
            environment: vec![variable("LOG_NOTE", "it's a \"note\""), variable("B", "")],
            timeout: Duration::from_secs(3600),
        }
    }

    fn arguments<'a>(file: &'a Path, path: &'a str) -> Arguments<'a> {
        let (open, close) = ("26-01-01_00.00.00", "26-01-01_01.00.00");
        Arguments { file, path, open, close, terminating: true }
    }

    fn run(postprocessor: &Postprocessor) -> Outcome {
        postprocessor.run(arguments(Path::new("/f"), "p"), &|| false).unwrap()
    }

    #[test]
    fn a_script_gets_its_arguments_and_environment() {
        let dir = tempfile::tempdir().unwrap();
        let (script, got) = (dir.path().join("a script.sh"), dir.path().join("got"));
        let body = "printf '%s\\0' \"$@\" \"$LOG_NOTE\" \"$ZEEK_ARG_LOG_NOTE\" \"${B-unset}\" > \"$OUT\"\n";
        fs::write(&script, body).unwrap();
        let command = format!("OUT='{}' sh '{}' first", got.display(), script.display());
        let hostile = b"a'b\"c $(touch x) `y` ;&|*\\ \t\n\xff".as_slice();
        let file = Path::new(OsStr::from_bytes(hostile));
        let path = "a'b\"c $(touch x) `y` ;&|*\\ \t\n\u{80}";
        let outcome = postprocessor(&command).run(arguments(file, path), &|| false).unwrap();
        assert_eq!(outcome, Outcome::Success);
        let got = fs::read(got).unwrap();
        let got: Vec<&[u8]> = got.split(|byte| *byte == 0).collect();
        let note = b"it's a \"note\"".as_slice();
        let expected: [&[u8]; 11] = [
            b"first",
            hostile,
            path.as_bytes(),
            b"26-01-01_00.00.00",
            b"26-01-01_01.00.00",
            b"1",
            b"ascii",
            note,
            note,
            b"",
            b"",
        ];
        assert_eq!(got, expected);
    }

    #[test]
    fn failures_tell_what_was_printed() {
        for (command, expected) in [
            ("echo out; echo err >&2; exit 3; :", "exit status: 3: \"out\\nerr\""),
            ("exit 1; :", "exit status: 1"),
            ("kill -9 $$; :", "signal: 9 (SIGKILL)"),
        ] {
            let outcome = run(&postprocessor(command));
            assert_eq!(outcome, Outcome::Failure(expected.into()), "{command}");
        }
        let outcome = run(&postprocessor("head -c 1000000 /dev/zero | tr '\\0' x; exit 1; :"));
        let Outcome::Failure(text) = outcome else { panic!("{outcome:?}") };
        assert!(text.len() < MAX_OUTPUT + 100, "{}", text.len());
    }

    #[test]
    fn one_that_does_not_end_is_killed_with_its_children() {
        let mut endless = postprocessor("sleep 1000 & echo $!; wait; :");
        endless.timeout = Duration::from_millis(500);
        let Outcome::Failure(text) = run(&endless) else { panic!("it ended") };
        let child: String =
            text.chars().skip_while(|c| *c != '"').filter(char::is_ascii_digit).collect();
        let child = Pid::from_raw(child.parse().unwrap()).unwrap();
        // Orphans that nothing waits for stay as zombies.
        let is_gone = || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()));
            stat.map_or(true, |stat| stat.contains(") Z"))
        };
        while !is_gone() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn what_stays_in_the_background_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        // It ends when the directory is removed.
        let command =
            format!("{{ while [ -d '{}' ]; do sleep 0.05; done; }} & :", dir.path().display());
        assert_eq!(run(&postprocessor(&command)), Outcome::Success);
    }

    #[test]
    fn it_is_left_alone_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let (go, done) = (dir.path().join("go"), dir.path().join("done"));
        let command = format!(
            "until [ -e '{}' ]; do sleep 0.05; done; touch '{}'; :",
            go.display(),
            done.display()
        );
        let outcome =
            postprocessor(&command).run(arguments(Path::new("/f"), "p"), &|| true).unwrap();
        assert_eq!(outcome, Outcome::LeftAlone);
        fs::write(&go, "").unwrap();
        while !done.exists() {
            std::thread::yield_now();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(30))]
        #[test]
        fn quoted_words_are_themselves(word in prop::collection::vec(1..=255_u8, 0..40)) {
            let mut line = b"printf %s ".to_vec();
            quote(&word, &mut line);
            let output = Command::new("sh").arg("-c").arg(OsString::from_vec(line)).output().unwrap();
            prop_assert_eq!(output.stdout, word);
        }
    }
}
