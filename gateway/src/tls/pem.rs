//! Files of certificates and keys, as PEM (RFC 7468), and what is wrong with one.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use zcluster::access::protected_file::{self, ProtectedFileError, Protection};

use super::TlsError;

/// Bytes of the largest file of certificates: many times a list of all public authorities.
const MAX_CERTIFICATES: u64 = 16 << 20;
/// Bytes of the largest file of a key, which may have certificates too.
const MAX_KEY: u64 = 1 << 20;

const CERTIFICATE: &str = "a certificate in PEM, `-----BEGIN CERTIFICATE-----`";
const KEY: &str = "a private key in PEM, `-----BEGIN PRIVATE KEY-----`";

/// Reads the certificates of a file that an option names, in its order; at least one.
pub(super) fn certificates(
    option: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fail = |source| TlsError::Read { option, path: path.into(), source };
    let text = read(path).map_err(fail)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| damaged(path, &text, &error))?;
    if found.is_empty() {
        let found = if contains(&text, "PRIVATE KEY-----") {
            "a private key and no certificate"
        } else {
            "no certificate"
        };
        return Err(TlsError::Other { path: path.into(), found, expected: CERTIFICATE });
    }
    Ok(found)
}

/// Reads the first private key of a file that not everyone can read.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let other = |found, expected| TlsError::Other { path: path.into(), found, expected };
    let text = match protected_file::read(path, MAX_KEY, Protection::GROUP) {
        Err(ProtectedFileError::Read { source, .. })
            if source.kind() == io::ErrorKind::InvalidData =>
        {
            return Err(other("what is not text, perhaps DER", KEY));
        }
        text => text?,
    };
    let text = text.as_bytes();
    // RFC 7468 §11, and what OpenSSL wrote before.
    if contains(text, "BEGIN ENCRYPTED PRIVATE KEY") || contains(text, "Proc-Type: 4,ENCRYPTED") {
        let expected = "a key without a passphrase, as `openssl pkey -in FILE -out FILE` writes it";
        return Err(other("an encrypted key", expected));
    }
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(Error::NoItemsFound) if contains(text, "BEGIN CERTIFICATE") => {
            Err(other("a certificate and no key", KEY))
        }
        Err(Error::NoItemsFound) => Err(other("no key", KEY)),
        Err(error) => Err(damaged(path, text, &error)),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_CERTIFICATES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_CERTIFICATES {
        return Err(io::Error::other("it is larger than 16 MiB, too large for certificates"));
    }
    Ok(text)
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len()).any(|window| window == part.as_bytes())
}

/// Says where a file is damaged. What is between the lines of dashes is never shown: it may be a
/// key.
fn damaged(path: &Path, text: &[u8], error: &Error) -> TlsError {
    let lines = || (1..).zip(text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii));
    let number_of = |wanted: &[u8]| {
        let found = lines().filter(|(_, line)| *line == wanted).last();
        found.map(|(number, _)| number)
    };
    // A file that has lost its line feeds has all of the key on this line.
    let not_alone = || "expected nothing but `-----BEGIN …-----` on this line".to_owned();
    let (line, what) = match error {
        Error::MissingSectionEnd { end_marker } => {
            // It is the label without the dashes.
            let label = String::from_utf8_lossy(end_marker);
            let line = number_of(format!("-----BEGIN {label}-----").as_bytes());
            let end = || format!("what begins here has no end; expected `-----END {label}-----`");
            (line, if label.contains("--") { not_alone() } else { end() })
        }
        Error::IllegalSectionStart { line } => (number_of(line.trim_ascii()), not_alone()),
        _ => {
            let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=".contains(byte);
            let is_bad = |line: &[u8]| !line.starts_with(b"-----") && !line.iter().all(is_base64);
            let first = lines().find(|(_, line)| line.starts_with(b"-----BEGIN"));
            let first = first.map_or(1, |(number, _)| number);
            let mut bad = lines().filter(|(number, line)| *number > first && is_bad(line));
            let line = bad.next().map(|(number, _)| number);
            (line.or(Some(first)), "this is not base64 (PEM, RFC 7468), or is cut off".into())
        }
    };
    TlsError::Damaged { path: path.into(), line: line.unwrap_or(1), what }
}
