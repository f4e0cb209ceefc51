//! [`AccessCell`]: the current [`Access`] of a process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Access;

/// Holds the current [`Access`] for all threads.
#[derive(Debug)]
pub struct AccessCell {
    current: RwLock<Arc<Access>>,
    generation: AtomicU64,
}

impl AccessCell {
    /// Creates a cell with its first value.
    pub fn new(access: Access) -> Self {
        AccessCell { current: RwLock::new(Arc::new(access)), generation: AtomicU64::new(0) }
    }

    /// The current value.
    pub fn load(&self) -> Arc<Access> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the value. The owners of connections check them against the new one.
    pub fn replace(&self, access: Access) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// The number of replacements so far.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}
