//! [`GaugeShare`]: one part's contribution to a gauge that several parts may have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::Gauge;

/// What one part of the program adds to a gauge.
///
/// Names past a [`LabelCap`](super::LabelCap) share one series, and setting its gauge would throw
/// away what the others said. So a share only ever adds and takes back, and when its last clone
/// goes it takes back what is left of it. Each operation is two relaxed atomic instructions.
#[derive(Clone, Debug)]
pub struct GaugeShare(Arc<Share>);

#[derive(Debug)]
struct Share {
    gauge: Gauge,
    own: AtomicI64,
}

impl GaugeShare {
    /// A share of nothing yet.
    pub fn new(gauge: Gauge) -> Self {
        GaugeShare(Arc::new(Share { gauge, own: AtomicI64::new(0) }))
    }

    /// Adds to the gauge.
    pub fn add(&self, amount: usize) {
        self.0.change(i64::try_from(amount).unwrap_or(i64::MAX));
    }

    /// Takes back from the gauge what was added.
    pub fn sub(&self, amount: usize) {
        self.0.change(-i64::try_from(amount).unwrap_or(i64::MAX));
    }

    /// What is left of the share.
    pub fn get(&self) -> i64 {
        self.0.own.load(Ordering::Relaxed)
    }
}

impl Share {
    fn change(&self, amount: i64) {
        self.own.fetch_add(amount, Ordering::Relaxed);
        self.gauge.inc_by(amount);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gauge.dec_by(*self.own.get_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_go_with_their_last_clone() {
        let gauge = Gauge::default();
        let (a, b) = (GaugeShare::new(gauge.clone()), GaugeShare::new(gauge.clone()));
        a.add(10);
        b.add(5);
        a.sub(3);
        assert_eq!((a.get(), b.get(), gauge.get()), (7, 5, 12));
        let clone = a.clone();
        drop(a);
        clone.add(1);
        assert_eq!(gauge.get(), 13);
        drop(clone);
        assert_eq!(gauge.get(), 5);
        drop(b);
        assert_eq!(gauge.get(), 0);
    }
}
