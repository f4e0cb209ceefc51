//! Reads log batches without copying (WIRE.md §4.3, acceptance §4.5).
//!
//! Nothing here allocates. An error rejects the whole batch, so a receiver that formats while it
//! reads must be able to undo what it has written.

use std::fmt;
use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use thiserror::Error;

use super::visit::{Ignore, MakeValueRef};
use super::{
    LogType, MAX_STRING, MIN_FIELD, MIN_VALUE, Scalar, TAG_SET, TAG_VECTOR, Text, ValueRef, Visitor,
};
use crate::value::Protocol;

/// Why a batch was rejected, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("log batch: byte {offset}, {place}: {kind}")]
pub struct DecodeError {
    /// Offset in the payload of the first byte that could not be read.
    pub offset: usize,
    /// The part being read.
    pub place: Place,
    /// What is wrong.
    pub kind: DecodeErrorKind,
}

/// A part of a batch. Indices start at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Names and counts of the header.
    Header,
    /// The description of a field.
    Field(u32),
    /// A value.
    Value {
        /// Index of the record.
        record: u32,
        /// Index of the field.
        field: u32,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header => f.write_str("header"),
            Place::Field(field) => write!(f, "description of field {field}"),
            Place::Value { record, field } => write!(f, "record {record} field {field}"),
        }
    }
}

/// What is wrong with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeErrorKind {
    /// The batch ends inside a value or a name.
    #[error("needs {needed} bytes, {left} are left")]
    Truncated {
        /// Bytes needed next.
        needed: usize,
        /// Bytes left.
        left: usize,
    },
    /// A string of 2³¹ bytes or more.
    #[error("string of {0} bytes")]
    StringTooLong(u32),
    /// A log without columns.
    #[error("no fields")]
    NoFields,
    /// More fields than the bytes could hold.
    #[error("claims {claimed} fields in {left} bytes")]
    FieldCount {
        /// The number in the header.
        claimed: u32,
        /// Bytes after it.
        left: usize,
    },
    /// More records than the bytes could hold.
    #[error("claims {claimed} records in {left} bytes")]
    RecordCount {
        /// The number in the header.
        claimed: u32,
        /// Bytes after it.
        left: usize,
    },
    /// A field of a type that cannot be logged.
    #[error("type {0} cannot be logged")]
    FieldType(u32),
    /// A set or vector of a type that cannot be an element.
    #[error("containers of type {0} cannot be logged")]
    ElementType(u32),
    /// A value of another type than its field.
    #[error("value has type {found}, its field has {expected} ({})", expected.tag())]
    TypeMismatch {
        /// Type of the field.
        expected: LogType,
        /// Type tag of the value.
        found: u32,
    },
    /// An element count that is negative, or more than the bytes could hold.
    #[error("claims {claimed} elements in {left} bytes")]
    ElementCount {
        /// The number before the elements.
        claimed: i64,
        /// Bytes after it.
        left: usize,
    },
    /// A port with an unknown transport protocol.
    #[error("unknown port protocol {0}")]
    PortProtocol(u32),
    /// An address that is neither IPv4 nor IPv6.
    #[error("unknown address family {0}")]
    AddressFamily(u8),
    /// A prefix length that the address cannot have. On the wire, IPv4 prefix lengths start at 96.
    #[error("prefix length {0} out of range")]
    PrefixLength(u8),
    /// The cursor was asked for more values than the batch has.
    #[error("no values left")]
    NoValuesLeft,
}

/// A batch. Its header has been checked, its records not yet.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Name of the log stream, such as `Conn::LOG`.
    pub stream: &'a BStr,
    /// Name of the writer, such as `Log::WRITER_ASCII`.
    pub writer: &'a BStr,
    /// Name of the filter, such as `default`.
    pub filter: &'a BStr,
    /// Path as the producer chose it, such as `conn`. Can contain anything: callers must make sure
    /// that it stays inside the log directory.
    pub path: &'a BStr,
    num_fields: u32,
    num_records: u32,
    /// The whole payload.
    payload: &'a [u8],
    /// Offset of the fields.
    fields_at: usize,
    /// Offset of the number of records.
    num_records_at: usize,
}

impl<'a> Batch<'a> {
    /// Reads and checks the header of a batch.
    ///
    /// # Errors
    ///
    /// If the header is truncated, names a type that cannot be logged, has no fields, or counts
    /// more fields or records than the bytes could hold.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { rest: payload };
        let at = |place| at(payload.len(), place);
        let header = Place::Header;
        let stream = reader.string().map_err(at(header))?.as_bstr();
        let writer = reader.string().map_err(at(header))?.as_bstr();
        let filter = reader.string().map_err(at(header))?.as_bstr();
        let path = reader.string().map_err(at(header))?.as_bstr();
        let num_fields = reader.u32().map_err(at(header))?;
        let left = reader.rest.len();
        if num_fields == 0 {
            return Err(at(header)(reader.fault(DecodeErrorKind::NoFields)));
        }
        if num_fields as usize > left / MIN_FIELD {
            let kind = DecodeErrorKind::FieldCount { claimed: num_fields, left };
            return Err(at(header)(reader.fault(kind)));
        }
        let fields_at = payload.len() - reader.rest.len();
        for field in 0..num_fields {
            reader.field().map_err(at(Place::Field(field)))?;
        }
        let num_records_at = payload.len() - reader.rest.len();
        let num_records = reader.num_records(num_fields).map_err(at(header))?;
        Ok(Batch {
            stream,
            writer,
            filter,
            path,
            num_fields,
            num_records,
            payload,
            fields_at,
            num_records_at,
        })
    }

    /// The part of a payload that names its stream, writer, filter and path: a key to look up its
    /// header without reading the rest of it. `None` if that part is truncated.
    #[inline]
    pub fn names_bytes(payload: &[u8]) -> Option<&[u8]> {
        let rest = (0..4).try_fold(payload, |rest, _| Some(split_name(rest)?.1))?;
        Some(&payload[..payload.len() - rest.len()])
    }

    /// The path of a payload; reads nothing after it. `None` if it is truncated.
    #[inline]
    pub fn path_bytes(payload: &[u8]) -> Option<&[u8]> {
        let rest = (0..3).try_fold(payload, |rest, _| Some(split_name(rest)?.1))?;
        Some(split_name(rest)?.0)
    }

    /// Everything before the number of records. Batches with equal header bytes have the same
    /// stream, writer, filter, path and columns.
    #[inline]
    pub fn header_bytes(&self) -> &'a [u8] {
        &self.payload[..self.num_records_at]
    }

    /// Number of columns, at least 1.
    pub fn num_fields(&self) -> u32 {
        self.num_fields
    }

    /// Number of records the batch claims. Its bytes could hold that many.
    pub fn num_records(&self) -> u32 {
        self.num_records
    }

    /// The columns.
    pub fn fields(&self) -> Fields<'a> {
        let rest = &self.payload[self.fields_at..self.num_records_at];
        Fields { reader: Reader { rest } }
    }

    /// Returns a cursor before the first value of the first record.
    pub fn cursor(&self) -> Cursor<'a> {
        Cursor {
            batch: *self,
            values: self.values(),
            values_total: u64::from(self.num_fields) * u64::from(self.num_records),
            values_read: 0,
            elements_left: 0,
        }
    }

    /// The values, starting with the first of the first record.
    #[inline]
    pub fn values(&self) -> Values<'a> {
        // The count was read there and takes four bytes.
        Values { reader: Reader { rest: &self.payload[self.num_records_at + 4..] } }
    }

    /// Turns a fault in a value of this batch into an error. Indices start at 0.
    #[cold]
    pub fn error(&self, fault: Fault, record: u32, field: u32) -> DecodeError {
        at(self.payload.len(), Place::Value { record, field })(fault)
    }
}

/// A header that has been checked. Payloads that start with the same bytes have the same header,
/// and need not parse it again, which is most of the work of a small batch.
#[derive(Clone, Debug)]
pub struct KnownHeader {
    bytes: Box<[u8]>,
    /// Where stream, writer, filter and path are in `bytes`.
    names: [std::ops::Range<usize>; 4],
    num_fields: u32,
    fields_at: usize,
}

impl KnownHeader {
    /// Copies the header of a batch.
    pub fn of(batch: &Batch<'_>) -> Self {
        let mut end = 0;
        let names = [batch.stream, batch.writer, batch.filter, batch.path].map(|name| {
            let start = end + 4;
            end = start + name.len();
            start..end
        });
        KnownHeader {
            bytes: batch.header_bytes().into(),
            names,
            num_fields: batch.num_fields,
            fields_at: batch.fields_at,
        }
    }

    /// Reads a batch with this header; `None` if the payload has another one.
    ///
    /// # Errors
    ///
    /// If it claims more records than the bytes could hold.
    #[inline]
    pub fn decode<'a>(&self, payload: &'a [u8]) -> Option<Result<Batch<'a>, DecodeError>> {
        let rest = payload.strip_prefix(&*self.bytes)?;
        let mut reader = Reader { rest };
        let num_records = reader.num_records(self.num_fields);
        let num_records = num_records.map_err(at(payload.len(), Place::Header));
        let name = |i: usize| payload[self.names[i].clone()].as_bstr();
        Some(num_records.map(|num_records| Batch {
            stream: name(0),
            writer: name(1),
            filter: name(2),
            path: name(3),
            num_fields: self.num_fields,
            num_records,
            payload,
            fields_at: self.fields_at,
            num_records_at: self.bytes.len(),
        }))
    }
}

/// The description of one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Flattened name, such as `id.orig_h`.
    pub name: &'a BStr,
    /// Log writes do not use it.
    pub secondary_name: Option<&'a BStr>,
    /// Type of the values.
    pub log_type: LogType,
    /// The subtype tag as sent. For containers it is that of `log_type`; for other types it means
    /// nothing.
    pub subtype_tag: u32,
    /// Whether the record field is `&optional`. Values of other fields can be unset, too.
    pub optional: bool,
}

/// Iterator over the columns of a [`Batch`].
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        // `Batch::decode` has read these bytes before, so the only error is the end.
        self.reader.field().ok()
    }
}

/// Reads the values of a batch, row by row, as data. [`Values`] is faster.
///
/// Never reads bytes after the last record; Zeek ignores them, too (WIRE.md §4.3).
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    batch: Batch<'a>,
    values: Values<'a>,
    values_total: u64,
    /// Values started so far.
    values_read: u64,
    /// Unread elements of the last value.
    elements_left: u64,
}

impl<'a> Cursor<'a> {
    /// Reads the next value of the row, or the first of the next row. Skips unread elements of a
    /// container before it.
    ///
    /// # Errors
    ///
    /// If the value is truncated, malformed, or not of the type `expected` for its field, and after
    /// the last value. The cursor is then unusable.
    #[inline]
    pub fn next_value(&mut self, expected: LogType) -> Result<ValueRef<'a>, DecodeError> {
        while self.next_element()?.is_some() {}
        if self.values_read == self.values_total {
            let fault = self.values.reader.fault(DecodeErrorKind::NoValuesLeft);
            return Err(self.error(fault));
        }
        self.values_read += 1;
        self.value(expected).map_err(|fault| self.error(fault))
    }

    /// Reads the next element of the last container; `None` after its last element. Elements carry
    /// their own type, which can differ from that of the field.
    ///
    /// # Errors
    ///
    /// If the element is truncated, malformed, or a container.
    #[inline]
    pub fn next_element(&mut self) -> Result<Option<ValueRef<'a>>, DecodeError> {
        if self.elements_left == 0 {
            return Ok(None);
        }
        self.elements_left -= 1;
        self.values.element(MakeValueRef).map(Some).map_err(|fault| self.error(fault))
    }

    #[inline]
    fn value(&mut self, expected: LogType) -> Result<ValueRef<'a>, Fault> {
        if let LogType::Scalar(scalar) = expected {
            return self.values.scalar(scalar, MakeValueRef);
        }
        let Some(len) = self.values.container(expected)? else { return Ok(ValueRef::Unset) };
        self.elements_left = len;
        Ok(match expected {
            LogType::Vector(_) => ValueRef::Vector { len },
            LogType::Set(_) | LogType::Scalar(_) => ValueRef::Set { len },
        })
    }

    /// Adds the record and field of the last value to a fault.
    #[cold]
    fn error(&self, fault: Fault) -> DecodeError {
        let index = self.values_read.saturating_sub(1);
        let num_fields = u64::from(self.batch.num_fields);
        // `Batch::decode` bounds both quotients by numbers that were read as u32.
        self.batch.error(fault, (index / num_fields) as u32, (index % num_fields) as u32)
    }
}

/// The values of a batch from some offset on, for callers that count records and fields themselves.
/// They must not read more values than the batch claims.
///
/// It passes each value to a [`Visitor`], whose code is inlined into the branches that read the
/// types. It consists only of the offset, so it stays in registers: pass it by value to functions
/// that are not inlined.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    reader: Reader<'a>,
}

impl<'a> Values<'a> {
    /// Reads a value of a field of scalar type.
    ///
    /// # Errors
    ///
    /// If the value is truncated, malformed, or not of the type `expected`. Nothing has been
    /// visited then.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "one match on the type for reading and visiting")]
    pub fn scalar<V: Visitor<'a>>(
        &mut self,
        expected: Scalar,
        visitor: V,
    ) -> Result<V::Output, Fault> {
        let (found, present) = self.reader.value_head()?;
        if found != expected as u32 {
            return Err(self.reader.mismatch(expected.into(), found));
        }
        if !present {
            return Ok(visitor.unset());
        }
        self.reader.scalar(expected, visitor)
    }

    /// Reads the head of a value of a field of container type: the number of its elements, which
    /// follow, or `None` if it is unset.
    ///
    /// # Errors
    ///
    /// If the value is truncated, is not of the type `expected`, or claims more elements than the
    /// bytes could hold.
    #[inline]
    pub fn container(&mut self, expected: LogType) -> Result<Option<u64>, Fault> {
        let (found, present) = self.reader.value_head()?;
        if found != expected.tag() {
            return Err(self.reader.mismatch(expected, found));
        }
        if present { self.reader.element_count().map(Some) } else { Ok(None) }
    }

    /// Reads an element of a container. It carries its own type, which can differ from that of the
    /// field.
    ///
    /// # Errors
    ///
    /// If the element is truncated, malformed, or a container. Nothing has been visited then.
    #[inline]
    pub fn element<V: Visitor<'a>>(&mut self, visitor: V) -> Result<V::Output, Fault> {
        let (tag, present) = self.reader.value_head()?;
        let Some(scalar) = Scalar::from_tag(tag) else {
            return Err(self.reader.fault(DecodeErrorKind::ElementType(tag)));
        };
        if present { self.reader.scalar(scalar, visitor) } else { Ok(visitor.unset()) }
    }

    /// Skips a value of a field of this type. Checks it like any other value.
    ///
    /// # Errors
    ///
    /// As [`Values::scalar`], [`Values::container`] and [`Values::element`].
    pub fn after(mut self, expected: LogType) -> Result<Self, Fault> {
        if let LogType::Scalar(scalar) = expected {
            self.scalar(scalar, Ignore)?;
            return Ok(self);
        }
        for _ in 0..self.container(expected)?.unwrap_or(0) {
            self.element(Ignore)?;
        }
        Ok(self)
    }

    /// Bytes left, including any after the last value.
    #[inline]
    pub fn bytes_left(self) -> usize {
        self.reader.rest.len()
    }
}

/// An error in a value whose record and field are not known yet: see [`Batch::error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the batch from the error to its end.
    left: usize,
    kind: DecodeErrorKind,
}

/// Returns a function that turns a fault into an error at `place`, in a payload of that length.
fn at(payload_len: usize, place: Place) -> impl Fn(Fault) -> DecodeError {
    move |Fault { left, kind }| {
        let offset = payload_len.saturating_sub(left);
        DecodeError { offset, place, kind }
    }
}

/// Reads primitives off the front of a slice.
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the number of records, which follows the header.
    fn num_records(&mut self, num_fields: u32) -> Result<u32, Fault> {
        let num_records = self.u32()?;
        let left = self.rest.len();
        // Both factors are below 2³², so the product fits.
        if u64::from(num_records) * u64::from(num_fields) > (left / MIN_VALUE) as u64 {
            return Err(self.fault(DecodeErrorKind::RecordCount { claimed: num_records, left }));
        }
        Ok(num_records)
    }

    // By value, here and below: a reference would force the reader out of registers.
    #[cold]
    fn fault(self, kind: DecodeErrorKind) -> Fault {
        Fault { left: self.rest.len(), kind }
    }

    #[cold]
    fn mismatch(self, expected: LogType, found: u32) -> Fault {
        self.fault(DecodeErrorKind::TypeMismatch { expected, found })
    }

    #[cold]
    fn truncated(self, needed: usize) -> Fault {
        self.fault(DecodeErrorKind::Truncated { needed, left: self.rest.len() })
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "one bounds check and a load")]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(N));
        };
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    fn u64(&mut self) -> Result<u64, Fault> {
        self.array().map(u64::from_be_bytes)
    }

    /// Only 01 is true.
    fn bool(&mut self) -> Result<bool, Fault> {
        self.array().map(|[byte]| byte == 1)
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a length and a slice")]
    fn text(&mut self) -> Result<Text<'a>, Fault> {
        let len = self.u32()?;
        if len > MAX_STRING {
            return Err(self.fault(DecodeErrorKind::StringTooLong(len)));
        }
        let Some(text) = Text::new(self.rest, len as usize) else {
            return Err(self.truncated(len as usize));
        };
        self.rest = text.rest();
        Ok(text)
    }

    fn string(&mut self) -> Result<&'a [u8], Fault> {
        self.text().map(Text::bytes)
    }

    fn field(&mut self) -> Result<Field<'a>, Fault> {
        let secondary_name = if self.bool()? { Some(self.string()?.as_bstr()) } else { None };
        let name = self.string()?.as_bstr();
        let tag = self.u32()?;
        let subtype_tag = self.u32()?;
        let container: Option<fn(Scalar) -> LogType> = match tag {
            TAG_SET => Some(LogType::Set),
            TAG_VECTOR => Some(LogType::Vector),
            _ => None,
        };
        let log_type = match container {
            Some(container) => container(
                Scalar::from_tag(subtype_tag)
                    .ok_or_else(|| self.fault(DecodeErrorKind::ElementType(subtype_tag)))?,
            ),
            None => LogType::Scalar(
                Scalar::from_tag(tag).ok_or_else(|| self.fault(DecodeErrorKind::FieldType(tag)))?,
            ),
        };
        let optional = self.bool()?;
        Ok(Field { name, secondary_name, log_type, subtype_tag, optional })
    }

    /// Reads the type tag and presence of a value, and ignores its subtype.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "one bounds check for nine bytes")]
    fn value_head(&mut self) -> Result<(u32, bool), Fault> {
        let [a, b, c, d, _, _, _, _, present] = self.array::<MIN_VALUE>()?;
        Ok((u32::from_be_bytes([a, b, c, d]), present == 1))
    }

    #[inline]
    fn element_count(&mut self) -> Result<u64, Fault> {
        let claimed = self.array().map(i64::from_be_bytes)?;
        let left = self.rest.len();
        match u64::try_from(claimed) {
            Ok(count) if count <= (left / MIN_VALUE) as u64 => Ok(count),
            _ => Err(self.fault(DecodeErrorKind::ElementCount { claimed, left })),
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see Values::scalar")]
    fn scalar<V: Visitor<'a>>(&mut self, scalar: Scalar, visitor: V) -> Result<V::Output, Fault> {
        Ok(match scalar {
            Scalar::Bool => visitor.bool(self.u64()? as i64),
            Scalar::Int => visitor.int(self.array().map(i64::from_be_bytes)?),
            Scalar::Count => visitor.count(self.u64()?),
            Scalar::Double => visitor.double(self.array().map(f64::from_be_bytes)?),
            Scalar::Time => visitor.time(self.array().map(f64::from_be_bytes)?),
            Scalar::Interval => visitor.interval(self.array().map(f64::from_be_bytes)?),
            Scalar::String => visitor.string(self.text()?),
            Scalar::Enum => visitor.enum_name(self.text()?),
            Scalar::Func => visitor.func(self.text()?),
            Scalar::File => visitor.file(self.text()?),
            Scalar::Port => {
                let number = self.u64()?;
                let protocol = self.u32()?;
                match u8::try_from(protocol).ok().and_then(Protocol::from_number) {
                    Some(protocol) => visitor.port(number, protocol),
                    None => return Err(self.fault(DecodeErrorKind::PortProtocol(protocol))),
                }
            }
            Scalar::Addr => visitor.addr(self.address()?),
            Scalar::Subnet => {
                let [wire_length] = self.array()?;
                let prefix = self.address()?;
                // IPv4 lengths include the 96 bits of the mapped prefix.
                let (offset, max) = if prefix.is_ipv4() { (96, 32) } else { (0, 128) };
                match wire_length.checked_sub(offset) {
                    Some(length) if length <= max => visitor.subnet(prefix, length),
                    _ => return Err(self.fault(DecodeErrorKind::PrefixLength(wire_length))),
                }
            }
        })
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "an address should not go through memory")]
    fn address(&mut self) -> Result<IpAddr, Fault> {
        match self.array()? {
            [4] => self.array::<4>().map(IpAddr::from),
            [6] => self.array::<16>().map(IpAddr::from),
            [family] => Err(self.fault(DecodeErrorKind::AddressFamily(family))),
        }
    }
}

/// Splits off the name at the start of `bytes`, which follows its length. Returns the name and the
/// rest; `None` if it is truncated.
#[inline]
fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_be_bytes(*length) as usize)
}
