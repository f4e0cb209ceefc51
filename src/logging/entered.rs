//! [`Entered`]: keeps a function from being called by itself.

use std::cell::Cell;
use std::thread::LocalKey;

/// This thread is in something that it must not enter twice; until this is dropped.
pub(super) struct Entered(&'static LocalKey<Cell<bool>>);

impl Entered {
    /// `None` if this thread is in it already.
    pub(super) fn new(flag: &'static LocalKey<Cell<bool>>) -> Option<Self> {
        (!flag.replace(true)).then(|| Entered(flag))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.set(false);
    }
}
