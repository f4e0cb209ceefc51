//! [`History`]: what processes have asked of a store and what they were told, and whether the content
//! agrees with it. It begins with keys that nobody has used.
//!
//! Whoever was killed has commands without an answer: those may have been made, or not.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};

/// The content of a store: values by the text of their keys.
pub type Content = BTreeMap<String, Json>;

/// What is done with a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Adds a power of four to a count that nobody else adds: what is added twice shows as its double.
    Count(u64),
    /// Appends a token, which nobody else appends, to a text.
    Append(String),
    /// Puts a value that nobody else puts.
    Put {
        value: u64,
        expires: Option<&'static str>,
    },
    /// The same, if the key does not exist.
    PutUnique(u64),
    Erase,
    /// Inserts an element that nobody else does.
    Insert(u64),
    /// Adds an element, which nobody else adds, to the end of a vector.
    Push(u64),
    /// Takes the element at its beginning.
    Pop,
    /// Reads a count or a text.
    Get,
}

/// When an entry expires that is not to be there at the end.
pub const SOON: &str = "700ms";

impl Action {
    /// The operation as members of a line.
    pub fn members(&self, key: &str) -> Json {
        match self {
            Action::Count(amount) => json!({ "increment": [key, amount] }),
            Action::Append(token) => json!({ "append": [key, token] }),
            Action::Put { value, expires: None } => json!({ "put": [key, value] }),
            Action::Put { value, expires } => json!({ "put": [key, value], "expires": expires }),
            Action::PutUnique(value) => json!({ "put_unique": [key, value] }),
            Action::Erase => json!({ "erase": [key] }),
            Action::Insert(element) => json!({ "insert_into_set": [key, element] }),
            Action::Push(element) => json!({ "push": [key, element] }),
            Action::Pop => json!({ "pop_left": [key] }),
            Action::Get => json!({ "get": [key] }),
        }
    }
}

/// A command.
#[derive(Debug)]
pub struct Asked {
    /// Which process has asked, of all that there have been.
    life: u64,
    /// Whether that has the master.
    is_master: bool,
    key: String,
    action: Action,
    /// When it was asked, and answered: moments of the history.
    begin: u64,
    end: Option<u64>,
    /// The line that came back.
    answer: Json,
}

/// What is known of a change.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Made,
    NotMade,
    Unknown,
}

impl Asked {
    fn fate(&self) -> Fate {
        if self.end.is_none() {
            return Fate::Unknown;
        }
        match self.answer["error"].as_str() {
            None => Fate::Made,
            Some("REQUEST_TIMEOUT") => Fate::Unknown,
            Some("NO_SUCH_MASTER" | "BACKEND_FAILURE") => Fate::NotMade,
            // There is nothing yet.
            Some("NO_SUCH_KEY") if matches!(self.action, Action::Pop | Action::Get) => {
                Fate::NotMade
            }
            Some(_) => panic!("{self:?}"),
        }
    }

    /// Whether it was answered before something else was asked.
    fn is_before(&self, other: &Asked) -> bool {
        self.end.is_some_and(|at| at < other.begin)
    }
}

/// What was asked, in the order in which it was.
#[derive(Debug, Default)]
pub struct History {
    asked: Vec<Asked>,
    moment: u64,
}

impl History {
    /// Something is asked; returns its number.
    pub fn ask(&mut self, life: u64, is_master: bool, key: &str, action: Action) -> usize {
        self.moment += 1;
        let (key, begin) = (key.to_owned(), self.moment);
        let answer = Json::Null;
        self.asked.push(Asked { life, is_master, key, action, begin, end: None, answer });
        self.asked.len() - 1
    }

    /// The command of that number is answered. Returns what should be read now: it must show the change.
    pub fn answer(&mut self, number: usize, answer: Json) -> Option<(String, Action)> {
        self.moment += 1;
        let asked = &mut self.asked[number];
        assert_eq!(asked.end, None, "answered twice: {asked:?}, {answer}");
        asked.end = Some(self.moment);
        asked.answer = answer;
        let is_shown = matches!(asked.action, Action::Count(_) | Action::Append(_));
        (is_shown && asked.fate() == Fate::Made).then(|| (asked.key.clone(), Action::Get))
    }

    /// How many commands there were, and how many of them were answered with success.
    pub fn figures(&self) -> (usize, usize) {
        let made = self.asked.iter().filter(|asked| asked.fate() == Fate::Made);
        (self.asked.len(), made.count())
    }

    /// Whether what expires soon is gone.
    pub fn is_expired(&self, content: &Content) -> bool {
        self.asked.iter().all(|asked| match asked.action {
            Action::Put { value, expires: Some(SOON) } => {
                content.get(&asked.key) != Some(&json!(value))
            }
            _ => true,
        })
    }

    /// Checks everything against what the store has in the end.
    pub fn check(&self, content: &Content) {
        let mut by_key = BTreeMap::<&str, Vec<&Asked>>::new();
        for asked in &self.asked {
            by_key.entry(&asked.key).or_default().push(asked);
        }
        for (key, asked) in by_key {
            let value = content.get(key).unwrap_or(&Json::Null);
            match key.split('/').nth(1).unwrap() {
                "count" => check_count(&asked, value),
                "text" => check_text(&asked, value),
                "own" => check_own(&asked, value),
                "shared" => check_last(&asked, value),
                "unique" => check_unique(&asked, value),
                "set" => check_set(&asked, value),
                "queue" => check_queue(&asked, value),
                other => panic!("{other}"),
            }
        }
    }
}

/// What was made is there, and nothing that was not made.
fn check_there(asked: &Asked, is_there: bool) {
    match asked.fate() {
        Fate::Made => assert!(is_there, "lost: {asked:?}"),
        Fate::NotMade => assert!(!is_there, "failed, and was made: {asked:?}"),
        Fate::Unknown => {}
    }
}

/// Every read that was answered, and the changes that it must show: those that were answered before to the same process, or,
/// where the master is, to anybody.
fn reads<'a>(asked: &'a [&Asked]) -> impl Iterator<Item = (&'a Asked, Vec<&'a Asked>)> {
    let reads = asked.iter().filter(|read| read.action == Action::Get);
    let reads = reads.filter(|read| {
        let error = read.answer["error"].as_str();
        read.end.is_some() && error.is_none_or(|error| error == "NO_SUCH_KEY")
    });
    reads.map(|read| {
        let shown = asked.iter().filter(|change| {
            let is_own = change.life == read.life || read.is_master;
            let is_change = change.action != Action::Get && change.fate() == Fate::Made;
            is_own && is_change && change.is_before(read)
        });
        (*read, shown.copied().collect())
    })
}

fn check_count(asked: &[&Asked], value: &Json) {
    let value = value.as_u64().unwrap_or(0);
    let counts = asked.iter().filter_map(|asked| match asked.action {
        Action::Count(bit) => Some((asked, bit)),
        _ => None,
    });
    let all = counts.clone().fold(0, |all, (_, bit)| all | bit);
    assert_eq!(value & !all, 0, "counted twice: {value:b} of {all:b}: {asked:#?}");
    for (asked, bit) in counts {
        check_there(asked, value & bit != 0);
    }
    let mut last = BTreeMap::new();
    for (read, shown) in reads(asked) {
        let seen = read.answer["result"].as_u64().unwrap_or(0);
        assert_eq!(seen & !value, 0, "seen before it was sure: {read:?}, in the end {value:b}");
        for change in shown {
            let Action::Count(bit) = change.action else { continue };
            assert!(seen & bit != 0, "{read:?} does not show {change:?}");
        }
        let before = last.insert(read.life, seen).unwrap_or(0);
        assert_eq!(before & !seen, 0, "went back from {before:b}: {read:?}");
    }
}

fn check_text(asked: &[&Asked], value: &Json) {
    let text = value.as_str().unwrap_or_default();
    let tokens: Vec<&str> = text.split_inclusive(' ').collect();
    let mut expected = BTreeMap::new();
    for (at, asked) in asked.iter().enumerate() {
        let Action::Append(token) = &asked.action else { continue };
        check_there(asked, tokens.contains(&token.as_str()));
        expected.insert(token.as_str(), (asked.life, at));
    }
    let mut last = BTreeMap::new();
    for token in &tokens {
        let (life, at) =
            expected.remove(token).unwrap_or_else(|| panic!("{token:?} twice: {text}"));
        let before = last.insert(life, at);
        assert!(before < Some(at), "{token:?} is not in the order of its process: {text}");
    }
    let mut last = BTreeMap::new();
    for (read, shown) in reads(asked) {
        let seen = read.answer["result"].as_str().unwrap_or_default();
        assert!(text.starts_with(seen), "{read:?} is not a beginning of {text}");
        for change in shown {
            if let Action::Append(token) = &change.action {
                let is_shown = seen.split_inclusive(' ').any(|one| one == token);
                assert!(is_shown, "{read:?} does not show {change:?}");
            }
        }
        let before = last.insert(read.life, seen.len()).unwrap_or(0);
        assert!(before <= seen.len(), "went back from {before} bytes: {read:?}");
    }
}

/// What a key has in the end, if this was its last change; `None` if that cannot be.
fn leaves(asked: &Asked) -> Option<Json> {
    match (asked.fate(), &asked.action) {
        (Fate::NotMade, _) => None,
        (Fate::Made, Action::PutUnique(_)) if asked.answer["result"] == false => None,
        (_, Action::Erase | Action::Put { expires: Some(SOON), .. }) => Some(Json::Null),
        (_, Action::Put { value, .. } | Action::PutUnique(value)) => Some(json!(value)),
        (_, other) => panic!("{other:?}"),
    }
}

/// It was left by one of these changes; or by none, if none was made for sure.
fn check_last(candidates: &[&Asked], value: &Json) {
    let is_left = candidates.iter().any(|asked| leaves(asked).as_ref() == Some(value));
    let is_untouched = candidates.iter().all(|asked| asked.fate() != Fate::Made);
    assert!(is_left || (is_untouched && value.is_null()), "{value} after {candidates:#?}");
}

/// Only one process changes it: that one of its changes was the last that was made, or any after that.
fn check_own(asked: &[&Asked], value: &Json) {
    let made = asked.iter().rposition(|asked| asked.fate() == Fate::Made);
    check_last(&asked[made.unwrap_or(0)..], value);
}

/// Nobody erases these.
fn check_unique(asked: &[&Asked], value: &Json) {
    let mut winners = 0;
    let mut is_possible = value.is_null();
    for asked in asked {
        let Action::PutUnique(put) = asked.action else { panic!("{asked:?}") };
        let is_there = *value == json!(put);
        match (asked.fate(), &asked.answer["result"]) {
            (Fate::Made, Json::Bool(true)) => {
                winners += 1;
                assert!(is_there, "{value} after {asked:?}");
            }
            (Fate::Made, _) => assert!(!is_there && !value.is_null(), "{value} after {asked:?}"),
            (Fate::NotMade, _) => assert!(!is_there, "{value} after {asked:?}"),
            (Fate::Unknown, _) => {}
        }
        is_possible |= is_there;
    }
    assert!(winners <= 1 && is_possible, "{value} after {asked:#?}");
}

fn check_set(asked: &[&Asked], value: &Json) {
    let set = value["set"].as_array().cloned().unwrap_or_default();
    let mut all = BTreeSet::new();
    for asked in asked {
        let Action::Insert(element) = asked.action else { panic!("{asked:?}") };
        check_there(asked, set.contains(&json!(element)));
        all.insert(element);
    }
    assert!(set.iter().all(|element| all.contains(&element.as_u64().unwrap())), "{set:?}");
}

/// What was pushed is there, or one has got it. What is missing was taken by somebody who was not told.
fn check_queue(asked: &[&Asked], value: &Json) {
    let left = value.as_array().cloned().unwrap_or_default();
    let left: Vec<u64> = left.iter().map(|element| element.as_u64().unwrap()).collect();
    let (mut taken, mut untold) = (BTreeSet::new(), 0);
    for pop in asked.iter().filter(|asked| asked.action == Action::Pop) {
        match pop.fate() {
            Fate::Made => {
                let Some(element) = pop.answer["result"].as_u64() else { continue };
                assert!(taken.insert(element) && !left.contains(&element), "twice: {pop:?}");
            }
            Fate::NotMade => {}
            Fate::Unknown => untold += 1,
        }
    }
    let mut pushed = BTreeMap::new();
    let mut missing = Vec::new();
    for (at, push) in asked.iter().enumerate() {
        let Action::Push(element) = push.action else { continue };
        pushed.insert(element, (push.life, at));
        let is_there = left.contains(&element) || taken.contains(&element);
        if push.fate() == Fate::Made && !is_there {
            missing.push(push);
        } else {
            check_there(push, is_there);
        }
    }
    assert!(missing.len() <= untold, "{untold} pops were not answered, and lost: {missing:#?}");
    for element in &taken {
        assert!(pushed.contains_key(element), "{element} was never pushed");
    }
    let mut last = BTreeMap::new();
    for element in left {
        // What is there twice is not in order, either.
        let (life, at) = pushed[&element];
        let before = last.insert(life, at);
        assert!(before < Some(at), "{element} is not in the order of its process: {value}");
    }
}
