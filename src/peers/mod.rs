//! The connection to the broker, and the nodes behind it, as Zeek's `Broker` module shows them.
//!
//! The one peer of a node is the broker; the other nodes are endpoints, which it reaches through the
//! broker. [`Peers`] raises the events of [`Broker`](events) and answers `Broker::peers()`:
//!
//! ```
//! use zcluster::app::App;
//! use zcluster::peers::{PeerAdded, PeerLost, Peers};
//!
//! let peers = Peers::new();
//! let app = App::new()
//!     .with(peers.clone())
//!     .on::<PeerLost>(|lost, _| {
//!         eprintln!("lost {}: {}", lost.endpoint.id, lost.msg);
//!         Ok(())
//!     })
//!     .on::<PeerAdded>(move |_, _| {
//!         assert_eq!(peers.peers().len(), 1);
//!         Ok(())
//!     });
//! ```
//!
#![doc = include_str!("../../docs/peers.md")]

pub mod events;

mod error_code;
mod info;
mod view;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bstr::BString;

pub use error_code::ErrorCode;
pub use events::{
    EndpointDiscovered, EndpointUnreachable, Error, PeerAdded, PeerLost, PeerRemoved, Status,
};
pub use info::{EndpointInfo, NetworkInfo, PeerInfo, PeerStatus};

use crate::app::{App, Context, Module, NodeDown, NodeUp, Outcome};
use crate::event::{EventError, ToEvent, TypedEvent};
use crate::topic::NodeId;
use crate::{Event, Node};
use view::{Change, Tell, View};

/// `Broker::peers()` of a node without an app: its broker.
pub fn peers(node: &Node) -> Vec<PeerInfo> {
    let peer = EndpointInfo::broker(node.layout());
    vec![PeerInfo { peer, status: node.broker_state().into() }]
}

/// Raises the events of Zeek's `Broker` module, and knows the peers. Clones share what they know.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    shared: Rc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    view: RefCell<View>,
    /// What the events so far have led to.
    status: Cell<PeerStatus>,
    /// Events that have been raised but not handled yet, and what they lead to.
    on_their_way: RefCell<VecDeque<(PeerStatus, Event)>>,
    this: RefCell<Option<This>>,
}

/// Known once the app has started.
#[derive(Debug)]
struct This {
    id: NodeId,
    broker: EndpointInfo,
}

impl Peers {
    /// Add it to an app with [`App::with`], and keep a clone.
    pub fn new() -> Self {
        Peers::default()
    }

    /// `Broker::peers()`: the broker. Empty before the app has started.
    pub fn peers(&self) -> Vec<PeerInfo> {
        let status = self.shared.status.get();
        let this = self.shared.this.borrow();
        this.iter().map(|this| PeerInfo { peer: this.broker.clone(), status }).collect()
    }

    /// `Broker::node_id()`: the id of this process. Empty before the app has started.
    pub fn node_id(&self) -> String {
        self.shared.this.borrow().as_ref().map_or_else(String::new, |this| this.id.to_string())
    }

    fn start(&self, context: &mut Context<'_>) -> Outcome {
        let broker = EndpointInfo::broker(context.layout());
        *self.shared.this.borrow_mut() = Some(This { id: context.id().clone(), broker });
        let told = self.shared.view.borrow_mut().started();
        self.raise(told, context)
    }

    fn raise(&self, told: Vec<Tell>, context: &mut Context<'_>) -> Outcome {
        let endpoint = EndpointInfo::broker(context.layout());
        for tell in told {
            match tell {
                Tell::Error(code, msg) => context.raise(&Error { code, msg })?,
                Tell::Change(status, change) => {
                    let event = event(change, endpoint.clone())?;
                    self.shared.on_their_way.borrow_mut().push_back((status, event.clone()));
                    context.raise(&event)?;
                }
            }
        }
        Ok(())
    }

    /// An event about the broker is handled now: from here on, its status is the new one.
    fn arrived(&self, event: &Event) {
        let mut on_their_way = self.shared.on_their_way.borrow_mut();
        if let Some((status, expected)) = on_their_way.front()
            && expected == event
        {
            self.shared.status.set(*status);
            on_their_way.pop_front();
        }
    }
}

fn event(change: Change, endpoint: EndpointInfo) -> Result<Event, EventError> {
    match change {
        Change::Added => owned(&PeerAdded { endpoint, msg: "the bus has answered".into() }),
        Change::Lost => owned(&PeerLost { endpoint, msg: "lost the connection".into() }),
        Change::Removed => owned(&PeerRemoved { endpoint, msg: "this node has left".into() }),
        Change::Other(msg) => owned(&Status { endpoint, msg: msg.into() }),
    }
}

fn owned(event: &impl ToEvent) -> Result<Event, EventError> {
    Ok(event.to_event()?.into_owned())
}

/// Before and after all other handlers.
const FIRST: i64 = i64::MAX;
const LAST: i64 = i64::MIN;

impl Module for Peers {
    fn install(self, mut app: App) -> App {
        for name in [PeerAdded::NAME, PeerLost::NAME, PeerRemoved::NAME, Status::NAME] {
            let peers = self.clone();
            app = app.own_event(name).on_event_with(FIRST, name, move |event, _| {
                peers.arrived(event);
                Ok(())
            });
        }
        for name in [EndpointDiscovered::NAME, EndpointUnreachable::NAME, Error::NAME] {
            app = app.own_event(name);
        }
        let (starting, telling, stopping) = (self.clone(), self.clone(), self);
        app.on_event_with(FIRST, "zeek_init", move |_, context| starting.start(context))
            .on_broker_news(move |news, context| {
                let told = telling.shared.view.borrow_mut().news(news);
                telling.raise(told, context)
            })
            .on_event_with(LAST, "zeek_done", move |_, context| {
                let told = stopping.shared.view.borrow_mut().stopped();
                stopping.raise(told, context)
            })
            .on_with::<NodeUp>(FIRST, |NodeUp { name, id }, context| {
                let endpoint = endpoint(&name, id, context);
                context.raise(&EndpointDiscovered { endpoint, msg: format!("{name} is up") })?;
                Ok(())
            })
            .on_with::<NodeDown>(FIRST, |NodeDown { name, id }, context| {
                let endpoint = endpoint(&name, id, context);
                context.raise(&EndpointUnreachable { endpoint, msg: format!("{name} is gone") })?;
                Ok(())
            })
    }
}

/// The node that an event of membership is about.
fn endpoint(name: &str, id: BString, context: &Context<'_>) -> EndpointInfo {
    EndpointInfo::node(context.layout(), name, &NodeId::from_bytes(id))
}
