//! `zcluster store dump`: all entries.

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use zcluster::Value;
use zcluster::app::App;
use zcluster::daemon::{self, Failure, cannot_print};
use zcluster::peers::ErrorCode;
use zcluster::store::{Entry, Stores};

use super::failure::failure;
use super::session::{Session, Slot, StoreArgs, every};

/// How long a master may take to send everything.
const LONGEST: Duration = Duration::from_secs(3_600);
/// About how many bytes are written at once.
const PIECE: usize = 64 << 10;

/// The arguments of `zcluster store dump`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    // Nobody waits for whoever reads them.
    let mut entries = fetch(&args.store)?;
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let mut text = String::new();
    let last = entries.len();
    for (number, entry) in (1..).zip(entries) {
        text.push_str(&entry.to_json());
        text.push('\n');
        if text.len() < PIECE && number < last {
            continue;
        }
        match daemon::print_text(&text) {
            // As in `… | head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| cannot_print(&error))?,
        }
        text.clear();
    }
    Ok(())
}

/// The content of the store.
fn fetch(args: &StoreArgs) -> Result<Vec<Entry<Value, Value>>, Failure> {
    let session = Session::open(&args.client, args.client.layout()?, args.timeout)?;
    let stores = Stores::new(&session.node);
    let failed = |error| failure(&args.name, error, args.timeout);
    let store = stores.create_clone::<Value, Value>(&args.name).map_err(failed)?;
    let found = Slot::default();
    let (result, content) = (Rc::clone(&found), store.clone());
    // It is answered once everything is here.
    store.size().timeout(LONGEST).then(move |answer, context| {
        let entries = answer.and_then(|_| content.local_entries());
        // Its end is no news if there was no master.
        result.borrow_mut().get_or_insert(entries);
        context.stop();
        Ok(())
    });
    let (result, timeout) = (Rc::clone(&found), args.timeout);
    let app = App::new().with(stores).on_event("zeek_init", move |_, context| {
        let (result, store) = (Rc::clone(&result), store.clone());
        every(timeout, context, move |context| {
            let is_there = store.is_master_there();
            if !is_there {
                *result.borrow_mut() = Some(Err(ErrorCode::NoSuchMaster.into()));
                context.stop();
            }
            is_there
        });
        Ok(())
    });
    session.run(app, &found)?.map_err(failed)
}
