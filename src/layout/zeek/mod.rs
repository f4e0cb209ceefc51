//! Layouts in Zeek script, `cluster-layout.zeek` (WIRE.md §8.1): [`import`](import()) and
//! [`export`](export()).

mod conditional;
mod export;
mod expr;
mod import;
#[cfg(test)]
mod tests;
mod token;

pub use export::export;
pub use import::{Import, Importer, import};

/// What the names of the ZeroMQ backend's options start with.
const ZEROMQ: &str = "Cluster::Backend::ZeroMQ::";
/// The options of `[log]` that Zeek has under the same name in its module `LogAscii`.
const LOG_ASCII: [&str; 10] = [
    "enable_utf_8",
    "json_timestamps",
    "json_include_unset_fields",
    "json_string_escape_policy",
    "include_meta",
    "meta_prefix",
    "separator",
    "set_separator",
    "empty_field",
    "unset_field",
];
