//! What operators watch a cluster with, held against a cluster that runs: `docs/alerts.yml`,
//! `docs/prometheus.yml`, `docs/grafana-dashboard.json`, `docs/metrics.md`, and `/services.json`.
//!
//! The metrics of a calm cluster are what `promtool test rules` gets, as they are for the proof that no
//! alert fires, and with one series changed for the proof that an incident raises its alert.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value as Json, json};
use support::raw::RawPeer;
use support::{Cluster, NodeSpec, Process, Signal, free_port, http, tools, wait_for};
use zcluster::access::Denial;
use zcluster::telemetry::{EventDrop, LabelValue, Telemetry};
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, FieldSpec, LogSchema, LogValue, Scalar};

const NODES: &[NodeSpec<'static>] =
    &[("manager", "manager"), ("logger-1", "logger"), ("worker-1", "worker")];

/// A file of `docs/`.
fn page(name: &str) -> String {
    fs::read_to_string(docs().join(name)).unwrap()
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The pages of a calm cluster by node, and the families of one in which something happened.
struct Metrics {
    /// Name of the node, its type, its page.
    calm: Vec<(String, &'static str, String)>,
    /// All names of samples and families, also of those that only an incident makes.
    names: BTreeSet<String>,
}

/// Runs a cluster once for all tests.
fn metrics() -> &'static Metrics {
    static METRICS: OnceLock<Metrics> = OnceLock::new();
    METRICS.get_or_init(|| {
        let options = "[broker]\nmetrics_port = 0\nsubscriber_hwm = 10\n[stores.hosts]\n";
        let cluster = Cluster::new(NODES, options);
        let broker = cluster.broker();
        let mut nodes = cluster.start_all(NODES);
        support::wait_all_see_all(&mut nodes);
        nodes["manager"].wait_metric("zcluster_store_has_master", 1.0);
        // Each node has written to cluster.log that it greeted the others.
        nodes["logger-1"].wait_metric("zcluster_logger_records_written_total", 6.0);
        for process in nodes.values().chain([&broker]) {
            process.wait_metric("zcluster_ready", 1.0);
        }
        let node_type = |name: &str| NODES.iter().find(|(node, _)| *node == name).unwrap().1;
        let mut calm = vec![("broker".to_owned(), "broker", broker.metrics())];
        for (name, node) in &nodes {
            calm.push((name.clone(), node_type(name), node.metrics()));
        }
        let mut names: BTreeSet<String> =
            calm.iter().flat_map(|(_, _, page)| names(page)).collect();
        lose_events(&broker, &mut nodes);
        names.extend(self::names(&broker.metrics()));
        Metrics { calm, names }
    })
}

/// Makes a subscriber lose events.
fn lose_events(broker: &Process, nodes: &mut BTreeMap<String, Process>) {
    nodes["worker-1"].signal(Signal::STOP);
    let manager = nodes.get_mut("manager").unwrap();
    let text = "x".repeat(100_000);
    let topic = "zeek.cluster.worker";
    wait_for("events to be lost", || {
        manager.write_line(&format!(r#"{{"topic":"{topic}","event":"T::t","args":["{text}"]}}"#));
        (broker.metric("zcluster_broker_events_dropped_total") > 0.0).then_some(())
    });
    nodes["worker-1"].signal(Signal::CONT);
}

/// Series with a label that nobody knows beforehand, and their twin without it.
const TWINS: &[(&str, &str, &str)] = &[
    ("broker", "zcluster_broker_events_dropped_total", "zcluster_broker_drops_total"),
    ("broker", "zcluster_broker_subscriber_events_dropped_total", "zcluster_broker_drops_total"),
    ("broker", "zcluster_broker_refused_total", "zcluster_broker_refusals_total"),
    ("logger-1", "zcluster_logger_batches_rejected_total", "zcluster_logger_rejections_total"),
    ("logger-1", "zcluster_logger_records_lost_total", "zcluster_logger_losses_total"),
    ("logger-1", "zcluster_logger_write_errors_total", "zcluster_logger_write_failures_total"),
];

#[test]
fn incidents_count_with_and_without_the_labels_that_nobody_knows_beforehand() {
    let options = "[broker]\nmetrics_port = 0\nsubscriber_hwm = 10\n";
    let cluster = Cluster::new(NODES, options);
    let broker = cluster.broker();
    // The name of this log is taken by something that is no file.
    fs::create_dir_all(cluster.log_dir("logger-1").join("taken.log")).unwrap();
    let mut nodes = cluster.start_all(NODES);
    support::wait_all_see_all(&mut nodes);

    let publisher = RawPeer::publisher(&broker.endpoint("xsub"), b"zeek.cluster.manager");
    publisher.send(&[&b"zeek.cluster.manager"[..], b"three", b"frames"]);
    let producer = RawPeer::producer(&nodes["logger-1"].endpoint("log"), 10, None);
    let send = |payload: &[u8]| {
        producer.send(&[LogMessage::KIND, b"zeromq_x_h_1_N1", LogMessage::ZEEK_BIN, payload]);
    };
    send(b"no batch");
    let schema = LogSchema::new("T::LOG", "taken", vec![FieldSpec::new("n", Scalar::Count)]);
    let mut batch = BatchBuilder::new(schema).unwrap();
    batch.push(&[LogValue::Count(1)]).unwrap();
    send(&batch.finish());
    lose_events(&broker, &mut nodes);

    for (node, with, without) in TWINS {
        let process = nodes.get(*node).unwrap_or(&broker);
        wait_for(&format!("as much in {with} as in {without}"), || {
            let page = process.metrics();
            let [with, without] = [with, without].map(|name| support::metric(&page, name, ""));
            (with > 0.0 && with == without).then_some(())
        });
    }
}

/// The names of samples of a page, and of its families.
fn names(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| match line.strip_prefix("# TYPE ") {
            Some(family) => family.split(' ').next(),
            None if line.starts_with('#') => None,
            None => line.split(['{', ' ']).next(),
        })
        .map(str::to_owned)
        .collect()
}

/// The names of our metrics in a text.
fn mentioned(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
    let prefixes = ["zcluster_", "zeek_", "process_"];
    words
        .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
        .filter(|word| !word.ends_with('_'))
        .collect()
}

/// Runs promtool, which must be content. `false`: this machine has none.
fn promtool(args: &[&str], dir: &Path) -> bool {
    let Some(promtool) = tools::find("promtool") else { return false };
    let output =
        Command::new(promtool).args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}: {said}");
    true
}

#[test]
fn every_metric_that_is_used_exists() {
    let names = &metrics().names;
    for file in ["alerts.yml", "prometheus.yml", "grafana-dashboard.json"] {
        let text = page(file);
        let used = mentioned(&text);
        let missing: Vec<_> = used.iter().filter(|name| !names.contains(**name)).collect();
        assert!(missing.is_empty(), "{file} names {missing:?}, which no process has");
        assert!(file == "prometheus.yml" || used.len() > 30, "{used:?}");
    }
}

#[test]
fn every_metric_is_documented() {
    let pages =
        [("", "metrics.md"), ("zcluster_broker_", "broker.md"), ("zcluster_logger_", "logger.md")];
    let mut documented = BTreeSet::new();
    let mut families: BTreeMap<&str, String> = BTreeMap::new();
    for (prefix, file) in pages {
        families.insert(file, page(file));
        let text = &families[file];
        // In a table, in the first column; names may be without the prefix of the page.
        for cell in text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()) {
            for name in cell.split('`').skip(1).step_by(2) {
                let name = name.split('{').next().unwrap();
                documented.insert(name.to_owned());
                documented.insert(format!("{prefix}{name}"));
            }
        }
    }
    // With what a test cannot easily make happen.
    let telemetry = Telemetry::new("x", "node");
    telemetry.node().deny_event("x", Denial::Publish);
    telemetry.broker().dropped(b"x", b"x", EventDrop::ALL[0]);
    telemetry.broker().publisher_events(b"x");
    telemetry.logger().path("x");
    telemetry.logger().sender("x");
    telemetry.log_sender().stream("X::LOG", "w", "f", "x");
    telemetry.log_sender().paths_closed("X::LOG");
    telemetry.websocket().claimed(None);
    telemetry.stores().of("x");
    telemetry.websocket().blocks(([127, 0, 0, 1], 1).into());
    let page = telemetry.encode_as(zcluster::telemetry::Exposition::Text);
    let families = |page: &str| {
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|family| family.split(' ').next().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let mut all = families(&page);
    for (_, _, page) in &metrics().calm {
        all.extend(families(page));
    }
    assert!(all.len() > 90, "{all:?}");
    let missing: Vec<_> = all.iter().filter(|name| !documented.contains(*name)).collect();
    assert!(missing.is_empty(), "in no table of docs/: {missing:?}");
    // And the other way round: what the pages list exists.
    let gone: Vec<_> = documented
        .iter()
        .filter(|name| mentioned(name).contains(name.as_str()))
        .filter(|name| {
            let of_page = |prefix: &str| {
                name.strip_prefix(prefix).is_some_and(|rest| documented.contains(rest))
            };
            let in_full = !of_page("zcluster_broker_") && !of_page("zcluster_logger_");
            in_full && !all.contains(*name) && name.as_str() != "zcluster_proxy_"
        })
        .collect();
    assert!(gone.is_empty(), "documented, and nowhere to be seen: {gone:?}");
}

#[test]
fn promtool_accepts_rules_and_configuration() {
    if !promtool(&["check", "rules", "alerts.yml"], &docs()) {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"], &docs());
    // The static example, with the job that discovers left out.
    let text = page("prometheus.yml");
    let (kept, rest) = text.split_once("  # The broker and the manager list").unwrap();
    let (_, example) = rest.split_once("name the processes here:\n  #\n").unwrap();
    let example = example.lines().map(|line| line.replacen("  # ", "  ", 1) + "\n");
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("prometheus.yml");
    let text: String = std::iter::once(kept.to_owned()).chain(example).collect();
    assert!(text.contains("\n  - job_name: zcluster\n    honor_labels: true\n    static_configs:"));
    fs::write(&config, text).unwrap();
    fs::copy(docs().join("alerts.yml"), dir.path().join("alerts.yml")).unwrap();
    promtool(&["check", "config", "prometheus.yml"], dir.path());
}

/// One alert: its name, summary, and runbook.
fn alerts() -> Vec<[String; 3]> {
    let text = page("alerts.yml");
    let value = |lines: &str, key: &str| {
        let line = lines.lines().find_map(|line| line.trim().strip_prefix(key));
        line.unwrap_or_else(|| panic!("no {key} in {lines}")).trim().trim_matches('"').to_owned()
    };
    let of_alert = |lines: &str| {
        let name = lines.lines().next().unwrap().trim().to_owned();
        [name, value(lines, "summary:"), value(lines, "runbook:")]
    };
    text.split("- alert:").skip(1).map(of_alert).collect()
}

#[test]
fn every_alert_has_a_place_in_the_docs() {
    let alerts = alerts();
    assert!(alerts.len() > 20);
    let mut listed = BTreeSet::new();
    for [name, summary, runbook] in &alerts {
        assert!(!summary.is_empty(), "{name}");
        let (file, anchor) = runbook.split_once('#').unwrap();
        let text = page(file.strip_prefix("docs/").unwrap());
        let sections = text.split("\n#").skip(1);
        let is_meant = |section: &&str| {
            let heading = section.lines().next().unwrap().trim_start_matches('#').trim();
            heading.to_lowercase().replace(' ', "-") == anchor
        };
        let section = sections.clone().find(is_meant).unwrap_or_else(|| panic!("no {runbook}"));
        assert!(section.contains(&format!("\n| `{name}` | ")), "{name} is not at {runbook}");
        listed.insert(name.as_str());
    }
    let text = page("metrics.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `Zcluster")?.split('`').next());
    for row in rows {
        assert!(listed.contains(format!("Zcluster{row}").as_str()), "no alert Zcluster{row}");
    }
}

/// Series as Prometheus would have scraped them, each with its value.
fn scraped() -> BTreeMap<String, String> {
    let mut series = BTreeMap::new();
    for (node, node_type, page) in &metrics().calm {
        let target = format!(r#"job="zcluster",instance="{node}""#);
        series
            .insert(format!(r#"up{{{target},node="{node}",node_type="{node_type}"}}"#), "1".into());
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = name.split_once('{').unwrap();
            // As with honor_labels.
            let own = if labels.contains("node_type=") {
                String::new()
            } else {
                format!(r#",node_type="{node_type}""#)
            };
            series.insert(format!("{name}{{{target}{own},{labels}"), value.into());
        }
    }
    series
}

/// A change of the calm cluster: parts of the one series it is about, which must be there, and its
/// values once a minute. A series that is not to be there yet starts with `+`.
type Change = (&'static [&'static str], &'static str);

/// Each alert, what raises it, and which others that raises, too.
const INCIDENTS: &[(&str, &[Change], &[&str])] = &[
    ("ZclusterDown", &[(&["up{", "worker-1"], "1x5 0x20")], &[]),
    ("ZclusterNotReady", &[(&["zcluster_ready{", "manager"], "1x5 0x20")], &[]),
    ("ZclusterNotMonitored", &[], &[]),
    ("ZclusterDuplicateName", &[(&["zcluster_broker_duplicate_names_total{"], "0x12 1x20")], &[]),
    (
        "ZclusterRestarting",
        &[(&["process_start_time_seconds{", "manager"], "1000x4 1200x4 1500x20")],
        &[],
    ),
    (
        "ZclusterFileDescriptorsNearLimit",
        &[(&["process_open_fds{", "logger-1"], "10x4 1e9x20")],
        &[],
    ),
    (
        "ZclusterEventsDropped",
        &[(&["zcluster_broker_drops_total{", "\"queue_full\""], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterControlEventsDropped",
        &[(&["zcluster_broker_drops_total{", "\"control_full\""], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterSubscriberLosesEvents",
        &[(
            &["+zcluster_broker_events_dropped_total{job=\"zcluster\",instance=\"broker\",\
                 node=\"broker\",node_type=\"broker\",peer=\"worker-1\",prefix=\"zeek.\",\
                 reason=\"queue_full\"}"],
            "_x12 3x20",
        )],
        &[],
    ),
    (
        "ZclusterPeerRefused",
        &[(&["zcluster_broker_refusals_total{", "\"frame_count\""], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterPeerCutOff",
        &[(&["zcluster_broker_cut_off_total{", "\"heartbeat\"", "backend"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterBrokerCannotAccept",
        &[(&["zcluster_broker_accept_failures_total{", "frontend"], "0x12 1x20")],
        &[],
    ),
    ("ZclusterLogRecordsLost", &[(&["zcluster_logger_losses_total{"], "0x12 1x20")], &[]),
    ("ZclusterLogWriteFailing", &[(&["zcluster_logger_write_failures_total{"], "0x12 1x20")], &[]),
    ("ZclusterLogSyncFailing", &[(&["zcluster_logger_sync_failures_total{"], "0x12 1x20")], &[]),
    (
        "ZclusterDiskTooSlow",
        &[
            (&["zcluster_logger_queue_bytes{"], "0x4 60e6x20"),
            (&["zcluster_logger_memory_bytes{"], "0x4 62e6x20"),
        ],
        &[],
    ),
    ("ZclusterFormattingTooSlow", &[(&["zcluster_logger_memory_bytes{"], "0x4 30e6x20")], &[]),
    (
        "ZclusterLogBatchesRejected",
        &[(&["zcluster_logger_rejections_total{", "\"payload\""], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterLoggerRefusesPeers",
        &[(&["zcluster_logger_peers_refused_total{", "\"unauthorized\""], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterLoggerCannotAccept",
        &[(&["zcluster_logger_accept_failures_total{"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterCompressionFailing",
        &[(&["zcluster_logger_compression_failures_total{"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterPostprocessorFailing",
        &[(&["zcluster_logger_postprocessor_failures_total{"], "0x12 1x20")],
        &[],
    ),
    ("ZclusterNoBroker", &[(&["zcluster_connections{", "worker-1", "xsub"], "1x5 0x20")], &[]),
    (
        "ZclusterNoLogger",
        &[
            (&["zcluster_connections{", "worker-1", "push"], "1x5 0x20"),
            (&["zcluster_log_queue_messages{", "worker-1"], "0x5 1x20"),
        ],
        &[],
    ),
    (
        "ZclusterLogRecordsDropped",
        &[(&["zcluster_log_records_dropped_total{", "worker-1", "queue_full"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterLogRecordsUnconfirmed",
        &[(&["zcluster_log_records_unconfirmed_total{", "worker-1"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterNodeDropsEvents",
        &[(&["zeek_cluster_zeromq_xpub_drops_total{", "worker-1"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterQueueNearLimit",
        &[(&["zcluster_onloop_queue_messages{", "worker-1"], "0x5 8500x20")],
        &[],
    ),
    (
        "ZclusterEventErrors",
        &[(&["zcluster_event_errors_total{", "worker-1", "payload"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterEventsDenied",
        &[(&["zcluster_denials_total{", "worker-1", "publish"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterHandshakesFailing",
        &[(&["zcluster_handshakes_failed_total{", "worker-1", "xsub"], "0x12 1x20")],
        &[],
    ),
    (
        "ZclusterStoreWithoutMaster",
        &[(&["zcluster_store_has_master{", "manager", "hosts"], "1x5 0x20")],
        &[],
    ),
    (
        "ZclusterStoreTooSlow",
        &[(&["zcluster_store_commands_dropped_total{", "manager", "hosts"], "0x12 1x20")],
        &[],
    ),
];

/// When the alerts are looked at, in minutes: shortly after the incident.
const LOOKED_AT: u32 = 15;

/// A test of promtool's: these series, and the names of the alerts that fire.
fn rule_test(name: &str, series: &BTreeMap<String, String>, firing: &[&str]) -> Json {
    let series: Vec<Json> = series
        .iter()
        .map(|(series, values)| json!({ "series": series, "values": values }))
        .collect();
    let samples: Vec<Json> = firing
        .iter()
        .map(|alert| json!({ "labels": format!("{{alertname={alert:?}}}"), "value": 1 }))
        .collect();
    json!({
        "name": name,
        "interval": "1m",
        "input_series": series,
        "promql_expr_test": [{
            "expr": "count by (alertname) (ALERTS{alertstate=\"firing\"})",
            "eval_time": format!("{LOOKED_AT}m"),
            "exp_samples": samples,
        }],
    })
}

#[test]
fn a_calm_cluster_raises_no_alert_and_the_first_incident_its_own() {
    let calm: BTreeMap<String, String> = scraped()
        .into_iter()
        .map(|(series, value)| {
            let value = value.replace("NaN", "0");
            (series, format!("{value}x30"))
        })
        .collect();
    let mut tests = vec![rule_test("calm", &calm, &[])];
    let mut tested = BTreeSet::new();
    for (alert, changes, others) in INCIDENTS {
        let mut series = calm.clone();
        if changes.is_empty() {
            series.clear();
        }
        for (parts, values) in *changes {
            if let Some(new) = parts[0].strip_prefix('+') {
                series.insert(new.to_owned(), (*values).to_owned());
                continue;
            }
            let fits = |series: &&String| {
                series.starts_with(parts[0]) && parts.iter().all(|part| series.contains(part))
            };
            let found: Vec<String> = series.keys().filter(fits).cloned().collect();
            assert_eq!(found.len(), 1, "{alert}: a calm cluster has {parts:?} as {found:?}");
            let before = calm[&found[0]].trim_end_matches("x30");
            let counts = values.starts_with("0x12");
            assert!(!counts || before == "0", "{alert}: {parts:?} starts at {before}");
            series.insert(found[0].clone(), (*values).to_owned());
        }
        let firing: Vec<&str> = std::iter::once(*alert).chain(others.iter().copied()).collect();
        tests.push(rule_test(alert, &series, &firing));
        tested.insert((*alert).to_owned());
    }
    let all: BTreeSet<String> = alerts().into_iter().map(|[name, ..]| name).collect();
    assert_eq!(tested, all, "each alert has an incident");

    let dir = tempfile::tempdir().unwrap();
    let file = json!({
        "rule_files": [docs().join("alerts.yml")],
        "evaluation_interval": "1m",
        "tests": tests,
    });
    // JSON is YAML.
    fs::write(dir.path().join("tests.yml"), serde_json::to_string_pretty(&file).unwrap()).unwrap();
    promtool(&["test", "rules", "tests.yml"], dir.path());
}

/// The panels of a dashboard, those in rows among them.
fn panels(of: &Json) -> Vec<&Json> {
    let here = of["panels"].as_array().map(Vec::as_slice).unwrap_or_default();
    here.iter().flat_map(|panel| std::iter::once(panel).chain(panels(panel))).collect()
}

#[test]
fn grafana_can_show_the_dashboard() {
    let dashboard: Json = serde_json::from_str(&page("grafana-dashboard.json")).unwrap();
    for key in ["title", "uid", "refresh"] {
        assert!(dashboard[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    assert!(dashboard["time"]["from"].is_string() && dashboard["time"]["to"].is_string());
    // One that was exported from a Grafana has an id of that Grafana in it.
    assert!(dashboard.get("id").is_none_or(Json::is_null));

    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variables: BTreeMap<&str, &Json> =
        variables.iter().map(|v| (v["name"].as_str().unwrap(), v)).collect();
    assert_eq!(variables["datasource"]["type"], "datasource");
    assert_eq!(variables["datasource"]["query"], "prometheus");
    for name in ["job", "node"] {
        assert_eq!(variables[name]["type"], "query");
        assert!(variables[name]["query"]["query"].as_str().unwrap().starts_with("label_values("));
        assert_eq!(variables[name]["datasource"]["uid"], "${datasource}");
    }

    let (mut ids, mut places, mut rules, mut rows) =
        (BTreeSet::new(), BTreeSet::new(), vec![], vec![]);
    for panel in panels(&dashboard) {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: an id twice");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24 && place("w") > 0 && place("h") > 0, "{title}");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(places.insert((x, y)), "{title} covers another panel");
            }
        }
        let kind = panel["type"].as_str().unwrap();
        assert!(["row", "stat", "timeseries"].contains(&kind), "{kind}");
        if kind == "row" {
            rows.push(title);
            continue;
        }
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        let mut letters = BTreeSet::new();
        for target in targets {
            assert!(letters.insert(target["refId"].as_str().unwrap()), "{title}: a refId twice");
            assert_eq!(target["datasource"]["type"], "prometheus");
            let mut expr = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            for name in variables.keys() {
                expr = expr.replace(&format!("${name}"), ".*");
            }
            assert!(!expr.contains('$'), "{title}: an unknown variable in {expr}");
            rules.push(json!({ "record": format!("panel:{}", rules.len()), "expr": expr }));
        }
    }
    assert_eq!(rows, ["Overview", "Broker", "Loggers", "Nodes", "Processes"]);
    let file = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("rules.yml"), file.to_string()).unwrap();
    promtool(&["check", "rules", "rules.yml"], dir.path());
}

#[test]
fn services_json_lists_all_with_their_labels() {
    let (manager, worker, broker) = (free_port(), free_port(), free_port());
    let options = format!("[broker]\nmetrics_port = {broker}\n");
    let nodes: &[NodeSpec<'_>] =
        &[("manager", "manager"), ("worker-1", "worker"), ("worker-2", "worker")];
    let cluster = Cluster::new(nodes, &options);
    let mut text = fs::read_to_string(&cluster.layout).unwrap();
    for (name, port) in [("manager", manager), ("worker-1", worker)] {
        let (before, of_node) = text.split_once(&format!("[nodes.{name}]")).unwrap();
        let of_node = of_node.replacen("metrics_port = 0", &format!("metrics_port = {port}"), 1);
        text = format!("{before}[nodes.{name}]{of_node}");
    }
    fs::write(&cluster.layout, text).unwrap();
    let broker_process = cluster.broker();
    let manager_process = cluster.node("manager", &[]);
    let worker_process = cluster.node("worker-1", &[]);
    let group = |port: u16, node: &str, node_type: &str| {
        json!({
            "targets": [format!("127.0.0.1:{port}")],
            "labels": { "node": node, "node_type": node_type },
        })
    };
    // worker-2 has a port that the system chooses.
    let expected = json!([
        group(broker, "broker", "broker"),
        group(manager, "manager", "manager"),
        group(worker, "worker-1", "worker"),
    ]);
    for process in [&broker_process, &manager_process] {
        let (status, body) = http(&process.endpoint("metrics"), "/services.json");
        let listed: Json = serde_json::from_str(&body).unwrap();
        assert_eq!((status, &listed), (200, &expected), "{}", process.name);
    }
    assert_eq!(http(&worker_process.endpoint("metrics"), "/services.json").0, 404);
    // What is listed answers, and its series agree with its labels.
    for group in expected.as_array().unwrap() {
        let page = support::http_get(group["targets"][0].as_str().unwrap(), "/metrics");
        let start = format!("process_start_time_seconds{{node={}}} ", group["labels"]["node"]);
        assert!(page.contains(&start), "{start}");
    }
    // A broker with a name of its own lists itself by that.
    drop(broker_process);
    let args = ["--layout", cluster.layout_arg(), "--node", "east"];
    let broker_process = Process::start("broker", "zcluster-broker", &args);
    let body = support::http_get(&broker_process.endpoint("metrics"), "/services.json");
    let listed: Json = serde_json::from_str(&body).unwrap();
    assert_eq!(listed[0], group(broker, "east", "broker"));
}
