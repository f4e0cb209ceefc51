//! [`Senders`]: what a master remembers of each client, so that no command is executed twice. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::log::encoded;
use crate::peers::ErrorCode;
use crate::store::backend::{ClientId, Record};
use crate::store::limits::{MAX_CLIENTS, MAX_IN_FLIGHT_BYTES, MAX_REMEMBERED_BYTES};
use crate::store::protocol::Answer;
use crate::value::{Value, to_value};

/// One client.
#[derive(Debug, Default)]
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
    /// When it was heard last, in requests of all clients.
    heard: u64,
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

/// All clients, those that were silent the longest are forgotten first.
#[derive(Debug, Default)]
pub(super) struct Senders {
    clients: HashMap<ClientId, Sender, ahash::RandomState>,
    by_time: BTreeMap<u64, ClientId>,
    time: u64,
    bytes: usize,
}

impl Senders {
    /// A request arrived: everything below `oldest` is settled.
    pub(super) fn heard(&mut self, client: &ClientId, oldest: u64) {
        self.time += 1;
        let sender = self.clients.entry(client.clone()).or_default();
        self.by_time.remove(&sender.heard);
        sender.heard = self.time;
        self.by_time.insert(self.time, client.clone());
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
        while self.clients.len() > MAX_CLIENTS {
            let Some((_, client)) = self.by_time.pop_first() else { return };
            self.bytes -= self.clients.remove(&client).map_or(0, |sender| sender.bytes);
        }
    }

    /// What to do with a command of a client that was [`Senders::heard`].
    pub(super) fn verdict(&self, client: &ClientId, id: u64) -> Verdict {
        let Some(sender) = self.clients.get(client) else { return Verdict::Gap };
        match id {
            // It gets its answers before there are more.
            _ if id == sender.next && sender.bytes > MAX_IN_FLIGHT_BYTES => Verdict::Gap,
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
        while self.bytes > MAX_REMEMBERED_BYTES {
            // Not those that have none, which are most.
            let has_answers = |client: &&ClientId| {
                self.clients.get(*client).is_some_and(|sender| sender.bytes > 0)
            };
            let Some(client) = self.by_time.values().find(has_answers).cloned() else { return };
            if let Some(sender) = self.clients.remove(&client) {
                self.by_time.remove(&sender.heard);
                self.bytes -= sender.bytes;
            }
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
    pub(super) fn restore(&mut self, client: &ClientId, next: u64, oldest: u64) {
        self.heard(client, oldest);
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
        let mut senders = Senders::default();
        let c = client(1);
        senders.heard(&c, 1);
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
        senders.heard(&c, 5);
        assert_eq!(senders.verdict(&c, 4), Verdict::Ignore);
        assert_eq!(senders.verdict(&c, 5), Verdict::Execute);
        assert_eq!(senders.bytes, 0);
        assert_eq!(senders.verdict(&client(2), 1), Verdict::Gap);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut senders = Senders::default();
        for number in 0..MAX_CLIENTS as u64 + 10 {
            senders.heard(&client(number), 1);
        }
        assert_eq!((senders.clients.len(), senders.by_time.len()), (MAX_CLIENTS, MAX_CLIENTS));
        assert_eq!(senders.next(&client(9)), None);
        assert_eq!(senders.next(&client(10)), Some(1));
        let large = Value::string(vec![0; 1 << 20]);
        for number in 50..60 {
            assert_eq!(senders.verdict(&client(number), 1), Verdict::Execute);
            for id in 1..=16 {
                senders.remember(&client(number), Answer::new(id, 1, Ok(large.clone())));
            }
            assert_eq!(senders.verdict(&client(number), 1), Verdict::Gap, "it must read first");
        }
        assert!(senders.bytes <= MAX_REMEMBERED_BYTES, "{}", senders.bytes);
        assert_eq!((senders.next(&client(50)), senders.next(&client(49))), (None, Some(1)));
        senders.heard(&client(59), 17);
        assert_eq!(senders.verdict(&client(59), 17), Verdict::Execute);
    }
}
