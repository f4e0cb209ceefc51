//! What Zeek calls weird about records: what the limits of WIRE.md §4.6 cut off.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Instant;

use super::entered::Entered;
use super::logs::Shared;
use crate::wire::zeek_bin::Truncations;

/// A string was cut to its limit.
pub const STRING_TRUNCATED: &str = "log_string_field_truncated";
/// A set or vector was cut to its limit.
pub const CONTAINER_TRUNCATED: &str = "log_container_field_truncated";
/// A record was discarded because of its size.
pub const RECORD_TOO_LARGE: &str = "log_record_too_large";

thread_local! {
    /// Whether this thread is in a hook, which may write records that are cut themselves.
    static IN_HOOK: Cell<bool> = const { Cell::new(false) };
}

impl Shared {
    /// Reports what was cut off a record.
    #[inline]
    pub(super) fn report(self: &Arc<Self>, cut: Truncations, stream: &str) {
        if cut != Truncations::default() {
            self.report_cut(cut, stream);
        }
    }

    #[cold]
    fn report_cut(self: &Arc<Self>, cut: Truncations, stream: &str) {
        for (count, name) in [
            (cut.strings, STRING_TRUNCATED),
            (cut.containers, CONTAINER_TRUNCATED),
            (cut.records, RECORD_TOO_LARGE),
        ] {
            for _ in 0..count {
                self.weird(name, stream);
            }
        }
    }

    fn weird(self: &Arc<Self>, name: &'static str, stream: &str) {
        self.warn(&format!("{name} in {stream}"), || format!("log stream {stream}: {name}"));
        if let Some(hook) = &*self.on_weird.load()
            && let Some(_entered) = Entered::new(&IN_HOOK)
        {
            hook(&self.logs(), name, stream);
        }
    }

    /// Logs a line, unless one of the same key has been logged in the last ten seconds.
    pub(super) fn warn(&self, key: &str, line: impl FnOnce() -> String) {
        let allowed = super::lock(&self.warnings).check(key, Instant::now());
        if let Some(more) = allowed {
            log::warn!("{} ({more} more like this)", line());
        }
    }
}
