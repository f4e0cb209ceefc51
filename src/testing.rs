//! What tests of several modules share: strategies of property-based tests, and layouts.

use bstr::BString;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use crate::Event;
use crate::value::{Address, Port, Protocol, Real, Subnet, Timespan, Timestamp, Value};

/// Any bytes, UTF-8 more often than not.
pub(crate) fn bytes() -> impl Strategy<Value = BString> {
    prop_oneof![
        2 => ".{0,20}".prop_map(BString::from),
        1 => vec(any::<u8>(), 0..200).prop_map(BString::from),
    ]
}

pub(crate) fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<std::net::IpAddr>().prop_map(Address::from),
        any::<[u8; 16]>().prop_map(Address)
    ]
}

pub(crate) fn subnet() -> impl Strategy<Value = Subnet> {
    (address(), 0..=128_u8).prop_map(|(address, length)| {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        Subnet::new(address, length.min(longest)).unwrap()
    })
}

pub(crate) fn port() -> impl Strategy<Value = Port> {
    (any::<u16>(), 0..=3_u8).prop_map(|(number, protocol)| Port {
        number,
        protocol: Protocol::from_number(protocol).unwrap(),
    })
}

/// Doubles of all classes, with the one NaN that the wire knows.
fn real() -> impl Strategy<Value = Real> {
    prop_oneof![proptest::num::f64::ANY, -1e6..1e6]
        .prop_map(|x| Real(if x.is_nan() { f64::NAN } else { x }))
}

/// Any value, nested a few levels deep.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Boolean),
        any::<u64>().prop_map(Value::Count),
        any::<i64>().prop_map(Value::Integer),
        real().prop_map(Value::Real),
        bytes().prop_map(Value::String),
        address().prop_map(Value::Address),
        subnet().prop_map(Value::Subnet),
        port().prop_map(Value::Port),
        any::<i64>().prop_map(|nanos| Value::Timestamp(Timestamp(nanos))),
        any::<i64>().prop_map(|nanos| Value::Timespan(Timespan(nanos))),
        bytes().prop_map(Value::Enum),
    ];
    scalar.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            btree_set(inner.clone(), 0..5).prop_map(Value::Set),
            btree_map(inner.clone(), inner.clone(), 0..5).prop_map(Value::Table),
            vec(inner, 0..5).prop_map(Value::Vector),
        ]
    })
}

/// Any event, with metadata or without.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    let metadata = proptest::option::of(vec((any::<u64>(), value()), 0..3));
    (bytes(), vec(value(), 0..4), metadata).prop_map(|(name, args, metadata)| Event {
        name,
        args,
        metadata,
    })
}

/// What a careless or hostile sender makes of valid bytes: some replaced, some cut out, some put in.
pub(crate) fn mutated(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<proptest::sample::Index>(), 0..3_usize, vec(any::<u8>(), 0..3));
    (valid, vec(edit, 1..4)).prop_map(|(mut bytes, edits)| {
        for (at, cut, insert) in edits {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + cut);
            bytes.splice(at..end, insert);
        }
        bytes
    })
}

/// A layout with these nodes, each a name and a type, on one host.
#[cfg(feature = "app")]
pub(crate) fn layout(nodes: &[(&str, &str)]) -> crate::Layout {
    layout_with("", nodes)
}

/// The same with other sections.
#[cfg(feature = "app")]
pub(crate) fn layout_with(sections: &str, nodes: &[(&str, &str)]) -> crate::Layout {
    let mut text = sections.to_owned();
    for (name, node_type) in nodes {
        text.push_str(&format!(
            "[nodes.{name}]\nnode_type = \"{node_type}\"\nip = \"127.0.0.1\"\n"
        ));
    }
    crate::Layout::from_toml(&text, "layout").unwrap().0
}
