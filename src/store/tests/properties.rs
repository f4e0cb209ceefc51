//! What must hold whatever happens: random operations, lost and repeated messages, restarts, failing writes.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::command;
use super::simulation::Simulation;
use crate::Value;
use crate::peers::ErrorCode;
use crate::store::expiry::Expiry;
use crate::store::operation::Operation;
use crate::store::output::Ticket;

const CLONES: usize = 2;
const KEYS: u8 = 5;

#[derive(Clone, Debug)]
enum Step {
    /// Adds the next power of two to the counter.
    Count {
        process: usize,
        /// Time after which it is given up, if not as usual.
        millis: Option<u64>,
    },
    /// Appends the next letter of the process to a text.
    Log {
        process: usize,
        millis: Option<u64>,
    },
    Put {
        process: usize,
        key: u8,
        seconds: Option<u64>,
    },
    PutUnique {
        process: usize,
        key: u8,
    },
    Erase {
        process: usize,
        key: u8,
    },
    Clear {
        process: usize,
    },
    Query {
        process: usize,
        key: u8,
    },
    Deliver {
        link: usize,
        is_lost: bool,
        is_repeated: bool,
        ends_turn: bool,
    },
    Write {
        succeeds: bool,
    },
    Advance {
        millis: u64,
    },
    RestartMaster {
        was_written: bool,
    },
    Restart {
        process: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let process = 0..CLONES + 2;
    let key = 0..KEYS;
    let timeout = prop::option::of(1..5000_u64);
    prop_oneof![
        6 => (process.clone(), timeout.clone())
            .prop_map(|(process, millis)| Step::Count { process, millis }),
        4 => (process.clone(), timeout).prop_map(|(process, millis)| Step::Log { process, millis }),
        4 => (process.clone(), key.clone(), prop::option::of(1..20_u64))
            .prop_map(|(process, key, seconds)| Step::Put { process, key, seconds }),
        2 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::PutUnique { process, key }),
        2 => (process.clone(), key.clone()).prop_map(|(process, key)| Step::Erase { process, key }),
        1 => process.clone().prop_map(|process| Step::Clear { process }),
        3 => (process.clone(), key).prop_map(|(process, key)| Step::Query { process, key }),
        60 => (any::<usize>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1), any::<bool>())
            .prop_map(|(link, is_lost, is_repeated, ends_turn)| {
                Step::Deliver { link, is_lost, is_repeated, ends_turn }
            }),
        12 => prop::bool::weighted(0.9).prop_map(|succeeds| Step::Write { succeeds }),
        6 => (1..3000_u64).prop_map(|millis| Step::Advance { millis }),
        1 => any::<bool>().prop_map(|was_written| Step::RestartMaster { was_written }),
        1 => (1..CLONES + 2).prop_map(|process| Step::Restart { process }),
    ]
}

/// What a test remembers of a command.
struct Sent {
    process: usize,
    /// Which process of that place.
    number: u64,
    ticket: Ticket,
    bit: u64,
}

struct Run {
    simulation: Simulation,
    counts: Vec<Sent>,
    /// What was appended, by process.
    letters: BTreeMap<(usize, u64), Vec<u8>>,
    logs: Vec<(Sent, u8)>,
    counters: u64,
}

/// The keys that no step puts, erases or clears: those are for counting.
fn counter(number: u64) -> Value {
    Value::Vector(vec!["counter".into(), (number / 60).into()])
}

impl Run {
    fn new(has_file: bool) -> Self {
        let mut simulation = Simulation::new(CLONES, has_file);
        // The master opens.
        simulation.advance(Duration::from_secs(2));
        Run {
            simulation,
            counts: Vec::new(),
            letters: BTreeMap::new(),
            logs: Vec::new(),
            counters: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        let simulation = &mut self.simulation;
        let small = |key: u8| Value::Count(key.into());
        match *step {
            Step::Count { process, millis } => {
                let bit = 1 << (self.counters % 60);
                let add = command(Operation::Increment, counter(self.counters), vec![bit.into()]);
                self.counters += 1;
                let number = simulation.processes[process].follower.number();
                let timeout = millis.map(Duration::from_millis);
                let ticket = simulation.submit_within(process, add, timeout);
                self.counts.push(Sent { process, number, ticket, bit });
            }
            Step::Log { process, millis } => {
                let number = simulation.processes[process].follower.number();
                let letters = self.letters.entry((process, number)).or_default();
                let letter = u8::try_from(letters.len()).unwrap();
                letters.push(letter);
                let name = u8::try_from(number).unwrap();
                let text = Value::string(vec![name, letter]);
                let append = command(Operation::Append, "log", vec![text]);
                let timeout = millis.map(Duration::from_millis);
                let ticket = simulation.submit_within(process, append, timeout);
                self.logs.push((Sent { process, number, ticket, bit: 0 }, letter));
            }
            Step::Put { process, key, seconds } => {
                let mut put = command(Operation::Put, small(key), vec![self.counters.into()]);
                put.expiry = seconds.map(|seconds| Expiry::after(Duration::from_secs(seconds)));
                simulation.submit(process, put);
            }
            Step::PutUnique { process, key } => {
                let value = vec![Value::from(true)];
                simulation.submit(process, command(Operation::PutUnique, small(key), value));
            }
            Step::Erase { process, key } => {
                simulation.submit(process, command(Operation::Erase, small(key), vec![]));
            }
            Step::Clear { process } => {
                // Of the small keys: `clear` itself has a test of its own, as it would erase the counters.
                for key in 0..KEYS {
                    simulation.submit(process, command(Operation::Erase, small(key), vec![]));
                }
            }
            Step::Query { process, key } => {
                simulation.submit(process, command(Operation::Exists, small(key), vec![]));
            }
            Step::Deliver { link, is_lost, is_repeated, ends_turn: true } => {
                simulation.deliver(link, is_lost, is_repeated);
            }
            Step::Deliver { link, is_lost, is_repeated, ends_turn: false } => {
                simulation.deliver_within_turn(link, is_lost, is_repeated);
            }
            Step::Write { succeeds } => simulation.write(succeeds),
            Step::Advance { millis } => simulation.advance(Duration::from_millis(millis)),
            Step::RestartMaster { was_written } => {
                simulation.kill_master(was_written);
                simulation.start_master();
            }
            Step::Restart { process } => simulation.restart(process),
        }
        self.check_clones();
    }

    /// The content of a clone is what the master had after one of its changes.
    fn check_clones(&self) {
        for process in &self.simulation.processes {
            let Some(replica) = process.follower.replica() else { continue };
            let Some(position) = replica.position() else { continue };
            let known = self.simulation.history.get(&(position.epoch, position.sequence));
            assert_eq!(Some(replica.content()), known, "{} at {position:?}", process.id);
        }
    }

    /// How a command has ended: `None` if its process is gone, or it was not answered.
    fn outcome(&self, sent: &Sent) -> Option<Result<(), ErrorCode>> {
        let process = &self.simulation.processes[sent.process];
        let result = process.results.get(&sent.ticket);
        let result = result.filter(|_| process.follower.number() == sent.number)?;
        Some(result.as_ref().map(|_| ()).map_err(|error| error.code))
    }

    fn finish(mut self) {
        self.simulation.quiesce();
        self.check_clones();
        let simulation = &self.simulation;
        let master = simulation.master.as_ref().unwrap();
        assert_eq!(master.content(), &simulation.published);
        for process in &simulation.processes {
            assert_eq!(process.follower.waiting(), 0, "{}", process.id);
            if let Some(replica) = process.follower.replica() {
                assert_eq!(replica.content(), master.content(), "{}", process.id);
            }
        }
        let has_file = simulation.file.is_some();
        for (number, sent) in (0..).zip(&self.counts) {
            let value = master.content().get(&counter(number)).map(|entry| &entry.value);
            let value = value.and_then(Value::as_count).unwrap_or(0);
            // All bits are different, so a change that is made twice sets another one.
            let all: u64 =
                self.counts.iter().skip(number as usize / 60 * 60).take(60).map(|s| s.bit).sum();
            assert_eq!(value & !all, 0, "a change was made twice: {value:b}");
            let is_made = value & sent.bit != 0;
            match self.outcome(sent) {
                Some(Ok(())) => assert!(is_made || !has_file, "change {number} is lost"),
                Some(Err(ErrorCode::NoSuchMaster | ErrorCode::BackendFailure)) => {
                    assert!(!is_made, "change {number} was made, but failed");
                }
                Some(Err(ErrorCode::RequestTimeout)) | None => {}
                Some(Err(code)) => panic!("{code:?}"),
            }
        }
        self.check_log();
    }

    /// Each process's letters are in the order in which it has appended them, and those with an answer are there.
    fn check_log(&self) {
        let master = self.simulation.master.as_ref().unwrap();
        let log = master.content().get(&"log".into()).and_then(|entry| entry.value.as_bytes());
        let mut by_process = BTreeMap::<u8, Vec<u8>>::new();
        for pair in log.unwrap_or_default().chunks(2) {
            by_process.entry(pair[0]).or_default().push(pair[1]);
        }
        for letters in by_process.values() {
            assert!(letters.windows(2).all(|pair| pair[0] < pair[1]), "{letters:?}");
        }
        for (sent, letter) in &self.logs {
            let is_there = by_process
                .get(&u8::try_from(sent.number).unwrap())
                .is_some_and(|letters| letters.contains(letter));
            let has_file = self.simulation.file.is_some();
            match self.outcome(sent) {
                Some(Ok(())) => assert!(is_there || !has_file),
                Some(Err(ErrorCode::NoSuchMaster | ErrorCode::BackendFailure)) => {
                    assert!(!is_there);
                }
                _ => {}
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_change_is_lost_or_made_twice(
        has_file in any::<bool>(),
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let mut run = Run::new(has_file);
        for step in steps {
            run.step(&step);
        }
        run.finish();
    }
}
