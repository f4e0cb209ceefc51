//! Attributes for fields of types that others own: `#[serde(with = "zcluster::value::with::addr")]`.
//!
//! | attribute | types | Zeek |
//! |---|---|---|
//! | [`addr`] | `IpAddr`, `Ipv4Addr`, `Ipv6Addr` | `addr` |
//! | [`time`] | `SystemTime` | `time` |
//! | [`interval`] | `Duration` | `interval` that is not negative |
//! | [`bytes`] | `Vec<u8>` | `string` |
//! | [`enum_name`] | `String`, `BString` and others that serde has as text or bytes | `enum` |
//! | [`set`] | `BTreeSet`, `HashSet`, `Vec` and others that serde has as sequences | `set` |
//!
//! Each is also for `Option` of its types, for fields that may be unset. Inside other types
//! (`Vec<IpAddr>`), use the types of [`value`](super): [`Address`], [`Set`](super::Set),
//! [`Enum`](super::Enum) and so on.
//!
//! ```
//! use std::collections::HashSet;
//! use std::net::IpAddr;
//! use std::time::Duration;
//!
//! use serde::{Deserialize, Serialize};
//! use zcluster::value::{from_value, to_value, with};
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Scan {
//!     #[serde(with = "with::addr")]
//!     scanner: IpAddr,
//!     #[serde(with = "with::interval")]
//!     took: Duration,
//!     #[serde(with = "with::set")]
//!     ports: HashSet<u16>,
//!     #[serde(with = "with::enum_name")]
//!     note: Option<String>,
//! }
//! let scan = Scan {
//!     scanner: "192.0.2.1".parse()?,
//!     took: Duration::from_secs(3),
//!     ports: [22, 23].into(),
//!     note: Some("Scan::Port_Scan".into()),
//! };
//! assert_eq!(from_value::<Scan>(to_value(&scan)?)?, scan);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::BString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::form::Form;
use super::types::in_form;
use super::{Address, Timespan, Timestamp};

mod sealed {
    /// A type and the Zeek type `Z` that it is converted to.
    pub trait Convert<Z>: Sized {
        type Zeek: super::Serialize + super::DeserializeOwned;

        fn to_zeek(&self) -> Result<Self::Zeek, &'static str>;
        fn from_zeek(value: Self::Zeek) -> Result<Self, &'static str>;
    }
}
use sealed::Convert;

impl<Z, T: Convert<Z>> Convert<Z> for Option<T> {
    type Zeek = Option<T::Zeek>;

    #[inline]
    fn to_zeek(&self) -> Result<Self::Zeek, &'static str> {
        self.as_ref().map(T::to_zeek).transpose()
    }

    #[inline]
    fn from_zeek(value: Self::Zeek) -> Result<Self, &'static str> {
        value.map(T::from_zeek).transpose()
    }
}

impl Convert<Address> for IpAddr {
    type Zeek = Address;

    #[inline]
    fn to_zeek(&self) -> Result<Address, &'static str> {
        Ok((*self).into())
    }

    #[inline]
    fn from_zeek(address: Address) -> Result<Self, &'static str> {
        Ok(address.to_ip())
    }
}

impl Convert<Address> for Ipv4Addr {
    type Zeek = Address;

    #[inline]
    fn to_zeek(&self) -> Result<Address, &'static str> {
        Ok((*self).into())
    }

    #[inline]
    fn from_zeek(address: Address) -> Result<Self, &'static str> {
        match address.to_ip() {
            IpAddr::V4(ip) => Ok(ip),
            IpAddr::V6(_) => Err("expected an IPv4 address, found IPv6"),
        }
    }
}

impl Convert<Address> for Ipv6Addr {
    type Zeek = Address;

    #[inline]
    fn to_zeek(&self) -> Result<Address, &'static str> {
        Ok((*self).into())
    }

    #[inline]
    fn from_zeek(address: Address) -> Result<Self, &'static str> {
        Ok(address.0.into())
    }
}

impl Convert<Timestamp> for SystemTime {
    type Zeek = Timestamp;

    #[inline]
    fn to_zeek(&self) -> Result<Timestamp, &'static str> {
        let nanos = match self.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).ok(),
            Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|n| -n),
        };
        nanos.map(Timestamp).ok_or("expected a time from 1678 to 2261, found another")
    }

    #[inline]
    fn from_zeek(Timestamp(nanos): Timestamp) -> Result<Self, &'static str> {
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        let time = if nanos < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        time.ok_or("expected a time that this system can represent, found another")
    }
}

impl Convert<Timespan> for Duration {
    type Zeek = Timespan;

    #[inline]
    fn to_zeek(&self) -> Result<Timespan, &'static str> {
        let nanos = i64::try_from(self.as_nanos());
        nanos
            .map(Timespan)
            .map_err(|_| "expected an interval of up to 292 years, found a longer one")
    }

    #[inline]
    fn from_zeek(Timespan(nanos): Timespan) -> Result<Self, &'static str> {
        let nanos = u64::try_from(nanos);
        nanos
            .map(Duration::from_nanos)
            .map_err(|_| "expected an interval that is not negative, found a negative one")
    }
}

impl Convert<BString> for Vec<u8> {
    type Zeek = BString;

    #[inline]
    fn to_zeek(&self) -> Result<BString, &'static str> {
        Ok(self.as_slice().into())
    }

    #[inline]
    fn from_zeek(bytes: BString) -> Result<Self, &'static str> {
        Ok(bytes.into())
    }
}

macro_rules! converted {
    ($($(#[$doc:meta])* $module:ident, $zeek:ty;)*) => {
        $($(#[$doc])*
        pub mod $module {
            use super::*;

            /// For `#[serde(with = …)]`.
            ///
            /// # Errors
            /// When the value is out of range, and those of the format.
            pub fn serialize<T: Convert<$zeek>, S: Serializer>(
                value: &T,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                value.to_zeek().map_err(ser::Error::custom)?.serialize(serializer)
            }

            /// For `#[serde(with = …)]`.
            ///
            /// # Errors
            /// When the value is of another type or out of range, and those of the format.
            pub fn deserialize<'de, T: Convert<$zeek>, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<T, D::Error> {
                T::from_zeek(Deserialize::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        })*
    };
}
converted! {
    /// `IpAddr`, `Ipv4Addr` and `Ipv6Addr` as `addr`. An IPv4-mapped `Ipv6Addr` *is* IPv4 to Zeek.
    addr, Address;
    /// `SystemTime` as `time`, in nanoseconds, from 1678 to 2261.
    time, Timestamp;
    /// `Duration` as `interval`, in nanoseconds, up to 292 years. Negative intervals are errors: use
    /// [`Timespan`] where there may be some.
    interval, Timespan;
    /// `Vec<u8>` as `string`. To serde, and so to [`to_value`](crate::value::to_value), it is a
    /// vector of numbers otherwise.
    bytes, BString;
}

macro_rules! in_forms {
    ($($(#[$doc:meta])* $module:ident, $form:expr;)*) => {
        $($(#[$doc])*
        pub mod $module {
            use super::*;

            /// For `#[serde(with = …)]`.
            ///
            /// # Errors
            /// When the value is of another type, and those of the format.
            pub fn serialize<T: Serialize, S: Serializer>(
                value: &T,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct($form.token(), value)
            }

            /// For `#[serde(with = …)]`.
            ///
            /// # Errors
            /// When the value is of another type, and those of the format.
            pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
                deserializer: D,
            ) -> Result<T, D::Error> {
                in_form($form, deserializer)
            }
        })*
    };
}
in_forms! {
    /// Text or bytes as the name of an `enum` value: `String`, `BString`.
    enum_name, Form::Enum;
    /// Sequences as a `set`: `BTreeSet`, `HashSet`, `Vec`. Elements that occur twice become one.
    set, Form::Set;
}
