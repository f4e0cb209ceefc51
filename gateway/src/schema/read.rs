//! Arguments from JSON: by name or in order, and with the text or number alone where the type is
//! declared.

use zcluster::Value;
use zcluster::readable::{Json, Part};

use super::check::signature;
use super::types::{Field, Index, RecordId, Scalar, Type};
use super::{Mismatch, Schema};

impl Schema {
    /// Reads the arguments of an event, which may be missing if there are none.
    ///
    /// # Errors
    ///
    /// Any [`Mismatch`] except [`Mismatch::Type`].
    pub fn read_args(
        &self,
        event: &str,
        json: Option<Part<'_, '_>>,
    ) -> Result<Vec<Value>, Mismatch> {
        let Some(args) = self.args(event.as_bytes()) else {
            return Err(Mismatch::Undeclared { event: event.into() });
        };
        let Some(part) = json else {
            let first = args.first().map(|arg| missing(String::new(), "argument", arg, event));
            return first.map_or(Ok(vec![]), Err);
        };
        if let Json::Object(_) = part.json() {
            return self.fields("argument", event, args, part);
        }
        let elements = part.elements()?;
        if elements.len() != args.len() {
            return Err(Mismatch::Count { expected: signature(args), found: elements.len() });
        }
        args.iter().zip(elements).map(|(arg, part)| self.read(&arg.ty, part)).collect()
    }

    /// Reads an object with one member for each field.
    fn fields(
        &self,
        noun: &'static str,
        owner: &str,
        fields: &[Field],
        part: Part<'_, '_>,
    ) -> Result<Vec<Value>, Mismatch> {
        let inside = part.container()?;
        let mut values = vec![None; fields.len()];
        for (name, json) in part.json().as_object().unwrap_or_default() {
            let member = inside.member(name, json);
            let Some(place) = fields.iter().position(|field| field.name == **name) else {
                let names: Vec<_> = fields.iter().map(|field| &*field.name).collect();
                let names = if names.is_empty() { "none".into() } else { names.join(", ") };
                return Err(Mismatch::Unknown {
                    path: member.path(),
                    noun,
                    owner: owner.into(),
                    expected: names,
                });
            };
            if values[place].is_some() {
                return Err(member.unexpected("each name once").into());
            }
            values[place] = Some(self.field(&fields[place], noun, member)?);
        }
        let all = values.into_iter().zip(fields).map(|(value, field)| match value {
            Some(value) => Ok(value),
            None if field.is_optional => Ok(Value::None),
            None => Err(missing(part.path(), noun, field, owner)),
        });
        all.collect()
    }

    /// Reads a field, which may be unset, or an argument, which may not.
    fn field(&self, field: &Field, noun: &str, part: Part<'_, '_>) -> Result<Value, Mismatch> {
        match part.json() {
            Json::Null if noun == "field" => Ok(Value::None),
            _ => self.read(&field.ty, part),
        }
    }

    fn read(&self, ty: &Type, part: Part<'_, '_>) -> Result<Value, Mismatch> {
        match ty {
            Type::Any => Ok(part.value()?),
            Type::Scalar(ty) => scalar(*ty, part),
            Type::Pattern if part.json().as_str().is_some() => pattern(part),
            Type::Pattern | Type::Function(_) | Type::Opaque => {
                let value = part.value()?;
                match self.fits(ty, &value) {
                    Ok(()) => Ok(value),
                    Err(_) => Err(part.unexpected(format!("the vector of Zeek's {ty}")).into()),
                }
            }
            Type::Vector(element) => {
                content("vector", part, |part| part.vector(|part| self.read(element, part)))
            }
            Type::Set(index) => {
                content("set", part, |part| part.set(|part| self.read_index(index, part)))
            }
            Type::Table(index, mapped) => content("table", part, |part| {
                part.table(|part| self.read_index(index, part), |part| self.read(mapped, part))
            }),
            Type::Record(record) => self.read_record(record, part),
        }
    }

    fn read_index(&self, index: &Index, part: Part<'_, '_>) -> Result<Value, Mismatch> {
        let types = match &index.0[..] {
            [ty] => return self.read(ty, part),
            types => types,
        };
        let elements = part.elements()?;
        if elements.len() != types.len() {
            return Err(part.unexpected(format!("an array of {}: {index}", types.len())).into());
        }
        let values = types.iter().zip(elements).map(|(ty, part)| self.read(ty, part));
        Ok(Value::Vector(values.collect::<Result<_, _>>()?))
    }

    fn read_record(&self, record: &RecordId, part: Part<'_, '_>) -> Result<Value, Mismatch> {
        let fields = &self.records[record.place];
        let values = match part.json() {
            Json::Object(_) => self.fields("field", &record.name, fields, part)?,
            Json::Array(elements) if elements.len() >= fields.len() => {
                let declared = fields.iter().map(Some).chain(std::iter::repeat(None));
                let element = |(field, part): (Option<&Field>, Part<'_, '_>)| match field {
                    Some(field) => self.field(field, "field", part),
                    None => Ok(part.value()?),
                };
                declared.zip(part.elements()?).map(element).collect::<Result<_, _>>()?
            }
            _ => {
                let expected = format!(
                    "an object with the fields of {}, or an array of all {}",
                    record.name,
                    fields.len()
                );
                return Err(part.unexpected(expected).into());
            }
        };
        Ok(Value::Vector(values))
    }
}

/// Reads a scalar: what follows the name of the type in the object form, or that form itself.
fn scalar(ty: Scalar, part: Part<'_, '_>) -> Result<Value, Mismatch> {
    if let Json::Object(_) = part.json() {
        let value = part.value()?;
        let expected = || format!("a value of type {}", ty.name());
        return if ty.holds(&value) { Ok(value) } else { Err(part.unexpected(expected()).into()) };
    }
    match part.value_of(ty.json_name())? {
        Some(value) => Ok(value),
        None => Err(part.unexpected(ty.name()).into()),
    }
}

/// Reads a pattern from the text between its slashes.
fn pattern(part: Part<'_, '_>) -> Result<Value, Mismatch> {
    part.container()?;
    let text = part.text("a pattern")?;
    let exact = format!("^?({text})$?");
    let anywhere = format!("^?(.|\\n)*({text})");
    Ok(Value::Vector(vec![exact.into(), anywhere.into()]))
}

/// Reads the content of a container, with or without the name of its type around it.
fn content<T>(
    name: &'static str,
    part: Part<'_, '_>,
    read: impl FnOnce(Part<'_, '_>) -> Result<T, Mismatch>,
) -> Result<T, Mismatch> {
    match part.json().as_object() {
        Some([(type_name, json)]) if type_name == name => read(part.member(type_name, json)),
        _ => read(part),
    }
}

fn missing(path: String, noun: &str, field: &Field, owner: &str) -> Mismatch {
    Mismatch::Missing {
        path,
        what: format!("{noun} `{}` ({})", field.name, field.ty),
        owner: owner.into(),
    }
}
