//! [`Console`]: prints events, and nodes that come and go, as lines of JSON.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::rc::Rc;

use zcluster::Event;
use zcluster::app::{App, Context, Module, NodeDown, NodeUp, Origin};
use zcluster::daemon::{self, Failure};
use zcluster::readable;

/// What topics of data stores begin with.
const STORES: &[u8] = b"zcluster.store";

/// Standard output, for the app. It ends the app when a line cannot be printed because nobody reads them. A full disk may have
/// room again.
#[derive(Clone, Debug, Default)]
pub(super) struct Printer {
    failed: Rc<RefCell<Option<Failure>>>,
}

impl Printer {
    /// Prints a line.
    pub(super) fn print(&self, line: &str, context: &mut Context<'_>) {
        if let Err(error) = daemon::print_line(&line)
            && error.kind() == ErrorKind::BrokenPipe
        {
            *self.failed.borrow_mut() = Some(daemon::cannot_print(&error));
            context.stop();
        }
    }

    /// Why the app was ended, if it was.
    pub(super) fn take_failure(&self) -> Option<Failure> {
        self.failed.take()
    }
}

/// Prints what its app hears of. Failing to print a status line does not end the app.
#[derive(Debug)]
pub(super) struct Console {
    pub(super) printer: Printer,
    /// What the user has subscribed to.
    pub(super) prefixes: Vec<String>,
}

impl Module for Console {
    fn install(self, app: App) -> App {
        app.on::<NodeUp>(|node, _| {
            print_member("node_up", &node.name, &node.id);
            Ok(())
        })
        .on::<NodeDown>(|node, _| {
            print_member("node_down", &node.name, &node.id);
            Ok(())
        })
        .on_any(move |event, context| {
            self.print(event, context);
            Ok(())
        })
    }
}

impl Console {
    fn print(&self, event: &Event, context: &mut Context<'_>) {
        // What was raised here is no news.
        let Some(Origin { topic, sender }) = context.origin() else { return };
        let is_wanted = |prefix: &String| topic.starts_with(prefix.as_bytes());
        // The stores of this process talk all the time.
        if topic.starts_with(STORES) && !self.prefixes.iter().any(is_wanted) {
            return;
        }
        let line = readable::event_to_json(context.time(), topic.as_ref(), sender.as_ref(), event);
        self.printer.print(&line, context);
    }
}

fn print_member(what: &str, name: &str, id: &impl std::fmt::Display) {
    // A line that is lost has been reported.
    let _ = daemon::print_line(&daemon::member_line(what, name, id));
}
