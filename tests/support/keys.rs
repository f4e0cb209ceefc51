//! Keys of a test cluster: one set that all nodes share, as with Zeek, or a pair per node.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use zcluster::access::key_file::{
    public_path, read_secret_keys, secret_path, write_public_keys, write_secret_key,
};
use zcluster::transport::CurveOptions;
use zcluster::wire::zmtp::{KeyPair, PublicKey};

/// Zeek's four keys.
#[derive(Clone)]
pub struct SharedKeys {
    pub server: KeyPair,
    pub client: KeyPair,
}

impl SharedKeys {
    pub fn new() -> Self {
        SharedKeys { server: KeyPair::generate(), client: KeyPair::generate() }
    }

    fn all(&self) -> [(&'static str, String); 4] {
        [
            ("server_publickey", self.server.public().to_string()),
            ("server_secretkey", self.server.secret().expose_text().to_string()),
            ("client_publickey", self.client.public().to_string()),
            ("client_secretkey", self.client.secret().expose_text().to_string()),
        ]
    }

    /// Lines of `[zeromq]`.
    pub fn options(&self) -> String {
        let lines = self.all().map(|(name, key)| format!("curve_{name} = \"{key}\"\n"));
        lines.concat()
    }

    /// The options with which a socket of the cluster connects.
    pub fn as_client(&self) -> CurveOptions {
        as_client(&self.client, self.server.public())
    }

    /// Sets Zeek's environment variables.
    pub fn set<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.envs(self.all().map(|(name, key)| {
            let name = name.to_ascii_uppercase();
            (format!("ZEEK_CLUSTER_BACKEND_ZEROMQ_CURVE_{name}"), key)
        }))
    }

    /// Whether `text` contains one of the secrets.
    pub fn are_in(&self, text: &str) -> bool {
        [&self.server, &self.client]
            .iter()
            .any(|pair| text.contains(&**pair.secret().expose_text()))
    }
}

/// The options of a client with these keys, for a server with that key.
pub fn as_client(keys: &KeyPair, server: &PublicKey) -> CurveOptions {
    CurveOptions::Client { keys: Arc::new(keys.clone()), server: *server }
}

/// Lines of a layout with per-node keys in `{dir}/keys`.
pub const PER_NODE: &str = "[curve]\nmode = \"per-node\"\nauthorized_keys_dir = \"{dir}/keys\"\n\
                            secret_keys_dir = \"{dir}/keys\"\n";

/// Creates keys for each name in the directory `keys` below `dir`.
pub fn make_keys(dir: &Path, names: &[&str]) -> Vec<PublicKey> {
    let dir = dir.join("keys");
    std::fs::create_dir_all(&dir).unwrap();
    let make = |name: &&str| {
        let pair = KeyPair::generate();
        write_secret_key(&secret_path(&dir, name), pair.secret()).unwrap();
        write_public_keys(&public_path(&dir, name), &[*pair.public()]).unwrap();
        *pair.public()
    };
    names.iter().map(make).collect()
}

/// Reads the keys created for that name.
pub fn keys_of(dir: &Path, name: &str) -> KeyPair {
    read_secret_keys(&secret_path(&dir.join("keys"), name)).unwrap().swap_remove(0)
}
