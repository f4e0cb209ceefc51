//! [`Record`]s as rows.

use rusqlite::{Connection, Result, Row, Transaction, params};

use super::super::{ClientId, Record};
use crate::store::{Expiry, limits};
use crate::value::{Timespan, Timestamp};

/// Clients that are kept, and their answers.
pub(super) const MAX_CLIENTS: u64 = limits::MAX_CLIENTS as u64;
/// When there are more, so many go at once.
const CLIENTS_AT_ONCE: u64 = 1_000;
/// How long a silent client is kept, in nanoseconds.
pub(super) const KEPT: i64 = 24 * 60 * 60 * 1_000_000_000;

/// Entries and answers have rowids: without, a row beyond 1 KB would take a page of its own, or more.
///
/// Numbers of more than 63 bits are negative here: SQLite's integers have a sign.
pub(super) const SCHEMA: &str = "
    CREATE TABLE entries (
        key BLOB NOT NULL PRIMARY KEY,
        value BLOB NOT NULL,
        expires INTEGER,
        lifetime INTEGER
    );
    CREATE TABLE master (
        id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
        epoch INTEGER NOT NULL
    );
    CREATE TABLE clients (
        process BLOB NOT NULL,
        number INTEGER NOT NULL,
        next INTEGER NOT NULL,
        oldest INTEGER NOT NULL,
        last_use INTEGER NOT NULL,
        PRIMARY KEY (process, number)
    ) WITHOUT ROWID;
    CREATE TABLE answers (
        process BLOB NOT NULL,
        number INTEGER NOT NULL,
        id INTEGER NOT NULL,
        answer BLOB NOT NULL,
        PRIMARY KEY (process, number, id)
    );
";

const PUT: &str = "
    INSERT INTO entries (key, value, expires, lifetime) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE
    SET value = excluded.value, expires = excluded.expires, lifetime = excluded.lifetime";
const ERASE: &str = "DELETE FROM entries WHERE key = ?1";
/// Without a condition: so SQLite drops whole pages.
const CLEAR: &str = "DELETE FROM entries";
const EPOCH: &str = "INSERT OR REPLACE INTO master (id, epoch) VALUES (1, ?1)";
const CHANGE_CLIENT: &str = "
    UPDATE clients SET next = ?3, oldest = ?4, last_use = ?5 WHERE process = ?1 AND number = ?2";
const ADD_CLIENT: &str = "
    INSERT INTO clients (process, number, next, oldest, last_use) VALUES (?1, ?2, ?3, ?4, ?5)";
const FORGET_ANSWERS: &str = "
    DELETE FROM answers WHERE process = ?1 AND number = ?2 AND id >= ?3 AND id < ?4";
/// Those below 2^63, if `oldest` is beyond.
const FORGET_LOW_ANSWERS: &str = "
    DELETE FROM answers WHERE process = ?1 AND number = ?2 AND id >= 0";
const ANSWER: &str = "
    INSERT INTO answers (process, number, id, answer) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT DO UPDATE SET answer = excluded.answer";
const FORGET_SILENT: &str = "DELETE FROM clients WHERE last_use < ?1";
const FORGET_MOST_SILENT: &str = "
    DELETE FROM clients WHERE (process, number) IN
    (SELECT process, number FROM clients ORDER BY last_use LIMIT ?1)";
const FORGET_ORPHANS: &str = "
    DELETE FROM answers WHERE NOT EXISTS
    (SELECT 1 FROM clients WHERE process = answers.process AND number = answers.number)";

/// Returns all records: the epoch, then entries, clients, and answers.
///
/// # Errors
/// If SQLite fails, or something in the file is of another type than ours.
pub(super) fn read(conn: &Connection, each: &mut dyn FnMut(Record)) -> Result<()> {
    let mut rows = |sql: &str, record: fn(&Row<'_>) -> Result<Record>| {
        let mut statement = conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(record(row)?);
        }
        Ok(())
    };
    rows("SELECT epoch FROM master", |row| Ok(Record::Epoch(unsigned(row, 0)?)))?;
    rows("SELECT key, value, expires, lifetime FROM entries", |row| {
        let lifetime = row.get::<_, Option<i64>>(3)?.map(Timespan);
        let expires = row.get::<_, Option<i64>>(2)?.map(Timestamp);
        Ok(Record::Put {
            key: row.get(0)?,
            value: row.get(1)?,
            expiry: expires.map(|expires| Expiry { expires, lifetime }),
        })
    })?;
    rows("SELECT process, number, next, oldest FROM clients", |row| {
        Ok(Record::Client {
            client: client(row)?,
            next: unsigned(row, 2)?,
            oldest: unsigned(row, 3)?,
        })
    })?;
    rows("SELECT process, number, id, answer FROM answers", |row| {
        Ok(Record::Answer { client: client(row)?, id: unsigned(row, 2)?, answer: row.get(3)? })
    })
}

fn client(row: &Row<'_>) -> Result<ClientId> {
    let process: Vec<u8> = row.get(0)?;
    Ok(ClientId { process: process.into(), number: unsigned(row, 1)? })
}

fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

/// Removes the clients that have been silent for a day, and answers to clients that are not there. Returns how many
/// clients remain.
///
/// # Errors
/// If SQLite fails.
pub(super) fn forget_silent(tx: &Transaction<'_>, now: Timestamp) -> Result<u64> {
    tx.execute(FORGET_SILENT, [now.0.saturating_sub(KEPT)])?;
    tx.execute(FORGET_ORPHANS, [])?;
    let clients = tx.query_row("SELECT count(*) FROM clients", [], |row| unsigned(row, 0))?;
    limit_clients(tx, clients)
}

/// Removes those that have been silent the longest, if there are too many. Returns how many remain.
///
/// # Errors
/// If SQLite fails.
pub(super) fn limit_clients(tx: &Transaction<'_>, clients: u64) -> Result<u64> {
    if clients <= MAX_CLIENTS {
        return Ok(clients);
    }
    let remain = MAX_CLIENTS - CLIENTS_AT_ONCE;
    tx.execute(FORGET_MOST_SILENT, [(clients - remain).cast_signed()])?;
    tx.execute(FORGET_ORPHANS, [])?;
    Ok(remain)
}

/// Writes records. Returns how many clients are new.
///
/// # Errors
/// If SQLite fails.
pub(super) fn write(tx: &Transaction<'_>, batch: Vec<Record>, now: Timestamp) -> Result<u64> {
    let mut new_clients = 0;
    for record in batch {
        match record {
            Record::Put { key, value, expiry } => {
                let expires = expiry.map(|expiry| expiry.expires.0);
                let lifetime = expiry.and_then(|expiry| expiry.lifetime).map(|span| span.0);
                tx.prepare_cached(PUT)?.execute(params![key, value, expires, lifetime])?;
            }
            Record::Erase { key } => {
                tx.prepare_cached(ERASE)?.execute([key])?;
            }
            Record::Clear => {
                tx.prepare_cached(CLEAR)?.execute([])?;
            }
            Record::Epoch(epoch) => {
                tx.prepare_cached(EPOCH)?.execute([epoch.cast_signed()])?;
            }
            Record::Client { client, next, oldest } => {
                new_clients += u64::from(write_client(tx, &client, next, oldest, now)?);
            }
            Record::Answer { client: ClientId { process, number }, id, answer } => {
                let (number, id) = (number.cast_signed(), id.cast_signed());
                tx.prepare_cached(ANSWER)?.execute(params![&process[..], number, id, answer])?;
            }
        }
    }
    Ok(new_clients)
}

/// Returns whether it is new.
fn write_client(
    tx: &Transaction<'_>,
    ClientId { process, number }: &ClientId,
    next: u64,
    oldest: u64,
    now: Timestamp,
) -> Result<bool> {
    let (process, number, oldest) = (&process[..], number.cast_signed(), oldest.cast_signed());
    let client = params![process, number, next.cast_signed(), oldest, now.0];
    let is_new = tx.prepare_cached(CHANGE_CLIENT)?.execute(client)? == 0;
    if is_new {
        tx.prepare_cached(ADD_CLIENT)?.execute(client)?;
    }
    let lowest = if oldest < 0 { i64::MIN } else { 0 };
    tx.prepare_cached(FORGET_ANSWERS)?.execute(params![process, number, lowest, oldest])?;
    if oldest < 0 {
        tx.prepare_cached(FORGET_LOW_ANSWERS)?.execute(params![process, number])?;
    }
    Ok(is_new)
}
