//! What is in a file is what was committed.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::Connection;

use super::super::records::{KEPT, MAX_CLIENTS};
use super::*;
use crate::store::Expiry;
use crate::value::{Timespan, Timestamp};

#[test]
fn a_new_file_has_nothing() {
    let (_dir, path) = place();
    assert_eq!(load(&path).1, []);
    assert_eq!(load(&path).1, []);
}

#[test]
fn every_kind_of_record_comes_back() {
    let (_dir, path) = place();
    let (a, b) = (client("worker-1", 7), client("", u64::MAX));
    let time = Timestamp(i64::MIN);
    let kept = vec![
        Record::Epoch(u64::MAX),
        put("", ""),
        put(vec![0; 2 << 20], vec![255; 5 << 20]),
        Record::Put {
            key: b"at".to_vec(),
            value: vec![1],
            expiry: Some(Expiry { expires: time, lifetime: None }),
        },
        Record::Put {
            key: b"after".to_vec(),
            value: vec![2],
            expiry: Some(Expiry { expires: time, lifetime: Some(Timespan(i64::MAX)) }),
        },
        Record::Client { client: b.clone(), next: u64::MAX, oldest: 1 << 63 },
        Record::Client { client: a.clone(), next: 3, oldest: 1 },
        Record::Answer { client: a.clone(), id: 1, answer: vec![] },
        Record::Answer { client: a, id: 2, answer: vec![9; 1 << 20] },
        Record::Answer { client: b, id: 1 << 63, answer: vec![3] },
    ];
    open(&path).commit(kept.clone()).unwrap();
    assert!(load(&path).1 == kept);
    // What comes later replaces it.
    let (mut backend, _) = load(&path);
    let later = vec![
        Record::Clear,
        Record::Epoch(1),
        put("b", "1"),
        put("b", "2"),
        put("c", "3"),
        Record::Erase { key: b"c".to_vec() },
        Record::Erase { key: b"not there".to_vec() },
    ];
    backend.commit(later).unwrap();
    drop(backend);
    let (_, found) = load(&path);
    assert_eq!(found[..2], [Record::Epoch(1), put("b", "2")]);
    assert!(found[2..] == kept[5..]);
}

#[test]
fn clients_that_were_silent_for_a_day_are_forgotten_with_their_answers() {
    let (_dir, path) = place();
    let mut batch = Vec::new();
    for name in ["silent", "busy"] {
        let client = client(name, 1);
        batch.push(Record::Client { client: client.clone(), next: 2, oldest: 1 });
        batch.push(Record::Answer { client, id: 1, answer: vec![] });
    }
    // Nor are answers to nobody kept.
    batch.push(Record::Answer { client: client("nobody", 1), id: 1, answer: vec![] });
    open(&path).commit(batch.clone()).unwrap();
    let conn = Connection::open(&path).unwrap();
    let sql = "UPDATE clients SET last_use = last_use - ?1 WHERE process = CAST('silent' AS BLOB)";
    assert_eq!(conn.execute(sql, [KEPT]).unwrap(), 1);
    drop(conn);
    assert_eq!(load(&path).1, batch[2..4]);
}

#[test]
fn of_too_many_clients_those_that_were_silent_the_longest_are_forgotten() {
    let (_dir, path) = place();
    let record = |n| Record::Client { client: client("a", n), next: 1, oldest: 1 };
    let (mut backend, _) = load(&path);
    backend.commit((0..MAX_CLIENTS).map(record).collect()).unwrap();
    backend.commit((0..10).map(record).collect()).unwrap();
    assert_eq!(load_again(backend, &path).1.len() as u64, MAX_CLIENTS);
    let (mut backend, _) = load(&path);
    backend.commit(vec![record(MAX_CLIENTS)]).unwrap();
    let (_, found) = load_again(backend, &path);
    assert!((found.len() as u64) < MAX_CLIENTS);
    for used in (0..10).chain([MAX_CLIENTS]) {
        assert!(found.contains(&record(used)), "{used}");
    }
}

fn load_again(backend: Sqlite, path: &Path) -> (Sqlite, Vec<Record>) {
    drop(backend);
    load(path)
}

#[test]
fn the_log_is_reused_and_does_not_outlive_the_store() {
    let (_dir, path) = place();
    let log = path.with_file_name("store.sqlite-wal");
    let size = || fs::metadata(&log).unwrap().len();
    let mut backend = open(&path);
    let mut sizes = Vec::new();
    for round in 0..5000_u32 {
        backend.commit(vec![put((round % 100).to_be_bytes(), vec![1; 100])]).unwrap();
        sizes.push(size());
    }
    assert!(sizes.is_sorted() && sizes[4999] < 5 << 20, "{}", sizes[4999]);
    // After a large batch, most of it goes.
    backend.commit((0..30_u8).map(|n| put(vec![n], vec![n; 1 << 20])).collect()).unwrap();
    assert!(size() > 30 << 20);
    backend.commit(vec![put("a", "b")]).unwrap();
    assert!(size() <= 16 << 20);
    drop(backend);
    assert!(!log.exists());
}

/// What should be in a file.
#[derive(Clone, Debug, Default)]
struct Model {
    epoch: Option<u64>,
    entries: BTreeMap<Vec<u8>, (Vec<u8>, Option<Expiry>)>,
    clients: BTreeMap<ClientId, (u64, u64)>,
    answers: BTreeMap<(ClientId, u64), Vec<u8>>,
}

impl Model {
    fn apply(&mut self, record: Record) {
        match record {
            Record::Put { key, value, expiry } => {
                self.entries.insert(key, (value, expiry));
            }
            Record::Erase { key } => {
                self.entries.remove(&key);
            }
            Record::Clear => self.entries.clear(),
            Record::Epoch(epoch) => self.epoch = Some(epoch),
            Record::Client { client, next, oldest } => {
                self.answers.retain(|(of, id), _| *of != client || *id >= oldest);
                self.clients.insert(client, (next, oldest));
            }
            Record::Answer { client, id, answer } => {
                self.answers.insert((client, id), answer);
            }
        }
    }

    /// As it is after loading.
    fn forget_orphans(&mut self) {
        self.answers.retain(|(client, _), _| self.clients.contains_key(client));
    }

    fn records(&self) -> Vec<Record> {
        let entries = self.entries.iter().map(|(key, (value, expiry))| Record::Put {
            key: key.clone(),
            value: value.clone(),
            expiry: *expiry,
        });
        let clients = self.clients.iter().map(|(client, (next, oldest))| Record::Client {
            client: client.clone(),
            next: *next,
            oldest: *oldest,
        });
        let answers = self.answers.iter().map(|((client, id), answer)| Record::Answer {
            client: client.clone(),
            id: *id,
            answer: answer.clone(),
        });
        let epoch = self.epoch.map(Record::Epoch);
        epoch.into_iter().chain(entries).chain(clients).chain(answers).collect()
    }
}

fn a_count() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..5, (1_u64 << 63) - 2..=(1 << 63) + 2, u64::MAX - 2..=u64::MAX]
}

fn a_client() -> impl Strategy<Value = ClientId> {
    ("[ab]?", a_count()).prop_map(|(process, number)| client(&process, number))
}

fn an_expiry() -> impl Strategy<Value = Option<Expiry>> {
    any::<Option<(i64, Option<i64>)>>().prop_map(|expiry| {
        expiry.map(|(expires, lifetime)| Expiry {
            expires: Timestamp(expires),
            lifetime: lifetime.map(Timespan),
        })
    })
}

fn a_record() -> impl Strategy<Value = Record> {
    let key = || vec(0_u8..3, 0..3);
    // Some beyond a page.
    let value = || prop_oneof![9 => vec(any::<u8>(), 0..50), 1 => vec(any::<u8>(), 5000..5010)];
    prop_oneof![
        8 => (key(), value(), an_expiry())
            .prop_map(|(key, value, expiry)| Record::Put { key, value, expiry }),
        4 => key().prop_map(|key| Record::Erase { key }),
        1 => Just(Record::Clear),
        1 => any::<u64>().prop_map(Record::Epoch),
        4 => (a_client(), any::<u64>(), a_count())
            .prop_map(|(client, next, oldest)| Record::Client { client, next, oldest }),
        4 => (a_client(), a_count(), value())
            .prop_map(|(client, id, answer)| Record::Answer { client, id, answer }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_has_what_a_map_would_have(sessions in vec(vec(vec(a_record(), 0..20), 0..5), 1..4)) {
        let (_dir, path) = place();
        let mut model = Model::default();
        for batches in sessions {
            let (mut backend, _) = load(&path);
            model.forget_orphans();
            for batch in batches {
                for record in &batch {
                    model.apply(record.clone());
                }
                backend.commit(batch).unwrap();
            }
        }
        model.forget_orphans();
        let (_, mut found) = load(&path);
        let mut expected = model.records();
        // The order within each kind is any; that of the kinds is checked.
        let kinds: Vec<_> = found.iter().map(std::mem::discriminant).collect();
        let expected_kinds: Vec<_> = expected.iter().map(std::mem::discriminant).collect();
        prop_assert_eq!(kinds, expected_kinds);
        let by_text = |record: &Record| format!("{record:?}");
        found.sort_by_cached_key(by_text);
        expected.sort_by_cached_key(by_text);
        prop_assert_eq!(found, expected);
    }
}
