//! `zcluster store`: data stores from the command line.
//!
//! - `session`: a process that takes part in stores, for as long as the command runs.
//! - `failure`: what an error of a store means for a command.
//! - the others: a subcommand each.

mod dump;
mod erase;
mod failure;
mod get;
mod list;
mod put;
mod session;
mod watch;

use clap::Subcommand;
use zcluster::exit::ExitCode;

use crate::client::tell_warnings;
use crate::output::end;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show which stores there are, and which of the layout have no master.
    ///
    /// Asks all masters. Ends once those of all stores in the layout have answered. Exits with 69 if one has not.
    List(list::Args),
    /// Print the values of keys.
    ///
    /// The value of a single key is a line of JSON; of several, those that exist are lines as of `zcluster store dump`. Exits with
    /// 65 if a key does not exist.
    Get(get::Args),
    /// Add an entry, or replace the one of that key.
    Put(put::Args),
    /// Remove an entry, if it is there.
    Erase(erase::Args),
    /// Print all entries, as lines of JSON in the order of their keys.
    ///
    /// A line has key, value and, for an entry that expires, the time as `expires` and the time after its last change as
    /// `lifetime`. The lines are the content of the store at one moment.
    Dump(dump::Args),
    /// Print changes as lines of JSON, until Ctrl-C.
    ///
    /// Prints `watching …` on standard error once every later change arrives. The lines are those of a `zcluster-node` that
    /// watches. Changes while the connection to the broker is down do not arrive.
    Watch(watch::Args),
}

/// Runs the subcommand. Prints a failure on stderr: a key that does not exist, or a key or value that is not what it should be
/// (65), no broker, no master, or no answer in time (69), output or a file of a store that cannot be written (74), a wrong layout
/// or key for the connection (78).
pub fn run(command: &Command) -> ExitCode {
    tell_warnings();
    end(match command {
        Command::List(args) => list::run(args),
        Command::Get(args) => get::run(args),
        Command::Put(args) => put::run(args),
        Command::Erase(args) => erase::run(args),
        Command::Dump(args) => dump::run(args),
        Command::Watch(args) => watch::run(args),
    })
}
