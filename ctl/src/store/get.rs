//! `zcluster store get`: the values of keys.

use zcluster::Value;
use zcluster::daemon::Failure;
use zcluster::peers::ErrorCode;
use zcluster::readable::{Numbers, write_value};
use zcluster::store::{Entry, StoreError};

use super::failure::{data, failure};
use super::session::{StoreArgs, ask};
use crate::output::print;
use crate::words;

/// The arguments of `zcluster store get`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// The keys.
    #[arg(value_name = "KEY", required = true, allow_negative_numbers = true)]
    keys: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let keys = args.keys.iter().map(|key| words::value("KEY", key).map_err(data));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    // One query: all values are of the same moment.
    let mut found = ask(&args.store, |store| store.lookup(&keys))?;
    let is_single = keys.len() == 1;
    let (mut text, mut missing) = (String::new(), Vec::new());
    for key in keys {
        match found.remove(&key) {
            None => missing.push(shown(&key)),
            Some(value) if is_single => {
                write_value(&value, Numbers::Exact, &mut text);
                text.push('\n');
            }
            Some(value) => {
                text.push_str(&Entry { key, value, expiry: None }.to_json());
                text.push('\n');
            }
        }
    }
    print(&text)?;
    if missing.is_empty() {
        return Ok(());
    }
    let error = StoreError::new(ErrorCode::NoSuchKey, missing.join(", "));
    Err(failure(&args.store.name, error, args.store.timeout))
}

fn shown(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, Numbers::Exact, &mut text);
    text
}
