use super::super::key_file::{write_public_keys, write_secret_key};
use super::*;

/// A directory with keys, and the keys themselves.
struct Folder {
    dir: tempfile::TempDir,
    keys: BTreeMap<&'static str, KeyPair>,
}

impl Folder {
    /// With secret and public keys of all these names.
    fn new(names: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys: BTreeMap<_, _> = names.iter().map(|name| (*name, KeyPair::generate())).collect();
        for (name, pair) in &keys {
            write_secret_key(&secret_path(dir.path(), name), pair.secret()).unwrap();
            write_public_keys(&public_path(dir.path(), name), &[*pair.public()]).unwrap();
        }
        Folder { dir, keys }
    }

    fn public(&self, name: &str) -> PublicKey {
        *self.keys[name].public()
    }

    fn remove_public(&self, name: &str) {
        std::fs::remove_file(public_path(self.dir.path(), name)).unwrap();
    }

    fn layout(&self, more: &str) -> Layout {
        let dir = self.dir.path().display();
        let text = format!(
            "curve = {{ mode = \"per-node\", authorized_keys_dir = \"{dir}\", secret_keys_dir = \
             \"{dir}\" }}\n\
             [nodes.logger-1]\nnode_type = \"logger\"\nip = \"127.0.0.1\"\nport = 0\n\
             [nodes.worker-1]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\n{more}"
        );
        Layout::from_toml(&text, "layout").unwrap().0
    }
}

fn shared(options: &str) -> Layout {
    let node = "[nodes.w]\nnode_type = \"worker\"\nip = \"127.0.0.1\"\n";
    Layout::from_toml(&format!("[zeromq]\n{options}{node}"), "layout").unwrap().0
}

#[test]
fn keys_of_zeek_enable_roles() {
    let (server, client) = (KeyPair::generate(), KeyPair::generate());
    let line = |name: &str, key: &str| format!("curve_{name} = \"{key}\"\n");
    let server_public = line("server_publickey", &server.public().to_string());
    let server_secret = line("server_secretkey", &server.secret().expose_text());
    let client_public = line("client_publickey", &client.public().to_string());
    let client_secret = line("client_secretkey", &client.secret().expose_text());

    let plain = shared("");
    assert!(server_access(&plain, CurveKeys::BROKER).unwrap().server_keys().is_none());
    assert!(client_keys(&plain, "w").unwrap().is_none());

    let servers = shared(&[server_secret.as_str(), &client_public].concat());
    let access = server_access(&servers, CurveKeys::BROKER).unwrap();
    assert_eq!(access.server_keys().unwrap()[0].public(), server.public());
    assert_eq!(access.admit(client.public()), Some(&Identity::Unproven));
    assert_eq!(access.admit(server.public()), None);
    let error = client_keys(&servers, "w").unwrap_err().to_string();
    assert!(error.contains("curve_server_publickey is not set"), "{error}");

    let clients = shared(&[server_public.as_str(), &client_public, &client_secret].concat());
    let keys = client_keys(&clients, "w").unwrap().unwrap();
    assert_eq!(keys.keys().public(), client.public());
    assert_eq!(keys.broker(), *server.public());
    assert_eq!(keys.logger(Some("x")), Some(*server.public()));
    assert_eq!(keys.logger(None), Some(*server.public()));
    let error = server_access(&clients, "l").unwrap_err().to_string();
    assert!(error.contains("curve_server_secretkey is not set"), "{error}");

    // Keys that do not belong together.
    let wrong = line("client_publickey", &server.public().to_string());
    let mixed = shared(&[server_public.as_str(), &wrong, &client_secret].concat());
    let error = client_keys(&mixed, "w").unwrap_err().to_string();
    assert_eq!(error, "curve_client_publickey is not the public key of curve_client_secretkey");
}

#[test]
fn old_keys_are_good_while_keys_are_changed() {
    let [server, client, old_server, old_client] = [(); 4].map(|()| KeyPair::generate());
    let text = format!(
        "curve_server_secretkey = \"{}\"\ncurve_client_publickey = \"{}\"\n[curve]\n\
         old_server_secretkey = \"{}\"\nold_client_publickey = \"{}\"\n",
        &*server.secret().expose_text(),
        client.public(),
        &*old_server.secret().expose_text(),
        old_client.public()
    );
    let access = server_access(&shared(&text), CurveKeys::BROKER).unwrap();
    let keys: Vec<_> = access.server_keys().unwrap().iter().map(KeyPair::public).collect();
    assert_eq!(keys, [server.public(), old_server.public()]);
    assert!(access.admit(client.public()).is_some() && access.admit(old_client.public()).is_some());
}

#[test]
fn a_directory_of_keys_is_not_for_everybody_to_write_to() {
    use std::fs::{Permissions, set_permissions};
    let folder = Folder::new(&["broker", "worker-1"]);
    let layout = folder.layout("");
    let path = &layout.curve.authorized_keys_dir;
    for (mode, refused) in [(0o755, false), (0o775, false), (0o777, true), (0o1777, true)] {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for outcome in [
            server_access(&layout, CurveKeys::BROKER).map(drop),
            client_keys(&layout, "worker-1").map(drop),
        ] {
            assert_eq!(outcome.is_err(), refused, "{mode:o}");
            if let Err(error) = outcome {
                assert!(error.to_string().contains(&format!("has mode {mode:04o}")), "{error}");
            }
        }
    }
}

#[test]
fn each_node_has_its_own_keys() {
    let folder = Folder::new(&["broker", "logger-1", "worker-1"]);
    let layout = folder.layout("");
    for (server, name) in [(CurveKeys::BROKER, "broker"), ("logger-1", "logger-1")] {
        let access = server_access(&layout, server).unwrap();
        let keys: Vec<_> = access.server_keys().unwrap().iter().map(|k| *k.public()).collect();
        assert_eq!(keys, [folder.public(name)]);
        let admitted = |name: &str| access.admit(&folder.public(name)).cloned();
        assert_eq!(admitted("worker-1"), Some(Identity::Node("worker-1".into())));
        assert_eq!(admitted("logger-1"), Some(Identity::Node("logger-1".into())));
        assert_eq!(admitted("broker"), None);
    }
    let keys = client_keys(&layout, "worker-1").unwrap().unwrap();
    assert_eq!(*keys.keys().public(), folder.public("worker-1"));
    assert_eq!(keys.broker(), folder.public("broker"));
    assert_eq!(keys.logger(Some("logger-1")), Some(folder.public("logger-1")));
    assert_eq!((keys.logger(Some("logger-2")), keys.logger(None)), (None, None));

    // A key that is not listed has no identity.
    folder.remove_public("worker-1");
    let access = server_access(&layout, CurveKeys::BROKER).unwrap();
    assert_eq!(access.admit(&folder.public("worker-1")), None);
    folder.remove_public("logger-1");
    let keys = client_keys(&layout, "worker-1").unwrap().unwrap();
    assert_eq!(keys.logger(Some("logger-1")), None);
    folder.remove_public("broker");
    let error = client_keys(&layout, "worker-1").unwrap_err().to_string();
    assert!(error.starts_with("no public key of the broker: expected"), "{error}");
}

#[test]
fn public_keys_may_stand_in_the_layout() {
    let folder = Folder::new(&["broker", "logger-1", "worker-1"]);
    for name in ["broker", "logger-1", "worker-1"] {
        folder.remove_public(name);
    }
    let old = KeyPair::generate();
    let mut layout = folder.layout(&format!(
        "curve_publickey = [\"{}\", \"{}\"]\n",
        folder.public("worker-1"),
        old.public()
    ));
    layout.curve.broker_publickey = Some(folder.public("broker"));
    let access = server_access(&layout, CurveKeys::BROKER).unwrap();
    for key in [folder.public("worker-1"), *old.public()] {
        assert_eq!(access.admit(&key), Some(&Identity::Node("worker-1".into())));
    }
    assert_eq!(
        client_keys(&layout, "worker-1").unwrap().unwrap().broker(),
        folder.public("broker")
    );
    assert_eq!(authorized_keys(&layout).unwrap().len(), 3);
}

#[test]
fn all_servers_may_have_a_common_key() {
    let folder = Folder::new(&["broker", "logger-1", "worker-1", "servers"]);
    let layout = folder.layout("");
    let access = server_access(&layout, "logger-1").unwrap();
    let keys: Vec<_> = access.server_keys().unwrap().iter().map(|key| *key.public()).collect();
    assert_eq!(keys, [folder.public("logger-1"), folder.public("servers")]);
    assert_eq!(access.admit(&folder.public("servers")), None);
    let keys = client_keys(&layout, "worker-1").unwrap().unwrap();
    assert_eq!(keys.logger(None), Some(folder.public("servers")));
}

#[test]
fn contradictions_are_told() {
    let folder = Folder::new(&["broker", "logger-1", "worker-1"]);
    let mut layout = folder.layout("");
    layout.curve.broker_publickey = Some(folder.public("worker-1"));
    let error = server_access(&layout, CurveKeys::BROKER).unwrap_err().to_string();
    assert!(error.starts_with("broker (layout) and worker-1 ("), "{error}");
    assert!(error.ends_with("expected a different key for each"), "{error}");

    let path = public_path(folder.dir.path(), "worker-1");
    write_public_keys(&path, &[*KeyPair::generate().public()]).unwrap();
    let error = client_keys(&folder.layout(""), "worker-1").unwrap_err().to_string();
    assert!(error.contains("is not the public key of any key in"), "{error}");
    let error = client_keys(&folder.layout(""), "worker-2").unwrap_err().to_string();
    assert!(error.starts_with("cannot read the key file"), "{error}");
}

#[test]
fn a_directory_that_is_gone_shuts_nobody_out() {
    let folder = Folder::new(&["broker", "worker-1"]);
    let mut layout = folder.layout("");
    layout.curve.authorized_keys_dir = folder.dir.path().join("gone");
    let error = server_access(&layout, CurveKeys::BROKER).unwrap_err().to_string();
    assert!(error.starts_with("no key may connect: the layout has none, and the dir"), "{error}");
    // Without keys in files, no directory is needed.
    let key = folder.public("worker-1");
    layout.nodes.get_mut("worker-1").unwrap().curve_publickey = vec![key];
    assert!(server_access(&layout, CurveKeys::BROKER).unwrap().admit(&key).is_some());
    // An empty directory is intentional.
    std::fs::create_dir(&layout.curve.authorized_keys_dir).unwrap();
    layout.nodes.get_mut("worker-1").unwrap().curve_publickey.clear();
    assert_eq!(server_access(&layout, CurveKeys::BROKER).unwrap().admitted_keys(), 0);
}

#[test]
fn a_revoked_key_is_refused_wherever_it_stands() {
    let folder = Folder::new(&["broker", "logger-1", "worker-1", "servers"]);
    let [worker, logger] = ["worker-1", "logger-1"].map(|name| folder.public(name));
    let new = KeyPair::generate();
    let revoke = |keys: &[PublicKey]| {
        let mut revoked = Revoked::read(folder.dir.path()).unwrap();
        for key in keys {
            revoked.add("worker-1", *key, std::time::SystemTime::UNIX_EPOCH);
        }
        revoked.write().unwrap();
    };
    // In its file, and in the layout.
    let layout =
        folder.layout(&format!("curve_publickey = [\"{worker}\", \"{}\"]\n", new.public()));
    let broker = || server_access(&layout, CurveKeys::BROKER);
    assert_eq!(broker().unwrap().admitted_keys(), 3);
    revoke(&[worker]);
    let access = broker().unwrap();
    assert!(access.admit(&worker).is_none() && access.admit(new.public()).is_some());
    assert!(authorized_keys(&layout).unwrap().iter().all(|one| one.key != worker));
    // Under another name it is refused as well, and is no conflict.
    write_public_keys(&public_path(folder.dir.path(), "logger-1"), &[logger, worker]).unwrap();
    assert!(broker().unwrap().admit(&worker).is_none());
    // Its own process says why it cannot start.
    let error = client_keys(&layout, "worker-1").unwrap_err().to_string();
    assert!(error.contains("worker-1.secret is revoked in "), "{error}");
    assert!(error.contains("keygen --per-node --node worker-1 --replace"), "{error}");
}

#[test]
fn servers_with_a_revoked_key_are_not_believed_and_do_not_answer_to_it() {
    let folder = Folder::new(&["broker", "logger-1", "worker-1", "servers"]);
    let layout = folder.layout("");
    let mut revoked = Revoked::read(folder.dir.path()).unwrap();
    let mut revoke = |name: &str| {
        revoked.add(name, folder.public(name), std::time::SystemTime::UNIX_EPOCH);
        revoked.write().unwrap();
    };
    let keys = || client_keys(&layout, "worker-1").map(Option::unwrap);
    assert_eq!(keys().unwrap().logger(Some("logger-1")), Some(folder.public("logger-1")));
    revoke("servers");
    let access = server_access(&layout, CurveKeys::BROKER).unwrap();
    assert_eq!(access.server_keys().unwrap().len(), 1, "not to the common key");
    assert_eq!(keys().unwrap().logger(Some("elsewhere")), None);
    revoke("logger-1");
    assert_eq!(keys().unwrap().logger(Some("logger-1")), None);
    assert!(matches!(server_access(&layout, "logger-1"), Err(KeyError::Revoked { .. })));

    // The next key in its files takes its place.
    let new = KeyPair::generate();
    let old = folder.keys["broker"].clone();
    let dir = folder.dir.path();
    let both = [*old.public(), *new.public()];
    write_public_keys(&public_path(dir, "broker"), &both).unwrap();
    super::super::key_file::replace_secret_keys(&secret_path(dir, "broker"), &[old, new]).unwrap();
    assert_eq!(keys().unwrap().broker(), both[0]);
    revoke("broker");
    assert_eq!(keys().unwrap().broker(), both[1]);
    let access = server_access(&layout, CurveKeys::BROKER).unwrap();
    let answers_to: Vec<_> =
        access.server_keys().unwrap().iter().map(|pair| *pair.public()).collect();
    assert_eq!(answers_to, both[1..]);
}
