//! Who may use the WebSocket API, and for what: addresses, tokens, certificates, web pages; TLS; and
//! what SIGHUP changes.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::pki::{Pki, TlsStream};
use support::websocket::{Client, Gateway, NODES, tcp};
use support::websocket_v2::{PATH, V2, publication};
use support::{
    Cluster, Ended, Signal, command, run_to_end, wait_for, wait_members, wait_notification,
};
use tungstenite::Error;
use zcluster::node::Notification;

const V1_PATH: &str = "/v1/messages/json";
const ALERTS: &str = "alerts-0123456789abcdef";
const OTHER: &str = "other-0123456789abcdef";
const NOBODYS: &str = "nobodys-0123456789abcdef";
/// What the node worker-1 is subscribed to.
const TO_WORKER: &str = "zeek.cluster.node.worker-1.";

/// A directory with files of tokens.
struct Tokens(tempfile::TempDir);

impl Tokens {
    fn new() -> Self {
        let tokens = Tokens(tempfile::tempdir().unwrap());
        tokens.write("alerts", ALERTS);
        tokens.write("other", OTHER);
        tokens
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    /// Tables of two applications: one that may only publish below `test.` and only hear
    /// `zeek.alerts.`, and one that may do everything.
    fn applications(&self) -> String {
        format!(
            "[nodes.manager.websocket.applications.alerts]\ntoken_file = {:?}\n\
             publish = [\"test.\", \"{TO_WORKER}\"]\nsubscribe = [\"zeek.alerts.\"]\n\
             [nodes.manager.websocket.applications.other]\ntoken_file = {:?}\n",
            self.path("alerts"),
            self.path("other")
        )
    }
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn with_token(gateway: &Gateway, token: &str) -> Result<V2, Box<Error>> {
    V2::connect(&gateway.address(), &[("authorization", &bearer(token))])
}

/// The status of the response that refuses a client, and its headers.
fn refused<T>(attempt: Result<T, Box<Error>>) -> (u16, String) {
    match attempt.map(drop).map_err(|error| *error) {
        Err(Error::Http(answer)) => {
            let challenge = answer.headers().get("www-authenticate");
            let challenge = challenge.map_or("", |value| value.to_str().unwrap());
            (answer.status().as_u16(), challenge.to_owned())
        }
        Err(error) => panic!("{error}"),
        Ok(()) => panic!("was let in"),
    }
}

/// The status and the header `WWW-Authenticate` of a response to a plain request.
fn get(address: &str, path: &str, headers: &str) -> (u16, Option<String>) {
    let mut stream = tcp(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let mut lines = answer.lines().take_while(|line| !line.is_empty());
    let challenge = lines.find_map(|line| line.strip_prefix("www-authenticate: "));
    (status, challenge.map(str::to_owned))
}

fn run_node(cluster: &Cluster, more: &[&str]) -> Ended {
    let args = [&["--layout", cluster.layout_arg(), "--node", "manager"], more].concat();
    run_to_end(command("zcluster-node").args(args))
}

#[test]
fn other_addresses_than_loopback_need_a_decision() {
    let websocket = |options: &str| {
        let table = "[nodes.manager.websocket]\nlisten_addr = \"0.0.0.0\"\nlisten_port = 0\n";
        Cluster::new(NODES, &format!("{table}{options}"))
    };
    let cluster = websocket("");
    for args in [&[][..], &["--check"]] {
        let ended = run_node(&cluster, args);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(78), ""), "{}", ended.stderr);
        let lines: Vec<&str> = ended.stderr.lines().filter(|line| line.contains("ERROR")).collect();
        let [line] = lines[..] else { panic!("expected one line\n{}", ended.stderr) };
        for part in ["0.0.0.0", "`manager` would be open", "`applications`", "`allow_anonymous"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    // Once somebody has decided, it starts.
    let tokens = Tokens::new();
    for options in ["allow_anonymous = true".to_owned(), tokens.applications()] {
        let ended = run_node(&websocket(&options), &["--check"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    }
}

#[test]
fn clients_show_tokens() {
    let tokens = Tokens::new();
    let gateway = Gateway::start(&tokens.applications());
    let address = gateway.address();
    let alerts = with_token(&gateway, ALERTS).unwrap();
    assert_eq!(alerts.welcome["application"], "alerts");
    assert_eq!(with_token(&gateway, OTHER).unwrap().welcome["application"], "other");
    Client::connect(&address, V1_PATH, &[("authorization", &bearer(OTHER))])
        .unwrap()
        .subscribe(&[]);
    // A page in a browser cannot set headers, and knows version 2.
    let path = format!("{PATH}?x=1&access_token={}", ALERTS.replace('-', "%2D"));
    let queried = V2::welcomed(Client::connect(&address, &path, &[]).unwrap());
    assert_eq!(queried.welcome["application"], "alerts");

    let realm = r#"Bearer realm="zcluster""#;
    let wrong = r#"Bearer realm="zcluster", error="invalid_token""#;
    let malformed = r#"Bearer realm="zcluster", error="invalid_request""#;
    let nobodys = bearer(NOBODYS);
    let query = |path: &str, token: &str| format!("{path}?access_token={token}");
    for (path, header, status, challenge) in [
        (PATH.to_owned(), None, 401, realm),
        (V1_PATH.to_owned(), None, 401, realm),
        ("/x".to_owned(), None, 401, realm),
        (PATH.to_owned(), Some(nobodys.as_str()), 401, wrong),
        (V1_PATH.to_owned(), Some(nobodys.as_str()), 401, wrong),
        (query(PATH, NOBODYS), None, 401, wrong),
        (query(PATH, ""), None, 401, wrong),
        // The header counts.
        (query(PATH, ALERTS), Some(nobodys.as_str()), 401, wrong),
        (query(V1_PATH, ALERTS), None, 401, realm),
        (PATH.to_owned(), Some("Bearer"), 400, malformed),
        (PATH.to_owned(), Some("Basic dXNlcjpwYXNz"), 401, realm),
    ] {
        let headers: Vec<_> = header.iter().map(|value| ("authorization", *value)).collect();
        let found = refused(Client::connect(&address, &path, &headers));
        assert_eq!(found, (status, challenge.to_owned()), "{path} {header:?}");
    }
    assert_eq!(
        gateway.manager.metric_with("zcluster_websocket_refused_total", "reason=\"credentials\""),
        11.0
    );
}

#[test]
fn plain_requests_say_what_is_missing() {
    let tokens = Tokens::new();
    let gateway = Gateway::start(&tokens.applications());
    let address = gateway.address();
    let good = format!("Authorization: {}\r\n", bearer(ALERTS));
    let bad = format!("Authorization: {}\r\n", bearer(NOBODYS));
    let query = format!("{PATH}?access_token={OTHER}");
    let own = format!("Origin: http://{address}\r\n");
    wait_for("the node to be ready", || (get(&address, "/readyz", "").0 == 200).then_some(()));
    for (path, headers, status, challenge) in [
        (PATH, "", 401, true),
        (PATH, bad.as_str(), 401, true),
        (PATH, good.as_str(), 400, false),
        (&query, "", 400, false),
        (V1_PATH, "", 401, true),
        (V1_PATH, good.as_str(), 400, false),
        (PATH, "Origin: https://evil.example\r\n", 403, false),
        // What is told to clients only, and what to everybody.
        ("/metrics", "", 401, true),
        ("/metrics", good.as_str(), 200, false),
        ("/services.json", bad.as_str(), 401, true),
        ("/services.json", good.as_str(), 200, false),
        ("/healthz", "", 200, false),
        ("/readyz", "", 200, false),
        ("/", "", 200, false),
        ("/", own.as_str(), 200, false),
        ("/x", "", 404, false),
    ] {
        let (found, challenged) = get(&address, path, headers);
        assert_eq!((found, challenged.is_some()), (status, challenge), "{path} {headers}");
    }
    // Where nobody has credentials, none are missing.
    let open = Gateway::start("");
    assert_eq!(get(&open.address(), PATH, ""), (400, None));
    assert_eq!(get(&open.address(), PATH, &bad), (400, None));
    assert_eq!(get(&open.address(), "/metrics", ""), (200, None));
}

#[test]
fn applications_have_their_topics() {
    let tokens = Tokens::new();
    let gateway = Gateway::start(&tokens.applications());
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    let heard = || {
        wait_notification(&notifications, "an event", |notification| match notification {
            Notification::Event(event) => Some(event.decode().unwrap().name.to_string()),
            _ => None,
        })
    };
    let address = gateway.address();
    let headers = [("authorization", bearer(ALERTS))];
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();

    // Version 2.
    let mut client = V2::connect(&address, &headers).unwrap();
    client.subscribe(&["zeek.alerts.", "zeek.alerts.scan"]);
    for topic in ["zeek.alerts", "zeek.", "", "test.a"] {
        let (code, text) =
            client.fail(json!({ "type": "subscribe", "topics": ["zeek.alerts.x", topic] }));
        assert_eq!(code, "not_allowed", "{topic}: {text}");
        assert!(text.contains(&format!("`{topic}`")), "{text}");
    }
    for topic in ["test", "zeek.alerts.scan", "zeek.cluster.node.worker-2."] {
        let (code, text) = client.fail(publication(topic, "Test::not_allowed", json!([])));
        assert_eq!(code, "not_allowed", "{topic}: {text}");
    }
    client.publish(TO_WORKER, "Test::from_second", json!([]));
    assert_eq!(heard(), "Test::from_second");

    // Version 1. The connection survives an event that is not allowed, as events that are wrong.
    let mut first = Client::connect(&address, V1_PATH, &headers).unwrap();
    first.subscribe(&["zeek.alerts."]);
    first.publish("zeek.alerts.scan", "Test::not_allowed", &[]);
    assert_eq!(first.receive()["code"], "not_allowed");
    first.publish(TO_WORKER, "Test::from_first", &[]);
    assert_eq!(heard(), "Test::from_first");
    let mut greedy = Client::connect(&address, V1_PATH, &headers).unwrap();
    greedy.send(r#"["zeek.alerts.", "zeek."]"#);
    let error = greedy.receive();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("not_allowed")));
    assert_eq!(greedy.closed().0, 1008);

    // An application without rules.
    let mut other = with_token(&gateway, OTHER).unwrap();
    other.subscribe(&[""]);
    other.publish("zeek.alerts.scan", "Test::scan", json!([1]));
    assert_eq!(client.event_parts().1, "Test::scan");
    assert_eq!(first.event().1, "Test::scan");
}

#[test]
fn clients_without_credentials_have_rules_of_their_own() {
    let tokens = Tokens::new();
    let gateway = Gateway::start(&format!(
        "{}[nodes.manager.websocket.applications.anonymous]\npublish = []\n\
         subscribe = [\"public.\"]\n",
        tokens.applications()
    ));
    let mut client = V2::connect(&gateway.address(), &[]).unwrap();
    assert_eq!(client.welcome["application"], "anonymous");
    client.subscribe(&["public."]);
    assert_eq!(client.fail(json!({ "type": "subscribe", "topics": ["public"] })).0, "not_allowed");
    assert_eq!(client.fail(publication("public.a", "Test::x", json!([]))).0, "not_allowed");
    let mut other = with_token(&gateway, OTHER).unwrap();
    other.publish("public.a", "Test::public", json!([]));
    assert_eq!(client.event_parts().1, "Test::public");
    let mut first = gateway.client();
    first.subscribe(&["public.a"]);
    first.publish("public.a", "Test::x", &[]);
    assert_eq!(first.receive()["code"], "not_allowed");
    // A token that nobody has is a mistake.
    assert_eq!(refused(with_token(&gateway, NOBODYS)).0, 401);
}

#[test]
fn a_session_belongs_to_its_application() {
    let tokens = Tokens::new();
    let gateway = Gateway::start(&tokens.applications());
    let mut client = with_token(&gateway, ALERTS).unwrap();
    client.subscribe(&["zeek.alerts."]);
    let session = client.session();
    client.client.vanish();
    let mut thief = with_token(&gateway, OTHER).unwrap();
    assert_eq!(thief.resume(&session, 0)["code"], "resume_failed");
    let mut back = with_token(&gateway, ALERTS).unwrap();
    assert_eq!(back.resume(&session, 0)["type"], "ok");
    thief.publish("zeek.alerts.scan", "Test::scan", json!([]));
    assert_eq!(back.event_parts().1, "Test::scan");
}

#[test]
fn applications_are_told_apart_by_the_names_they_give() {
    let gateway = Gateway::start("");
    let headers = [("x-application-name", "dash/1.0")];
    let mut named = V2::connect(&gateway.address(), &headers).unwrap();
    let mut other = V2::connect(&gateway.address(), &[]).unwrap();
    named.subscribe(&["test."]);
    other.subscribe(&["test."]);
    named.publish("test.a", "Test::one", json!([]));
    for _ in 0..2 {
        other.publish("test.b", "Test::two", json!([]));
    }
    named.fail(json!({ "type": "publish" }));
    other.event();
    named.event();
    named.event();
    for (name, of_named, of_other) in [
        ("zcluster_websocket_clients", 1.0, 1.0),
        ("zcluster_websocket_connections_total", 1.0, 1.0),
        ("zeek_cluster_websocket_outgoing_events_total", 1.0, 2.0),
        ("zeek_cluster_websocket_incoming_events_total", 2.0, 1.0),
        ("zcluster_websocket_errors_total", 1.0, 0.0),
    ] {
        let metric = |app: &str| gateway.manager.metric_with(name, &format!("app=\"{app}\""));
        assert_eq!((metric("dash/1.0"), metric("unknown")), (of_named, of_other), "{name}");
    }
    let mut wrong =
        Client::connect(&gateway.address(), PATH, &[("x-application-name", "has a space")])
            .unwrap();
    let error = wrong.receive();
    assert_eq!(error["code"], "invalid_application_name");
    assert!(error["message"].as_str().unwrap().ends_with("found \"has a space\""), "{error}");
    assert_eq!(wrong.closed(), (1008, "Invalid X-Application-Name".into()));
    let mut lost = Client::connect(&gateway.address(), "/v2/messages/json/", &[]).unwrap();
    let error = lost.receive();
    assert_eq!(error["code"], "invalid_uri");
    for path in [PATH, V1_PATH] {
        assert!(error["message"].as_str().unwrap().contains(path), "{error}");
    }
    assert_eq!(lost.closed(), (1008, "Invalid URI".into()));
}

#[test]
fn proven_applications_are_named_in_metrics_and_in_cluster_log() {
    let tokens = Tokens::new();
    let anonymous = "[nodes.manager.websocket.applications.anonymous]\nsubscribe = []\n";
    let nodes = &[("manager", "manager"), ("logger-1", "logger")];
    let gateway = Gateway::with(nodes, &format!("{}{anonymous}", tokens.applications()), "");
    let _logger = gateway.cluster.logger("logger-1");
    let address = gateway.address();
    wait_for("the node to be ready", || (get(&address, "/readyz", "").0 == 200).then_some(()));
    let value =
        |series: &str, app: &str| gateway.manager.metric_with(series, &format!("app=\"{app}\""));
    // Before anyone has come.
    assert_eq!(value("zcluster_websocket_events_dropped_total", "alerts"), 0.0);

    let token = bearer(ALERTS);
    let proven = [("authorization", token.as_str()), ("x-application-name", "dash/1.0")];
    let mut client = V2::connect(&address, &proven).unwrap();
    client.publish(TO_WORKER, "Test::a", json!([]));
    let mut first = Client::connect(&address, V1_PATH, &proven).unwrap();
    first.subscribe(&["zeek.alerts."]);
    let impostor = [("x-application-name", "alerts")];
    let _impostor = V2::connect(&address, &impostor).unwrap();
    let nameless = V2::connect(&address, &[]).unwrap();
    assert_eq!(nameless.welcome["application"], "anonymous");
    for (series, app, expected) in [
        ("zcluster_websocket_clients", "alerts", 2.0),
        ("zcluster_websocket_clients", "other", 1.0),
        ("zcluster_websocket_clients", "unknown", 1.0),
        ("zeek_cluster_websocket_outgoing_events_total", "alerts", 1.0),
    ] {
        assert_eq!(value(series, app), expected, "{series} {app}");
    }
    drop(first);
    for line in [
        " application=alerts application_name=dash/1.0 connected, version 2",
        " application=alerts application_name=dash/1.0 subscribed to [zeek.alerts.]",
        " application=alerts application_name=dash/1.0 gone with code 1006 and reason \
         'Abnormal closure'",
        ") application_name=alerts connected, version 2",
        ") connected, version 2",
    ] {
        wait_for(line, || {
            gateway.cluster.log_lines("cluster").iter().any(|l| l.ends_with(line)).then_some(())
        });
    }
}

#[test]
fn web_pages_from_elsewhere_are_refused() {
    let gateway = Gateway::start("allowed_origins = [\"https://soc.example.org\"]");
    let address = gateway.address();
    let port = address.rsplit_once(':').unwrap().1;
    let connect = |path: &str, origin: &str| Client::connect(&address, path, &[("origin", origin)]);
    let own = format!("http://{address}");
    let same_port = format!("https://evil.example:{port}");
    for path in [PATH, V1_PATH] {
        connect(path, &own).unwrap();
        connect(path, "https://soc.example.org").unwrap();
        for origin in ["https://evil.example", "http://soc.example.org", "null", same_port.as_str()]
        {
            assert_eq!(refused(connect(path, origin)), (403, String::new()), "{origin}");
        }
    }
    let refused = "zcluster_websocket_refused_total";
    assert_eq!(gateway.manager.metric_with(refused, "reason=\"origin\""), 8.0);
    // SIGHUP.
    let layout = fs::read_to_string(&gateway.cluster.layout).unwrap();
    fs::write(&gateway.cluster.layout, layout.replace("soc.example.org", "noc.example.org"))
        .unwrap();
    gateway.manager.signal(Signal::HUP);
    wait_for("the new list", || connect(PATH, "https://noc.example.org").ok());
    assert_eq!(self::refused(connect(PATH, "https://soc.example.org")).0, 403);
}

#[test]
fn sighup_changes_who_may_stay() {
    let tokens = Tokens::new();
    let gateway = Gateway::start(&tokens.applications());
    let (node, notifications) = gateway.cluster.library_node("worker-1");
    wait_members(&node, &["manager"]);
    let new = "new-0123456789abcdef";
    tokens.write("alerts", &format!("{ALERTS}\n# the next one\n{new}\n"));
    assert_eq!(refused(with_token(&gateway, new)).0, 401, "not read yet");
    let connected = |token: &str, topic: &str| {
        let mut client = with_token(&gateway, token).unwrap();
        client.subscribe(&[topic]);
        client
    };
    let mut removed = connected(ALERTS, "zeek.alerts.a");
    let lost = connected(ALERTS, "zeek.alerts.lost");
    let lost_session = lost.session();
    lost.client.vanish();
    let mut first =
        Client::connect(&gateway.address(), V1_PATH, &[("authorization", &bearer(ALERTS))])
            .unwrap();
    first.subscribe(&["zeek.alerts.c"]);
    let mut other = connected(OTHER, "test.");

    // A token more.
    gateway.manager.signal(Signal::HUP);
    let mut kept = wait_for("the new token", || with_token(&gateway, new).ok());
    kept.subscribe(&["zeek.alerts.d"]);
    other.publish("zeek.alerts.a", "Test::still", json!([]));
    assert_eq!(removed.event_parts().1, "Test::still");

    // A token less.
    tokens.write("alerts", new);
    gateway.manager.signal(Signal::HUP);
    let changed = (1008, "Access rules have changed".to_owned());
    assert_eq!(removed.next().unwrap_err(), changed);
    assert_eq!(first.closed(), changed);
    assert_eq!(refused(with_token(&gateway, ALERTS)).0, 401);
    wait_notification(&notifications, "the end of the lost client", |notification| {
        matches!(notification, Notification::Unsubscription(p) if p == "zeek.alerts.lost")
            .then_some(())
    });
    for session in [removed.session(), lost_session] {
        let mut heir = with_token(&gateway, new).unwrap();
        assert_eq!(heir.resume(&session, 0)["code"], "resume_failed");
    }
    other.publish("zeek.alerts.d", "Test::kept", json!([]));
    assert_eq!(kept.event_parts().1, "Test::kept");

    // A file that cannot be used changes nothing, and one line says why.
    tokens.write("alerts", &format!("{new}\nshort\n"));
    tokens.write("other", NOBODYS);
    gateway.manager.signal(Signal::HUP);
    let path = tokens.path("alerts");
    gateway.manager.wait_stderr_line(&["stay in effect", &path, "line 2", "16"]);
    let stderr = gateway.manager.stderr();
    assert_eq!(stderr.lines().filter(|line| line.contains(&path)).count(), 1, "{stderr}");
    assert!(!stderr.contains("0123456789abcdef"), "a token was shown\n{stderr}");
    with_token(&gateway, OTHER).unwrap();
    with_token(&gateway, new).unwrap();
    assert_eq!(refused(with_token(&gateway, NOBODYS)).0, 401);
    other.publish("zeek.alerts.d", "Test::kept", json!([2]));
    assert_eq!(kept.event_parts().2, json!([2]));

    // Rules that are tighter end connections that have more.
    tokens.write("alerts", new);
    tokens.write("other", OTHER);
    let layout = fs::read_to_string(&gateway.cluster.layout).unwrap();
    let tighter = layout.replace("[\"zeek.alerts.\"]", "[\"zeek.alerts.e\"]");
    fs::write(&gateway.cluster.layout, tighter).unwrap();
    let mut fitting = with_token(&gateway, new).unwrap();
    fitting.subscribe(&["zeek.alerts.e.1"]);
    gateway.manager.signal(Signal::HUP);
    assert_eq!(kept.next().unwrap_err(), changed);
    other.publish("zeek.alerts.e.1", "Test::fits", json!([]));
    assert_eq!(fitting.event_parts().1, "Test::fits");
    let request = json!({ "type": "subscribe", "topics": ["zeek.alerts.d"] });
    assert_eq!(fitting.fail(request).0, "not_allowed");
}

/// A gateway with TLS, and the authority that its certificate is from.
struct Secure {
    dir: tempfile::TempDir,
    pki: Pki,
    gateway: Gateway,
}

impl Secure {
    /// `options` are lines of `websocket`; `{dir}` in them stands for the directory of the files.
    fn start(options: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new(dir.path());
        let file = |name: &str| dir.path().join(name).display().to_string();
        let options = options.replace("{dir}", dir.path().to_str().unwrap());
        let options =
            format!("cert_file = {:?}\nkey_file = {:?}\n{options}", file("gw.pem"), file("gw.key"));
        let gateway = Gateway::start(&options);
        Secure { dir, pki, gateway }
    }

    fn client(
        &self,
        file: Option<&str>,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Client<TlsStream>, Box<Error>> {
        let address = self.gateway.address();
        let stream = self.pki.connect(&address, file).map_err(|error| Box::new(error.into()))?;
        Client::over(stream, &address, path, headers)
    }

    fn v2(&self, file: Option<&str>) -> Result<V2<TlsStream>, Box<Error>> {
        self.client(file, PATH, &[]).map(V2::welcomed)
    }
}

#[test]
fn connections_are_encrypted() {
    let secure = Secure::start("handshake_timeout = \"50s\"\nmax_message_size = \"4 MiB\"");
    let mut first = secure.client(None, V1_PATH, &[]).unwrap();
    first.subscribe(&["test."]);
    let mut second = secure.v2(None).unwrap();
    second.subscribe(&["test."]);
    let mut third = secure.v2(None).unwrap();
    // More than a record and than the sockets hold, both ways.
    let text = "x".repeat(1_000_000);
    for _ in 0..3 {
        third.publish("test.a", "Test::long", json!([text]));
        assert_eq!(second.event_parts().2, json!([text]));
        let event = first.receive();
        assert_eq!(event["data"][2]["data"][1]["data"][0]["data"], text);
    }
    // A page of the gateway's own, under the name in the certificate.
    let own = [("host", "gw.example"), ("origin", "https://gw.example")];
    secure.client(None, PATH, &own).unwrap();
    let foreign = [("host", "gw.example"), ("origin", "https://evil.example")];
    assert_eq!(refused(secure.client(None, PATH, &foreign)).0, 403);
    // The end is said, encrypted too.
    first.close();

    // Plain HTTP ends long before the time for a handshake is over.
    let started = Instant::now();
    let mut stream = tcp(&secure.gateway.address());
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "answered unencrypted");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    wait_for("the count", || {
        let refused = "zcluster_websocket_refused_total";
        let count = secure.gateway.manager.metric_with(refused, "reason=\"tls\"");
        (count == 1.0).then_some(())
    });
}

#[test]
fn tls_and_tokens_go_together() {
    let tokens = Tokens::new();
    let secure = Secure::start(&tokens.applications());
    assert_eq!(refused(secure.client(None, PATH, &[])).0, 401);
    let client = secure.client(None, PATH, &[("authorization", &bearer(ALERTS))]).unwrap();
    assert_eq!(V2::welcomed(client).welcome["application"], "alerts");
}

#[test]
fn clients_show_certificates() {
    let secure = Secure::start(
        "enable_peer_verification = true\nca_file = \"{dir}/ca.pem\"\n\
         [nodes.manager.websocket.applications.ops]\ncertificates = [\"ops-host\"]\n\
         subscribe = [\"test.\"]\n",
    );
    secure.pki.sign("ops", "OPS-host");
    secure.pki.sign("stranger", "stranger");
    let mut ops = secure.v2(Some("ops")).unwrap();
    assert_eq!(ops.welcome["application"], "ops");
    ops.subscribe(&["test."]);
    assert_eq!(ops.fail(json!({ "type": "subscribe", "topics": ["other."] })).0, "not_allowed");
    let mut first = secure.client(Some("ops"), V1_PATH, &[]).unwrap();
    first.subscribe(&["test."]);
    ops.publish("test.a", "Test::hello", json!([]));
    assert_eq!(first.event().1, "Test::hello");
    // A certificate of this authority that no application has.
    assert_eq!(refused(secure.client(Some("stranger"), PATH, &[])), (403, String::new()));
    // None, and one of another authority.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Pki::new(elsewhere.path());
    other.sign("ops", "ops-host");
    let refused = "zcluster_websocket_refused_total";
    let before = secure.gateway.manager.metric_with(refused, "reason=\"tls\"");
    assert_eq!(before, 0.0);
    assert!(secure.client(None, PATH, &[]).is_err());
    for file in ["ops.pem", "ops.key"] {
        let theirs = fs::read(elsewhere.path().join(file)).unwrap();
        fs::write(secure.dir.path().join(format!("fake-{file}")), theirs).unwrap();
    }
    assert!(secure.client(Some("fake-ops"), PATH, &[]).is_err());
    wait_for("the counts", || {
        let count = secure.gateway.manager.metric_with(refused, "reason=\"tls\"");
        (count == 2.0).then_some(())
    });
}

#[test]
fn without_applications_every_valid_certificate_is_enough() {
    let secure = Secure::start("enable_peer_verification = true\nca_file = \"{dir}/ca.pem\"\n");
    secure.pki.sign("somebody", "somebody");
    let client = secure.v2(Some("somebody")).unwrap();
    assert_eq!(client.welcome["application"], Json::Null);
    assert!(secure.v2(None).is_err());
}

#[test]
fn a_new_certificate_is_for_new_connections() {
    let secure = Secure::start("");
    let address = secure.gateway.address();
    let shown = |pki: &Pki| {
        let stream = pki.connect(&address, None).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone()
    };
    let old = secure.pki.certificate("gw");
    assert_eq!(shown(&secure.pki), old);
    let mut before = secure.v2(None).unwrap();
    before.subscribe(&["test."]);

    // A key that is not the certificate's: half of the change.
    let dir = secure.dir.path();
    let keep = fs::read(dir.join("gw.key")).unwrap();
    secure.pki.sign("gw", "gw");
    let new_key = fs::read(dir.join("gw.key")).unwrap();
    fs::write(dir.join("gw.key"), keep).unwrap();
    secure.gateway.manager.signal(Signal::HUP);
    secure.gateway.manager.wait_stderr_line(&["stay in effect", "gw.key", "does not belong"]);
    assert_eq!(shown(&secure.pki), old);

    // The other half.
    fs::write(dir.join("gw.key"), new_key).unwrap();
    secure.gateway.manager.signal(Signal::HUP);
    let new = secure.pki.certificate("gw");
    assert_ne!(new, old);
    wait_for("the new certificate", || (shown(&secure.pki) == new).then_some(()));
    let mut after = secure.v2(None).unwrap();
    after.publish("test.a", "Test::hello", json!([]));
    assert_eq!(before.event_parts().1, "Test::hello", "it is still connected");
}

#[test]
fn files_that_cannot_be_used_keep_the_node_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::new(dir.path());
    pki.sign("other", "other");
    let tokens = Tokens::new();
    tokens.write("alerts", "short\n");
    let path = |dir: &Path, name: &str| dir.join(name).display().to_string();
    let tls = |cert: &str, key: &str| {
        let (cert, key) = (path(dir.path(), cert), path(dir.path(), key));
        format!("cert_file = {cert:?}\nkey_file = {key:?}\n")
    };
    for (options, parts) in [
        (tls("missing.pem", "gw.key"), ["missing.pem", "No such file"]),
        (tls("gw.pem", "other.key"), ["other.key", "does not belong"]),
        (tls("gw.key", "gw.key"), ["gw.key", "a private key and no certificate"]),
        (tokens.applications(), ["alerts", "line 1"]),
    ] {
        let table = format!("[nodes.manager.websocket]\nlisten_port = 0\n{options}");
        let cluster = Cluster::new(NODES, &table);
        for args in [&["--no-stdin"][..], &["--check"]] {
            let ended = run_node(&cluster, args);
            assert_eq!(ended.code, Some(78), "{options}\n{}", ended.stderr);
            let is_it = |line: &&str| parts.iter().all(|part| line.contains(part));
            assert_eq!(ended.stderr.lines().filter(is_it).count(), 1, "{}", ended.stderr);
        }
    }
}
