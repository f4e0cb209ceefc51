//! The options that shape the content of a log (WIRE.md §5.6).

use bstr::{BStr, BString, ByteSlice};
use zcluster::layout::Log;

pub use zcluster::layout::LogFormat as Format;
pub use zcluster::layout::{JsonStringEscapePolicy as JsonStringEscape, JsonTimestamps};

/// Options of the writer, under Zeek's names and with Zeek's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of Zeek")]
pub struct WriterOptions {
    /// `use_json`.
    pub format: Format,
    /// `enable_utf_8`: keep UTF-8 text in TSV; otherwise only ASCII is left.
    pub enable_utf_8: bool,
    /// `json_timestamps`.
    pub json_timestamps: JsonTimestamps,
    /// `json_include_unset_fields`: `null` instead of leaving the member out.
    pub json_include_unset_fields: bool,
    /// `json_string_escape_policy`.
    pub json_string_escape_policy: JsonStringEscape,
    /// `include_meta`: the `#` lines of TSV.
    pub include_meta: bool,
    /// `meta_prefix`: what those lines start with.
    pub meta_prefix: BString,
    /// `separator`: between columns. Not empty.
    pub separator: BString,
    /// `set_separator`: between elements. Not empty.
    pub set_separator: BString,
    /// `empty_field`: for empty strings and containers.
    pub empty_field: BString,
    /// `unset_field`: for absent values.
    pub unset_field: BString,
    /// `tsv`: the names of the columns as first line, without a prefix, and no other header.
    pub tsv: bool,
    /// Names of the columns to write; empty means all. Extension columns, whose names start with
    /// [`EXTENSION_PREFIX`], are written in any case.
    pub include: Vec<BString>,
    /// Names of columns that are not written, extension columns among them.
    pub exclude: Vec<BString>,
}

/// What the names of extension columns start with: `Log::default_ext_prefix`.
pub const EXTENSION_PREFIX: &str = "_";

impl WriterOptions {
    /// Whether a column is written.
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
