//! Whether the values of an event are as declared, as Zeek decides it when it converts them
//! (WIRE.md §2.5).

use std::fmt;

use zcluster::{Event, Value};

use super::types::{Field, Index, Type};
use super::{Mismatch, Schema};

/// A value that is not as declared; its path is added on the way out.
pub(super) struct Misfit {
    path: String,
    expected: String,
    found: &'static str,
}

impl Misfit {
    fn new(expected: impl fmt::Display, found: &Value) -> Self {
        Misfit { path: String::new(), expected: expected.to_string(), found: found.type_name() }
    }

    /// The same, inside a part of this name.
    fn within(mut self, name: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// The same, inside an element.
    fn at(self, i: usize) -> Self {
        self.within(&format!("[{i}]"))
    }
}

impl Schema {
    /// Whether an event is declared and its arguments have the declared types.
    ///
    /// As in Zeek, a record may have more elements than fields, any of its fields may be unset, and
    /// the names of enum values are not checked.
    ///
    /// # Errors
    ///
    /// [`Mismatch::Undeclared`], [`Mismatch::Count`] or [`Mismatch::Type`].
    pub fn check(&self, event: &Event) -> Result<(), Mismatch> {
        let Some(args) = self.args(&event.name) else {
            return Err(Mismatch::Undeclared { event: event.name.to_string() });
        };
        if args.len() != event.args.len() {
            return Err(Mismatch::Count { expected: signature(args), found: event.args.len() });
        }
        for (arg, value) in args.iter().zip(&event.args) {
            self.fits(&arg.ty, value).map_err(|misfit| {
                let Misfit { path, expected, found } = misfit.within(&arg.name);
                Mismatch::Type { path, expected, found }
            })?;
        }
        Ok(())
    }

    pub(super) fn fits(&self, ty: &Type, value: &Value) -> Result<(), Misfit> {
        let misfit = || Misfit::new(ty, value);
        match (ty, value) {
            (Type::Any, _) => Ok(()),
            (Type::Scalar(scalar), _) if scalar.holds(value) => Ok(()),
            (Type::Pattern, Value::Vector(parts)) => match &parts[..] {
                [Value::String(_), Value::String(_)] => Ok(()),
                _ => Err(misfit()),
            },
            (Type::Function(_), Value::Vector(parts)) => match &parts[..] {
                [Value::String(_)] | [Value::String(_), _] => Ok(()),
                _ => Err(misfit()),
            },
            (Type::Opaque, Value::Vector(parts)) => match &parts[..] {
                [Value::String(_), _] => Ok(()),
                _ => Err(misfit()),
            },
            (Type::Vector(element), Value::Vector(elements)) => {
                each(elements, |value| self.fits(element, value))
            }
            (Type::Set(index), Value::Set(elements)) => {
                each(elements, |value| self.fits_index(index, value))
            }
            (Type::Table(index, mapped), Value::Table(entries)) => each(entries, |(key, value)| {
                self.fits_index(index, key).map_err(|misfit| misfit.at(0))?;
                self.fits(mapped, value).map_err(|misfit| misfit.at(1))
            }),
            (Type::Record(record), Value::Vector(values)) => {
                let fields = &self.records[record.place];
                if values.len() < fields.len() {
                    return Err(misfit());
                }
                fields.iter().zip(values).filter(|(_, value)| **value != Value::None).try_for_each(
                    |(field, value)| {
                        self.fits(&field.ty, value).map_err(|misfit| misfit.within(&field.name))
                    },
                )
            }
            _ => Err(misfit()),
        }
    }

    pub(super) fn fits_index(&self, index: &Index, value: &Value) -> Result<(), Misfit> {
        match (&index.0[..], value) {
            ([ty], _) => self.fits(ty, value),
            (types, Value::Vector(values)) if types.len() == values.len() => {
                let mut pairs = types.iter().zip(values).enumerate();
                pairs.try_for_each(|(i, (ty, value))| {
                    self.fits(ty, value).map_err(|misfit| misfit.at(i))
                })
            }
            _ => Err(Misfit::new(format_args!("[{index}]"), value)),
        }
    }
}

fn each<T>(
    items: impl IntoIterator<Item = T>,
    fits: impl Fn(T) -> Result<(), Misfit>,
) -> Result<(), Misfit> {
    let mut items = items.into_iter().enumerate();
    items.try_for_each(|(i, item)| fits(item).map_err(|misfit| misfit.at(i)))
}

/// The declared arguments, for people: `3 (a: count, b: addr, c: string)`.
pub(super) fn signature(args: &[Field]) -> String {
    let list: Vec<_> = args.iter().map(ToString::to_string).collect();
    match args.len() {
        0 => "none".into(),
        n => format!("{n} ({})", list.join(", ")),
    }
}
