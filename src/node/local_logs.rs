//! [`LocalLogs`]: receives the log batches of a node that writes logs itself.

/// Accepts a log batch of a node that writes its own logs; `false` refuses it for now.
pub(super) type LocalLogs = Box<dyn Fn(&[u8]) -> bool + Send>;
