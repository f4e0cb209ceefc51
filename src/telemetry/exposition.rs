//! The two text formats of `/metrics`: OpenMetrics, which the registry writes, and the classic one
//! of Prometheus, which is made of it here.
//!
//! They have the same samples, byte for byte: names, labels, and the escapes in labels. Only the
//! lines about families differ, and those hold nothing but what this program itself says. A line of
//! the registry's text that does not start with `#` is a sample, as names start with a letter and
//! labels have no line ends in them (<https://prometheus.io/docs/specs/om/open_metrics_spec/>,
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write as _;

/// A format that metrics are exposed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    /// The classic text format of Prometheus, which everything reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// The value of the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Exposition::Text => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Rewrites OpenMetrics as the classic format.
pub(super) fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    // Its line comes before the one with the type, on which the name depends.
    let mut help = None;
    for line in openmetrics.split_terminator('\n') {
        let Some(about) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        if let Some(told) = about.strip_prefix("HELP ") {
            help = told.split_once(' ');
        } else if let Some((name, kind)) =
            about.strip_prefix("TYPE ").and_then(|t| t.split_once(' '))
        {
            let (suffix, kind) = classic_type(kind);
            if let Some((_, help)) = help.take().filter(|(told, _)| *told == name) {
                let _ = writeln!(text, "# HELP {name}{suffix} {help}");
            }
            let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        }
        // There are no units and no end.
    }
    text
}

/// What the name of a family gets behind it, and what is said of its type.
fn classic_type(kind: &str) -> (&'static str, &str) {
    match kind {
        // Samples of counters end in `_total`, and a family is called as its samples are.
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "stateset" => ("", "gauge"),
        "unknown" => ("", "untyped"),
        _ => ("", kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;
    use proptest::prelude::*;

    #[test]
    fn only_what_is_said_of_families_changes() {
        let openmetrics = "# HELP a Told.\n\
            # TYPE a counter\n\
            a_total{x=\"1\"} 2\n\
            # HELP b Built.\n\
            # TYPE b info\n\
            b_info{version=\"# TYPE b info\\n# EOF\\\"\"} 1\n\
            # HELP c Now # and then.\n\
            # TYPE c gauge\n\
            c -3.5\n\
            # HELP d_seconds Spans.\n\
            # TYPE d_seconds histogram\n\
            # UNIT d_seconds seconds\n\
            d_seconds_sum 1.0\n\
            d_seconds_count 1\n\
            d_seconds_bucket{le=\"+Inf\"} 1\n\
            # TYPE e unknown\n\
            e 0\n\
            # EOF\n";
        let text = "# HELP a_total Told.\n\
            # TYPE a_total counter\n\
            a_total{x=\"1\"} 2\n\
            # HELP b_info Built.\n\
            # TYPE b_info gauge\n\
            b_info{version=\"# TYPE b info\\n# EOF\\\"\"} 1\n\
            # HELP c Now # and then.\n\
            # TYPE c gauge\n\
            c -3.5\n\
            # HELP d_seconds Spans.\n\
            # TYPE d_seconds histogram\n\
            d_seconds_sum 1.0\n\
            d_seconds_count 1\n\
            d_seconds_bucket{le=\"+Inf\"} 1\n\
            # TYPE e untyped\n\
            e 0\n";
        assert_eq!(classic(openmetrics), text);
        assert_eq!(classic(""), "");
    }

    /// The samples of both formats, and what is said of families.
    fn parts(text: &str) -> (Vec<&str>, Vec<&str>) {
        text.lines().partition(|line| !line.starts_with('#'))
    }

    proptest! {
        /// Labels that strangers choose are the same in both, and forge no line.
        #[test]
        fn samples_are_the_same(node in any::<String>(), path in "[\\x00-\\x7f]{0,30}") {
            let telemetry = Telemetry::new(&node, "node");
            telemetry.broker();
            telemetry.node();
            telemetry.logger().path(&path);
            let usual = Telemetry::new("manager", "node");
            usual.broker();
            usual.node();
            usual.logger().path("conn");
            let openmetrics = telemetry.encode();
            let text = classic(&openmetrics);
            let is_sample = |line: &&str| !line.contains("process_");
            let (samples, families) = parts(&text);
            let (same, _) = parts(&openmetrics);
            prop_assert_eq!(&samples, &same);
            let usual = usual.encode_as(Exposition::Text);
            let (expected, said) = parts(&usual);
            prop_assert_eq!(families, said);
            prop_assert_eq!(
                samples.iter().filter(|line| is_sample(line)).count(),
                expected.iter().filter(|line| is_sample(line)).count()
            );
        }
    }
}
