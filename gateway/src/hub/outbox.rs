//! [`Outbox`]: what waits to be sent to one client.

use std::collections::VecDeque;

use bytes::Bytes;

use super::WhenFull;

/// Bounds of what waits for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Messages.
    pub messages: usize,
    /// Their bytes. The last message may exceed them, however long it is.
    pub bytes: usize,
}

/// Events that a client missed because it read too slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// How many.
    pub dropped: u64,
    /// The sequence number of the first.
    pub from: u64,
    /// The sequence number of the last.
    pub to: u64,
}

/// What happened to a message that was to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queued {
    /// It waits; so many older events were dropped to make room.
    Yes {
        /// How many.
        dropped: u64,
    },
    /// There is no room, and the client is to be cut off.
    Overflow,
}

/// Messages in order, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Outbox {
    bounds: Bounds,
    when_full: WhenFull,
    /// Apart from answers, because only events are dropped.
    events: VecDeque<Event>,
    answers: VecDeque<Answer>,
    /// How many messages were ever queued.
    queued: u64,
    bytes: usize,
    /// What may wait beyond the bounds, because a replay has filled them. Shrinks as it is sent.
    extra: Bounds,
    lag: Option<Lag>,
}

#[derive(Debug)]
struct Event {
    /// Its place among all messages.
    place: u64,
    seq: u64,
    text: Bytes,
}

#[derive(Debug)]
struct Answer {
    place: u64,
    text: Bytes,
}

impl Outbox {
    pub(super) fn new(bounds: Bounds, when_full: WhenFull) -> Self {
        Outbox {
            bounds,
            when_full,
            events: VecDeque::new(),
            answers: VecDeque::new(),
            queued: 0,
            bytes: 0,
            extra: Bounds { messages: 0, bytes: 0 },
            lag: None,
        }
    }

    /// Queues an event.
    pub(super) fn push_event(&mut self, text: &Bytes, seq: u64) -> Queued {
        let queued = self.make_room();
        if queued != Queued::Overflow {
            self.add_event(text.clone(), seq);
        }
        queued
    }

    fn add_event(&mut self, text: Bytes, seq: u64) {
        self.bytes += text.len();
        self.queued += 1;
        self.events.push_back(Event { place: self.queued, seq, text });
    }

    /// Queues events that the client has missed, whatever the bounds are: their number is limited
    /// where they are from. As much again as fits into the bounds may follow.
    pub(super) fn push_replay(&mut self, events: impl IntoIterator<Item = (u64, Bytes)>) {
        for (seq, text) in events {
            self.extra.messages += 1;
            self.extra.bytes += text.len();
            self.add_event(text, seq);
        }
    }

    /// Queues an answer. A client that asks much and reads nothing is cut off.
    pub(super) fn push_answer(&mut self, text: Bytes) -> Queued {
        let queued = self.make_room();
        if queued != Queued::Overflow {
            self.bytes += text.len();
            self.queued += 1;
            self.answers.push_back(Answer { place: self.queued, text });
        }
        queued
    }

    fn make_room(&mut self) -> Queued {
        let mut dropped = 0;
        while !self.has_room() {
            if self.when_full == WhenFull::Close || !self.drop_oldest() {
                return Queued::Overflow;
            }
            dropped += 1;
        }
        Queued::Yes { dropped }
    }

    /// Whether another message may wait. How long it is does not matter: a client that reads as fast
    /// as it can would be cut off because of a few long ones.
    fn has_room(&self) -> bool {
        self.len() < self.bounds.messages.saturating_add(self.extra.messages)
            && self.bytes < self.bounds.bytes.saturating_add(self.extra.bytes)
    }

    /// Drops the oldest event; `false` if only answers wait.
    fn drop_oldest(&mut self) -> bool {
        let Some(Event { seq, text, .. }) = self.events.pop_front() else { return false };
        self.bytes -= text.len();
        let lag = self.lag.get_or_insert(Lag { dropped: 0, from: seq, to: seq });
        lag.dropped += 1;
        lag.to = seq;
        true
    }

    /// What was dropped since the last call. The notice about it belongs before everything that
    /// still waits.
    pub(super) fn take_lag(&mut self) -> Option<Lag> {
        self.lag.take()
    }

    /// Moves messages of up to that many bytes to `out`, at least one if any waits.
    pub(super) fn take(&mut self, out: &mut VecDeque<Bytes>, mut bytes: usize) {
        while let Some(text) = self.pop() {
            self.bytes -= text.len();
            bytes = bytes.saturating_sub(text.len());
            out.push_back(text);
            if bytes == 0 {
                break;
            }
        }
        self.extra.messages = self.extra.messages.min(self.len());
        self.extra.bytes = self.extra.bytes.min(self.bytes);
        if self.len() == 0 {
            // A burst is no reason to keep its memory for good.
            self.events.shrink_to(16);
            self.answers.shrink_to(16);
        }
    }

    /// Removes the message that was queued first.
    fn pop(&mut self) -> Option<Bytes> {
        let event = self.events.front().map(|event| event.place);
        let answer = self.answers.front().map(|answer| answer.place);
        match (event, answer) {
            (Some(event), Some(answer)) if answer < event => {}
            (Some(_), _) => return self.events.pop_front().map(|event| event.text),
            (None, _) => {}
        }
        self.answers.pop_front().map(|answer| answer.text)
    }

    pub(super) fn len(&self) -> usize {
        self.events.len() + self.answers.len()
    }

    /// Drops everything that waits.
    pub(super) fn clear(&mut self) {
        self.events = VecDeque::new();
        self.answers = VecDeque::new();
        self.bytes = 0;
        self.extra = Bounds { messages: 0, bytes: 0 };
        self.lag = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(messages: usize, bytes: usize, when_full: WhenFull) -> Outbox {
        Outbox::new(Bounds { messages, bytes }, when_full)
    }

    fn texts(outbox: &mut Outbox) -> Vec<String> {
        let mut out = VecDeque::new();
        outbox.take(&mut out, usize::MAX);
        out.into_iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    }

    #[test]
    fn the_oldest_events_go_first_and_answers_never() {
        let mut outbox = outbox(3, 100, WhenFull::DropOldest);
        assert_eq!(outbox.push_answer("ack".into()), Queued::Yes { dropped: 0 });
        for (seq, dropped) in [(1, 0), (2, 0), (5, 1), (6, 1)] {
            let text = Bytes::from(format!("e{seq}"));
            assert_eq!(outbox.push_event(&text, seq), Queued::Yes { dropped });
        }
        assert_eq!(outbox.take_lag(), Some(Lag { dropped: 2, from: 1, to: 2 }));
        assert_eq!(outbox.take_lag(), None);
        assert_eq!(outbox.push_answer("ok".into()), Queued::Yes { dropped: 1 });
        assert_eq!(outbox.take_lag(), Some(Lag { dropped: 1, from: 5, to: 5 }));
        assert_eq!(texts(&mut outbox), ["ack", "e6", "ok"]);
        assert_eq!((outbox.len(), outbox.bytes), (0, 0));
    }

    #[test]
    fn a_replay_has_room_of_its_own() {
        let mut outbox = outbox(2, 100, WhenFull::DropOldest);
        assert_eq!(outbox.push_answer("ok".into()), Queued::Yes { dropped: 0 });
        outbox.push_replay((1..=5).map(|seq| (seq, Bytes::from(format!("e{seq}")))));
        // What follows has the room that it always has.
        for (seq, dropped) in [(6, 0), (7, 1)] {
            let text = Bytes::from(format!("e{seq}"));
            assert_eq!(outbox.push_event(&text, seq), Queued::Yes { dropped });
        }
        assert_eq!(outbox.take_lag(), Some(Lag { dropped: 1, from: 1, to: 1 }));
        let mut out = VecDeque::new();
        outbox.take(&mut out, 6);
        assert_eq!(out, ["ok", "e2", "e3"]);
        // While there is less of it, there is less room, but for nothing that waits already.
        assert_eq!(outbox.push_event(&"e8".into(), 8), Queued::Yes { dropped: 0 });
        assert_eq!(texts(&mut outbox), ["e4", "e5", "e6", "e7", "e8"]);
        for (seq, dropped) in [(9, 0), (10, 0), (11, 1)] {
            assert_eq!(outbox.push_event(&"e".into(), seq), Queued::Yes { dropped });
        }
    }

    #[test]
    fn bytes_count_and_one_message_may_exceed_them() {
        let mut outbox = outbox(100, 10, WhenFull::DropOldest);
        let large = Bytes::from(vec![b'x'; 50]);
        assert_eq!(outbox.push_event(&large, 1), Queued::Yes { dropped: 0 });
        assert_eq!(outbox.push_event(&Bytes::from("123456"), 2), Queued::Yes { dropped: 1 });
        assert_eq!(outbox.push_event(&Bytes::from("1234"), 3), Queued::Yes { dropped: 0 });
        assert_eq!(outbox.push_event(&Bytes::from("12345"), 4), Queued::Yes { dropped: 1 });
        assert_eq!(outbox.push_event(&large, 5), Queued::Yes { dropped: 0 });
        assert_eq!(outbox.take_lag(), Some(Lag { dropped: 2, from: 1, to: 2 }));
    }

    #[test]
    fn a_client_that_does_not_read_is_cut_off() {
        let mut outbox = outbox(2, 100, WhenFull::Close);
        assert_eq!(outbox.push_event(&Bytes::from("1"), 1), Queued::Yes { dropped: 0 });
        assert_eq!(outbox.push_event(&Bytes::from("2"), 2), Queued::Yes { dropped: 0 });
        assert_eq!(outbox.push_event(&Bytes::from("3"), 3), Queued::Overflow);
        let mut outbox = self::outbox(1, 100, WhenFull::DropOldest);
        assert_eq!(outbox.push_answer("1".into()), Queued::Yes { dropped: 0 });
        assert_eq!(outbox.push_answer("2".into()), Queued::Overflow);
        assert_eq!(outbox.push_event(&Bytes::from("3"), 3), Queued::Overflow);
    }

    #[test]
    fn a_batch_has_at_least_one_message() {
        let mut outbox = outbox(10, 100, WhenFull::Close);
        for seq in 0..4 {
            outbox.push_event(&Bytes::from("12345"), seq);
        }
        for (bytes, expected) in [(0, 1), (6, 2), (100, 1)] {
            let mut out = VecDeque::new();
            outbox.take(&mut out, bytes);
            assert_eq!(out.len(), expected);
        }
    }
}
