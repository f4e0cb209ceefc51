//! Every event of the recordings (`tests/fixtures/README.md`) as a struct, and typed events between
//! nodes.
#![allow(clippy::unwrap_used, missing_docs)]
// Fields have their names in Zeek.
#![allow(clippy::struct_field_names)]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use serde::{Deserialize, Serialize};
use support::{Cluster, NodeSpec, wait_members, wait_notification};
use zcluster::node::{Node, Notification, Notifications};
use zcluster::value::{Address, Enum, Pattern, Port, Set, Subnet, Timespan, Timestamp, with};
use zcluster::wire::{EventFormat, EventMessage, Recording};
use zcluster::{Event, ToEvent, TypedEvent, Value};

/// Declares typed events.
macro_rules! events {
    ($($name:literal $event:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            #[derive(Debug, Event, Serialize, Deserialize)]
            #[event(name = $name)]
            struct $event { $($(#[$attribute])* $field: $type,)* }
        )*

        /// An event after a round trip through its struct.
        fn through_struct(event: Event) -> Event {
            match event.name.to_str().unwrap() {
                $(<$event as TypedEvent>::NAME => {
                    let borrowed = $event::from_event(&event).unwrap();
                    let typed = $event::from_event(event).unwrap();
                    assert_eq!(typed.to_event(), borrowed.to_event());
                    typed.to_event().unwrap().into_owned()
                })*
                name => panic!("{name} is not declared"),
            }
        }
    };
}

/// Declares records.
macro_rules! records {
    ($($record:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
            struct $record { $($(#[$attribute])* $field: $type,)* }
        )*
    };
}

// The cluster.
events! {
    "Cluster::Backend::ZeroMQ::hello" ZeroMqHello { name: String, id: String, }
    "Cluster::hello" ClusterHello { name: String, id: String, }
    "Intel::new_min_data_store" NewMinDataStore { store: MinDataStore, }
    "known_host_add" KnownHostAdd { info: HostsInfo, }
    "known_service_add" KnownServiceAdd { info: ServicesInfo, }
    "known_cert_add" KnownCertAdd { info: CertsInfo, hash: String, }
    "X509::log_cert_hashes_internal" LogCertHashes {
        #[serde(with = "with::set")]
        hashes: BTreeSet<LogCertHash>,
    }
    "Notice::suppression_batch_internal" SuppressionBatch { batch: Suppressions, }
    "Software::new" SoftwareNew { info: SoftwareInfo, }
    "DHCP::aggregate_msgs" AggregateMsgs {
        ts: Timestamp,
        id: ConnId,
        uid: String,
        is_orig: bool,
        msg: DhcpMsg,
        options: DhcpOptions,
    }
    "sync_add_expected_data" SyncAddExpectedData { session: FtpInfo, channel: ExpectedDataChannel, }
    "sync_remove_expected_data" SyncRemoveExpectedData {
        #[serde(with = "with::addr")]
        host: IpAddr,
        port: Port,
    }
    "SSL::new_intermediate" NewIntermediate { key: BString, chain: Vec<(String, BString)>, }
    "SSL::intermediate_add" IntermediateAdd { key: BString, chain: Vec<(String, BString)>, }
    "SumStats::cluster_ss_request" SsRequest { uid: String, name: String, cleanup: bool, }
    "SumStats::get_a_key" GetAKey { uid: String, name: String, cleanup: bool, }
    "SumStats::cluster_key_intermediate_response" KeyIntermediate { name: String, key: SumStatsKey, }
    "SumStats::cluster_get_result" GetResult {
        uid: String,
        name: String,
        key: SumStatsKey,
        cleanup: bool,
    }
    "SumStats::cluster_send_result" SendResult {
        uid: String,
        name: String,
        key: SumStatsKey,
        result: BTreeMap<String, ResultVal>,
        cleanup: bool,
    }
    "dcc_transfer_add" DccTransferAdd { host: Address, port: Port, info: IrcInfo, }
    "dcc_transfer_remove" DccTransferRemove { host: Address, port: Port, }

    // One for each type.
    "Lab::ev_none" None0 {}
    "Lab::ev_bool" Bools { yes: bool, no: bool, }
    "Lab::ev_count" Counts { smallest: u64, largest: u64, }
    "Lab::ev_int" Ints { smallest: i64, other: i64, }
    "Lab::ev_double" Doubles { tenth: f64, huge: f64, whole: f64, }
    "Lab::ev_string" Strings { empty: String, text: String, bytes: BString, }
    "Lab::ev_addr" Addrs { v4: Address, #[serde(with = "with::addr")] v6: IpAddr, }
    "Lab::ev_subnet" Subnets { v4: Subnet, v6: Subnet, }
    "Lab::ev_port" Ports { tcp: Port, udp: Port, icmp: Port, unknown: Port, }
    "Lab::ev_time" Times { time: Timestamp, }
    "Lab::ev_interval" Intervals { one: Timespan, two: Timespan, }
    "Lab::ev_enum" Enums { color: Color, }
    "Lab::ev_set" Sets {
        #[serde(with = "with::set")]
        counts: HashSet<u64>,
        services: Set<(Address, Port)>,
        empty: Set<String>,
    }
    "Lab::ev_table" Tables {
        counts: BTreeMap<String, u64>,
        services: BTreeMap<Service, Vec<String>>,
    }
    "Lab::ev_vector" Vectors { strings: Vec<String>, numbers: Vec<u64>, }
    "Lab::ev_record" Records { inner: Inner, outer: Outer, }
    "Lab::ev_pattern" Patterns { pattern: Pattern, }
    "Lab::ev_any" Anys { number: Value, text: Value, }
    "Lab::ev_long" Long { text: String, numbers: Vec<u64>, }
}

#[derive(Debug, Serialize, Deserialize)]
enum Color {
    #[serde(rename = "Lab::GREEN")]
    Green,
}

records! {
    ConnId {
        orig_h: Address,
        orig_p: Port,
        resp_h: Address,
        resp_p: Port,
        proto: u64,
        ctx: Context,
    }
    Context {}
    MinDataStore {
        host_data: Set<Address>,
        string_data: Set<(String, Enum)>,
        subnet_data: Set<Subnet>,
    }
    HostsInfo { ts: Timestamp, host: Address, }
    ServicesInfo {
        ts: Timestamp,
        host: Address,
        port_num: Port,
        #[serde(with = "with::enum_name")]
        port_proto: String,
        service: Set<String>,
    }
    CertsInfo {
        ts: Timestamp,
        host: Address,
        port_num: Option<Port>,
        subject: Option<BString>,
        issuer_subject: Option<BString>,
        serial: Option<String>,
    }
    LogCertHash { fingerprint: String, host_cert: bool, client_cert: bool, }
    Suppressions { ts: Timestamp, is_last: bool, notices: Vec<Suppression>, }
    Suppression { ts: Timestamp, suppress_for: Timespan, note: Enum, identifier: String, }
    SoftwareInfo {
        ts: Option<Timestamp>,
        host: Address,
        host_p: Option<Port>,
        software_type: Enum,
        name: Option<String>,
        version: Option<SoftwareVersion>,
        unparsed_version: Option<BString>,
        force_log: bool,
    }
    SoftwareVersion {
        major: Option<u64>,
        minor: Option<u64>,
        minor2: Option<u64>,
        minor3: Option<u64>,
        addl: Option<String>,
    }
    DhcpMsg {
        op: u64,
        m_type: u64,
        xid: u64,
        secs: Timespan,
        flags: u64,
        ciaddr: Address,
        yiaddr: Address,
        siaddr: Address,
        giaddr: Address,
        chaddr: String,
        sname: BString,
        file_n: BString,
    }
    DhcpOptions {
        options: Option<Vec<u64>>,
        subnet_mask: Option<Address>,
        routers: Option<Vec<Address>>,
        dns_servers: Option<Vec<Address>>,
        host_name: Option<BString>,
        domain_name: Option<BString>,
        forwarding: Option<bool>,
        broadcast: Option<Address>,
        vendor: Option<BString>,
        nbns: Option<Vec<Address>>,
        addr_request: Option<Address>,
        lease: Option<Timespan>,
        serv_addr: Option<Address>,
        param_list: Option<Vec<u64>>,
        message: Option<BString>,
        max_msg_size: Option<u64>,
        renewal_time: Option<Timespan>,
        rebinding_time: Option<Timespan>,
        vendor_class: Option<BString>,
        client_id: Option<ClientId>,
        user_class: Option<BString>,
        client_fqdn: Option<ClientFqdn>,
        sub_opt: Option<Vec<SubOpt>>,
        auto_config: Option<bool>,
        auto_proxy_config: Option<BString>,
        time_offset: Option<i64>,
        time_servers: Option<Vec<Address>>,
        name_servers: Option<Vec<Address>>,
        ntp_servers: Option<Vec<Address>>,
    }
    ClientId { hwtype: u64, hwaddr: String, }
    ClientFqdn { flags: u64, rcode1: u64, rcode2: u64, domain_name: BString, }
    SubOpt { code: u64, value: BString, }
    FtpInfo {
        ts: Timestamp,
        uid: String,
        id: ConnId,
        user: BString,
        password: Option<BString>,
        command: Option<String>,
        arg: Option<BString>,
        mime_type: Option<String>,
        file_size: Option<u64>,
        reply_code: Option<u64>,
        reply_msg: Option<BString>,
        data_channel: Option<ExpectedDataChannel>,
        cwd: BString,
        cmdarg: Option<CmdArg>,
        pending_commands: BTreeMap<u64, CmdArg>,
        command_seq: u64,
        passive: bool,
        capture_password: bool,
        data_channel_established: bool,
        fuid: Option<String>,
        last_auth_requested: Option<String>,
    }
    CmdArg { ts: Timestamp, cmd: String, arg: BString, seq: u64, cwd_consumed: bool, }
    ExpectedDataChannel { passive: bool, orig_h: Address, resp_h: Address, resp_p: Port, }
    SumStatsKey { text: Option<String>, host: Option<Address>, }
    Service { host: Address, port: Port, }
    Inner { number: u64, text: Option<String>, ports: Set<Port>, }
    Outer { first: InnerWithText, all: Vec<Inner>, }
    InnerWithText { number: u64, text: String, ports: Set<Port>, }
    IrcInfo {
        ts: Timestamp,
        uid: String,
        id: ConnId,
        nick: Option<BString>,
        user: Option<BString>,
        command: Option<BString>,
        value: Option<BString>,
        addl: Option<BString>,
        dcc_file_name: Option<BString>,
        dcc_file_size: Option<u64>,
        dcc_mime_type: Option<String>,
        fuid: Option<String>,
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ResultVal {
    begin: Timestamp,
    end: Timestamp,
    num: u64,
    average: Option<f64>,
    hll_unique: u64,
    card: Option<Value>,
    hll_error_margin: Option<f64>,
    hll_confidence: Option<f64>,
    last_elements: Option<Value>,
    max: Option<f64>,
    min: Option<f64>,
    samples: Vec<Observation>,
    sample_elements: u64,
    num_samples: u64,
    variance: Option<f64>,
    prev_avg: Option<f64>,
    var_s: f64,
    std_dev: f64,
    sum: f64,
    topk: Option<Value>,
    unique: u64,
    unique_max: Option<u64>,
    unique_vals: Option<Set<Value>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Observation {
    num: Option<u64>,
    dbl: Option<f64>,
    text: Option<BString>,
    more: Option<Value>,
}

#[test]
fn every_recorded_event_is_a_struct_and_the_same_bytes_again() {
    let mut names = BTreeSet::new();
    for name in ["cluster.zmq", "types-binary.zmq", "types-utf8.zmq"] {
        let path =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/events").join(name);
        let bytes = std::fs::read(path).unwrap();
        for frames in Recording::new(&bytes) {
            let frames = frames.unwrap();
            let message = EventMessage::parse(&frames).unwrap();
            let event = EventFormat::BrokerBinV1.decode(message.payload).unwrap();
            names.insert(event.name.clone());
            let typed = through_struct(event.clone());
            // Recorded events have no metadata, or empty metadata, which is not an argument.
            let typed = Event { metadata: event.metadata, ..typed };
            let mut payload = Vec::new();
            EventFormat::BrokerBinV1.encode(&typed, &mut payload);
            assert_eq!(payload.as_bstr(), message.payload.as_bstr(), "{}", event.name);
        }
    }
    assert_eq!(names.len(), 40, "{names:?}");
}

const NODES: &[NodeSpec<'static>] = &[("manager", "manager"), ("worker-1", "worker")];

#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(name = "Demo::ping")]
struct Ping {
    greeting: String,
    host: Address,
}

/// What a node with other scripts takes for the same event.
#[derive(Debug, Event, Serialize)]
#[event(name = "Demo::ping")]
struct OldPing {
    greeting: String,
    host: String,
}

#[derive(Debug, Event, Serialize)]
#[event(name = "Demo::bad")]
struct Bad {
    number: u128,
}

#[test]
fn typed_events_go_from_node_to_node() {
    let cluster = Cluster::new(NODES, "");
    let _broker = cluster.broker();
    let (worker, received): (Node, Notifications) = cluster.library_node("worker-1");
    let (manager, _news) = cluster.library_node("manager");
    wait_members(&manager, &["worker-1"]);

    let host = Address::from(IpAddr::from([192, 0, 2, 1]));
    let ping = Ping { greeting: "hello".into(), host };
    let topic = zcluster::topic::WORKER;
    let error = manager.publish(topic, &Bad { number: 1 }).unwrap_err();
    assert_eq!(error.to_string(), "Demo::bad: argument 1, number: u128 has no form in Zeek");
    let old = OldPing { greeting: "hello".into(), host: "192.0.2.1".into() };
    manager.publish(topic, &old).unwrap();
    manager.publish(topic, &Event::new("Demo::other", vec![])).unwrap();
    manager.publish(topic, &ping).unwrap();

    let mut errors = Vec::new();
    let found = wait_notification(&received, "a typed event", |notification| {
        let Notification::Event(event) = notification else { return None };
        event.decode_as::<Ping>().unwrap_or_else(|error| {
            errors.push(error.to_string());
            None
        })
    });
    assert_eq!(found, ping);
    let expected = format!(
        "event of {}: Demo::ping: argument 2, host: expected addr, found string",
        manager.id()
    );
    assert_eq!(errors, [expected]);
    let metrics = worker.telemetry().encode();
    assert!(
        metrics.lines().any(|line| {
            line.starts_with("zcluster_event_errors_total")
                && line.contains(r#"reason="schema""#)
                && line.ends_with(" 1")
        }),
        "{metrics}"
    );
    for node in [manager, worker] {
        node.shutdown(Duration::from_secs(5));
    }
}
