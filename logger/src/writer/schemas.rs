//! Which of a log's files takes records with which columns. Pure.
//!
//! A file never has two headers. A log's files have numbers: 1 is the log's own name, and where
//! producers disagree about the columns the others are files beside it (`path`). New columns take
//! over the log's own name, which completes its file. If that happened recently, producers
//! disagree, and the columns get a separate file as long as they are used. So two sets of columns
//! that alternate have two files, however often they alternate.

use std::time::{Duration, Instant};

/// The number of the log's own name.
pub(super) const FIRST: u32 = 1;
/// Most files of one log at a time. More sets of columns indicate an attack, not an upgrade.
const MOST: u32 = 16;

/// The file for some records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The file with that number, which has their columns.
    Known(u32),
    /// A new file. `is_change`: other columns are in use.
    New { number: u32, is_change: bool },
    /// The first file, after the current one is completed: see [`Schemas::take_over`].
    TakesOver,
    /// None: there are too many.
    Full,
}

/// The columns in use, identified by `S`.
#[derive(Debug)]
pub(super) struct Schemas<S> {
    in_use: Vec<Use<S>>,
    taken_over: Option<Instant>,
}

#[derive(Debug)]
struct Use<S> {
    schema: S,
    number: u32,
    last: Instant,
}

impl<S: Clone + PartialEq> Schemas<S> {
    pub(super) fn new() -> Self {
        Schemas { in_use: Vec::new(), taken_over: None }
    }

    /// Returns the file for records of these columns. New columns take over the first file unless
    /// others did so less than `timeout` ago.
    pub(super) fn place(&mut self, schema: &S, now: Instant, timeout: Duration) -> Place {
        if let Some(known) = self.in_use.iter_mut().find(|known| known.schema == *schema) {
            known.last = now;
            return Place::Known(known.number);
        }
        let is_change = !self.in_use.is_empty();
        let has_settled =
            self.taken_over.is_none_or(|then| now.saturating_duration_since(then) >= timeout);
        let has_first = self.in_use.iter().any(|known| known.number == FIRST);
        if has_first && has_settled {
            return Place::TakesOver;
        }
        match self.add(schema, now) {
            Some(number) => Place::New { number, is_change },
            None => Place::Full,
        }
    }

    /// Assigns the first file to these columns, after the previous one was completed and renamed.
    /// Its previous columns count as new if they return.
    pub(super) fn take_over(&mut self, schema: &S, now: Instant) {
        self.remove(FIRST);
        self.taken_over = Some(now);
        self.in_use.push(Use { schema: schema.clone(), number: FIRST, last: now });
    }

    /// Assigns the first free number to these columns.
    pub(super) fn add(&mut self, schema: &S, now: Instant) -> Option<u32> {
        let number = (FIRST..=MOST).find(|number| self.is_free(*number))?;
        self.in_use.push(Use { schema: schema.clone(), number, last: now });
        Some(number)
    }

    fn is_free(&self, number: u32) -> bool {
        self.in_use.iter().all(|known| known.number != number)
    }

    /// Returns the numbers of columns not used for `timeout`, never including the most recently
    /// used.
    pub(super) fn unused(&self, now: Instant, timeout: Duration) -> Vec<u32> {
        let Some(newest) = self.newest() else { return Vec::new() };
        let others = self.in_use.iter().filter(|known| known.number != newest);
        let is_unused = |known: &&Use<S>| now.saturating_duration_since(known.last) >= timeout;
        others.filter(is_unused).map(|known| known.number).collect()
    }

    /// Returns the number of the columns used last if the log's own name is free: they take it.
    pub(super) fn heir(&self) -> Option<u32> {
        self.newest().filter(|_| self.is_free(FIRST))
    }

    fn newest(&self) -> Option<u32> {
        self.in_use.iter().max_by_key(|known| known.last).map(|known| known.number)
    }

    /// Forgets columns whose file is complete.
    pub(super) fn remove(&mut self, number: u32) {
        self.in_use.retain(|known| known.number != number);
    }

    /// Returns the number of the next file, after the file with `number` was completed and its name
    /// is free.
    pub(super) fn next_number(&mut self, number: u32) -> u32 {
        if !self.is_free(FIRST) {
            return number;
        }
        match self.in_use.iter_mut().find(|known| known.number == number) {
            Some(known) => {
                known.number = FIRST;
                FIRST
            }
            None => number,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMEOUT: Duration = Duration::from_secs(300);

    fn new(number: u32, is_change: bool) -> Place {
        Place::New { number, is_change }
    }

    /// Takes over like the writer.
    fn place(schemas: &mut Schemas<u8>, schema: u8, now: Instant) -> Place {
        let place = schemas.place(&schema, now, TIMEOUT);
        if place == Place::TakesOver {
            schemas.take_over(&schema, now);
        }
        place
    }

    #[test]
    fn an_upgrade_takes_over_once_and_stragglers_get_a_file() {
        let start = Instant::now();
        let mut schemas = Schemas::new();
        assert_eq!(place(&mut schemas, 0, start), new(1, false));
        assert_eq!(place(&mut schemas, 0, start), Place::Known(1));
        assert_eq!(place(&mut schemas, 1, start), Place::TakesOver);
        for _ in 0..100 {
            let old = place(&mut schemas, 0, start);
            assert!(old == new(2, true) || old == Place::Known(2), "{old:?}");
            assert_eq!(place(&mut schemas, 1, start), Place::Known(1));
        }
        assert_eq!(schemas.unused(start, TIMEOUT), [0; 0]);
        let later = start + TIMEOUT;
        assert_eq!(place(&mut schemas, 1, later), Place::Known(1));
        assert_eq!(schemas.unused(later, TIMEOUT), [2]);
        schemas.remove(2);
        assert_eq!(schemas.heir(), None);
    }

    #[test]
    fn the_last_in_use_inherit_the_name() {
        let start = Instant::now();
        let mut schemas = Schemas::new();
        place(&mut schemas, 0, start);
        place(&mut schemas, 1, start);
        place(&mut schemas, 0, start);
        let later = start + TIMEOUT;
        // The upgrade was rolled back.
        assert_eq!(place(&mut schemas, 0, later), Place::Known(2));
        assert_eq!(schemas.unused(later, TIMEOUT), [1]);
        schemas.remove(1);
        assert_eq!(schemas.heir(), Some(2));
        assert_eq!(schemas.next_number(2), 1);
        assert_eq!(place(&mut schemas, 0, later), Place::Known(1));
        // The only columns are never unused.
        assert_eq!(schemas.unused(later + 10 * TIMEOUT, TIMEOUT), [0; 0]);
    }

    #[test]
    fn the_longest_timeout_is_for_ever() {
        let now = Instant::now();
        let mut schemas = Schemas::new();
        assert_eq!(schemas.place(&0, now, Duration::MAX), new(1, false));
        assert_eq!(schemas.place(&1, now, Duration::MAX), Place::TakesOver);
        schemas.take_over(&1, now);
        assert_eq!(schemas.place(&0, now, Duration::MAX), new(2, true));
        assert_eq!(schemas.unused(now, Duration::MAX), [0; 0]);
    }

    proptest! {
        #[test]
        fn files_are_few_and_have_one_schema_each(uses in prop::collection::vec((0..40_u8, 0..200_u64), 1..200)) {
            let mut now = Instant::now();
            let mut schemas = Schemas::new();
            let mut taken_over = Vec::new();
            for (schema, seconds) in uses {
                now += Duration::from_secs(seconds);
                for number in schemas.unused(now, TIMEOUT) {
                    schemas.remove(number);
                }
                if let Some(number) = schemas.heir() {
                    schemas.next_number(number);
                }
                if place(&mut schemas, schema, now) == Place::TakesOver {
                    taken_over.push(now);
                }
                let mut numbers: Vec<_> = schemas.in_use.iter().map(|known| known.number).collect();
                numbers.sort_unstable();
                let mut distinct = numbers.clone();
                distinct.dedup();
                prop_assert_eq!(&numbers, &distinct);
                prop_assert!(numbers.first() == Some(&1) && numbers.last() <= Some(&MOST));
            }
            for pair in taken_over.windows(2) {
                prop_assert!(pair[1] - pair[0] >= TIMEOUT);
            }
        }
    }
}
