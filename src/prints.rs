//! Lines of text for whoever wants to read them, as with Broker's prints: [`send_print`],
//! [`subscribe_to_prints`] and the event [`PrintHandler`].
//!
//! ```
//! use zcluster::app::App;
//! use zcluster::prints::{self, PrintHandler};
//!
//! let app = App::new()
//!     .on_event("zeek_init", |_, context| {
//!         prints::subscribe_to_prints("demo.prints.", context)?;
//!         prints::send_print("demo.prints.start", "here we go", context)?;
//!         Ok(())
//!     })
//!     .on::<PrintHandler>(|print, context| {
//!         let from = context.origin().map(|origin| origin.sender.to_string());
//!         println!("{}: {}", from.unwrap_or_default(), print.msg);
//!         Ok(())
//!     });
//! ```
//!
//! A print is the event `Broker::print_handler`. Zeek nodes with Broker have had prints of their own kind;
//! there is none on the ZeroMQ backend, but a script can define the event and handle it:
//! `global Broker::print_handler: event(msg: string);`. What a node prints does not come back to it.
//!
//! Prints and events share their topics: a subscription brings all events on topics with that prefix, so
//! use topics of their own.

use bstr::BString;
use serde::{Deserialize, Serialize};

use crate::Event;
use crate::app::Context;
use crate::node::NodeError;

/// `Broker::print_handler`: a line of text.
#[derive(Clone, Debug, PartialEq, Eq, Event, Serialize, Deserialize)]
#[event(name = "Broker::print_handler")]
pub struct PrintHandler {
    /// The text: any bytes.
    pub msg: BString,
}

/// Sends a line of text to the subscribers of a topic. Blocks as [`crate::Node::publish`] does.
///
/// # Errors
/// As [`crate::Node::publish`].
pub fn send_print(
    topic: impl AsRef<[u8]>,
    text: impl Into<BString>,
    context: &mut Context<'_>,
) -> Result<(), NodeError> {
    context.publish(topic, &PrintHandler { msg: text.into() })
}

/// Subscribes to prints on all topics that start with these bytes.
///
/// # Errors
/// As [`crate::Node::subscribe`].
pub fn subscribe_to_prints(
    prefix: impl Into<BString>,
    context: &mut Context<'_>,
) -> Result<(), NodeError> {
    context.subscribe(prefix)
}

/// Ends such a subscription. Each takes one call.
///
/// # Errors
/// As [`crate::Node::unsubscribe`].
pub fn unsubscribe_to_prints(
    prefix: impl Into<BString>,
    context: &mut Context<'_>,
) -> Result<(), NodeError> {
    context.unsubscribe(prefix)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::Value;
    use crate::app::{App, Harness};
    use crate::testing::layout;

    #[test]
    fn prints_are_sent_subscribed_and_handled() {
        let printed = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&printed);
        let app = App::new()
            .on_event("start", |_, context| {
                subscribe_to_prints("demo.prints.", context)?;
                send_print("demo.prints.a", "hello", context)?;
                Ok(())
            })
            .on_event("end", |_, context| {
                unsubscribe_to_prints("demo.prints.", context)?;
                Ok(())
            })
            .on::<PrintHandler>(move |print, _| {
                seen.borrow_mut().push(print.msg);
                Ok(())
            });
        let mut harness = Harness::new(app, layout(&[("manager", "manager")]), "manager").unwrap();
        harness.receive("t", "somebody", &Event::new("start", vec![]));
        assert_eq!(harness.subscriptions(), ["demo.prints."]);
        let published = harness.published();
        assert_eq!(published[0].topic, "demo.prints.a");
        let print = |value: Value| Event::new("Broker::print_handler", vec![value]);
        assert_eq!(published[0].event, print("hello".into()));
        assert_eq!(*printed.borrow(), [""; 0], "what is sent does not come back");
        harness.receive("demo.prints.a", "somebody", &print(Value::string(b"\xff!".as_slice())));
        assert_eq!(*printed.borrow(), [BString::from(b"\xff!".as_slice())]);
        harness.receive("demo.prints.a", "somebody", &print(7_u64.into()));
        assert_eq!((printed.borrow().len(), harness.misfits()), (1, 1));
        harness.receive("t", "somebody", &Event::new("end", vec![]));
        assert_eq!(harness.subscriptions(), [""; 0]);
    }
}
