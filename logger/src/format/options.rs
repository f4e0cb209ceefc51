//! The options that shape the content of a log (WIRE.md §5.6).

use bstr::{BStr, BString, ByteSlice};
use zcluster::layout::Log;

pub use zcluster::layout::LogFormat as Format;
pub use zcluster::layout::{JsonStringEscapePolicy as JsonStringEscape, JsonTimestamps};

/// Options of the writer, with Zeek's names and defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of Zeek")]
pub struct WriterOptions {
    /// `use_json`.
    pub format: Format,
    /// `enable_utf_8`: keep UTF-8 text in TSV; otherwise everything outside ASCII is escaped.
    pub enable_utf_8: bool,
    /// `json_timestamps`.
    pub json_timestamps: JsonTimestamps,
    /// `json_include_unset_fields`: write `null` instead of leaving the member out.
    pub json_include_unset_fields: bool,
    /// `json_string_escape_policy`.
    pub json_string_escape_policy: JsonStringEscape,
    /// `include_meta`: the `#` lines of TSV.
    pub include_meta: bool,
    /// `meta_prefix`: the start of those lines.
    pub meta_prefix: BString,
    /// `separator`: between columns. Never empty.
    pub separator: BString,
    /// `set_separator`: between elements. Never empty.
    pub set_separator: BString,
    /// `empty_field`: for empty strings and containers.
    pub empty_field: BString,
    /// `unset_field`: for absent values.
    pub unset_field: BString,
    /// `tsv`: the first line has the names of the columns, without a prefix, and there is no other
    /// header.
    pub tsv: bool,
    /// Names of the columns to write; empty means all. Extension columns, whose names start with
    /// [`EXTENSION_PREFIX`], are always written.
    pub include: Vec<BString>,
    /// Names of columns to leave out, which may be extension columns.
    pub exclude: Vec<BString>,
}

/// The prefix of the names of extension columns: `Log::default_ext_prefix`.
pub const EXTENSION_PREFIX: &str = "_";

impl WriterOptions {
    /// Returns whether a column is written.
    pub(super) fn has_column(&self, name: &BStr) -> bool {
        let is_among = |names: &[BString]| names.iter().any(|other| other == name);
        let is_included = self.include.is_empty()
            || name.starts_with_str(EXTENSION_PREFIX)
            || is_among(&self.include);
        is_included && !is_among(&self.exclude)
    }
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions::from(&Log::default())
    }
}

impl From<&Log> for WriterOptions {
    fn from(log: &Log) -> Self {
        WriterOptions {
            format: log.format,
            enable_utf_8: log.enable_utf_8,
            json_timestamps: log.json_timestamps,
            json_include_unset_fields: log.json_include_unset_fields,
            json_string_escape_policy: log.json_string_escape_policy,
            include_meta: log.include_meta,
            meta_prefix: log.meta_prefix.as_str().into(),
            separator: log.separator.as_str().into(),
            set_separator: log.set_separator.as_str().into(),
            empty_field: log.empty_field.as_str().into(),
            unset_field: log.unset_field.as_str().into(),
            tsv: log.tsv,
            include: Vec::new(),
            exclude: Vec::new(),
        }
    }
}
