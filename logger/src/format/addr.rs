//! Addresses and subnets (WIRE.md §5.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::digits::put_uint;
use super::pen::Pen;

/// Each octet followed by a dot, with the first digit in the lowest byte, and the length of both in
/// bits.
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
#[inline(always)]
pub(super) fn put_addr(ip: IpAddr, pen: Pen<'_>) -> Pen<'_> {
    match ip {
        IpAddr::V4(v4) => put_v4(v4, pen),
        IpAddr::V6(v6) => put_v6(v6, pen),
    }
}

/// Appends a subnet with its natural prefix length.
pub(super) fn put_subnet(prefix: IpAddr, length: u8, pen: Pen<'_>) -> Pen<'_> {
    let pen = put_addr(prefix, pen).byte(b'/');
    put_uint(length.into(), pen)
}

#[inline(always)]
fn put_v4(v4: Ipv4Addr, pen: Pen<'_>) -> Pen<'_> {
    let [a, b, c, d] = v4.octets();
    let (pair, len) = octet_pair(a, b);
    let pen = pen.chunk(&pair, len);
    let (pair, len) = octet_pair(c, d);
    // `len - 1` leaves out the last dot: the next text overwrites it.
    pen.chunk(&pair, len - 1)
}

/// Two octets, each followed by a dot, and the length of both.
#[inline(always)]
fn octet_pair(first: u8, second: u8) -> ([u8; 8], usize) {
    let ((first, first_bits), (second, second_bits)) =
        (OCTETS[usize::from(first)], OCTETS[usize::from(second)]);
    let text = u64::from(first) | u64::from(second) << first_bits;
    (text.to_le_bytes(), usize::from(first_bits + second_bits) / 8)
}

#[inline(never)]
fn put_v6(v6: Ipv6Addr, mut pen: Pen<'_>) -> Pen<'_> {
    let groups = v6.segments();
    let (start, len) = longest_zero_run(groups);
    // The last two groups are a dotted quad in IPv4-compatible, -mapped and -translated addresses.
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
            pen = pen.chunk(b"::", 2);
            i += len;
            continue;
        }
        if i > 0 && i != start + len {
            pen = pen.byte(b':');
        }
        pen = put_hex(groups[i], pen);
        i += 1;
    }
    if dotted {
        if start + len < 6 {
            pen = pen.byte(b':');
        }
        // The lowest 32 bits.
        pen = put_v4(Ipv4Addr::from_bits(v6.to_bits() as u32), pen);
    }
    pen
}

/// Returns the start and length of the first longest run of two or more zero groups, or 0 and 0 if
/// there is none.
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
#[inline]
fn put_hex(group: u16, pen: Pen<'_>) -> Pen<'_> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = [12, 8, 4, 0].map(|shift| DIGITS[usize::from(group >> shift & 15)]);
    let zeros = (group | 1).leading_zeros() / 4;
    let text = u32::from_le_bytes(digits) >> (8 * zeros);
    pen.chunk(&text.to_le_bytes(), 4 - zeros as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(ip: impl Into<IpAddr>) -> String {
        let mut out = Vec::new();
        put_addr(ip.into(), Pen::new(&mut out, 0)).finish();
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
        let pen = put_subnet("10.0.0.0".parse().unwrap(), 8, Pen::new(&mut out, 0)).byte(b' ');
        put_subnet("2001:db8::1".parse().unwrap(), 128, pen).finish();
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
