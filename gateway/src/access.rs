//! Who may use the gateway, and for what: which application a client belongs to, which topics that
//! application may use, and which web pages may connect. Pure, except for `tokens`.
//!
//! [`Access`] is built from the layout and the files of tokens; a SIGHUP replaces it as a whole, and
//! [`Access::renew`] says what becomes of a client that is already connected.

mod bearer;
mod origin;
mod refusal;
mod rules;
mod tokens;

use std::collections::HashMap;
use std::sync::Arc;

use zcluster::layout::{Application, WebSocket};

pub use bearer::bearer_token;
pub use refusal::Refusal;
pub use rules::Rules;
pub use tokens::TokenFileError;

use origin::Origins;
use tokens::TokenDigest;

/// Which clients may connect, and what each may do.
#[derive(Debug, PartialEq, Eq)]
pub struct Access {
    tokens: Vec<(TokenDigest, Grant)>,
    /// By the names in certificates, in lower case.
    certificates: HashMap<String, Grant>,
    /// What clients without credentials may do, if they are admitted.
    anonymous: Option<Grant>,
    /// Whether a certificate that TLS has verified is enough.
    admits_verified: bool,
    applications: usize,
    origins: Origins,
}

/// What a client shows of itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// Its bearer token ([`bearer_token`]).
    pub token: Option<&'a str>,
    /// The names in its certificate, which TLS has verified; of several that are known, the first
    /// counts.
    pub certificate_names: &'a [String],
}

/// A client that may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The application that it belongs to, if any.
    pub application: Option<Arc<str>>,
    /// What it may do.
    pub rules: Arc<Rules>,
    proof: Proof,
}

impl Admitted {
    /// The application to which the client has proven to belong, by a token or a certificate.
    pub fn proven(&self) -> Option<&Arc<str>> {
        self.application.as_ref().filter(|name| &***name != Application::ANONYMOUS)
    }
}

/// What a client was admitted by, for the next time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    Token(TokenDigest),
    /// The names in its certificate; empty if it has none.
    Names(Arc<[String]>),
}

/// An application, or clients that belong to none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Grant {
    application: Option<Arc<str>>,
    rules: Arc<Rules>,
}

/// Why there is no [`Access`].
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file of tokens cannot be used.
    #[error("the tokens of the application `{application}`: {source}")]
    Tokens {
        /// Whose they are.
        application: String,
        /// What is wrong.
        source: TokenFileError,
    },
    /// A token that leaves open what its client may do.
    #[error("the applications `{first}` and `{second}` have the same token; expected one for each")]
    Twice {
        /// An application that has it.
        first: String,
        /// Another.
        second: String,
    },
}

impl Access {
    /// Builds the access of a WebSocket API; reads its files of tokens.
    ///
    /// # Errors
    /// When a file cannot be read, others may read it, it holds something else, or its tokens are
    /// those of another application.
    pub fn load(websocket: &WebSocket) -> Result<Self, AccessError> {
        let admits_anonymous = websocket.admits_anonymous();
        let verifies = websocket.tls_options.enable_peer_verification;
        let applications = &websocket.applications;
        let with_credentials = applications.values().filter(|a| a.has_credentials()).count();
        let mut access = Access {
            tokens: Vec::new(),
            certificates: HashMap::new(),
            anonymous: admits_anonymous.then(Grant::default),
            admits_verified: verifies && with_credentials == 0,
            applications: with_credentials,
            origins: Origins::new(websocket),
        };
        for (name, application) in applications {
            access.add(name, application)?;
        }
        Ok(access)
    }

    fn add(&mut self, name: &str, application: &Application) -> Result<(), AccessError> {
        let grant =
            Grant { application: Some(name.into()), rules: Arc::new(Rules::new(application)) };
        if name == Application::ANONYMOUS {
            self.anonymous = self.anonymous.take().map(|_| grant);
            return Ok(());
        }
        for certificate in &application.certificates {
            self.certificates.insert(certificate.to_lowercase(), grant.clone());
        }
        let Some(path) = &application.token_file else { return Ok(()) };
        let fail = |source| AccessError::Tokens { application: name.into(), source };
        for token in tokens::read(path).map_err(fail)? {
            if let Some(other) = self.of_token(&token) {
                let first = other.application.as_deref().unwrap_or_default();
                return Err(AccessError::Twice { first: first.into(), second: name.into() });
            }
            self.tokens.push((token, grant.clone()));
        }
        Ok(())
    }

    /// Admits a client, or says why not.
    ///
    /// # Errors
    /// When it has a token of no application; or neither a token nor a certificate of one, unless
    /// clients without are admitted.
    pub fn admit(&self, credentials: Credentials<'_>) -> Result<Admitted, Refusal> {
        let proof = match credentials.token {
            // Where there are no tokens, nobody expects them to mean anything.
            Some(token) if !self.tokens.is_empty() => Proof::Token(TokenDigest::of(token)),
            _ => Proof::Names(credentials.certificate_names.into()),
        };
        self.admit_by(proof)
    }

    /// Admits a client again that another access has admitted, by the same credentials.
    ///
    /// # Errors
    /// When they are not enough any more: the client must be disconnected.
    pub fn renew(&self, admitted: &Admitted) -> Result<Admitted, Refusal> {
        self.admit_by(admitted.proof.clone())
    }

    fn admit_by(&self, proof: Proof) -> Result<Admitted, Refusal> {
        let Grant { application, rules } = match &proof {
            Proof::Token(token) => self.of_token(token).cloned().ok_or(Refusal::UnknownToken)?,
            Proof::Names(names) => self.of_names(names)?,
        };
        Ok(Admitted { application, rules, proof })
    }

    /// Looks at every token, so that the time it takes does not tell them apart.
    fn of_token(&self, token: &TokenDigest) -> Option<&Grant> {
        self.tokens.iter().fold(
            None,
            |found, (known, grant)| {
                if token.is(known) { Some(grant) } else { found }
            },
        )
    }

    fn of_names(&self, names: &[String]) -> Result<Grant, Refusal> {
        let by_name = |name: &String| self.certificates.get(&name.to_lowercase());
        if let Some(grant) = names.iter().find_map(by_name).or(self.anonymous.as_ref()) {
            Ok(grant.clone())
        } else if self.admits_verified {
            Ok(Grant::default())
        } else if self.tokens.is_empty() && !self.certificates.is_empty() {
            Err(Refusal::UnknownCertificate)
        } else {
            Err(Refusal::NoToken)
        }
    }

    /// Whether a program may connect with these headers `Origin` and `Host`: any but a browser that
    /// shows a page from elsewhere.
    pub fn allows_origin(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        self.origins.allow(origin, host)
    }

    /// The summary that the gateway logs: who may connect.
    pub fn summary(&self) -> String {
        let applications = match self.applications {
            0 => None,
            1 => Some("1 application".to_owned()),
            count => Some(format!("{count} applications")),
        };
        let verified = self.admits_verified.then(|| "clients with a valid certificate".to_owned());
        let anonymous = self.anonymous.as_ref().map(|_| "clients without credentials".to_owned());
        let who: Vec<_> = [applications, verified, anonymous].into_iter().flatten().collect();
        let who = if who.is_empty() { "nobody".to_owned() } else { who.join(" and ") };
        format!("{who} may connect")
    }
}

#[cfg(test)]
mod tests;
