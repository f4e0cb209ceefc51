//! The bounds of stores (docs/stores.md, "Limits").

use std::time::Duration;

/// The largest answer, in bytes.
pub(super) const MAX_ANSWER: usize = 16 << 20;
/// How many commands of a client may be with the master.
pub(super) const MAX_IN_FLIGHT: u64 = 1_000;
/// The same in bytes.
pub(super) const MAX_IN_FLIGHT_BYTES: usize = 16 << 20;
/// How many commands may wait at a client.
pub(super) const MAX_WAITING: usize = 10_000;
/// The same in bytes.
pub(super) const MAX_WAITING_BYTES: usize = 64 << 20;
/// How many changes may wait for the backend.
pub(super) const MAX_UNSETTLED: usize = 100_000;
/// The same in bytes.
pub(super) const MAX_UNSETTLED_BYTES: usize = 64 << 20;
/// The size of all answers that were not sent yet, in bytes: beyond that, no commands are executed.
pub(super) const MAX_UNSENT_BYTES: usize = 64 << 20;
/// How many clients a master remembers.
pub(super) const MAX_CLIENTS: usize = 10_000;
/// The size of all answers that it remembers, in bytes.
pub(super) const MAX_REMEMBERED_BYTES: usize = 64 << 20;
/// How many changes a master can send again.
pub(super) const MAX_HISTORY: usize = 10_000;
/// The same in bytes.
pub(super) const MAX_HISTORY_BYTES: usize = 16 << 20;
/// How many snapshots a master sends at the same time.
pub(super) const MAX_SESSIONS: usize = 16;
/// How many chunks of a snapshot may be under way to a clone.
pub(super) const CHUNKS_AHEAD: usize = 4;
/// How many entries a chunk has, or changes or commands an event.
pub(super) const MAX_PER_EVENT: usize = 1_000;
/// How large an event becomes before another one is begun, in bytes.
pub(super) const EVENT_BYTES: usize = 256 << 10;
/// How much a clone that missed changes is sent at once, in bytes.
pub(super) const CATCH_UP_BYTES: usize = 1 << 20;

/// How long a new master waits for the response of another one.
pub(super) const PROBE_TIME: Duration = Duration::from_secs(1);
/// How often it asks for one meanwhile.
pub(super) const PROBE_INTERVAL: Duration = Duration::from_millis(500);
/// How often a master says that it is there.
pub(super) const STATUS_INTERVAL: Duration = Duration::from_secs(1);
/// How long nothing is heard of a master until it is away.
pub(super) const AWAY_AFTER: Duration = Duration::from_secs(5);
/// How long a client waits for an answer before it sends its commands again; doubles.
pub(super) const RESEND_FIRST: Duration = Duration::from_secs(1);
/// The most that becomes of it.
pub(super) const RESEND_MOST: Duration = Duration::from_secs(10);
/// How long a clone waits for what it has asked for before it asks again.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a master keeps the snapshot of a clone that says nothing.
pub(super) const SESSION_IDLE: Duration = Duration::from_secs(30);
