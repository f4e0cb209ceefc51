//! What to do with batches of a known header.
//!
//! Headers come from the network: the cache is bounded in entries and in bytes, and plans for
//! larger headers are computed each time: slower, still correct.

use std::sync::Arc;

use ahash::AHashMap;
use zcluster::telemetry::Counter;
use zcluster::wire::zeek_bin::{Batch, DecodeError, KnownHeader};

use crate::format::RecordFormatter;

/// Plans kept. Beyond that, the cache is cleared.
const MAX_PLANS: usize = 4_096;
/// Bytes of headers kept. A plan takes several times the memory of its header.
const MAX_BYTES: usize = 4 << 20;
/// Largest header kept; Zeek's logs have headers of a few thousand bytes.
const MAX_HEADER: usize = 64 << 10;
/// Sets of columns kept for one stream, writer, filter and path. More indicate an attack.
const MAX_PLANS_OF_ONE_NAME: usize = 16;

/// What to do with batches of one header, computed once.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Index of the formatter's log; `None` if the path is disabled.
    pub(crate) slot: Option<usize>,
    pub(crate) formatter: Arc<RecordFormatter>,
    /// Counts its records.
    pub(crate) writes: Counter,
    pub(crate) head: Head,
}

/// The first lines of a TSV file, without the time, and its columns, which not every header shows:
/// two plans of one log may share a file if their heads are equal. Empty for JSON.
#[derive(Clone, Debug)]
pub(crate) struct Head(Arc<[u8]>);

impl Head {
    pub(crate) fn of(formatter: &RecordFormatter) -> Self {
        let mut head = Vec::new();
        formatter.header("", &mut head);
        for (name, log_type) in formatter.columns() {
            // Names have no control characters.
            head.extend([&[0], name.as_slice(), &[0], log_type.as_bytes()].concat());
        }
        Head(head.into())
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Plan {
    pub(crate) fn new(
        slot: Option<usize>,
        formatter: RecordFormatter,
        head: Head,
        writes: Counter,
    ) -> Self {
        Plan { slot, formatter: Arc::new(formatter), writes, head }
    }

    /// Returns whether text of this plan may follow text of the other without a header between
    /// them: another stream, filter or writer may have the same columns.
    pub(crate) fn continues(&self, other: &Self) -> bool {
        self.head == other.head
    }
}

/// Plans by header.
#[derive(Default)]
pub(crate) struct Plans {
    /// By the names in the header; one entry for each set of columns.
    by_names: AHashMap<Box<[u8]>, Vec<(KnownHeader, Plan)>>,
    count: usize,
    bytes: usize,
}

impl Plans {
    /// Returns the plan for a payload with a known header, and the decoded batch.
    pub(crate) fn find<'a>(
        &self,
        payload: &'a [u8],
    ) -> Option<(Result<Batch<'a>, DecodeError>, &Plan)> {
        let plans = self.by_names.get(Batch::names_bytes(payload)?)?;
        plans.iter().find_map(|(header, plan)| header.decode(payload).map(|batch| (batch, plan)))
    }

    /// Caches the plan for the header of this batch unless the header is too large.
    pub(crate) fn insert(&mut self, batch: &Batch<'_>, plan: Plan) {
        let header = batch.header_bytes();
        if header.len() > MAX_HEADER {
            return;
        }
        let Some(names) = Batch::names_bytes(header) else { return };
        let of_this_name = self.by_names.get(names).map_or(0, Vec::len);
        if self.count >= MAX_PLANS
            || self.bytes + header.len() > MAX_BYTES
            || of_this_name >= MAX_PLANS_OF_ONE_NAME
        {
            *self = Plans::default();
        }
        self.count += 1;
        self.bytes += header.len();
        self.by_names.entry(names.into()).or_default().push((KnownHeader::of(batch), plan));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::WriterOptions;
    use zcluster::wire::zeek_bin::{BatchBuilder, FieldSpec, LogSchema, LogValue, Scalar};

    /// Returns a batch whose header has about `header` bytes.
    fn payload(path: &str, field: &str, header: usize) -> Vec<u8> {
        let fields = 1 + header / 200;
        let fields = (0..fields)
            .map(|n| FieldSpec::new(format!("{field}{n}{}", "x".repeat(200)), Scalar::Count))
            .collect::<Vec<_>>();
        let record = vec![LogValue::Count(1); fields.len()];
        let mut batch = BatchBuilder::new(LogSchema::new("S", path, fields)).unwrap();
        batch.push(&record).unwrap();
        batch.finish()
    }

    #[test]
    fn columns_tell_heads_apart_also_without_a_header() {
        let bare = WriterOptions { include_meta: false, ..WriterOptions::default() };
        let names = WriterOptions { tsv: true, ..WriterOptions::default() };
        let json =
            WriterOptions { format: crate::format::Format::Json, ..WriterOptions::default() };
        let (one, other) = (payload("conn", "a", 10), payload("conn", "b", 10));
        let head = |payload: &[u8], options: &WriterOptions| {
            let batch = Batch::decode(payload).unwrap();
            Head::of(&RecordFormatter::new(&batch, options).unwrap())
        };
        for (options, is_same) in
            [(WriterOptions::default(), false), (bare, false), (names, false), (json, true)]
        {
            assert_eq!(head(&one, &options) == head(&other, &options), is_same, "{options:?}");
            assert!(head(&one, &options) == head(&one, &options));
        }
    }

    fn insert(plans: &mut Plans, payload: &[u8], log: usize) {
        let batch = Batch::decode(payload).unwrap();
        let formatter = RecordFormatter::new(&batch, &WriterOptions::default()).unwrap();
        let head = Head::of(&formatter);
        plans.insert(&batch, Plan::new(Some(log), formatter, head, Counter::default()));
        let kept = plans.by_names.values().flatten();
        assert_eq!(plans.count, kept.count());
        assert!(plans.count <= MAX_PLANS && plans.bytes <= MAX_BYTES);
    }

    #[test]
    fn headers_are_found_again() {
        let mut plans = Plans::default();
        let rows = [("a", "f"), ("a", "g"), ("b", "f")].map(|(path, f)| payload(path, f, 0));
        for (log, payload) in rows.iter().enumerate() {
            assert!(plans.find(payload).is_none());
            insert(&mut plans, payload, log);
        }
        for (log, payload) in rows.iter().enumerate() {
            let (batch, plan) = plans.find(payload).unwrap();
            assert_eq!((batch.unwrap().num_records(), plan.slot), (1, Some(log)));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut plans = Plans::default();
        let huge = payload("a", "f", MAX_HEADER);
        insert(&mut plans, &huge, 0);
        assert!(plans.find(&huge).is_none(), "too large to be kept");
        for n in 0..300 {
            let large = payload(&format!("p{n}"), "f", MAX_HEADER / 2);
            insert(&mut plans, &large, 0);
            assert!(plans.find(&large).is_some(), "the newest is kept");
        }
        for n in 0..100 {
            insert(&mut plans, &payload("a", &format!("f{n}"), 0), 0);
            assert!(plans.by_names.values().all(|plans| plans.len() <= MAX_PLANS_OF_ONE_NAME));
        }
    }
}
