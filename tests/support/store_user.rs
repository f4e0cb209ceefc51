//! [`User`]: a `zcluster-node` that uses a store, with what it was asked and what it has told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::store_history::{Action, Content, History};
use super::{PATIENCE, Process, Signal};

/// The name of the store.
pub const STORE: &str = "chaos";

/// The timeout of commands that must succeed.
pub const PATIENT: &str = "60s";

/// A place for a process, of which there may be several one after the other.
pub struct User {
    pub name: &'static str,
    has_master: bool,
    process: Option<Process>,
    /// The number of the process, of all that there have been.
    life: u64,
    is_ready: bool,
    /// Commands without an answer.
    open: BTreeSet<usize>,
    /// The answer to [`User::query`].
    told: Option<Json>,
    /// The entries as they follow from the changes that a clone was told of: all but their keys.
    watched: Content,
}

impl User {
    pub fn new(name: &'static str, has_master: bool) -> Self {
        User {
            name,
            has_master,
            process: None,
            life: 0,
            is_ready: false,
            open: BTreeSet::new(),
            told: None,
            watched: Content::new(),
        }
    }

    /// Starts it. Does not wait until it is ready.
    pub fn start(&mut self, layout: &str, life: u64) {
        let args = ["--layout", layout, "--node", self.name];
        self.process = Some(Process::spawn(self.name, "zcluster-node", &args));
        self.life = life;
    }

    /// Kills it. What it has said counts.
    pub fn kill(&mut self, history: &mut History) {
        let mut process = self.process.take().unwrap();
        process.kill();
        for line in process.remaining_lines() {
            self.take_line(&line, history);
        }
        assert!(!process.stderr().contains("panicked"), "{}", process.stderr());
        self.is_ready = false;
        self.open.clear();
        self.watched.clear();
    }

    pub fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().signal(signal);
    }

    /// Ends it in an orderly way.
    pub fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        process.stop();
        assert!(!process.stderr().contains("panicked"), "{}", process.stderr());
    }

    pub fn life(&self) -> u64 {
        self.life
    }

    /// How many commands wait for an answer; `None` if it is not running.
    pub fn waiting(&self) -> Option<usize> {
        self.is_ready.then_some(self.open.len())
    }

    /// Asks for something.
    pub fn ask(&mut self, key: &str, action: Action, timeout: Option<&str>, history: &mut History) {
        let mut line = action.members(key);
        let number = history.ask(self.life, self.has_master, key, action);
        line["id"] = json!(number);
        if let Some(timeout) = timeout {
            line["timeout"] = json!(timeout);
        }
        self.open.insert(number);
        self.write(line);
    }

    fn write(&mut self, mut line: Json) {
        line["store"] = json!(STORE);
        self.process.as_mut().unwrap().write_line(&line.to_string());
    }

    /// Takes what it has said.
    pub fn take_lines(&mut self, history: &mut History) {
        while let Some(line) = self.process.as_ref().and_then(Process::try_line) {
            if let Some((key, action)) = self.take_line(&line, history) {
                self.ask(&key, action, None, history);
            }
            if line.get("ready").is_some() {
                self.is_ready = true;
                if !self.has_master {
                    // Before it has any content: all of it is a change.
                    self.write(json!({ "watch": [], "id": "watch" }));
                }
            }
        }
    }

    /// Returns what is to be read after that.
    fn take_line(&mut self, line: &Json, history: &mut History) -> Option<(String, Action)> {
        match &line["id"] {
            Json::Null => self.take_change(line),
            Json::String(query) if query == "query" => self.told = Some(line.clone()),
            Json::String(_) => assert_eq!(line["result"], Json::Null, "{line}"),
            id => {
                let number = id.as_u64().unwrap() as usize;
                assert!(self.open.remove(&number), "{line} was not asked for by {}", self.name);
                return history.answer(number, line.clone());
            }
        }
        None
    }

    /// Keeps up with changes.
    fn take_change(&mut self, line: &Json) {
        let kinds = ["insert", "update", "erase", "expire"];
        let Some(kind) = kinds.into_iter().find(|kind| line.get(kind).is_some()) else { return };
        let mut entry = line[kind].as_object().unwrap().clone();
        let key = entry.shift_remove("key").unwrap().as_str().unwrap().to_owned();
        let old = entry.shift_remove("old");
        let before = match kind {
            "insert" | "update" => self.watched.insert(key, entry.into()),
            _ => self.watched.remove(&key),
        };
        let before = before.map(|before| before["value"].clone());
        let was_there = kind != "insert";
        assert_eq!(before.is_some(), was_there, "{}: {before:?} before {line}", self.name);
        assert!(old.is_none() || before == old, "{}: {before:?} before {line}", self.name);
    }

    /// Asks for something that is no part of the history, and waits for the result.
    pub fn query(&mut self, mut line: Json, history: &mut History) -> Json {
        line["id"] = json!("query");
        line["timeout"] = json!(PATIENT);
        self.write(line.clone());
        self.wait(&format!("the result of {line:.100}"), history, |user| user.told.take())
    }

    /// Waits for something that lines bring about.
    pub fn wait<T>(
        &mut self,
        what: &str,
        history: &mut History,
        mut done: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.take_lines(history);
            if let Some(done) = done(self) {
                return done;
            }
            let in_time = Instant::now() < deadline;
            assert!(in_time, "{} waited too long for {what}; open: {:?}", self.name, self.open);
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }

    /// What it says that the store has.
    pub fn content(&mut self, history: &mut History) -> Content {
        let keys = self.query(json!({ "keys": [] }), history);
        let line = self.query(json!({ "lookup": keys["result"]["set"] }), history);
        let table = line["result"]["table"].as_array().unwrap_or_else(|| panic!("{line:.1000}"));
        let entry = |pair: &Json| (pair[0].as_str().unwrap().to_owned(), pair[1].clone());
        table.iter().map(entry).collect()
    }

    /// The entries that a clone must have after the changes that it has told.
    pub fn watched(&self) -> Option<&Content> {
        (!self.has_master).then_some(&self.watched)
    }
}
