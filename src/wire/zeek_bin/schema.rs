//! [`LogSchema`]: how a producer describes a log before its first record (WIRE.md §4.3).

use bstr::BString;
use thiserror::Error;

use super::{Batch, LogType, MAX_STRING};

/// The name and type of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// Flattened name, such as `id.orig_h`.
    pub name: BString,
    /// Type of the values.
    pub log_type: LogType,
    /// Whether the record field is `&optional`. Receivers ignore it: a value of any field can be
    /// unset.
    pub optional: bool,
}

impl FieldSpec {
    /// A column that should always have a value.
    pub fn new(name: impl Into<BString>, log_type: impl Into<LogType>) -> Self {
        FieldSpec { name: name.into(), log_type: log_type.into(), optional: false }
    }

    /// The same column with `&optional`.
    #[must_use]
    pub fn optional(self) -> Self {
        FieldSpec { optional: true, ..self }
    }
}

/// The header of one writer's batches: names, path and columns.
///
/// A Zeek logger accepts a batch only if it has the same stream and filter itself, with the same
/// number and types of columns and the same writer (WIRE.md §4.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSchema {
    /// Name of the stream's `Log::ID`, such as `Conn::LOG`.
    pub stream: BString,
    /// Name of the `Log::Writer`, such as `Log::WRITER_ASCII`.
    pub writer: BString,
    /// Name of the filter, such as `default`.
    pub filter: BString,
    /// Name of the log file without directory and extension, such as `conn`.
    pub path: BString,
    /// The columns, in order.
    pub fields: Vec<FieldSpec>,
}

/// Why receivers could not create a log with a schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaError {
    /// Stream, writer, filter or path is empty, contains control characters or is too long.
    #[error("log schema: bad {part} {text:?}")]
    Name {
        /// Which of them.
        part: &'static str,
        /// Its value.
        text: BString,
    },
    /// No columns, or 2³² or more.
    #[error("log schema: {0} fields")]
    FieldCount(usize),
    /// The name of a column is empty, contains control characters or is too long.
    #[error("log schema: bad name {name:?} of field {index}")]
    FieldName {
        /// Index of the column, from 0.
        index: usize,
        /// Its name.
        name: BString,
    },
    /// Two columns have the same name.
    #[error("log schema: fields {first} and {second} are both named {name:?}")]
    DuplicateField {
        /// Index of the first.
        first: usize,
        /// Index of the second.
        second: usize,
        /// Their name.
        name: BString,
    },
}

impl LogSchema {
    /// A schema as most logs have it: filter `default`, writer `Log::WRITER_ASCII`.
    pub fn new(
        stream: impl Into<BString>,
        path: impl Into<BString>,
        fields: Vec<FieldSpec>,
    ) -> Self {
        LogSchema {
            stream: stream.into(),
            writer: "Log::WRITER_ASCII".into(),
            filter: "default".into(),
            path: path.into(),
            fields,
        }
    }

    /// Checks that receivers can create a log with this schema.
    ///
    /// # Errors
    ///
    /// If a name is empty, contains control characters or is too long, if two columns have the same
    /// name, or if there are no columns.
    pub fn check(&self) -> Result<(), SchemaError> {
        let names = [
            ("stream", &self.stream),
            ("writer", &self.writer),
            ("filter", &self.filter),
            ("path", &self.path),
        ];
        for (part, text) in names {
            if !is_good_name(text) {
                return Err(SchemaError::Name { part, text: text.clone() });
            }
        }
        if self.fields.is_empty() || u32::try_from(self.fields.len()).is_err() {
            return Err(SchemaError::FieldCount(self.fields.len()));
        }
        let mut seen = std::collections::HashMap::with_capacity(self.fields.len());
        for (index, field) in self.fields.iter().enumerate() {
            if !is_good_name(&field.name) {
                return Err(SchemaError::FieldName { index, name: field.name.clone() });
            }
            if let Some(first) = seen.insert(&field.name, index) {
                let name = field.name.clone();
                return Err(SchemaError::DuplicateField { first, second: index, name });
            }
        }
        Ok(())
    }

    /// Appends everything before the number of records. The schema must have passed
    /// [`LogSchema::check`].
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for text in [&self.stream, &self.writer, &self.filter, &self.path] {
            put_string(text, out);
        }
        out.extend_from_slice(&(self.fields.len() as u32).to_be_bytes());
        for field in &self.fields {
            // No secondary name.
            out.push(0);
            put_string(&field.name, out);
            out.extend_from_slice(&field.log_type.tag().to_be_bytes());
            out.extend_from_slice(&field.log_type.subtype_tag().to_be_bytes());
            out.push(field.optional.into());
        }
    }
}

impl From<&Batch<'_>> for LogSchema {
    fn from(batch: &Batch<'_>) -> Self {
        LogSchema {
            stream: batch.stream.into(),
            writer: batch.writer.into(),
            filter: batch.filter.into(),
            path: batch.path.into(),
            fields: batch
                .fields()
                .map(|field| FieldSpec {
                    name: field.name.into(),
                    log_type: field.log_type,
                    optional: field.optional,
                })
                .collect(),
        }
    }
}

fn is_good_name(name: &[u8]) -> bool {
    !name.is_empty() && name.len() <= MAX_STRING as usize && !name.iter().any(u8::is_ascii_control)
}

/// Appends a string of at most [`MAX_STRING`] bytes.
pub(super) fn put_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}
