//! [`UnderWay`]: how many records may not have arrived if the connection to a logger is lost now.
//! Pure.
//!
//! Nobody acknowledges log batches (WIRE.md §4.2). What was handed over waits in libzmq, at most
//! `log_sndhwm` batches, then in the kernels of both hosts, and what is older has been read by the
//! logger. So the most recent batches are counted: never fewer than can be under way, and at most
//! about twice as many. Two numbers remember that, whatever the rate.

/// What the kernels of two hosts keep of one connection at most. Linux grows the buffers of a
/// connection to 10 MiB together unless it is told otherwise, and to 38 MiB of late.
const IN_KERNELS: u64 = 64 << 20;

/// What may be under way to one logger.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// How many batches libzmq holds at most; 0 is without limit.
    pipe: u64,
    /// Records of a whole round: by itself it covers all that can be under way.
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
    /// Nothing, on the way through a pipe of `log_sndhwm` batches.
    pub(super) fn new(log_sndhwm: i32) -> Self {
        let pipe = u64::try_from(log_sndhwm).unwrap_or(0);
        UnderWay { pipe, last_round: 0, round: Round::default() }
    }

    /// A batch was handed over.
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

    /// All of it has arrived, or is given up: the number of records.
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
        /// However many are sent, those that can be under way are counted, and not many more.
        #[test]
        fn what_can_be_under_way_is_covered(
            pipe in 1..50i32,
            sizes in prop::collection::vec(0..(8u64 << 20), 0..300),
        ) {
            let mut under_way = UnderWay::new(pipe);
            for bytes in &sizes {
                under_way.add(*bytes as usize, 1);
            }
            // The last are in the pipe, and before them as many as the kernels have bytes for.
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
