//! [`TlsError`]: why there is no TLS, one line for each mistake.

use std::io;
use std::path::PathBuf;

use zcluster::access::protected_file::ProtectedFileError;

/// Why the gateway's port cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate without its key, or the other way round.
    #[error("TLS needs both `cert_file` and `key_file`")]
    Incomplete,
    /// A file of certificates cannot be read.
    #[error("`{option}`: cannot read {}: {source}", path.display())]
    Read {
        /// The option that names it.
        option: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of the key cannot be read, or everyone may read it.
    #[error("`key_file`: {0}")]
    KeyFile(#[from] ProtectedFileError),
    /// A file is damaged.
    #[error("{}, line {line}: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was found, and what was expected.
        what: String,
    },
    /// A file is whole, and has something else.
    #[error("{}: found {found}; expected {expected}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: &'static str,
        /// What it should have.
        expected: &'static str,
    },
    /// Something that is marked as a certificate cannot be read as one.
    #[error("{}: certificate {number} of this file is not a certificate of X.509", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which of its certificates, from 1.
        number: usize,
    },
    /// A key that rustls cannot use.
    #[error("{}: the key is damaged or of an unknown type; expected RSA, ECDSA or Ed25519", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The key is of another certificate.
    #[error(
        "the key in {} does not belong to the first certificate in {}; expected the gateway's own \
         certificate first, then those of authorities", key.display(), certificate.display()
    )]
    Mismatch {
        /// The file of certificates.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A cipher suite that rustls does not have.
    #[error("`ciphers`: found {name:?}; expected names, separated by `:`, of {known}")]
    Cipher {
        /// Its name.
        name: String,
        /// The names of those that it has.
        known: String,
    },
    /// Clients cannot be verified.
    #[error(
        "clients cannot be verified: this host has no list of authorities; expected `ca_file`, or \
         the package ca-certificates"
    )]
    NoAuthorities,
    /// No version of TLS can be spoken with these options.
    #[error("TLS cannot be used with these options: {0}")]
    Unusable(rustls::Error),
}
