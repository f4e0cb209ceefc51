//! [`Refusal`]: why a client is not admitted, as HTTP says it.

/// Why a client is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Its header `Authorization` cannot be read.
    #[error("the header Authorization is not `Bearer TOKEN`")]
    BadAuthorization,
    /// It has neither a token nor a certificate of an application.
    #[error("expected the header `Authorization: Bearer TOKEN`")]
    NoToken,
    /// No application has its token.
    #[error("no application has this token")]
    UnknownToken,
    /// No application has a name of its certificate.
    #[error("no application has a name of this certificate")]
    UnknownCertificate,
}

impl Refusal {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Refusal::BadAuthorization => 400,
            Refusal::NoToken | Refusal::UnknownToken => 401,
            Refusal::UnknownCertificate => 403,
        }
    }

    /// The value of the header `WWW-Authenticate`, if the answer has it (RFC 6750 §3).
    pub fn challenge(self) -> Option<&'static str> {
        match self {
            Refusal::BadAuthorization => {
                Some(r#"Bearer realm="zcluster", error="invalid_request""#)
            }
            Refusal::NoToken => Some(r#"Bearer realm="zcluster""#),
            Refusal::UnknownToken => Some(r#"Bearer realm="zcluster", error="invalid_token""#),
            Refusal::UnknownCertificate => None,
        }
    }
}
