//! The text of log files, the same as Zeek's ASCII writer, byte for byte (WIRE.md §5).
//!
//! Each batch header gets one [`RecordFormatter`], which turns batches into lines. A record goes
//! from the bytes of its batch to text in the output buffer in one pass: it builds no values and
//! allocates nothing except room in that buffer. `benches/format.rs` measures it.
//!
//! | module | what it owns |
//! |---|---|
//! | `options` | the writer's options (§5.6) |
//! | `plan` | [`RecordFormatter`]: everything computed once per header |
//! | `column` | how to process each value of a record |
//! | `pen` | where the next byte of text goes |
//! | `tsv`, `json` | lines and values of the two formats (§5.1, §5.2, §5.5) |
//! | `escape` | strings (§5.3) |
//! | `digits`, `number`, `grisu` | integers, doubles, and times as numbers (§5.2, §5.5) |
//! | `json_time`, `civil` | the other forms of a time in JSON, and dates (§5.5) |
//! | `addr` | addresses and subnets (§5.4) |
//!
//! The text of a batch is about half as long as the batch in TSV, and as long in JSON. At worst it
//! is 19 times as long as the values (a double of 17 bytes has 317 in TSV; a byte of a string has
//! 4, in JSON 5, with the PUA policy 12). JSON adds the name of each value, of at most 5 times
//! [`MAX_FIELD_NAME`] bytes; TSV adds the markers and separators of the options. (Separators that
//! occur in numbers multiply that by 4.) While a batch is formatted, the output buffer is at most 1
//! KiB longer.
//!
//! Nothing here reads a clock or a file: the texts of `#open` and `#close` are arguments.
#![allow(clippy::inline_always, reason = "the loop over the records keeps its state in registers")]

mod addr;
mod civil;
mod column;
mod digits;
mod escape;
mod grisu;
mod json;
mod json_time;
mod number;
mod options;
mod pen;
mod plan;
mod times;
mod tsv;

pub use options::{EXTENSION_PREFIX, Format, JsonStringEscape, JsonTimestamps, WriterOptions};
pub use plan::{FormatError, Formatted, MAX_FIELD_NAME, RecordFormatter};
pub use times::Times;

#[cfg(test)]
mod tests;
