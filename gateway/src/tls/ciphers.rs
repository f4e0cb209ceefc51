//! Cipher suites by name: as rustls calls them, or as IANA or OpenSSL do, whose names people know
//! from Zeek (WIRE.md §3.3).

use rustls::SupportedCipherSuite;
use rustls::crypto::{CryptoProvider, ring};

use super::TlsError;

/// The cryptography with only the suites in a list, the first one preferred; all if it is empty.
pub(super) fn provider(list: &str) -> Result<CryptoProvider, TlsError> {
    let mut provider = ring::default_provider();
    let names: Vec<_> = list.split([':', ',', ' ']).filter(|name| !name.is_empty()).collect();
    if names.is_empty() {
        return Ok(provider);
    }
    let known = &provider.cipher_suites;
    let suites = names.into_iter().map(|name| find(known, name)).collect::<Result<_, _>>()?;
    provider.cipher_suites = suites;
    Ok(provider)
}

fn find(known: &[SupportedCipherSuite], name: &str) -> Result<SupportedCipherSuite, TlsError> {
    let is_it = |suite: &&SupportedCipherSuite| {
        spellings(suite).iter().any(|known| known.eq_ignore_ascii_case(name))
    };
    known.iter().find(is_it).copied().ok_or_else(|| {
        let known: Vec<_> = known.iter().map(own_name).collect();
        TlsError::Cipher { name: name.into(), known: known.join(", ") }
    })
}

fn own_name(suite: &SupportedCipherSuite) -> &'static str {
    suite.suite().as_str().unwrap_or_default()
}

/// The names by rustls, IANA and OpenSSL.
fn spellings(suite: &SupportedCipherSuite) -> [String; 3] {
    let own = own_name(suite);
    let iana = own.replacen("TLS13_", "TLS_", 1);
    let openssl = if iana == own {
        let name = own.replacen("TLS_", "", 1).replacen("WITH_", "", 1).replace('_', "-");
        name.replacen("AES-", "AES", 1).replacen("POLY1305-SHA256", "POLY1305", 1)
    } else {
        iana.clone()
    };
    [own.into(), iana, openssl]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        let provider = provider(list).unwrap_or_else(|error| panic!("{error}"));
        provider.cipher_suites.iter().map(own_name).collect()
    }

    #[test]
    fn a_suite_has_three_names() {
        for (list, expected) in [
            ("TLS13_AES_256_GCM_SHA384", &["TLS13_AES_256_GCM_SHA384"][..]),
            ("TLS_AES_256_GCM_SHA384", &["TLS13_AES_256_GCM_SHA384"]),
            ("tls_chacha20_poly1305_sha256", &["TLS13_CHACHA20_POLY1305_SHA256"]),
            ("ECDHE-RSA-AES128-GCM-SHA256", &["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
            (
                "ECDHE-ECDSA-CHACHA20-POLY1305:TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                &[
                    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
                    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                ],
            ),
            (
                "TLS13_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384",
                &["TLS13_AES_128_GCM_SHA256", "TLS13_AES_256_GCM_SHA384"],
            ),
        ] {
            assert_eq!(names(list), expected, "{list}");
        }
        assert_eq!(names(""), names(" : "));
        assert_eq!(names("").len(), 9);
        // Each has names of its own.
        let all = ring::default_provider().cipher_suites;
        for suite in &all {
            for name in spellings(suite) {
                assert_eq!(names(&name), [own_name(suite)], "{name}");
            }
        }
    }

    #[test]
    fn an_unknown_one_lists_the_others() {
        let error = provider("TLS_AES_256_GCM_SHA384:AES128-SHA").unwrap_err().to_string();
        let start = "`ciphers`: found \"AES128-SHA\"; expected names, separated by `:`, of \
                     TLS13_AES_256_GCM_SHA384, ";
        assert!(error.starts_with(start), "{error}");
    }
}
