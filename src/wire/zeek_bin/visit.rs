//! Values as the cursor hands them out: to a [`Visitor`], or as a [`ValueRef`].

use std::net::IpAddr;

use crate::value::Protocol;

/// What to do with the next value, by its type. Arguments are as in [`ValueRef`].
///
/// A visitor is used once, so that it can hold what it writes to by reference.
#[allow(missing_docs, reason = "a method per variant of ValueRef, documented there")]
pub trait Visitor<'a> {
    /// What comes of the value.
    type Output;

    fn unset(self) -> Self::Output;
    fn bool(self, x: i64) -> Self::Output;
    fn int(self, x: i64) -> Self::Output;
    fn count(self, x: u64) -> Self::Output;
    fn double(self, x: f64) -> Self::Output;
    fn time(self, x: f64) -> Self::Output;
    fn interval(self, x: f64) -> Self::Output;
    fn string(self, text: &'a [u8]) -> Self::Output;
    fn enum_name(self, text: &'a [u8]) -> Self::Output;
    fn func(self, text: &'a [u8]) -> Self::Output;
    fn file(self, text: &'a [u8]) -> Self::Output;
    fn port(self, number: u64, protocol: Protocol) -> Self::Output;
    fn addr(self, ip: IpAddr) -> Self::Output;
    fn subnet(self, prefix: IpAddr, length: u8) -> Self::Output;
    fn set(self, len: u64) -> Self::Output;
    fn vector(self, len: u64) -> Self::Output;
}

/// One value, borrowed from the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    /// Absent: an unset field, or a hole in a container.
    Unset,
    /// A truth value as its number on the wire: anything but 0 is true, and Zeek does send 255.
    Bool(i64),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Count(u64),
    /// A double; can be infinite or not a number.
    Double(f64),
    /// Seconds since the Unix epoch; can be infinite or not a number.
    Time(f64),
    /// Seconds; can be infinite or not a number.
    Interval(f64),
    /// Any bytes.
    String(&'a [u8]),
    /// Qualified name of an enum value.
    Enum(&'a [u8]),
    /// Name of a function.
    Func(&'a [u8]),
    /// Name of a file.
    File(&'a [u8]),
    /// A port. The wire has 64 bits for the number, and nothing says it is below 65536.
    Port {
        /// Port number.
        number: u64,
        /// Transport protocol.
        protocol: Protocol,
    },
    /// An address, in the family it was sent in: an IPv4 address that was sent in 16 bytes stays
    /// IPv6, because its text differs (WIRE.md §5.4).
    Addr(IpAddr),
    /// A subnet.
    Subnet {
        /// Its address; bits beyond the prefix are as they were sent.
        prefix: IpAddr,
        /// Natural prefix length: at most 32 for IPv4, 128 for IPv6.
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

/// Turns values into data.
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
    fn string(self, text: &'a [u8]) -> ValueRef<'a> {
        ValueRef::String(text)
    }
    fn enum_name(self, text: &'a [u8]) -> ValueRef<'a> {
        ValueRef::Enum(text)
    }
    fn func(self, text: &'a [u8]) -> ValueRef<'a> {
        ValueRef::Func(text)
    }
    fn file(self, text: &'a [u8]) -> ValueRef<'a> {
        ValueRef::File(text)
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
    fn set(self, len: u64) -> ValueRef<'a> {
        ValueRef::Set { len }
    }
    fn vector(self, len: u64) -> ValueRef<'a> {
        ValueRef::Vector { len }
    }
}
