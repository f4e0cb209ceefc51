//! Builds log batches (WIRE.md §4.3), with the producer's limits of §4.6.

use std::net::IpAddr;

use bstr::BString;
use thiserror::Error;

use super::{LogSchema, LogType, RecordWriter, SchemaError};
use crate::value::{Port, Subnet};

/// One value of a record, borrowed from the producer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LogValue<'a> {
    /// No value; valid in every column.
    #[default]
    Unset,
    /// For `bool`.
    Bool(bool),
    /// For `bool`, as its number on the wire: anything but 0 is true, and Zeek sometimes sends 255.
    BoolNumber(i64),
    /// For `int`.
    Int(i64),
    /// For `count`.
    Count(u64),
    /// For `double`.
    Double(f64),
    /// For `time`: seconds since the Unix epoch.
    Time(f64),
    /// For `interval`: seconds.
    Interval(f64),
    /// For `string`: any bytes.
    String(&'a [u8]),
    /// For `enum`: the qualified name.
    Enum(&'a [u8]),
    /// For `func`: the function's name.
    Func(&'a [u8]),
    /// For `file`: the file's name.
    File(&'a [u8]),
    /// For `port`.
    Port(Port),
    /// For `addr`. An IPv4-mapped IPv6 address is sent as IPv4, as Zeek treats it.
    Addr(IpAddr),
    /// For `subnet`.
    Subnet(Subnet),
    /// For `set[…]`. Order is kept, and so are duplicates.
    Set(&'a [LogValue<'a>]),
    /// For `vector of …`; elements can be unset.
    Vector(&'a [LogValue<'a>]),
}

impl LogValue<'_> {
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            LogValue::Unset => "unset",
            LogValue::Bool(_) | LogValue::BoolNumber(_) => "bool",
            LogValue::Int(_) => "int",
            LogValue::Count(_) => "count",
            LogValue::Double(_) => "double",
            LogValue::Time(_) => "time",
            LogValue::Interval(_) => "interval",
            LogValue::String(_) => "string",
            LogValue::Enum(_) => "enum",
            LogValue::Func(_) => "func",
            LogValue::File(_) => "file",
            LogValue::Port(_) => "port",
            LogValue::Addr(_) => "addr",
            LogValue::Subnet(_) => "subnet",
            LogValue::Set(_) => "set",
            LogValue::Vector(_) => "vector",
        }
    }
}

impl<'a> From<&'a str> for LogValue<'a> {
    fn from(text: &'a str) -> Self {
        LogValue::String(text.as_bytes())
    }
}
impl<'a> From<&'a [u8]> for LogValue<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        LogValue::String(bytes)
    }
}

/// A record that violates its schema or the limits. The batch is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PushError {
    /// More or fewer values than the schema has fields.
    #[error("record has {found} values, its schema has {expected} fields")]
    Arity {
        /// Number of fields.
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// The type of a value differs from its field's, or that of an element from its container's.
    #[error("field {index} {name:?}: value is of type {found}, expected {expected}")]
    Type {
        /// Index of the field, from 0.
        index: usize,
        /// Its name.
        name: BString,
        /// Type of the field or of its elements.
        expected: LogType,
        /// Type of the value.
        found: &'static str,
    },
    /// A string of 2³¹ bytes or more, or a prefix length above 128.
    #[error("field {index} {name:?}: {what} cannot be sent")]
    Unencodable {
        /// Index of the field, from 0.
        index: usize,
        /// Its name.
        name: BString,
        /// What is wrong with the value.
        what: &'static str,
    },
    /// A record larger than [`Limits::record_bytes`].
    #[error("record of {bytes} bytes, more than {limit}")]
    RecordTooLarge {
        /// Size of the encoded record.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The batch holds 2³² − 1 records.
    #[error("batch is full")]
    BatchFull,
}

/// Size limits of a record. The defaults are Zeek's (WIRE.md §4.6). As in Zeek, 0 means no limit,
/// except for [`Limits::record_bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a string; longer ones are cut. `max_field_string_bytes`.
    pub string_bytes: usize,
    /// Bytes of all strings of a record; strings beyond are cut. `max_total_string_bytes`.
    pub total_string_bytes: usize,
    /// Elements of a set or vector; longer ones are cut. `max_field_container_elements`.
    pub container_elements: usize,
    /// Elements of all sets and vectors of a record. `max_total_container_elements`.
    pub total_container_elements: usize,
    /// Bytes of an encoded record; larger ones are rejected. `max_log_record_size`.
    pub record_bytes: usize,
}

impl Limits {
    /// No limits.
    pub const NONE: Limits = Limits {
        string_bytes: usize::MAX,
        total_string_bytes: usize::MAX,
        container_elements: usize::MAX,
        total_container_elements: usize::MAX,
        record_bytes: usize::MAX,
    };

    /// The same with numbers that need no exception.
    fn without_zeros(self) -> Self {
        let limit = |limit: usize| if limit == 0 { usize::MAX } else { limit };
        Limits {
            string_bytes: limit(self.string_bytes),
            total_string_bytes: limit(self.total_string_bytes),
            container_elements: limit(self.container_elements),
            total_container_elements: limit(self.total_container_elements),
            record_bytes: self.record_bytes,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            string_bytes: 4096,
            total_string_bytes: 256_000,
            container_elements: 100,
            total_container_elements: 500,
            record_bytes: 64 << 20,
        }
    }
}

/// How many times [`Limits`] applied since the builder was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncations {
    /// Strings cut short.
    pub strings: u64,
    /// Sets and vectors cut short.
    pub containers: u64,
    /// Records rejected because of their size.
    pub records: u64,
}

impl Truncations {
    /// Those since an earlier state of the same builder.
    #[must_use]
    pub fn since(self, before: Truncations) -> Truncations {
        Truncations {
            strings: self.strings - before.strings,
            containers: self.containers - before.containers,
            records: self.records - before.records,
        }
    }
}

/// Collects records of one schema into a batch.
///
/// ```
/// use zcluster::wire::zeek_bin::{Batch, BatchBuilder, FieldSpec, LogSchema, LogValue, Scalar};
///
/// let fields = vec![FieldSpec::new("ts", Scalar::Time), FieldSpec::new("note", Scalar::String)];
/// let mut batch = BatchBuilder::new(LogSchema::new("Demo::LOG", "demo", fields))?;
/// batch.push(&[LogValue::Time(1_767_225_600.25), "hello".into()])?;
/// let payload = batch.take();
/// assert_eq!(Batch::decode(&payload)?.num_records(), 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    schema: LogSchema,
    limits: Limits,
    truncations: Truncations,
    records: u32,
    /// Header, four bytes for the number of records, records.
    payload: Vec<u8>,
    /// Where the records start in `payload`.
    records_at: usize,
    /// Where they end. What is behind it is of a record whose writing panicked.
    end: usize,
}

impl BatchBuilder {
    /// Creates a builder without [`Limits`].
    ///
    /// # Errors
    ///
    /// If the schema fails [`LogSchema::check`].
    pub fn new(schema: LogSchema) -> Result<Self, SchemaError> {
        Self::with_limits(schema, Limits::NONE)
    }

    /// Creates a builder that applies `limits` to records.
    ///
    /// # Errors
    ///
    /// If the schema fails [`LogSchema::check`].
    pub fn with_limits(schema: LogSchema, limits: Limits) -> Result<Self, SchemaError> {
        schema.check()?;
        let mut payload = Vec::new();
        schema.encode(&mut payload);
        payload.extend_from_slice(&0u32.to_be_bytes());
        let records_at = payload.len();
        let truncations = Truncations::default();
        let limits = limits.without_zeros();
        let end = records_at;
        Ok(BatchBuilder { schema, limits, truncations, records: 0, payload, records_at, end })
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// If it does not match the schema or is too large. The batch is unchanged then.
    pub fn push(&mut self, record: &[LogValue<'_>]) -> Result<(), PushError> {
        let (expected, found) = (self.schema.fields.len(), record.len());
        if found != expected {
            return Err(PushError::Arity { expected, found });
        }
        self.push_with(|writer| record.iter().for_each(|value| writer.put(*value)))
    }

    /// Appends a record that a function writes, value by value. The batch is unchanged if the
    /// function panics.
    ///
    /// # Errors
    ///
    /// As [`BatchBuilder::push`].
    #[inline]
    pub fn push_with(
        &mut self,
        write: impl FnOnce(&mut RecordWriter<'_>),
    ) -> Result<(), PushError> {
        let Some(records) = self.records.checked_add(1) else {
            return Err(PushError::BatchFull);
        };
        let start = self.end;
        self.payload.truncate(start);
        let mut writer = RecordWriter::new(
            &mut self.payload,
            &self.schema.fields,
            &self.limits,
            self.truncations,
        );
        write(&mut writer);
        let written = writer.finish();
        let (bytes, limit) = (self.payload.len() - start, self.limits.record_bytes);
        let error = match written {
            Ok(truncations) if bytes <= limit => {
                self.truncations = truncations;
                self.records = records;
                self.end = start + bytes;
                return Ok(());
            }
            Ok(_) => {
                self.truncations.records += 1;
                PushError::RecordTooLarge { bytes, limit }
            }
            Err(error) => error,
        };
        self.payload.truncate(start);
        Err(error)
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.records as usize
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Size of the batch in bytes, header included.
    pub fn bytes(&self) -> usize {
        self.end
    }

    /// How many times the limits have applied so far.
    pub fn truncations(&self) -> Truncations {
        self.truncations
    }

    /// The schema of the records.
    pub fn schema(&self) -> &LogSchema {
        &self.schema
    }

    /// Returns the batch and starts an empty one.
    #[must_use]
    pub fn take(&mut self) -> Vec<u8> {
        // Same capacity as this batch: the next one is likely about as large.
        let mut next = Vec::with_capacity(self.end);
        next.extend_from_slice(&self.payload[..self.records_at]);
        let mut payload = std::mem::replace(&mut self.payload, next);
        payload.truncate(std::mem::replace(&mut self.end, self.records_at));
        let count = std::mem::take(&mut self.records);
        payload[self.records_at - 4..self.records_at].copy_from_slice(&count.to_be_bytes());
        payload
    }

    /// Returns the batch.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.take()
    }
}
