//! [`Console`]: standard output, which many threads write lines to.
//!
//! A separate thread writes, so that a stopped terminal or a pipe that is not read delays neither
//! signals nor the cluster. Its queue is bounded by [`QUEUE`] lines; if it stays full for
//! [`PATIENCE`], lines are dropped and counted until there is room again.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::output;

/// The number of lines that may wait; each is at most a little longer than `lines::MAX_LINE`.
const QUEUE: usize = 512;
/// How long a line waits for room before lines are dropped.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the end of the program waits for queued lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// The width of an event line without a terminal, in characters.
const DEFAULT_WIDTH: usize = 160;

/// One colour per process, in turn; dark and red ones are left to errors.
const COLOURS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// Whether to use colours: standard output is a terminal, and neither the option nor the
/// environment disables them.
pub(crate) fn wants_colour(no_color: bool) -> bool {
    let objection = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !no_color && !objection && io::stdout().is_terminal()
}

/// The number of columns of the terminal.
pub(crate) fn width() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => DEFAULT_WIDTH,
    }
}

/// The thread that writes to standard output.
pub(crate) struct Console {
    /// `None` ends the thread.
    lines: Sender<Option<String>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    label_width: usize,
    colour: bool,
}

impl Console {
    /// Starts writing. Labels are padded to `label_width`. Lines that cannot be written are lost,
    /// which is reported on standard error: output is only informative, so the cluster keeps
    /// running.
    ///
    /// # Errors
    /// When the system refuses the thread.
    pub(crate) fn start(label_width: usize, colour: bool) -> io::Result<Self> {
        let (lines, queue) = bounded(QUEUE);
        let (end, ended) = bounded(0);
        let body = move || {
            write_lines(&queue);
            drop(end);
        };
        thread::Builder::new().name("console".into()).spawn(body)?;
        Ok(Console { lines, ended, label_width, colour })
    }

    /// Returns a writer of lines with this `label`; `index` chooses its colour, and without one it
    /// is bold.
    pub(crate) fn voice(&self, label: &str, index: Option<usize>) -> Voice {
        let style = match index {
            _ if !self.colour => Style::new(),
            Some(index) => COLOURS[index % COLOURS.len()].on_default(),
            None => Style::new().bold(),
        };
        let width = self.label_width;
        Voice {
            lines: self.lines.clone(),
            label: format!("{style}{label:width$}"),
            reset: format!("{style:#}"),
            label_width: width,
            dropped: 0,
        }
    }

    /// Writes what is queued, unless that takes too long, and ends.
    pub(crate) fn finish(self) {
        let until = Instant::now() + FLUSH_PATIENCE;
        if self.lines.send_deadline(None, until).is_ok() {
            // Nothing is ever sent. A thread that is stuck in a write ends with the process.
            let _: Result<(), _> = self.ended.recv_deadline(until);
        }
    }
}

fn write_lines(queue: &Receiver<Option<String>>) {
    let mut stdout = io::stdout().lock();
    let mut lost: u64 = 0;
    let mut is_gone = false;
    // The queue is drained in any case: writers of lines must not wait.
    while let Ok(Some(line)) = queue.recv() {
        if is_gone {
            continue;
        }
        match stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) if lost > 0 => {
                output::say(&format!("zcluster: stdout is writable again; {lost} lines were lost"));
                lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if lost == 0 {
                    output::say(&format!("zcluster: cannot write to stdout: {error}; continuing"));
                }
                lost += 1;
                // A closed pipe stays closed; a full disk may get room again.
                is_gone = error.kind() == ErrorKind::BrokenPipe;
            }
        }
    }
}

/// Writes lines with the label of one process.
pub(crate) struct Voice {
    lines: Sender<Option<String>>,
    label: String,
    reset: String,
    label_width: usize,
    /// Lines dropped since the last that was shown.
    dropped: u64,
}

impl Voice {
    /// Shows a line the process itself wrote.
    pub(crate) fn quote(&mut self, text: &str) {
        self.line('|', text);
    }

    /// Shows a line about the process.
    pub(crate) fn say(&mut self, text: &str) {
        self.line('*', text);
    }

    /// The width of a line's text, in characters.
    pub(crate) fn text_width(&self) -> usize {
        width().saturating_sub(self.label_width + " | ".len())
    }

    fn line(&mut self, mark: char, text: &str) {
        if self.dropped > 0 {
            let note = format!("{} lines dropped: the output is read too slowly", self.dropped);
            if self.lines.try_send(Some(self.format('*', &note))).is_err() {
                self.dropped += 1;
                return;
            }
            self.dropped = 0;
        }
        let line = Some(self.format(mark, text));
        if let Err(TrySendError::Full(line)) = self.lines.try_send(line)
            && self.lines.send_timeout(line, PATIENCE).is_err()
        {
            self.dropped += 1;
        }
    }

    fn format(&self, mark: char, text: &str) -> String {
        format!("{} {mark}{} {text}\n", self.label, self.reset)
    }
}
