//! [`Console`]: prints events, and nodes that come and go, as lines of JSON.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::rc::Rc;

use zcluster::Event;
use zcluster::app::{App, Context, Module, NodeDown, NodeUp, Origin};
use zcluster::daemon::{self, Failure};
use zcluster::readable;

/// Why the console has ended the app, if it has.
pub(super) type Ended = Rc<RefCell<Option<Failure>>>;

/// Prints what its app hears of. It ends the app when an event cannot be printed because standard
/// output is closed. Failing to print a status line does not, and a full disk may have room again.
#[derive(Debug, Default)]
pub(super) struct Console {
    pub(super) ended: Ended,
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
        let line = readable::event_to_json(context.time(), topic.as_ref(), sender.as_ref(), event);
        if let Err(error) = daemon::print_line(&line)
            && error.kind() == ErrorKind::BrokenPipe
        {
            self.end(&error, context);
        }
    }

    fn end(&self, error: &io::Error, context: &mut Context<'_>) {
        *self.ended.borrow_mut() = Some(daemon::cannot_print(error));
        context.stop();
    }
}

fn print_member(what: &str, name: &str, id: &impl std::fmt::Display) {
    // A line that is lost has been reported.
    let _ = daemon::print_line(&daemon::member_line(what, name, id));
}
