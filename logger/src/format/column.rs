//! The columns of a batch, and how to process the values of each.

use zcluster::wire::zeek_bin::{Batch, Field, LogType, Scalar};

use super::options::WriterOptions;
use super::times::TIME_COLUMN;

/// A column of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its index, for error messages.
    pub(super) field: u32,
    pub(super) step: Step,
}

/// How to process the value of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Write it.
    Scalar(Scalar),
    /// Write it and record it: it is the time of the record.
    Time,
    /// Write its elements.
    Container(LogType),
    /// Skip it.
    Skip(LogType),
}

impl Column {
    /// Returns all columns of a batch, including those that are left out.
    pub(super) fn all(batch: &Batch<'_>, options: &WriterOptions) -> Vec<Self> {
        let step = |field: &Field<'_>| match field.log_type {
            log_type if !options.has_column(field.name) => Step::Skip(log_type),
            LogType::Scalar(scalar) => Step::Scalar(scalar),
            log_type => Step::Container(log_type),
        };
        let fields = (0..).zip(batch.fields());
        let mut columns: Vec<_> =
            fields.map(|(index, field)| Column { field: index, step: step(&field) }).collect();
        // Only the first written column counts: readers of the file expect the time there.
        let first = columns.iter_mut().zip(batch.fields());
        let mut first = first.skip_while(|(column, _)| matches!(column.step, Step::Skip(_)));
        if let Some((column, field)) = first.next()
            && column.step == Step::Scalar(Scalar::Time)
            && field.name == TIME_COLUMN
        {
            column.step = Step::Time;
        }
        columns
    }
}
