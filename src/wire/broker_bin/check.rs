//! [`check_event`]: checks whether bytes are an event, without building it.
//!
//! A single pass cannot detect a set or table that contains an element twice (WIRE.md §2.4). But
//! encoders write elements in ascending order, and in a strictly ascending sequence no two are
//! equal. Events that are not in that order go through the decoder.

use std::cmp::Ordering;

use super::{DecodeError, Decoder, decode_event, real_from_bits, tag};

/// Checks that a buffer holds exactly one event in its envelope. The result is that of
/// [`decode_event`].
///
/// Allocates nothing for an event as encoders write it. An event whose sets or tables are not in
/// ascending order is decoded.
///
/// # Errors
///
/// The error that [`decode_event`] returns for the same bytes.
pub fn check_event(bytes: &[u8]) -> Result<(), DecodeError> {
    match Decoder::new(bytes).skip_event() {
        Ok(()) => Ok(()),
        Err(Stop::Malformed(error)) => Err(error),
        Err(Stop::OutOfOrder) => decode_event(bytes).map(drop),
    }
}

/// Why a walk over values ended early.
#[derive(Debug, PartialEq)]
pub(super) enum Stop {
    Malformed(DecodeError),
    /// A set or table is not in ascending order and may contain duplicates.
    OutOfOrder,
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Stop::Malformed(error)
    }
}

impl Decoder<'_> {
    pub(super) fn skip_event(mut self) -> Result<(), Stop> {
        let head = self.event_head()?;
        self.skip_vector()?;
        if head.has_metadata {
            for _ in 0..self.metadata_head()? {
                self.metadata_entry_head()?;
                self.skip()?;
                self.leave();
            }
            self.leave();
        }
        Ok(self.finish()?)
    }

    /// Reads one value and discards it.
    fn skip(&mut self) -> Result<(), Stop> {
        let offset = self.offset;
        match self.tag()? {
            tag::NONE => {}
            tag::BOOLEAN => _ = self.byte("a boolean")?,
            tag::COUNT => _ = self.count()?,
            tag::INTEGER => _ = self.array::<8>("an integer")?,
            tag::REAL => _ = self.array::<8>("a real")?,
            tag::STRING | tag::ENUM => _ = self.slice()?,
            tag::ADDRESS => _ = self.array::<16>("an address")?,
            tag::SUBNET => _ = self.subnet()?,
            tag::PORT => _ = self.port()?,
            tag::TIMESTAMP => _ = self.array::<8>("a timestamp")?,
            tag::TIMESPAN => _ = self.array::<8>("a timespan")?,
            tag::SET => self.skip_ascending(1)?,
            tag::TABLE => self.skip_ascending(2)?,
            tag::VECTOR => self.skip_vector()?,
            tag => return Err(DecodeError::UnknownTag { offset, tag }.into()),
        }
        Ok(())
    }

    fn skip_vector(&mut self) -> Result<(), Stop> {
        for _ in 0..self.enter(1)? {
            self.skip()?;
        }
        self.leave();
        Ok(())
    }

    /// Reads a set (one value per element) or table (two) whose elements or keys must ascend.
    fn skip_ascending(&mut self, values_per_element: u64) -> Result<(), Stop> {
        let mut below: Option<&[u8]> = None;
        for _ in 0..self.enter(values_per_element)? {
            let start = self.offset;
            self.skip()?;
            let key = &self.bytes[start..self.offset];
            if let Some(below) = below.replace(key)
                && compare(&mut Decoder::new(below), &mut Decoder::new(key))? != Ordering::Less
            {
                return Err(Stop::OutOfOrder);
            }
            if values_per_element == 2 {
                self.skip()?;
            }
        }
        self.leave();
        Ok(())
    }
}

/// Compares two values in the order of [`Value`](crate::Value): first by tag, then by content.
/// Different bytes can be the same value because lengths can be padded.
fn compare(a: &mut Decoder<'_>, b: &mut Decoder<'_>) -> Result<Ordering, DecodeError> {
    let offset = a.offset;
    let (tag, other) = (a.tag()?, b.tag()?);
    if tag != other {
        return Ok(tag.cmp(&other));
    }
    let signed = |value: &mut Decoder<'_>| value.array("64 bits").map(i64::from_be_bytes);
    let real = |value: &mut Decoder<'_>| {
        value.array("a real").map(|bits| real_from_bits(u64::from_be_bytes(bits)))
    };
    Ok(match tag {
        tag::NONE => Ordering::Equal,
        // Any value but 0 is true.
        tag::BOOLEAN => (a.byte("a boolean")? != 0).cmp(&(b.byte("a boolean")? != 0)),
        tag::COUNT => a.count()?.cmp(&b.count()?),
        tag::INTEGER | tag::TIMESTAMP | tag::TIMESPAN => signed(a)?.cmp(&signed(b)?),
        tag::REAL => real(a)?.cmp(&real(b)?),
        tag::STRING | tag::ENUM => a.slice()?.cmp(b.slice()?),
        tag::ADDRESS => a.array::<16>("an address")?.cmp(&b.array("an address")?),
        tag::SUBNET => a.subnet()?.cmp(&b.subnet()?),
        tag::PORT => a.port()?.cmp(&b.port()?),
        tag::SET | tag::TABLE | tag::VECTOR => {
            let values_per_element = if tag == tag::TABLE { 2 } else { 1 };
            let (len, other) = (a.enter(values_per_element)?, b.enter(values_per_element)?);
            for _ in 0..u64::from(len.min(other)) * values_per_element {
                let order = compare(a, b)?;
                if order != Ordering::Equal {
                    return Ok(order);
                }
            }
            a.leave();
            b.leave();
            len.cmp(&other)
        }
        tag => return Err(DecodeError::UnknownTag { offset, tag }),
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::{MAX_DEPTH, encode_event, encode_header, encode_value};
    use super::*;
    use crate::value::Value;
    use crate::{Event, testing};

    fn encoded(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode_value(value, &mut out);
        out
    }

    fn encoded_event(event: &Event) -> Vec<u8> {
        let mut out = Vec::new();
        encode_event(event, &mut out);
        out
    }

    /// An event with one argument, given as bytes.
    fn event_of(argument: &[u8]) -> Vec<u8> {
        let mut bytes = encoded_event(&Event::new("e", vec![Value::None]));
        bytes.pop();
        bytes.extend_from_slice(argument);
        bytes
    }

    fn container(tag: u8, elements: &[&[u8]], len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_header(tag, len, &mut bytes);
        bytes.extend(elements.concat());
        bytes
    }

    #[test]
    fn elements_in_any_order_are_good_and_twice_are_not() {
        let (none, yes, also_yes) =
            (&[tag::NONE][..], &[tag::BOOLEAN, 1][..], &[tag::BOOLEAN, 2][..]);
        let (a, padded_a) = (&[tag::STRING, 1, b'a'][..], &[tag::STRING, 0x81, 0, b'a'][..]);
        let (real, same_real) = (
            &encoded(&Value::from(f64::INFINITY))[..],
            &[tag::REAL, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0][..],
        );
        let outer = container(tag::SET, &[a, none], 2);
        for (elements, is_good) in [
            (&[none, yes, a][..], true),
            (&[a, yes, none], true),
            (&[none, none], false),
            (&[a, none, a], false),
            (&[yes, also_yes], false),
            (&[a, padded_a], false),
            (&[padded_a, none], true),
            (&[real, same_real], false),
            (&[&outer, a], true),
            (&[&outer, &outer], false),
        ] {
            let set = event_of(&container(tag::SET, elements, elements.len()));
            let pairs: Vec<_> = elements.iter().flat_map(|key| [*key, yes]).collect();
            let table = event_of(&container(tag::TABLE, &pairs, elements.len()));
            for bytes in [set, table] {
                assert_eq!(check_event(&bytes).is_ok(), is_good, "{elements:x?}");
                assert_eq!(check_event(&bytes), decode_event(&bytes).map(drop), "{elements:x?}");
            }
        }
    }

    #[test]
    fn nesting_is_limited() {
        // The event itself takes three levels.
        for depth in [MAX_DEPTH - 3, MAX_DEPTH - 2] {
            for tag in [tag::VECTOR, tag::SET] {
                let mut nested = [tag, 1].repeat(depth);
                nested.push(tag::NONE);
                let bytes = event_of(&nested);
                assert_eq!(check_event(&bytes), decode_event(&bytes).map(drop), "{depth}");
                assert_eq!(check_event(&bytes).is_ok(), depth == MAX_DEPTH - 3);
            }
        }
    }

    proptest! {
        #[test]
        fn what_encoders_write_is_never_decoded(event in testing::event()) {
            prop_assert_eq!(Decoder::new(&encoded_event(&event)).skip_event(), Ok(()));
        }

        #[test]
        fn bytes_compare_as_their_values(a in testing::value(), b in testing::value()) {
            let (left, right) = (encoded(&a), encoded(&b));
            let order = compare(&mut Decoder::new(&left), &mut Decoder::new(&right));
            prop_assert_eq!(order, Ok(a.cmp(&b)));
            prop_assert_eq!(
                compare(&mut Decoder::new(&left), &mut Decoder::new(&left)),
                Ok(Ordering::Equal)
            );
        }

        #[test]
        fn the_verdict_is_the_decoders_on_mutated_events(
            bytes in testing::mutated(testing::event().prop_map(|event| encoded_event(&event)))
        ) {
            prop_assert_eq!(check_event(&bytes), decode_event(&bytes).map(drop));
        }

        #[test]
        fn the_verdict_is_the_decoders_on_any_argument(
            argument in vec(0..0x10_u8, 0..60), cut in any::<bool>()
        ) {
            let mut bytes = event_of(&argument);
            if cut {
                bytes.drain(..bytes.len() / 2);
            }
            prop_assert_eq!(check_event(&bytes), decode_event(&bytes).map(drop));
        }

        #[test]
        fn the_verdict_is_the_decoders_on_elements_in_any_order(
            values in vec(testing::value(), 0..6), twice in any::<proptest::sample::Index>(),
            again in any::<bool>(), tag in tag::SET..=tag::TABLE,
        ) {
            let mut elements: Vec<Vec<u8>> = values.iter().map(encoded).collect();
            if again && !elements.is_empty() {
                elements.push(elements[twice.index(elements.len())].clone());
            }
            let per = usize::from(tag - tag::SET) + 1;
            elements.truncate(elements.len() / per * per);
            let parts: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
            let bytes = event_of(&container(tag, &parts, parts.len() / per));
            prop_assert_eq!(check_event(&bytes), decode_event(&bytes).map(drop));
        }
    }
}
