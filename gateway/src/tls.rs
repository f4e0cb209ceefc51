//! TLS of the gateway's port: its certificate, and which certificates of clients it accepts.
//!
//! - `ciphers`: the names of cipher suites.
//! - `pem`: the files of certificates and of the key.
//! - `certificate`: what is in a certificate that rustls does not tell.

mod certificate;
mod ciphers;
mod error;
mod pem;

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, version};
use rustls_pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

use zcluster::layout::TlsOptions;

pub use certificate::names as certificate_names;
pub use error::TlsError;

use certificate::Validity;

/// The protocol that is spoken inside of TLS (ALPN): WebSocket begins as HTTP/1.1.
const PROTOCOL: &[u8] = b"http/1.1";

/// The TLS of a running gateway. Connections that are accepted after a reload use what it has read.
#[derive(Debug)]
pub struct Tls {
    options: TlsOptions,
    current: ArcSwap<Loaded>,
}

/// What the files had when they were read.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// Of each certificate in the chain.
    validity: Vec<Validity>,
}

impl Tls {
    /// Reads the files that the options name; `None` if they name no certificate, so that nothing is
    /// encrypted.
    ///
    /// # Errors
    /// When a file cannot be read or holds something else, when the key is not that of the
    /// certificate, or when a cipher suite is not known.
    pub fn load(options: &TlsOptions) -> Result<Option<Self>, TlsError> {
        if !options.is_set() {
            return Ok(None);
        }
        let current = ArcSwap::from_pointee(Loaded::read(options)?);
        Ok(Some(Tls { options: options.clone(), current }))
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// As for [`Tls::load`]; then everything is as before.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(Loaded::read(&self.options)?));
        Ok(())
    }

    /// Accepts connections, with what was read last.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }

    /// A warning about a certificate that clients do not accept, or soon will not.
    pub fn warning(&self, now: SystemTime) -> Option<String> {
        let loaded = self.current.load();
        let mut problems = (1..).zip(loaded.validity.iter().map(|validity| validity.problem(now)));
        let (number, problem) = problems.find_map(|(number, problem)| Some((number, problem?)))?;
        let path = self.options.cert_file.as_deref().unwrap_or(Path::new(""));
        Some(format!("certificate {number} of {} {problem}", path.display()))
    }
}

impl Loaded {
    fn read(options: &TlsOptions) -> Result<Self, TlsError> {
        let (Some(cert_file), Some(key_file)) = (&options.cert_file, &options.key_file) else {
            return Err(TlsError::Incomplete);
        };
        let provider = Arc::new(ciphers::provider(&options.ciphers)?);
        let chain = pem::certificates("cert_file", cert_file)?;
        let validity = (1..).zip(&chain).map(|(number, certificate)| {
            let fail = || TlsError::Certificate { path: cert_file.clone(), number };
            certificate::validity(certificate).ok_or_else(fail)
        });
        let validity = validity.collect::<Result<_, _>>()?;
        let key = pem::private_key(key_file)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS13, &version::TLS12])
            .map_err(TlsError::Unusable)?;
        let builder = if options.enable_peer_verification {
            builder.with_client_cert_verifier(verifier(options.ca_file.as_deref(), provider)?)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|source| match source {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { certificate: cert_file.clone(), key: key_file.clone() }
            }
            rustls::Error::InvalidCertificate(_) => {
                TlsError::Certificate { path: cert_file.clone(), number: 1 }
            }
            _ => TlsError::Key { path: key_file.clone() },
        })?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Loaded { config: Arc::new(config), validity })
    }
}

/// Verifies certificates of clients, without which none is accepted.
fn verifier(
    ca_file: Option<&Path>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut authorities = RootCertStore::empty();
    if let Some(path) = ca_file {
        for (number, certificate) in (1..).zip(pem::certificates("ca_file", path)?) {
            let fail = |_| TlsError::Certificate { path: path.into(), number };
            authorities.add(certificate).map_err(fail)?;
        }
    } else {
        authorities.add_parsable_certificates(of_system()?);
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider);
    verifier.build().map_err(|_| TlsError::NoAuthorities)
}

/// The authorities that this host trusts.
fn of_system() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() { Err(TlsError::NoAuthorities) } else { Ok(found.certs) }
}

#[cfg(test)]
mod tests;
