//! [`Report`]: the answer to `--check`: line by line, how a daemon interprets its configuration on
//! this host, and what would keep it from starting.
//!
//! Opens no socket and changes no file, so it can run next to the daemon itself. Checks that
//! concern only one program are in that program.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use bytesize::ByteSize;

use super::{Failure, cannot_print};
use crate::access::{Access, KeyError};
use crate::exit::ExitCode;
use crate::layout::{Layout, ZeroMq};

/// The outcome of a check, line by line.
#[derive(Debug, Default)]
pub struct Report {
    /// What the configuration means: `what: text`.
    pub found: Vec<String>,
    /// What is legal but unwise.
    pub warnings: Vec<String>,
    /// What would make the process exit at start, and the exit code.
    pub problems: Vec<(ExitCode, String)>,
}

impl Report {
    /// Adds a line.
    pub fn say(&mut self, what: &str, text: impl AsRef<str>) {
        // A command may be several lines long.
        let text = text.as_ref().replace(char::is_control, " ");
        self.found.push(format!("{what}: {text}"));
    }

    /// Adds a warning, if there is one.
    pub fn warn(&mut self, text: impl IntoIterator<Item = String>) {
        self.warnings.extend(text);
    }

    /// Adds a problem that would make the process exit.
    pub fn problem(&mut self, failure: Failure) {
        self.problems.push((failure.code, failure.message));
    }

    /// Adds which keys a process uses, or why it would not start. `access` is its access as a
    /// server; `clients` says whether it has the keys to connect, if it connects.
    pub fn encryption(
        &mut self,
        layout: &Layout,
        access: Result<Access, KeyError>,
        clients: Result<(), KeyError>,
    ) {
        match access.and_then(|access| clients.map(|()| access)) {
            Err(error) => self.problem(error.into()),
            Ok(access) if access.server_keys().is_none() => self.say("encryption", "none"),
            Ok(access) => {
                let (mode, keys) = (layout.curve.mode, access.admitted_keys());
                self.say(
                    "encryption",
                    format!("CURVE, mode {mode}, keys that may connect: {keys}"),
                );
            }
        }
    }

    /// Adds where a node finds the broker.
    pub fn broker(&mut self, layout: &Layout) {
        let (events, published) = (layout.connect_xsub_endpoint(), layout.connect_xpub_endpoint());
        self.say("broker", format!("publishes to {published}, receives events from {events}"));
    }

    /// Adds where metrics are served.
    pub fn metrics(&mut self, address: Option<SocketAddr>) {
        match address {
            None => self.say("metrics", "not served (no metrics_port)"),
            Some(address) if address.port() == 0 => {
                self.say("metrics", format!("at {}, on a port the system chooses", address.ip()));
            }
            Some(address) => self.say("metrics", format!("http://{address}/metrics")),
        }
    }

    /// Adds when a peer counts as gone.
    pub fn heartbeats(&mut self, options: &ZeroMq) {
        let [interval, timeout] =
            [options.heartbeat_interval, options.heartbeat_timeout].map(duration);
        if options.heartbeat_interval.is_zero() {
            return self.say("heartbeats", "none");
        }
        self.say(
            "heartbeats",
            format!("every {interval}, disconnects after {timeout} without an answer"),
        );
    }

    /// The exit code of the worst problem: a wrong configuration is wrong on any host.
    pub fn exit_code(&self) -> ExitCode {
        let has = |code| self.problems.iter().any(|(of, _)| *of == code);
        let worst = [ExitCode::Usage, ExitCode::Config].into_iter().find(|code| has(*code));
        worst.or(self.problems.first().map(|(code, _)| *code)).unwrap_or(ExitCode::Ok)
    }

    /// Prints the report: findings to standard output, warnings and problems to standard error. The
    /// last problem is returned as the failure, which `main` prints.
    ///
    /// # Errors
    /// When there is a problem, or standard output cannot be written (74).
    pub fn print(mut self) -> Result<(), Failure> {
        let text = self.found.join("\n");
        let mut out = io::stdout();
        let printed = writeln!(out, "{text}").and_then(|()| out.flush());
        printed.map_err(|error| cannot_print(&error))?;
        for warning in &self.warnings {
            log::warn!("{warning}");
        }
        let code = self.exit_code();
        let Some((_, last)) = self.problems.pop() else { return Ok(()) };
        for (_, problem) in &self.problems {
            log::error!("{problem}");
        }
        Err(Failure::new(code, last))
    }
}

/// Formats a number of bytes for users.
pub fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// Formats the bound of a queue for users: 0 is none.
pub fn bound(messages: impl Into<i64>, what: &str, bytes: u64) -> String {
    match (messages.into(), bytes) {
        (0, 0) => "without a bound".into(),
        (0, bytes) => format!("at most {}", size(bytes)),
        (messages, 0) => format!("at most {messages} {what}"),
        (messages, bytes) => format!("at most {messages} {what} and {}", size(bytes)),
    }
}

/// Formats a duration for users.
pub fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told_as_the_layout_has_them() {
        for (messages, bytes, expected) in [
            (0, 0, "without a bound"),
            (0, 1 << 20, "at most 1.0 MiB"),
            (7, 0, "at most 7 events"),
            (7, 3 << 30, "at most 7 events and 3.0 GiB"),
        ] {
            assert_eq!(bound(messages, "events", bytes), expected);
        }
    }

    #[test]
    fn a_wrong_configuration_comes_before_what_may_pass() {
        let mut report = Report::default();
        assert_eq!(report.exit_code(), ExitCode::Ok);
        report.problem(Failure::new(ExitCode::Io, "no directory"));
        assert_eq!(report.exit_code(), ExitCode::Io);
        report.problem(Failure::config("no key"));
        report.problem(Failure::new(ExitCode::Io, "no file"));
        assert_eq!(report.exit_code(), ExitCode::Config);
    }

    #[test]
    fn one_line_for_each_thing() {
        let mut report = Report::default();
        report.say("command", "a\nb");
        report.metrics(None);
        report.metrics(Some(([127, 0, 0, 1], 0).into()));
        report.metrics(Some(([127, 0, 0, 1], 9).into()));
        report.heartbeats(&ZeroMq::default());
        report.heartbeats(&ZeroMq { heartbeat_interval: Duration::ZERO, ..ZeroMq::default() });
        assert_eq!(
            report.found,
            [
                "command: a b",
                "metrics: not served (no metrics_port)",
                "metrics: at 127.0.0.1, on a port the system chooses",
                "metrics: http://127.0.0.1:9/metrics",
                "heartbeats: every 5s, disconnects after 15s without an answer",
                "heartbeats: none",
            ]
        );
    }
}
