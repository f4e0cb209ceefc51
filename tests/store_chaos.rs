//! A data store under load, while its master, its clones and the broker are killed or stopped at random moments. Afterwards
//! it has every change that was acknowledged, once, and all have the same.
//!
//! `ZCLUSTER_STORE_ROUNDS` sets the number of rounds (`make chaos`), `ZCLUSTER_STORE_SEED` the seed of another run.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::random::Random;
use support::store_history::{Action, Content, History};
use support::store_load::Load;
use support::store_user::{PATIENT, STORE, User};
use support::{Cluster, NodeSpec, PATIENCE, Process, Signal, command, run_to_end};

const NODES: &[NodeSpec<'static>] = &[
    ("manager", "manager"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
    ("worker-3", "worker"),
];

/// Rounds by default.
const ROUNDS: usize = 3;
/// Rounds until the store is cleared.
const ROUNDS_OF_CONTENT: usize = 10;
/// Entries that nobody changes: a snapshot of them has several chunks.
const ENTRIES: usize = 3_000;
/// Commands of a process that wait for an answer.
const OPEN: usize = 30;
/// How long the load goes on at least, in milliseconds, and how long after the last fault.
const LOAD: u64 = 1_500;

/// A process that something happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Broker,
    /// By its place among the users: first the master.
    User(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Start,
    Stop,
    Continue,
}

/// What happens when, in milliseconds.
type Plan = Vec<(u64, Target, Fault)>;

/// What happens in a round. Processes are stopped for `longest` milliseconds at most.
fn plan(round: usize, longest: u64, random: &mut Random) -> Plan {
    const MASTER: Target = Target::User(0);
    // Each of these is in some round, the others are as it comes.
    let mut targets = vec![[MASTER, Target::Broker, Target::User(1 + round / 3 % 3)][round % 3]];
    for _ in 0..random.below(3) {
        let others =
            [MASTER, MASTER, Target::Broker, Target::User(1), Target::User(2), Target::User(3)];
        let other = random.pick(&others);
        if !targets.contains(&other) {
            targets.push(other);
        }
    }
    let mut plan = Plan::new();
    for target in targets {
        let mut within = |most: u64| random.below(most as usize + 1) as u64;
        let begin = 200 + within(LOAD - 200);
        let is_stopped = match target {
            Target::Broker => within(2) > 0,
            MASTER => within(4) == 0,
            Target::User(_) => within(2) == 0,
        };
        if is_stopped {
            let time = if within(2) == 0 { longest } else { within(longest) };
            plan.extend([(begin, target, Fault::Stop), (begin + time, target, Fault::Continue)]);
            continue;
        }
        let mut at = begin;
        // It may be killed again while it starts.
        for _ in 0..=within(2) / 2 {
            let back = at + within(1) * within(2_000);
            plan.extend([(at, target, Fault::Kill), (back, target, Fault::Start)]);
            at = back + 50 + within(2_000);
        }
    }
    // What happens at the same moment stays in its order.
    plan.sort_by_key(|(at, ..)| *at);
    plan
}

/// The cluster.
struct Chaos {
    cluster: Cluster,
    broker: Option<Process>,
    users: Vec<User>,
    /// How many processes of users there have been.
    lives: u64,
    history: History,
    random: Random,
    /// What no round changes any more.
    settled: Content,
}

impl Chaos {
    fn start(seed: u64) -> Self {
        let options = format!(
            "[log]\nshutdown_timeout = \"100ms\"\n[cluster]\ndefault_store_dir = \"{{dir}}\"\n\
             [stores.{STORE}]\nbackend = \"sqlite\"\n"
        );
        let cluster = Cluster::new(NODES, &options);
        let broker = Some(cluster.broker());
        let users = NODES.iter().enumerate().map(|(at, (name, _))| User::new(name, at == 0));
        let mut chaos = Chaos {
            cluster,
            broker,
            users: users.collect(),
            lives: 0,
            history: History::default(),
            random: Random::new(seed),
            settled: Content::new(),
        };
        for at in 0..NODES.len() {
            chaos.cause(Target::User(at), Fault::Start);
        }
        chaos
    }

    fn cause(&mut self, target: Target, fault: Fault) {
        let signal = if fault == Fault::Stop { Signal::STOP } else { Signal::CONT };
        match (target, fault) {
            (Target::Broker, Fault::Kill) => self.broker.take().unwrap().kill(),
            (Target::Broker, Fault::Start) => {
                let args = ["--layout", self.cluster.layout_arg()];
                self.broker = Some(Process::spawn("broker", "zcluster-broker", &args));
            }
            (Target::Broker, _) => self.broker.as_ref().unwrap().signal(signal),
            (Target::User(at), Fault::Kill) => self.users[at].kill(&mut self.history),
            (Target::User(at), Fault::Start) => {
                self.lives += 1;
                self.users[at].start(self.cluster.layout_arg(), self.lives);
            }
            (Target::User(at), _) => self.users[at].signal(signal),
        }
    }

    /// Everything that was asked is answered.
    fn wait_for_answers(&mut self) {
        for user in &mut self.users {
            user.wait("all answers", &mut self.history, |user| {
                (user.waiting() == Some(0)).then_some(())
            });
        }
    }

    /// Empties the store, and fills it with entries that stay as they are.
    fn fill(&mut self) {
        let at = self.random.below(self.users.len());
        self.history = History::default();
        let ask = json!({ "clear": [] });
        assert_eq!(self.users[at].query(ask, &mut self.history)["result"], Json::Null);
        self.settled.clear();
        for n in 0..ENTRIES {
            let (key, value) = (format!("entry {n}"), n as u64 + (1 << 40));
            let put = Action::Put { value, expires: None };
            self.users[at].ask(&key, put, Some(PATIENT), &mut self.history);
            self.settled.insert(key, json!(value));
        }
        self.wait_for_answers();
    }

    fn round(&mut self, round: usize, longest: u64) {
        let plan = plan(round, longest, &mut self.random);
        eprintln!("round {round}: {plan:?}");
        self.history = History::default();
        let mut load = Load::new(round);
        let begin = Instant::now();
        let end = plan.last().map_or(0, |(at, ..)| *at + 300).max(LOAD);
        let mut plan = plan.into_iter().peekable();
        // Random moments are the point of this test; any will do.
        while plan.peek().is_some() || begin.elapsed() < Duration::from_millis(end) {
            while let Some((_, target, fault)) =
                plan.next_if(|(at, ..)| Duration::from_millis(*at) <= begin.elapsed())
            {
                self.cause(target, fault);
            }
            self.load(&mut load);
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.wait_for_answers();
        let content = self.wait_until_all_agree();
        for (key, value) in &self.settled {
            assert_eq!(content.get(key), Some(value), "{key}, of an earlier round");
        }
        self.history.check(&content);
        let (asked, succeeded) = self.history.figures();
        let time = begin.elapsed().as_secs_f32();
        eprintln!("round {round}: {asked} commands, {succeeded} succeeded, after {time:.1} s");
        self.settled = content;
    }

    /// Some more commands.
    fn load(&mut self, load: &mut Load) {
        for user in &mut self.users {
            user.take_lines(&mut self.history);
            if user.waiting().is_none_or(|open| open >= OPEN) || self.random.below(10) > 0 {
                continue;
            }
            for _ in 0..=self.random.below(6) {
                let (key, action) = load.next(user.life(), &mut self.random);
                let timeouts = [None, None, None, Some("100ms"), Some("1s"), Some("3s")];
                let timeout = self.random.pick(&timeouts);
                user.ask(&key, action, timeout, &mut self.history);
            }
        }
    }

    /// Waits until everybody has the same; returns that.
    fn wait_until_all_agree(&mut self) -> Content {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Chaos { users, history, .. } = self;
            let contents: Vec<_> = users.iter_mut().map(|user| user.content(history)).collect();
            let told: Vec<_> = users.iter().filter_map(User::watched).collect();
            let values_of = |entries: &Content| -> Content {
                let value = |(key, entry): (&String, &Json)| (key.clone(), entry["value"].clone());
                entries.iter().map(value).collect()
            };
            let differences: BTreeMap<_, _> = (contents.iter().cloned())
                .chain(told.iter().map(|told| values_of(told)))
                .enumerate()
                .map(|(at, content)| (at, difference(&contents[0], &content)))
                .filter(|(_, difference)| !difference.is_empty())
                .collect();
            if differences.is_empty() && history.is_expired(&contents[0]) {
                // What they were told also says when it expires.
                let dump = dump(&self.cluster);
                for (at, told) in told.into_iter().enumerate() {
                    let difference = difference(&dump, told);
                    assert!(difference.is_empty(), "clone {at} was told {difference:#?}");
                }
                return contents.into_iter().next().unwrap();
            }
            assert!(Instant::now() < deadline, "clones do not agree: {differences:#?}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
}

/// What a new clone gets: all but the keys, by key.
fn dump(cluster: &Cluster) -> Content {
    let args = ["store", "dump", STORE, "--layout", cluster.layout_arg()];
    let ended = run_to_end(command("zcluster").args(args));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let entries = ended.stdout.lines().map(|line| {
        let mut entry = serde_json::from_str::<Json>(line).unwrap();
        let key = entry.as_object_mut().unwrap().shift_remove("key").unwrap();
        (key.as_str().unwrap().to_owned(), entry)
    });
    entries.collect()
}

/// What one has otherwise than the other.
fn difference(one: &Content, other: &Content) -> BTreeMap<String, [Option<Json>; 2]> {
    let keys = one.keys().chain(other.keys());
    let pairs = keys.map(|key| (key.clone(), [one.get(key).cloned(), other.get(key).cloned()]));
    pairs.filter(|(_, [one, other])| one != other).collect()
}

#[test]
fn acknowledged_changes_are_made_once_whoever_is_killed_or_stopped() {
    let number = |name: &str| std::env::var(name).ok().map(|n| n.parse::<u64>().unwrap());
    let rounds = number("ZCLUSTER_STORE_ROUNDS").map_or(ROUNDS, |n| n as usize);
    let seed = number("ZCLUSTER_STORE_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let longest = if rounds > ROUNDS { 10_000 } else { 1_000 };
    eprintln!("{rounds} rounds, seed {seed}");
    let mut chaos = Chaos::start(seed);
    chaos.wait_for_answers();
    for round in 0..rounds {
        if round % ROUNDS_OF_CONTENT == 0 {
            chaos.fill();
        }
        chaos.round(round, longest);
    }
    for user in chaos.users.iter_mut().rev() {
        user.stop();
    }
    chaos.broker.unwrap().stop();
}
