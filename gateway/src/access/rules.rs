//! [`Rules`]: the topics that an application may use.

use zcluster::layout::Application;

/// Prefixes of topics; by default, all topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    publish: Option<Vec<String>>,
    subscribe: Option<Vec<String>>,
}

impl Rules {
    /// The rules of an application of the layout.
    pub fn new(application: &Application) -> Self {
        let Application { publish, subscribe, .. } = application.clone();
        Rules { publish, subscribe }
    }

    /// Whether events may be published on that topic. Allocates nothing.
    pub fn may_publish(&self, topic: impl AsRef<[u8]>) -> bool {
        allows(self.publish.as_deref(), topic.as_ref())
    }

    /// Whether that prefix may be subscribed to: all topics that begin with it are allowed.
    pub fn may_subscribe(&self, prefix: impl AsRef<[u8]>) -> bool {
        allows(self.subscribe.as_deref(), prefix.as_ref())
    }
}

fn allows(prefixes: Option<&[String]>, topic: &[u8]) -> bool {
    prefixes.is_none_or(|prefixes| prefixes.iter().any(|p| topic.starts_with(p.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_or_a_subscription_begins_with_what_is_allowed() {
        let list = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect());
        for (prefixes, topic, allowed) in [
            (None, "", true),
            (None, "zeek.a", true),
            (list(&[]), "", false),
            (list(&[]), "zeek.a", false),
            (list(&["zeek."]), "zeek.a", true),
            (list(&["zeek."]), "zeek.", true),
            (list(&["zeek."]), "zeek", false),
            (list(&["zeek."]), "", false),
            (list(&["x", "zeek.a"]), "zeek.ab", true),
            (list(&["x", "zeek.a"]), "zeek.b", false),
            (list(&[""]), "", true),
        ] {
            let rules = Rules { publish: prefixes.clone(), subscribe: None };
            assert_eq!(rules.may_publish(topic), allowed, "{prefixes:?} {topic:?}");
            assert!(rules.may_subscribe(topic));
            let rules = Rules { publish: None, subscribe: prefixes };
            assert_eq!((rules.may_subscribe(topic), rules.may_publish(topic)), (allowed, true));
        }
        let rules = Rules { publish: list(&["é"]), subscribe: None };
        assert!(rules.may_publish("é.x") && !rules.may_publish(b"\xff"));
    }
}
