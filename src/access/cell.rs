//! [`AccessCell`]: the [`Access`] that a process goes by at the time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::Access;

/// Where threads find the current [`Access`].
#[derive(Debug)]
pub struct AccessCell {
    current: RwLock<Arc<Access>>,
    generation: AtomicU64,
}

impl AccessCell {
    /// With the first one.
    pub fn new(access: Access) -> Self {
        AccessCell { current: RwLock::new(Arc::new(access)), generation: AtomicU64::new(0) }
    }

    /// The current one.
    pub fn load(&self) -> Arc<Access> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts another in its place. Connections are held against it by whoever owns them.
    pub fn replace(&self, access: Access) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// How often it has been replaced.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}
