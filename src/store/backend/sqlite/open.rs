//! Opens a file: whose it is, that nobody else has it, and how it will be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::options::{FailureMode, Options, number};
use super::records;
use super::refusal::Refusal;

/// "ZCst": what `file` and others recognize a store by.
pub(super) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"ZCst");
/// The format of the tables ([`records::SCHEMA`]).
pub(super) const FORMAT: i32 = 1;

/// How long to wait for another process: one that was killed may still be exiting.
const PATIENCE: Duration = Duration::from_secs(1);
/// KiB of pages in memory, so that changes need not read them first.
const CACHE: i64 = 16 * 1024;
/// Bytes of the log that are kept for reuse after a large batch.
const KEPT_LOG: i64 = 16 * 1024 * 1024;

/// Opens the file, or creates it.
///
/// # Errors
/// If it cannot be used.
pub(super) fn open(
    options: &Options,
    create_dirs_below: Option<&Path>,
) -> Result<Connection, Refusal> {
    // Absolute, so that SQLite takes it for neither a URI nor `:memory:`.
    let path = std::path::absolute(&options.path)?;
    if let Some(base) = create_dirs_below {
        create_dirs(&std::path::absolute(base)?, &path)?;
    }
    create(&path)?;
    let found = identity(&path)?;
    let mut conn = connect(&path)?;
    let locked = lock(&mut conn);
    if identity(&path)? != found {
        return Err(Refusal::new("it was replaced by another file meanwhile"));
    }
    let is_empty = match locked.and_then(|()| examine(&conn, options.integrity_check)) {
        Err(refusal) if refusal.is_content && options.failure_mode == FailureMode::Delete => {
            warn_of_reset(&path, &refusal);
            reset(&conn)?;
            true
        }
        outcome => outcome?,
    };
    configure(&conn, options)?;
    if is_empty {
        fill(&mut conn)?;
    }
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(conn)
}

/// Deletes everything in a database, whatever state it is in, and begins it anew. The file and the lock on it stay: if it
/// were removed, another process that waits for the lock could remove its successor.
///
/// # Errors
/// If it cannot be written.
pub(super) fn begin_anew(
    path: &Path,
    conn: &mut Connection,
    refusal: &Refusal,
) -> Result<(), Refusal> {
    warn_of_reset(path, refusal);
    reset(conn)?;
    fill(conn)
}

fn warn_of_reset(path: &Path, Refusal { why, .. }: &Refusal) {
    log::warn!(
        "store file {}: {why}; deleting its content, because of failure_mode = \"delete\"",
        path.display()
    );
}

fn reset(conn: &Connection) -> Result<(), Refusal> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
    let outcome = conn.execute_batch("VACUUM");
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
    outcome.map_err(|error| Refusal::new(format!("its content cannot be deleted: {error}")))
}

/// Creates the directories between an existing one and the file.
fn create_dirs(base: &Path, path: &Path) -> Result<(), Refusal> {
    let Some(dir) = path.parent().filter(|dir| dir.starts_with(base) && !dir.exists()) else {
        return Ok(());
    };
    let failed = |error| Refusal::new(format!("cannot create {}: {error}", dir.display()));
    if !base.is_dir() {
        return Err(no_directory(base));
    }
    fs::create_dir_all(dir).map_err(failed)?;
    // So that they survive what the file survives.
    for dir in dir.ancestors().take_while(|dir| dir.starts_with(base)) {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    Ok(())
}

fn no_directory(dir: &Path) -> Refusal {
    Refusal::new(format!("the directory {} does not exist", dir.display()))
}

/// Creates the file if it does not exist. SQLite would let others read it.
fn create(path: &Path) -> Result<(), Refusal> {
    /// A file that is closed takes along all locks that the process has on it. So nobody may connect to one that is
    /// about to be closed here.
    static CREATING: Mutex<()> = Mutex::new(());
    let _creating = crate::node::lock(&CREATING);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => match path.parent() {
            Some(dir) if error.kind() == ErrorKind::NotFound && !dir.exists() => {
                Err(no_directory(dir))
            }
            _ => Err(error.into()),
        },
    }
}

/// Which file that path names now, if it is one.
fn identity(path: &Path) -> Result<(u64, u64), Refusal> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::from(ErrorKind::IsADirectory).into());
    }
    if !metadata.is_file() {
        return Err(Refusal::new("it is not a regular file"));
    }
    Ok((metadata.dev(), metadata.ino()))
}

/// Connects to the file. A lock on it, once taken, lasts as long as the connection. Changes nothing in it.
fn connect(path: &Path) -> Result<Connection, Refusal> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(PATIENCE)?;
    // If it turns out to be another application's, its log is left alone.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // Before the first access, so that SQLite's index of the log is in memory, not in a file for several processes.
    set(&conn, "locking_mode", &"exclusive".to_owned())?;
    if conn.is_readonly("main")? {
        return Err(Refusal::new("it cannot be written"));
    }
    Ok(conn)
}

/// Locks the file. A failed attempt may have read the file and found it damaged.
fn lock(conn: &mut Connection) -> Result<(), Refusal> {
    Ok(conn.transaction_with_behavior(TransactionBehavior::Exclusive)?.rollback()?)
}

/// Returns whether there is nothing in it.
///
/// # Errors
/// If there is something that is not ours, or that is damaged.
fn examine(conn: &Connection, integrity_check: bool) -> Result<bool, Refusal> {
    let application: i32 = get(conn, "application_id")?;
    if application != APPLICATION_ID {
        let mut tables = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
        let tables: Vec<String> =
            tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        if application == 0 && tables.is_empty() {
            return Ok(true);
        }
        // Whatever the options say: a wrong path must not cost somebody else's data.
        return Err(Refusal::new(
            if ["meta", "store"].iter().all(|table| tables.iter().any(|name| name == table)) {
                "it is a store of Zeek's Broker, which has another format"
            } else {
                "it is another application's database, not a store"
            },
        ));
    }
    let format: i32 = get(conn, "user_version")?;
    if format > FORMAT {
        return Err(Refusal::content(format!(
            "a newer version has written it: its format is {format}, expected at most {FORMAT}"
        )));
    }
    if format < FORMAT {
        return Err(Refusal::content(format!("it is damaged: there is no format {format}")));
    }
    if integrity_check {
        let found: String = get(conn, "integrity_check(1)")?;
        if found != "ok" {
            let found = found.lines().collect::<Vec<_>>().join(" ");
            return Err(Refusal::content(format!("it is damaged: {found}")));
        }
    }
    Ok(false)
}

/// Writes the tables.
fn fill(conn: &mut Connection) -> Result<(), Refusal> {
    let tx = conn.transaction()?;
    tx.execute_batch(records::SCHEMA)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", FORMAT)?;
    Ok(tx.commit()?)
}

fn configure(conn: &Connection, options: &Options) -> Result<(), Refusal> {
    set(conn, "journal_mode", &options.journal_mode.as_str().to_owned())?;
    set(conn, "synchronous", &number(options.synchronous))?;
    set(conn, "cache_size", &-CACHE)?;
    set(conn, "journal_size_limit", &KEPT_LOG)
}

/// Sets a pragma.
///
/// # Errors
/// If it does not read back, too: SQLite ignores what it cannot do.
fn set<T>(conn: &Connection, pragma: &str, value: &T) -> Result<(), Refusal>
where
    T: rusqlite::ToSql + rusqlite::types::FromSql + PartialEq + std::fmt::Display,
{
    let failed = |what: &dyn std::fmt::Display| {
        Refusal::new(format!("SQLite cannot use {pragma} = {value} here: {what}"))
    };
    // Some return a row, others do not.
    conn.pragma(None, pragma, value, |_| Ok(())).map_err(|error| {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => error.into(),
            _ => failed(&super::refusal::explained(&error)),
        }
    })?;
    let is: T = get(conn, pragma)?;
    if is == *value { Ok(()) } else { Err(failed(&format_args!("it is {is}"))) }
}

fn get<T: rusqlite::types::FromSql>(conn: &Connection, pragma: &str) -> Result<T, Refusal> {
    Ok(conn.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?)
}
