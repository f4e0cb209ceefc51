//! Messages that no honest peer sends: nothing panics, and nothing grows without bound.

use std::time::{Duration, Instant};

use bstr::BStr;
use proptest::prelude::*;

use super::simulation::TIMES;
use crate::Value;
use crate::peers::ErrorCode;
use crate::store::expiry::Expiry;
use crate::store::follower::Follower;
use crate::store::master::Master;
use crate::store::operation::Operation;
use crate::store::protocol::{
    Answer, Answers, Change, Changes, Chunk, Command, Kind, Message, Moment, Probe, Pull, Request,
    SentEntry, Status, Sync,
};
use crate::value::{Timespan, Timestamp};

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..5_u64, 995..1005_u64, u64::MAX - 3..=u64::MAX]
}

fn expiry() -> impl Strategy<Value = Option<Expiry>> {
    let extreme = || prop_oneof![Just(i64::MIN), Just(-1), Just(0), Just(1), Just(i64::MAX)];
    let expiry = (extreme(), prop::option::of(extreme())).prop_map(|(at, lifetime)| Expiry {
        expires: Timestamp(at),
        lifetime: lifetime.map(Timespan),
    });
    prop::option::of(expiry)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::None),
        (0..3_u64).prop_map(Value::from),
        Just(Value::from(i64::MIN)),
        Just(Value::Vector(vec![])),
        Just(Value::Set([1_u64.into()].into())),
        Just(Value::Timestamp(Timestamp(i64::MAX))),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let arguments = prop::collection::vec(value(), 0..3);
    let operation = prop::sample::select(Operation::ALL);
    (number(), operation, value(), arguments, expiry()).prop_map(
        |(id, operation, key, arguments, expiry)| Command { id, operation, key, arguments, expiry },
    )
}

fn change() -> impl Strategy<Value = Change> {
    let kind = prop_oneof![
        Just(Kind::Insert),
        Just(Kind::Update),
        Just(Kind::Erase),
        Just(Kind::Expire),
        Just(Kind::Clear)
    ];
    (kind, value(), value(), expiry()).prop_map(|(kind, key, value, expiry)| Change {
        kind,
        key,
        value,
        expiry,
        by: "x".into(),
    })
}

fn message() -> impl Strategy<Value = Message> {
    let store = || bstr::BString::from("s");
    let n = number;
    let answers = prop::collection::vec((number(), number(), value()), 0..3);
    let entries = prop::collection::vec((value(), value(), expiry()), 0..3);
    prop_oneof![
        (n(), n(), prop::collection::vec(command(), 0..5)).prop_map(
            move |(client, oldest, commands)| {
                Request { store: store(), client, oldest, commands }.into()
            }
        ),
        (n(), n(), n()).prop_map(move |(client, epoch, sequence)| {
            Sync { store: store(), client, epoch, sequence }.into()
        }),
        (n(), n(), n()).prop_map(move |(client, session, position)| {
            Pull { store: store(), client, session, position }.into()
        }),
        n().prop_map(move |epoch| Probe { store: store(), epoch }.into()),
        (n(), n(), n(), answers).prop_map(move |(client, epoch, next, answers)| {
            let answers = answers.into_iter().map(|(id, sequence, value)| Answer {
                id,
                sequence,
                code: ErrorCode::NoError,
                value,
                text: None,
            });
            Answers { store: store(), client, epoch, next, answers: answers.collect() }.into()
        }),
        (n(), n(), prop::collection::vec(change(), 0..5)).prop_map(
            move |(epoch, first, changes)| Changes { store: store(), epoch, first, changes }.into()
        ),
        ((n(), n(), n()), (n(), n(), n(), n()), entries).prop_map(
            move |((client, epoch, session), (total, begin, end, sequence), entries)| {
                let entries = entries.into_iter();
                let entries =
                    entries.map(|(key, value, expiry)| SentEntry { key, value, expiry }).collect();
                Chunk {
                    store: store(),
                    client,
                    epoch,
                    session,
                    total,
                    begin,
                    end,
                    sequence,
                    entries,
                }
                .into()
            }
        ),
        (n(), n(), n(), any::<bool>()).prop_map(move |(epoch, sequence, answers, is_open)| {
            Status { store: store(), epoch, sequence, is_open, answers }.into()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics(
        is_clone in any::<bool>(),
        messages in prop::collection::vec((message(), 0..2_usize, 0..3000_u64), 0..60),
    ) {
        let start = Instant::now();
        let at = |millis: u64| Moment {
            instant: start + Duration::from_millis(millis),
            time: Timestamp(5_000_000_000 + i64::try_from(millis).unwrap() * 1_000_000),
        };
        let mut master = Master::new("s".into(), 1024, true, at(0));
        master.watch();
        let mut follower = Follower::new("s".into(), 1, is_clone, TIMES, at(0));
        follower.watch();
        let mut time = 2000;
        master.bus_is_ready(at(0));
        master.tick(at(time));
        for (message, from, millis) in messages {
            let from = BStr::new(["a", "b"][from]);
            time += millis;
            let now = at(time);
            follower.submit(Ok(super::command(Operation::Increment, "k", vec![1_u64.into()])), None, now);
            match message {
                Message::Request(request) => master.request(from, request, now),
                Message::Sync(sync) => master.sync(from, &sync, now),
                Message::Pull(pull) => master.pull(from, &pull, now),
                Message::Probe(probe) => master.probe(&probe),
                Message::Answers(answers) => follower.answers(from, answers, now),
                Message::Changes(changes) => follower.changes(from, changes, now),
                Message::Chunk(chunk) => follower.chunk(from, chunk, now),
                Message::Status(status) => {
                    follower.status(from, &status, now);
                    if status.epoch > 1000 {
                        master.status(&status);
                    }
                }
                Message::List(_) | Message::Info(_) => {}
            }
            let mut outputs = Vec::new();
            master.tick(now);
            master.flush(now, &mut outputs);
            follower.tick(now);
            follower.flush(now, &mut outputs);
            prop_assert!(outputs.len() < 200, "{}", outputs.len());
            _ = (master.deadline(now), follower.deadline());
        }
    }
}
