//! [`Change`]: what happened to an entry, for those who watch.

use serde::de::DeserializeOwned;

use super::StoreError;
use super::expiry::Expiry;
use super::protocol::Kind;
use super::request::decode;
use super::watch::Noted;

/// A change of a store: Broker's store events.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<K, V> {
    /// An entry was added.
    Insert {
        /// Its key.
        key: K,
        /// Its value.
        value: V,
        /// When it expires.
        expiry: Option<Expiry>,
    },
    /// An entry has another value, or another expiry.
    Update {
        /// Its key.
        key: K,
        /// The value before; `None` where this process has no content.
        old: Option<V>,
        /// The value now.
        value: V,
        /// When it expires.
        expiry: Option<Expiry>,
    },
    /// An entry was removed.
    Erase {
        /// Its key.
        key: K,
    },
    /// An entry has expired.
    Expire {
        /// Its key.
        key: K,
    },
    /// All entries were removed. Where this process has the content, each is a [`Change::Erase`] instead.
    Clear,
}

impl<K: DeserializeOwned, V: DeserializeOwned> Change<K, V> {
    pub(super) fn of(noted: &Noted) -> Result<Self, StoreError> {
        let Noted { change, old } = noted;
        let key = || decode(change.key.clone());
        let value = || decode(change.value.clone());
        let expiry = change.expiry;
        Ok(match change.kind {
            Kind::Insert => Change::Insert { key: key()?, value: value()?, expiry },
            Kind::Update => {
                let old = old.clone().map(decode).transpose()?;
                Change::Update { key: key()?, old, value: value()?, expiry }
            }
            Kind::Erase => Change::Erase { key: key()? },
            Kind::Expire => Change::Expire { key: key()? },
            Kind::Clear => Change::Clear,
        })
    }
}
