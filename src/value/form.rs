//! [`Form`]: how our own types tell [`to_value`](super::to_value) and
//! [`from_value`](super::from_value) which Zeek type they are.
//!
//! Serde's data model has no addresses or sets. Our types are newtype structs in it, with a private
//! name that other formats ignore.

/// The Zeek type that what follows has. `Plain` is what it is by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    /// 16 bytes.
    Address,
    /// 16 bytes and the length of the prefix.
    Subnet,
    /// The number in network order, and the protocol.
    Port,
    /// Nanoseconds, an `i64`.
    Time,
    /// Nanoseconds, an `i64`.
    Interval,
    /// Text or bytes.
    Enum,
    /// A sequence.
    Set,
    /// The arguments of an event: a struct.
    Args,
}

/// The name under which a [`Value`](super::Value) is an enum, with a variant per type.
pub(super) const VALUE: &str = "$zcluster::Value";

const PREFIX: &str = "$zcluster::";

impl Form {
    #[inline]
    pub(super) const fn token(self) -> &'static str {
        match self {
            Form::Plain => "$zcluster::any",
            Form::Address => "$zcluster::addr",
            Form::Subnet => "$zcluster::subnet",
            Form::Port => "$zcluster::port",
            Form::Time => "$zcluster::time",
            Form::Interval => "$zcluster::interval",
            Form::Enum => "$zcluster::enum",
            Form::Set => "$zcluster::set",
            Form::Args => "$zcluster::arguments",
        }
    }

    /// The form that this name of a newtype struct stands for.
    #[inline]
    pub(super) fn of(name: &str) -> Option<Form> {
        Some(match name.strip_prefix(PREFIX)? {
            "addr" => Form::Address,
            "subnet" => Form::Subnet,
            "port" => Form::Port,
            "time" => Form::Time,
            "interval" => Form::Interval,
            "enum" => Form::Enum,
            "set" => Form::Set,
            _ => return None,
        })
    }

    /// Zeek's name of the type.
    #[inline]
    pub(super) fn name(self) -> &'static str {
        &self.token()[PREFIX.len()..]
    }
}
