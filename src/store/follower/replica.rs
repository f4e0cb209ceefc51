//! [`Replica`]: the content of a clone. Pure.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bstr::BStr;

use crate::Value;
use crate::store::content::{Content, Entry};
use crate::store::output::Figures;
use crate::store::protocol::{Change, Changes, Chunk, Kind};
use crate::store::watch::Noted;

/// After which change of which master a content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Position {
    pub(in crate::store) epoch: u64,
    pub(in crate::store) sequence: u64,
}

/// How often a pull is repeated before the snapshot is begun anew: a master may have to wait for its disk.
const PULLS: u32 = 10;

/// What a clone asks its master for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The changes after this position, or a snapshot.
    Sync(Position),
    /// The parts of a snapshot below this position.
    Pull { session: u64, position: u64 },
}

/// A snapshot that is not complete.
#[derive(Debug)]
struct Building {
    at: Position,
    session: u64,
    /// Everything from this position of the master's entries on is in `content`.
    reached: u64,
    content: Content,
}

/// The last pull.
#[derive(Clone, Copy, Debug)]
struct Pulled {
    session: u64,
    position: u64,
    /// How often it was said, and when last.
    times: u32,
    at: Instant,
}

/// The content of a clone, and what is missing.
#[derive(Debug, Default)]
pub(in crate::store) struct Replica {
    content: Content,
    /// `None` until the first snapshot is complete.
    position: Option<Position>,
    building: Option<Building>,
    /// The last that is known of the master.
    master: Option<Position>,
    /// When changes were asked for last, since something came.
    synced: Option<Instant>,
    pulled: Option<Pulled>,
    /// A session that is complete, and whose master does not know it yet.
    completed: Option<u64>,
    /// How many changes were made, and how many snapshots were complete.
    made: u64,
    snapshots: u64,
    /// Whether somebody wants to know what changes.
    pub(super) is_watched: bool,
}

impl Replica {
    pub(in crate::store) fn content(&self) -> &Content {
        &self.content
    }

    /// Where the content is; `None` if it has never been complete.
    pub(in crate::store) fn position(&self) -> Option<Position> {
        self.position
    }

    /// There is a master which has made changes up to this one.
    pub(super) fn master_is_at(&mut self, position: Position) {
        match &mut self.master {
            Some(known) if known.epoch == position.epoch => {
                known.sequence = known.sequence.max(position.sequence);
            }
            _ => {
                self.master = Some(position);
                self.building = None;
                // What was asked of the master before is not answered any more.
                self.synced = None;
            }
        }
    }

    /// The position of what is being brought up to date.
    fn own(&self) -> Position {
        let building = self.building.as_ref().map(|building| building.at);
        building.or(self.position).unwrap_or(Position { epoch: 0, sequence: 0 })
    }

    pub(super) fn figures(&self) -> Figures {
        let (changes, snapshots) = (self.made, self.snapshots);
        Figures { entries: self.content.len(), changes, snapshots, dropped: 0 }
    }

    fn is_behind(&self) -> bool {
        let own = self.own();
        let behind = |master: Position| own.epoch != master.epoch || own.sequence < master.sequence;
        self.master.is_some_and(behind)
    }

    /// Changes are made as far as they follow. Returns what they have changed.
    pub(super) fn changes(&mut self, changes: Changes) -> Vec<Noted> {
        let Changes { epoch, first, changes, .. } = changes;
        let last = first.saturating_add(changes.len() as u64).saturating_sub(1);
        self.master_is_at(Position { epoch, sequence: last });
        let own = self.own();
        if own.epoch != epoch || first > own.sequence.saturating_add(1) {
            return Vec::new();
        }
        let known = own.sequence.saturating_add(1) - first;
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let mut noted = Vec::new();
        for change in changes.into_iter().skip(known) {
            self.synced = None;
            self.made += 1;
            match (&mut self.building, &mut self.position) {
                (Some(building), _) => {
                    building.at.sequence = building.at.sequence.saturating_add(1);
                    apply(&mut building.content, change);
                }
                (None, Some(position)) => {
                    position.sequence = position.sequence.saturating_add(1);
                    if self.is_watched {
                        noted.extend(apply_noted(&mut self.content, change));
                    } else {
                        apply(&mut self.content, change);
                    }
                }
                (None, None) => {}
            }
        }
        noted
    }

    /// A part of a snapshot. Returns what has changed, once the last one is accepted.
    pub(super) fn chunk(&mut self, chunk: Chunk) -> Vec<Noted> {
        let Chunk { epoch, session, total, begin, end, sequence, entries, .. } = chunk;
        let at = Position { epoch, sequence };
        self.master_is_at(at);
        let is_new = self.building.as_ref().is_none_or(|building| building.session != session);
        if is_new {
            // The rest of a session that is over, or whose beginning is lost.
            if begin != total {
                return Vec::new();
            }
            let content = Content::default();
            self.building = Some(Building { at, session, reached: total, content });
        }
        let Some(building) = &mut self.building else { return Vec::new() };
        // It was sent before changes that were made here, or something before it is missing.
        if building.at != at || begin < building.reached {
            return Vec::new();
        }
        for entry in entries {
            let new = Entry { value: entry.value, expiry: entry.expiry };
            building.content.set(&entry.key, Some(new));
        }
        building.reached = building.reached.min(end);
        self.synced = None;
        if building.reached > 0 {
            return Vec::new();
        }
        self.complete()
    }

    fn complete(&mut self) -> Vec<Noted> {
        let Some(building) = self.building.take() else { return Vec::new() };
        let before = std::mem::replace(&mut self.content, building.content);
        self.position = Some(building.at);
        // The master need not keep the session.
        self.completed = Some(building.session);
        self.snapshots += 1;
        if self.is_watched { difference(&before, &self.content) } else { Vec::new() }
    }

    /// What to ask the master for now. What was asked is asked again after `patience`.
    pub(super) fn ask(&mut self, now: Instant, patience: Duration, seeks_master: bool) -> Vec<Ask> {
        let mut asks = Vec::new();
        let is_over = |at: Instant| at + patience <= now;
        if let Some(session) = self.completed.take() {
            asks.push(Ask::Pull { session, position: 0 });
        }
        if let Some(Building { session, reached, .. }) = self.building {
            let again = self.pulled.filter(|one| (one.session, one.position) == (session, reached));
            match again {
                Some(pulled) if !is_over(pulled.at) => {}
                // The master has given it up.
                Some(pulled) if pulled.times >= PULLS => self.building = None,
                again => {
                    let times = again.map_or(0, |pulled| pulled.times) + 1;
                    self.pulled = Some(Pulled { session, position: reached, times, at: now });
                    asks.push(Ask::Pull { session, position: reached });
                }
            }
        }
        if self.needs_sync(seeks_master) && self.synced.is_none_or(is_over) {
            self.synced = Some(now);
            asks.push(Ask::Sync(self.own()));
        }
        asks
    }

    /// Whether changes are missing that nobody has been asked for.
    fn needs_sync(&self, seeks_master: bool) -> bool {
        let has_nothing = self.position.is_none() && self.building.is_none();
        has_nothing || self.is_behind() || seeks_master
    }

    /// When to call [`Replica::ask`] again.
    pub(super) fn deadline(&self, patience: Duration, seeks_master: bool) -> Option<Instant> {
        let pulled = self.pulled.filter(|_| self.building.is_some()).map(|pulled| pulled.at);
        let synced = self.synced.filter(|_| self.needs_sync(seeks_master));
        pulled.into_iter().chain(synced).map(|at| at + patience).min()
    }
}

fn apply(content: &mut Content, change: Change) {
    match change.kind {
        Kind::Insert | Kind::Update => {
            let entry = Entry { value: change.value, expiry: change.expiry };
            content.set(&change.key, Some(entry));
        }
        Kind::Erase | Kind::Expire => _ = content.set(&change.key, None),
        Kind::Clear => *content = Content::default(),
    }
}

fn apply_noted(content: &mut Content, change: Change) -> Vec<Noted> {
    if change.kind == Kind::Clear {
        let before = std::mem::take(content);
        return Noted::erased(&before, change.by.as_ref()).collect();
    }
    let old = content.get(&change.key).cloned();
    apply(content, change.clone());
    vec![Noted::new(change, old)]
}

/// The changes that lead from one content to another.
fn difference(before: &Content, after: &Content) -> Vec<Noted> {
    let kept: HashSet<&Value> = after.iter().map(|(key, _)| key).collect();
    let mut noted = Vec::new();
    for (key, old) in before.iter().filter(|(key, _)| !kept.contains(key)) {
        noted.push(Noted::new(
            Change::new(Kind::Erase, key, None, BStr::new("")),
            Some(old.clone()),
        ));
    }
    for (key, entry) in after.iter() {
        match before.get(key) {
            None => noted
                .push(Noted::new(Change::new(Kind::Insert, key, Some(entry), BStr::new("")), None)),
            Some(old) if old != entry => {
                noted.push(Noted::new(
                    Change::new(Kind::Update, key, Some(entry), BStr::new("")),
                    Some(old.clone()),
                ));
            }
            Some(_) => {}
        }
    }
    noted
}
