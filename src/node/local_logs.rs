//! [`LocalLogs`]: where the log batches of a node go that writes logs itself.

/// Takes a log batch where the node writes its own logs; `false` refuses it for now.
pub(super) type LocalLogs = Box<dyn Fn(&[u8]) -> bool + Send>;
