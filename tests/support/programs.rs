//! Programs that are not ours, as text that they read and write.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use super::{PATIENCE, wait_for};

/// A running program. It is killed when it goes out of scope.
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    /// All lines that it has written to standard output and to standard error, as far as they were
    /// waited for.
    pub seen: Vec<String>,
}

impl Program {
    /// Starts it. Its lines are also shown with the output of the test.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        let (send, lines) = mpsc::channel();
        pass_on(child.stdout.take().unwrap(), send.clone());
        pass_on(child.stderr.take().unwrap(), send);
        let stdin = child.stdin.take();
        Program { child, stdin, lines, seen: Vec::new() }
    }

    /// Waits for the next line for which `pick` returns a value.
    pub fn wait_line<T>(&mut self, what: &str, mut pick: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("waited for {what} in\n{}", self.seen.join("\n"));
            };
            let picked = pick(&line);
            self.seen.push(line);
            if let Some(picked) = picked {
                return picked;
            }
        }
    }

    /// Waits for a line that contains `text`.
    pub fn wait_text(&mut self, text: &str) -> String {
        self.wait_line(text, |line| line.contains(text).then(|| line.to_owned()))
    }

    /// Whether one of the lines that have come is what is looked for. Does not wait.
    pub fn try_line(&mut self, is_it: impl Fn(&str) -> bool) -> bool {
        let new = self.seen.len();
        self.seen.extend(self.lines.try_iter());
        self.seen[new..].iter().any(|line| is_it(line))
    }

    /// Calls `each` with every line until it ends. Fails if it says nothing for a while.
    pub fn follow(&mut self, mut each: impl FnMut(&mut ChildStdin, &str)) -> ExitStatus {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    each(self.stdin.as_mut().unwrap(), &line);
                    self.seen.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => return self.wait(),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("nothing more came after\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Writes a line to its standard input.
    pub fn write_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the end of a program", || self.child.try_wait().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pass_on(pipe: impl Read + Send + 'static, send: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            eprintln!("> {line}");
            if send.send(line).is_err() {
                break;
            }
        }
    });
}
