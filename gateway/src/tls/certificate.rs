//! What is in a certificate: the names of its owner, and from when to when it is valid (RFC 5280).

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Before a certificate is no longer valid, this is how long its operator has been told.
const NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// The names in the first certificate of a chain, which TLS has verified: common names, then DNS
/// names, each once. IP addresses and other names are left out.
pub fn names(chain: &[CertificateDer<'_>]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let Some(certificate) = chain.first().and_then(parse) else { return names };
    let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let others = certificate.subject_alternative_name().ok().flatten();
    let others = others.iter().flat_map(|names| &names.value.general_names);
    let dns = others.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    for name in common.chain(dns) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.into());
        }
    }
    names
}

/// When a certificate is valid; `None` if it is not a certificate.
pub(super) fn validity(certificate: &CertificateDer<'_>) -> Option<Validity> {
    let validity = parse(certificate)?.validity().clone();
    let time = |seconds: i64| {
        let since = Duration::from_secs(seconds.unsigned_abs());
        let epoch = SystemTime::UNIX_EPOCH;
        if seconds < 0 { epoch.checked_sub(since) } else { epoch.checked_add(since) }
    };
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Some(Validity { from: time(from)?, to: time(to)? })
}

fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    let (rest, certificate) = X509Certificate::from_der(certificate).ok()?;
    rest.is_empty().then_some(certificate)
}

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    from: SystemTime,
    to: SystemTime,
}

impl Validity {
    /// What is wrong with it at a time, or soon will be.
    pub(super) fn problem(self, now: SystemTime) -> Option<String> {
        if let Ok(until) = self.from.duration_since(now)
            && !until.is_zero()
        {
            return Some(format!("is valid only in {}; is the clock right?", days(until)));
        }
        match self.to.duration_since(now) {
            Ok(left) if left <= NOTICE => Some(format!("expires in {}", days(left))),
            Ok(_) => None,
            Err(since) => Some(format!("has expired {} ago", days(since.duration()))),
        }
    }
}

/// Whole days, or hours of the last one.
fn days(time: Duration) -> String {
    let (count, unit) = match time.as_secs() / 3600 {
        hours @ ..48 => (hours, "hour"),
        hours => (hours / 24, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
