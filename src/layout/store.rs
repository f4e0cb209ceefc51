//! `[stores.NAME]`: the options of a data store, Zeek's `Cluster::StoreInfo` and `Broker::SQLiteOptions`, and the names that
//! stores can have (docs/stores.md).

use std::path::PathBuf;
use std::time::Duration;

use super::Layout;
use super::options::MIB;
use super::setting::{Raw, Scalar, toml_string};
use super::table::table;
use super::words::{names, one_of, words};
use crate::value::Timespan;

names! {
    /// Where the master of a store keeps its content, `Broker::BackendType` of Zeek.
    pub enum StoreBackend {
        /// In its memory: the content ends with the master.
        #[default]
        Memory = "memory",
        /// In a file as well.
        Sqlite = "sqlite",
    }
}

impl StoreBackend {
    /// The name of the enum value in Zeek script.
    pub const fn zeek_name(self) -> &'static str {
        match self {
            StoreBackend::Memory => "Broker::MEMORY",
            StoreBackend::Sqlite => "Broker::SQLITE",
        }
    }
}

/// Files may also use Zeek's names.
impl Scalar for StoreBackend {
    fn expected() -> String {
        one_of(StoreBackend::ALL)
    }
    fn parse(raw: &Raw<'_>) -> Option<Self> {
        let (Raw::Text(text) | Raw::Word(text)) = raw else { return None };
        let all = StoreBackend::ALL.iter().copied();
        all.into_iter().find(|word| *text == word.as_str() || *text == word.zeek_name())
    }
    fn toml(&self) -> String {
        toml_string(self.as_str())
    }
    fn zeek(&self) -> String {
        self.zeek_name().into()
    }
}

words! {
    /// When SQLite waits for the disk, `Broker::SQLiteSynchronous` of Zeek: what survives a power cut.
    pub enum SqliteSynchronous {
        /// Never.
        Off = "off",
        /// Often enough that the file stays intact; the last changes may be lost.
        #[default]
        Normal = "normal",
        /// At each change.
        Full = "full",
        /// At each change, and for the directory as well.
        Extra = "extra",
    }
}

words! {
    /// How SQLite makes a change whole, `Broker::SQLiteJournalMode` of Zeek.
    pub enum SqliteJournalMode {
        /// By a file that it deletes afterwards.
        Delete = "delete",
        /// By a write-ahead log.
        #[default]
        Wal = "wal",
    }
}

words! {
    /// What happens if the file cannot be opened, or is damaged: `Broker::SQLiteFailureMode` of Zeek.
    pub enum SqliteFailureMode {
        /// There is no master.
        #[default]
        Fail = "fail",
        /// The file is deleted, with its content, and the master starts with an empty one.
        Delete = "delete",
    }
}

table! {
    /// `[stores.NAME]`: a data store, under Zeek's names. All nodes need the same sections. Programs open stores, so a store needs
    /// no section, only one whose options are not the defaults. Read it through [`Layout::store`].
    pub struct Store {
        /// Name of the node that has the master; empty means `default_master_node`. Read it through
        /// [`Layout::store_master`].
        master_node: String = String::new(),
        /// Where the content is; unset means what the program asks for. Read it through
        /// [`Layout::store_backend`].
        backend: Option<StoreBackend> = None,
        /// The file of SQLite, relative to the working directory of the master's process; unset means `NAME.sqlite` in
        /// `default_store_dir`. Read it through [`Layout::store_path`].
        path: Option<PathBuf> = None,
        /// When SQLite waits for the disk.
        synchronous: SqliteSynchronous = SqliteSynchronous::Normal,
        /// How SQLite makes a change whole.
        journal_mode: SqliteJournalMode = SqliteJournalMode::Wal,
        /// What happens if the file cannot be opened, or is damaged.
        failure_mode: SqliteFailureMode = SqliteFailureMode::Fail,
        /// Whether the master first reads all of the file to see whether it is damaged.
        integrity_check: bool = false,
        /// How often a clone without a master looks for one; at least 100 ms.
        clone_resync_interval: Duration = Duration::from_secs(10),
        /// How long a clone without a master answers queries; below 0 means forever. Read it through
        /// [`Store::stale_after`].
        clone_stale_interval: Timespan = Timespan(300 * NANOS),
        /// How long a clone without a master keeps changes for it; 0 or less means not at all. Read it through
        /// [`Store::buffers_for`].
        clone_mutation_buffer_interval: Timespan = Timespan(120 * NANOS),
        /// The largest encoded size of a key and its value together, 1 KiB to 16 MiB.
        max_value_size: u64 = MIB,
    }
}

/// Per second.
const NANOS: i64 = 1_000_000_000;

impl Store {
    /// How long a clone without a master answers queries; `None` means forever.
    pub fn stale_after(&self) -> Option<Duration> {
        u64::try_from(self.clone_stale_interval.0).ok().map(Duration::from_nanos)
    }

    /// How long a clone without a master keeps changes for it; 0 means not at all.
    pub fn buffers_for(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.clone_mutation_buffer_interval.0).unwrap_or(0))
    }
}

impl Layout {
    /// The options of the store of that name: its section, or the defaults.
    pub fn store(&self, name: &str) -> Store {
        self.stores.get(name).cloned().unwrap_or_default()
    }

    /// The name of the node that has the master of that store: that of its section, or `default_master_node`, or the manager.
    /// `None` if there is none of these.
    pub fn store_master(&self, name: &str) -> Option<&str> {
        let own = self.stores.get(name).map_or("", |store| &store.master_node);
        let set =
            [own, &self.cluster.default_master_node].into_iter().find(|node| !node.is_empty());
        set.or_else(|| self.manager().map(|(name, _)| name))
    }

    /// The file of that store, if its backend has one. A relative path is resolved from the working directory.
    pub fn store_path(&self, name: &str) -> PathBuf {
        let own = self.stores.get(name).and_then(|store| store.path.clone());
        own.unwrap_or_else(|| {
            let dir = self.cluster.default_store_dir.clone().unwrap_or_default();
            dir.join(format!("{name}.sqlite"))
        })
    }

    /// The backend of that store: that of its section, or the default one for programs that ask for a `persistent` store or not.
    pub fn store_backend(&self, name: &str, persistent: bool) -> StoreBackend {
        let by_default = if persistent {
            self.cluster.default_persistent_backend
        } else {
            self.cluster.default_backend
        };
        self.stores.get(name).and_then(|store| store.backend).unwrap_or(by_default)
    }
}

/// Why a text cannot be the name of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store name {shown} {problem}; expected 1 to {MAX_STORE_NAME} printable ASCII characters without spaces and `\\`, such as \"zeek/known/hosts\""
)]
pub struct StoreNameError {
    /// The name in quotes, or its beginning.
    shown: String,
    problem: &'static str,
}

/// Bytes of the name of a store: what fits the name of a file, with an extension.
const MAX_STORE_NAME: usize = 200;

/// Checks the name of a store, which becomes part of topics and of the path of a file: 1 to 200 bytes of printable ASCII without
/// spaces and `\`. Its parts between `/` are not empty, `.` or `..`.
///
/// ```
/// use zcluster::layout::check_store_name;
/// assert!(check_store_name("zeek/known/hosts").is_ok());
/// assert!(check_store_name("../hosts").is_err());
/// ```
///
/// # Errors
/// What is wrong with it, and what was expected; one line.
pub fn check_store_name(name: &str) -> Result<(), StoreNameError> {
    let mut parts = name.split('/');
    let problem = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_STORE_NAME {
        "is longer than 200 bytes"
    } else if name.contains(' ') {
        "contains a space"
    } else if name.contains('\\') {
        "contains `\\`"
    } else if !name.bytes().all(|b| b.is_ascii_graphic()) {
        "contains a character that is not printable ASCII"
    } else if name.starts_with('/') {
        "starts with `/`"
    } else if parts.clone().any(str::is_empty) {
        "has an empty part between or after `/`"
    } else if parts.any(|part| matches!(part, "." | "..")) {
        "has `.` or `..` as a part"
    } else {
        return Ok(());
    };
    let shown = match name.char_indices().nth(60) {
        Some((end, _)) => format!("{:?}…", &name[..end]),
        None => format!("{name:?}"),
    };
    Err(StoreNameError { shown, problem })
}
