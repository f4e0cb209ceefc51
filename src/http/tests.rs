//! Each test has its own server, on a port the system chose, and real sockets to it.

#[cfg(not(feature = "http"))]
use super::*;

#[cfg(not(feature = "http"))]
#[test]
fn without_the_feature_there_is_a_clear_error() {
    let address = "127.0.0.1:0".parse().unwrap();
    let error = serve_metrics(address, &Telemetry::new("", ""), None, Health::ok).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot serve HTTP on 127.0.0.1:0: built without the feature `http`"
    );
}

#[cfg(feature = "http")]
mod served {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use axum::Router;
    use axum::routing::get;

    use super::super::server::{Limits, Plain};
    use super::super::*;

    /// Long enough for any answer on a busy machine; a test that reaches it fails.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn connect(server: &HttpServer) -> TcpStream {
        let stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes and returns everything received until the server closes.
    fn exchange(server: &HttpServer, request: impl AsRef<[u8]>) -> String {
        let mut stream = connect(server);
        // The server may answer and close before it has read all of a request that is too large.
        let _ = stream.write_all(request.as_ref());
        read_to_close(stream)
    }

    /// All bytes until the connection is closed or reset.
    fn read_to_close(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(len) => bytes.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error} after {} bytes", bytes.len()),
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    fn request(server: &HttpServer, method: &str, path: &str) -> (u16, String, String) {
        let text = exchange(
            server,
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        );
        parse(&text)
    }

    /// (status, headers in lower case, body)
    fn parse(text: &str) -> (u16, String, String) {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn serve(services: Option<Vec<Service>>) -> (Telemetry, HttpServer) {
        let telemetry = Telemetry::new("manager", "node");
        telemetry.node().xpub_drops.inc_by(7);
        let server = serve_metrics(loopback(), &telemetry, services, Health::ok).unwrap();
        (telemetry, server)
    }

    /// A server with tight limits and handlers that answer with a large body, late, or never.
    fn limited(limits: Limits) -> HttpServer {
        let router = Router::new()
            .route("/ok", get(|| async { "fine" }))
            .route("/large", get(|| async { "x".repeat(64 << 20) }))
            .route("/never", get(std::future::pending::<()>));
        HttpServer::start_with(loopback(), router, limits, Plain, std::future::pending()).unwrap()
    }

    #[test]
    fn metrics() {
        let (telemetry, server) = serve(None);
        let (status, head, body) = request(&server, "GET", "/metrics");
        assert_eq!(status, 200);
        let plain = "content-type: text/plain; version=0.0.4; charset=utf-8";
        assert!(head.contains(plain) && head.contains("vary: accept"), "{head}");
        assert!(body.contains("# TYPE zeek_cluster_zeromq_xpub_drops_total counter\n"), "{body}");
        assert!(!body.contains("# EOF"), "{body}");
        let named = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                     Accept: application/openmetrics-text;version=1.0.0, */*;q=0.1\r\n\r\n";
        let (_, head, body) = parse(&exchange(&server, named));
        let openmetrics =
            "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(head.contains(openmetrics), "{head}");
        assert!(
            body.contains("zeek_cluster_zeromq_xpub_drops_total{node=\"manager\"} 7\n"),
            "{body}"
        );
        assert!(body.ends_with("# EOF\n"));
        telemetry.node().xpub_drops.inc();
        let (_, _, body) = request(&server, "GET", "/metrics");
        assert!(body.contains("zeek_cluster_zeromq_xpub_drops_total{node=\"manager\"} 8\n"));
    }

    #[test]
    fn methods_and_paths() {
        let (_, server) = serve(None);
        let rows = [
            ("HEAD", "/metrics", 200),
            ("HEAD", "/healthz", 200),
            ("HEAD", "/readyz", 200),
            ("POST", "/metrics", 405),
            ("DELETE", "/healthz", 405),
            ("POST", "/readyz", 405),
            ("BREW", "/metrics", 405),
            ("GET", "/", 404),
            ("GET", "/metrics/", 404),
            ("GET", "/../metrics", 404),
            ("GET", "/metrics?x=1", 200),
            // Only the manager and the broker have it.
            ("GET", "/services.json", 404),
        ];
        for (method, path, expected) in rows {
            let (status, head, body) = request(&server, method, path);
            assert_eq!(status, expected, "{method} {path}");
            if status == 405 {
                assert!(head.contains("allow: get,head"), "{path} {head}");
                assert_eq!(body, "expected the method GET or HEAD\n", "{path}");
            }
            if method == "HEAD" {
                assert_eq!(body, "", "{path}");
            }
        }
    }

    #[test]
    fn services() {
        let service = |address: &str, node: &str, node_type| Service {
            address: address.parse().unwrap(),
            node: node.into(),
            node_type,
        };
        let both = vec![
            service("127.0.0.1:9910", "broker", "broker"),
            service("[2001:db8::1]:9912", "a\"b", "worker"),
        ];
        for (services, expected) in [
            (vec![], r#"[{"targets":[],"labels":{}}]"#),
            (
                both,
                concat!(
                    r#"[{"targets":["127.0.0.1:9910"],"#,
                    r#""labels":{"node":"broker","node_type":"broker"}},"#,
                    r#"{"targets":["[2001:db8::1]:9912"],"#,
                    r#""labels":{"node":"a\"b","node_type":"worker"}}]"#
                ),
            ),
        ] {
            let (_, server) = serve(Some(services));
            let (status, head, body) = request(&server, "GET", "/services.json");
            assert_eq!((status, body.as_str()), (200, expected));
            assert!(head.contains("content-type: application/json"), "{head}");
        }
    }

    #[test]
    fn status() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let status = move || {
            let times = count.fetch_add(1, Ordering::Relaxed) + 1;
            serde_json::json!({ "engine": "switch", "asked": times })
        };
        let telemetry = Telemetry::new("proxy", "node");
        let server =
            serve_metrics_and_status(loopback(), &telemetry, None, Health::ok, status).unwrap();
        for times in 1..3 {
            let (status, head, body) = request(&server, "GET", "/status");
            assert_eq!(status, 200);
            assert!(head.contains("content-type: application/json"), "{head}");
            assert_eq!(body, format!(r#"{{"engine":"switch","asked":{times}}}"#));
        }
        for (path, expected) in [("/healthz", 200), ("/metrics", 200), ("/services.json", 404)] {
            assert_eq!(request(&server, "GET", path).0, expected, "{path}");
        }
        let (_, server) = serve(None);
        assert_eq!(request(&server, "GET", "/status").0, 404);
    }

    #[test]
    fn health_and_readiness_turn() {
        type Row<'a> = (&'a [(&'a str, u64)], &'a str, &'a str);

        let current = Arc::new(Mutex::new(Health::ok()));
        let asked = Arc::clone(&current);
        let health = move || asked.lock().unwrap().clone();
        let server = serve_metrics(loopback(), &Telemetry::new("n", "node"), None, health).unwrap();
        let set = |lines: &[(&str, u64)]| {
            let mut health = Health::ok();
            for (line, seconds) in lines {
                health.lasting(*line, Duration::from_secs(*seconds));
            }
            *current.lock().unwrap() = health;
        };
        let rows: [Row<'_>; 5] = [
            (&[], "ok\n", "ok\n"),
            (&[("no broker", 0)], "ok\n", "no broker\n"),
            (&[("no broker", 60)], "no broker\n", "no broker\n"),
            (&[("stopping", 0), ("disk\nfull", 60)], "disk full\n", "stopping\ndisk full\n"),
            (&[], "ok\n", "ok\n"),
        ];
        for (lines, well, ready) in rows {
            set(lines);
            for (path, expected) in [("/healthz", well), ("/readyz", ready)] {
                let (status, _, body) = request(&server, "GET", path);
                let expected_status = if expected == "ok\n" { 200 } else { 503 };
                assert_eq!(
                    (status, body.as_str()),
                    (expected_status, expected),
                    "{path} {lines:?}"
                );
            }
            let (_, _, metrics) = request(&server, "GET", "/metrics");
            let is_ready = u8::from(ready == "ok\n");
            assert!(
                metrics.contains(&format!("zcluster_ready{{node=\"n\"}} {is_ready}\n")),
                "{metrics}"
            );
        }
    }

    #[test]
    fn a_port_in_use_is_one_clear_error() {
        let (telemetry, server) = serve(None);
        let address = server.local_addr();
        let error = serve_metrics(address, &telemetry, None, Health::ok).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot serve HTTP on {address}: ")), "{text}");
        assert!(text.contains("in use"), "{text}");
        drop(server);
        serve_metrics(address, &telemetry, None, Health::ok).unwrap();
    }

    #[test]
    fn garbage_ends_its_own_connection_only() {
        let (_, server) = serve(None);
        let rows: &[(Vec<u8>, u16)] = &[
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
            (b"GET\r\n\r\n".to_vec(), 400),
            (b"GET /metrics HTTP/9.9\r\n\r\n".to_vec(), 400),
            (b"GET /metrics HTTP/1.1\r\nbad header\r\n\r\n".to_vec(), 400),
            (b"POST /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(), 400),
            (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000)).into_bytes(), 431),
            (format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(200_000)).into_bytes(), 431),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200)).into_bytes(), 431),
        ];
        for (bytes, expected) in rows {
            let sample = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
            let answer = exchange(&server, bytes);
            // Closing with bytes unread resets the connection, and may take the answer with it.
            if !answer.is_empty() {
                assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{sample}: {answer}");
            }
            assert_eq!(request(&server, "GET", "/healthz").0, 200, "after {sample}");
        }
        // A truncated request gets no answer and does no harm.
        let mut broken = connect(&server);
        broken.write_all(b"GET /metr").unwrap();
        broken.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_close(broken), "");
        assert_eq!(request(&server, "GET", "/healthz").0, 200);
    }

    #[test]
    fn one_connection_serves_many_requests() {
        let (_, server) = serve(None);
        let get = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
        let last = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let text = exchange(&server, get.repeat(9) + last);
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 10, "{text}");
    }

    #[test]
    fn silent_clients_do_not_keep_others_out() {
        let limits =
            Limits { connections: 4, guaranteed: Duration::from_millis(10), ..Limits::default() };
        let server = limited(limits);
        let idle: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
        let mut half: Vec<TcpStream> = (0..20).map(|_| connect(&server)).collect();
        for stream in &mut half {
            let _ = stream.write_all(b"GET /ok HTTP/1.1\r\nHo");
        }
        for _ in 0..10 {
            assert_eq!(request(&server, "GET", "/ok").2, "fine");
        }
        // The oldest was closed.
        for stream in idle {
            assert_eq!(read_to_close(stream), "");
        }
    }

    #[test]
    fn a_burst_of_good_clients_is_served_in_full() {
        let server = limited(Limits { connections: 4, ..Limits::default() });
        let streams: Vec<TcpStream> = (0..60)
            .map(|_| {
                let mut stream = connect(&server);
                stream.write_all(b"GET /ok HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
                stream
            })
            .collect();
        for stream in streams {
            assert_eq!(parse(&read_to_close(stream)).0, 200);
        }
    }

    #[test]
    fn idle_and_half_requests_run_out_of_time() {
        let limits = Limits { next_request: Duration::from_millis(50), ..Limits::default() };
        let server = limited(limits);
        assert_eq!(read_to_close(connect(&server)), "");
        let mut half = connect(&server);
        half.write_all(b"GET /ok HTTP/1.1\r\nHost").unwrap();
        read_to_close(half);
        let mut kept = connect(&server);
        kept.write_all(b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        assert_eq!(parse(&read_to_close(kept)).2, "fine");
    }

    #[test]
    fn a_handler_runs_out_of_time() {
        let server = limited(Limits { response: Duration::from_millis(50), ..Limits::default() });
        let (status, _, body) = request(&server, "GET", "/never");
        assert_eq!((status, body.as_str()), (503, "out of time\n"));
    }

    #[test]
    fn who_does_not_read_is_cut_off() {
        let limits = Limits { stalled_write: Duration::from_millis(50), ..Limits::default() };
        let server = limited(limits);
        let mut lazy = connect(&server);
        lazy.write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        // Wait for the first bytes, then let the server stall: others are served meanwhile.
        lazy.peek(&mut [0]).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut byte = [0];
        loop {
            assert_eq!(request(&server, "GET", "/ok").0, 200);
            // A write fails once the server has closed its end with bytes unread or unsent.
            if lazy.write_all(&byte).and_then(|()| lazy.peek(&mut byte)).is_err() {
                break;
            }
            assert!(Instant::now() < deadline, "still connected");
        }
    }

    #[test]
    fn shutdown_does_not_wait_for_clients() {
        let rows: [&[u8]; 4] = [
            b"",
            b"GET /ok HTTP/1.1\r\nHo",
            b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n",
        ];
        for bytes in rows {
            let server = limited(Limits::default());
            let mut stream = connect(&server);
            stream.write_all(bytes).unwrap();
            // Once the server has served a later connection, it knows about this one.
            assert_eq!(request(&server, "GET", "/ok").0, 200);
            let address = server.local_addr();
            server.shutdown();
            assert!(TcpStream::connect(address).is_err(), "still listening");
            read_to_close(stream);
        }
    }
}
