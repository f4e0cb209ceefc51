//! Builds log batches (WIRE.md §4.3), with the producer's limits of §4.6.

use std::net::IpAddr;

use bstr::BString;
use thiserror::Error;

use super::schema::put_string;
use super::{LogSchema, LogType, MAX_STRING, Scalar, SchemaError};
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
    fn type_name(&self) -> &'static str {
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

/// Size limits of a record. The defaults are Zeek's (WIRE.md §4.6).
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
        Ok(BatchBuilder { schema, limits, truncations, records: 0, payload, records_at })
    }

    /// Appends a record.
    ///
    /// # Errors
    ///
    /// If it does not match the schema or is too large. The batch is unchanged then.
    pub fn push(&mut self, record: &[LogValue<'_>]) -> Result<(), PushError> {
        let Some(records) = self.records.checked_add(1) else {
            return Err(PushError::BatchFull);
        };
        let start = self.payload.len();
        match self.encode(record) {
            Ok(()) => {
                self.records = records;
                Ok(())
            }
            Err(error) => {
                self.payload.truncate(start);
                Err(error)
            }
        }
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
        self.payload.len()
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
        let mut next = Vec::with_capacity(self.payload.len());
        next.extend_from_slice(&self.payload[..self.records_at]);
        let mut payload = std::mem::replace(&mut self.payload, next);
        let count = std::mem::take(&mut self.records);
        payload[self.records_at - 4..self.records_at].copy_from_slice(&count.to_be_bytes());
        payload
    }

    /// Returns the batch.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.take()
    }

    fn encode(&mut self, record: &[LogValue<'_>]) -> Result<(), PushError> {
        let fields = &self.schema.fields;
        if record.len() != fields.len() {
            return Err(PushError::Arity { expected: fields.len(), found: record.len() });
        }
        let start = self.payload.len();
        let mut writer = RecordWriter {
            out: &mut self.payload,
            limits: &self.limits,
            truncations: self.truncations,
            string_bytes_left: self.limits.total_string_bytes,
            elements_left: self.limits.total_container_elements,
        };
        for (index, (value, field)) in record.iter().zip(fields).enumerate() {
            writer.value(value, field.log_type).map_err(|fault| {
                let name = field.name.clone();
                match fault {
                    Fault::Type { expected, found } => {
                        PushError::Type { index, name, expected, found }
                    }
                    Fault::Unencodable(what) => PushError::Unencodable { index, name, what },
                }
            })?;
        }
        let truncations = writer.truncations;
        let (bytes, limit) = (self.payload.len() - start, self.limits.record_bytes);
        if bytes > limit {
            self.truncations.records += 1;
            return Err(PushError::RecordTooLarge { bytes, limit });
        }
        self.truncations = truncations;
        Ok(())
    }
}

/// An error in a value whose field is not known yet.
enum Fault {
    Type { expected: LogType, found: &'static str },
    Unencodable(&'static str),
}

struct RecordWriter<'b> {
    out: &'b mut Vec<u8>,
    limits: &'b Limits,
    truncations: Truncations,
    string_bytes_left: usize,
    elements_left: usize,
}

impl RecordWriter<'_> {
    fn value(&mut self, value: &LogValue<'_>, expected: LogType) -> Result<(), Fault> {
        match (expected, value) {
            (LogType::Scalar(scalar), _) => self.scalar(value, scalar),
            (_, LogValue::Unset) => {
                self.head(expected.tag(), false);
                Ok(())
            }
            (LogType::Set(element), LogValue::Set(elements))
            | (LogType::Vector(element), LogValue::Vector(elements)) => {
                self.head(expected.tag(), true);
                let room = self.limits.container_elements.min(self.elements_left);
                let len = elements.len().min(room);
                self.truncations.containers += u64::from(len < elements.len());
                self.elements_left -= len;
                self.out.extend_from_slice(&(len as u64).to_be_bytes());
                elements[..len].iter().try_for_each(|value| self.scalar(value, element))
            }
            (_, other) => Err(Fault::Type { expected, found: other.type_name() }),
        }
    }

    fn scalar(&mut self, value: &LogValue<'_>, expected: Scalar) -> Result<(), Fault> {
        if *value == LogValue::Unset {
            self.head(expected as u32, false);
            return Ok(());
        }
        self.head(expected as u32, true);
        match (expected, *value) {
            (Scalar::Bool, LogValue::Bool(x)) => self.put(i64::from(x).to_be_bytes()),
            (Scalar::Bool, LogValue::BoolNumber(x)) => self.put(x.to_be_bytes()),
            (Scalar::Int, LogValue::Int(x)) => self.put(x.to_be_bytes()),
            (Scalar::Count, LogValue::Count(x)) => self.put(x.to_be_bytes()),
            (Scalar::Double, LogValue::Double(x))
            | (Scalar::Time, LogValue::Time(x))
            | (Scalar::Interval, LogValue::Interval(x)) => self.put(x.to_be_bytes()),
            (Scalar::String, LogValue::String(bytes))
            | (Scalar::Enum, LogValue::Enum(bytes))
            | (Scalar::Func, LogValue::Func(bytes))
            | (Scalar::File, LogValue::File(bytes)) => return self.string(bytes),
            (Scalar::Port, LogValue::Port(port)) => {
                self.put(u64::from(port.number).to_be_bytes());
                self.put((port.protocol as u32).to_be_bytes());
            }
            (Scalar::Addr, LogValue::Addr(address)) => self.address(address.to_canonical()),
            (Scalar::Subnet, LogValue::Subnet(subnet)) => {
                if subnet.prefix_len > 128 {
                    return Err(Fault::Unencodable("prefix length above 128"));
                }
                self.put([subnet.prefix_len]);
                // A length shorter than the mapped prefix is not an IPv4 subnet.
                let is_ipv4 = subnet.network.is_ipv4() && subnet.prefix_len >= 96;
                let ip = if is_ipv4 { subnet.network.to_ip() } else { subnet.network.0.into() };
                self.address(ip);
            }
            (_, other) => {
                let found = other.type_name();
                return Err(Fault::Type { expected: expected.into(), found });
            }
        }
        Ok(())
    }

    fn head(&mut self, tag: u32, present: bool) {
        self.put(tag.to_be_bytes());
        self.put([0, 0, 0, 0, present.into()]);
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.out.extend_from_slice(&bytes);
    }

    fn string(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let room = self.limits.string_bytes.min(self.string_bytes_left);
        let len = bytes.len().min(room);
        if len > MAX_STRING as usize {
            return Err(Fault::Unencodable("string of 2^31 bytes or more"));
        }
        self.truncations.strings += u64::from(len < bytes.len());
        self.string_bytes_left -= len;
        put_string(&bytes[..len], self.out);
        Ok(())
    }

    fn address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => {
                self.put([4]);
                self.put(v4.octets());
            }
            IpAddr::V6(v6) => {
                self.put([6]);
                self.put(v6.octets());
            }
        }
    }
}
