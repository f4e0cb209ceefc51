//! [`RecordFormatter`]: everything that is the same for all records of a log.

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;
use zcluster::wire::zeek_bin::{Batch, DecodeError};

use super::json::Json;
use super::options::{Format, WriterOptions};
use super::pen::Pen;
use super::times::Times;
use super::tsv::Tsv;

/// Longest name of a column, in bytes.
///
/// In JSON every record repeats the name: this bounds how much text a small batch can become.
pub const MAX_FIELD_NAME: usize = 255;

/// A batch that cannot be formatted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// A column name has control characters, which would break the `#fields` line, or is longer
    /// than [`MAX_FIELD_NAME`].
    #[error("field {index}: bad name {name:?}")]
    FieldName {
        /// Index of the column, from 0.
        index: usize,
        /// Its name.
        name: BString,
    },
    /// The options leave out every column.
    #[error("no column of path {path:?} is included")]
    NoColumns {
        /// Path of the batch.
        path: BString,
    },
    /// The batch does not have the header that the formatter was made for.
    #[error("batch of path {path:?} has another header than its formatter")]
    OtherHeader {
        /// Path of the batch.
        path: BString,
    },
    /// The batch is malformed.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// The result of formatting a batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Formatted {
    /// Number of lines.
    pub records: u32,
    /// Their times, if the first written column is `ts`, a time.
    pub times: Times,
}

/// Formats all batches that have one header: the same stream, writer, filter, path and columns.
#[derive(Clone, Debug)]
pub struct RecordFormatter {
    header_bytes: Box<[u8]>,
    path: BString,
    style: Style,
}

#[derive(Clone, Debug)]
enum Style {
    Tsv(Tsv),
    Json(Json),
}

impl RecordFormatter {
    /// Returns a formatter for batches with the header of `batch`. [`Batch::header_bytes`] can be
    /// its cache key.
    ///
    /// # Errors
    ///
    /// [`FormatError::FieldName`] and [`FormatError::NoColumns`].
    pub fn new(batch: &Batch<'_>, options: &WriterOptions) -> Result<Self, FormatError> {
        for (index, field) in batch.fields().enumerate() {
            let name = field.name;
            if name.len() > MAX_FIELD_NAME || name.iter().any(u8::is_ascii_control) {
                return Err(FormatError::FieldName { index, name: name.into() });
            }
        }
        if !batch.fields().any(|field| options.has_column(field.name)) {
            return Err(FormatError::NoColumns { path: batch.path.into() });
        }
        let style = match options.format {
            Format::Tsv => Style::Tsv(Tsv::new(batch, options)),
            Format::Json => Style::Json(Json::new(batch, options)),
        };
        let (header_bytes, path) = (batch.header_bytes().into(), batch.path.into());
        Ok(RecordFormatter { header_bytes, path, style })
    }

    /// The path of the batches, as their producer chose it.
    pub fn path(&self) -> &BStr {
        self.path.as_bstr()
    }

    /// Appends the header lines of a file; none for JSON.
    ///
    /// `open_time` is local time as `%Y-%m-%d-%H-%M-%S`.
    pub fn header(&self, open_time: &str, out: &mut Vec<u8>) {
        match &self.style {
            Style::Tsv(tsv) => tsv.header(open_time, Pen::new(out, 0)),
            Style::Json(_) => {}
        }
    }

    /// Appends the footer line of a file; none for JSON. `close_time` has the format of the time in
    /// [`RecordFormatter::header`].
    pub fn footer(&self, close_time: &str, out: &mut Vec<u8>) {
        match &self.style {
            Style::Tsv(tsv) => tsv.footer(close_time, Pen::new(out, 0)),
            Style::Json(_) => {}
        }
    }

    /// Returns names and types of the columns of a TSV file; none for JSON, where each line has
    /// them.
    pub(crate) fn columns(&self) -> Vec<(&BString, &str)> {
        match &self.style {
            Style::Tsv(tsv) => tsv.columns().collect(),
            Style::Json(_) => Vec::new(),
        }
    }

    /// Appends a line per record and returns their count and times. Allocates nothing except room
    /// in `out`.
    ///
    /// # Errors
    ///
    /// If the batch is malformed or has another header than the formatter. `out` is unchanged then,
    /// so a bad batch leaves nothing in a file.
    pub fn format_batch(
        &self,
        batch: &Batch<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Formatted, FormatError> {
        if batch.header_bytes() != &*self.header_bytes {
            return Err(FormatError::OtherHeader { path: batch.path.into() });
        }
        let start = out.len();
        // TSV is shorter than the batch and JSON about as long.
        let pen = Pen::new(out, batch.values().bytes_left());
        let done = match &self.style {
            Style::Tsv(tsv) => tsv.records(batch, pen),
            Style::Json(json) => json.records(batch, pen),
        };
        match done {
            Ok(times) => Ok(Formatted { records: batch.num_records(), times }),
            Err(error) => {
                out.truncate(start);
                Err(error.into())
            }
        }
    }
}
