//! [`Part`]: JSON that knows where in the text it is, so that errors can say it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Json, ReadableError};
use crate::value::Value;
use crate::wire::MAX_DEPTH;

/// A part of a JSON text, with its path and how many containers it is inside.
///
/// Paths are lists on the stack, from the inside out: only errors format them.
#[derive(Clone, Copy)]
pub struct Part<'p, 'a> {
    json: &'p Json<'a>,
    at: Path<'p>,
    depth: usize,
}

#[derive(Clone, Copy)]
enum Path<'p> {
    Start,
    Member(&'p Path<'p>, &'p str),
    Index(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Start => Ok(()),
            Path::Member(Path::Start, name) => f.write_str(name),
            Path::Member(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, i) => write!(f, "{parent}[{i}]"),
        }
    }
}

impl<'p, 'a> Part<'p, 'a> {
    /// A whole text.
    pub fn whole(json: &'p Json<'a>) -> Self {
        Part { json, at: Path::Start, depth: 0 }
    }

    /// The JSON itself.
    pub fn json(self) -> &'p Json<'a> {
        self.json
    }

    /// The same part, inside `depth` containers.
    #[must_use]
    pub fn inside(self, depth: usize) -> Self {
        Part { depth, ..self }
    }

    /// `json`, which is the member `name` of this object.
    pub fn member<'c>(&'c self, name: &'c str, json: &'c Json<'a>) -> Part<'c, 'a> {
        Part { json, at: Path::Member(&self.at, name), depth: self.depth }
    }

    fn index<'c>(&'c self, i: usize, json: &'c Json<'a>) -> Part<'c, 'a> {
        Part { json, at: Path::Index(&self.at, i), depth: self.depth }
    }

    /// The elements of this array, which is one more container.
    ///
    /// # Errors
    ///
    /// [`ReadableError::Unexpected`] if it is no array, [`ReadableError::TooDeep`] if it is inside
    /// [`MAX_DEPTH`] containers already.
    pub fn elements(&self) -> Result<impl ExactSizeIterator<Item = Part<'_, 'a>>, ReadableError> {
        let Json::Array(elements) = self.json else { return Err(self.unexpected("an array")) };
        let depth = self.container()?.depth;
        let elements = elements.iter().enumerate();
        Ok(elements.map(move |(i, json)| self.index(i, json).inside(depth)))
    }

    /// The same part, for what is inside it if it is a container.
    ///
    /// # Errors
    ///
    /// [`ReadableError::TooDeep`] if it is inside [`MAX_DEPTH`] containers already.
    pub fn container(self) -> Result<Self, ReadableError> {
        if self.depth < MAX_DEPTH {
            Ok(self.inside(self.depth + 1))
        } else {
            Err(ReadableError::TooDeep { path: self.path() })
        }
    }

    /// The two elements of this array, which does not count as a container.
    ///
    /// # Errors
    ///
    /// [`ReadableError::Unexpected`], with `expected`, if it is anything else.
    pub fn pair(&self, expected: &'static str) -> Result<[Part<'_, 'a>; 2], ReadableError> {
        match self.json {
            Json::Array(elements) if elements.len() == 2 => {
                Ok([self.index(0, &elements[0]), self.index(1, &elements[1])])
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    /// The text of this string, which borrows from the whole text if it has no escapes.
    ///
    /// # Errors
    ///
    /// [`ReadableError::Unexpected`], with `expected`, if it is anything else.
    pub fn text(self, expected: &'static str) -> Result<Cow<'a, str>, ReadableError> {
        match self.json {
            Json::String(text) => Ok(text.clone()),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// Reads this array as a vector, element by element.
    ///
    /// # Errors
    ///
    /// Those of [`elements`](Self::elements) and of `element`.
    pub fn vector<E: From<ReadableError>>(
        self,
        element: impl Fn(Part<'_, 'a>) -> Result<Value, E>,
    ) -> Result<Value, E> {
        Ok(Value::Vector(self.elements()?.map(element).collect::<Result<_, E>>()?))
    }

    /// Reads this array as a set, element by element.
    ///
    /// # Errors
    ///
    /// As [`vector`](Self::vector); [`ReadableError::Unexpected`] for duplicates.
    pub fn set<E: From<ReadableError>>(
        self,
        element: impl Fn(Part<'_, 'a>) -> Result<Value, E>,
    ) -> Result<Value, E> {
        let mut elements = BTreeSet::new();
        for part in self.elements()? {
            if !elements.insert(element(part)?) {
                return Err(part.unexpected("each element of a set once").into());
            }
        }
        Ok(Value::Set(elements))
    }

    /// Reads this array of pairs as a table.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set), for duplicate keys.
    pub fn table<E: From<ReadableError>>(
        self,
        key: impl Fn(Part<'_, 'a>) -> Result<Value, E>,
        value: impl Fn(Part<'_, 'a>) -> Result<Value, E>,
    ) -> Result<Value, E> {
        let mut entries = BTreeMap::new();
        for part in self.elements()? {
            let [key_part, value_part] = part.pair("an array of a key and a value")?;
            let mapped = value(value_part)?;
            if entries.insert(key(key_part)?, mapped).is_some() {
                return Err(key_part.unexpected("each key of a table once").into());
            }
        }
        Ok(Value::Table(entries))
    }

    /// Where this is: `args[1].set[0]`; empty for a whole text.
    pub fn path(&self) -> String {
        self.at.to_string()
    }

    /// The error that this is not what is `expected`.
    pub fn unexpected(&self, expected: impl Into<Cow<'static, str>>) -> ReadableError {
        ReadableError::Unexpected {
            path: self.path(),
            expected: expected.into(),
            found: self.json.abbreviated(),
        }
    }
}
