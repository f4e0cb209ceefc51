//! An authority, and certificates that it signs, for both sides of TLS.

use std::fs::{self, Permissions};
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::websocket::tcp;

/// What servers are called in their certificates.
pub const SERVER: &str = "gw.example";

/// A connection that is encrypted by TLS.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// An authority, and a directory with files of what it signs.
pub struct Pki {
    dir: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    /// An authority, whose certificate is in `ca.pem` of that directory; with a certificate of a
    /// server in `gw.pem`, and its key in `gw.key`.
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        let pki = Pki { dir: dir.to_owned(), authority };
        pki.write("ca.pem", &pki.authority.pem());
        pki.sign("gw", "gw");
        pki
    }

    /// Writes a certificate with that common name to FILE.pem, and its key to FILE.key. All are valid
    /// for [`SERVER`].
    pub fn sign(&self, file: &str, common_name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([SERVER.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.dir.join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    }

    /// The certificate in FILE.pem.
    pub fn certificate(&self, file: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.dir.join(format!("{file}.pem"))).unwrap()
    }

    /// Connects to a server that has a certificate of this authority, with the certificate in
    /// FILE.pem, if any. The handshake is complete, as far as this side can know: a server that
    /// misses a certificate says so later.
    pub fn connect(&self, address: &str, file: Option<&str>) -> io::Result<TlsStream> {
        let mut authorities = RootCertStore::empty();
        authorities.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authorities);
        let config = match file {
            Some(file) => {
                let key = self.dir.join(format!("{file}.key"));
                let key = PrivateKeyDer::from_pem_file(key).unwrap();
                builder.with_client_auth_cert(vec![self.certificate(file)], key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from(SERVER).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp(address));
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}
