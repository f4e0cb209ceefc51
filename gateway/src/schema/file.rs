//! The TOML of a schema file. All mistakes are reported at once, each with its place.

use std::collections::HashMap;
use std::fmt;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Schema;
use super::syntax::{self, SyntaxError};
use super::types::Field;

/// A mistake in a schema file.
#[derive(Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub message: String,
}

impl std::error::Error for SchemaError {}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

impl Schema {
    /// Reads the text of a schema file.
    ///
    /// ```
    /// use zcluster_gateway::schema::Schema;
    /// let schema = Schema::parse(
    ///     r#"
    ///     [[event]]
    ///     name = "Demo::ping"
    ///     args = ["text: string", "peers: set[addr, port]"]
    ///     "#,
    /// );
    /// assert!(schema.is_ok());
    ///
    /// let errors = Schema::parse("[[event]]\nname = 'Demo::ping'\nargs = ['text: strin']").unwrap_err();
    /// assert_eq!(
    ///     errors[0].to_string(),
    ///     "3:9: \"text: strin\": expected a type or the name of a [[record]], found \"strin\"",
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// All mistakes in the file, in the order of their lines.
    pub fn parse(text: &str) -> Result<Self, Vec<SchemaError>> {
        let mut reader = Reader { text, errors: vec![] };
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            reader.error(error.span().unwrap_or_default().start, error.message().to_owned());
        }
        let schema =
            if errors.is_empty() { reader.schema(root.get_ref()) } else { Schema::default() };
        if reader.errors.is_empty() {
            return Ok(schema);
        }
        // The parser continues after an error: what it says next about the line is a consequence.
        reader.errors.sort_by_key(|error| error.line);
        if !errors.is_empty() {
            reader.errors.dedup_by_key(|error| error.line);
        }
        Err(reader.errors)
    }
}

/// `[[event]]` or `[[record]]`: a name, and a list of declarations.
struct Declaration<'t, 'i> {
    name: &'t Spanned<DeValue<'i>>,
    fields: Vec<(usize, &'t str)>,
}

impl Declaration<'_, '_> {
    fn name(&self) -> &str {
        self.name.get_ref().as_str().unwrap_or_default()
    }
}

struct Reader<'s> {
    text: &'s str,
    errors: Vec<SchemaError>,
}

impl Reader<'_> {
    fn error(&mut self, at: usize, message: String) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.chars().rev().take_while(|c| *c != '\n').count();
        self.errors.push(SchemaError { line, column, message });
    }

    fn schema(&mut self, root: &DeTable<'_>) -> Schema {
        let mut events = vec![];
        let mut records = vec![];
        for (key, value) in root {
            match &**key.get_ref() {
                "event" => events = self.declarations("event", "args", value),
                "record" => records = self.declarations("record", "fields", value),
                other => self.error(
                    key.span().start,
                    format!("unknown name `{other}`; expected [[event]] or [[record]]"),
                ),
            }
        }
        let mut places = HashMap::new();
        for (place, record) in records.iter().enumerate() {
            if syntax::is_reserved(record.name()) {
                let message = format!("`{}` is the name of a type of Zeek", record.name());
                self.error(record.name.span().start, message);
            }
            if places.insert(record.name().to_owned(), place).is_some() {
                self.twice("record", record);
            }
        }
        let mut schema = Schema::default();
        for record in &records {
            let fields = self.fields(record, &places, true);
            schema.records.push(fields);
        }
        for event in &events {
            let args = self.fields(event, &places, false);
            if schema.events.insert(event.name().into(), args).is_some() {
                self.twice("event", event);
            }
        }
        schema
    }

    fn twice(&mut self, kind: &str, declaration: &Declaration<'_, '_>) {
        let message = format!("{kind} `{}` is declared twice", declaration.name());
        self.error(declaration.name.span().start, message);
    }

    /// Reads the tables of `[[kind]]`. Leaves out those without a usable name.
    fn declarations<'t, 'i>(
        &mut self,
        kind: &str,
        list: &str,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Vec<Declaration<'t, 'i>> {
        let Some(tables) = value.get_ref().as_array() else {
            let message = format!("expected [[{kind}]], in double brackets");
            self.error(value.span().start, message);
            return vec![];
        };
        tables.iter().filter_map(|table| self.declaration(kind, list, table)).collect()
    }

    fn declaration<'t, 'i>(
        &mut self,
        kind: &str,
        list: &str,
        value: &'t Spanned<DeValue<'i>>,
    ) -> Option<Declaration<'t, 'i>> {
        let Some(table) = value.get_ref().as_table() else {
            self.error(value.span().start, format!("expected a table with name and {list}"));
            return None;
        };
        let mut name = None;
        let mut fields = None;
        for (key, value) in table {
            let at = value.span().start;
            match &**key.get_ref() {
                "name" => match value.get_ref().as_str() {
                    Some(text) if syntax::is_qualified_name(text) => name = Some(value),
                    _ => {
                        let message =
                            format!("expected the name of the {kind}, as in Module::name");
                        self.error(at, message);
                        // Not missing as well.
                        name = Some(value);
                    }
                },
                key if key == list => fields = Some(self.texts(value)),
                other => {
                    let message = format!("unknown name `{other}`; expected name or {list}");
                    self.error(key.span().start, message);
                }
            }
        }
        let at = value.span().start;
        if name.is_none() {
            self.error(at, format!("[[{kind}]] without a name"));
        }
        if fields.is_none() {
            self.error(at, format!("[[{kind}]] without {list}"));
        }
        Some(Declaration { name: name?, fields: fields.unwrap_or_default() })
    }

    fn texts<'t>(&mut self, value: &'t Spanned<DeValue<'_>>) -> Vec<(usize, &'t str)> {
        const EXPECTED: &str = r#"expected an array of texts as in "name: type""#;
        let Some(items) = value.get_ref().as_array() else {
            self.error(value.span().start, EXPECTED.into());
            return vec![];
        };
        let mut texts = vec![];
        for item in items {
            match item.get_ref().as_str() {
                Some(text) => texts.push((item.span().start, text)),
                None => self.error(item.span().start, EXPECTED.into()),
            }
        }
        texts
    }

    fn fields(
        &mut self,
        declaration: &Declaration<'_, '_>,
        places: &HashMap<String, usize>,
        may_be_optional: bool,
    ) -> Vec<Field> {
        let mut fields: Vec<Field> = vec![];
        for (at, text) in &declaration.fields {
            match syntax::field(text, |name| places.get(name).copied()) {
                Ok(field) => {
                    if fields.iter().any(|other| other.name == field.name) {
                        self.error(*at, format!("`{}` is declared twice", field.name));
                    }
                    if field.is_optional && !may_be_optional {
                        self.error(*at, "only fields of records can be `&optional`".into());
                    }
                    fields.push(field);
                }
                Err(SyntaxError { expected, found }) => {
                    let found =
                        if found.is_empty() { "the end".into() } else { format!("{found:?}") };
                    self.error(*at, format!("{text:?}: expected {expected}, found {found}"));
                }
            }
        }
        fields
    }
}
