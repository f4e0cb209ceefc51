//! [`Plan`]: the columns of a filter, from those of the record (WIRE.md §4.6). Pure.

use std::sync::Arc;

use bstr::BString;

use super::{Columns, Filter, LogRecord, LogsError};
use crate::wire::zeek_bin::{FieldSpec, LogSchema};

fn is(field: &FieldSpec, name: &str) -> bool {
    field.name == name
}

/// The columns that a filter writes.
pub(super) struct Plan {
    /// With the names that they have in the log.
    pub(super) fields: Vec<FieldSpec>,
    /// Which columns of the record are among them; `None` means all.
    pub(super) keep: Option<Arc<[bool]>>,
}

impl Plan {
    /// # Errors
    /// When the filter names columns that do not exist, leaves none, gives two the same name, or has
    /// a path that no log can have.
    pub(super) fn new<T: LogRecord>(
        stream: &str,
        stream_path: &str,
        filter: &Filter<T>,
    ) -> Result<Self, LogsError> {
        let columns = Columns::of::<T>(&filter.scope_sep);
        let mut fields = Vec::new();
        if let Some(ext) = &filter.ext {
            fields.extend((ext.columns)(&filter.scope_sep).into_iter().map(|mut field| {
                field.name = BString::from(format!("{}{}", filter.ext_prefix, field.name));
                field
            }));
        }
        let ext = fields.len();
        let unknown = |option, name: &str| {
            let known: Vec<String> = columns.iter().map(|field| field.name.to_string()).collect();
            LogsError::UnknownColumn {
                stream: stream.into(),
                filter: filter.name.clone(),
                option,
                name: name.into(),
                known: known.join(", "),
            }
        };
        let options = [("include", filter.include.as_ref()), ("exclude", Some(&filter.exclude))];
        for (option, names) in options {
            for name in names.into_iter().flatten() {
                if !columns.iter().any(|field| is(field, name)) {
                    return Err(unknown(option, name));
                }
            }
        }
        let is_kept = |field: &FieldSpec| {
            let is_named = |name: &String| is(field, name);
            filter.include.as_ref().is_none_or(|include| include.iter().any(is_named))
                && !filter.exclude.iter().any(is_named)
        };
        let keep: Vec<bool> = columns.iter().map(is_kept).collect();
        let kept = columns.iter().zip(&keep).filter(|(_, keep)| **keep);
        fields.extend(kept.map(|(field, _)| field.clone()));
        for name in filter.field_name_map.keys() {
            // A map may name columns that the filter leaves out.
            if !fields.iter().chain(&columns).any(|field| is(field, name)) {
                return Err(unknown("field_name_map", name));
            }
        }
        for field in &mut fields {
            let mut map = filter.field_name_map.iter();
            if let Some((_, renamed)) = map.find(|(name, _)| is(field, name)) {
                field.name = renamed.as_str().into();
            }
        }
        let keep = (fields.len() - ext < columns.len()).then(|| keep.into());
        let plan = Plan { fields, keep };
        let path = filter.path.as_deref().unwrap_or(stream_path);
        match plan.schema(stream, filter, path).check() {
            Ok(()) => Ok(plan),
            Err(error) => {
                let (stream, filter) = (stream.into(), filter.name.clone());
                Err(LogsError::Schema { stream, filter, error })
            }
        }
    }

    /// What a log of that path starts with.
    pub(super) fn schema<T: LogRecord>(
        &self,
        stream: &str,
        filter: &Filter<T>,
        path: &str,
    ) -> LogSchema {
        LogSchema {
            stream: stream.into(),
            writer: filter.writer.as_str().into(),
            filter: filter.name.as_str().into(),
            path: path.into(),
            fields: self.fields.clone(),
        }
    }
}
