//! `zcluster sub`: prints events as lines of JSON.
//!
//! One thread receives, so that the broker does not wait for whatever reads the output; the main
//! thread prints. A bounded queue connects them.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use zcluster::client::{ClientError, Subscriber};
use zcluster::daemon::{self, Failure, Signal, Signals, cannot_print};
use zcluster::exit::ExitCode;
use zcluster::node::ReceivedEvent;
use zcluster::queue::{self, Empty, Limits, Rejected};
use zcluster::rate_limit::RateLimit;
use zcluster::readable;
use zcluster::value::Timestamp;

use crate::client::{ClientArgs, duration, failure, tell, tell_warnings};
use crate::output::{end, is_unread};

/// Events that wait to be printed.
const LIMITS: Limits = Limits { messages: 10_000, bytes: 64 << 20 };
/// How often the receiving thread checks whether it should stop, and the main thread whether stdout
/// is still read.
const LOOK: Duration = Duration::from_millis(100);
/// How long printing the received events may take after a request to stop.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// The interval between warnings of one kind.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The arguments of `zcluster sub`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print events whose topics start with this, for example zeek.cluster.worker. Without a
    /// prefix, prints all events, and every node sends all its events to the broker.
    #[arg(value_name = "PREFIX")]
    prefixes: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
    /// Exit after this many events.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Exit after this time: in seconds, or with a unit. Fails if the broker has not answered by
    /// then, or if fewer events than --count have arrived.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
}

/// Prints events. Prints a failure on stderr: no broker, or too few events, before the timeout
/// (69), output that cannot be written (74), a wrong layout or key, or a prefix that the layout
/// forbids (78).
pub fn run(args: &Args) -> ExitCode {
    tell_warnings();
    end(subscribe(args))
}

/// What the receiving thread passes on.
enum Item {
    Event(Timestamp, ReceivedEvent),
    Failed(ClientError),
    /// A request to stop.
    Stop,
}

/// State that both threads share.
#[derive(Default)]
struct Shared {
    is_subscribed: AtomicBool,
    is_over: AtomicBool,
    dropped: AtomicU64,
}

fn subscribe(args: &Args) -> Result<(), Failure> {
    let signals = Signals::take()?;
    let mut prefixes = args.prefixes.clone();
    if prefixes.is_empty() {
        prefixes.push(String::new());
    }
    let subscriber = args.client.client()?.subscriber(prefixes.clone()).map_err(failure)?;
    let shared = Arc::new(Shared::default());
    let (items, queue) = queue::bounded(LIMITS, || {});
    stop_by(&signals, items.clone());
    let receiver = {
        let shared = Arc::clone(&shared);
        let receive = Receiver {
            subscriber,
            prefixes,
            items,
            shared,
            warning: RateLimit::new(WARNING_INTERVAL),
        };
        thread::Builder::new()
            .name("receive".into())
            .spawn(move || receive.run())
            .map_err(|error| Failure::new(ExitCode::Software, error))?
    };
    let outcome = print_events(args, &queue, &shared);
    shared.is_over.store(true, Ordering::Relaxed);
    drop(queue);
    // The thread has already reported its errors.
    let _ = receiver.join();
    let dropped = shared.dropped.load(Ordering::Relaxed);
    if dropped > 0 {
        tell(format!("{dropped} events dropped: stdout was not read fast enough"));
    }
    outcome
}

/// Ends the command on a signal, even if nothing reads its output.
fn stop_by(signals: &Signals, items: queue::Sender<Item>) {
    signals.handle(move |signal| {
        if signal == Signal::Stop {
            // This fails if the command is already ending.
            let _ = items.send_control(Item::Stop);
            let items = items.clone();
            thread::spawn(move || {
                thread::sleep(END_PATIENCE);
                let (waiting, _) = items.depth();
                if waiting > 0 {
                    tell(format!(
                        "{waiting} events received but not printed: nothing reads stdout"
                    ));
                }
                std::process::exit(ExitCode::Ok.code().into());
            });
        }
    });
}

/// Prints until there is a reason to end.
fn print_events(
    args: &Args,
    queue: &queue::Receiver<Item>,
    shared: &Shared,
) -> Result<(), Failure> {
    let deadline = args.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut printed = 0u64;
    let mut warning = RateLimit::new(WARNING_INTERVAL);
    loop {
        let look = Instant::now() + LOOK;
        let (time, event) =
            match queue.receive_until(Some(deadline.map_or(look, |at| at.min(look)))) {
                Ok(Item::Event(time, event)) => (time, event),
                Ok(Item::Failed(error)) => return Err(failure(error)),
                Ok(Item::Stop) | Err(Empty::Closed) => return Ok(()),
                Err(Empty::TimedOut) if deadline.is_some_and(|at| at <= Instant::now()) => {
                    return time_is_up(args, printed, shared);
                }
                // As in `… | head -1`: the reader has gone, and without another event no write
                // would show it.
                Err(Empty::TimedOut) if is_unread() => return Ok(()),
                Err(Empty::TimedOut) => continue,
            };
        let decoded = match event.decode() {
            Ok(decoded) => decoded,
            Err(error) => {
                if let Some(more) = warning.check(Instant::now()) {
                    let (topic, sender) = (event.topic(), event.sender());
                    tell(format!(
                        "no event: {topic}: {error} (from {sender}; {more} more like this)"
                    ));
                }
                continue;
            }
        };
        let line = readable::event_to_json(time, event.topic(), event.sender(), &decoded);
        match daemon::print_text(&format!("{line}\n")) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| cannot_print(&error))?,
        }
        printed += 1;
        if args.count.is_some_and(|count| printed >= count) {
            return Ok(());
        }
    }
}

fn time_is_up(args: &Args, printed: u64, shared: &Shared) -> Result<(), Failure> {
    let unavailable = |text: String| Err(Failure::new(ExitCode::Unavailable, text));
    let timeout = humantime::format_duration(args.timeout.unwrap_or_default());
    if printed == 0 && !shared.is_subscribed.load(Ordering::Relaxed) {
        let where_to = args.client.client()?;
        // A new connection finds out why, as the first one keeps retrying.
        return match where_to.publisher().and_then(|mut other| other.wait_until_ready(LOOK)) {
            Err(ClientError::Unreachable { endpoint, why, .. }) => {
                let waited = args.timeout.unwrap_or_default();
                Err(failure(ClientError::Unreachable { endpoint, waited, why }))
            }
            Err(error) => Err(failure(error)),
            Ok(()) => unavailable(format!("the broker answered only after {timeout}")),
        };
    }
    match args.count {
        Some(count) => unavailable(format!("{printed} of {count} events within {timeout}")),
        None => Ok(()),
    }
}

/// The receiving thread.
struct Receiver {
    subscriber: Subscriber,
    prefixes: Vec<String>,
    items: queue::Sender<Item>,
    shared: Arc<Shared>,
    warning: RateLimit,
}

impl Receiver {
    fn run(mut self) {
        while !self.shared.is_over.load(Ordering::Relaxed) {
            let received = self.subscriber.receive(LOOK);
            self.tell_whether_subscribed();
            match received {
                Ok(Some(event)) => self.hand_over(event),
                Ok(None) => {}
                Err(error) => {
                    let _ = self.items.send_control(Item::Failed(error));
                    return;
                }
            }
        }
    }

    /// Reports the first subscription only: the library reports later losses of the broker.
    fn tell_whether_subscribed(&self) {
        let is_subscribed = self.subscriber.is_subscribed();
        if is_subscribed && !self.shared.is_subscribed.swap(true, Ordering::Relaxed) {
            let all = "all topics".to_owned();
            let quoted = self.prefixes.iter().map(|prefix| format!("'{prefix}'"));
            let what = if self.prefixes.iter().any(String::is_empty) {
                all
            } else {
                quoted.collect::<Vec<_>>().join(", ")
            };
            tell(format!("subscribed to {what}"));
        }
    }

    fn hand_over(&mut self, event: ReceivedEvent) {
        let bytes = event.topic().len() + event.sender().len() + event.payload().len();
        let now = Timestamp::from(SystemTime::now());
        if let Err(Rejected::Full(_)) = self.items.try_send(Item::Event(now, event), bytes) {
            let dropped = 1 + self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            if self.warning.check(Instant::now()).is_some() {
                tell(format!("stdout is not read fast enough: {dropped} events dropped so far"));
            }
        }
    }
}
