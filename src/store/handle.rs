//! [`Store`] and [`RemoteStore`]: the handles of a store, with all operations.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use bstr::BStr;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::change::Change;
use super::content;
use super::expiry::Expiry;
use super::local::Local;
use super::operation::Operation;
use super::remote::Remote;
use super::request::{
    Decode, Prepared, RemoteRequest, Request, decode, decode_all, decode_some, encode, nothing,
};
use crate::app::{Context, Outcome};
use crate::peers::ErrorCode;
use crate::value::Value;

/// Handles are sent between threads whatever the types are, which they do not contain.
type Types<K, V> = PhantomData<fn(K, V) -> (K, V)>;

/// A store, for handlers of the app that it was created for. Clones of the handle are the same store.
///
/// `K` and `V` are any types that serde can write and read ([`to_value`](crate::value::to_value) says which Rust type
/// is which type in Zeek), or [`Value`] for all.
pub struct Store<K, V> {
    local: Rc<Local>,
    types: Types<K, V>,
}

/// A key, its value, and when they expire.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// When it expires, if it does.
    pub expiry: Option<Expiry>,
}

/// A store, for other threads than that of the app: see [`Store::remote`].
pub struct RemoteStore<K, V> {
    remote: Remote,
    types: Types<K, V>,
}

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        Store { local: Rc::clone(&self.local), types: PhantomData }
    }
}

impl<K, V> Clone for RemoteStore<K, V> {
    fn clone(&self) -> Self {
        RemoteStore { remote: self.remote.clone(), types: PhantomData }
    }
}

impl<K, V> fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.local.name).finish()
    }
}

impl<K, V> fmt::Debug for RemoteStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RemoteStore").field(&self.remote).finish()
    }
}

macro_rules! operations {
    ($handle:ident, $request:ident, $target:ident) => {
        /// The operations of the Broker framework (docs/stores.md has a table of them and of their errors).
        impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> $handle<K, V> {
            /// Whether the key exists.
            pub fn exists(&self, key: &K) -> $request<bool> {
                self.request(Operation::Exists, encode(key), Ok(vec![]), decode)
            }

            /// The value of a key, or `NO_SUCH_KEY`.
            pub fn get(&self, key: &K) -> $request<V> {
                self.request(Operation::Get, encode(key), Ok(vec![]), decode)
            }

            /// An element of a value: of a table or vector, or `NO_SUCH_KEY`; whether it is in a set.
            pub fn get_index_from_value<R: DeserializeOwned>(
                &self,
                key: &K,
                index: &(impl Serialize + ?Sized),
            ) -> $request<R> {
                let index = encode(index).map(|index| vec![index]);
                self.request(Operation::GetIndexFromValue, encode(key), index, decode)
            }

            /// The values of those of the keys that exist.
            pub fn lookup<'a>(
                &self,
                keys: impl IntoIterator<Item = &'a K>,
            ) -> $request<BTreeMap<K, V>>
            where
                K: Ord + 'a,
            {
                let keys = keys.into_iter().map(encode).collect();
                self.request(Operation::Lookup, Ok(Value::None), keys, decode)
            }

            /// All keys.
            pub fn keys(&self) -> $request<Vec<K>> {
                self.request(Operation::Keys, Ok(Value::None), Ok(vec![]), decode_all)
            }

            /// How many entries there are.
            pub fn size(&self) -> $request<u64> {
                self.request(Operation::Size, Ok(Value::None), Ok(vec![]), decode)
            }

            /// Adds an entry, or replaces the one of that key. Without [`expires`]($request::expires) it does not expire.
            pub fn put(&self, key: &K, value: &V) -> $request<()> {
                let value = encode(value).map(|value| vec![value]);
                self.request(Operation::Put, encode(key), value, nothing)
            }

            /// Adds an entry if there is none of that key; whether it did.
            pub fn put_unique(&self, key: &K, value: &V) -> $request<bool> {
                let value = encode(value).map(|value| vec![value]);
                self.request(Operation::PutUnique, encode(key), value, decode)
            }

            /// Removes an entry, if it is there.
            pub fn erase(&self, key: &K) -> $request<()> {
                self.request(Operation::Erase, encode(key), Ok(vec![]), nothing)
            }

            /// Removes all entries.
            pub fn clear(&self) -> $request<()> {
                self.request(Operation::Clear, Ok(Value::None), Ok(vec![]), nothing)
            }

            /// Adds to a number or a time. The amount has the type of the number, or is a
            /// [`Timespan`](crate::value::Timespan).
            pub fn increment(&self, key: &K, amount: &(impl Serialize + ?Sized)) -> $request<()> {
                self.with(Operation::Increment, key, amount)
            }

            /// Subtracts from a number or a time.
            pub fn decrement(&self, key: &K, amount: &(impl Serialize + ?Sized)) -> $request<()> {
                self.with(Operation::Decrement, key, amount)
            }

            /// Appends to a string.
            pub fn append(&self, key: &K, text: impl AsRef<[u8]>) -> $request<()> {
                self.with(Operation::Append, key, BStr::new(text.as_ref()))
            }

            /// Adds an element to a set.
            pub fn insert_into_set(
                &self,
                key: &K,
                element: &(impl Serialize + ?Sized),
            ) -> $request<()> {
                self.with(Operation::InsertIntoSet, key, element)
            }

            /// Adds an element to a table, or replaces the one of that index.
            pub fn insert_into_table(
                &self,
                key: &K,
                index: &(impl Serialize + ?Sized),
                value: &(impl Serialize + ?Sized),
            ) -> $request<()> {
                let both = encode(index).and_then(|index| Ok(vec![index, encode(value)?]));
                self.request(Operation::InsertIntoTable, encode(key), both, nothing)
            }

            /// Removes an element from a set or table, if it is there.
            pub fn remove_from(&self, key: &K, index: &(impl Serialize + ?Sized)) -> $request<()> {
                self.with(Operation::RemoveFrom, key, index)
            }

            /// Adds an element to the right end of a vector.
            pub fn push(&self, key: &K, element: &(impl Serialize + ?Sized)) -> $request<()> {
                self.with(Operation::PushRight, key, element)
            }

            /// Adds an element to the left end of a vector: it gets index 0.
            pub fn push_left(&self, key: &K, element: &(impl Serialize + ?Sized)) -> $request<()> {
                self.with(Operation::PushLeft, key, element)
            }

            /// Takes the element at the right end of a vector; `None` if it is empty.
            pub fn pop<R: DeserializeOwned>(&self, key: &K) -> $request<Option<R>> {
                self.request(Operation::PopRight, encode(key), Ok(vec![]), decode_some)
            }

            /// Takes the element at the left end of a vector; `None` if it is empty.
            pub fn pop_left<R: DeserializeOwned>(&self, key: &K) -> $request<Option<R>> {
                self.request(Operation::PopLeft, encode(key), Ok(vec![]), decode_some)
            }

            fn request<R>(
                &self,
                operation: Operation,
                key: Result<Value, StoreError>,
                arguments: Result<Vec<Value>, StoreError>,
                decode: Decode<R>,
            ) -> $request<R> {
                let prepared = Prepared::new(operation, key, arguments, decode);
                $request { $target: self.$target.clone(), prepared }
            }

            fn with(
                &self,
                operation: Operation,
                key: &K,
                argument: &(impl Serialize + ?Sized),
            ) -> $request<()> {
                let argument = encode(argument).map(|argument| vec![argument]);
                self.request(operation, encode(key), argument, nothing)
            }
        }
    };
}

operations!(Store, Request, local);
operations!(RemoteStore, RemoteRequest, remote);

impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> Store<K, V> {
    pub(super) fn new(local: Rc<Local>) -> Self {
        Store { local, types: PhantomData }
    }

    /// The name of the store.
    pub fn name(&self) -> &str {
        std::str::from_utf8(&self.local.name).unwrap_or_default()
    }

    /// The value of a key, from the content that this process has: at once, without a request.
    ///
    /// # Errors
    /// `NO_SUCH_KEY`; `NO_SUCH_MASTER` if there is no content here (yet), `STALE_DATA` if it must not be used any more;
    /// `TYPE_CLASH`.
    pub fn local_get(&self, key: &K) -> Result<V, StoreError> {
        let value = self.local.value(&encode(key)?)?;
        decode(value.ok_or(StoreError::from(ErrorCode::NoSuchKey))?)
    }

    /// How many entries the content that this process has has; `None` if it has none (yet).
    pub fn local_size(&self) -> Option<usize> {
        self.local.len()
    }

    /// All entries of the content that this process has, at once, in no particular order. This copies the content.
    ///
    /// # Errors
    /// `NO_SUCH_MASTER` if there is no content here (yet), `STALE_DATA` if it must not be used any more; `TYPE_CLASH`.
    pub fn local_entries(&self) -> Result<Vec<Entry<K, V>>, StoreError> {
        let entries = self.local.entries()?;
        let decoded = entries.into_iter().map(|(key, content::Entry { value, expiry })| {
            Ok(Entry { key: decode(key)?, value: decode(value)?, expiry })
        });
        decoded.collect()
    }

    /// Whether this process has the master.
    pub fn is_master(&self) -> bool {
        self.local.has_master()
    }

    /// Whether a master is there, as far as this process knows.
    pub fn is_master_there(&self) -> bool {
        self.local.is_master_there()
    }

    /// How many commands of this process wait for an answer.
    pub fn waiting(&self) -> usize {
        self.local.waiting()
    }

    /// Calls a function with each change, from now on, in their order, once it is as durable as it will be. A clone that has
    /// missed changes is told the difference, and what its first content is as [`Change::Insert`].
    pub fn watch(&self, mut call: impl FnMut(Change<K, V>, &mut Context<'_>) -> Outcome + 'static)
    where
        K: 'static,
        V: 'static,
    {
        self.local.watch(Box::new(move |noted, context| call(Change::of(noted)?, context)));
    }

    /// Ends the store in this process: everything that waits, and whatever comes later, fails. A master writes what it has
    /// accepted, which blocks, and says goodbye.
    pub fn close(&self, context: &mut Context<'_>) {
        self.local.close(context);
    }

    /// A handle for other threads.
    ///
    /// # Errors
    /// If the stores belong to a [`Harness`](crate::app::Harness), which has one thread only.
    pub fn remote(&self) -> Result<RemoteStore<K, V>, StoreError> {
        let remote = self.local.remote().ok_or_else(|| {
            StoreError::new(ErrorCode::Unspecified, "a harness has one thread only")
        })?;
        Ok(RemoteStore { remote, types: PhantomData })
    }
}
