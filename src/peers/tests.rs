use proptest::prelude::*;

use super::*;
use crate::Layout;
use crate::app::Harness;
use crate::node::{BrokerNews, BrokerState, PeerFault};
use crate::value::{Port, Protocol};

const LAYOUT: &str = r#"
[zeromq]
listen_xsub_endpoint = "tcp://192.0.2.9:5556"
[nodes.manager]
node_type = "manager"
ip = "192.0.2.1"
[nodes.logger-1]
node_type = "logger"
ip = "192.0.2.2"
port = 5000
[nodes.worker-1]
node_type = "worker"
ip = "192.0.2.3"
"#;

type Notes = Rc<RefCell<Vec<String>>>;

fn state(state: BrokerState) -> BrokerNews {
    BrokerNews::State(state)
}

fn trouble(fault: PeerFault) -> BrokerNews {
    BrokerNews::Trouble { fault, details: "why".into() }
}

/// An app that notes each event with the status that it led to.
fn noting(peers: &Peers, notes: &Notes) -> App {
    let note = |what: &'static str| {
        let (peers, notes) = (peers.clone(), Rc::clone(notes));
        move |detail: &str| {
            let status = peers.peers()[0].status;
            notes.borrow_mut().push(format!("{what}{detail} {status:?}"));
        }
    };
    let (added, removed, lost) = (note("added"), note("removed"), note("lost"));
    let (discovered, unreachable) = (note("discovered "), note("unreachable "));
    let (status, error) = (note("status"), note("error "));
    App::new()
        .with(peers.clone())
        .on::<PeerAdded>(move |_, _| {
            added("");
            Ok(())
        })
        .on::<PeerRemoved>(move |_, _| {
            removed("");
            Ok(())
        })
        .on::<PeerLost>(move |_, _| {
            lost("");
            Ok(())
        })
        .on::<EndpointDiscovered>(move |event, _| {
            discovered(&event.endpoint.id);
            Ok(())
        })
        .on::<EndpointUnreachable>(move |event, _| {
            unreachable(&event.endpoint.id);
            Ok(())
        })
        .on::<Status>(move |_, _| {
            status("");
            Ok(())
        })
        .on::<Error>(move |event, _| {
            error(event.code.zeek_name());
            Ok(())
        })
}

fn harness(app: App) -> Harness {
    let (layout, _) = Layout::from_toml(LAYOUT, "layout").unwrap();
    Harness::new(app, layout, "manager").unwrap()
}

#[test]
fn each_change_is_an_event() {
    use BrokerState::{Closed, Connected, Connecting, Ready, Reconnecting};
    use PeerFault::{BrokenOff, Incompatible, Keys, Other, Unanswered, Unavailable};
    let notes = Notes::default();
    let mut harness = harness(noting(&Peers::new(), &notes));
    assert_eq!(notes.take(), ["status Connecting"]);
    for (row, (news, expected)) in [
        (state(Connecting), &[][..]),
        (trouble(Unavailable), &["error Broker::PEER_UNAVAILABLE Connecting"]),
        (trouble(Unavailable), &[]),
        (trouble(Unanswered), &["error Broker::PEER_TIMEOUT Connecting"]),
        (trouble(BrokenOff), &["error Broker::PEER_DISCONNECT_DURING_HANDSHAKE Connecting"]),
        (trouble(Unavailable), &["error Broker::PEER_UNAVAILABLE Connecting"]),
        (state(Connected), &["status Connected"]),
        (state(Connecting), &["status Connecting"]),
        (state(Connected), &["status Connected"]),
        (state(Ready), &["added Peered"]),
        (state(Ready), &[]),
        (state(Reconnecting), &["lost Disconnected", "status Reconnecting"]),
        (state(Reconnecting), &[]),
        (trouble(Unavailable), &["error Broker::PEER_UNAVAILABLE Reconnecting"]),
        (state(Connected), &["status Connected"]),
        (state(Reconnecting), &["status Reconnecting"]),
        (trouble(Unavailable), &[]),
        (state(Connected), &["status Connected"]),
        (state(Ready), &["added Peered"]),
        (state(Reconnecting), &["lost Disconnected", "status Reconnecting"]),
        (trouble(Incompatible), &["error Broker::PEER_INCOMPATIBLE Reconnecting"]),
        (trouble(Keys), &["error Broker::PEER_INVALID Reconnecting"]),
        (trouble(Other), &["error Broker::UNSPECIFIED Reconnecting"]),
        (state(Closed), &["status Disconnected"]),
        (state(Closed), &[]),
        (state(Ready), &[]),
        (trouble(Keys), &[]),
    ]
    .into_iter()
    .enumerate()
    {
        harness.broker_news(&news);
        assert_eq!(notes.take(), expected, "row {row}: {news:?}");
    }
    harness.stop();
    assert_eq!(notes.take(), [""; 0]);
}

#[test]
fn nodes_are_endpoints() {
    let notes = Notes::default();
    let mut harness = harness(noting(&Peers::new(), &notes));
    harness.broker_news(&state(BrokerState::Connected));
    harness.broker_news(&state(BrokerState::Ready));
    notes.take();
    harness.node_up("worker-1", "w1");
    harness.broker_news(&state(BrokerState::Reconnecting));
    harness.node_down("worker-1", "w1");
    harness.node_up("worker-1", "w2");
    let expected = [
        "discovered w1 Peered",
        "lost Disconnected",
        "status Reconnecting",
        "unreachable w1 Reconnecting",
        "discovered w2 Reconnecting",
    ];
    assert_eq!(notes.take(), expected);
}

#[test]
fn the_end_is_told_once_whoever_brings_it_about() {
    for (is_ready, by_node, expected) in [
        (true, false, "removed Disconnected"),
        (true, true, "removed Disconnected"),
        (false, false, "status Disconnected"),
        (false, true, "status Disconnected"),
    ] {
        let notes = Notes::default();
        let mut harness = harness(noting(&Peers::new(), &notes));
        harness.broker_news(&state(BrokerState::Connected));
        if is_ready {
            harness.broker_news(&state(BrokerState::Ready));
        }
        notes.take();
        if by_node {
            harness.broker_news(&state(BrokerState::Closed));
        }
        harness.stop();
        assert_eq!(notes.take(), [expected], "ready: {is_ready}, by the node: {by_node}");
    }
}

#[test]
fn endpoints_are_where_the_layout_says() {
    let (layout, _) = Layout::from_toml(LAYOUT, "layout").unwrap();
    let tcp = |address: &str, port| NetworkInfo {
        address: address.into(),
        bound_port: Port::new(port, Protocol::Tcp),
    };
    let broker = EndpointInfo::broker(&layout);
    assert_eq!(broker, EndpointInfo { id: "broker".into(), network: Some(tcp("192.0.2.9", 5556)) });
    let id = NodeId::from_bytes("x");
    let logger = EndpointInfo::node(&layout, "logger-1", &id);
    assert_eq!(logger, EndpointInfo { id: "x".into(), network: Some(tcp("192.0.2.2", 5000)) });
    let worker = EndpointInfo::node(&layout, "worker-1", &id).network.unwrap();
    assert_eq!((worker.address.as_str(), worker.bound_port), ("192.0.2.3", Port::default()));
    assert_eq!(EndpointInfo::node(&layout, "stranger", &id).network, None);
    let text = "[zeromq]\nlisten_xsub_endpoint = \"ipc:///run/x\"\n[nodes.manager]\n\
                node_type = \"manager\"\nip = \"127.0.0.1\"\n";
    let (layout, _) = Layout::from_toml(text, "layout").unwrap();
    assert_eq!(EndpointInfo::broker(&layout).network, None);
}

#[test]
fn peers_are_known_once_the_app_has_started() {
    let peers = Peers::new();
    assert_eq!((peers.peers(), peers.node_id()), (vec![], String::new()));
    let mut harness = harness(App::new().with(peers.clone()));
    assert!(peers.node_id().starts_with("zeromq_manager_"), "{}", peers.node_id());
    assert_eq!(peers.peers()[0].status, PeerStatus::Connecting);
    harness.broker_news(&state(BrokerState::Connected));
    assert_eq!(peers.peers()[0].status, PeerStatus::Connected);
}

#[test]
fn arguments_are_zeeks_records_and_nobody_else_can_raise_the_events() {
    let endpoint = EndpointInfo { id: "x".into(), network: None };
    let event = owned(&Error { code: ErrorCode::PeerTimeout, msg: "m".into() }).unwrap();
    assert_eq!(event.args, [crate::Value::enum_value("Broker::PEER_TIMEOUT"), "m".into()]);
    let lost = owned(&PeerLost { endpoint, msg: "m".into() }).unwrap();
    let record = crate::Value::Vector(vec!["x".into(), crate::Value::None]);
    assert_eq!((lost.name.to_string(), &lost.args[0]), ("Broker::peer_lost".into(), &record));
    let notes = Notes::default();
    let mut harness = harness(noting(&Peers::new(), &notes));
    notes.take();
    for name in [
        PeerAdded::NAME,
        PeerRemoved::NAME,
        PeerLost::NAME,
        EndpointDiscovered::NAME,
        EndpointUnreachable::NAME,
        Status::NAME,
    ] {
        let forged = Event { name: name.into(), ..lost.clone() };
        harness.receive("zeek.cluster.manager", "stranger", &forged);
    }
    harness.receive("zeek.cluster.manager", "stranger", &event);
    assert_eq!((notes.take(), harness.misfits()), (vec![], 0));
}

proptest! {
    #[test]
    fn added_and_lost_take_turns(
        steps in prop::collection::vec(
            prop_oneof![
                Just(state(BrokerState::Connecting)),
                Just(state(BrokerState::Connected)),
                Just(state(BrokerState::Ready)),
                Just(state(BrokerState::Reconnecting)),
                Just(trouble(PeerFault::Unavailable)),
            ],
            0..40,
        )
    ) {
        let mut view = View::default();
        view.started();
        let mut is_there = false;
        let mut told: Vec<Tell> = steps.iter().flat_map(|news| view.news(news)).collect();
        told.extend(view.stopped());
        for tell in &told {
            match tell {
                Tell::Change(_, Change::Added) => prop_assert!(!std::mem::replace(&mut is_there, true)),
                Tell::Change(_, Change::Lost | Change::Removed) => {
                    prop_assert!(std::mem::replace(&mut is_there, false));
                }
                Tell::Change(..) | Tell::Error(..) => {}
            }
        }
        prop_assert!(!is_there);
    }
}
