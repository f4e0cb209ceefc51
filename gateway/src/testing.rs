//! Strategies of property-based tests that several modules share.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use zcluster::value::{Address, Port, Protocol, Real, Subnet, Timespan, Timestamp};
use zcluster::{Event, Value};

use crate::schema::Scalar;

/// Any bytes, UTF-8 more often than not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => ".{0,9}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..9)]
}

/// Integers around what a double holds, and any others.
fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..9_u64, (1_u64 << 53) - 2..=(1 << 53) + 2, any::<u64>()]
}

/// Values of a scalar type.
pub(crate) fn scalar(ty: Scalar) -> BoxedStrategy<Value> {
    let subnet = |(address, len): ([u8; 16], u8)| Subnet::new(Address(address), len);
    let port = |(number, protocol)| Port::new(number, Protocol::from_number(protocol).unwrap());
    // All NaNs become the same.
    let real = |x: f64| Value::Real(Real(if x.is_nan() { f64::NAN } else { x }));
    match ty {
        Scalar::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Scalar::Count => count().prop_map(Value::from).boxed(),
        Scalar::Int => (count(), any::<bool>())
            .prop_map(|(n, negative)| if negative { (n as i64).wrapping_neg() } else { n as i64 })
            .prop_map(Value::from)
            .boxed(),
        Scalar::Double => {
            prop_oneof![proptest::num::f64::ANY, (-9..9_i32).prop_map(f64::from), Just(-0.0)]
                .prop_map(real)
                .boxed()
        }
        Scalar::String | Scalar::File => bytes().prop_map(Value::string).boxed(),
        Scalar::Enum => bytes().prop_map(Value::enum_value).boxed(),
        Scalar::Addr => any::<std::net::IpAddr>().prop_map(Value::from).boxed(),
        Scalar::Subnet => (any::<[u8; 16]>(), 0..=128_u8)
            .prop_filter_map("too long for IPv4", subnet)
            .prop_map(Value::from)
            .boxed(),
        Scalar::Port => (any::<u16>(), 0..4_u8).prop_map(port).prop_map(Value::from).boxed(),
        Scalar::Time => any::<i64>().prop_map(|nanos| Timestamp(nanos).into()).boxed(),
        Scalar::Interval => any::<i64>().prop_map(|nanos| Timespan(nanos).into()).boxed(),
    }
}

/// Any value, nested a few levels deep.
pub(crate) fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        1 => Just(Value::None),
        9 => proptest::sample::select(&Scalar::ALL[..]).prop_flat_map(scalar),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            btree_set(inner.clone(), 0..4).prop_map(Value::Set),
            btree_map(inner.clone(), inner.clone(), 0..4).prop_map(Value::Table),
            vec(inner, 0..4).prop_map(Value::Vector),
        ]
    })
    .boxed()
}

/// Any event with a name that is UTF-8, with metadata or without.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let metadata = proptest::option::of(vec((count(), value()), 1..3));
    (".{1,9}", vec(value(), 0..4), metadata).prop_map(|(name, args, metadata)| Event {
        name: name.into(),
        args,
        metadata,
    })
}
