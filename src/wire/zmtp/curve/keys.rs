//! CURVE keys: 32 bytes, or 40 characters of Z85 (RFC 32) in files and messages.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;
use zeroize::Zeroizing;

use zmq_sys::sodium::{self, KEY_SIZE, SecretBytes};

/// Characters of a key in Z85.
const TEXT_SIZE: usize = 40;

const DIGITS: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Why a text is not a key. Does not contain the text, which may be most of a secret.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BadKey {
    /// The length is wrong.
    #[error("found {0} characters, expected a key of 40 characters of Z85")]
    Length(usize),
    /// A group of five characters does not encode four bytes.
    #[error("not a Z85 key: characters {} to {} are invalid", .0 + 1, .0 + 5)]
    Group(usize),
}

/// A public key, which identifies its owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; KEY_SIZE]);

impl PublicKey {
    /// The key as raw bytes, as sent on the wire.
    pub fn as_bytes(&self) -> &[u8; KEY_SIZE] {
        &self.0
    }
}

impl From<[u8; KEY_SIZE]> for PublicKey {
    fn from(bytes: [u8; KEY_SIZE]) -> Self {
        PublicKey(bytes)
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    /// Reads 40 characters of Z85.
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let mut key = [0; KEY_SIZE];
        decode(text, &mut key)?;
        Ok(PublicKey(key))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A secret key. Wiped when dropped; [`fmt::Debug`] does not show it.
#[derive(Clone)]
pub struct SecretKey(SecretBytes);

impl SecretKey {
    /// Generates a new key.
    pub fn generate() -> Self {
        let mut key = SecretBytes::default();
        sodium::random(&mut key[..]);
        SecretKey(key)
    }

    /// The raw bytes. The caller must keep them secret.
    pub fn expose(&self) -> &[u8; KEY_SIZE] {
        &self.0
    }

    /// The key as Z85, also wiped when dropped. The caller must keep it secret.
    pub fn expose_text(&self) -> Zeroizing<String> {
        encode(&self.0)
    }

    /// Computes the matching public key.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(sodium::public_key(&self.0))
    }
}

impl FromStr for SecretKey {
    type Err = BadKey;

    /// Reads 40 characters of Z85.
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let mut key = SecretBytes::default();
        decode(text, &mut key)?;
        Ok(SecretKey(key))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A secret key and its public key.
#[derive(Clone, Debug)]
pub struct KeyPair {
    secret: SecretKey,
    public: PublicKey,
}

impl KeyPair {
    /// Generates a new pair.
    pub fn generate() -> Self {
        SecretKey::generate().into()
    }

    /// A pair for somebody who claims the public key of somebody else.
    #[cfg(test)]
    pub(crate) fn mismatched(secret: &SecretKey, public: PublicKey) -> Self {
        KeyPair { secret: secret.clone(), public }
    }

    /// The secret key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// The public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl From<SecretKey> for KeyPair {
    fn from(secret: SecretKey) -> Self {
        let public = secret.public_key();
        KeyPair { secret, public }
    }
}

/// Encodes every four bytes as a number of five digits.
fn encode(key: &[u8; KEY_SIZE]) -> Zeroizing<String> {
    // Never grows beyond this: reallocation would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(TEXT_SIZE));
    for group in key.as_chunks::<4>().0 {
        let number = u32::from_be_bytes(*group) as usize;
        for power in [85 * 85 * 85 * 85, 85 * 85 * 85, 85 * 85, 85, 1] {
            text.push(char::from(DIGITS[number / power % 85]));
        }
    }
    text
}

fn decode(text: &str, key: &mut [u8; KEY_SIZE]) -> Result<(), BadKey> {
    if text.len() != TEXT_SIZE {
        return Err(BadKey::Length(text.chars().count()));
    }
    let groups = text.as_bytes().as_chunks::<5>().0.iter();
    for (i, (group, bytes)) in groups.zip(key.as_chunks_mut::<4>().0).enumerate() {
        // Five digits are below 85^5, which fits in a u64.
        let number = group.iter().try_fold(0, |number: u64, character| {
            let digit = DIGITS.iter().position(|digit| digit == character)?;
            Some(number * 85 + digit as u64)
        });
        let number = number.and_then(|number| u32::try_from(number).ok());
        *bytes = number.ok_or(BadKey::Group(5 * i))?.to_be_bytes();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // The example of RFC 32, repeated four times.
    #[test]
    fn z85() {
        let bytes = [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b].repeat(4);
        let text = "HelloWorld".repeat(4);
        let key: PublicKey = text.parse().unwrap();
        assert_eq!(key.as_bytes()[..], bytes);
        assert_eq!(key.to_string(), text);
        assert_eq!(format!("{key:?}"), text);
    }

    #[test]
    fn what_is_no_key() {
        let zeros = "0".repeat(35);
        for (text, expected) in [
            (String::new(), BadKey::Length(0)),
            ("0".repeat(39), BadKey::Length(39)),
            ("ä".repeat(40), BadKey::Length(40)),
            (zeros.clone() + "#####", BadKey::Group(35)),
            (format!("0000\"{zeros}"), BadKey::Group(0)),
            (format!("{zeros}000ä"), BadKey::Group(35)),
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(expected.clone()), "{text}");
            assert_eq!(text.parse::<SecretKey>().unwrap_err(), expected);
        }
        // The largest number that fits in four bytes.
        assert!((zeros + "%nSc0").parse::<PublicKey>().is_ok());
    }

    #[test]
    fn a_secret_is_told_only_who_asks() {
        let pair = KeyPair::generate();
        let text = pair.secret().expose_text();
        let shown = format!("{pair:?}");
        assert!(shown.contains("<secret>") && shown.contains(&pair.public().to_string()));
        assert!(!shown.contains(&text[..]));
        let again: SecretKey = text.parse().unwrap();
        assert_eq!(again.public_key(), *pair.public());
        assert_ne!(KeyPair::generate().public(), pair.public());
    }

    proptest! {
        #[test]
        fn every_key_reads_back(key: [u8; KEY_SIZE]) {
            prop_assert_eq!(PublicKey::from(key).to_string().parse(), Ok(PublicKey(key)));
        }
    }
}
