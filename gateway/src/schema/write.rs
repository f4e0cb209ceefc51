//! Arguments as JSON with the names that the schema file gives them.

use zcluster::readable::{Numbers, write_array, write_text, write_value};
use zcluster::{Event, Value};

use super::Schema;
use super::types::{Field, Index, Type};

const NUMBERS: Numbers = Numbers::JavaScript;

impl Schema {
    /// Appends the arguments of an event: an object if they are as declared, otherwise an array.
    pub fn write_args(&self, event: &Event, out: &mut String) {
        match self.args(&event.name) {
            Some(args) if self.check(event).is_ok() => self.write_fields(args, &event.args, out),
            _ => write_args(event, out),
        }
    }

    /// Appends an object. Leaves out optional fields that are unset.
    fn write_fields(&self, fields: &[Field], values: &[Value], out: &mut String) {
        out.push('{');
        let mut separator = "";
        for (field, value) in fields.iter().zip(values) {
            if field.is_optional && *value == Value::None {
                continue;
            }
            out.push_str(separator);
            separator = ",";
            write_text(field.name.as_bytes(), out);
            out.push(':');
            self.write(&field.ty, value, out);
        }
        out.push('}');
    }

    /// Appends a value that is as declared, or an unset field.
    fn write(&self, ty: &Type, value: &Value, out: &mut String) {
        match (ty, value) {
            (Type::Vector(element), Value::Vector(elements)) => {
                write_array(elements, out, |value, out| self.write(element, value, out));
            }
            (Type::Set(index), Value::Set(elements)) => {
                out.push_str(r#"{"set":"#);
                write_array(elements, out, |value, out| self.write_index(index, value, out));
                out.push('}');
            }
            (Type::Table(index, mapped), Value::Table(entries)) => {
                out.push_str(r#"{"table":"#);
                write_array(entries, out, |(key, value), out| {
                    out.push('[');
                    self.write_index(index, key, out);
                    out.push(',');
                    self.write(mapped, value, out);
                    out.push(']');
                });
                out.push('}');
            }
            (Type::Record(record), Value::Vector(values)) => {
                let fields = &self.records[record.place];
                if fields.len() == values.len() {
                    self.write_fields(fields, values, out);
                } else {
                    // More elements than fields, which Zeek ignores and a reader may not.
                    let mut types = fields.iter().map(|field| &field.ty);
                    write_array(values, out, |value, out| {
                        self.write(types.next().unwrap_or(&Type::Any), value, out);
                    });
                }
            }
            _ => write_value(value, NUMBERS, out),
        }
    }

    fn write_index(&self, index: &Index, value: &Value, out: &mut String) {
        match (&index.0[..], value) {
            ([ty], _) => self.write(ty, value, out),
            (types, Value::Vector(values)) => {
                write_array(types.iter().zip(values), out, |(ty, value), out| {
                    self.write(ty, value, out);
                });
            }
            _ => write_value(value, NUMBERS, out),
        }
    }
}

/// Appends the arguments of an event that no schema file declares.
pub fn write_args(event: &Event, out: &mut String) {
    write_array(&event.args, out, |arg, out| write_value(arg, NUMBERS, out));
}
