//! How values are returned: to a [`Visitor`] or as a [`ValueRef`].

use std::net::IpAddr;

use crate::value::Protocol;

/// The bytes of a string, and the bytes after it in the batch.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// From the first byte of the string to the end of the batch.
    tail: &'a [u8],
    /// Length of the string in bytes, at most that of `tail`.
    len: usize,
}

impl<'a> Text<'a> {
    /// The first `len` bytes of a slice; `None` if it has fewer.
    #[inline]
    pub fn new(tail: &'a [u8], len: usize) -> Option<Self> {
        (len <= tail.len()).then_some(Text { tail, len })
    }

    /// The string.
    #[inline]
    pub fn bytes(self) -> &'a [u8] {
        &self.tail[..self.len]
    }

    /// Length of the string in bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether the string is empty.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes after the string.
    #[inline]
    pub fn rest(self) -> &'a [u8] {
        &self.tail[self.len..]
    }

    /// The first `N` bytes of the string and, if it is shorter, of the bytes after it; `None` near
    /// the end of the batch. Most strings are short, and reading a fixed number of bytes at once is
    /// faster than a variable one.
    #[inline]
    pub fn window<const N: usize>(self) -> Option<&'a [u8; N]> {
        self.tail.first_chunk()
    }
}

/// Receives the next value, with a method per type. Arguments are as in [`ValueRef`].
///
/// A visitor is used once, so it can borrow its output.
#[allow(missing_docs, reason = "a method per variant of ValueRef, documented there")]
pub trait Visitor<'a> {
    /// The result of a visit.
    type Output;

    fn unset(self) -> Self::Output;
    fn bool(self, x: i64) -> Self::Output;
    fn int(self, x: i64) -> Self::Output;
    fn count(self, x: u64) -> Self::Output;
    fn double(self, x: f64) -> Self::Output;
    fn time(self, x: f64) -> Self::Output;
    fn interval(self, x: f64) -> Self::Output;
    fn string(self, text: Text<'a>) -> Self::Output;
    fn enum_name(self, text: Text<'a>) -> Self::Output;
    fn func(self, text: Text<'a>) -> Self::Output;
    fn file(self, text: Text<'a>) -> Self::Output;
    fn port(self, number: u64, protocol: Protocol) -> Self::Output;
    fn addr(self, ip: IpAddr) -> Self::Output;
    fn subnet(self, prefix: IpAddr, length: u8) -> Self::Output;
}

/// One value, borrowed from the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// Absent: an unset field or element.
    Unset,
    /// A boolean as its number on the wire: anything but 0 is true, and Zeek does send 255.
    Bool(i64),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Count(u64),
    /// A double; can be infinite or NaN.
    Double(f64),
    /// Seconds since the Unix epoch; can be infinite or NaN.
    Time(f64),
    /// Seconds; can be infinite or NaN.
    Interval(f64),
    /// Any bytes.
    String(&'a [u8]),
    /// Qualified name of an enum value.
    Enum(&'a [u8]),
    /// Name of a function.
    Func(&'a [u8]),
    /// Name of a file.
    File(&'a [u8]),
    /// A port. Its number has 64 bits on the wire and can be 65536 or more.
    Port {
        /// Port number.
        number: u64,
        /// Transport protocol.
        protocol: Protocol,
    },
    /// An address, in the family as sent: an IPv4 address sent in 16 bytes stays IPv6, because its
    /// text differs (WIRE.md §5.4).
    Addr(IpAddr),
    /// A subnet.
    Subnet {
        /// Its address; bits beyond the prefix are as sent.
        prefix: IpAddr,
        /// Usual prefix length: at most 32 for IPv4, 128 for IPv6.
        length: u8,
    },
    /// A set; read its elements with [`Cursor::next_element`](super::Cursor::next_element).
    Set {
        /// Number of elements.
        len: u64,
    },
    /// A vector; read its elements with [`Cursor::next_element`](super::Cursor::next_element).
    Vector {
        /// Number of elements.
        len: u64,
    },
}

/// Returns values as data.
pub(super) struct MakeValueRef;

impl<'a> Visitor<'a> for MakeValueRef {
    type Output = ValueRef<'a>;

    fn unset(self) -> ValueRef<'a> {
        ValueRef::Unset
    }
    fn bool(self, x: i64) -> ValueRef<'a> {
        ValueRef::Bool(x)
    }
    fn int(self, x: i64) -> ValueRef<'a> {
        ValueRef::Int(x)
    }
    fn count(self, x: u64) -> ValueRef<'a> {
        ValueRef::Count(x)
    }
    fn double(self, x: f64) -> ValueRef<'a> {
        ValueRef::Double(x)
    }
    fn time(self, x: f64) -> ValueRef<'a> {
        ValueRef::Time(x)
    }
    fn interval(self, x: f64) -> ValueRef<'a> {
        ValueRef::Interval(x)
    }
    fn string(self, text: Text<'a>) -> ValueRef<'a> {
        ValueRef::String(text.bytes())
    }
    fn enum_name(self, text: Text<'a>) -> ValueRef<'a> {
        ValueRef::Enum(text.bytes())
    }
    fn func(self, text: Text<'a>) -> ValueRef<'a> {
        ValueRef::Func(text.bytes())
    }
    fn file(self, text: Text<'a>) -> ValueRef<'a> {
        ValueRef::File(text.bytes())
    }
    fn port(self, number: u64, protocol: Protocol) -> ValueRef<'a> {
        ValueRef::Port { number, protocol }
    }
    fn addr(self, ip: IpAddr) -> ValueRef<'a> {
        ValueRef::Addr(ip)
    }
    fn subnet(self, prefix: IpAddr, length: u8) -> ValueRef<'a> {
        ValueRef::Subnet { prefix, length }
    }
}

/// Ignores values.
pub(super) struct Ignore;

impl<'a> Visitor<'a> for Ignore {
    type Output = ();

    fn unset(self) {}
    fn bool(self, _: i64) {}
    fn int(self, _: i64) {}
    fn count(self, _: u64) {}
    fn double(self, _: f64) {}
    fn time(self, _: f64) {}
    fn interval(self, _: f64) {}
    fn string(self, _: Text<'a>) {}
    fn enum_name(self, _: Text<'a>) {}
    fn func(self, _: Text<'a>) {}
    fn file(self, _: Text<'a>) {}
    fn port(self, _: u64, _: Protocol) {}
    fn addr(self, _: IpAddr) {}
    fn subnet(self, _: IpAddr, _: u8) {}
}
