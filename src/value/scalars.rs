//! `Serialize` and `Deserialize` of the scalar types that serde does not have.
//!
//! Formats for people, such as JSON, get them as text, in the form of `Display`. Others get bytes in
//! network order, or nanoseconds.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::form::Form;
use super::{Address, Port, Protocol, Real, Subnet, Timespan, Timestamp};

/// Bytes, which serde would take for a sequence of numbers.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl Serialize for Bytes<'_> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// A type that is a few bytes to formats not for people.
trait Compact: FromStr + Sized {
    const FORM: Form;

    fn from_compact(bytes: &[u8]) -> Option<Self>;
}

impl Address {
    #[inline]
    pub(super) fn from_compact(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Address)
    }

    #[inline]
    fn compact(self) -> [u8; 16] {
        self.0
    }
}

impl Subnet {
    #[inline]
    pub(super) fn from_compact(bytes: &[u8]) -> Option<Self> {
        let (&prefix_len, network) = bytes.split_last()?;
        let network = Address::from_compact(network)?;
        (prefix_len <= 128).then_some(Subnet { network, prefix_len })
    }

    #[inline]
    pub(super) fn compact(self) -> [u8; 17] {
        let mut bytes = [self.prefix_len; 17];
        bytes[..16].copy_from_slice(&self.network.0);
        bytes
    }
}

impl Port {
    #[inline]
    pub(super) fn from_compact(bytes: &[u8]) -> Option<Self> {
        let &[high, low, protocol] = bytes else { return None };
        let number = u16::from_be_bytes([high, low]);
        Some(Port { number, protocol: Protocol::from_number(protocol)? })
    }

    #[inline]
    pub(super) fn compact(self) -> [u8; 3] {
        let [high, low] = self.number.to_be_bytes();
        [high, low, self.protocol as u8]
    }
}

struct CompactVisitor<T>(PhantomData<T>);

impl<'de, T: Compact<Err: fmt::Display>> de::Visitor<'de> for CompactVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORM.name())
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        inner.deserialize_bytes(self)
    }

    #[inline]
    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
        T::from_compact(bytes).ok_or_else(|| E::invalid_value(de::Unexpected::Bytes(bytes), &self))
    }

    #[inline]
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! compact {
    ($($type:ident, $form:expr;)*) => {
        $(
            impl Compact for $type {
                const FORM: Form = $form;

                #[inline]
                fn from_compact(bytes: &[u8]) -> Option<Self> {
                    $type::from_compact(bytes)
                }
            }

            impl Serialize for $type {
                #[inline]
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    if serializer.is_human_readable() {
                        serializer.collect_str(self)
                    } else {
                        let bytes = self.compact();
                        serializer.serialize_newtype_struct($form.token(), &Bytes(&bytes))
                    }
                }
            }

            impl<'de> Deserialize<'de> for $type {
                #[inline]
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let visitor = CompactVisitor(PhantomData);
                    if deserializer.is_human_readable() {
                        deserializer.deserialize_str(visitor)
                    } else {
                        deserializer.deserialize_newtype_struct($form.token(), visitor)
                    }
                }
            }
        )*
    };
}
compact! {
    Address, Form::Address;
    Subnet, Form::Subnet;
    Port, Form::Port;
}

/// A type that is nanoseconds to formats not for people.
struct NanosVisitor<T> {
    form: Form,
    of_nanos: fn(i64) -> T,
}

impl<'de, T: FromStr<Err: fmt::Display>> de::Visitor<'de> for NanosVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.form.name())
    }

    #[inline]
    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        inner.deserialize_i64(self)
    }

    #[inline]
    fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<T, E> {
        Ok((self.of_nanos)(nanos))
    }

    #[inline]
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! nanoseconds {
    ($($type:ident, $form:expr;)*) => {
        $(
            impl Serialize for $type {
                #[inline]
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    if serializer.is_human_readable() {
                        serializer.collect_str(self)
                    } else {
                        serializer.serialize_newtype_struct($form.token(), &self.0)
                    }
                }
            }

            impl<'de> Deserialize<'de> for $type {
                #[inline]
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let visitor = NanosVisitor { form: $form, of_nanos: $type };
                    if deserializer.is_human_readable() {
                        deserializer.deserialize_str(visitor)
                    } else {
                        deserializer.deserialize_newtype_struct($form.token(), visitor)
                    }
                }
            }
        )*
    };
}
nanoseconds! {
    Timestamp, Form::Time;
    Timespan, Form::Interval;
}

/// A number; in formats for people, `"inf"`, `"-inf"` or `"NaN"` if it is not finite, because JSON has
/// no such numbers.
impl Serialize for Real {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() && !self.0.is_finite() {
            serializer.collect_str(&self.0)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Real {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(RealVisitor)
        } else {
            deserializer.deserialize_f64(RealVisitor)
        }
    }
}

struct RealVisitor;

impl de::Visitor<'_> for RealVisitor {
    type Value = Real;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("double")
    }

    #[inline]
    fn visit_f64<E: de::Error>(self, x: f64) -> Result<Real, E> {
        Ok(Real(x))
    }

    #[inline]
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Real, E> {
        Ok(Real(n as f64))
    }

    #[inline]
    fn visit_i64<E: de::Error>(self, n: i64) -> Result<Real, E> {
        Ok(Real(n as f64))
    }

    #[inline]
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Real, E> {
        text.parse().map(Real).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
