//! Files and what is wrong with them; handshakes over a stream in memory.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

/// An authority, and a directory with files of what it signs.
struct Pki {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// An authority, whose certificate is in `ca.pem`; a certificate of the gateway by it in
    /// `gw.pem`, and its key in `gw.key`.
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let pki = Pki { dir: tempfile::tempdir().unwrap(), authority };
        pki.write("ca.pem", &pki.authority.pem());
        pki.sign("gw", "gw", &["gw.example"]);
        pki
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
        fs::set_permissions(self.path(file), Permissions::from_mode(0o600)).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    /// Writes a certificate for these names to FILE.pem, and its key to FILE.key.
    fn sign(&self, file: &str, common_name: &str, dns: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let dns: Vec<_> = dns.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(dns).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn options(&self) -> TlsOptions {
        TlsOptions {
            cert_file: Some(self.path("gw.pem")),
            key_file: Some(self.path("gw.key")),
            ..TlsOptions::default()
        }
    }

    fn with_verification(&self) -> TlsOptions {
        TlsOptions {
            enable_peer_verification: true,
            ca_file: Some(self.path("ca.pem")),
            ..self.options()
        }
    }

    /// A client that trusts the authority, with the certificate in FILE.pem if any.
    fn client(&self, file: Option<&str>) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.authorities());
        match file {
            Some(file) => {
                let chain =
                    pem::certificates("cert_file", &self.path(&format!("{file}.pem"))).unwrap();
                let key = self.path(&format!("{file}.key"));
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        }
    }

    fn authorities(&self) -> RootCertStore {
        let mut authorities = RootCertStore::empty();
        authorities.add(self.authority.der().clone()).unwrap();
        authorities
    }
}

/// A connection as the gateway sees it, after both have said something.
struct Met {
    names: Vec<String>,
    protocol: Option<Vec<u8>>,
    version: Option<ProtocolVersion>,
}

/// Lets a client connect to the gateway `gw.example`.
async fn meet(tls: &Tls, client: ClientConfig) -> io::Result<Met> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("gw.example").unwrap();
    let connect = async {
        let mut stream = TlsConnector::from(Arc::new(client)).connect(name, near).await?;
        stream.write_all(b"hello").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        assert_eq!(answer, "welcome");
        io::Result::Ok(())
    };
    let accept = async {
        let mut stream = tls.acceptor().accept(far).await?;
        let mut hello = [0; 5];
        stream.read_exact(&mut hello).await?;
        stream.write_all(b"welcome").await?;
        stream.shutdown().await?;
        let (_, connection) = stream.get_ref();
        io::Result::Ok(Met {
            names: certificate_names(connection.peer_certificates().unwrap_or_default()),
            protocol: connection.alpn_protocol().map(<[u8]>::to_vec),
            version: connection.protocol_version(),
        })
    };
    let (connected, met) = tokio::join!(connect, accept);
    connected.and(met)
}

fn load(options: &TlsOptions) -> Tls {
    Tls::load(options).unwrap_or_else(|error| panic!("{error}")).unwrap()
}

#[tokio::test]
async fn clients_are_known_by_certificates_that_an_authority_signed() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    pki.sign("a", "Client A", &["a.example", "*.a.example", "Client A"]);
    pki.sign("nameless", "", &[]);
    stranger.sign("a", "Client A", &["a.example"]);
    let (open, verified) = (load(&pki.options()), load(&pki.with_verification()));

    let met = meet(&open, pki.client(None)).await.unwrap();
    assert_eq!((met.names.len(), met.version), (0, Some(ProtocolVersion::TLSv1_3)));
    let met = meet(&open, pki.client(Some("a"))).await.unwrap();
    assert_eq!(met.names.len(), 0, "nobody asked for it");

    let met = meet(&verified, pki.client(Some("a"))).await.unwrap();
    assert_eq!(met.names, ["Client A", "a.example", "*.a.example"]);
    let met = meet(&verified, pki.client(Some("nameless"))).await.unwrap();
    assert_eq!(met.names, [""; 0]);
    assert!(meet(&verified, pki.client(None)).await.is_err());
    let mut client = stranger.client(Some("a"));
    assert!(meet(&verified, client.clone()).await.is_err(), "it does not know the gateway");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        pki.authorities().into(),
        provider,
    );
    client.dangerous().set_certificate_verifier(verifier.build().unwrap());
    assert!(meet(&verified, client).await.is_err(), "the gateway does not know it");
}

#[tokio::test]
async fn the_protocol_is_http_and_the_ciphers_are_those_of_the_layout() {
    let pki = Pki::new();
    for (ciphers, protocols, version) in [
        ("", &[][..], Some(ProtocolVersion::TLSv1_3)),
        ("", &["h2", "http/1.1"], Some(ProtocolVersion::TLSv1_3)),
        ("", &["h2"], None),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", &[], Some(ProtocolVersion::TLSv1_2)),
        ("ECDHE-RSA-AES128-GCM-SHA256", &[], None),
    ] {
        let tls = load(&TlsOptions { ciphers: ciphers.into(), ..pki.options() });
        let mut client = pki.client(None);
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let met = meet(&tls, client).await.ok();
        assert_eq!(met.as_ref().and_then(|met| met.version), version, "{ciphers} {protocols:?}");
        let expected = met.as_ref().filter(|_| !protocols.is_empty()).map(|_| PROTOCOL.to_vec());
        assert_eq!(met.and_then(|met| met.protocol), expected, "{ciphers} {protocols:?}");
    }
}

#[tokio::test]
async fn a_reload_is_for_new_connections_and_a_mistake_changes_nothing() {
    let (pki, next) = (Pki::new(), Pki::new());
    let tls = load(&pki.options());
    fs::copy(next.path("gw.pem"), pki.path("gw.pem")).unwrap();
    assert!(tls.reload().is_err(), "the key is still that of the old certificate");
    meet(&tls, pki.client(None)).await.unwrap();

    fs::copy(next.path("gw.key"), pki.path("gw.key")).unwrap();
    let before = tls.acceptor();
    tls.reload().unwrap();
    assert!(meet(&tls, pki.client(None)).await.is_err());
    meet(&tls, next.client(None)).await.unwrap();
    let before = Loaded { config: Arc::clone(before.config()), validity: Vec::new() };
    let before = Tls { options: pki.options(), current: ArcSwap::from_pointee(before) };
    meet(&before, pki.client(None)).await.unwrap();
}

#[test]
fn without_a_certificate_nothing_is_encrypted() {
    assert!(Tls::load(&TlsOptions::default()).unwrap().is_none());
    let pki = Pki::new();
    let error = Tls::load(&TlsOptions { key_file: None, ..pki.options() }).unwrap_err();
    assert_eq!(error.to_string(), "TLS needs both `cert_file` and `key_file`");
    // What the system trusts, if it trusts anyone.
    let of_system = TlsOptions { ca_file: None, ..pki.with_verification() };
    match Tls::load(&of_system) {
        Ok(tls) => assert!(tls.is_some()),
        Err(error) => assert!(matches!(error, TlsError::NoAuthorities), "{error}"),
    }
}

#[test]
fn each_mistake_names_its_file_and_what_is_expected() {
    let pki = Pki::new();
    pki.sign("other", "other", &[]);
    let (cert, key) = (pki.read("gw.pem"), pki.read("gw.key"));
    let without_last = |text: &str| text.trim_end().rsplit_once('\n').unwrap().0.to_owned();
    let secret = key.lines().nth(1).unwrap().to_owned();
    let lines = cert.lines().count();
    for (file, text, expected) in [
        (
            "gw.pem",
            String::new(),
            "gw.pem: found no certificate; expected a certificate in PEM, `--",
        ),
        ("gw.pem", key.clone(), "gw.pem: found a private key and no certificate; expected a cert"),
        (
            "gw.pem",
            without_last(&cert),
            "gw.pem, line 1: what begins here has no end; expected `-----END CERTIFICATE-----`",
        ),
        (
            "gw.pem",
            format!("{cert}{}", without_last(&cert)),
            &format!("gw.pem, line {}: what begins here has no end", lines + 1),
        ),
        (
            "gw.pem",
            cert.replacen("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE", 1),
            "gw.pem, line 1: expected nothing but `-----BEGIN …-----` on this line",
        ),
        ("gw.pem", cert.replacen("\nM", "\n?", 1), "gw.pem, line 2: this is not base64 (PEM, RFC"),
        (
            "gw.pem",
            format!("{cert}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "gw.pem: certificate 2 of this file is not a certificate of X.509",
        ),
        ("gw.pem", pki.read("other.pem"), "gw.key does not belong to the first certificate in "),
        (
            "gw.pem",
            pki.authority.pem() + &cert,
            "expected the gateway's own certificate first, then",
        ),
        (
            "gw.key",
            String::new(),
            "gw.key: found no key; expected a private key in PEM, `-----BEGIN",
        ),
        (
            "gw.key",
            cert.clone(),
            "gw.key: found a certificate and no key; expected a private key in",
        ),
        (
            "gw.key",
            key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            "gw.key: found an encrypted key; expected a key without a passphrase, as `openssl pkey",
        ),
        (
            "gw.key",
            key.replace('\n', " "),
            "gw.key, line 1: expected nothing but `-----BEGIN …-----` on this line",
        ),
        ("gw.key", without_last(&key), "gw.key, line 1: what begins here has no end; expected `-"),
        ("gw.key", key.replacen("\nM", "\n?", 1), "gw.key, line 2: this is not base64 (PEM, RFC"),
        (
            "gw.key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into(),
            "gw.key: the key is damaged or of an unknown type; expected RSA, ECDSA or Ed25519",
        ),
        ("ca.pem", String::new(), "ca.pem: found no certificate; expected a certificate in PEM"),
        (
            "ca.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            "ca.pem: certificate 1 of this file is not a certificate of X.509",
        ),
    ] {
        let before = pki.read(file);
        pki.write(file, &text);
        let error = Tls::load(&pki.with_verification()).unwrap_err().to_string();
        assert!(error.contains(expected), "{file}: {error}");
        assert!(!error.contains(&secret) && error.lines().count() == 1, "{error}");
        pki.write(file, &before);
    }
    load(&pki.with_verification());

    let der = pki.authority.der();
    fs::write(pki.path("gw.pem"), der).unwrap();
    let error = Tls::load(&pki.options()).unwrap_err().to_string();
    assert!(error.contains("gw.pem: found no certificate; expected"), "{error}");
    pki.write("gw.pem", &cert);
    fs::write(pki.path("gw.key"), b"\x30\x81\xff").unwrap();
    let error = Tls::load(&pki.options()).unwrap_err().to_string();
    assert!(error.contains("gw.key: found what is not text, perhaps DER; expected"), "{error}");
    pki.write("gw.key", &key);
    for (mode, refused) in [(0o640, false), (0o644, true), (0o600, false)] {
        fs::set_permissions(pki.path("gw.key"), Permissions::from_mode(mode)).unwrap();
        let outcome = Tls::load(&pki.options()).map_err(|error| error.to_string());
        assert_eq!(outcome.is_err(), refused, "{mode:o}");
        let expected =
            "gw.key has mode 0644, so others may read or change it; expected 0640: chmod";
        assert!(outcome.err().is_none_or(|error| error.contains(expected)));
    }
    for (option, file) in [("cert_file", "gw.pem"), ("key_file", "gw.key"), ("ca_file", "ca.pem")] {
        let before = pki.read(file);
        fs::remove_file(pki.path(file)).unwrap();
        let error = Tls::load(&pki.with_verification()).unwrap_err().to_string();
        let expected =
            format!("`{option}`: cannot read {}: No such file", pki.path(file).display());
        assert!(error.starts_with(&expected), "{error}");
        pki.write(file, &before);
    }
}

#[test]
fn certificates_that_expire_are_told_in_time() {
    let pki = Pki::new();
    let day = |day: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400);
    let mut params = CertificateParams::new(vec!["gw.example".into()]).unwrap();
    (params.not_before, params.not_after) = (day(20_000).into(), day(20_100).into());
    let key = KeyPair::generate().unwrap();
    pki.write("gw.pem", &params.signed_by(&key, &pki.authority).unwrap().pem());
    pki.write("gw.key", &key.serialize_pem());
    let tls = load(&pki.options());
    for (now, expected) in [
        (day(19_999), Some("is valid only in 24 hours; is the clock right?")),
        (day(20_000), None),
        (day(20_085), None),
        (day(20_086), Some("expires in 14 days")),
        (day(20_099), Some("expires in 24 hours")),
        (day(20_100), Some("expires in 0 hours")),
        (day(20_103), Some("has expired 3 days ago")),
    ] {
        let start = format!("certificate 1 of {} ", pki.path("gw.pem").display());
        assert_eq!(tls.warning(now), expected.map(|problem| start + problem));
    }
}
