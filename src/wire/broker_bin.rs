//! `broker-bin-v1`: values and events as tagged big-endian bytes (WIRE.md §2).
//!
//! The encoder writes an event straight into its envelope without building a value for it. The
//! decoder rejects everything that does not have exactly the documented shape (WIRE.md §2.7).

use std::collections::{BTreeMap, BTreeSet};

use bstr::BString;
use thiserror::Error;

mod check;

pub use check::check_event;

use super::MAX_DEPTH;
use crate::event::Event;
use crate::value::{Address, Port, Protocol, Real, Subnet, Timespan, Timestamp, Value};

/// Why bytes are not a value or an event. Offsets count from the start of the buffer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The buffer ends too early.
    #[error("byte {offset}: expected {expected}, found the end of the data")]
    Truncated {
        /// Where the missing part should start.
        offset: usize,
        /// The missing part.
        expected: &'static str,
    },
    /// A type tag that WIRE.md §2.1 does not define.
    #[error("byte {offset}: expected a type tag from 00 to 0e, found {tag:02x}")]
    UnknownTag {
        /// Offset of the tag.
        offset: usize,
        /// The tag.
        tag: u8,
    },
    /// A length that does not fit in 32 bits, or whose LEB128 number is too long.
    #[error("byte {offset}: expected a length of at most 32 bits")]
    LengthOverflow {
        /// Offset of the length.
        offset: usize,
    },
    /// A container announces more elements than bytes follow.
    #[error("byte {offset}: {announced} elements announced, room for {room} at most")]
    TooManyElements {
        /// Offset of the first element.
        offset: usize,
        /// How many values the container claims to hold.
        announced: u64,
        /// How many the rest of the buffer could hold.
        room: usize,
    },
    /// A subnet with a prefix of more than 128 bits.
    #[error("byte {offset}: expected a prefix length from 0 to 128, found {found}")]
    PrefixLength {
        /// Offset of the prefix length.
        offset: usize,
        /// The prefix length.
        found: u8,
    },
    /// A port with a protocol number above 3.
    #[error("byte {offset}: expected a protocol from 0 to 3, found {found}")]
    Protocol {
        /// Offset of the protocol number.
        offset: usize,
        /// The protocol number.
        found: u8,
    },
    /// A set contains an element twice, or a table contains a key twice.
    #[error("byte {offset}: expected {expected}, found it a second time")]
    Duplicate {
        /// Offset of the second one.
        offset: usize,
        /// What must be unique.
        expected: &'static str,
    },
    /// Containers nest deeper than [`MAX_DEPTH`].
    #[error("byte {offset}: expected at most {MAX_DEPTH} nested containers")]
    TooDeep {
        /// Offset of the first container that is too deep.
        offset: usize,
    },
    /// The value ends before the buffer does.
    #[error("byte {offset}: expected the end of the data, found {len} more bytes")]
    TrailingBytes {
        /// Offset of the first byte after the value.
        offset: usize,
        /// Number of bytes after the value.
        len: usize,
    },
    /// A value, but not an event: the envelope does not have the required shape.
    #[error("byte {offset}: expected {expected}, found {found}")]
    Envelope {
        /// Offset of the wrong part.
        offset: usize,
        /// What an event has there.
        expected: &'static str,
        /// What was found instead.
        found: String,
    },
}

mod tag {
    pub(super) const NONE: u8 = 0x00;
    pub(super) const BOOLEAN: u8 = 0x01;
    pub(super) const COUNT: u8 = 0x02;
    pub(super) const INTEGER: u8 = 0x03;
    pub(super) const REAL: u8 = 0x04;
    pub(super) const STRING: u8 = 0x05;
    pub(super) const ADDRESS: u8 = 0x06;
    pub(super) const SUBNET: u8 = 0x07;
    pub(super) const PORT: u8 = 0x08;
    pub(super) const TIMESTAMP: u8 = 0x09;
    pub(super) const TIMESPAN: u8 = 0x0a;
    pub(super) const ENUM: u8 = 0x0b;
    pub(super) const SET: u8 = 0x0c;
    pub(super) const TABLE: u8 = 0x0d;
    pub(super) const VECTOR: u8 = 0x0e;
}

/// Version and message type at the start of an envelope: both are count 1 (WIRE.md §2.7).
const VERSION: u64 = 1;
const TYPE_EVENT: u64 = 1;

/// Bit patterns of reals that differ from IEEE 754: the signs of infinities are swapped (WIRE.md
/// §2.3).
const POSITIVE_INFINITY: u64 = 0xfff0_0000_0000_0000;
const NEGATIVE_INFINITY: u64 = 0x7ff0_0000_0000_0000;
const NAN: u64 = u64::MAX;

/// Appends a value.
///
/// Lengths are 32 bits on the wire, so longer strings and containers are cut to `u32::MAX` bytes or
/// elements. All NaNs are written as the same bits. Subnormal reals are written as plain IEEE 754,
/// which Zeek misreads; no encoding exists that Zeek reads correctly. A value nested deeper than
/// [`MAX_DEPTH`] is written, but [`decode_value`] rejects it.
pub fn encode_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::None => out.push(tag::NONE),
        Value::Boolean(b) => out.extend_from_slice(&[tag::BOOLEAN, u8::from(*b)]),
        Value::Count(n) => encode_count(*n, out),
        Value::Integer(n) => tagged(tag::INTEGER, &n.to_be_bytes(), out),
        Value::Real(real) => tagged(tag::REAL, &real_bits(*real).to_be_bytes(), out),
        Value::String(bytes) => encode_bytes(tag::STRING, bytes, out),
        Value::Address(address) => tagged(tag::ADDRESS, &address.0, out),
        Value::Subnet(subnet) => {
            tagged(tag::SUBNET, &subnet.network.0, out);
            out.push(subnet.prefix_len);
        }
        Value::Port(port) => {
            tagged(tag::PORT, &port.number.to_be_bytes(), out);
            out.push(port.protocol as u8);
        }
        Value::Timestamp(time) => tagged(tag::TIMESTAMP, &time.0.to_be_bytes(), out),
        Value::Timespan(span) => tagged(tag::TIMESPAN, &span.0.to_be_bytes(), out),
        Value::Enum(name) => encode_bytes(tag::ENUM, name, out),
        Value::Set(elements) => {
            let n = encode_header(tag::SET, elements.len(), out);
            for element in elements.iter().take(n) {
                encode_value(element, out);
            }
        }
        Value::Table(entries) => {
            let n = encode_header(tag::TABLE, entries.len(), out);
            for (key, value) in entries.iter().take(n) {
                encode_value(key, out);
                encode_value(value, out);
            }
        }
        Value::Vector(elements) => encode_vector(elements, out),
    }
}

/// Appends an event in its envelope. Allocates only space in `out`. The limits of [`encode_value`]
/// apply.
pub fn encode_event(event: &Event, out: &mut Vec<u8>) {
    encode_header(tag::VECTOR, 3, out);
    encode_count(VERSION, out);
    encode_count(TYPE_EVENT, out);
    encode_header(tag::VECTOR, if event.metadata.is_some() { 3 } else { 2 }, out);
    encode_bytes(tag::STRING, &event.name, out);
    encode_vector(&event.args, out);
    if let Some(metadata) = &event.metadata {
        let n = encode_header(tag::VECTOR, metadata.len(), out);
        for (id, value) in metadata.iter().take(n) {
            encode_header(tag::VECTOR, 2, out);
            encode_count(*id, out);
            encode_value(value, out);
        }
    }
}

fn tagged(tag: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(body);
}

fn encode_count(n: u64, out: &mut Vec<u8>) {
    tagged(tag::COUNT, &n.to_be_bytes(), out);
}

fn encode_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    let n = encode_header(tag, bytes.len(), out);
    out.extend_from_slice(&bytes[..n]);
}

fn encode_vector(elements: &[Value], out: &mut Vec<u8>) {
    let n = encode_header(tag::VECTOR, elements.len(), out);
    for element in &elements[..n] {
        encode_value(element, out);
    }
}

/// Appends a tag and a length in LEB128. Returns the length written.
fn encode_header(tag: u8, len: usize, out: &mut Vec<u8>) -> usize {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    out.push(tag);
    let mut rest = len;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    len as usize
}

fn real_bits(Real(x): Real) -> u64 {
    if x.is_nan() {
        NAN
    } else if x == f64::INFINITY {
        POSITIVE_INFINITY
    } else if x == f64::NEG_INFINITY {
        NEGATIVE_INFINITY
    } else {
        x.to_bits()
    }
}

fn real_from_bits(bits: u64) -> Real {
    let x = f64::from_bits(bits);
    Real(match bits {
        NAN => f64::NAN,
        POSITIVE_INFINITY => f64::INFINITY,
        NEGATIVE_INFINITY => f64::NEG_INFINITY,
        // The reference implementation reads every other NaN pattern as an infinity with that sign.
        _ if x.is_nan() => f64::INFINITY.copysign(x),
        _ => x,
    })
}

/// Reads a buffer that holds exactly one value.
///
/// # Errors
///
/// [`DecodeError`] if it does not; never [`DecodeError::Envelope`].
pub fn decode_value(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.value()?;
    decoder.finish()?;
    Ok(value)
}

/// Reads a buffer that holds exactly one event in its envelope.
///
/// # Errors
///
/// [`DecodeError`] if it does not. The envelope must be as documented: version 1, type 1, a name,
/// arguments and optional metadata, which are pairs of a count and a value.
pub fn decode_event(bytes: &[u8]) -> Result<Event, DecodeError> {
    let mut decoder = Decoder::new(bytes);
    let head = decoder.event_head()?;
    let args = decoder.vector()?;
    let metadata = if head.has_metadata { Some(decoder.metadata()?) } else { None };
    decoder.finish()?;
    Ok(Event { name: head.name.into(), args, metadata })
}

/// Returns the name of the event at the start of a buffer. Ignores everything after the name.
///
/// # Errors
///
/// [`DecodeError`] if the buffer does not start with an event.
pub fn event_name(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    Ok(Decoder::new(bytes).event_head()?.name)
}

/// The parts of an event before its arguments.
struct EventHead<'a> {
    name: &'a [u8],
    has_metadata: bool,
}

/// A cursor over a buffer.
struct Decoder<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Number of containers around the cursor.
    depth: usize,
    /// Values that those containers announce and that are still unread. Each takes at least one
    /// byte, so there are never more than bytes left. This keeps claimed lengths from driving
    /// allocation, however they nest.
    pending: u64,
}

impl<'a> Decoder<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Decoder { bytes, offset: 0, depth: 0, pending: 1 }
    }

    fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            len => Err(DecodeError::TrailingBytes { offset: self.offset, len }),
        }
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.offset
    }

    fn take(&mut self, len: usize, expected: &'static str) -> Result<&'a [u8], DecodeError> {
        let part = self.bytes[self.offset..]
            .get(..len)
            .ok_or(DecodeError::Truncated { offset: self.offset, expected })?;
        self.offset += len;
        Ok(part)
    }

    fn array<const N: usize>(&mut self, expected: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, expected)?);
        Ok(array)
    }

    fn byte(&mut self, expected: &'static str) -> Result<u8, DecodeError> {
        self.array(expected).map(|[byte]| byte)
    }

    /// Reads the tag of the next value, which then no longer counts as pending.
    fn tag(&mut self) -> Result<u8, DecodeError> {
        let tag = self.byte("a type tag")?;
        self.pending -= 1;
        Ok(tag)
    }

    fn value(&mut self) -> Result<Value, DecodeError> {
        let offset = self.offset;
        Ok(match self.tag()? {
            tag::NONE => Value::None,
            tag::BOOLEAN => Value::Boolean(self.byte("a boolean")? != 0),
            tag::COUNT => Value::Count(self.count()?),
            tag::INTEGER => Value::Integer(i64::from_be_bytes(self.array("an integer")?)),
            tag::REAL => Value::Real(real_from_bits(u64::from_be_bytes(self.array("a real")?))),
            tag::STRING => Value::String(self.bytes()?),
            tag::ADDRESS => Value::Address(Address(self.array("an address")?)),
            tag::SUBNET => Value::Subnet(self.subnet()?),
            tag::PORT => Value::Port(self.port()?),
            tag::TIMESTAMP => {
                Value::Timestamp(Timestamp(i64::from_be_bytes(self.array("a timestamp")?)))
            }
            tag::TIMESPAN => {
                Value::Timespan(Timespan(i64::from_be_bytes(self.array("a timespan")?)))
            }
            tag::ENUM => Value::Enum(self.bytes()?),
            tag::SET => Value::Set(self.set()?),
            tag::TABLE => Value::Table(self.table()?),
            tag::VECTOR => Value::Vector(self.vector()?),
            tag => return Err(DecodeError::UnknownTag { offset, tag }),
        })
    }

    fn count(&mut self) -> Result<u64, DecodeError> {
        self.array("a count").map(u64::from_be_bytes)
    }

    /// Reads a length in LEB128. Accepts zero padding up to ten bytes in total, the longest LEB128
    /// form of a 64-bit number.
    fn length(&mut self) -> Result<u32, DecodeError> {
        let offset = self.offset;
        let mut length = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.byte("a length")?;
            let bits = u32::from(byte & 0x7f);
            let shifted = bits.checked_shl(shift).unwrap_or(0);
            if bits != 0 && shifted.checked_shr(shift) != Some(bits) {
                return Err(DecodeError::LengthOverflow { offset });
            }
            length |= shifted;
            if byte & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(DecodeError::LengthOverflow { offset })
    }

    fn slice(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.length()? as usize;
        self.take(len, "the bytes of a string")
    }

    fn bytes(&mut self) -> Result<BString, DecodeError> {
        self.slice().map(BString::from)
    }

    fn subnet(&mut self) -> Result<Subnet, DecodeError> {
        let network = Address(self.array("the address of a subnet")?);
        let offset = self.offset;
        match self.byte("a prefix length")? {
            prefix_len @ 0..=128 => Ok(Subnet { network, prefix_len }),
            found => Err(DecodeError::PrefixLength { offset, found }),
        }
    }

    fn port(&mut self) -> Result<Port, DecodeError> {
        let number = u16::from_be_bytes(self.array("a port number")?);
        let offset = self.offset;
        let found = self.byte("a protocol")?;
        let protocol =
            Protocol::from_number(found).ok_or(DecodeError::Protocol { offset, found })?;
        Ok(Port { number, protocol })
    }

    /// Enters a container whose tag has been read. Returns the number of its elements, after
    /// checking that the buffer could hold them. The caller must call [`Decoder::leave`] at its
    /// end.
    fn enter(&mut self, values_per_element: u64) -> Result<u32, DecodeError> {
        let offset = self.offset - 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep { offset });
        }
        let length = self.length()?;
        let announced = u64::from(length) * values_per_element;
        let room = (self.remaining() as u64).saturating_sub(self.pending);
        if announced > room {
            let (offset, room) = (self.offset, room as usize);
            return Err(DecodeError::TooManyElements { offset, announced, room });
        }
        self.pending += announced;
        Ok(length)
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn vector(&mut self) -> Result<Vec<Value>, DecodeError> {
        let length = self.enter(1)?;
        let mut elements = Vec::with_capacity(length as usize);
        for _ in 0..length {
            elements.push(self.value()?);
        }
        self.leave();
        Ok(elements)
    }

    fn set(&mut self) -> Result<BTreeSet<Value>, DecodeError> {
        let length = self.enter(1)?;
        let mut elements = BTreeSet::new();
        for _ in 0..length {
            let offset = self.offset;
            if !elements.insert(self.value()?) {
                let expected = "each element of a set once";
                return Err(DecodeError::Duplicate { offset, expected });
            }
        }
        self.leave();
        Ok(elements)
    }

    fn table(&mut self) -> Result<BTreeMap<Value, Value>, DecodeError> {
        let length = self.enter(2)?;
        let mut entries = BTreeMap::new();
        for _ in 0..length {
            let offset = self.offset;
            let key = self.value()?;
            if entries.insert(key, self.value()?).is_some() {
                let expected = "each key of a table once";
                return Err(DecodeError::Duplicate { offset, expected });
            }
        }
        self.leave();
        Ok(entries)
    }

    /// Reads the envelope up to and including the tag of the arguments.
    fn event_head(&mut self) -> Result<EventHead<'a>, DecodeError> {
        self.envelope_vector("a vector of version, type and content", 3..=3)?;
        self.constant("version 1", VERSION)?;
        self.constant("message type 1 (event)", TYPE_EVENT)?;
        let parts =
            self.envelope_vector("a vector of name, arguments and optional metadata", 2..=3)?;
        self.element("the name of the event as a string", tag::STRING)?;
        let name = self.slice()?;
        self.element("a vector of arguments", tag::VECTOR)?;
        Ok(EventHead { name, has_metadata: parts == 3 })
    }

    /// Reads the tag of a part of the envelope, which must be `wanted`.
    fn element(&mut self, expected: &'static str, wanted: u8) -> Result<(), DecodeError> {
        let offset = self.offset;
        match self.tag()? {
            tag if tag == wanted => Ok(()),
            tag => {
                let found = format!("a value with tag {tag:02x}");
                Err(DecodeError::Envelope { offset, expected, found })
            }
        }
    }

    /// Enters a vector of the envelope, which must have one of these `lengths`. The envelope counts
    /// as nesting, so it uses up three levels of [`MAX_DEPTH`] before the first argument.
    fn envelope_vector(
        &mut self,
        expected: &'static str,
        lengths: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, DecodeError> {
        let offset = self.offset;
        self.element(expected, tag::VECTOR)?;
        let length = self.enter(1)?;
        if lengths.contains(&length) {
            return Ok(length);
        }
        let found = format!("a vector of {length}");
        Err(DecodeError::Envelope { offset, expected, found })
    }

    fn constant(&mut self, expected: &'static str, wanted: u64) -> Result<(), DecodeError> {
        let offset = self.offset;
        self.element(expected, tag::COUNT)?;
        let found = self.count()?;
        if found == wanted {
            return Ok(());
        }
        Err(DecodeError::Envelope { offset, expected, found: format!("count {found}") })
    }

    /// Enters the vector of metadata. Returns the number of its entries.
    fn metadata_head(&mut self) -> Result<u32, DecodeError> {
        self.element("a vector of metadata", tag::VECTOR)?;
        self.enter(1)
    }

    /// Enters an entry and reads up to its value. Returns the entry's id.
    fn metadata_entry_head(&mut self) -> Result<u64, DecodeError> {
        self.envelope_vector("a metadata entry of id and value", 2..=2)?;
        self.element("the id of a metadata entry as a count", tag::COUNT)?;
        self.count()
    }

    fn metadata(&mut self) -> Result<Vec<(u64, Value)>, DecodeError> {
        let length = self.metadata_head()?;
        let mut metadata = Vec::with_capacity(length as usize);
        for _ in 0..length {
            let id = self.metadata_entry_head()?;
            metadata.push((id, self.value()?));
            self.leave();
        }
        self.leave();
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests;
