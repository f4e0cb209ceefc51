//! Each error, and what it says of the change that it is about.

use std::time::Duration;

use super::command;
use super::simulation::Simulation;
use crate::Value;
use crate::peers::ErrorCode;
use crate::store::StoreError;
use crate::store::expiry::Expiry;
use crate::store::limits::MAX_WAITING;
use crate::store::master::Master;
use crate::store::operation::Operation;
use crate::store::output::{Output, Ticket};
use crate::store::protocol::{Message, Moment, Status};
use crate::value::Timestamp;

const MASTER: usize = 0;
const CLONE: usize = 1;
const FRONTEND: usize = 2;

fn open(has_file: bool) -> Simulation {
    let mut simulation = Simulation::new(1, has_file);
    simulation.advance(Duration::from_secs(2));
    deliver_all(&mut simulation);
    simulation
}

fn deliver_all(simulation: &mut Simulation) {
    while simulation.deliver(0, false, false) {}
}

fn lose_all(simulation: &mut Simulation) {
    while simulation.deliver(0, true, false) {}
}

fn put(simulation: &mut Simulation, process: usize, value: impl Into<Value>) -> Ticket {
    simulation.submit(process, command(Operation::Put, "k", vec![value.into()]))
}

fn get(simulation: &mut Simulation, process: usize) -> Ticket {
    simulation.submit(process, command(Operation::Get, "k", vec![]))
}

fn result(
    simulation: &Simulation,
    process: usize,
    ticket: Ticket,
) -> Option<Result<Value, ErrorCode>> {
    let result = simulation.processes[process].results.get(&ticket)?;
    Some(result.clone().map_err(|StoreError { code, .. }| code))
}

#[test]
fn what_was_sent_times_out_and_what_was_not_has_no_master() {
    let mut simulation = open(false);
    let sent = put(&mut simulation, FRONTEND, 1_u64);
    lose_all(&mut simulation);
    // The master says that it is there, but answers nothing.
    for _ in 0..12 {
        simulation.advance(Duration::from_secs(1));
        while simulation.deliver(usize::MAX, false, false) {
            // Only what it says to all arrives: requests are in the first link.
            lose_requests(&mut simulation);
        }
    }
    assert_eq!(result(&simulation, FRONTEND, sent), Some(Err(ErrorCode::RequestTimeout)));

    let mut simulation = open(false);
    simulation.kill_master(false);
    let unsent = put(&mut simulation, FRONTEND, 1_u64);
    simulation.advance(Duration::from_secs(11));
    assert_eq!(result(&simulation, FRONTEND, unsent), Some(Err(ErrorCode::NoSuchMaster)));
}

fn lose_requests(simulation: &mut Simulation) {
    for from in [CLONE, FRONTEND] {
        simulation.lose(from, MASTER);
    }
}

#[test]
fn a_clone_answers_until_it_is_stale() {
    let mut simulation = open(false);
    let stored = put(&mut simulation, CLONE, 1_u64);
    deliver_all(&mut simulation);
    assert_eq!(result(&simulation, CLONE, stored), Some(Ok(Value::None)));
    simulation.kill_master(false);
    simulation.advance(Duration::from_secs(299));
    let fresh = get(&mut simulation, CLONE);
    assert_eq!(result(&simulation, CLONE, fresh), Some(Ok(1_u64.into())));
    simulation.advance(Duration::from_secs(2));
    let stale = get(&mut simulation, CLONE);
    assert_eq!(result(&simulation, CLONE, stale), Some(Err(ErrorCode::StaleData)));

    // A master brings it back, with what that has.
    simulation.start_master();
    simulation.advance(Duration::from_secs(2));
    deliver_all(&mut simulation);
    let again = get(&mut simulation, CLONE);
    assert_eq!(result(&simulation, CLONE, again), Some(Err(ErrorCode::NoSuchKey)));
}

#[test]
fn changes_wait_for_a_master_that_is_away() {
    let mut simulation = open(true);
    simulation.kill_master(false);
    let (kept, late) = (put(&mut simulation, CLONE, 1_u64), put(&mut simulation, CLONE, 2_u64));
    simulation.advance(Duration::from_secs(100));
    assert_eq!(result(&simulation, CLONE, kept), None);
    simulation.start_master();
    simulation.quiesce();
    assert_eq!(result(&simulation, CLONE, late), Some(Ok(Value::None)));
    assert_eq!(result(&simulation, CLONE, kept), Some(Ok(Value::None)));

    simulation.kill_master(false);
    let lost = put(&mut simulation, CLONE, 3_u64);
    simulation.advance(Duration::from_secs(121));
    assert_eq!(result(&simulation, CLONE, lost), Some(Err(ErrorCode::NoSuchMaster)));
}

fn put_within(simulation: &mut Simulation, process: usize, millis: u64) -> Ticket {
    let put = command(Operation::Put, "k", vec![1_u64.into()]);
    simulation.submit_within(process, put, Some(Duration::from_millis(millis)))
}

#[test]
fn commands_that_were_given_up_hold_up_no_others() {
    let done = Some(Ok(Value::None));
    let mut simulation = open(false);
    simulation.kill_master(false);
    let mut kept = Vec::new();
    for _ in 0..50 {
        kept.push(put(&mut simulation, CLONE, 1_u64));
        let given_up = put_within(&mut simulation, CLONE, 100);
        simulation.advance(Duration::from_millis(100));
        let failed = Some(Err(ErrorCode::NoSuchMaster));
        assert_eq!(result(&simulation, CLONE, given_up), failed);
    }
    simulation.start_master();
    simulation.advance(Duration::from_secs(1));
    deliver_all(&mut simulation);
    for ticket in kept {
        assert_eq!(result(&simulation, CLONE, ticket), done);
    }

    // The same where it was lost, and so was the answer to the one before.
    let mut simulation = open(false);
    let first = put(&mut simulation, FRONTEND, 1_u64);
    simulation.deliver(0, false, false);
    simulation.lose(MASTER, FRONTEND);
    let given_up = put_within(&mut simulation, FRONTEND, 500);
    simulation.lose(FRONTEND, MASTER);
    simulation.advance(Duration::from_millis(500));
    let timed_out = Some(Err(ErrorCode::RequestTimeout));
    assert_eq!(result(&simulation, FRONTEND, given_up), timed_out);
    let last = put(&mut simulation, FRONTEND, 1_u64);
    deliver_all(&mut simulation);
    assert_eq!(result(&simulation, FRONTEND, first), done);
    assert_eq!(result(&simulation, FRONTEND, last), done);
}

#[test]
fn what_is_not_written_has_not_happened() {
    let mut simulation = open(true);
    let first = put(&mut simulation, FRONTEND, 1_u64);
    deliver_all(&mut simulation);
    assert_eq!(result(&simulation, FRONTEND, first), None, "it is not written yet");
    // This one comes while the first is being written, and this process sees neither.
    let (second, query) = (put(&mut simulation, MASTER, 2_u64), get(&mut simulation, MASTER));
    simulation.write(false);
    deliver_all(&mut simulation);
    for (process, ticket) in [(FRONTEND, first), (MASTER, second), (MASTER, query)] {
        let failed = Some(Err(ErrorCode::BackendFailure));
        assert_eq!(result(&simulation, process, ticket), failed, "{ticket}");
    }
    let query = get(&mut simulation, MASTER);
    assert_eq!(result(&simulation, MASTER, query), Some(Err(ErrorCode::NoSuchKey)));

    // It was for once.
    let third = put(&mut simulation, FRONTEND, 3_u64);
    deliver_all(&mut simulation);
    simulation.write(true);
    deliver_all(&mut simulation);
    assert_eq!(result(&simulation, FRONTEND, third), Some(Ok(Value::None)));
}

#[test]
fn values_have_a_limit_in_size_and_depth() {
    let mut simulation = open(false);
    let deep = (0..120).fold(Value::None, |inner, _| Value::Vector(vec![inner]));
    for (value, expected) in [
        (Value::string(vec![b'x'; 1 << 20]), Err(ErrorCode::InvalidData)),
        (Value::string(vec![b'x'; (1 << 20) - 100]), Ok(Value::None)),
        (deep, Err(ErrorCode::InvalidData)),
    ] {
        let ticket = put(&mut simulation, FRONTEND, value);
        deliver_all(&mut simulation);
        assert_eq!(result(&simulation, FRONTEND, ticket), Some(expected));
    }
}

#[test]
fn commands_that_wait_have_a_limit() {
    let mut simulation = open(false);
    simulation.kill_master(false);
    let mut last = 0;
    for _ in 0..=MAX_WAITING {
        last = put(&mut simulation, FRONTEND, 1_u64);
    }
    assert_eq!(result(&simulation, FRONTEND, last), Some(Err(ErrorCode::Unspecified)));
    assert_eq!(simulation.processes[FRONTEND].results.len(), 1);
}

#[test]
fn a_snapshot_has_what_is_added_in_the_turn_in_which_it_begins() {
    let mut simulation = open(false);
    simulation.restart(CLONE);
    put(&mut simulation, FRONTEND, 1_u64);
    // First the clone asks for a snapshot.
    simulation.deliver_within_turn(0, false, false);
    simulation.deliver(0, false, false);
    // Once it hears of the master, it asks again, in vain.
    while simulation.deliver(0, false, false) {
        simulation.lose(CLONE, MASTER);
    }
    assert_eq!(simulation.processes[CLONE].follower.len(), Some(1));
}

#[test]
fn large_contents_come_in_parts() {
    let mut simulation = open(false);
    for key in 0..2_500_u64 {
        simulation.submit(MASTER, command(Operation::Put, key, vec![key.into()]));
    }
    let large = Value::string(vec![b'x'; 200 << 10]);
    for key in 0..10_u64 {
        simulation.submit(MASTER, command(Operation::Put, key, vec![large.clone()]));
    }
    deliver_all(&mut simulation);
    simulation.restart(CLONE);
    // Changes go on while it is sent.
    for key in 0..500_u64 {
        let operation = if key % 3 == 0 { Operation::Erase } else { Operation::Put };
        let arguments = if key % 3 == 0 { vec![] } else { vec![1_u64.into()] };
        simulation.submit(MASTER, command(operation, key * 7, arguments));
        simulation.deliver(usize::try_from(key).unwrap(), key % 50 == 0, false);
    }
    simulation.quiesce();
    let clone = simulation.processes[CLONE].follower.replica().unwrap();
    assert_eq!(clone.content(), simulation.master.as_ref().unwrap().content());
}

/// What a master does in a turn at that time, and the messages that it sends.
fn turn(master: &mut Master, now: Moment) -> Vec<&'static str> {
    let mut outputs = Vec::new();
    let probe = master.tick(now);
    master.flush(now, &mut outputs);
    let sent = outputs.iter().filter_map(|output| match output {
        Output::Send(_, Message::Status(_)) => Some("status"),
        Output::Send(_, Message::Changes(_)) => Some("changes"),
        Output::Send(_, Message::Probe(_)) => Some("probe"),
        _ => None,
    });
    sent.chain(probe.map(|_| "probe")).collect()
}

fn at(seconds: u64) -> Moment {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    let start = *START.get_or_init(std::time::Instant::now);
    let time = Timestamp(i64::try_from(1_000_000 + seconds * 1_000_000_000).unwrap());
    Moment { instant: start + Duration::from_secs(seconds), time }
}

fn status(epoch: u64) -> Status {
    Status { store: "s".into(), epoch, sequence: 0, is_open: true, answers: 0 }
}

/// The response to a probe of that master.
fn response(epoch: u64, to: &Master) -> Status {
    Status { answers: to.epoch(), ..status(epoch) }
}

#[test]
fn a_master_that_finds_another_one_closes_whatever_the_clocks_say() {
    let new = |epoch_of_other: u64| {
        let mut master = Master::new("s".into(), 1024, true, at(0));
        assert_eq!(turn(&mut master, at(0)), Vec::<&str>::new(), "nobody can hear it yet");
        master.bus_is_ready(at(10));
        assert_eq!(turn(&mut master, at(10)), ["probe"]);
        // What one has said that is dead by now comes late.
        master.status(&status(epoch_of_other));
        assert!(!master.is_closed());
        master.status(&response(epoch_of_other, &master));
        master.is_closed()
    };
    assert!(new(1) && new(u64::MAX));

    // Once it is open, the one with the earlier epoch stays.
    for (other, closes) in [(1, true), (u64::MAX, false)] {
        let mut master = Master::new("s".into(), 1024, true, at(0));
        master.bus_is_ready(at(0));
        for seconds in 0..3 {
            turn(&mut master, at(seconds));
        }
        assert!(master.is_open());
        master.status(&status(other));
        assert!(!master.is_closed());
        // The later one asks the earlier one, and that says that it is there.
        let says = if closes { ["probe"] } else { ["status"] };
        assert_eq!(turn(&mut master, at(2)), says);
        master.status(&response(other, &master));
        assert_eq!(master.is_closed(), closes);
    }
}

#[test]
fn a_master_that_stood_still_asks_again() {
    let mut master = Master::new("s".into(), 1024, true, at(0));
    master.bus_is_ready(at(0));
    for seconds in 0..3 {
        turn(&mut master, at(seconds));
    }
    assert_eq!(turn(&mut master, at(3)), ["status"]);
    assert_eq!(turn(&mut master, at(60)), ["probe"]);
    assert!(!master.is_open());
    // It is told of its successor.
    master.status(&response(u64::MAX, &master));
    assert!(master.is_closed());
}

#[test]
fn what_expires_waits_while_nothing_can_be_written() {
    let mut simulation = open(true);
    let mut expiring = command(Operation::Put, "k", vec![1_u64.into()]);
    expiring.expiry = Some(Expiry::after(Duration::from_secs(5)));
    simulation.submit(MASTER, expiring);
    simulation.write(true);
    simulation.advance(Duration::from_secs(6));
    let mut failures = 0;
    while simulation.is_writing() {
        simulation.write(false);
        failures += 1;
        assert!(failures < 3, "one attempt leads to the next one");
    }
    assert_eq!(failures, 1);
    simulation.advance(Duration::from_secs(2));
    assert!(simulation.is_writing());
    simulation.write(true);
    assert_eq!(simulation.published.len(), 0);
}
