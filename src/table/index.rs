//! [`Shape`]: a key as the components of an index, and back. Pure.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeOwned, Visitor};
use serde::forward_to_deserialize_any;

use crate::value::{Value, ValueError, from_value};

/// How a type of keys becomes an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is the only component, even if it is a vector.
    One,
    /// A tuple or struct: this many components.
    Components(usize),
    /// Its values say: a vector is all components, anything else is the only one.
    Any,
}

impl Shape {
    /// What a type of keys is, as its `Deserialize` says.
    pub(super) fn of<K: DeserializeOwned>() -> Self {
        let shape = Cell::new(Shape::Any);
        // It always fails: the probe has no data.
        let _ = K::deserialize(Probe(&shape));
        shape.get()
    }

    /// The components of a key.
    ///
    /// # Errors
    /// If no index has this key: [`Shape::key`] returns another one for it, or none.
    pub(super) fn index(self, key: Value) -> Result<Vec<Value>, ValueError> {
        let Value::Vector(components) = key else { return Ok(vec![key]) };
        match (self, components.as_slice()) {
            (Shape::One, _) => Ok(vec![Value::Vector(components)]),
            (Shape::Any, []) => Err(wrong_count(0, 1)),
            (Shape::Any, [one]) if !matches!(one, Value::Vector(_)) => {
                let what = "a vector of one component is no key: use the component";
                Err(<ValueError as de::Error>::custom(what))
            }
            _ => Ok(components),
        }
    }

    /// The key with these components.
    pub(super) fn key<K: DeserializeOwned>(self, mut index: Vec<Value>) -> Result<K, ValueError> {
        match self {
            _ if index.is_empty() => Err(wrong_count(0, 1)),
            Shape::Components(count) if index.len() != count => {
                Err(wrong_count(index.len(), count))
            }
            Shape::Components(_) => from_value(Value::Vector(index)),
            Shape::One if index.len() != 1 => Err(wrong_count(index.len(), 1)),
            Shape::Any if index.len() != 1 || matches!(index[0], Value::Vector(_)) => {
                from_value(Value::Vector(index))
            }
            Shape::One | Shape::Any => from_value(index.pop().unwrap_or_default()),
        }
    }
}

#[cold]
fn wrong_count(found: usize, expected: usize) -> ValueError {
    let expected = format!("an index of {expected}");
    <ValueError as de::Error>::invalid_length(found, &expected.as_str())
}

/// A deserializer that only looks at what it is asked for.
struct Probe<'a>(&'a Cell<Shape>);

#[derive(Debug)]
struct NoData;

impl fmt::Display for NoData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no data")
    }
}

impl std::error::Error for NoData {}

impl de::Error for NoData {
    fn custom<T: fmt::Display>(_: T) -> Self {
        NoData
    }
}

impl Probe<'_> {
    fn is<T>(&self, shape: Shape) -> Result<T, NoData> {
        self.0.set(shape);
        Err(NoData)
    }
}

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = NoData;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoData> {
        self.is(Shape::Any)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NoData> {
        self.is(Shape::One)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, _: V) -> Result<V::Value, NoData> {
        self.is(Shape::Components(len))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        _: V,
    ) -> Result<V::Value, NoData> {
        self.is(Shape::Components(len))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, NoData> {
        self.is(Shape::Components(fields.len()))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NoData> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NoData> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use bstr::BString;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::value::{Address, Enum, Function, Pattern, Port, Protocol, Set, to_value};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Endpoint {
        host: Address,
        port: Port,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Host(Address);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Color {
        #[serde(rename = "Demo::RED")]
        Red,
    }

    fn check<K: Serialize + DeserializeOwned + PartialEq + Debug>(key: &K, expected: &[Value]) {
        let shape = Shape::of::<K>();
        let index = shape.index(to_value(key).unwrap()).unwrap();
        assert_eq!(index, expected, "{key:?}, {shape:?}");
        assert_eq!(shape.key::<K>(index).unwrap(), *key);
    }

    #[test]
    fn keys_are_indexes() {
        let host: Address = "192.0.2.1".parse().unwrap();
        let port = Port::new(53, Protocol::Udp);
        let record = || Value::from(vec![host.into(), port.into()]);
        check(&host, &[host.into()]);
        check(&Host(host), &[host.into()]);
        check(&7_u64, &[7_u64.into()]);
        check(&BString::from("x"), &["x".into()]);
        check(&"x".to_owned(), &["x".into()]);
        check(&Color::Red, &[Value::enum_value("Demo::RED")]);
        check(&Enum::new("Demo::RED"), &[Value::enum_value("Demo::RED")]);
        check(&Set::from([1_u64]), &[Value::Set([1_u64.into()].into())]);
        // Several components.
        check(&(host, port), &[host.into(), port.into()]);
        check(&Endpoint { host, port }, &[host.into(), port.into()]);
        // One component that is itself a vector on the wire.
        check(&(Endpoint { host, port },), &[record()]);
        check(&vec![host], &[vec![host.into()].into()]);
        check(&(vec![host],), &[vec![host.into()].into()]);
        let pattern = vec!["^?(x)$?".into(), r"^?(.|\n)*(x)".into()].into();
        check(&(Pattern::new("x"),), &[pattern]);
        let function = Function { name: "f".into(), captures: None };
        check(&function, &[vec!["f".into()].into()]);
        // Keys of any type.
        check(&Value::from(host), &[host.into()]);
        check(&record(), &[host.into(), port.into()]);
        check(&Value::from(vec![record()]), &[record()]);
    }

    #[test]
    fn indexes_with_other_components_are_no_keys() {
        let host: Address = "192.0.2.1".parse().unwrap();
        let error = |error: ValueError| error.to_string();
        let one = |index| Shape::of::<Address>().key::<Address>(index).map_err(error);
        assert_eq!(one(vec![]), Err("expected an index of 1, found 0 elements".into()));
        let long = one(vec![host.into(), host.into()]);
        assert_eq!(long, Err("expected addr, found a vector of 2".into()));
        assert_eq!(one(vec!["x".into()]), Err("expected addr, found string".into()));
        let two = |index| Shape::of::<Endpoint>().key::<Endpoint>(index).map_err(error);
        let long = vec![host.into(), Port::new(1, Protocol::Tcp).into(), 1_u64.into()];
        assert_eq!(two(long), Err("expected an index of 2, found 3 elements".into()));
        assert!(Shape::of::<Value>().key::<Value>(vec![]).is_err());
        let one = Shape::of::<Vec<u64>>().key::<Vec<u64>>(vec![1_u64.into(), 2_u64.into()]);
        assert_eq!(one.map_err(error), Err("expected an index of 1, found 2 elements".into()));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::None), (0..3_u64).prop_map(Value::from)];
        leaf.prop_recursive(4, 10, 3, |inner| {
            prop::collection::vec(inner, 0..3).prop_map(Value::Vector)
        })
    }

    proptest! {
        /// A key of any type has one index, and an index has one key.
        #[test]
        fn keys_of_any_type_are_one_to_one(value in values(), index in prop::collection::vec(values(), 0..3)) {
            let same = |key: &Value| match key {
                Value::Vector(components) => Shape::Any.key::<Value>(components.clone()),
                key => Shape::Any.key(vec![key.clone()]),
            };
            match Shape::Any.index(value.clone()) {
                Ok(index) => prop_assert_eq!(Shape::Any.key::<Value>(index).unwrap(), value),
                Err(_) => prop_assert!(same(&value).map_or(true, |key| key != value)),
            }
            if let Ok(key) = Shape::Any.key::<Value>(index.clone()) {
                prop_assert_eq!(Shape::Any.index(key).unwrap(), index);
            }
        }
    }
}
