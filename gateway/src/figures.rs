//! What the processes of a cluster say about themselves, as the `stats` of version 2: read from the
//! text of `/metrics` and the JSON of `/status`. Pure.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::v2::{Drops, LogRate, SlowPeer, TopicRate};

/// How many logs, topics, reasons and subscribers are shown at most.
const MAX_ROWS: usize = 500;

/// Counters of something lost, and the reason to show: the value of their label `reason` behind a
/// prefix, or one for all.
const LOSSES: [(&str, Reason); 6] = [
    ("zcluster_broker_drops_total", Reason::Label("")),
    ("zcluster_log_records_dropped_total", Reason::Label("log_")),
    ("zcluster_logger_records_lost_total", Reason::Fixed("log_lost")),
    ("zcluster_websocket_events_dropped_total", Reason::Fixed("websocket_client_slow")),
    ("zeek_cluster_zeromq_onloop_drops_total", Reason::Fixed("onloop_drops")),
    ("zeek_cluster_zeromq_xpub_drops_total", Reason::Fixed("xpub_drops")),
];

#[derive(Clone, Copy)]
enum Reason {
    Label(&'static str),
    Fixed(&'static str),
}

/// One series of the text format of Prometheus.
#[derive(Debug, PartialEq)]
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl<'a> Sample<'a> {
    /// Reads a line; `None` for comments and for what is no series.
    fn read(line: &'a str) -> Option<Self> {
        let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'))?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            while !rest.starts_with('}') {
                let (label, value) = rest.split_once("=\"")?;
                let (value, after) = quoted(value)?;
                labels.push((label.trim(), value));
                rest = after.trim_start_matches([',', ' ']);
            }
            rest = &rest[1..];
        }
        let value = rest.split_whitespace().next()?.parse().ok()?;
        (!name.is_empty()).then_some(Sample { name, labels, value })
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str())
    }
}

/// The text up to the next quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// The counters of all processes at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    /// Log path and process to records: what zcluster's loggers have written …
    written: BTreeMap<(String, String), u64>,
    /// … and what the nodes have written to their logs, which are elsewhere.
    sent: BTreeMap<(String, String), u64>,
    /// Process and reason to what was lost.
    losses: BTreeMap<(String, String), u64>,
}

impl Totals {
    /// Adds the metrics of a process.
    pub(crate) fn add(&mut self, process: &str, metrics: &str) {
        for sample in metrics.lines().filter_map(Sample::read) {
            let loss = LOSSES.iter().find(|(name, _)| *name == sample.name);
            let reason = loss.and_then(|(_, reason)| match reason {
                Reason::Fixed(reason) => Some((*reason).to_owned()),
                Reason::Label(prefix) => Some(format!("{prefix}{}", sample.label("reason")?)),
            });
            if let Some(reason) = reason {
                *self.losses.entry((process.into(), reason)).or_default() += sample.value as u64;
            }
            let logs = match sample.name {
                "zcluster_logger_records_written_total" => &mut self.written,
                "zeek_log_writer_writes_total" => &mut self.sent,
                _ => continue,
            };
            let Some(path) = sample.label("path") else { continue };
            *logs.entry((path.into(), process.into())).or_default() += sample.value as u64;
        }
    }

    /// Records per second by path, since `before`: those that arrive at loggers. Loggers of Zeek do
    /// not count them (WIRE.md §4.5), so if there are no others, those that nodes send. A process that
    /// was restarted, or has just appeared, counts from the next time.
    pub(crate) fn logs(&self, before: &Totals, seconds: f64) -> Vec<LogRate<'static>> {
        let logs: fn(&Totals) -> &BTreeMap<_, _> =
            if self.written.is_empty() { |totals| &totals.sent } else { |totals| &totals.written };
        let mut rates: BTreeMap<&str, f64> = BTreeMap::new();
        for (key, total) in logs(self) {
            let rate = rate(logs(before).get(key).copied(), *total, seconds);
            *rates.entry(&key.0).or_default() += rate;
        }
        let rate = |(path, rate): (&str, f64)| LogRate {
            path: path.to_owned().into(),
            records_per_second: rate,
        };
        rates.into_iter().map(rate).take(MAX_ROWS).collect()
    }

    /// What was lost so far, and per second since `before`.
    pub(crate) fn losses(&self, before: &Totals, seconds: f64) -> Vec<Drops<'static>> {
        let lost = self.losses.iter().filter(|(_, total)| **total > 0);
        let row = |(key, total): (&(String, String), &u64)| Drops {
            process: key.0.clone().into(),
            reason: key.1.clone().into(),
            per_second: rate(before.losses.get(key).copied(), *total, seconds),
            total: *total,
        };
        lost.map(row).take(MAX_ROWS).collect()
    }
}

fn rate(before: Option<u64>, after: u64, seconds: f64) -> f64 {
    let grown = before.and_then(|before| after.checked_sub(before)).unwrap_or(0);
    if seconds > 0.0 { grown as f64 / seconds } else { 0.0 }
}

/// The rates of events by topic in the broker's `/status`, the highest first; `None` if it has none.
pub(crate) fn topic_rates(status: &Json) -> Option<Vec<TopicRate<'static>>> {
    let row = |topic: &Json| {
        let events_per_second = topic["events_per_second"].as_f64().filter(|rate| *rate > 0.0)?;
        Some(TopicRate { topic: topic["topic"].as_str()?.to_owned().into(), events_per_second })
    };
    Some(status["topics"].as_array()?.iter().filter_map(row).take(MAX_ROWS).collect())
}

/// The subscribers in the broker's `/status` that fall behind.
pub(crate) fn slow_peers(status: &Json) -> Vec<SlowPeer<'static>> {
    let subscribers = status["subscribers"].as_array();
    let is_slow = |peer: &&Json| peer["state"].as_str().is_some_and(|state| state != "ok");
    let number = |peer: &Json, key: &str| peer[key].as_u64().unwrap_or(0);
    let row = |peer: &Json| SlowPeer {
        peer: peer["peer"].as_str().unwrap_or("?").to_owned().into(),
        queued_events: number(peer, "queued_messages"),
        queued_bytes: number(peer, "queued_bytes"),
        dropped: number(peer, "dropped"),
    };
    subscribers.into_iter().flatten().filter(is_slow).map(row).take(MAX_ROWS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn series_are_read_and_nothing_else() {
        for (line, expected) in [
            ("a_total 5", Some(("a_total", vec![], 5.0))),
            ("a:b{} 1e3 1700000000", Some(("a:b", vec![], 1000.0))),
            (
                r#"a{x="1",path="q\"\\\n,}"} 2.5"#,
                Some(("a", vec![("x", "1"), ("path", "q\"\\\n,}")], 2.5)),
            ),
            ("# HELP a b", None),
            ("", None),
            ("a", None),
            ("a{x=\"1\" 5", None),
            ("a{x=\"1\"} five", None),
            ("{x=\"1\"} 5", None),
        ] {
            let sample = Sample::read(line);
            let found = sample.as_ref().map(|sample| {
                let labels = sample.labels.iter().map(|(name, value)| (*name, value.as_str()));
                (sample.name, labels.collect::<Vec<_>>(), sample.value)
            });
            assert_eq!(found, expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_harmless(text in "[a-z_{}\",=\\\\ 0-9\n#]{0,80}") {
            Totals::default().add("p", &text);
        }
    }

    #[test]
    fn rates_are_over_all_loggers_and_ignore_restarts() {
        let logger = |written: [u64; 2]| {
            format!(
                "# TYPE zcluster_logger_records_written_total counter\n\
                 zcluster_logger_records_written_total{{node=\"l\",path=\"conn\"}} {}\n\
                 zcluster_logger_records_written_total{{node=\"l\",path=\"dns\"}} {}\n\
                 zeek_log_writer_writes_total{{path=\"conn\"}} 999\n",
                written[0], written[1]
            )
        };
        let mut before = Totals::default();
        before.add("logger-1", &logger([100, 10]));
        before.add("logger-2", &logger([1000, 0]));
        let mut after = Totals::default();
        after.add("logger-1", &logger([300, 10]));
        after.add("logger-2", &logger([5, 4]));
        after.add("logger-3", &logger([7, 0]));
        // What was sent to the loggers is not counted again.
        for (totals, sent) in [(&mut before, 10), (&mut after, 210)] {
            totals
                .add("worker", &format!("zeek_log_writer_writes_total{{path=\"conn\"}} {sent}\n"));
        }
        let rates = |before: &Totals, after: &Totals| -> Vec<(String, f64)> {
            let rates = after.logs(before, 2.0).into_iter();
            rates.map(|rate| (rate.path.into_owned(), rate.records_per_second)).collect()
        };
        let expected = [("conn".to_owned(), 100.0), ("dns".to_owned(), 2.0)];
        assert_eq!(rates(&before, &after), expected);

        // With loggers of Zeek.
        for totals in [&mut before, &mut after] {
            totals.written.clear();
            totals.sent.retain(|(_, process), _| process == "worker");
        }
        assert_eq!(rates(&before, &after), [("conn".to_owned(), 100.0)]);
    }

    #[test]
    fn losses_have_process_and_reason() {
        let metrics = |queue_full: u64, onloop: u64| {
            format!(
                "zcluster_broker_drops_total{{node=\"broker\",reason=\"queue_full\"}} {queue_full}\n\
                 zcluster_broker_drops_total{{node=\"broker\",reason=\"control_full\"}} 0\n\
                 zeek_cluster_zeromq_onloop_drops_total{{node=\"x\"}} {onloop}\n\
                 zcluster_log_records_dropped_total{{reason=\"shutdown\"}} 1\n"
            )
        };
        let (mut before, mut after) = (Totals::default(), Totals::default());
        before.add("p", &metrics(10, 3));
        after.add("p", &metrics(14, 3));
        let rows: Vec<(String, f64, u64)> = after
            .losses(&before, 2.0)
            .into_iter()
            .map(|row| (row.reason.into_owned(), row.per_second, row.total))
            .collect();
        let expected =
            [("log_shutdown", 0.0, 1), ("onloop_drops", 0.0, 3), ("queue_full", 2.0, 14)];
        assert_eq!(rows, expected.map(|(reason, rate, total)| (reason.to_owned(), rate, total)));
    }

    #[test]
    fn topics_without_events_are_not_shown() {
        let status = json!({ "topics": [
            { "topic": "a", "events": 7, "events_per_second": 2.5 },
            { "topic": "b", "events": 9, "events_per_second": 0.0 },
            { "topic": 7, "events_per_second": 1 },
            { "topic": "c", "events_per_second": "1" },
        ] });
        let expected = TopicRate { topic: "a".into(), events_per_second: 2.5 };
        assert_eq!(topic_rates(&status), Some(vec![expected]));
        for none in [json!(null), json!([]), json!({}), json!({ "topics": 7 })] {
            assert_eq!(topic_rates(&none), None, "{none}");
        }
    }

    #[test]
    fn only_slow_subscribers_are_shown() {
        let status = json!({ "subscribers": [
            { "peer": "worker-1", "state": "ok", "queued_messages": 0 },
            { "peer": "worker-2", "state": "stalled", "queued_messages": 7, "queued_bytes": 99,
              "dropped": 3 },
        ] });
        let expected =
            SlowPeer { peer: "worker-2".into(), queued_events: 7, queued_bytes: 99, dropped: 3 };
        assert_eq!(slow_peers(&status), [expected]);
        for odd in [json!(null), json!([]), json!({ "subscribers": 7 })] {
            assert_eq!(slow_peers(&odd), []);
        }
    }
}
