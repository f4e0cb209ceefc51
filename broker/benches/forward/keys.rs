//! The keys of encrypted measurements, shared by all.

use std::sync::{Arc, LazyLock};

use zcluster::transport::CurveOptions;
use zcluster::wire::zmtp::{Curve, KeyPair};

/// The broker's keys, and those of all clients.
static KEYS: LazyLock<[Arc<KeyPair>; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Arc::new(KeyPair::generate())));

/// Lines of `[zeromq]` for the broker.
pub(crate) fn options() -> String {
    let [server, client] = &*KEYS;
    format!(
        "curve_server_secretkey = \"{}\"\ncurve_client_publickey = \"{}\"\n",
        *server.secret().expose_text(),
        client.public()
    )
}

/// The keys of a client without libzmq.
pub(crate) fn raw_client() -> Curve {
    let [server, client] = &*KEYS;
    Curve::Client { keys: Arc::clone(client), server: *server.public() }
}

/// The CURVE options of a libzmq client.
pub(crate) fn libzmq_client() -> CurveOptions {
    let [server, client] = &*KEYS;
    CurveOptions::Client { keys: Arc::clone(client), server: *server.public() }
}
