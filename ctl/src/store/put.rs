//! `zcluster store put`: adds or replaces an entry.

use std::time::Duration;

use zcluster::daemon::Failure;
use zcluster::exit::ExitCode;
use zcluster::store::Expiry;
use zcluster::value::Timestamp;

use super::failure::data;
use super::session::{StoreArgs, ask};
use crate::client::duration;
use crate::words;

/// The arguments of `zcluster store put`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// The key.
    #[arg(id = "store_key", value_name = "KEY", allow_negative_numbers = true)]
    key: String,
    /// The value.
    #[arg(value_name = "VALUE", allow_negative_numbers = true)]
    value: String,
    /// The entry expires after this time without a further change: in seconds, or with a unit.
    #[arg(long, value_name = "DURATION", value_parser = lifetime, conflicts_with = "expires_at")]
    expires: Option<Duration>,
    /// The entry expires at this time, for example 2026-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    expires_at: Option<Timestamp>,
    /// Change nothing if the key exists, and exit with 65.
    #[arg(long)]
    unique: bool,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("expected a time above 0".into()),
        lifetime => Ok(lifetime),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "expected a time as in 2026-01-01T00:00:00Z".into())
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = words::value("KEY", &args.key).map_err(data)?;
    let value = words::value("VALUE", &args.value).map_err(data)?;
    let expiry = args.expires.map(Expiry::after).or(args.expires_at.map(Expiry::at));
    if !args.unique {
        return ask(&args.store, |store| store.put(&key, &value).expires(expiry));
    }
    let was_added = ask(&args.store, |store| store.put_unique(&key, &value).expires(expiry))?;
    if was_added {
        return Ok(());
    }
    let text = format!("store {:?}: the key exists, and nothing has changed", args.store.name);
    Err(Failure::new(ExitCode::Data, text))
}
