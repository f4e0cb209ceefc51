//! Strangers at a logger's socket: peers that violate the protocol (RFC 23) are refused and
//! counted, and the records of others are still written.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::RangeInclusive;

use support::raw::{send_garbage, tcp};
use support::{
    Cluster, NodeSpec, PATIENCE, Process, producer, wait_for, wait_until_it_stands_still,
};
use zcluster::wire::LogMessage;
use zcluster::wire::zeek_bin::{BatchBuilder, LogValue};
use zcluster::wire::zmtp::{Handshake, SocketType, put_frame, put_ping};

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("logger-1", "logger")];

/// The whole handshake of a socket of that type, sent without waiting for the other side.
fn handshake(socket_type: SocketType) -> Vec<u8> {
    let mut bytes = Vec::new();
    Handshake::new(socket_type, &mut bytes);
    bytes
}

/// The frames of a log batch with one record, with `between` after each frame but the last.
fn message(n: u64, between: &[u8]) -> Vec<u8> {
    let mut batch = BatchBuilder::new(producer::schema()).unwrap();
    batch.push(&[LogValue::from("peer"), LogValue::Count(n)]).unwrap();
    let mut bytes = Vec::new();
    for frame in [LogMessage::KIND, b"peer", LogMessage::ZEEK_BIN] {
        put_frame(frame, true, &mut bytes);
        bytes.extend_from_slice(between);
    }
    put_frame(&batch.finish(), false, &mut bytes);
    bytes
}

/// Reads everything a peer receives until the connection ends.
fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    // It may end with a reset, because the logger has not read everything.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn refused(logger: &Process, reason: &str) -> f64 {
    let label = format!("reason=\"{reason}\"");
    logger.metric_with("zcluster_logger_peers_refused_total", &label)
}

fn written(cluster: &Cluster) -> Vec<u64> {
    let lines = cluster.log_lines(producer::PATH);
    lines.iter().map(|line| line.strip_prefix("peer\t").unwrap().parse().unwrap()).collect()
}

#[test]
fn peers_that_break_the_protocol_are_disconnected_and_counted() {
    let cluster = Cluster::new(NODES, "");
    let mut logger = cluster.logger("logger-1");
    let endpoint = logger.endpoint("log");
    let mut good = send_garbage(&endpoint, &handshake(SocketType::Push));
    good.write_all(&message(0, b"")).unwrap();
    logger.wait_metric("zcluster_logger_records_total", 1.0);

    let greeting = &handshake(SocketType::Push)[..64];
    let mut curve = greeting.to_vec();
    curve[12..17].copy_from_slice(b"CURVE");
    let push = handshake(SocketType::Push);
    let mut endless = push.clone();
    endless.push(2);
    endless.extend_from_slice(&(1u64 << 63).to_be_bytes());
    let mut half = push.clone();
    half.extend_from_slice(&message(1, b""));
    half.push(1);
    half.push(200);
    let peers: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "protocol"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "protocol"),
        (&[&greeting[..10], b"\x01\x00"].concat(), "protocol"),
        (&[greeting, &message(1, b"")].concat(), "protocol"),
        (&[&push[..], b"\xf8\x01x"].concat(), "protocol"),
        (&curve, "mechanism"),
        (&handshake(SocketType::Sub), "socket_type"),
        (&handshake(SocketType::Pull), "socket_type"),
        (&endless, "limit"),
    ];
    for (number, (bytes, reason)) in peers.iter().enumerate() {
        let before = refused(&logger, reason);
        let stream = send_garbage(&endpoint, bytes);
        read_to_end(&stream);
        let after = wait_for("the peer to be counted", || {
            let now = refused(&logger, reason);
            (now > before).then_some(now)
        });
        assert_eq!(after, before + 1.0, "peer {number}");
    }
    let total = logger.metric("zcluster_logger_peers_refused_total");
    assert_eq!(total, peers.len() as f64);
    // Disconnecting in the middle is not a violation.
    for bytes in [&greeting[..10], greeting, &push[..70], &half] {
        drop(send_garbage(&endpoint, bytes));
    }
    logger.wait_metric("zcluster_logger_records_total", 2.0);
    wait_for("all but one to be gone", || {
        (logger.metric("zcluster_logger_connections") == 1.0).then_some(())
    });
    assert_eq!(logger.metric("zcluster_logger_peers_refused_total"), total);
    assert!(logger.stderr().contains("refused 127.0.0.1"), "{}", logger.stderr());

    good.write_all(&message(2, b"")).unwrap();
    logger.wait_metric("zcluster_logger_records_written_total", 3.0);
    assert!(logger.health_alone().0);
    drop(good);
    logger.stop();
    assert_eq!(written(&cluster), [0, 1, 2]);
}

#[test]
fn pings_between_the_frames_of_a_message_are_answered() {
    let cluster = Cluster::new(NODES, "");
    let mut logger = cluster.logger("logger-1");
    let mut stream = send_garbage(&logger.endpoint("log"), &handshake(SocketType::Push));
    let mut ping = Vec::new();
    put_ping(0, &mut ping);
    ping[1] += 3;
    ping.extend_from_slice(b"abc");
    stream.write_all(&message(0, &ping)).unwrap();
    logger.wait_metric("zcluster_logger_records_written_total", 1.0);
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_to_end(&stream);
    let pongs = b"\x04\x08\x04PONGabc".repeat(3);
    assert!(answer.ends_with(&pongs), "{}", answer.escape_ascii());
    logger.stop();
    assert_eq!(written(&cluster), [0]);
}

#[test]
fn bytes_that_come_one_by_one_make_whole_messages() {
    let cluster = Cluster::new(NODES, "");
    let mut logger = cluster.logger("logger-1");
    let mut streams: Vec<_> = (0..3).map(|_| tcp(&logger.endpoint("log"))).collect();
    let mut bytes: Vec<_> = (0..3)
        .map(|n| {
            let both = [message(2 * n, b""), message(2 * n + 1, b"")].concat();
            [handshake(SocketType::Push), both].concat().into_iter()
        })
        .collect();
    for stream in &streams {
        stream.set_nodelay(true).unwrap();
    }
    while let [Some(first), Some(second), Some(third)] =
        [bytes[0].next(), bytes[1].next(), bytes[2].next()]
    {
        for (stream, byte) in streams.iter_mut().zip([first, second, third]) {
            stream.write_all(&[byte]).unwrap();
        }
    }
    logger.wait_metric("zcluster_logger_records_written_total", 6.0);
    assert_eq!(logger.metric("zcluster_logger_memory_bytes"), 0.0);
    drop(streams);
    logger.stop();
    let mut numbers = written(&cluster);
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
}

/// Connects and disconnects, each time at another point of the conversation.
fn come_and_go(endpoint: &str, numbers: RangeInclusive<u64>) {
    for n in numbers {
        let whole = [handshake(SocketType::Push), message(n, b"")].concat();
        let end = n as usize * 37 % whole.len();
        drop(send_garbage(endpoint, &whole[..end]));
    }
}

#[test]
fn peers_that_come_and_go_leave_nothing() {
    let cluster = Cluster::new(NODES, "");
    let mut logger = cluster.logger("logger-1");
    let endpoint = logger.endpoint("log");
    let are_gone = || {
        wait_for("all to be gone", || {
            (logger.metric("zcluster_logger_connections") == 0.0).then_some(())
        });
    };
    come_and_go(&endpoint, 1..=100);
    are_gone();
    let before = logger.memory();
    come_and_go(&endpoint, 1..=500);
    are_gone();
    let grown = logger.memory().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes more than before");
    let said = logger.stderr().lines().count();
    assert!(said < 20, "{said} lines about it");
    assert_eq!(logger.metric("zcluster_logger_memory_bytes"), 0.0);

    let mut stream = send_garbage(&endpoint, &handshake(SocketType::Push));
    stream.write_all(&message(0, b"")).unwrap();
    logger.wait_metric("zcluster_logger_records_written_total", 1.0);
    drop(stream);
    logger.stop();
    assert_eq!(written(&cluster), [0]);
}

#[test]
fn large_messages_that_never_end_do_not_take_all_memory() {
    let cluster = Cluster::new(NODES, "[log]\nmax_memory = \"8MiB\"");
    let mut logger = cluster.logger("logger-1");
    let endpoint = logger.endpoint("log");
    let before = logger.memory();
    // Each announces 100 MiB and sends what the kernel accepts; the logger reads from one at a
    // time.
    let announced = [&[2u8][..], &(100u64 << 20).to_be_bytes()].concat();
    let start = [handshake(SocketType::Push), announced, vec![0; 256 << 10]].concat();
    let streams: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = tcp(&endpoint);
            stream.set_nonblocking(true).unwrap();
            // A partial write is enough.
            let _ = stream.write(&start);
            stream
        })
        .collect();
    logger.wait_metric("zcluster_logger_connections", streams.len() as f64);
    wait_until_it_stands_still(|| logger.metric("zcluster_logger_memory_bytes") as u64);
    let mut good = send_garbage(&endpoint, &handshake(SocketType::Push));
    good.write_all(&message(0, b"")).unwrap();
    logger.wait_metric("zcluster_logger_records_written_total", 1.0);
    let memory = logger.metric("zcluster_logger_memory_bytes");
    assert!(memory <= f64::from(8 << 20), "{memory}");
    let grown = logger.peak_memory().saturating_sub(before);
    assert!(grown <= 12 << 20, "{grown} bytes more than before");
    drop(streams);
    drop(good);
    logger.stop();
    assert_eq!(written(&cluster), [0]);
}

/// The sender of a batch chooses its id, which appears in log lines about its errors.
#[test]
fn text_from_peers_cannot_forge_lines() {
    let cluster = Cluster::new(NODES, "");
    let mut logger = cluster.logger("logger-1");
    let mut bytes = handshake(SocketType::Push);
    let forged = b"x\n[2026-01-01T00:00:00Z ERROR] forged\x1b[2J\xc2\x9b2J";
    for frame in [LogMessage::KIND, forged, b"no\nformat"] {
        put_frame(frame, true, &mut bytes);
    }
    put_frame(b"", false, &mut bytes);
    let _peer = send_garbage(&logger.endpoint("log"), &bytes);
    logger.wait_stderr_line(&["rejected a log batch from", "forged", "no\\nformat"]);
    let stderr = logger.stderr();
    let is_harmless = |c: char| c == '\n' || !c.is_control();
    assert!(stderr.chars().all(is_harmless), "{stderr:?}");
    assert_eq!(stderr.lines().filter(|line| line.contains("forged")).count(), 1, "{stderr}");
    logger.stop();
}
