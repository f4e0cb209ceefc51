//! [`Load`]: what random users do with a store.

use super::random::Random;
use super::store_history::{Action, SOON};

/// How many changes a key for counting, a text, a set or a queue gets: their values fit into lines that are written at once.
const PER_KEY: usize = 60;
/// Powers of four in a count.
const PER_COUNT: usize = 30;

/// Chooses what is done, with keys of one round.
pub struct Load {
    round: usize,
    counts: usize,
    tokens: usize,
    uniques: usize,
    elements: usize,
    pops: usize,
    /// The last value that was put, or element added.
    value: u64,
}

impl Load {
    pub fn new(round: usize) -> Self {
        Load { round, counts: 0, tokens: 0, uniques: 0, elements: 0, pops: 0, value: 0 }
    }

    /// What a process does next, and with which key.
    pub fn next(&mut self, life: u64, random: &mut Random) -> (String, Action) {
        let round = self.round;
        let key = |kind: &str, number: usize| format!("{round}/{kind}/{number}");
        self.value += 1;
        let value = self.value;
        match random.below(20) {
            0..5 => {
                let n = self.counts;
                self.counts += 1;
                // Two counts at a time.
                let (count, power) = (n / (2 * PER_COUNT) * 2 + n % 2, n / 2 % PER_COUNT);
                (key("count", count), Action::Count(1 << (2 * power)))
            }
            5..8 => {
                self.tokens += 1;
                let token = format!("{life}.{} ", self.tokens);
                (key("text", self.tokens / PER_KEY), Action::Append(token))
            }
            8..10 => {
                let action = match random.below(4) {
                    0 => Action::Erase,
                    _ => put(value, random),
                };
                (format!("{round}/own/{life}"), action)
            }
            10..12 => {
                let action = match random.below(3) {
                    0 => Action::Erase,
                    1 => Action::PutUnique(value),
                    _ => put(value, random),
                };
                (key("shared", random.below(3)), action)
            }
            12..14 => {
                self.uniques += 1;
                // Some tries at each.
                (key("unique", self.uniques / 6), Action::PutUnique(value))
            }
            14 => (key("set", value as usize / (20 * PER_KEY)), Action::Insert(value)),
            15 => {
                self.elements += 1;
                (key("queue", self.elements / PER_KEY), Action::Push(value))
            }
            16 => {
                self.pops += 1;
                (key("queue", self.pops.min(self.elements) / PER_KEY), Action::Pop)
            }
            17 => (key("text", self.tokens / PER_KEY), Action::Get),
            _ => (key("count", random.below(2 + self.counts / PER_COUNT)), Action::Get),
        }
    }
}

fn put(value: u64, random: &mut Random) -> Action {
    let expires = random.pick(&[None, None, Some(SOON), Some("1h"), Some("2200-01-01T00:00:00Z")]);
    Action::Put { value, expires }
}
