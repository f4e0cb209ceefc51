//! Every row of WIRE.md §6.2 and the cases of §6.3 and §6.4, as scripts of inputs and the actions
//! they must lead to.

use super::Action::{ClusterLog, Greet, NameTaken, NodeDown, NodeUp, Warn};
use super::Hello::{Backend, Cluster};
use super::Input::{Connected, Disconnected, Ready, Subscribed, Tick, Unsubscribed};
use super::settling::ANSWER_PATIENCE;
use super::*;

/// One step: milliseconds since the start, an input, and exactly the actions it must lead to.
type Step = (u64, Input, Vec<Action>);

fn settings() -> Settings {
    Settings {
        name: "manager".into(),
        id: id("me"),
        nodes: ["manager", "worker-1", "worker-2"].map(String::from).into(),
        hello_expiration: Duration::from_secs(10),
        hello_delay: Duration::from_millis(100),
        reconcile_grace: Duration::from_secs(3),
    }
}

fn id(text: &str) -> NodeId {
    NodeId::from_bytes(text)
}
fn hello(which: Hello, name: &str, from: &str) -> Input {
    Input::Hello(which, name.into(), id(from))
}
fn greet(which: Hello, to: &str) -> Action {
    Greet(which, id(to))
}
fn up(name: &str, with: &str) -> Vec<Action> {
    vec![NodeUp(name.into(), id(with)), got_hello(name, &id(with))]
}
fn down(name: &str, with: &str) -> Vec<Action> {
    vec![NodeDown(name.into(), id(with)), ClusterLog(format!("node down: {name}"))]
}

/// The steps after which worker-1 is up with id `w1`, and nothing is pending.
fn worker_1_is_up() -> Vec<Step> {
    vec![
        (0, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (100, hello(Backend, "worker-1", "w1"), vec![greet(Cluster, "w1")]),
        (101, hello(Cluster, "worker-1", "w1"), up("worker-1", "w1")),
    ]
}

/// Runs a script; returns the machine and its start for further questions.
fn run(steps: impl IntoIterator<Item = Step>) -> (Membership, Instant) {
    let start = Instant::now();
    let mut machine = Membership::new(settings());
    assert_eq!(machine.handle(Ready, start), []);
    for (i, (at, input, expected)) in steps.into_iter().enumerate() {
        let shown = format!("step {i} at {at} ms: {input:?}");
        assert_eq!(machine.handle(input, start + Duration::from_millis(at)), expected, "{shown}");
    }
    (machine, start)
}

fn after_worker_1_is_up(steps: impl IntoIterator<Item = Step>) -> (Membership, Instant) {
    run(worker_1_is_up().into_iter().chain(steps))
}

#[test]
fn normal_sequence() {
    let (machine, _) = after_worker_1_is_up([(60_000, Tick, vec![])]);
    assert_eq!(machine.members(), &BTreeMap::from([("worker-1".into(), id("w1"))]));
    assert_eq!(machine.deadline(), None, "nothing is pending");
}

#[test]
fn the_second_hello_waits_for_its_delay() {
    let (machine, start) = run([
        (0, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (10, hello(Backend, "worker-1", "w1"), vec![]),
    ]);
    assert_eq!(machine.deadline(), Some(start + Duration::from_millis(100)));
    run([
        (0, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (10, hello(Backend, "worker-1", "w1"), vec![]),
        (11, hello(Backend, "worker-1", "w1"), vec![]), // again: still one answer
        (99, Tick, vec![]),
        (100, Tick, vec![greet(Cluster, "w1")]),
        (101, Tick, vec![]),
    ]);
}

#[test]
fn a_hello_may_overtake_the_subscription() {
    run([
        (0, hello(Backend, "worker-1", "w1"), vec![]),
        (5, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (105, Tick, vec![greet(Cluster, "w1")]),
        (106, hello(Cluster, "worker-1", "w1"), up("worker-1", "w1")),
        (60_000, Tick, vec![]), // nothing was left to expire
    ]);
}

#[test]
fn own_and_repeated_subscriptions_are_ignored() {
    run([
        (0, Subscribed(id("me")), vec![]),
        (0, Unsubscribed(id("me")), vec![]),
        (0, hello(Backend, "manager", "me"), vec![]),
        (0, hello(Cluster, "manager", "me"), vec![]),
        (0, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (1, Subscribed(id("w1")), vec![]),
    ]);
}

#[test]
fn a_first_hello_twice_is_a_warning_and_answered() {
    let twice = Warn(Warning::HelloTwice("worker-1".into(), id("w1")));
    after_worker_1_is_up([
        (200, hello(Backend, "worker-1", "w1"), vec![twice.clone(), greet(Cluster, "w1")]),
        // Never to a topic that is not subscribed.
        (300, Unsubscribed(id("w1")), down("worker-1", "w1")),
        (301, hello(Cluster, "worker-1", "w1"), up("worker-1", "w1")),
        (302, hello(Backend, "worker-1", "w1"), vec![twice]),
    ]);
}

#[test]
fn a_changed_id_is_one_transition() {
    let goodbye = Warn(Warning::NeverSaidGoodbye("worker-1".into(), id("w1"), id("w1b")));
    let (machine, _) = after_worker_1_is_up([
        (200, Subscribed(id("w1b")), vec![greet(Backend, "w1b")]),
        (
            300,
            hello(Backend, "worker-1", "w1b"),
            [vec![goodbye], down("worker-1", "w1"), vec![greet(Cluster, "w1b")]].concat(),
        ),
        (301, hello(Cluster, "worker-1", "w1b"), up("worker-1", "w1b")),
        // The connection of the old process times out long after.
        (9_000, Unsubscribed(id("w1")), vec![Warn(Warning::UnknownUnsubscription(id("w1")))]),
    ]);
    assert_eq!(machine.members()["worker-1"], id("w1b"));
}

#[test]
fn a_second_hello_of_an_unknown_id_replaces_the_old_one() {
    let duplicate = Warn(Warning::DuplicateNode("worker-1".into()));
    after_worker_1_is_up([(
        200,
        hello(Cluster, "worker-1", "w1b"),
        [vec![duplicate], down("worker-1", "w1"), up("worker-1", "w1b")].concat(),
    )]);
}

#[test]
fn a_second_hello_again_changes_nothing() {
    after_worker_1_is_up([(
        200,
        hello(Cluster, "worker-1", "w1"),
        vec![got_hello("worker-1", &id("w1"))],
    )]);
}

#[test]
fn names_outside_the_layout_are_answered_but_never_up() {
    let (machine, _) = run([
        (0, Subscribed(id("x")), vec![greet(Backend, "x")]),
        (100, hello(Backend, "stranger", "x"), vec![greet(Cluster, "x")]),
        (
            101,
            hello(Cluster, "stranger", "x"),
            vec![Warn(Warning::UnexpectedNode("stranger".into()))],
        ),
        (102, Unsubscribed(id("x")), vec![Warn(Warning::UnknownUnsubscription(id("x")))]),
    ]);
    assert!(machine.members().is_empty());
    run([(
        0,
        Input::Hello(Cluster, b"\xff".into(), id("x")),
        vec![Warn(Warning::UnexpectedNode(b"\xff".into()))],
    )]);
}

#[test]
fn a_clean_restart() {
    after_worker_1_is_up([
        (200, Unsubscribed(id("w1")), down("worker-1", "w1")),
        (300, Subscribed(id("w1b")), vec![greet(Backend, "w1b")]),
        (400, hello(Backend, "worker-1", "w1b"), vec![greet(Cluster, "w1b")]),
        (401, hello(Cluster, "worker-1", "w1b"), up("worker-1", "w1b")),
    ]);
}

#[test]
fn a_process_that_goes_before_its_second_hello_gets_none() {
    run([
        (0, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (10, hello(Backend, "worker-1", "w1"), vec![]),
        (20, Unsubscribed(id("w1")), vec![Warn(Warning::UnknownUnsubscription(id("w1")))]),
        (20_000, Tick, vec![]),
    ]);
}

#[test]
fn two_live_processes_of_one_name_flip() {
    let goodbye = Warn(Warning::NeverSaidGoodbye("worker-1".into(), id("w1"), id("twin")));
    after_worker_1_is_up([
        (200, Subscribed(id("twin")), vec![greet(Backend, "twin")]),
        (
            300,
            hello(Backend, "worker-1", "twin"),
            [vec![goodbye], down("worker-1", "w1"), vec![greet(Cluster, "twin")]].concat(),
        ),
        (301, hello(Cluster, "worker-1", "twin"), up("worker-1", "twin")),
        (400, Unsubscribed(id("w1")), vec![Warn(Warning::UnknownUnsubscription(id("w1")))]),
        (500, Unsubscribed(id("twin")), down("worker-1", "twin")),
    ]);
}

#[test]
fn a_second_process_of_our_own_name_is_up_for_us() {
    run([
        (0, Subscribed(id("other-me")), vec![greet(Backend, "other-me")]),
        (100, hello(Backend, "manager", "other-me"), vec![greet(Cluster, "other-me")]),
        (
            101,
            hello(Cluster, "manager", "other-me"),
            [vec![Warn(Warning::SameName(id("other-me")))], up("manager", "other-me")].concat(),
        ),
        (102, Unsubscribed(id("other-me")), down("manager", "other-me")),
    ]);
}

#[test]
fn half_handshakes_expire_with_a_warning() {
    let (machine, start) = run([
        (0, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (1_000, hello(Backend, "worker-2", "w2"), vec![]),
    ]);
    assert_eq!(machine.deadline(), Some(start + Duration::from_secs(10)));
    run([
        (0, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (1_000, hello(Backend, "worker-2", "w2"), vec![]),
        (9_999, Tick, vec![]),
        (10_000, Tick, vec![Warn(Warning::ExpiredSubscription(id("w1")))]),
        (11_000, Tick, vec![Warn(Warning::ExpiredHello(id("w2")))]),
        // A late hello still completes: its subscription is there.
        (12_000, hello(Backend, "worker-1", "w1"), vec![greet(Cluster, "w1")]),
        (12_001, hello(Cluster, "worker-1", "w1"), up("worker-1", "w1")),
    ]);
}

#[test]
fn a_first_hello_that_expired_is_made_up_for_by_the_second() {
    run([
        (0, hello(Backend, "worker-1", "w1"), vec![]),
        (10_000, Tick, vec![Warn(Warning::ExpiredHello(id("w1")))]),
        // Its subscription finally shows up; it answers our greeting, and needs ours.
        (11_000, Subscribed(id("w1")), vec![greet(Backend, "w1")]),
        (
            11_100,
            hello(Cluster, "worker-1", "w1"),
            [up("worker-1", "w1"), vec![greet(Cluster, "w1")]].concat(),
        ),
        (11_200, hello(Cluster, "worker-1", "w1"), vec![got_hello("worker-1", &id("w1"))]),
    ]);
}

#[test]
fn after_a_proxy_restart_the_dead_are_found_out_and_the_living_left_alone() {
    let mut steps = worker_1_is_up();
    steps.extend([
        (200, Subscribed(id("w2")), vec![greet(Backend, "w2")]),
        (300, hello(Backend, "worker-2", "w2"), vec![greet(Cluster, "w2")]),
        (301, hello(Cluster, "worker-2", "w2"), up("worker-2", "w2")),
        (1_000, Disconnected, vec![]),
        (1_500, Connected, vec![]),
        (1_600, Subscribed(id("w1")), vec![]),
        (4_499, Tick, vec![]),
        (4_500, Tick, down("worker-2", "w2")),
        // It was only slow. No new greeting: it never considered us down.
        (6_000, Subscribed(id("w2")), up("worker-2", "w2")),
        (7_000, Unsubscribed(id("w2")), down("worker-2", "w2")),
        (8_000, Unsubscribed(id("w1")), down("worker-1", "w1")),
    ]);
    run(steps);
}

#[test]
fn a_restart_during_the_outage_is_told_by_the_hello_or_by_reconciliation() {
    let goodbye = Warn(Warning::NeverSaidGoodbye("worker-1".into(), id("w1"), id("w1b")));
    after_worker_1_is_up([
        (1_000, Disconnected, vec![]),
        (1_500, Connected, vec![]),
        (1_600, Subscribed(id("w1b")), vec![greet(Backend, "w1b")]),
        (
            1_700,
            hello(Backend, "worker-1", "w1b"),
            [vec![goodbye], down("worker-1", "w1"), vec![greet(Cluster, "w1b")]].concat(),
        ),
        (1_701, hello(Cluster, "worker-1", "w1b"), up("worker-1", "w1b")),
        (9_000, Tick, vec![]), // w1 is missing, but nobody's id any more
    ]);
}

#[test]
fn an_outage_during_the_grace_time_starts_it_anew() {
    after_worker_1_is_up([
        (1_000, Disconnected, vec![]),
        (1_500, Connected, vec![]),
        (2_000, Subscribed(id("w1")), vec![]),
        (2_500, Disconnected, vec![]),
        (9_000, Tick, vec![]), // no proxy, no verdict
        (9_500, Connected, vec![]),
        (12_500, Tick, down("worker-1", "w1")),
    ]);
}

#[test]
fn strangers_cannot_fill_memory() {
    let start = Instant::now();
    let mut machine = Membership::new(settings());
    machine.handle(Ready, start);
    for i in 0..MAX_ENTRIES {
        let stranger = id(&format!("x{i}"));
        assert_eq!(machine.handle(Subscribed(stranger.clone()), start).len(), 1);
        assert_eq!(machine.handle(hello(Backend, "x", &format!("h{i}")), start), []);
    }
    // The oldest makes room for a new one, which gets its chance.
    let forgotten = Warn(Warning::TooMany(id("x0")));
    let actions = machine.handle(Subscribed(id("w1")), start);
    assert_eq!(actions, [forgotten, greet(Backend, "w1")]);
    let refused = vec![Warn(Warning::TooMany(id("one more")))];
    assert_eq!(machine.handle(hello(Backend, "x", "one more"), start), refused);
    // A node that is up is no stranger, and is never forgotten.
    assert_eq!(machine.handle(hello(Cluster, "worker-1", "w1"), start), up("worker-1", "w1"));
    let later = start + Duration::from_millis(1);
    for i in 0..MAX_ENTRIES {
        machine.handle(Subscribed(id(&format!("y{i}"))), later);
    }
    assert_eq!(machine.members().len(), 1);
    assert_eq!(machine.handle(Unsubscribed(id("w1")), later), down("worker-1", "w1"));
    let long = id(&"x".repeat(MAX_ID_LEN + 1));
    let mut machine = Membership::new(settings());
    machine.handle(Ready, start);
    assert_eq!(machine.handle(Subscribed(long.clone()), start), [Warn(Warning::TooMany(long))]);
}

#[test]
fn warnings_have_zeeks_texts() {
    for (warning, text) in [
        (Warning::HelloTwice("w".into(), id("i")), "node 'w' sends ZeroMQ::hello twice (id:i)"),
        (
            Warning::NeverSaidGoodbye("w".into(), id("i"), id("j")),
            "node 'w' never said goodbye (old id:i new id:j)",
        ),
        (Warning::DuplicateNode("w".into()), "Got Cluster::hello msg from duplicate node:w"),
        (Warning::UnexpectedNode("w".into()), "Got Cluster::hello msg from unexpected node: w"),
        (Warning::UnknownUnsubscription(id("i")), "unsubscription of unknown node with id 'i'"),
        (Warning::ExpiredSubscription(id("i")), "Expired subscription from nodeid i"),
        (Warning::ExpiredHello(id("i")), "Expired hello from nodeid i"),
    ] {
        assert_eq!(warning.to_string(), text);
    }
}

/// Runs a script for a node that has just started, with the id `ME`. Other processes with its name
/// have the ids `LOWER`, which is lower, and `OLD`, which is higher.
fn run_new(steps: impl IntoIterator<Item = Step>) -> Membership {
    let start = Instant::now();
    let mut machine = Membership::new(Settings { id: id(ME), ..settings() });
    for (i, (at, input, expected)) in steps.into_iter().enumerate() {
        let shown = format!("step {i} at {at} ms: {input:?}");
        assert_eq!(machine.handle(input, start + Duration::from_millis(at)), expected, "{shown}");
    }
    machine
}

const LOWER: &str = "zeromq_manager_h_1_N0";
const ME: &str = "zeromq_manager_h_1_N1";
const OLD: &str = "zeromq_manager_h_1_N2";
/// When an old process asked at 5 ms must have answered: its delay of 100 ms, plus patience.
const ANSWER_DUE: u64 = 5 + 100 + ANSWER_PATIENCE.as_millis() as u64;

#[test]
fn a_new_node_greets_once_it_has_seen_everybody() {
    let machine = run_new([
        (0, Subscribed(id("w1")), vec![]),
        (1, hello(Backend, "worker-1", "w1"), vec![]),
        (2, Subscribed(id("gone")), vec![]),
        (2, hello(Backend, "worker-2", "gone"), vec![]),
        (3, Unsubscribed(id("gone")), vec![]),
        (5, Ready, vec![greet(Backend, "w1")]),
        (105, Tick, vec![greet(Cluster, "w1")]),
        (106, hello(Cluster, "worker-1", "w1"), up("worker-1", "w1")),
        // Later ones make no difference.
        (200, Ready, vec![]),
        (201, Subscribed(id("w2")), vec![greet(Backend, "w2")]),
    ]);
    assert!(machine.is_settled());
}

#[test]
fn a_new_node_ends_where_one_of_its_name_answers() {
    let taken = vec![NameTaken(id(OLD))];
    let machine = run_new([
        (0, Subscribed(id("w1")), vec![]),
        (1, Subscribed(id(OLD)), vec![]),
        (5, Ready, vec![greet(Backend, OLD)]),
        (6, hello(Backend, "manager", OLD), vec![]),
        (7, hello(Backend, "worker-1", "w1"), vec![]),
        (106, hello(Cluster, "manager", OLD), taken.clone()),
    ]);
    assert!(!machine.is_settled());
    // Its first hello may be late, or have come before we asked.
    run_new([
        (1, hello(Backend, "manager", OLD), vec![]),
        (2, Subscribed(id(OLD)), vec![]),
        (5, Ready, vec![greet(Backend, OLD)]),
        (106, hello(Cluster, "manager", OLD), taken.clone()),
    ]);
    // A Zeek node does not wait between its hellos.
    run_new([
        (1, Subscribed(id(OLD)), vec![]),
        (5, Ready, vec![greet(Backend, OLD)]),
        (6, hello(Cluster, "manager", OLD), taken),
    ]);
}

#[test]
fn a_new_node_takes_the_place_of_one_that_does_not_answer() {
    for (at, end) in [
        (6, Unsubscribed(id(OLD))),
        (ANSWER_DUE, Tick),
        // What looked like our name was the beginning of another.
        (6, hello(Backend, "manager_2", OLD)),
    ] {
        let answers = matches!(end, Input::Hello(..));
        let machine = run_new([
            (0, Subscribed(id("w1")), vec![]),
            (1, Subscribed(id(OLD)), vec![]),
            (5, Ready, vec![greet(Backend, OLD)]),
            (5, Tick, vec![]),
            // No peer gets a first hello twice.
            (at, end, vec![greet(Backend, "w1")]),
            (at + 100, Tick, if answers { vec![greet(Cluster, OLD)] } else { vec![] }),
        ]);
        assert!(machine.is_settled());
    }
}

#[test]
fn of_two_new_ones_one_stays() {
    let asked = |other: &str| {
        let greeted = hello(Backend, "manager", other);
        [
            (1, Subscribed(id(other)), vec![]),
            (5, Ready, vec![greet(Backend, other)]),
            (6, greeted, vec![]),
            (ANSWER_DUE - 1, Tick, vec![]),
        ]
    };
    let ends = (ANSWER_DUE, Tick, vec![NameTaken(id(LOWER))]);
    run_new(asked(LOWER).into_iter().chain([ends]));
    // The other one ends: we answer it.
    let stays = (ANSWER_DUE, Tick, vec![]);
    let answer = (ANSWER_DUE + 100, Tick, vec![greet(Cluster, OLD)]);
    run_new(asked(OLD).into_iter().chain([stays, answer]));
}

#[test]
fn a_loss_of_the_connection_asks_anew() {
    run_new([
        (0, Subscribed(id(OLD)), vec![]),
        (1, hello(Backend, "worker-1", "w1"), vec![]),
        (5, Ready, vec![greet(Backend, OLD)]),
        (6, Disconnected, vec![]),
        (7, Connected, vec![]),
        (ANSWER_DUE, Tick, vec![]),
        (ANSWER_DUE + 1, Subscribed(id("w1")), vec![]),
        (ANSWER_DUE + 2, Ready, vec![greet(Backend, "w1")]),
        (ANSWER_DUE + 102, Tick, vec![greet(Cluster, "w1")]),
    ]);
}

#[test]
fn strangers_cannot_keep_a_new_node_from_taking_part() {
    let start = Instant::now();
    let mut machine = Membership::new(settings());
    let long = id(&"x".repeat(MAX_ID_LEN + 1));
    assert_eq!(
        machine.handle(Subscribed(long.clone()), start),
        [Warn(Warning::TooMany(long.clone()))]
    );
    for i in 1..MAX_ENTRIES {
        assert_eq!(machine.handle(Subscribed(id(&format!("x{i}"))), start), []);
    }
    let actions = machine.handle(Subscribed(id("x0")), start);
    assert_eq!((actions.len(), machine.is_settled()), (MAX_ENTRIES, true));
}
