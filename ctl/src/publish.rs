//! `zcluster pub`: publishes events from the command line.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::time::Duration;

use bstr::BString;
use zcluster::client::{Publisher, Reach};
use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::{Event, input_lines, readable};

use crate::client::{ClientArgs, duration, failure, tell, tell_warnings};
use crate::output::end;
use crate::words;

/// The number of topics without a subscriber that get their own warning; beyond it, events are only
/// counted.
const MAX_TOLD: usize = 100;

/// The arguments of `zcluster pub`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topic, for example zeek.cluster.worker.
    #[arg(value_name = "TOPIC", requires = "event")]
    topic: Option<String>,
    /// The name of the event, for example Demo::ping.
    #[arg(value_name = "EVENT")]
    event: Option<String>,
    /// The arguments of the event, each as JSON: 42 is a count, {"addr":"192.0.2.1"} an address. A
    /// word that is not JSON is a string; so is '"42"'.
    #[arg(value_name = "ARG", allow_negative_numbers = true)]
    words: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// How long to wait for the broker to answer, and to accept each event: in seconds, or with a
    /// unit.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

/// Publishes events. Prints a failure on stderr: arguments or lines that are not events (65), a
/// broker that does not answer or may not have received all events (69), unreadable input (74), a
/// wrong layout or key, or a topic that the layout forbids (78).
pub fn run(args: &Args) -> ExitCode {
    tell_warnings();
    end(publish(args))
}

fn publish(args: &Args) -> Result<(), Failure> {
    let single = single(args)?;
    if single.is_none() && io::stdin().is_terminal() {
        tell("reading events from the terminal, one line of JSON each, until Ctrl-D");
    }
    let publisher = args.client.client()?.publisher().map_err(failure)?;
    let mut sender =
        Sender { publisher, patience: args.timeout, unheard: 0, told: BTreeSet::new() };
    // A missing broker is reported at once, even if the input is slow or empty.
    sender.publisher.wait_until_ready(args.timeout).map_err(failure)?;
    let outcome = match single {
        Some((topic, event)) => sender.send(&topic, &event),
        None => sender.send_lines(),
    };
    sender.finish(outcome)
}

/// The event on the command line, if there is one.
fn single(args: &Args) -> Result<Option<(BString, Event)>, Failure> {
    let (Some(topic), Some(event)) = (&args.topic, &args.event) else { return Ok(None) };
    let words = args.words.iter().enumerate();
    let values = words.map(|(index, word)| words::value(&format!("args[{index}]"), word));
    let values = values.collect::<Result<Vec<_>, _>>();
    let values = values.map_err(|error| Failure::new(ExitCode::Data, error))?;
    Ok(Some((topic.as_str().into(), Event::new(event.as_str(), values))))
}

/// Publishes events, and counts those without subscribers.
struct Sender {
    publisher: Publisher,
    patience: Duration,
    /// Events without subscribers.
    unheard: u64,
    told: BTreeSet<BString>,
}

impl Sender {
    fn send(&mut self, topic: &BString, event: &Event) -> Result<(), Failure> {
        let reach = self.publisher.publish(topic, event, self.patience).map_err(failure)?;
        if reach == Reach::Nobody {
            self.unheard += 1;
            if self.told.len() < MAX_TOLD && self.told.insert(topic.clone()) {
                tell(format!("'{topic}' has no subscribers: nothing receives the event"));
            }
        }
        Ok(())
    }

    /// Publishes the lines of standard input. Reports and skips lines that are not events.
    fn send_lines(&mut self) -> Result<(), Failure> {
        let mut bad = 0u64;
        let mut failed = None;
        let read = input_lines::for_each(io::stdin().lock(), |number, line| {
            let publication = line.and_then(|line| {
                readable::publication_from_json(line).map_err(|error| error.to_string())
            });
            match publication {
                Ok((topic, event)) => {
                    if let Err(failure) = self.send(&topic, &event) {
                        let message = format!("stdin line {number}: {}", failure.message);
                        failed = Some(Failure { message, ..failure });
                        return ControlFlow::Break(());
                    }
                }
                Err(error) => {
                    bad += 1;
                    tell(format!("stdin line {number}: {error}"));
                }
            }
            ControlFlow::Continue(())
        });
        if let Some(failure) = failed {
            return Err(failure);
        }
        read.map_err(|error| Failure::new(ExitCode::Io, format!("cannot read stdin: {error}")))?;
        match bad {
            0 => Ok(()),
            1 => Err(Failure::new(ExitCode::Data, "1 line was not published")),
            _ => Err(Failure::new(ExitCode::Data, format!("{bad} lines were not published"))),
        }
    }

    /// Waits until everything has been sent. If both fail, returns the failure of the connection,
    /// which loses published events.
    fn finish(self, outcome: Result<(), Failure>) -> Result<(), Failure> {
        let sent = self.publisher.sent();
        if self.unheard > 1 {
            tell(format!("{} of {sent} events had no subscribers", self.unheard));
        }
        let finished = self.publisher.finish(self.patience).map_err(failure);
        match (outcome, finished) {
            (Err(failure), Err(lost)) => {
                tell(failure.message);
                Err(lost)
            }
            (outcome, finished) => finished.and(outcome),
        }
    }
}
