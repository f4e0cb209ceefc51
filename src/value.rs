//! [`Value`]: the data model of events, with one variant per type of WIRE.md §2.1.
//!
//! Values are plain data with a total order: first by tag, then within the type. Zeek sends the
//! elements of sets and tables in this order (WIRE.md §2.4), so encoding a [`BTreeSet`] front to
//! back gives the bytes that Zeek would send.
//!
//! This module knows no encodings; they are in [`crate::wire`].
//!
//! [`to_value`] and [`from_value`] convert between values and Rust types, with serde:
//!
//! | module | owns |
//! |---|---|
//! | `serialize`, `deserialize` | [`to_value`] and [`from_value`] |
//! | `form` | how our own types tell those two which Zeek type they are |
//! | `scalars`, `whole`, `types` | serde for addresses, ports, times …; for [`Value`]; [`Set`], [`Enum`], [`Pattern`], [`Function`] |
//! | [`with`] | attributes for fields of types that others own |
//! | `text` | scalars as text |
//! | `error` | [`ValueError`], which knows the path of what is wrong |

mod deserialize;
mod error;
mod form;
mod scalars;
mod serialize;
mod text;
mod types;
mod whole;
pub mod with;

#[cfg(test)]
mod serde_tests;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bstr::{BString, ByteSlice};

pub(crate) use deserialize::from_args;
pub use deserialize::from_value;
pub use error::{Reason, ValueError};
pub(crate) use serialize::to_args;
pub use serialize::to_value;
pub use text::ParseError;
pub(crate) use text::{digits, nanoseconds, split_unit};
pub use types::{Enum, Function, Pattern, Set};

/// How deep types may nest in [`to_value`] and [`from_value`], counting structs, containers, options
/// and newtypes: twice what the decoders of events accept of containers.
const NESTING: u16 = 2 * crate::wire::MAX_DEPTH as u16;

/// A value of an event argument, of any type that Zeek can send.
///
/// Records, lists, patterns and functions are sent as vectors (WIRE.md §2.5), so they have no
/// variants. The variants are in the order of their wire tags; the derived ordering relies on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// No value: an unset record field or vector element.
    #[default]
    None,
    /// Zeek `bool`.
    Boolean(bool),
    /// Zeek `count`.
    Count(u64),
    /// Zeek `int`.
    Integer(i64),
    /// Zeek `double`.
    Real(Real),
    /// Zeek `string`: any bytes.
    String(BString),
    /// Zeek `addr`.
    Address(Address),
    /// Zeek `subnet`.
    Subnet(Subnet),
    /// Zeek `port`.
    Port(Port),
    /// Zeek `time`.
    Timestamp(Timestamp),
    /// Zeek `interval`.
    Timespan(Timespan),
    /// Zeek `enum`: the qualified name, for example `Cluster::WORKER`.
    Enum(BString),
    /// Zeek `set`. An element of a set with several index types is a [`Value::Vector`].
    Set(BTreeSet<Value>),
    /// Zeek `table`. Keys as for sets.
    Table(BTreeMap<Value, Value>),
    /// Zeek `vector`, `record`, `list`, `pattern`, function or opaque value.
    Vector(Vec<Value>),
}

impl Value {
    /// The type's name in `broker-json-v1` (WIRE.md §3.1).
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::None => "none",
            Value::Boolean(_) => "boolean",
            Value::Count(_) => "count",
            Value::Integer(_) => "integer",
            Value::Real(_) => "real",
            Value::String(_) => "string",
            Value::Address(_) => "address",
            Value::Subnet(_) => "subnet",
            Value::Port(_) => "port",
            Value::Timestamp(_) => "timestamp",
            Value::Timespan(_) => "timespan",
            Value::Enum(_) => "enum-value",
            Value::Set(_) => "set",
            Value::Table(_) => "table",
            Value::Vector(_) => "vector",
        }
    }

    /// Creates a string value.
    pub fn string(bytes: impl Into<BString>) -> Self {
        Value::String(bytes.into())
    }

    /// Creates an enum value from its qualified name.
    pub fn enum_value(name: impl Into<BString>) -> Self {
        Value::Enum(name.into())
    }

    /// The bytes of a string; `None` for other types.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::String(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a string; `None` for other types and if it is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        self.as_bytes().and_then(|bytes| bytes.to_str().ok())
    }

    /// The number of a count; `None` for other types.
    pub fn as_count(&self) -> Option<u64> {
        match self {
            Value::Count(number) => Some(*number),
            _ => None,
        }
    }

    /// About how many bytes it is when it is sent.
    #[cfg(any(feature = "store", feature = "table"))]
    pub(crate) fn size(&self) -> usize {
        match self {
            Value::String(bytes) | Value::Enum(bytes) => 3 + bytes.len(),
            Value::Address(_) | Value::Subnet(_) => 18,
            Value::Set(elements) => 4 + elements.iter().map(Value::size).sum::<usize>(),
            Value::Table(entries) => {
                4 + entries.iter().map(|(key, value)| key.size() + value.size()).sum::<usize>()
            }
            Value::Vector(elements) => 4 + elements.iter().map(Value::size).sum::<usize>(),
            _ => 9,
        }
    }

    /// The elements of a vector; `None` for other types.
    pub fn as_vector(&self) -> Option<&[Value]> {
        match self {
            Value::Vector(elements) => Some(elements),
            _ => None,
        }
    }
}

macro_rules! value_from {
    ($($from:ty => |$value:ident| $into:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Self { $into }
        })*
    };
}
value_from! {
    bool => |b| Value::Boolean(b);
    u64 => |n| Value::Count(n);
    u32 => |n| Value::Count(n.into());
    i64 => |n| Value::Integer(n);
    i32 => |n| Value::Integer(n.into());
    f64 => |x| Value::Real(Real(x));
    &str => |s| Value::String(s.into());
    String => |s| Value::String(s.into());
    &[u8] => |s| Value::String(s.into());
    BString => |s| Value::String(s);
    IpAddr => |a| Value::Address(a.into());
    Address => |a| Value::Address(a);
    Subnet => |s| Value::Subnet(s);
    Port => |p| Value::Port(p);
    Timestamp => |t| Value::Timestamp(t);
    Timespan => |t| Value::Timespan(t);
    Vec<Value> => |v| Value::Vector(v);
    BTreeSet<Value> => |s| Value::Set(s);
    BTreeMap<Value, Value> => |t| Value::Table(t);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::None, Into::into)
    }
}

/// A double with a total order, that of IEEE 754 (`totalOrder`), so that it can be an element of a set.
///
/// But there is one NaN, the greatest: which one it is does not survive encoding. -0.0 is less than 0.0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Real(pub f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Real {}
impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Real {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.0.is_nan(), other.0.is_nan()) {
            (false, false) => self.0.total_cmp(&other.0),
            (is_nan, other_is) => is_nan.cmp(&other_is),
        }
    }
}
impl Hash for Real {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let number = if self.0.is_nan() { f64::NAN } else { self.0 };
        number.to_bits().hash(state);
    }
}

/// An IP address as 16 bytes in network order; IPv4 is mapped, `::ffff:a.b.c.d`.
///
/// As everywhere in Zeek, an IPv4-mapped IPv6 address *is* the IPv4 address. `Display` writes it as
/// in WIRE.md §3.1, never with an embedded dotted quad: `::102:304`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// Converts to the standard library's type: IPv4 if the address is IPv4-mapped.
    pub fn to_ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// Whether this is an IPv4 address.
    pub fn is_ipv4(self) -> bool {
        self.to_ip().is_ipv4()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }
}
impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Address(ip.to_ipv6_mapped().octets())
    }
}
impl From<Ipv6Addr> for Address {
    fn from(ip: Ipv6Addr) -> Self {
        Address(ip.octets())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let v6 = match self.to_ip() {
            IpAddr::V4(v4) => return v4.fmt(f),
            IpAddr::V6(v6) => v6,
        };
        let groups = v6.segments();
        let run = longest_zero_run(&groups);
        for (i, group) in groups.iter().enumerate() {
            if run.contains(&i) {
                if i == run.start {
                    f.write_str("::")?;
                }
                continue;
            }
            if i > 0 && i != run.end {
                f.write_str(":")?;
            }
            write!(f, "{group:x}")?;
        }
        Ok(())
    }
}

/// The first of the longest runs of two or more zero groups; an empty range past the end if there
/// is none.
fn longest_zero_run(groups: &[u16; 8]) -> std::ops::Range<usize> {
    let mut best = 0..0;
    let mut start = 0;
    for end in 0..=groups.len() {
        if groups.get(end) == Some(&0) {
            continue;
        }
        if end - start >= 2 && end - start > best.len() {
            best = start..end;
        }
        start = end + 1;
    }
    if best.is_empty() { usize::MAX..usize::MAX } else { best }
}

/// A subnet. Its prefix length counts as in IPv6, so for IPv4 it is 96 more than usual.
///
/// `Display` writes the usual length: `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet {
    /// The address. Zeek always sends it with all bits beyond the prefix clear.
    pub network: Address,
    /// Number of leading bits, 0 to 128.
    pub prefix_len: u8,
}

impl Subnet {
    /// Creates a subnet from an address and its usual prefix length (0–32 for IPv4, 0–128 for
    /// IPv6). Clears all bits beyond the prefix. `None` if the length is too large.
    pub fn new(ip: impl Into<Address>, natural_len: u8) -> Option<Self> {
        let address = ip.into();
        let prefix_len = if address.is_ipv4() { natural_len.checked_add(96)? } else { natural_len };
        if prefix_len > 128 {
            return None;
        }
        let mask = u128::MAX.checked_shl(u32::from(128 - prefix_len)).unwrap_or(0);
        let network = Address((u128::from_be_bytes(address.0) & mask).to_be_bytes());
        Some(Subnet { network, prefix_len })
    }

    /// The prefix length as usually written: 0–32 for IPv4.
    pub fn natural_len(self) -> u8 {
        if self.prefix_len >= 96 && self.network.is_ipv4() {
            self.prefix_len - 96
        } else {
            self.prefix_len
        }
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.natural_len())
    }
}

/// Transport protocol of a [`Port`], in the order of its wire numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Protocol {
    /// Unknown protocol.
    #[default]
    Unknown = 0,
    /// TCP.
    Tcp = 1,
    /// UDP.
    Udp = 2,
    /// ICMP; the port number is the ICMP type.
    Icmp = 3,
}

impl Protocol {
    /// The protocol with a wire number; `None` above 3.
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Protocol::Unknown,
            1 => Protocol::Tcp,
            2 => Protocol::Udp,
            3 => Protocol::Icmp,
            _ => return None,
        })
    }

    /// Zeek's name: `tcp`, `udp`, `icmp` or `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Unknown => "unknown",
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Icmp => "icmp",
        }
    }
}

/// A transport port. `Display` writes it as Zeek does: `443/tcp`, `0/unknown`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// Port number.
    pub number: u16,
    /// Protocol.
    pub protocol: Protocol,
}

impl Port {
    /// Creates a port.
    pub const fn new(number: u16, protocol: Protocol) -> Self {
        Port { number, protocol }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol.name())
    }
}

/// Nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// A duration in nanoseconds; can be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timespan(pub i64);

macro_rules! nanoseconds {
    ($type:ident) => {
        impl $type {
            /// Converts from seconds as Zeek does: multiplies in double precision and truncates
            /// toward zero; a result that does not fit becomes the smallest `i64` (WIRE.md §2.3,
            /// §2.5).
            pub fn from_secs_f64(seconds: f64) -> Self {
                let nanos = seconds * 1e9;
                // ±2^63 is exact in f64; NaN is in no range.
                let fits =
                    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&nanos);
                $type(if fits { nanos as i64 } else { i64::MIN })
            }

            /// Converts to seconds, as the nearest double. A quarter of a second stays exact, which
            /// it would not if the nanoseconds of a current time were rounded to a double first.
            pub fn as_secs_f64(self) -> f64 {
                const NANOS_PER_SEC: i64 = 1_000_000_000;
                // Up to 2^53, nanoseconds are exact in f64; beyond that, whole seconds are.
                if self.0.unsigned_abs() < 1 << 53 {
                    self.0 as f64 / 1e9
                } else {
                    (self.0 / NANOS_PER_SEC) as f64 + (self.0 % NANOS_PER_SEC) as f64 / 1e9
                }
            }
        }
    };
}
nanoseconds!(Timestamp);
nanoseconds!(Timespan);

impl From<std::time::SystemTime> for Timestamp {
    fn from(time: std::time::SystemTime) -> Self {
        let nanos = match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |n| -n),
        };
        Timestamp(nanos)
    }
}

impl From<std::time::Duration> for Timespan {
    fn from(span: std::time::Duration) -> Self {
        Timespan(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn addresses_print_as_in_the_json_format() {
        for (input, text) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::", "::"),
            ("::1", "::1"),
            ("1::", "1::"),
            ("::1.2.3.4", "::102:304"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8:0:1:0:0:0:1", "2001:db8:0:1::1"),
            ("1:0:0:2:0:0:3:4", "1::2:0:0:3:4"),
            ("1:0:2:0:3:0:4:0", "1:0:2:0:3:0:4:0"),
            ("1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"),
        ] {
            assert_eq!(address(input).to_string(), text, "{input}");
        }
    }

    #[test]
    fn subnets_clear_host_bits_and_show_the_natural_length() {
        let v4 = Subnet::new(address("192.0.2.77"), 24).unwrap();
        assert_eq!((v4.to_string().as_str(), v4.prefix_len), ("192.0.2.0/24", 120));
        let v6 = Subnet::new(address("2001:db8:1::"), 32).unwrap();
        assert_eq!((v6.to_string().as_str(), v6.prefix_len), ("2001:db8::/32", 32));
        assert_eq!(Subnet::new(address("::1"), 0).unwrap().to_string(), "::/0");
        assert_eq!(Subnet::new(address("10.0.0.1"), 33), None);
        assert_eq!(Subnet::new(address("10.0.0.1"), 255), None);
        assert_eq!(Subnet::new(address("::1"), 129), None);
    }

    #[test]
    fn seconds_become_nanoseconds_as_zeek_truncates_them() {
        // Recorded from a Zeek node: a product in double precision, which is a multiple of 256 ns.
        assert_eq!(Timestamp::from_secs_f64(1_700_000_000.123_456).0, 0x1797_9cfe_3d85_ca00);
        assert_eq!(Timespan::from_secs_f64(-2.0).0, -2_000_000_000);
        assert_eq!(Timespan::from_secs_f64(-0.000_000_001_9).0, -1);
        for huge in [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e12] {
            assert_eq!(Timestamp::from_secs_f64(huge).0, i64::MIN, "{huge}");
        }
    }

    #[test]
    fn nanoseconds_become_the_nearest_seconds() {
        for (nanos, seconds) in [
            (0, 0.0),
            (1, 1e-9),
            (-1_100_000_000, -1.1),
            (1_767_225_600_250_000_000, 1_767_225_600.25),
            (1_767_225_600_123_456_000, 1_767_225_600.123_456),
            (-1_767_225_600_250_000_000, -1_767_225_600.25),
            (i64::MIN, -9_223_372_036.854_776),
            (i64::MAX, 9_223_372_036.854_776),
        ] {
            assert_eq!(Real(Timestamp(nanos).as_secs_f64()), Real(seconds), "{nanos}");
        }
    }

    #[test]
    fn values_order_by_type_first() {
        let mut values = [
            Value::from(vec![]),
            Value::from("a"),
            Value::from(1.0),
            Value::from(-1),
            Value::from(7u64),
            Value::from(false),
            Value::None,
        ];
        values.sort();
        let names: Vec<_> = values.iter().map(Value::type_name).collect();
        assert_eq!(names, ["none", "boolean", "count", "integer", "real", "string", "vector"]);
    }
}
