//! [`Senders`]: what a master remembers of each client, so that no command is executed twice. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::log::encoded;
use crate::peers::ErrorCode;
use crate::store::backend::{ClientId, Record};
use crate::store::limits::{MAX_CLIENTS, MAX_IN_FLIGHT_BYTES, MAX_REMEMBERED_BYTES};
use crate::store::protocol::Answer;
use crate::value::{Value, to_value};

/// How long a client is silent until it may be forgotten: it would have sent again what it waits for.
const SILENT: Duration = Duration::from_secs(60);

/// One client.
#[derive(Debug)]
struct Sender {
    /// The id of the command that is expected.
    next: u64,
    /// Its first command that is not settled for it.
    oldest: u64,
    /// Answers to changes.
    answers: BTreeMap<u64, Answer>,
    /// Which of them the backend must be given with the next change of the client: that a command succeeded goes
    /// without saying.
    unkept: BTreeSet<u64>,
    /// The size of its answers.
    bytes: usize,
    /// When it was heard last, and in which request of all clients.
    heard: Instant,
    turn: u64,
}

impl Sender {
    fn new(now: Instant) -> Self {
        Sender {
            next: 0,
            oldest: 0,
            answers: BTreeMap::new(),
            unkept: BTreeSet::new(),
            bytes: 0,
            heard: now,
            turn: 0,
        }
    }
}

/// What to do with a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is the next one.
    Execute,
    /// It was executed; this is the answer. After a restart only those with a value are known.
    Repeat(Option<Answer>),
    /// Its client does not wait for it any more.
    Ignore,
    /// Commands before it are missing.
    Gap,
}

/// All clients. Those that were silent for long are forgotten when there is no room.
#[derive(Debug, Default)]
pub(super) struct Senders {
    clients: HashMap<ClientId, Sender, ahash::RandomState>,
    by_turn: BTreeMap<u64, ClientId>,
    turn: u64,
    bytes: usize,
}

impl Senders {
    /// A request arrived: the client waits for nothing below `oldest`. `false` if there are too many clients to remember
    /// another one.
    pub(super) fn heard(&mut self, client: &ClientId, oldest: u64, now: Instant) -> bool {
        self.forget_silent(now);
        if self.clients.len() >= MAX_CLIENTS && !self.clients.contains_key(client) {
            return false;
        }
        self.turn += 1;
        let sender = self.clients.entry(client.clone()).or_insert_with(|| Sender::new(now));
        self.by_turn.remove(&sender.turn);
        (sender.turn, sender.heard) = (self.turn, now);
        self.by_turn.insert(self.turn, client.clone());
        if oldest > sender.oldest {
            sender.oldest = oldest;
            sender.next = sender.next.max(oldest);
            sender.unkept = sender.unkept.split_off(&oldest);
            let kept = sender.answers.split_off(&oldest);
            let settled = std::mem::replace(&mut sender.answers, kept);
            let bytes = settled.values().map(Answer::size).sum::<usize>();
            sender.bytes -= bytes;
            self.bytes -= bytes;
        }
        true
    }

    /// Forgets clients that were silent for long, while there is too much to remember.
    fn forget_silent(&mut self, now: Instant) {
        while self.clients.len() >= MAX_CLIENTS || self.bytes > MAX_REMEMBERED_BYTES {
            let Some(entry) = self.by_turn.first_entry() else { return };
            let is_silent = |sender: &Sender| sender.heard + SILENT <= now;
            if !self.clients.get(entry.get()).is_none_or(is_silent) {
                return;
            }
            let client = entry.remove();
            self.bytes -= self.clients.remove(&client).map_or(0, |sender| sender.bytes);
        }
    }

    /// What to do with a command of a client that was [`Senders::heard`].
    pub(super) fn verdict(&self, client: &ClientId, id: u64) -> Verdict {
        let Some(sender) = self.clients.get(client) else { return Verdict::Gap };
        match id {
            // Clients get their answers before there are more.
            _ if id == sender.next
                && (sender.bytes > MAX_IN_FLIGHT_BYTES || self.bytes > MAX_REMEMBERED_BYTES) =>
            {
                Verdict::Gap
            }
            _ if id == sender.next => Verdict::Execute,
            _ if id > sender.next => Verdict::Gap,
            _ if id < sender.oldest => Verdict::Ignore,
            _ => Verdict::Repeat(sender.answers.get(&id).cloned()),
        }
    }

    /// The next command of a client was executed, or need not be.
    pub(super) fn executed(&mut self, client: &ClientId) {
        if let Some(sender) = self.clients.get_mut(client) {
            sender.next = sender.next.saturating_add(1);
        }
    }

    /// The commands of a client before that one have ended: it was answered, or has given them up.
    pub(super) fn ended(&mut self, client: &ClientId, id: u64) {
        if let Some(sender) = self.clients.get_mut(client) {
            sender.next = sender.next.max(id);
        }
    }

    /// Remembers the answer to a change.
    pub(super) fn remember(&mut self, client: &ClientId, answer: Answer) {
        if let Some(sender) = self.clients.get_mut(client) {
            let size = answer.size();
            if says_more(&answer) {
                sender.unkept.insert(answer.id);
            }
            let old = sender.answers.insert(answer.id, answer).map_or(0, |old| old.size());
            sender.bytes = sender.bytes + size - old;
            self.bytes = self.bytes + size - old;
        }
    }

    /// The `next` of a client.
    pub(super) fn next(&self, client: &ClientId) -> Option<u64> {
        self.clients.get(client).map(|sender| sender.next)
    }

    /// What the backend is to keep of a client, for another master after this one.
    pub(super) fn take_unkept(&mut self, client: &ClientId) -> Vec<Record> {
        let Some(sender) = self.clients.get_mut(client) else { return Vec::new() };
        let (next, oldest) = (sender.next, sender.oldest);
        let mut records = vec![Record::Client { client: client.clone(), next, oldest }];
        for id in std::mem::take(&mut sender.unkept) {
            if let Some(Ok(answer)) = sender.answers.get(&id).map(to_value) {
                let answer = encoded(&answer);
                records.push(Record::Answer { client: client.clone(), id, answer });
            }
        }
        records
    }

    /// The backend did not keep it.
    pub(super) fn not_kept(&mut self, client: &ClientId) {
        if let Some(sender) = self.clients.get_mut(client) {
            let answers = sender.answers.values().filter(|answer| says_more(answer));
            sender.unkept = answers.map(|answer| answer.id).collect();
        }
    }

    /// What the backend has kept of a client.
    pub(super) fn restore(&mut self, client: &ClientId, next: u64, oldest: u64, now: Instant) {
        self.heard(client, oldest, now);
        if let Some(sender) = self.clients.get_mut(client) {
            sender.next = sender.next.max(next);
        }
    }

    /// An answer that the backend has kept. A change of an earlier epoch is in all contents of this one.
    pub(super) fn restore_answer(&mut self, client: &ClientId, mut answer: Answer) {
        let id = answer.id;
        answer.sequence = 0;
        self.remember(client, answer);
        if let Some(sender) = self.clients.get_mut(client) {
            sender.unkept.remove(&id);
        }
    }
}

/// Whether an answer says more than that the command succeeded.
fn says_more(answer: &Answer) -> bool {
    answer.code != ErrorCode::NoError || answer.value != Value::None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u64) -> ClientId {
        ClientId { process: "process".into(), number }
    }

    #[test]
    fn commands_are_executed_once_and_in_order() {
        let (mut senders, now) = (Senders::default(), Instant::now());
        let c = client(1);
        senders.heard(&c, 1, now);
        assert_eq!(senders.verdict(&c, 2), Verdict::Gap);
        assert_eq!(senders.verdict(&c, 1), Verdict::Execute);
        senders.executed(&c);
        let answer = Answer::new(1, 7, Ok(Value::Boolean(true)));
        senders.remember(&c, answer.clone());
        assert_eq!(senders.verdict(&c, 1), Verdict::Repeat(Some(answer)));
        assert_eq!(senders.verdict(&c, 2), Verdict::Execute);
        senders.executed(&c);
        assert_eq!(senders.verdict(&c, 2), Verdict::Repeat(None));
        // The client gave up 3 and 4.
        senders.heard(&c, 5, now);
        assert_eq!(senders.verdict(&c, 4), Verdict::Ignore);
        assert_eq!(senders.verdict(&c, 5), Verdict::Execute);
        assert_eq!(senders.bytes, 0);
        assert_eq!(senders.verdict(&client(2), 1), Verdict::Gap);
    }

    #[test]
    fn only_clients_that_are_silent_are_forgotten() {
        let (mut senders, start) = (Senders::default(), Instant::now());
        for number in 0..MAX_CLIENTS as u64 {
            assert!(senders.heard(&client(number), 1, start));
        }
        assert!(
            !senders.heard(&client(1 << 40), 1, start + SILENT / 2),
            "all may wait for answers"
        );
        assert!(senders.heard(&client(0), 1, start + SILENT / 2));
        assert!(senders.heard(&client(1 << 40), 1, start + SILENT));
        assert_eq!((senders.next(&client(0)), senders.next(&client(1))), (Some(1), None));
        assert_eq!((senders.clients.len(), senders.by_turn.len()), (MAX_CLIENTS, MAX_CLIENTS));
    }

    #[test]
    fn clients_get_their_answers_before_there_are_more() {
        let (mut senders, start) = (Senders::default(), Instant::now());
        let large = Value::string(vec![0; 1 << 20]);
        for number in 1..=4 {
            senders.heard(&client(number), 1, start);
            assert_eq!(senders.verdict(&client(number), 1), Verdict::Execute);
            for id in 1..=16 {
                senders.remember(&client(number), Answer::new(id, 1, Ok(large.clone())));
            }
            assert_eq!(senders.verdict(&client(number), 1), Verdict::Gap);
        }
        // There are too many of others, until they are silent for long.
        senders.heard(&client(5), 1, start + SILENT / 2);
        assert_eq!(senders.verdict(&client(5), 1), Verdict::Gap);
        senders.heard(&client(4), 17, start + SILENT / 2);
        assert_eq!(senders.verdict(&client(5), 1), Verdict::Execute);
        senders.remember(&client(5), Answer::new(1, 1, Ok(Value::string(vec![0; 20 << 20]))));
        senders.heard(&client(6), 1, start + SILENT);
        assert_eq!(senders.verdict(&client(6), 1), Verdict::Execute);
        assert_eq!((senders.next(&client(1)), senders.next(&client(4))), (None, Some(17)));
    }
}
