//! [`Client`]: the commands of a process on their way to the master. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::peers::ErrorCode;
use crate::store::StoreError;
use crate::store::limits::{
    MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES, MAX_WAITING, MAX_WAITING_BYTES, RESEND_FIRST, RESEND_MOST,
};
use crate::store::output::Ticket;
use crate::store::parts::parts;
use crate::store::protocol::Command;

/// A command that was not answered yet.
#[derive(Debug)]
struct Waiting {
    ticket: Ticket,
    command: Command,
    size: usize,
    deadline: Instant,
    was_sent: bool,
}

/// Commands in the order of their ids.
#[derive(Debug)]
pub(super) struct Client {
    next_id: u64,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// Commands below this id were sent since they were lost last.
    sent: u64,
    resend_at: Option<Instant>,
    resend_after: Duration,
    /// When commands were sent again last.
    resent: Option<Instant>,
    /// Not later than the first deadline.
    first_deadline: Option<Instant>,
}

/// A command that has failed, and why.
pub(super) type Failed = (Ticket, StoreError);

impl Client {
    pub(super) fn new() -> Self {
        Client {
            next_id: 1,
            waiting: VecDeque::new(),
            bytes: 0,
            sent: 1,
            resend_at: None,
            resend_after: RESEND_FIRST,
            resent: None,
            first_deadline: None,
        }
    }

    /// Adds a command.
    ///
    /// # Errors
    /// When too many wait.
    pub(super) fn add(
        &mut self,
        ticket: Ticket,
        mut command: Command,
        deadline: Instant,
    ) -> Result<(), StoreError> {
        let size = command.size();
        if self.waiting.len() >= MAX_WAITING || self.bytes + size > MAX_WAITING_BYTES {
            let text = format!("{} commands wait already", self.waiting.len());
            return Err(StoreError::new(ErrorCode::Unspecified, text));
        }
        command.id = self.next_id;
        self.next_id += 1;
        self.bytes += size;
        self.waiting.push_back(Waiting { ticket, command, size, deadline, was_sent: false });
        self.first_deadline = Some(self.first_deadline.map_or(deadline, |at| at.min(deadline)));
        Ok(())
    }

    /// The id of the first command without an answer.
    pub(super) fn oldest(&self) -> u64 {
        self.waiting.front().map_or(self.next_id, |first| first.command.id)
    }

    /// The commands to send now, in events.
    pub(super) fn take_unsent(&mut self, now: Instant) -> Vec<Vec<Command>> {
        if self.sent >= self.next_id {
            return Vec::new();
        }
        let end = self.oldest().saturating_add(MAX_IN_FLIGHT);
        let mut bytes = 0;
        let mut commands = Vec::new();
        for waiting in &mut self.waiting {
            bytes += waiting.size;
            let id = waiting.command.id;
            // One command may be larger than what may be under way.
            let is_first = waiting.size == bytes;
            if id >= end || (bytes > MAX_IN_FLIGHT_BYTES && !is_first) {
                break;
            }
            if id >= self.sent {
                waiting.was_sent = true;
                self.sent = id + 1;
                commands.push(waiting.command.clone());
            }
        }
        if !commands.is_empty() && self.resend_at.is_none() {
            self.resend_at = Some(now + self.resend_after);
        }
        parts(commands, Command::size)
    }

    /// The command of that id was answered; `None` if it is not waited for.
    pub(super) fn answered(&mut self, id: u64, now: Instant) -> Option<Ticket> {
        let at = self.waiting.binary_search_by_key(&id, |one| one.command.id).ok()?;
        let waiting = self.waiting.remove(at)?;
        self.bytes -= waiting.size;
        self.resend_after = RESEND_FIRST;
        let has_more = self.waiting.front().is_some_and(|first| first.command.id < self.sent);
        self.resend_at = has_more.then_some(now + self.resend_after);
        Some(waiting.ticket)
    }

    /// The master has not received commands from that id on.
    pub(super) fn lost(&mut self, next: u64, now: Instant) {
        const PAUSE: Duration = Duration::from_millis(100);
        if next < self.sent && self.resent.is_none_or(|at| at + PAUSE <= now) {
            // If that one was given up, the one before it tells the master so.
            let after = self.waiting.partition_point(|waiting| waiting.command.id <= next);
            let from = self.waiting.get(after.saturating_sub(1));
            self.sent = from.map_or(self.next_id, |waiting| waiting.command.id);
            self.resent = Some(now);
        }
    }

    /// There is another master, or it is back: it may have none of the commands.
    pub(super) fn send_again(&mut self, now: Instant) {
        self.sent = self.sent.min(self.oldest());
        self.resent = Some(now);
        self.resend_after = RESEND_FIRST;
        self.resend_at = None;
    }

    /// Time passes: returns what has failed.
    pub(super) fn tick(&mut self, now: Instant, is_master_there: bool) -> Vec<Failed> {
        if self.resend_at.is_some_and(|at| at <= now) {
            self.sent = self.sent.min(self.oldest());
            self.resent = Some(now);
            self.resend_after = (self.resend_after * 2).min(RESEND_MOST);
            self.resend_at = None;
        }
        if self.first_deadline.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut failed = Vec::new();
        self.waiting.retain(|waiting| {
            let is_due = waiting.deadline <= now;
            if is_due {
                self.bytes -= waiting.size;
                let code = if waiting.was_sent || is_master_there {
                    ErrorCode::RequestTimeout
                } else {
                    ErrorCode::NoSuchMaster
                };
                failed.push((waiting.ticket, code.into()));
            }
            !is_due
        });
        self.first_deadline = self.waiting.iter().map(|waiting| waiting.deadline).min();
        failed
    }

    /// Gives everything up: what was sent may happen, or may have happened.
    pub(super) fn fail_all(&mut self, error: &StoreError) -> Vec<Failed> {
        self.bytes = 0;
        self.resend_at = None;
        self.sent = self.next_id;
        let waiting = std::mem::take(&mut self.waiting);
        let failed = |waiting: Waiting| {
            let error = match error.code {
                ErrorCode::Unspecified if waiting.was_sent => {
                    StoreError::new(ErrorCode::RequestTimeout, error.text.clone())
                }
                _ => error.clone(),
            };
            (waiting.ticket, error)
        };
        waiting.into_iter().map(failed).collect()
    }

    /// When to call [`Client::tick`].
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.first_deadline.into_iter().chain(self.resend_at).min()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
