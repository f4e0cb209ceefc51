//! Paths as JSON text. Pure.
//!
//! File names are bytes. UTF-8 is written unchanged; any other byte becomes the character U+F00NN,
//! as in the PUA policy of JSON logs (WIRE.md §5.5). A real character in that range is split into
//! its bytes, so that the text is unambiguous. Also has the `with` functions for serde.

use bstr::BString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// U+F0000, which represents the byte 0.
const BASE: u32 = 0xf_0000;

/// Encodes bytes as text.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let put = |text: &mut String, bytes: &[u8]| {
        text.extend(bytes.iter().filter_map(|byte| char::from_u32(BASE + u32::from(*byte))));
    };
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            if byte_of(char).is_some() {
                put(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                text.push(char);
            }
        }
        put(&mut text, chunk.invalid());
    }
    text
}

/// Decodes such a text into bytes.
pub(crate) fn decode(text: &str) -> BString {
    let mut bytes = Vec::with_capacity(text.len());
    for char in text.chars() {
        match byte_of(char) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes.into()
}

fn byte_of(char: char) -> Option<u8> {
    u32::from(char).checked_sub(BASE).and_then(|byte| u8::try_from(byte).ok())
}

pub(crate) fn serialize<S: Serializer>(bytes: &BString, to: S) -> Result<S::Ok, S::Error> {
    encode(bytes).serialize(to)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BString, D::Error> {
    Ok(decode(&String::deserialize(from)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(encode("grüße \"x\" \n".as_bytes()), "grüße \"x\" \n");
        assert_eq!(encode(b"caf\xe9"), "caf\u{f00e9}");
        assert_eq!(encode("\u{f00e9}".as_bytes()), "\u{f00f3}\u{f00b0}\u{f0083}\u{f00a9}");
        assert_eq!(encode("\u{f0100}".as_bytes()), "\u{f0100}");
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..50),
                "[a\u{f0000}-\u{f0200}]{0,10}".prop_map(String::into_bytes),
            ],
        ) {
            prop_assert_eq!(decode(&encode(&bytes)), bytes);
        }
    }
}
