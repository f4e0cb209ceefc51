use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

use serde_json::json;
use zcluster::layout::Application;
use zcluster::telemetry::Telemetry;
use zcluster::value::Value;

use super::*;
use crate::access::Rules;
use crate::v2::{ClientStats, CountedBy, Stats, TopicRate};

const ID: &str = "zeromq_manager_host1_1_N1";

fn settings() -> Settings {
    Settings {
        node: "manager".into(),
        id: ID.into(),
        server: "zcluster/1".into(),
        signals: Signals::default(),
        queue: Bounds { messages: 4, bytes: 10_000 },
        when_full: WhenFull::Close,
        max_subscriptions: 3,
        max_prefixes: 100,
        max_prefix_length: 2_000,
        max_message_bytes: 10_000,
        max_bus_bytes: 100_000,
        replay: Bounds { messages: 10, bytes: 100_000 },
        resume_timeout: Duration::from_secs(30),
        schema: None,
    }
}

fn hub(settings: Settings) -> Hub {
    Hub::new(settings, Nodes::new([].into()))
}

fn everybody() -> Admitted {
    let access = Access::load(&zcluster::layout::WebSocket::default()).unwrap();
    access.admit(crate::access::Credentials::default()).unwrap()
}

fn open(hub: &mut Hub, version: Version) -> Key {
    hub.open(Opening {
        version,
        peer: ([127, 0, 0, 1], 4711).into(),
        name: None,
        admitted: everybody(),
        metrics: Telemetry::new("manager", "node").websocket().claimed(None),
        session: "secret".into(),
    })
}

fn taken(hub: &mut Hub, key: Key) -> Vec<String> {
    let mut out = VecDeque::new();
    hub.take(key, &mut out, usize::MAX);
    out.into_iter().map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
}

/// A client of version 1 with these subscriptions, after the ack.
fn subscribed(hub: &mut Hub, list: &str) -> Key {
    let key = open(hub, Version::V1);
    assert!(matches!(hub.message(key, list.as_bytes(), true), Outcome::Done));
    let number = hub.take_change().unwrap().confirm.unwrap();
    hub.confirmed(number);
    assert!(taken(hub, key)[0].starts_with(r#"{"type":"ack","#));
    key
}

fn event(hub: &mut Hub, topic: &str, sender: &str) {
    let event = Event::new("e", vec![Value::from(7_u64)]);
    let decode = || Some(event);
    hub.event(BStr::new(topic), BStr::new(sender), Timestamp::from_secs_f64(0.0), decode);
}

fn topics(texts: &[String]) -> Vec<String> {
    let topic = |text: &String| -> String {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["topic"].as_str().unwrap_or("-").to_owned()
    };
    texts.iter().map(topic).collect()
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_client_is_acknowledged_once_its_subscriptions_are_active() {
    let mut hub = hub(settings());
    let key = open(&mut hub, Version::V1);
    assert!(matches!(hub.message(key, br#"["b.","a.","b."]"#, true), Outcome::Done));
    let change = hub.take_change().unwrap();
    assert_eq!(change.subscribe, ["a.", "b."]);
    // Until then, its messages wait and events are not for it.
    assert!(matches!(hub.message(key, b"{}", true), Outcome::Busy));
    event(&mut hub, "a.x", "other");
    assert_eq!(taken(&mut hub, key), [""; 0]);
    hub.confirmed(change.confirm.unwrap());
    let ack = format!(r#"{{"type":"ack","endpoint":"{ID}-websocket-0","version":"zcluster/1"}}"#);
    assert_eq!(taken(&mut hub, key), [ack]);
    event(&mut hub, "a.x", "other");
    assert_eq!(topics(&taken(&mut hub, key)), ["a.x"]);
    let [Announcement::Added { subscriptions: Some(subscriptions), .. }] =
        &hub.take_announcements()[..]
    else {
        panic!("not announced")
    };
    assert_eq!(*subscriptions, ["a.", "b."]);
}

#[test]
fn a_connection_without_subscriptions_ends() {
    for (text, context) in
        [("hello", "subscriptions not an array"), ("[7]", "individual subscription not a string")]
    {
        let mut hub = hub(settings());
        let key = open(&mut hub, Version::V1);
        hub.message(key, text.as_bytes(), true);
        assert!(taken(&mut hub, key)[0].contains(context));
        let closing = hub.watch(key, Waker::noop()).unwrap();
        assert_eq!((closing.code, closing.is_urgent), (1008, false));
        hub.close(key, 1008, closing.reason, false, Instant::now());
        assert_eq!(hub.take_announcements(), [], "it was never announced");
        assert_eq!(hub.take_change(), None);
    }
}

#[test]
fn events_go_to_everybody_who_wants_them_but_their_publisher() {
    let mut hub = hub(settings());
    let one = subscribed(&mut hub, r#"["a.","a.b"]"#);
    let two = subscribed(&mut hub, r#"["a.b.c"]"#);
    let three = subscribed(&mut hub, "[]");
    let mut decoded = 0;
    for (topic, sender) in [
        ("a.b.c.d", "zeromq_worker-1_h_2_N2".to_owned()),
        ("a.b.c.d", format!("{ID}-websocket-0")),
        ("a.b.c.d", format!("{ID}-websocket-x")),
        ("a.x", format!("{ID}-websocket-0")),
        ("b", ID.to_owned()),
    ] {
        let decode = || {
            decoded += 1;
            Some(Event::new("e", vec![]))
        };
        hub.event(BStr::new(topic), BStr::new(&sender), Timestamp::from_secs_f64(0.0), decode);
    }
    assert_eq!(topics(&taken(&mut hub, one)), ["a.b.c.d", "a.b.c.d"]);
    assert_eq!(topics(&taken(&mut hub, two)), ["a.b.c.d", "a.b.c.d", "a.b.c.d"]);
    assert_eq!(taken(&mut hub, three), [""; 0]);
    assert_eq!(decoded, 3, "once for each event that somebody wants");
}

#[test]
fn what_a_client_publishes_is_checked() {
    let mut hub = hub(settings());
    let key = subscribed(&mut hub, "[]");
    let message = |topic: &str, event: &str| {
        let mut text = Vec::new();
        let event = Event::new(event, vec![]);
        broker_json::encode_data_message(topic.as_bytes(), &event, InvalidUtf8::Escape, &mut text);
        text
    };
    let Outcome::Publish { sender, topic, event, .. } = hub.message(key, &message("t", "e"), true)
    else {
        panic!("not published")
    };
    assert_eq!((sender, topic), (format!("{ID}-websocket-0").into(), "t".into()));
    assert_eq!(event.name, "e");
    for (text, code) in [
        (message("t", "Cluster::hello"), "not_allowed"),
        (message("t", "Cluster::node_down"), "not_allowed"),
        (message(&"t".repeat(2000), "e"), "not_allowed"),
        (b"[]".to_vec(), "deserialization_failed"),
        (b"\xff".to_vec(), "deserialization_failed"),
    ] {
        assert!(matches!(hub.message(key, &text, true), Outcome::Done));
        let answers = taken(&mut hub, key);
        assert!(answers[0].contains(code), "{answers:?}");
    }
}

#[test]
fn subscriptions_are_limited() {
    let mut hub = hub(settings());
    let key = open(&mut hub, Version::V1);
    hub.message(key, br#"["1","2","3","4"]"#, true);
    assert!(taken(&mut hub, key)[0].contains("more than 3 subscriptions"));
    assert!(hub.watch(key, Waker::noop()).is_some());
    let key = open(&mut hub, Version::V1);
    hub.message(key, format!("[\"{}\"]", "p".repeat(1025)).as_bytes(), true);
    assert!(taken(&mut hub, key)[0].contains("longer than 1024 bytes"));
    assert_eq!(hub.take_change(), None, "nothing was subscribed");
}

#[test]
fn who_reads_too_slowly_is_cut_off_and_nobody_else() {
    let mut hub = hub(settings());
    let slow = subscribed(&mut hub, r#"["a."]"#);
    let fast = subscribed(&mut hub, r#"["a."]"#);
    for _ in 0..10 {
        event(&mut hub, "a.x", "other");
        assert_eq!(taken(&mut hub, fast).len(), 1);
    }
    assert_eq!(hub.watch(slow, Waker::noop()), Some(TOO_SLOW));
    assert_eq!(hub.watch(fast, Waker::noop()), None);
    hub.close(slow, 1008, "slow", false, Instant::now());
    assert_eq!(hub.take_change(), None, "the other still wants it");
    hub.close(fast, 1000, "", true, Instant::now());
    assert_eq!(hub.take_change().unwrap().unsubscribe, ["a."]);
    let lost = hub.take_announcements();
    assert_eq!(lost.len(), 4, "two came and two went: {lost:?}");
    event(&mut hub, "a.x", "other");
}

#[test]
fn the_oldest_events_are_dropped_where_that_is_the_policy() {
    let mut hub = hub(Settings { when_full: WhenFull::DropOldest, ..settings() });
    let key = subscribed(&mut hub, r#"[""]"#);
    for number in 0..10 {
        event(&mut hub, &format!("t{number}"), "other");
    }
    assert_eq!(topics(&taken(&mut hub, key)), ["t6", "t7", "t8", "t9"]);
    assert_eq!(hub.watch(key, Waker::noop()), None);
    assert_eq!(hub.figures()[0].dropped, 6);
}

#[test]
fn a_waker_is_woken_once() {
    let mut hub = hub(settings());
    let key = subscribed(&mut hub, r#"["a."]"#);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert_eq!(hub.watch(key, &waker), None);
    event(&mut hub, "b", "other");
    assert_eq!(bell.0.load(Ordering::Relaxed), 0);
    event(&mut hub, "a.x", "other");
    event(&mut hub, "a.x", "other");
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    assert_eq!(hub.watch(key, &waker), None);
    assert_eq!(bell.0.load(Ordering::Relaxed), 1, "not for what has waited before");
    hub.end();
    assert_eq!(bell.0.load(Ordering::Relaxed), 2);
    assert_eq!(hub.watch(key, &waker), Some(TERMINATING));
    let late = open(&mut hub, Version::V1);
    assert_eq!(hub.watch(late, &waker), Some(TERMINATING));
}

#[test]
fn a_confirmation_for_a_client_that_is_gone_goes_to_nobody() {
    let mut hub = hub(settings());
    let gone = open(&mut hub, Version::V1);
    hub.message(gone, br#"["a."]"#, true);
    let number = hub.take_change().unwrap().confirm.unwrap();
    hub.close(gone, 1006, "", false, Instant::now());
    // It may get the same place.
    let next = open(&mut hub, Version::V1);
    hub.confirmed(number);
    assert_eq!(taken(&mut hub, next), [""; 0]);
    hub.message(next, br#"["a."]"#, true);
    let change = hub.take_change().unwrap();
    assert!(change.subscribe.is_empty() && change.unsubscribe.is_empty(), "{change:?}");
    hub.confirmed(change.confirm.unwrap());
    assert_eq!(taken(&mut hub, next).len(), 1);
}

/// What a client of version 2 is told, as JSON.
fn told(hub: &mut Hub, key: Key) -> Vec<serde_json::Value> {
    taken(hub, key).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// A client of version 2 after its welcome, with a session of that name.
fn second(hub: &mut Hub, session: &str) -> Key {
    let key = hub.open(Opening {
        version: Version::V2,
        peer: ([127, 0, 0, 1], 4711).into(),
        name: None,
        admitted: everybody(),
        metrics: Telemetry::new("manager", "node").websocket().claimed(None),
        session: session.into(),
    });
    assert_eq!(told(hub, key)[0]["type"], "welcome");
    key
}

fn say(hub: &mut Hub, key: Key, message: &serde_json::Value) -> Vec<serde_json::Value> {
    assert!(matches!(hub.message(key, message.to_string().as_bytes(), true), Outcome::Done));
    if let Some(number) = hub.take_change().and_then(|change| change.confirm) {
        hub.confirmed(number);
    }
    told(hub, key)
}

fn seqs(messages: &[serde_json::Value]) -> Vec<u64> {
    messages.iter().filter_map(|message| message["seq"].as_u64()).collect()
}

#[test]
fn subscriptions_of_version_2_change_at_any_time() {
    let mut hub = hub(settings());
    let key = second(&mut hub, "s");
    let subscribe = json!({ "type": "subscribe", "id": 1, "topics": ["a.", "b."] });
    assert_eq!(say(&mut hub, key, &subscribe), [json!({ "type": "ok", "id": 1 })]);
    event(&mut hub, "a.x", "other");
    assert_eq!(told(&mut hub, key)[0]["topic"], "a.x");
    let unsubscribe = json!({ "type": "unsubscribe", "topics": ["a.", "never"] });
    assert_eq!(say(&mut hub, key, &unsubscribe), [] as [serde_json::Value; 0]);
    event(&mut hub, "a.x", "other");
    event(&mut hub, "b.x", "other");
    assert_eq!(told(&mut hub, key)[0]["topic"], "b.x");
    let too_many = json!({ "type": "subscribe", "id": "x", "topics": ["1", "2", "3"] });
    assert_eq!(say(&mut hub, key, &too_many)[0]["code"], "too_many_subscriptions");
    event(&mut hub, "1", "other");
    assert_eq!(taken(&mut hub, key), [""; 0], "none of them was subscribed");
}

#[test]
fn requests_that_wait_are_bounded_and_end_with_their_client() {
    let mut hub = hub(settings());
    let keys = [second(&mut hub, "one"), second(&mut hub, "two")];
    let request = br#"{"type":"subscribe","topics":["a."]}"#;
    for key in keys {
        for _ in 0..MAX_PENDING {
            assert!(matches!(hub.message(key, request, true), Outcome::Done));
        }
        assert!(matches!(hub.message(key, request, true), Outcome::Busy));
    }
    let number = hub.take_change().unwrap().confirm.unwrap();
    let (bell, now) = (Arc::new(Bell::default()), Instant::now());
    hub.watch(keys[0], &Waker::from(Arc::clone(&bell)));
    hub.close(keys[1], 1006, "", false, now);
    assert_eq!(hub.pending.len(), MAX_PENDING);
    hub.confirmed(number);
    assert_eq!(bell.0.load(Ordering::Relaxed), 1, "although it has no answer");
    assert!(matches!(hub.message(keys[0], request, true), Outcome::Done));
    hub.close(keys[0], 1000, "", true, now);
    assert_eq!(hub.pending.len(), 0);
}

#[test]
fn a_lost_client_returns_and_misses_nothing() {
    let mut hub = hub(settings());
    let now = Instant::now();
    let lost = second(&mut hub, "lost");
    let subscribe = json!({ "type": "subscribe", "topics": ["a."] });
    say(&mut hub, lost, &subscribe);
    event(&mut hub, "a.1", "other");
    assert_eq!(seqs(&told(&mut hub, lost)), [1]);
    event(&mut hub, "a.2", "other");
    hub.close(lost, 1006, "", false, now);
    assert_eq!(hub.take_change(), None, "its subscription stays");
    event(&mut hub, "b.3", "other");
    event(&mut hub, "a.4", &format!("{ID}-websocket-0"));
    event(&mut hub, "a.5", "other");
    let back = second(&mut hub, "back");
    let resume =
        |session: &str, after: u64| json!({ "type": "resume", "session": session, "after": after });
    let answers = say(&mut hub, back, &resume("lost", 1));
    assert_eq!(answers[0], json!({ "type": "ok", "replayed": 2, "complete": true }));
    assert_eq!(seqs(&answers), [2, 5], "not its own, and not what it did not want");
    event(&mut hub, "a.6", "other");
    assert_eq!(seqs(&told(&mut hub, back)), [6]);
    // Only once, and only as the first message.
    let third = second(&mut hub, "third");
    assert_eq!(say(&mut hub, third, &resume("lost", 1))[0]["code"], "resume_failed");
    assert_eq!(say(&mut hub, third, &resume("back", 1))[0]["code"], "not_allowed");
    // While the old connection still stands.
    let fourth = second(&mut hub, "fourth");
    assert_eq!(say(&mut hub, fourth, &resume("back", 6))[0]["complete"], true);
    assert!(hub.watch(back, Waker::noop()).is_some());
    hub.close(back, 1008, "", false, now);
    assert_eq!(hub.take_change(), None);
    // A client that said goodbye does not return.
    hub.close(fourth, 1000, "", true, now);
    assert_eq!(hub.take_change().unwrap().unsubscribe, ["a."]);
    let fifth = second(&mut hub, "fifth");
    assert_eq!(say(&mut hub, fifth, &resume("fourth", 6))[0]["code"], "resume_failed");
}

#[test]
fn what_is_forgotten_is_said() {
    let mut hub = hub(Settings { replay: Bounds { messages: 2, bytes: 10_000 }, ..settings() });
    let lost = second(&mut hub, "lost");
    say(&mut hub, lost, &json!({ "type": "subscribe", "topics": [""] }));
    hub.close(lost, 1006, "", false, Instant::now());
    for number in 1..=4 {
        event(&mut hub, &format!("t{number}"), "other");
    }
    let back = second(&mut hub, "back");
    let resume = json!({ "type": "resume", "id": "r", "session": "lost", "after": 0 });
    let answers = say(&mut hub, back, &resume);
    let ok = json!({ "type": "ok", "id": "r", "replayed": 2, "complete": false });
    assert_eq!(answers[0], ok);
    assert_eq!(answers[1], json!({ "type": "lagged", "dropped": null, "from": 1, "to": 2 }));
    assert_eq!(seqs(&answers), [3, 4]);
}

#[test]
fn a_session_does_not_hear_itself_in_any_of_its_connections() {
    let mut hub = hub(settings());
    let first = second(&mut hub, "first");
    say(&mut hub, first, &json!({ "type": "subscribe", "topics": [""] }));
    let numbers: Vec<String> = (0..3).map(|n| format!("{ID}-websocket-{n}")).collect();
    event(&mut hub, "t1", &numbers[0]);
    let mut last = first;
    for (before, name) in [("first", "second"), ("second", "third")] {
        hub.close(last, 1006, "", false, Instant::now());
        last = second(&mut hub, name);
        event(&mut hub, "other", "other");
        let resume = json!({ "type": "resume", "session": before, "after": 0 });
        let answers = say(&mut hub, last, &resume);
        assert!(seqs(&answers).iter().all(|seq| *seq > 1), "{answers:?}");
        event(&mut hub, "late", &numbers[0]);
        event(&mut hub, "late", &numbers[1]);
    }
    assert_eq!(seqs(&told(&mut hub, last)), [0; 0]);
}

#[test]
fn a_session_ends_with_its_time() {
    let mut hub = hub(settings());
    let now = Instant::now();
    let lost = second(&mut hub, "lost");
    say(&mut hub, lost, &json!({ "type": "subscribe", "topics": ["a."] }));
    hub.close(lost, 1006, "", false, now);
    hub.tick(now + Duration::from_secs(29));
    assert_eq!(hub.take_change(), None);
    hub.tick(now + Duration::from_secs(31));
    assert_eq!(hub.take_change().unwrap().unsubscribe, ["a."]);
    assert!(hub.figures().is_empty());
}

#[test]
fn notices_come_to_whom_asked_for_them() {
    let nodes = [("manager".into(), ("manager", Some(ID.into()))), ("w".into(), ("worker", None))];
    let queue = Bounds { messages: 10, bytes: 10_000 };
    let mut hub = Hub::new(Settings { queue, ..settings() }, Nodes::new(nodes.into()));
    let (curious, other) = (second(&mut hub, "1"), second(&mut hub, "2"));
    let notices = json!({ "type": "notices", "id": 1, "kinds": ["nodes", "bus", "stats"] });
    let answers = say(&mut hub, curious, &notices);
    assert_eq!(
        answers[1]["nodes"][1],
        json!({ "node": "w", "node_type": "worker", "id": null, "up": false })
    );
    assert_eq!(answers[2], json!({ "type": "bus", "connected": false }));
    let at = Timestamp::from_secs_f64(0.0);
    hub.bus_changed(true);
    hub.bus_changed(true);
    hub.node_changed("w", Some("w1".into()), at);
    hub.node_changed("w", Some("w2".into()), at);
    hub.node_changed("unknown", Some("x".into()), at);
    hub.node_changed("w", None, at);
    let kinds: Vec<String> = told(&mut hub, curious)
        .iter()
        .map(|m| format!("{} {}", m["type"].as_str().unwrap(), m["id"].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(
        kinds,
        ["bus -", "node_up w1", "node_down w1", "node_up w2", "node_down w2"].map(str::to_owned)
    );
    assert!(hub.wants_stats());
    assert_eq!(taken(&mut hub, other), [""; 0]);
    say(&mut hub, curious, &json!({ "type": "notices", "kinds": [] }));
    assert!(!hub.wants_stats());
}

#[test]
fn who_may_not_hear_everything_sees_only_its_part_of_the_measurements() {
    let mut hub = hub(Settings { queue: Bounds { messages: 10, bytes: 10_000 }, ..settings() });
    let (free, limited) = (second(&mut hub, "1"), second(&mut hub, "2"));
    let application = Application { subscribe: Some(vec!["a.".into()]), ..Application::default() };
    hub.clients[limited.0].admitted.rules = Rules::new(&application).into();
    for key in [free, limited] {
        say(&mut hub, key, &json!({ "type": "notices", "kinds": ["stats"] }));
    }
    let client = |key: Key| ClientStats {
        endpoint: hub.clients[key.0].endpoint.id.clone().into(),
        application: None,
        address: "127.0.0.1:1".into(),
        version: 2,
        subscriptions: 0,
        received_per_second: 0.0,
        sent_per_second: 0.0,
        queued_messages: 0,
        dropped: 0,
    };
    let topic = |topic: String| TopicRate { topic: topic.into(), events_per_second: 1.0 };
    let others = (0..150).map(|n| topic(format!("b.{n}")));
    let stats = Stats {
        ts: Timestamp::from_secs_f64(0.0),
        node: "manager".into(),
        interval_seconds: 1.0,
        topics_from: CountedBy::Broker,
        topics: others.chain([topic("a.x".into())]).collect(),
        logs: vec![],
        drops: vec![],
        slow: vec![],
        clients: vec![client(free), client(limited)],
        unreachable: vec![],
    };
    hub.stats(&stats);
    let mut seen = |key: Key| {
        let stats = told(&mut hub, key).pop().unwrap();
        let count = |list: &str| stats[list].as_array().unwrap().len();
        (count("topics"), count("clients"), stats["topics"][0]["topic"].clone())
    };
    assert_eq!(seen(free), (100, 2, json!("b.0")));
    assert_eq!(seen(limited), (1, 1, json!("a.x")), "also if others have more");
}

#[test]
fn who_is_told_what_it_missed_is_not_cut_off() {
    let mut hub = hub(settings());
    let key = second(&mut hub, "s");
    say(&mut hub, key, &json!({ "type": "subscribe", "topics": [""] }));
    for number in 1..=10 {
        event(&mut hub, &format!("t{number}"), "other");
    }
    let messages = told(&mut hub, key);
    let lagged = json!({ "type": "lagged", "dropped": 6, "from": 1, "to": 6 });
    assert_eq!(messages[0], lagged);
    assert_eq!(seqs(&messages), [7, 8, 9, 10]);
    assert_eq!(hub.watch(key, Waker::noop()), None);
}

#[test]
fn without_a_bus_nothing_is_published() {
    let mut hub = hub(settings());
    let key = second(&mut hub, "s");
    let publish = json!({ "type": "publish", "id": 1, "topic": "t", "event": "e" });
    assert_eq!(say(&mut hub, key, &publish)[0]["code"], "unavailable");
    hub.bus_changed(true);
    let text = publish.to_string();
    let Outcome::Publish { reply, .. } = hub.message(key, text.as_bytes(), true) else {
        panic!("not published")
    };
    hub.published(key, &[reply]);
    assert_eq!(told(&mut hub, key), [json!({ "type": "ok", "id": 1 })]);
    assert!(matches!(hub.message(key, text.as_bytes(), false), Outcome::Done), "a binary frame");
    assert_eq!(told(&mut hub, key)[0]["code"], "bad_message");
}
