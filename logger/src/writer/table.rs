//! The writer's logs and their files.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use zcluster::layout::Fsync;

use super::schemas::Schemas;
use crate::clock;
use crate::format::Times;
use crate::log_file::LogFile;
use crate::logs::Log;
use crate::plans::{Head, Plan};
use crate::rotation::Schedule;

/// Time until a failed rotation is retried.
const ROTATION_RETRY: Duration = Duration::from_secs(2);

/// Identifies one file of one log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The number of the log.
    pub(super) log: usize,
    /// The number of the file, from 1 on.
    pub(super) number: u32,
}

/// A file and the state of its contents.
pub(super) struct Open {
    pub(super) log: Arc<Log>,
    pub(super) number: u32,
    pub(super) file: LogFile,
    /// The plan of its header; `None` until that is written.
    pub(super) plan: Option<Plan>,
    /// The time of the previous rotation or of the first record.
    pub(super) opened: SystemTime,
    schedule: Schedule,
    pub(super) next_rotation: Option<SystemTime>,
    /// Rotation is not retried before this.
    retry_after: Option<Instant>,
    /// Records in the file that are not synced.
    pub(super) unsynced_records: u64,
    /// The times of its records; `None` if unknown.
    pub(super) times: Option<Times>,
}

impl Open {
    pub(super) fn new(log: &Arc<Log>, number: u32, gzip_level: u32, schedule: Schedule) -> Self {
        let now = SystemTime::now();
        Open {
            file: LogFile::new(&log.file(number), gzip_level, log.fsync == Fsync::Batch),
            number,
            plan: None,
            opened: now,
            next_rotation: schedule.next_after(now),
            schedule,
            retry_after: None,
            unsynced_records: 0,
            times: Some(Times::default()),
            log: Arc::clone(log),
        }
    }

    pub(super) fn key(&self) -> Key {
        Key { log: self.log.id, number: self.number }
    }

    /// Sets the number of the next file.
    pub(super) fn renumber(&mut self, number: u32, gzip_level: u32) {
        self.number = number;
        self.file =
            LogFile::new(&self.log.file(number), gzip_level, self.log.fsync == Fsync::Batch);
    }

    /// Resets the state because the file is empty or a new one: it starts with a header.
    pub(super) fn start_over(&mut self) {
        self.plan = None;
        self.opened = SystemTime::now();
        self.unsynced_records = 0;
        self.times = Some(Times::default());
    }

    /// Returns the text to write before text of this plan: the end of a torn line, and the header.
    pub(super) fn before(&self, plan: &Plan) -> Vec<u8> {
        let mut text = Vec::new();
        if self.file.is_mid_line() {
            text.push(b'\n');
        }
        if self.plan.is_none() {
            plan.formatter.header(&clock::now_text(self.schedule.zone()), &mut text);
        }
        text
    }

    /// Returns the footer.
    pub(super) fn footer(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Some(plan) = &self.plan {
            plan.formatter.footer(&clock::now_text(self.schedule.zone()), &mut text);
        }
        text
    }

    pub(super) fn plan_rotation(&mut self, now: SystemTime) {
        self.next_rotation = self.schedule.next_after(now);
    }

    /// Schedules another attempt after a failed rotation.
    pub(super) fn retry_rotation(&mut self) {
        self.next_rotation = SystemTime::now().checked_add(ROTATION_RETRY);
        self.retry_after = Instant::now().checked_add(ROTATION_RETRY);
    }

    /// Returns whether it is too early to retry.
    pub(super) fn is_to_wait(&self) -> bool {
        self.retry_after.is_some_and(|after| Instant::now() < after)
    }

    /// Plans the next rotation again after the clock was set: never later than before.
    pub(super) fn clock_was_set(&mut self, now: SystemTime, back: Duration) {
        self.next_rotation = self.schedule.plan_again(self.next_rotation, now);
        // The file's age stays the same.
        self.opened = self.opened.checked_sub(back).unwrap_or(self.opened);
    }
}

/// A log: its files and the columns of each.
struct OfLog {
    schemas: Schemas<Head>,
    open: Vec<Open>,
}

/// All logs with written records, by number.
#[derive(Default)]
pub(super) struct Table(Vec<Option<OfLog>>);

impl Table {
    /// Returns the columns of a log.
    pub(super) fn schemas(&mut self, log: usize) -> &mut Schemas<Head> {
        if self.0.len() <= log {
            self.0.resize_with(log + 1, || None);
        }
        let new = || OfLog { schemas: Schemas::new(), open: Vec::new() };
        &mut self.0[log].get_or_insert_with(new).schemas
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Open> {
        let open = &mut self.0.get_mut(key.log)?.as_mut()?.open;
        open.iter_mut().find(|open| open.number == key.number)
    }

    pub(super) fn insert(&mut self, open: Open) {
        if let Some(Some(of_log)) = self.0.get_mut(open.log.id) {
            of_log.open.push(open);
        }
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Some(Some(of_log)) = self.0.get_mut(key.log) {
            of_log.open.retain(|open| open.number != key.number);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Open> {
        self.0.iter().flatten().flat_map(|of_log| &of_log.open)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Open> {
        self.0.iter_mut().flatten().flat_map(|of_log| &mut of_log.open)
    }

    /// Returns the keys of the wanted files. Not references, so that the writer can process each.
    pub(super) fn keys(&self, wanted: impl Fn(&Open) -> bool) -> Vec<Key> {
        self.iter().filter(|open| wanted(open)).map(Open::key).collect()
    }

    /// Returns the logs with several files.
    pub(super) fn disagreeing(&self) -> Vec<usize> {
        let several = |(_, of_log): &(usize, &Option<OfLog>)| {
            of_log.as_ref().is_some_and(|of_log| of_log.open.len() > 1)
        };
        self.0.iter().enumerate().filter(several).map(|(log, _)| log).collect()
    }
}
