//! What stores publish and subscribe to, whatever the process itself may.

use bstr::BString;

use super::protocol::Message;
use crate::app::Context;
use crate::node::NodeError;

/// Subscribes to a topic that a process without `auto_advertise_topics` may subscribe to for this: what stores need, it may also
/// see.
pub(super) fn subscribe(topic: &BString, context: &mut Context<'_>) -> Result<(), NodeError> {
    if !context.layout().cluster.auto_advertise_topics {
        context.advertise_topic(topic.clone())?;
    }
    context.subscribe(topic.clone())
}

/// Publishes to a topic that a process without `auto_publish_topics` may publish to for this.
pub(super) fn publish(topic: &BString, message: &Message, context: &mut Context<'_>) {
    let may_all = context.layout().cluster.auto_publish_topics;
    let is_new = !may_all && context.publish_topic(topic.clone());
    if let Err(error) = context.publish(topic, message) {
        log::warn!("cannot publish to {topic}: {error}");
    }
    if is_new {
        context.unpublish_topic(topic);
    }
}
