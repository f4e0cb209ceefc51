//! Every metrics page of a cluster, in both formats, checked with external parsers: `promtool` and
//! Python's `prometheus_client`.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use support::raw::RawPeer;
use support::{Cluster, DEFAULT_NODES, Engine, PATIENCE, tools, wait_for};
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, FieldSpec, LogSchema, LogValue, Scalar};

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

fn page(address: &str, accept: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_lowercase(), body.to_owned())
}

/// Passes a page to a program; fails unless the program accepts it.
fn check(what: &str, program: &Path, args: &[&str], page: &str) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{what}: {said}\n{page}");
}

fn python_parser(module: &str) -> String {
    format!(
        "import sys\nfrom {module} import text_string_to_metric_families as parse\n\
         assert len(list(parse(sys.stdin.read()))) > 5"
    )
}

fn every_page_is_read_by_others(engine: Engine) {
    let promtool = tools::find("promtool");
    let python = Path::new("/usr/bin/python3");
    let has_python = Command::new(python)
        .args(["-c", "import prometheus_client"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_python {
        tools::missing("python3-prometheus-client");
    }
    let cluster = Cluster::on(engine, DEFAULT_NODES, "");
    let broker = cluster.broker();
    let mut nodes = cluster.start_all(DEFAULT_NODES);
    support::wait_all_see_all(&mut nodes);
    // Strangers choose names that become labels.
    let logger = &nodes["logger-1"];
    let peer = RawPeer::producer(&logger.endpoint("log"), 10, None);
    for path in ["a\"b", "# EOF", "a\\n} 1", "\u{e9}\u{202e}"] {
        let schema = LogSchema::new("T::LOG", path, vec![FieldSpec::new("n", Scalar::Count)]);
        let mut batch = BatchBuilder::new(schema).unwrap();
        batch.push(&[LogValue::Count(1)]).unwrap();
        let sender = path.as_bytes();
        peer.send(&[LogMessage::KIND, sender, LogMessage::ZEEK_BIN, &batch.finish()]);
    }
    wait_for("the batches to be seen", || {
        let taken = logger.metric("zcluster_logger_batches_total")
            + logger.metric("zcluster_logger_batches_rejected_total");
        (taken >= 4.0).then_some(())
    });

    let addresses = nodes.iter().map(|(name, node)| (name.as_str(), node.endpoint("metrics")));
    for (name, address) in addresses.chain([("broker", broker.endpoint("metrics"))]) {
        let (head, text) = page(&address, "*/*");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        let (head, openmetrics) = page(&address, OPENMETRICS);
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(openmetrics.ends_with("\n# EOF\n") && !text.contains("\n# EOF\n"));
        if let Some(promtool) = &promtool {
            check(name, promtool, &["check", "metrics"], &text);
        }
        if has_python {
            let classic = python_parser("prometheus_client.parser");
            check(name, python, &["-c", &classic], &text);
            let exact = python_parser("prometheus_client.openmetrics.parser");
            check(name, python, &["-c", &exact], &openmetrics);
        }
    }
}

on_both_engines!(every_page_is_read_by_others);
