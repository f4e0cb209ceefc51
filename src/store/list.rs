//! [`list`]: which stores there are, as their masters say.

use std::time::Duration;

use bstr::BString;

use super::bus::{publish, subscribe};
use super::names::{STORES, stores_to};
use super::protocol::{Info, List, Message};
use crate::app::{App, Context, Module, Outcome};

/// How often masters are asked: what is published first may reach nobody.
const AGAIN: Duration = Duration::from_millis(500);

/// What the master of a store says about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreInfo {
    /// The name of the store; any bytes.
    pub name: BString,
    /// The id of the process that has the master.
    pub process: BString,
    /// Tells the master from earlier ones.
    pub epoch: u64,
    /// How many changes it has made.
    pub sequence: u64,
    /// How many entries there are.
    pub entries: u64,
    /// Where they are kept: `memory`, `sqlite`, or what a backend of another program is called.
    pub backend: String,
}

/// A module that asks all masters of the cluster what they have, again and again while the app runs, and calls a function with each
/// answer. Masters that this process has do not answer.
pub fn list(call: impl FnMut(StoreInfo, &mut Context<'_>) -> Outcome + 'static) -> impl Module {
    move |app: App| install(app, call)
}

fn install(
    app: App,
    mut call: impl FnMut(StoreInfo, &mut Context<'_>) -> Outcome + 'static,
) -> App {
    app.on_event("zeek_init", |_, context| {
        subscribe(&own_topic(context), context)?;
        ask(context);
        Ok(())
    })
    .on::<Info>(move |info, context| {
        let own = own_topic(context);
        let Some(origin) = context.origin().filter(|origin| origin.topic == own) else {
            return Ok(());
        };
        let process = origin.sender.clone();
        let Info { store: name, epoch, sequence, size: entries, backend } = info;
        call(StoreInfo { name, process, epoch, sequence, entries, backend }, context)
    })
}

fn own_topic(context: &Context<'_>) -> BString {
    stores_to(context.id().as_bytes())
}

fn ask(context: &mut Context<'_>) {
    publish(&STORES.into(), &Message::List(List {}), context);
    context.call_after(AGAIN, |context| {
        ask(context);
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::app::Harness;
    use crate::event::ToEvent;
    use crate::testing::layout;

    #[test]
    fn masters_are_asked_until_the_app_ends() {
        let found = Rc::new(RefCell::new(Vec::new()));
        let app = App::new().with(list({
            let found = Rc::clone(&found);
            move |info, _| {
                found.borrow_mut().push(info);
                Ok(())
            }
        }));
        let mut harness = Harness::new(app, layout(&[("manager", "manager")]), "manager").unwrap();
        harness.advance(Duration::from_millis(1_100));
        let asked = harness.published();
        assert_eq!(asked.len(), 3);
        assert!(
            asked
                .iter()
                .all(|asked| asked.topic == STORES && asked.event.name == "ZCluster::store_list")
        );
        let subscribed = harness.subscriptions();
        let own = subscribed.iter().find(|topic| topic.starts_with(b"zcluster.stores.to."));
        let own = own.unwrap_or_else(|| panic!("{subscribed:?}")).to_string();
        let info =
            Info { store: "a/b".into(), epoch: 1, sequence: 2, size: 3, backend: "memory".into() };
        let event = info.to_event().unwrap();
        harness.receive(&own, "process", &event);
        harness.receive("zcluster.stores.to.other", "process", &event);
        let expected = StoreInfo {
            name: "a/b".into(),
            process: "process".into(),
            epoch: 1,
            sequence: 2,
            entries: 3,
            backend: "memory".into(),
        };
        assert_eq!(*found.borrow(), [expected]);
    }
}
