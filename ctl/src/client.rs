//! The common part of `zcluster pub`, `zcluster sub` and `zcluster store`: where the broker is, which key
//! to connect with, and how warnings are printed.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use zcluster::Layout;
use zcluster::access::KeyError;
use zcluster::client::{Client, ClientError};
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::layout::{self, CurveKeys, Endpoint, Environment};

use crate::output::say;

/// The layout that is read by default.
const DEFAULT_LAYOUT: &str = "cluster-layout.toml";

/// Where the broker is, and which key to use.
#[derive(Debug, clap::Args)]
pub(crate) struct ClientArgs {
    /// The layout of the cluster, which has the broker's endpoints and the keys. Defaults to
    /// cluster-layout.toml, unless both endpoints are given.
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// The endpoint to publish to: the broker's XSUB socket, for example tcp://10.0.0.1:5556.
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    publish_to: Option<String>,
    /// The endpoint to subscribe to: the broker's XPUB socket, for example tcp://10.0.0.1:5555.
    #[arg(long, value_name = "ENDPOINT", value_parser = endpoint)]
    subscribe_to: Option<String>,
    /// Connect with the key of this name, if nodes have their own keys. Defaults to `operator`.
    #[arg(long, value_name = "NAME")]
    key: Option<String>,
}

impl ClientArgs {
    /// Returns the client that these arguments describe.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(self.client_of(self.layout()?))
    }

    /// The client of a cluster with that layout.
    pub(crate) fn client_of(&self, layout: impl Into<Arc<Layout>>) -> Client {
        let client = Client::new(layout);
        match &self.key {
            Some(name) => client.key(name),
            None => client,
        }
    }

    /// The name of the key to connect with, if it is not the operator's.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Returns the layout of the cluster, with the endpoints that these arguments name.
    pub(crate) fn layout(&self) -> Result<Layout, Failure> {
        // Which node this shell belongs to makes no difference.
        let lookup = |name: &str| env::var(name).ok().filter(|_| name != "CLUSTER_NODE");
        let mut layout = match (&self.layout, &self.publish_to, &self.subscribe_to) {
            (None, Some(_), Some(_)) => {
                let mut layout = Layout::default();
                let environment = Environment::read(lookup).map_err(Failure::config)?;
                layout.apply_environment(&environment).map_err(Failure::config)?;
                layout
            }
            (path, ..) => {
                let path = path.as_deref().unwrap_or(Path::new(DEFAULT_LAYOUT));
                layout::load(path, lookup)?.layout
            }
        };
        let zeromq = &mut layout.zeromq;
        for (option, endpoint) in [
            (&self.publish_to, &mut zeromq.connect_xpub_endpoint),
            (&self.subscribe_to, &mut zeromq.connect_xsub_endpoint),
        ] {
            if let Some(option) = option {
                endpoint.clone_from(option);
            }
        }
        // Events wait for room instead of being dropped.
        zeromq.connect_xpub_nodrop = true;
        Ok(layout)
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    match text.parse::<Endpoint>() {
        Ok(_) => Ok(text.into()),
        Err(error) => Err(format!("{error}; expected one as in tcp://127.0.0.1:5556")),
    }
}

/// Parses a duration from the command line: a number of seconds, or a number with a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    humantime::parse_duration(text)
        .map_err(|_| "expected seconds, or a number with a unit, as in 500ms, 10s or 2min".into())
}

/// Maps a client error to the exit code and message of a command.
#[allow(clippy::needless_pass_by_value)] // As a function for `map_err`.
pub(crate) fn failure(error: ClientError) -> Failure {
    let code = match &error {
        ClientError::Transport(error) if !error.is_configuration() => ExitCode::Unavailable,
        ClientError::Keys(_)
        | ClientError::NoKeyOfItsOwn(_)
        | ClientError::UnknownKey(_)
        | ClientError::Refused { .. }
        | ClientError::Transport(_)
        | ClientError::PublishDenied { .. }
        | ClientError::Impersonation { .. }
        | ClientError::SubscriptionDenied { .. } => ExitCode::Config,
        ClientError::Unreachable { .. } | ClientError::Full { .. } | ClientError::Unsure { .. } => {
            ExitCode::Unavailable
        }
        ClientError::System(_) | ClientError::Event(_) => ExitCode::Software,
    };
    let mut message = error.to_string();
    if matches!(error, ClientError::Keys(KeyError::File(_))) {
        message.push_str(&format!(
            "; `zcluster keygen --per-node --node {}` makes a key for this command, and --key names \
             another",
            CurveKeys::OPERATOR
        ));
    }
    Failure::new(code, message)
}

/// Prints warnings and errors of the library on standard error, like the command's own messages.
pub(crate) fn tell_warnings() {
    struct Teller;
    impl Log for Teller {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.level() <= LevelFilter::Warn
        }
        fn log(&self, record: &Record<'_>) {
            if self.enabled(record.metadata()) {
                tell(record.args());
            }
        }
        fn flush(&self) {}
    }
    // This fails if a logger is already set.
    if log::set_logger(&Teller).is_ok() {
        log::set_max_level(LevelFilter::Warn);
    }
}

/// Writes a line to standard error. Escapes control characters: text from the network must not
/// start another line or control the terminal.
pub(crate) fn tell(text: impl std::fmt::Display) {
    let text = text.to_string();
    let line: String = text
        .chars()
        .flat_map(|character| {
            let escaped = character.is_control().then(|| character.escape_debug());
            let plain = escaped.is_none().then_some(character);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    say(&format!("zcluster: {line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_or_are_seconds() {
        for (text, millis) in [("10", 10_000), ("0.5", 500), ("250ms", 250), ("2min", 120_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "soon", "-1", "1e300", "nan"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn endpoints_are_looked_at_before_anything_is_done() {
        assert_eq!(endpoint("tcp://127.0.0.1:5556").as_deref(), Ok("tcp://127.0.0.1:5556"));
        assert!(endpoint("127.0.0.1:5556").unwrap_err().contains("tcp://127.0.0.1:5556"));
    }
}
