//! [`Environment`]: the environment variables that a node reads, and how they change a layout
//! (WIRE.md §7.1, §7.5). Reads them through a closure, never from the environment itself.

use std::fmt;
use std::net::IpAddr;

use super::endpoint::Endpoint;
use super::secret::Secret;
use super::setting::{Raw, Scalar};
use super::validate::{exposure, is_curve_key, is_extension, port_taken};
use super::{Layout, NodeType};

/// Common prefix of the variables for CURVE keys and for the broker's ports.
const PREFIX: &str = "ZEEK_CLUSTER_BACKEND_ZEROMQ_";

const XPUB_PORT: &str = "ZEEK_CLUSTER_BACKEND_ZEROMQ_XPUB_PORT";
const XSUB_PORT: &str = "ZEEK_CLUSTER_BACKEND_ZEROMQ_XSUB_PORT";
const WEBSOCKET_ADDRESS: &str = "ZEEK_WEBSOCKET_LISTEN_ADDRESS";

/// The variables with secret keys. Child processes do not need them.
pub const SECRET_VARIABLES: [&str; 2] = [
    "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_SECRETKEY",
    "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_SECRETKEY",
];

/// The values from the environment. An empty variable counts as unset, as in Zeek.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `CLUSTER_NODE`: which node this process is.
    pub node: Option<String>,
    /// `ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY`.
    pub curve_server_publickey: Secret,
    /// `ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_SECRETKEY`.
    pub curve_server_secretkey: Secret,
    /// `ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_PUBLICKEY`.
    pub curve_client_publickey: Secret,
    /// `ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_SECRETKEY`.
    pub curve_client_secretkey: Secret,
    /// `ZEEK_CLUSTER_BACKEND_ZEROMQ_XPUB_PORT`: port of the broker's XPUB.
    pub xpub_port: Option<u16>,
    /// `ZEEK_CLUSTER_BACKEND_ZEROMQ_XSUB_PORT`: port of the broker's XSUB.
    pub xsub_port: Option<u16>,
    /// `ZEEK_WEBSOCKET_LISTEN_ADDRESS`.
    pub websocket_address: Option<IpAddr>,
    /// `ZEEK_WEBSOCKET_LISTEN_PORT`.
    pub websocket_port: Option<u16>,
    /// `ZEEK_LOG_SUFFIX`: extension of log files.
    pub log_suffix: Option<String>,
    /// `ZEEK_DEFAULT_LISTEN_ADDRESS`: metrics address.
    pub default_listen_address: Option<IpAddr>,
    /// `ZEEKCTL_CHECK_CONFIG` is set: check and exit, open no socket.
    pub check_config: bool,
    /// `ZEEKCTL_DISABLE_LISTEN` is set: open no socket.
    pub disable_listen: bool,
}

/// What is wrong with the environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvironmentError {
    /// A variable with an invalid value.
    #[error("environment variable {name}: found {found}, expected {expected}")]
    Invalid {
        /// The variable.
        name: String,
        /// Its value; for secrets, its length.
        found: String,
        /// What was expected.
        expected: String,
    },
    /// CURVE keys are set both in the environment and in the file: it would be unclear which apply.
    #[error(
        "CURVE keys are set in the environment ({variable}) and in the layout file ({option}); \
         expected one of them only"
    )]
    CurveTwice {
        /// A variable that is set.
        variable: String,
        /// An option that is set.
        option: &'static str,
    },
    /// The environment has keys shared by all nodes, the file asks for keys per node.
    #[error(
        "CURVE keys that all nodes share are set in the environment ({variable}), but the layout \
         file has `mode = \"per-node\"` in [curve]; expected one of them only"
    )]
    CurvePerNode {
        /// A variable that is set.
        variable: String,
    },
    /// A port of the broker is already in use by another socket of the layout.
    #[error("environment variable {name}: {taken}; expected a separate port")]
    PortTaken {
        /// The variable.
        name: &'static str,
        /// The sockets that conflict.
        taken: String,
    },
    /// The WebSocket API would be open where the layout does not say that it may be.
    #[error("environment variable {WEBSOCKET_ADDRESS}: {problem}")]
    Exposed {
        /// What is wrong, and what was expected.
        problem: String,
    },
    /// The keys in the environment are enough for neither clients nor servers (WIRE.md §7.1).
    #[error(
        "the CURVE keys in the environment are not enough: clients need \
         {PREFIX}CURVE_SERVER_PUBLICKEY, …_CLIENT_PUBLICKEY and …_CLIENT_SECRETKEY, servers \
         …_SERVER_SECRETKEY and …_CLIENT_PUBLICKEY"
    )]
    CurveIncomplete,
}

/// Everything that is wrong with the environment; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentErrors(pub Vec<EnvironmentError>);

impl fmt::Display for EnvironmentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            f.write_str(if index > 0 { "\n" } else { "" })?;
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for EnvironmentErrors {}

impl From<EnvironmentError> for EnvironmentErrors {
    fn from(error: EnvironmentError) -> Self {
        EnvironmentErrors(vec![error])
    }
}

impl Environment {
    /// Reads every variable through `lookup`.
    ///
    /// # Errors
    ///
    /// An [`EnvironmentError::Invalid`] for each port, address or key that is invalid.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentErrors> {
        let mut reader = Variables { lookup, errors: Vec::new() };
        let environment = Environment {
            node: reader.get("CLUSTER_NODE"),
            curve_server_publickey: reader.key("SERVER_PUBLICKEY"),
            curve_server_secretkey: reader.key("SERVER_SECRETKEY"),
            curve_client_publickey: reader.key("CLIENT_PUBLICKEY"),
            curve_client_secretkey: reader.key("CLIENT_SECRETKEY"),
            xpub_port: reader.parse(XPUB_PORT),
            xsub_port: reader.parse(XSUB_PORT),
            websocket_address: reader.parse(WEBSOCKET_ADDRESS),
            websocket_port: reader.parse("ZEEK_WEBSOCKET_LISTEN_PORT"),
            log_suffix: reader.suffix("ZEEK_LOG_SUFFIX"),
            default_listen_address: reader.parse("ZEEK_DEFAULT_LISTEN_ADDRESS"),
            check_config: reader.get("ZEEKCTL_CHECK_CONFIG").is_some(),
            disable_listen: reader.get("ZEEKCTL_DISABLE_LISTEN").is_some(),
        };
        if reader.errors.is_empty() {
            Ok(environment)
        } else {
            Err(EnvironmentErrors(reader.errors))
        }
    }

    /// The keys by option name.
    fn curve_keys(&self) -> [(&'static str, &Secret); 4] {
        [
            ("curve_server_publickey", &self.curve_server_publickey),
            ("curve_server_secretkey", &self.curve_server_secretkey),
            ("curve_client_publickey", &self.curve_client_publickey),
            ("curve_client_secretkey", &self.curve_client_secretkey),
        ]
    }
}

/// The variables, and the errors in them.
struct Variables<F> {
    lookup: F,
    errors: Vec<EnvironmentError>,
}

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    fn invalid(&mut self, name: &str, found: String, expected: String) {
        self.errors.push(EnvironmentError::Invalid { name: name.into(), found, expected });
    }

    fn parse<T: Scalar>(&mut self, name: &str) -> Option<T> {
        let text = self.get(name)?;
        let raw = Raw::Text(&text);
        let value = T::parse(&raw);
        if value.is_none() {
            self.invalid(name, raw.to_string(), T::instead_of(&raw));
        }
        value
    }

    fn key(&mut self, which: &str) -> Secret {
        let name = format!("{PREFIX}CURVE_{which}");
        let key = Secret::new(self.get(&name).unwrap_or_default());
        if key.is_empty() || is_curve_key(&key) {
            return key;
        }
        let found = format!("{} characters", key.expose().chars().count());
        self.invalid(&name, found, "a key of 40 characters of Z85".into());
        Secret::default()
    }

    fn suffix(&mut self, name: &str) -> Option<String> {
        let suffix = self.get(name)?;
        if !is_extension(&suffix) {
            self.invalid(name, Raw::Text(&suffix).to_string(), "a file extension".into());
        }
        Some(suffix)
    }
}

impl Layout {
    /// Applies the environment, which overrides the layout.
    ///
    /// The broker's ports change where it listens, and where nodes connect if they follow the
    /// broker. The WebSocket variables change the API of the node that this process is (of the
    /// manager if that is unknown), if it offers one.
    ///
    /// # Errors
    ///
    /// CURVE keys from the environment never mix with keys from the file, and must be enough for a
    /// client or a server. A port must not be taken by another socket, and a WebSocket API must not
    /// become open to everyone. After an error, discard the layout.
    pub fn apply_environment(&mut self, environment: &Environment) -> Result<(), EnvironmentError> {
        self.apply_curve(environment)?;
        let zeromq = &mut self.zeromq;
        for (port, listen, connect) in [
            (
                environment.xpub_port,
                &mut zeromq.listen_xpub_endpoint,
                &mut zeromq.connect_xsub_endpoint,
            ),
            (
                environment.xsub_port,
                &mut zeromq.listen_xsub_endpoint,
                &mut zeromq.connect_xpub_endpoint,
            ),
        ] {
            let Some(port) = port else { continue };
            // An endpoint elsewhere belongs to another broker, whose port is unaffected.
            let follows = connect == listen;
            if let Ok(Endpoint::Tcp { host, .. }) = listen.parse() {
                *listen = Endpoint::Tcp { host, port }.to_string();
                if follows {
                    connect.clone_from(listen);
                }
            }
        }
        for (port, name, key) in [
            (environment.xpub_port, XPUB_PORT, "listen_xpub_endpoint"),
            (environment.xsub_port, XSUB_PORT, "listen_xsub_endpoint"),
        ] {
            if port.is_some()
                && let Some(taken) = port_taken(self, key)
            {
                return Err(EnvironmentError::PortTaken { name, taken });
            }
        }
        if let Some(suffix) = &environment.log_suffix {
            self.log.suffix.clone_from(suffix);
        }
        // The file is more specific than a default.
        self.telemetry.metrics_address =
            self.telemetry.metrics_address.or(environment.default_listen_address);
        let local = match &environment.node {
            Some(name) => self.nodes.iter_mut().find(|(node, _)| *node == name),
            None => self.nodes.iter_mut().find(|(_, node)| node.node_type == NodeType::Manager),
        };
        if let Some((name, node)) = local
            && let Some(websocket) = &mut node.websocket
        {
            websocket.listen_addr = environment.websocket_address.unwrap_or(websocket.listen_addr);
            websocket.listen_port = environment.websocket_port.unwrap_or(websocket.listen_port);
            if environment.websocket_address.is_some()
                && let Some(problem) = exposure(name, websocket)
            {
                return Err(EnvironmentError::Exposed { problem });
            }
        }
        Ok(())
    }

    fn apply_curve(&mut self, environment: &Environment) -> Result<(), EnvironmentError> {
        let given = environment.curve_keys();
        let Some((name, _)) = given.iter().find(|(_, key)| !key.is_empty()) else { return Ok(()) };
        let variable = || format!("{PREFIX}{}", name.to_ascii_uppercase());
        if self.has_keys_per_node() {
            return Err(EnvironmentError::CurvePerNode { variable: variable() });
        }
        let mut zeromq = self.zeromq.clone();
        let keys = [
            &mut zeromq.curve_server_publickey,
            &mut zeromq.curve_server_secretkey,
            &mut zeromq.curve_client_publickey,
            &mut zeromq.curve_client_secretkey,
        ];
        for (key, (option, value)) in keys.into_iter().zip(given) {
            if !key.is_empty() {
                return Err(EnvironmentError::CurveTwice { variable: variable(), option });
            }
            key.clone_from(value);
        }
        if !zeromq.curve_client() && !zeromq.curve_server() {
            return Err(EnvironmentError::CurveIncomplete);
        }
        self.zeromq = zeromq;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{CurveMode, Node, WebSocket};

    // The public test keys of the ZeroMQ documentation.
    const KEY: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentErrors> {
        Environment::read(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn apply(layout: &mut Layout, variables: &[(&str, &str)]) -> Result<(), EnvironmentError> {
        layout.apply_environment(&read(variables).unwrap())
    }

    #[test]
    fn an_empty_environment_changes_nothing() {
        let mut layout = Layout::default();
        apply(&mut layout, &[("ZEEK_LOG_SUFFIX", ""), ("ZEEKCTL_CHECK_CONFIG", "")]).unwrap();
        assert_eq!(layout, Layout::default());
    }

    #[test]
    fn ports_move_the_broker_and_those_who_follow_it() {
        let mut layout = Layout::default();
        layout.zeromq.connect_xpub_endpoint = "tcp://10.0.0.1:5556".into();
        let xpub_port = "ZEEK_CLUSTER_BACKEND_ZEROMQ_XPUB_PORT";
        let port_of_xsub = "ZEEK_CLUSTER_BACKEND_ZEROMQ_XSUB_PORT";
        apply(&mut layout, &[(xpub_port, "7001/tcp"), (port_of_xsub, "7002")]).unwrap();
        assert_eq!(layout.zeromq.listen_xpub_endpoint, "tcp://127.0.0.1:7001");
        assert_eq!(layout.connect_xsub_endpoint(), "tcp://127.0.0.1:7001");
        assert_eq!(layout.zeromq.listen_xsub_endpoint, "tcp://127.0.0.1:7002");
        assert_eq!(layout.connect_xpub_endpoint(), "tcp://10.0.0.1:5556");
    }

    #[test]
    fn websocket_telemetry_and_suffix() {
        let mut layout = Layout::default();
        for name in ["manager", "other"] {
            let node_type = if name == "manager" { NodeType::Manager } else { NodeType::Worker };
            let mut node = Node::new(node_type, [10, 0, 0, 1].into());
            node.websocket = Some(WebSocket::default());
            layout.nodes.insert(name.into(), node);
        }
        let mut variables = vec![
            ("ZEEK_WEBSOCKET_LISTEN_ADDRESS", "[::1]"),
            ("ZEEK_WEBSOCKET_LISTEN_PORT", "8080"),
            ("ZEEK_DEFAULT_LISTEN_ADDRESS", "0.0.0.0"),
            ("ZEEK_LOG_SUFFIX", "txt"),
        ];
        let mut unnamed = layout.clone();
        apply(&mut unnamed, &variables).unwrap();
        assert_eq!(unnamed.log.suffix, "txt");
        assert_eq!(unnamed.telemetry.metrics_address, Some([0, 0, 0, 0].into()));
        let websocket = |layout: &Layout, name| layout.nodes[name].websocket.clone().unwrap();
        assert_eq!(websocket(&unnamed, "manager").listen_port, 8080);
        assert!(websocket(&unnamed, "manager").listen_addr.is_ipv6());
        assert_eq!(websocket(&unnamed, "other"), WebSocket::default());

        variables.push(("CLUSTER_NODE", "other"));
        apply(&mut layout, &variables).unwrap();
        assert_eq!(websocket(&layout, "other").listen_port, 8080);
        assert_eq!(websocket(&layout, "manager"), WebSocket::default());

        let everywhere = [("ZEEK_WEBSOCKET_LISTEN_ADDRESS", "0.0.0.0")];
        let error = apply(&mut layout.clone(), &everywhere).unwrap_err().to_string();
        let expected = "environment variable ZEEK_WEBSOCKET_LISTEN_ADDRESS: the WebSocket API of \
                        `manager` would be open to any client that reaches 0.0.0.0; expected ";
        assert!(error.starts_with(expected), "{error}");
        let manager = layout.nodes.get_mut("manager").unwrap();
        manager.websocket.as_mut().unwrap().allow_anonymous = true;
        apply(&mut layout, &everywhere).unwrap();
    }

    #[test]
    fn the_default_address_of_metrics() {
        for (value, expected) in [
            ("", Ok(None)),
            ("127.0.0.1", Ok(Some("127.0.0.1"))),
            ("::1", Ok(Some("::1"))),
            ("[::1]", Ok(Some("::1"))),
            (
                "localhost",
                Err("found \"localhost\", expected an IPv4 or IPv6 address: this host's loopback \
                     address is \"127.0.0.1\""),
            ),
            (
                "127.0.0.1:80",
                Err("found \"127.0.0.1:80\", expected an IPv4 or IPv6 address alone, without port"),
            ),
        ] {
            let name = "ZEEK_DEFAULT_LISTEN_ADDRESS";
            let read = read(&[(name, value)]).map(|environment| environment.default_listen_address);
            let expected = expected
                .map(|address: Option<&str>| address.map(|a| a.parse().unwrap()))
                .map_err(|what| format!("environment variable {name}: {what}"));
            assert_eq!(read.map_err(|error| error.to_string()), expected, "{value:?}");
        }
        // The file is more specific than a default.
        let mut layout = Layout::default();
        layout.telemetry.metrics_address = Some([127, 0, 0, 1].into());
        apply(&mut layout, &[("ZEEK_DEFAULT_LISTEN_ADDRESS", "0.0.0.0")]).unwrap();
        assert_eq!(layout.telemetry.metrics_address, Some([127, 0, 0, 1].into()));
    }

    #[test]
    fn bad_values_name_the_variable() {
        let error = read(&[("ZEEK_WEBSOCKET_LISTEN_PORT", "99999")]).unwrap_err().to_string();
        assert!(error.contains("ZEEK_WEBSOCKET_LISTEN_PORT: found \"99999\", expected a TCP port"));
        let error = read(&[("ZEEK_LOG_SUFFIX", "../log")]).unwrap_err().to_string();
        assert!(error.contains("ZEEK_LOG_SUFFIX: found \"../log\", expected a file extension"));
        let name = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_SECRETKEY";
        let error = read(&[(name, "hunter2")]).unwrap_err().to_string();
        assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn every_bad_value_is_told_at_once() {
        let (short, long) = ("x".repeat(39), "x".repeat(41));
        let errors = read(&[
            (XPUB_PORT, "abc"),
            (XSUB_PORT, "65536"),
            ("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_SERVER_PUBLICKEY", &short),
            ("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_CLIENT_PUBLICKEY", &long),
            ("ZEEK_DEFAULT_LISTEN_ADDRESS", "10.0.0.0/8"),
            ("ZEEK_LOG_SUFFIX", "a/b"),
        ]);
        let port = "expected a TCP port from 0 to 65535, such as 5560 or \"5560/tcp\"";
        let key = "ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE";
        let expected = [
            format!("{key}_SERVER_PUBLICKEY: found 39 characters, expected a key of 40 characters"),
            format!("{key}_CLIENT_PUBLICKEY: found 41 characters, expected a key of 40 characters"),
            format!("{XPUB_PORT}: found \"abc\", {port}"),
            format!("{XSUB_PORT}: found \"65536\", {port}"),
            "ZEEK_LOG_SUFFIX: found \"a/b\", expected a file extension".into(),
            "ZEEK_DEFAULT_LISTEN_ADDRESS: found \"10.0.0.0/8\", expected an IPv4 or IPv6 address of \
             one host, not a network"
                .into(),
        ];
        let errors = errors.unwrap_err().to_string();
        for (line, expected) in errors.lines().zip(&expected) {
            assert!(line.starts_with(&format!("environment variable {expected}")), "{errors}");
        }
        assert_eq!(errors.lines().count(), expected.len(), "{errors}");
    }

    #[test]
    fn a_port_of_the_broker_is_nobody_elses() {
        let mut layout = Layout::default();
        let mut logger = Node::new(NodeType::Logger, [127, 0, 0, 1].into());
        logger.port = Some(5560);
        layout.nodes.insert("l".into(), logger);
        for (variables, taken) in [
            (
                vec![(XPUB_PORT, "5556")],
                Some("the broker's XPUB uses tcp://127.0.0.1:5556, as does"),
            ),
            (
                vec![(XSUB_PORT, "5560")],
                Some("as does the log socket of `l`; expected a separate port"),
            ),
            (vec![(XPUB_PORT, "5556"), (XSUB_PORT, "5555")], None),
            (vec![(XPUB_PORT, "0"), (XSUB_PORT, "0")], None),
        ] {
            let error = apply(&mut layout.clone(), &variables).err().map(|error| error.to_string());
            match taken {
                Some(taken) => assert!(error.is_some_and(|e| e.contains(taken)), "{variables:?}"),
                None => assert_eq!(error, None, "{variables:?}"),
            }
        }
    }

    #[test]
    fn curve_keys_come_from_one_place() {
        let name = |which: &str| format!("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_{which}");
        let (secret, public) = (name("SERVER_SECRETKEY"), name("CLIENT_PUBLICKEY"));
        let mut layout = Layout::default();
        let error = apply(&mut layout, &[(&secret, KEY)]).unwrap_err();
        assert_eq!(error, EnvironmentError::CurveIncomplete);
        assert_eq!(layout, Layout::default());

        apply(&mut layout, &[(&secret, KEY), (&public, KEY)]).unwrap();
        assert!(layout.zeromq.curve_server() && !layout.zeromq.curve_client());
        let error = apply(&mut layout, &[(&public, KEY)]).unwrap_err();
        assert!(matches!(error, EnvironmentError::CurveTwice { .. }));
        assert!(!format!("{error} {error:?} {layout:?}").contains(KEY));

        let mut layout = Layout::default();
        layout.curve.mode = CurveMode::PerNode;
        let error = apply(&mut layout, &[(&secret, KEY), (&public, KEY)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "CURVE keys that all nodes share are set in the environment ({secret}), but the \
                 layout file has `mode = \"per-node\"` in [curve]; expected one of them only"
            )
        );
    }
}
