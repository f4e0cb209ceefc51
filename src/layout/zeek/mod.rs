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
const LOG_ASCII: [&str; 12] = [
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
    "gzip_level",
    "gzip_file_extension",
];
/// The one option of `[log]` that Zeek has outside any module.
const LOG_ROTATE_BASE_TIME: &str = "log_rotate_base_time";

/// The name in Zeek script of an option of `[log]` that has the second name `alias`.
fn log_name(alias: &str) -> String {
    if alias == LOG_ROTATE_BASE_TIME { alias.into() } else { format!("Log::{alias}") }
}
