//! [`UnderWay`]: how many records may not have arrived if the connection to a logger is lost now.
//! Pure.
//!
//! Log batches are not acknowledged (WIRE.md §4.2). Batches handed over wait in libzmq, at most
//! `log_sndhwm` of them, then in the kernels of both hosts; the logger has read everything older.
//! So this counts the most recent batches: never fewer than can be in flight, and at most about
//! twice as many. That takes only two numbers, whatever the rate.

/// What the kernels of two hosts hold for one connection at most. By default Linux grows the
/// buffers of a connection to 10 MiB together, and recent versions to 38 MiB.
const IN_KERNELS: u64 = 64 << 20;

/// What may be in flight to one logger.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// How many batches libzmq holds at most; 0 means no limit.
    pipe: u64,
    /// Records of the last complete round, which alone covers everything in flight.
    last_round: u64,
    round: Round,
}

/// As many bytes as the kernels hold, and then as many batches as libzmq holds.
#[derive(Debug, Default)]
struct Round {
    bytes: u64,
    batches: u64,
    records: u64,
}

impl UnderWay {
    /// Nothing in flight through a pipe of `log_sndhwm` batches.
    pub(super) fn new(log_sndhwm: i32) -> Self {
        let pipe = u64::try_from(log_sndhwm).unwrap_or(0);
        UnderWay { pipe, last_round: 0, round: Round::default() }
    }

    /// Records that a batch was handed over.
    pub(super) fn add(&mut self, bytes: usize, records: u64) {
        self.round.records += records;
        if self.round.bytes < IN_KERNELS {
            self.round.bytes += bytes as u64;
            return;
        }
        self.round.batches += 1;
        if self.round.batches == self.pipe {
            self.last_round = std::mem::take(&mut self.round).records;
        }
    }

    /// Resets the count, because everything has arrived or is given up, and returns it.
    pub(super) fn take(&mut self) -> u64 {
        let records = self.last_round + self.round.records;
        self.last_round = 0;
        self.round = Round::default();
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_records_are_counted_exactly_and_once() {
        let mut under_way = UnderWay::new(1000);
        for records in [3, 0, 4] {
            under_way.add(100, records);
        }
        assert_eq!((under_way.take(), under_way.take()), (7, 0));
    }

    #[test]
    fn a_pipe_without_limit_may_hold_everything() {
        let mut under_way = UnderWay::new(0);
        for _ in 0..100 {
            under_way.add(16 << 20, 1);
        }
        assert_eq!(under_way.take(), 100);
    }

    proptest! {
        /// However many are sent, those that can be in flight are counted, and not many more.
        #[test]
        fn what_can_be_under_way_is_covered(
            pipe in 1..50i32,
            sizes in prop::collection::vec(0..(8u64 << 20), 0..300),
        ) {
            let mut under_way = UnderWay::new(pipe);
            for bytes in &sizes {
                under_way.add(*bytes as usize, 1);
            }
            // The last are in the pipe; the kernels hold as many of those before them as fit.
            let pipe = pipe as usize;
            let mut left = IN_KERNELS;
            let in_kernels = sizes.iter().rev().skip(pipe).take_while(|bytes| {
                let fits = left >= **bytes;
                left = left.saturating_sub(**bytes);
                fits
            });
            let least = sizes.len().min(pipe) + in_kernels.count();
            let counted = under_way.take() as usize;
            prop_assert!(counted >= least && counted <= sizes.len(), "{} of {}", counted, least);
        }
    }
}
