//! The options that shape the content of a log (WIRE.md §5.6).

use bstr::BString;

/// What a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Values between separators, with `#` lines around them.
    #[default]
    Tsv,
    /// One JSON object.
    Json,
}

/// `json_timestamps`: how JSON shows times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonTimestamps {
    /// `JSON::TS_EPOCH`: seconds, as a double.
    #[default]
    Epoch,
    /// `JSON::TS_MILLIS`: whole milliseconds.
    Millis,
    /// `JSON::TS_MILLIS_UNSIGNED`: whole milliseconds; times before 1970 wrap around.
    MillisUnsigned,
    /// `JSON::TS_ISO8601`: text in UTC.
    Iso8601,
}

/// `json_string_escape_policy`: what JSON does with bytes that are not printable text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonStringEscape {
    /// `JSON::STRING_ESCAPE_POLICY_HEX`: `\\xNN`, backslashes of the value unmarked.
    #[default]
    Hex,
    /// `JSON::STRING_ESCAPE_POLICY_TSV`: as in TSV, then encoded as JSON.
    Tsv,
    /// `JSON::STRING_ESCAPE_POLICY_PUA`: a private code point per byte; loses nothing.
    Pua,
}

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
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            format: Format::Tsv,
            enable_utf_8: true,
            json_timestamps: JsonTimestamps::Epoch,
            json_include_unset_fields: false,
            json_string_escape_policy: JsonStringEscape::Hex,
            include_meta: true,
            meta_prefix: "#".into(),
            separator: "\t".into(),
            set_separator: ",".into(),
            empty_field: "(empty)".into(),
            unset_field: "-".into(),
            tsv: false,
        }
    }
}
