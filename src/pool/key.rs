//! The bytes that Zeek hashes for a key of a rendezvous pool (WIRE.md §8.6).
//!
//! Numbers are always little-endian here. Zeek uses native byte order, which is little-endian on
//! every platform it runs on today.

use std::net::IpAddr;

use crate::value::{Address, Timespan, Value};

/// Zeek's type numbers (WIRE.md §4.3).
mod tag {
    pub(super) const BOOL: i32 = 1;
    pub(super) const INT: i32 = 2;
    pub(super) const COUNT: i32 = 3;
    pub(super) const DOUBLE: i32 = 4;
    pub(super) const TIME: i32 = 5;
    pub(super) const INTERVAL: i32 = 6;
    pub(super) const ENUM: i32 = 9;
    pub(super) const PORT: i32 = 10;
    pub(super) const ADDR: i32 = 11;
    pub(super) const SUBNET: i32 = 12;
}

/// The bytes to hash for a key, so that [`Pools::hrw_topic`](super::Pools::hrw_topic) chooses the
/// same node as Zeek.
///
/// `None` for values whose bytes are unknown: none, containers, and enum values, which need
/// [`enum_hash_key`].
pub fn hash_key(key: &Value) -> Option<Vec<u8>> {
    Some(match key {
        Value::String(bytes) => bytes.to_vec(),
        Value::Boolean(b) => tagged(tag::BOOL, &i64::from(*b).to_le_bytes()),
        Value::Integer(n) => tagged(tag::INT, &n.to_le_bytes()),
        Value::Count(n) => tagged(tag::COUNT, &n.to_le_bytes()),
        Value::Real(real) => tagged(tag::DOUBLE, &real.0.to_le_bytes()),
        Value::Timestamp(time) => tagged(tag::TIME, &time.as_secs_f64().to_le_bytes()),
        Value::Timespan(span) => tagged(tag::INTERVAL, &interval(*span)),
        Value::Port(port) => {
            let mut body = u32::from(port.number).to_le_bytes().to_vec();
            body.extend_from_slice(b"/\0");
            body.extend_from_slice(port.protocol.name().as_bytes());
            tagged(tag::PORT, &body)
        }
        Value::Address(address) => {
            let mut out = tag_alone(tag::ADDR);
            push_address(&mut out, *address);
            out.push(0);
            out
        }
        Value::Subnet(subnet) => {
            let mut out = tag_alone(tag::SUBNET);
            push_address(&mut out, subnet.network);
            out.push(b'/');
            push_decimal(&mut out, subnet.natural_len());
            out.push(0);
            out
        }
        Value::None | Value::Enum(_) | Value::Set(_) | Value::Table(_) | Value::Vector(_) => {
            return None;
        }
    })
}

/// The bytes to hash for an enum value, like [`hash_key`] for other types.
///
/// Events carry only the value, `Cluster::WORKER`, but its type, `Cluster::NodeType`, is also
/// hashed.
pub fn enum_hash_key(type_name: &[u8], value_name: &[u8]) -> Vec<u8> {
    tagged(tag::ENUM, &[type_name, value_name, b"\0"].concat())
}

/// The beginning of the bytes of an address, with room for its text: addresses are the keys that most
/// events have.
fn tag_alone(tag: i32) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&tag.to_le_bytes());
    out
}

fn tagged(tag: i32, body: &[u8]) -> Vec<u8> {
    [&tag.to_le_bytes(), body].concat()
}

/// The description of an interval: whole days, hours, and so on, and the rest in microseconds. Uses
/// double precision like Zeek, because rounding is visible in the last part.
fn interval(span: Timespan) -> Vec<u8> {
    const UNITS: [(f64, &str); 5] =
        [(86_400.0, "day"), (3_600.0, "hr"), (60.0, "min"), (1.0, "sec"), (1e-3, "msec")];
    /// Fewer microseconds than this are a rounding error.
    const NOTHING: f64 = 1e-6;

    if span.0 == 0 {
        return b"0 secs\0".to_vec();
    }
    let mut out = Vec::new();
    let mut part = |number: f64, name: &str| {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        if (number.abs() - 1.0).abs() >= NOTHING {
            out.extend_from_slice(b"s\0");
        }
    };
    let mut rest = span.as_secs_f64();
    for (unit, name) in UNITS {
        if rest.abs() >= unit {
            let whole = (rest / unit).trunc();
            rest -= whole * unit;
            part(whole, name);
        }
    }
    let micros = rest / 1e-6;
    if micros.abs() >= NOTHING {
        part(micros, "usec");
    }
    out
}

/// Appends an address as Zeek prints it (WIRE.md §5.4). Unlike [`Address`]'s `Display`, it uses a dotted
/// quad after six zero groups, or after four zero groups and `ffff:0`.
fn push_address(out: &mut Vec<u8>, address: Address) {
    let [.., a, b, c, d] = address.0;
    let before = match address.to_ip() {
        IpAddr::V4(_) => "",
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => "::",
            [0, 0, 0, 0, 0xffff, 0, _, _] => "::ffff:0:",
            _ => return out.extend_from_slice(address.to_string().as_bytes()),
        },
    };
    out.extend_from_slice(before.as_bytes());
    push_decimal(out, a);
    for byte in [b, c, d] {
        out.push(b'.');
        push_decimal(out, byte);
    }
}

fn push_decimal(out: &mut Vec<u8>, number: u8) {
    let [hundreds, tens, ones] = [number / 100, number / 10 % 10, number % 10];
    if hundreds > 0 {
        out.push(b'0' + hundreds);
    }
    if number >= 10 {
        out.push(b'0' + tens);
    }
    out.push(b'0' + ones);
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;

    use super::super::fnv1a32;
    use super::*;
    use crate::value::{Port, Protocol, Subnet, Timestamp};

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn subnet(text: &str, len: u8) -> Value {
        Subnet::new(address(text), len).unwrap().into()
    }

    fn port(number: u16, protocol: Protocol) -> Value {
        Port::new(number, protocol).into()
    }

    fn seconds(seconds: f64) -> Value {
        Timespan::from_secs_f64(seconds).into()
    }

    #[test]
    fn digests_are_those_of_a_running_zeek() {
        for (key, digest) in [
            (Value::from("a"), 0xe40c_292c),
            (Value::from("foobar"), 0xbf9c_f968),
            (Value::from(""), 0x811c_9dc5),
            (Value::from("0"), 0x350c_a8af),
            (Value::from(true), 0x6c11_51a5),
            (Value::from(false), 0x0eaf_f284),
            (Value::from(-42), 0xcd60_0dd6),
            (Value::from(42), 0x0d71_99bd),
            (Value::from(0_u64), 0xb5c8_d2e6),
            (Value::from(1_u64), 0x132a_3207),
            (Value::from(42_u64), 0x39e5_298c),
            (Value::from(123_u64), 0xc5b4_42fd),
            (Value::from(123.0), 0x15d2_016f),
            (Value::from(0.0), 0x940a_a1f1),
            (Value::from(1.5), 0xfe0c_5194),
            (Timestamp(0).into(), 0xc07e_31c0),
            (Timestamp(1_767_225_600_250_000_000).into(), 0xde1d_364c),
            (seconds(0.0), 0x114f_abd7),
            (seconds(1.5), 0xe50b_f091),
            (seconds(60.0), 0x8c47_27da),
            (port(80, Protocol::Tcp), 0xa801_45f7),
            (port(53, Protocol::Udp), 0x3828_a97c),
            (port(8, Protocol::Icmp), 0x2b8d_84b5),
            (port(0, Protocol::Unknown), 0x0a25_fe7a),
            (address("192.168.1.1").into(), 0xd7c2_87a7),
            (address("10.0.0.1").into(), 0xbb67_905a),
            (address("2001:db8::1").into(), 0x8cd1_52e2),
            (address("::1").into(), 0x80b1_16bb),
            (subnet("10.0.0.0", 8), 0xc6b7_564b),
            (subnet("192.168.0.0", 16), 0xa260_d3ce),
            (subnet("2001:db8::", 32), 0xe87f_7f40),
        ] {
            assert_eq!(fnv1a32(&hash_key(&key).unwrap()), digest, "{key:?}");
        }
        let worker = enum_hash_key(b"Cluster::NodeType", b"Cluster::WORKER");
        assert_eq!(fnv1a32(&worker), 0x8450_7616);
        assert_eq!(fnv1a32(&enum_hash_key(b"transport_proto", b"tcp")), 0xb72f_d26d);
    }

    #[test]
    fn key_bytes() {
        let count = hash_key(&123_u64.into()).unwrap();
        assert_eq!(count, b"\x03\0\0\0\x7b\0\0\0\0\0\0\0");
        let port = hash_key(&port(80, Protocol::Tcp)).unwrap();
        assert_eq!(port, b"\x0a\0\0\0\x50\0\0\0/\0tcp");
        for none in [Value::None, Value::enum_value("tcp"), Value::Vector(vec![])] {
            assert_eq!(hash_key(&none), None);
        }
    }

    #[test]
    fn intervals_are_described_unit_by_unit() {
        for (nanos, parts) in [
            (1_500_000_000, vec![(1.0, "sec\0"), (500.0, "msec\0s\0")]),
            (-90_000_000_000, vec![(-1.0, "min\0"), (-30.0, "sec\0s\0")]),
            (
                (((2 * 24 + 1) * 60 + 2) * 60 + 1) * 1_000_000_000,
                vec![(2.0, "day\0s\0"), (1.0, "hr\0"), (2.0, "min\0s\0"), (1.0, "sec\0")],
            ),
            (1_000, vec![(1.0, "usec\0")]),
            (1, vec![(1e-9 / 1e-6, "usec\0s\0")]),
            // Rounding: the rest is not exactly one microsecond but counts as one.
            (1_000_001_000, vec![(1.0, "sec\0"), ((1.000_001 - 1.0) / 1e-6, "usec\0")]),
        ] {
            let expected: Vec<u8> = parts
                .iter()
                .flat_map(|(number, name)| [&f64::to_le_bytes(*number), name.as_bytes()].concat())
                .collect();
            assert_eq!(interval(Timespan(nanos)), expected, "{nanos}");
        }
    }

    #[test]
    fn addresses_have_dotted_quads_where_zeek_writes_them() {
        for text in [
            "192.0.2.1",
            "255.100.10.9",
            "0.99.1.0",
            "::",
            "::1",
            "::ffff",
            "::0.1.0.0",
            "::1.2.3.4",
            "::ffff:0:1.2.3.4",
            "::ffff:0:0.0.0.0",
            "::fffe:0:102:304",
            "64:ff9b::c000:201",
        ] {
            let mut out = Vec::new();
            push_address(&mut out, address(text));
            assert_eq!(out.as_bstr(), text);
        }
    }
}
