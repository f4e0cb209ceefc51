use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Wake;

use zcluster::telemetry::Telemetry;
use zcluster::value::Value;

use super::*;

const ID: &str = "zeromq_manager_host1_1_N1";

fn settings() -> Settings {
    Settings {
        node: "manager".into(),
        id: ID.into(),
        server: "zcluster/1".into(),
        queue: Bounds { messages: 4, bytes: 10_000 },
        when_full: WhenFull::Close,
        max_subscriptions: 3,
        max_message_bytes: 10_000,
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
        metrics: Telemetry::new("manager", "node").websocket().application(None),
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
    let [Announcement::Added { subscriptions, .. }] = &hub.take_announcements()[..] else {
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
    assert_eq!(bell.0.load(Ordering::Relaxed), 2, "there is something to take");
    hub.end();
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
