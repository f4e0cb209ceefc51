//! Addresses and subnets (WIRE.md §5.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::number::put_uint;

/// Every octet with its dot, the first digit in the lowest byte, and the bits of both.
static OCTETS: [(u32, u8); 256] = {
    let mut table = [(0, 0); 256];
    let mut n = 0;
    while n < 256 {
        let (hundreds, tens, ones) =
            (b'0' + (n / 100) as u8, b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8);
        let (text, len) = if n >= 100 {
            ([hundreds, tens, ones, b'.'], 4)
        } else if n >= 10 {
            ([tens, ones, b'.', 0], 3)
        } else {
            ([ones, b'.', 0, 0], 2)
        };
        table[n] = (u32::from_le_bytes(text), 8 * len);
        n += 1;
    }
    table
};

/// Appends an address.
#[inline]
pub(super) fn put_addr(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(v4) => put_v4(v4, out),
        IpAddr::V6(v6) => put_v6(v6, out),
    }
}

/// Appends a subnet with its natural prefix length.
pub(super) fn put_subnet(prefix: IpAddr, length: u8, out: &mut Vec<u8>) {
    put_addr(prefix, out);
    out.push(b'/');
    put_uint(length.into(), out);
}

#[inline]
fn put_v4(v4: Ipv4Addr, out: &mut Vec<u8>) {
    let mut text = 0u128;
    let mut bits = 0;
    for octet in v4.octets() {
        let (digits, len) = OCTETS[usize::from(octet)];
        // At most 32 bits per octet have been counted before: there is room for 32 more.
        text |= u128::from(digits) << bits;
        bits += u32::from(len);
    }
    // All sixteen bytes are copied, which is faster than counting, and the last dot goes again
    // with what follows it.
    let end = out.len() + bits as usize / 8 - 1;
    out.extend_from_slice(&text.to_le_bytes());
    out.truncate(end);
}

fn put_v6(v6: Ipv6Addr, out: &mut Vec<u8>) {
    let groups = v6.segments();
    let (start, len) = longest_zero_run(groups);
    // The last two groups as a dotted quad: IPv4-compatible, -mapped and -translated forms.
    let dotted = start == 0
        && match len {
            6 => true,
            5 => groups[5] == 0xffff,
            4 => groups[4] == 0xffff && groups[5] == 0,
            _ => false,
        };
    let hex_groups = if dotted { 6 } else { 8 };
    let mut i = 0;
    while i < hex_groups {
        if len > 0 && i == start {
            out.extend_from_slice(b"::");
            i += len;
            continue;
        }
        if i > 0 && i != start + len {
            out.push(b':');
        }
        put_hex(groups[i], out);
        i += 1;
    }
    if dotted {
        if start + len < 6 {
            out.push(b':');
        }
        // The lowest 32 bits.
        put_v4(Ipv4Addr::from_bits(v6.to_bits() as u32), out);
    }
}

/// Start and length of the first longest run of two or more zero groups; 0 and 0 without one.
fn longest_zero_run(groups: [u16; 8]) -> (usize, usize) {
    let mut best = (0, 0);
    let mut start = 0;
    for end in 0..=groups.len() {
        if groups.get(end) == Some(&0) {
            continue;
        }
        if end - start >= 2 && end - start > best.1 {
            best = (start, end - start);
        }
        start = end + 1;
    }
    best
}

/// Appends a group in lower-case hexadecimal without leading zeros.
fn put_hex(group: u16, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = [12, 8, 4, 0].map(|shift| DIGITS[usize::from(group >> shift & 15)]);
    let zeros = (group | 1).leading_zeros() as usize / 4;
    out.extend_from_slice(&digits[zeros..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(ip: impl Into<IpAddr>) -> String {
        let mut out = Vec::new();
        put_addr(ip.into(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn addresses_print_as_zeek_prints_them() {
        for (input, expected) in [
            ("0.0.0.0", "0.0.0.0"),
            ("255.10.9.100", "255.10.9.100"),
            ("::", "::"),
            ("::1", "::1"),
            ("::ffff", "::ffff"),
            ("::1:0", "::0.1.0.0"),
            ("::102:304", "::1.2.3.4"),
            ("::ffff:102:304", "::ffff:1.2.3.4"),
            ("::ffff:0:102:304", "::ffff:0:1.2.3.4"),
            ("::fffe:0:102:304", "::fffe:0:102:304"),
            ("64:ff9b::c000:201", "64:ff9b::c000:201"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:0:0:1::1", "2001:0:0:1::1"),
            ("2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
            ("2001:db8:1:1:1:1:0:1", "2001:db8:1:1:1:1:0:1"),
            ("fe80::1:2:3:4", "fe80::1:2:3:4"),
            ("1:2:3:4:5:6::", "1:2:3:4:5:6::"),
            ("ABCD:0EF0::", "abcd:ef0::"),
        ] {
            assert_eq!(text(input.parse::<IpAddr>().unwrap()), expected);
        }
    }

    #[test]
    fn subnets_print_their_natural_length() {
        let mut out = Vec::new();
        put_subnet("10.0.0.0".parse().unwrap(), 8, &mut out);
        out.push(b' ');
        put_subnet("2001:db8::1".parse().unwrap(), 128, &mut out);
        assert_eq!(out, b"10.0.0.0/8 2001:db8::1/128");
    }

    proptest! {
        #[test]
        fn addresses_read_back(v4: u32, v6: u128, mask: u128) {
            let v4 = Ipv4Addr::from(v4);
            prop_assert_eq!(text(v4), v4.to_string());
            // Zero groups are rare in random addresses.
            let mask = mask & mask >> 16 & mask << 48;
            for v6 in [v6, v6 & mask, v6 & 0xffff_ffff, v6 & 0xffff_0000_ffff_ffff] {
                let v6 = Ipv6Addr::from(v6);
                prop_assert_eq!(text(v6).parse::<Ipv6Addr>().unwrap(), v6);
            }
        }
    }
}
