//! Rules for `publish_topics` and `advertise_topics`.

use super::Check;

impl Check<'_> {
    pub(super) fn topic_rules(&mut self) {
        let cluster = &self.layout.cluster;
        for (switch, is_on, list, topics) in [
            (
                "auto_publish_topics",
                cluster.auto_publish_topics,
                "publish_topics",
                &cluster.publish_topics,
            ),
            (
                "auto_advertise_topics",
                cluster.auto_advertise_topics,
                "advertise_topics",
                &cluster.advertise_topics,
            ),
        ] {
            if is_on && !topics.is_empty() {
                let message = format!("`{list}` has no effect unless `{switch}` is false");
                self.warn(&["cluster", list], message);
            }
        }
    }
}
