//! Who is admitted, as which application.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;
use zcluster::layout::{Layout, load};

use super::*;

const ALERTS: &str = "alerts-token-0123";
const OTHER: &str = "other-token-01234";
const NEXT: &str = "next-token-012345";

/// The WebSocket API of a layout file with these lines, and files of tokens beside it.
fn websocket(dir: &TempDir, lines: &str) -> WebSocket {
    let node = "[nodes.m]\nnode_type = \"manager\"\nip = \"127.0.0.1\"\n";
    let path = dir.path().join("layout.toml");
    fs::write(&path, format!("{node}[nodes.m.websocket]\n{lines}\n")).unwrap();
    write(dir.path(), "alerts", &format!("{ALERTS}\n{NEXT}\n"));
    write(dir.path(), "other", OTHER);
    let Layout { mut nodes, .. } = load(&path, |_| None).unwrap_or_else(|e| panic!("{e}")).layout;
    nodes.remove("m").unwrap().websocket.unwrap()
}

fn write(dir: &Path, name: &str, tokens: &str) {
    let path = dir.join(name);
    fs::write(&path, tokens).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
}

/// Who a client is: the name of its application, `-` without one, or why it is refused.
fn who(access: &Access, token: Option<&str>, names: &[&str]) -> Result<String, Refusal> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let admitted = access.admit(Credentials { token, certificate_names: &names })?;
    Ok(admitted.application.as_deref().unwrap_or("-").to_owned())
}

const VERIFIED: &str =
    "tls_options = { cert_file = \"c\", key_file = \"k\", enable_peer_verification = true }\n";
const TOKENS: &str =
    "applications = { alerts.token_file = \"alerts\", other.token_file = \"other\" }\n";
const BOTH: &str = "applications = { alerts.token_file = \"alerts\", \
                    nodes.certificates = [\"a.example\", \"Node A\"] }\n";
const NAMES: &str = "applications.nodes.certificates = [\"a.example\"]\n";

#[test]
fn clients_are_who_they_prove_to_be() {
    use Refusal::{NoToken, UnknownCertificate, UnknownToken};
    let dir = tempfile::tempdir().unwrap();
    let open = "listen_addr = \"10.0.0.1\"\nallow_anonymous = true\n".to_owned();
    let loopback = String::new();
    let anonymous = "applications.anonymous.publish = []\n";
    let with_anonymous = TOKENS.replace("{ ", "{ anonymous.publish = [], ");
    for (lines, token, names, expected) in [
        (loopback.clone(), None, &[][..], Ok("-")),
        // Nobody has tokens.
        (loopback.clone(), Some(ALERTS), &[], Ok("-")),
        (loopback.clone() + anonymous, None, &[], Ok("anonymous")),
        (open.clone(), None, &[], Ok("-")),
        (open.clone() + anonymous, Some(ALERTS), &[], Ok("anonymous")),
        (TOKENS.into(), Some(ALERTS), &[], Ok("alerts")),
        (TOKENS.into(), Some(NEXT), &[], Ok("alerts")),
        (TOKENS.into(), Some(OTHER), &[], Ok("other")),
        (TOKENS.into(), Some("alerts-token-012"), &[], Err(UnknownToken)),
        (TOKENS.into(), Some(""), &[], Err(UnknownToken)),
        (TOKENS.into(), None, &[], Err(NoToken)),
        (with_anonymous.clone(), None, &[], Ok("anonymous")),
        (with_anonymous, Some("wrong"), &[], Err(UnknownToken)),
        (open.clone() + TOKENS, None, &[], Ok("-")),
        (open + TOKENS, Some(OTHER), &[], Ok("other")),
        // A certificate that TLS verified is enough, unless applications have credentials.
        (VERIFIED.into(), None, &["x"], Ok("-")),
        (VERIFIED.into(), None, &[], Ok("-")),
        (VERIFIED.to_owned() + anonymous, None, &["x"], Ok("anonymous")),
        (VERIFIED.to_owned() + NAMES, None, &["x", "A.Example"], Ok("nodes")),
        (VERIFIED.to_owned() + NAMES, None, &["x"], Err(UnknownCertificate)),
        (VERIFIED.to_owned() + NAMES, Some(ALERTS), &["a.example"], Ok("nodes")),
        (VERIFIED.to_owned() + NAMES, None, &[], Err(UnknownCertificate)),
        (VERIFIED.to_owned() + TOKENS, None, &["x"], Err(NoToken)),
        (VERIFIED.to_owned() + BOTH, None, &["node a"], Ok("nodes")),
        (VERIFIED.to_owned() + BOTH, Some(ALERTS), &["a.example"], Ok("alerts")),
        (VERIFIED.to_owned() + BOTH, Some("wrong"), &["a.example"], Err(UnknownToken)),
        (VERIFIED.to_owned() + BOTH, None, &["x"], Err(NoToken)),
    ] {
        let access = Access::load(&websocket(&dir, &lines)).unwrap();
        let expected = expected.map(str::to_owned);
        assert_eq!(who(&access, token, names), expected, "{lines} {token:?} {names:?}");
    }
}

#[test]
fn an_application_has_its_rules() {
    let dir = tempfile::tempdir().unwrap();
    let lines =
        "applications.alerts = { token_file = \"alerts\", publish = [], subscribe = [\"a.\"] }";
    let access = Access::load(&websocket(&dir, lines)).unwrap();
    let admitted = access.admit(Credentials { token: Some(NEXT), ..Credentials::default() });
    let rules = admitted.unwrap().rules;
    assert!(rules.may_subscribe("a.b") && !rules.may_subscribe("a") && !rules.may_publish("a.b"));
}

#[test]
fn a_client_that_is_connected_stays_while_its_credentials_do() {
    let dir = tempfile::tempdir().unwrap();
    let before = Access::load(&websocket(&dir, TOKENS)).unwrap();
    let admit = |token| before.admit(Credentials { token: Some(token), ..Credentials::default() });
    let (alerts, next) = (admit(ALERTS).unwrap(), admit(NEXT).unwrap());
    assert_eq!(before.renew(&alerts).unwrap(), alerts);

    let mut changed = websocket(&dir, TOKENS);
    assert_eq!(Access::load(&changed).unwrap(), before);
    write(dir.path(), "alerts", NEXT);
    changed.applications.get_mut("alerts").unwrap().publish = Some(Vec::new());
    let after = Access::load(&changed).unwrap();
    assert_ne!(after, before);
    assert_eq!(after.renew(&alerts), Err(Refusal::UnknownToken));
    let renewed = after.renew(&next).unwrap();
    assert!(next.rules.may_publish("x") && !renewed.rules.may_publish("x"));
    assert_eq!(renewed.application, next.application);

    let none = Access::load(&WebSocket::default()).unwrap();
    assert_eq!(none.renew(&next), Err(Refusal::UnknownToken), "it was admitted for its token");
    let anonymous = none.admit(Credentials::default()).unwrap();
    assert_eq!(after.renew(&anonymous), Err(Refusal::NoToken));
}

#[test]
fn mistakes_name_the_application_and_never_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let twice = "applications = { a.token_file = \"alerts\", b.token_file = \"alerts\" }";
    let missing = "applications.a.token_file = \"missing\"";
    for (lines, expected) in [
        (twice, "the applications `a` and `b` have the same token; expected one for each"),
        (missing, "the tokens of the application `a`: cannot read "),
    ] {
        let error = Access::load(&websocket(&dir, lines)).unwrap_err();
        assert!(error.to_string().starts_with(expected), "{error}");
    }
    let access = Access::load(&websocket(&dir, TOKENS)).unwrap();
    let admitted = access.admit(Credentials { token: Some(OTHER), ..Credentials::default() });
    let shown = format!("{access:?} {admitted:?}");
    assert!(!shown.contains(OTHER) && !shown.contains(ALERTS), "{shown}");
}

#[test]
fn who_may_connect_is_told_in_a_line() {
    let dir = tempfile::tempdir().unwrap();
    for (lines, expected) in [
        ("", "clients without credentials may connect"),
        (TOKENS, "2 applications may connect"),
        (VERIFIED, "clients with a valid certificate may connect"),
        (
            &format!("allow_anonymous = true\n{VERIFIED}{NAMES}"),
            "1 application and clients without",
        ),
    ] {
        let summary = Access::load(&websocket(&dir, lines)).unwrap().summary();
        assert!(summary.starts_with(expected), "{summary}");
    }
    // As when a layout is reloaded that is meant for another address.
    let elsewhere = WebSocket { listen_addr: [10, 0, 0, 1].into(), ..WebSocket::default() };
    let access = Access::load(&elsewhere).unwrap();
    assert_eq!(access.summary(), "nobody may connect");
    assert_eq!(who(&access, None, &[]), Err(Refusal::NoToken));
}

#[test]
fn a_refusal_is_what_http_says() {
    for (refusal, status, challenge) in [
        (
            Refusal::BadAuthorization,
            400,
            Some("Bearer realm=\"zcluster\", error=\"invalid_request\""),
        ),
        (Refusal::NoToken, 401, Some("Bearer realm=\"zcluster\"")),
        (Refusal::UnknownToken, 401, Some("Bearer realm=\"zcluster\", error=\"invalid_token\"")),
        (Refusal::UnknownCertificate, 403, None),
    ] {
        assert_eq!((refusal.status(), refusal.challenge()), (status, challenge));
    }
}
