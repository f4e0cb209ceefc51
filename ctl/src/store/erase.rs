//! `zcluster store erase`: removes an entry.

use zcluster::daemon::Failure;

use super::failure::data;
use super::session::{StoreArgs, ask};
use crate::words;

/// The arguments of `zcluster store erase`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
    /// The key.
    #[arg(id = "store_key", value_name = "KEY", allow_negative_numbers = true)]
    key: String,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let key = words::value("KEY", &args.key).map_err(data)?;
    ask(&args.store, |store| store.erase(&key))
}
