//! [`RecordWriter`]: encodes one record, value by value, within the limits of WIRE.md §4.6.

use std::net::IpAddr;
use std::sync::Arc;

use super::encode::{Limits, LogValue, PushError, Truncations};
use super::schema::{FieldSpec, put_string};
use super::{LogType, MAX_STRING, Scalar};

/// Takes the values of one record, in the order of its columns. It lives as long as one
/// [`BatchBuilder::push_with`](super::BatchBuilder::push_with).
///
/// The first value that does not fit its column makes the record an error; all after it are
/// ignored.
#[derive(Debug)]
pub struct RecordWriter<'b> {
    out: &'b mut Vec<u8>,
    fields: &'b [FieldSpec],
    limits: &'b Limits,
    truncations: Truncations,
    string_bytes_left: usize,
    elements_left: usize,
    /// Index of the next column.
    at: usize,
    /// Which of the following values have a column, and how many of them have been given; `None`
    /// means all.
    selection: Option<(Arc<[bool]>, usize)>,
    fault: Option<PushError>,
}

/// An error in a value whose field is not known yet.
#[derive(Clone, Copy)]
enum Fault {
    Type { expected: LogType, found: &'static str },
    Unencodable(&'static str),
}

impl<'b> RecordWriter<'b> {
    #[inline]
    pub(super) fn new(
        out: &'b mut Vec<u8>,
        fields: &'b [FieldSpec],
        limits: &'b Limits,
        truncations: Truncations,
    ) -> Self {
        RecordWriter {
            out,
            fields,
            limits,
            truncations,
            string_bytes_left: limits.total_string_bytes,
            elements_left: limits.total_container_elements,
            at: 0,
            selection: None,
            fault: None,
        }
    }

    /// From here on, only values at whose position `keep` is true have a column; the others are
    /// ignored.
    #[inline]
    pub fn select(&mut self, keep: &Arc<[bool]>) {
        self.selection = Some((Arc::clone(keep), 0));
    }

    /// Writes the next value. Elements of containers may be unset.
    #[inline]
    pub fn put(&mut self, value: LogValue<'_>) {
        match value {
            LogValue::Set(elements) => self.put_set(elements.iter().copied()),
            LogValue::Vector(elements) => self.put_vector(elements.iter().copied()),
            value => self.column(|writer, expected| match expected {
                LogType::Scalar(scalar) => writer.scalar(&value, scalar),
                expected if value == LogValue::Unset => {
                    writer.head(expected.tag(), false);
                    Ok(())
                }
                expected => Err(Fault::Type { expected, found: value.type_name() }),
            }),
        }
    }

    /// Writes a set, without a slice of its elements.
    #[inline]
    pub fn put_set<'v>(&mut self, elements: impl ExactSizeIterator<Item = LogValue<'v>>) {
        self.column(|writer, expected| match expected {
            LogType::Set(element) => writer.elements(expected, element, elements),
            expected => Err(Fault::Type { expected, found: "set" }),
        });
    }

    /// Writes a vector, without a slice of its elements.
    #[inline]
    pub fn put_vector<'v>(&mut self, elements: impl ExactSizeIterator<Item = LogValue<'v>>) {
        self.column(|writer, expected| match expected {
            LogType::Vector(element) => writer.elements(expected, element, elements),
            expected => Err(Fault::Type { expected, found: "vector" }),
        });
    }

    /// The record's truncations, added to those before it.
    #[inline]
    pub(super) fn finish(self) -> Result<Truncations, PushError> {
        match self.fault {
            Some(fault) => Err(fault),
            None if self.at != self.fields.len() => {
                Err(PushError::Arity { expected: self.fields.len(), found: self.at })
            }
            None => Ok(self.truncations),
        }
    }

    /// Writes a value into the next column, unless it has none.
    #[inline]
    fn column(&mut self, write: impl FnOnce(&mut Self, LogType) -> Result<(), Fault>) {
        if self.fault.is_some() {
            return;
        }
        if let Some((keep, given)) = &mut self.selection {
            let is_kept = keep.get(*given) == Some(&true);
            *given += 1;
            if !is_kept {
                return;
            }
        }
        let index = self.at;
        self.at += 1;
        // A value too many shows in `finish`.
        let Some(field) = self.fields.get(index) else { return };
        if let Err(fault) = write(self, field.log_type) {
            self.fail(index, fault);
        }
    }

    #[cold]
    fn fail(&mut self, index: usize, fault: Fault) {
        let name = self.fields[index].name.clone();
        self.fault = Some(match fault {
            Fault::Type { expected, found } => PushError::Type { index, name, expected, found },
            Fault::Unencodable(what) => PushError::Unencodable { index, name, what },
        });
    }

    #[inline]
    fn elements<'v>(
        &mut self,
        container: LogType,
        element: Scalar,
        mut elements: impl ExactSizeIterator<Item = LogValue<'v>>,
    ) -> Result<(), Fault> {
        self.head(container.tag(), true);
        let room = self.limits.container_elements.min(self.elements_left);
        let len = elements.len().min(room);
        self.truncations.containers += u64::from(len < elements.len());
        self.elements_left -= len;
        self.raw((len as u64).to_be_bytes());
        // Should the iterator be shorter than it says, the rest is unset: the count is written.
        (0..len).try_for_each(|_| self.scalar(&elements.next().unwrap_or_default(), element))
    }

    #[inline]
    fn scalar(&mut self, value: &LogValue<'_>, expected: Scalar) -> Result<(), Fault> {
        if *value == LogValue::Unset {
            self.head(expected as u32, false);
            return Ok(());
        }
        self.head(expected as u32, true);
        match (expected, *value) {
            (Scalar::Bool, LogValue::Bool(x)) => self.raw(i64::from(x).to_be_bytes()),
            (Scalar::Bool, LogValue::BoolNumber(x)) => self.raw(x.to_be_bytes()),
            (Scalar::Int, LogValue::Int(x)) => self.raw(x.to_be_bytes()),
            (Scalar::Count, LogValue::Count(x)) => self.raw(x.to_be_bytes()),
            (Scalar::Double, LogValue::Double(x))
            | (Scalar::Time, LogValue::Time(x))
            | (Scalar::Interval, LogValue::Interval(x)) => self.raw(x.to_be_bytes()),
            (Scalar::String, LogValue::String(bytes))
            | (Scalar::Enum, LogValue::Enum(bytes))
            | (Scalar::Func, LogValue::Func(bytes))
            | (Scalar::File, LogValue::File(bytes)) => return self.string(bytes),
            (Scalar::Port, LogValue::Port(port)) => {
                self.raw(u64::from(port.number).to_be_bytes());
                self.raw((port.protocol as u32).to_be_bytes());
            }
            (Scalar::Addr, LogValue::Addr(address)) => self.address(address.to_canonical()),
            (Scalar::Subnet, LogValue::Subnet(subnet)) => {
                if subnet.prefix_len > 128 {
                    return Err(Fault::Unencodable("prefix length above 128"));
                }
                self.raw([subnet.prefix_len]);
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
        self.raw(tag.to_be_bytes());
        self.raw([0, 0, 0, 0, present.into()]);
    }

    fn raw<const N: usize>(&mut self, bytes: [u8; N]) {
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
                self.raw([4]);
                self.raw(v4.octets());
            }
            IpAddr::V6(v6) => {
                self.raw([6]);
                self.raw(v6.octets());
            }
        }
    }
}
