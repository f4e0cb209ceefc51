//! The live page: its files, embedded in the program, and the answers to requests for them.
//!
//! Pure: path and `If-None-Match` in, an [`Answer`] out. The page holds no secrets and is served to
//! everybody who can connect; what it shows comes over `/v2/messages/json`, with the access control
//! of that path.
//!
//! What the page relies on:
//! - It is served at a path that ends in `/`; all its addresses are relative.
//! - Every answer carries [`HEADERS`].
//! - Its WebSocket sends the token as `?access_token=` (RFC 6750 §2.3), percent-encoded: a browser
//!   lets a page set no headers there. Its origin is the gateway's own.
//! - A browser does not tell a page why its WebSocket was refused. The page then sends an ordinary
//!   GET to `/v2/messages/json`, with its token as `Authorization: Bearer`: the answer must be 401
//!   without a token that is accepted, 403 if the page is not allowed for another reason, and
//!   anything else if access is not the problem. So access is checked before the headers of the
//!   upgrade.

use std::sync::LazyLock;

/// The page needs nothing but its own files and its own WebSocket: no inline script or style, no
/// `eval`, nothing loaded from elsewhere. (`'self'` includes `ws:` and `wss:` to the same host and
/// port.)
pub const CONTENT_SECURITY_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Headers of every answer, in addition to its `Content-Type` and `ETag`. Browsers ask each time
/// whether their copy is current: after an upgrade of the gateway, nobody sees the page of before.
pub const HEADERS: [(&str, &str); 4] = [
    ("content-security-policy", CONTENT_SECURITY_POLICY),
    ("cache-control", "no-cache"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

/// One file of the page.
#[derive(Debug)]
pub struct File {
    /// The path of the request.
    pub path: &'static str,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The content.
    pub bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! file {
    ($path:literal, $content_type:expr) => {
        file!(concat!("/", $path), $path, $content_type)
    };
    ($at:expr, $path:literal, $content_type:expr) => {
        File {
            path: $at,
            content_type: $content_type,
            bytes: include_bytes!(concat!("../page/", $path)),
        }
    };
}

/// All files of the page.
pub static FILES: [File; 16] = [
    file!("/", "index.html", HTML),
    file!("style.css", CSS),
    file!("icon.svg", SVG),
    file!("app.js", JS),
    file!("brief.js", JS),
    file!("connection.js", JS),
    file!("format.js", JS),
    file!("model.js", JS),
    file!("rates.js", JS),
    file!("ring.js", JS),
    file!("table.js", JS),
    file!("tail.js", JS),
    file!("token.js", JS),
    file!("vendor/uPlot.iife.min.js", JS),
    file!("vendor/uPlot.min.css", CSS),
    file!("vendor/uPlot.LICENSE", TEXT),
];

/// The answer to a request for a file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// 200, or 304 if the client's copy is current.
    pub status: u16,
    /// The `Content-Type`.
    pub content_type: &'static str,
    /// The `ETag`.
    pub etag: &'static str,
    /// The body; empty with 304.
    pub body: &'static [u8],
}

/// Answers a GET or HEAD of `path` (without the query), given the request's `If-None-Match`. `None`
/// if the page has no such file.
pub fn answer(path: &str, if_none_match: Option<&str>) -> Option<Answer> {
    static ETAGS: LazyLock<[String; FILES.len()]> =
        LazyLock::new(|| std::array::from_fn(|at| etag(FILES[at].bytes)));
    let at = FILES.iter().position(|file| file.path == path)?;
    let (file, etag) = (&FILES[at], ETAGS[at].as_str());
    let current = if_none_match.is_some_and(|tags| is_listed(etag, tags));
    Some(Answer {
        status: if current { 304 } else { 200 },
        content_type: file.content_type,
        etag,
        body: if current { &[] } else { file.bytes },
    })
}

/// A strong ETag: length and FNV-1a of the content. It tells versions of the page apart; nobody has
/// an interest in collisions.
fn etag(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("\"{:x}-{hash:016x}\"", bytes.len())
}

/// Whether `If-None-Match` (RFC 9110 §13.1.2) names `etag`. The comparison is the weak one: proxies
/// that compress make tags weak.
fn is_listed(etag: &str, tags: &str) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    fn text(path: &str) -> &'static str {
        std::str::from_utf8(answer(path, None).unwrap().body).unwrap()
    }

    #[test]
    fn a_file_is_sent_once() {
        let first = answer("/", None).unwrap();
        assert_eq!((first.status, first.content_type), (200, "text/html; charset=utf-8"));
        assert!(first.body.starts_with(b"<!doctype html>"));

        let again = answer("/", Some(first.etag)).unwrap();
        assert_eq!(again, Answer { status: 304, body: &[], ..first });
        for tags in ["*", &format!("\"x\", W/{}", first.etag)] {
            assert_eq!(answer("/", Some(tags)).unwrap().status, 304, "{tags}");
        }
        for tags in ["", "\"x\"", "W/\"x\"", first.etag.trim_matches('"')] {
            assert_eq!(answer("/", Some(tags)), Some(first), "{tags}");
        }
    }

    #[test]
    fn only_what_is_listed_is_served() {
        for path in [
            "",
            "index.html",
            "/index.html",
            "/vendor",
            "/vendor/",
            "/../Cargo.toml",
            "//",
            "/App.js",
        ] {
            assert_eq!(answer(path, None), None, "{path}");
        }
    }

    #[test]
    fn etags_tell_contents_apart() {
        assert_eq!(etag(b""), "\"0-cbf29ce484222325\"");
        assert_eq!(etag(b"a"), "\"1-af63dc4c8601ec8c\"");
        let etags: BTreeSet<_> =
            FILES.iter().map(|file| answer(file.path, None).unwrap().etag).collect();
        assert_eq!(etags.len(), FILES.len());
    }

    #[test]
    fn every_file_in_the_directory_is_embedded() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let mut found = BTreeSet::new();
        for folder in ["", "vendor/"] {
            for entry in root.join(folder).read_dir().unwrap().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                if entry.file_type().unwrap().is_file() {
                    found.insert(format!("/{folder}{name}").replace("/index.html", "/"));
                }
            }
        }
        let embedded = FILES.iter().map(|file| file.path.to_owned()).collect();
        assert_eq!(found, embedded);
    }

    /// What the policy would forbid; a browser would say so only on its console.
    #[test]
    fn nothing_is_inline_or_from_elsewhere() {
        let page = text("/");
        for forbidden in
            ["style=", "<style", " onclick", " onload", " src=\"http", " href=\"http", "=\"/"]
        {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        for script in page.split("<script").skip(1) {
            assert!(script.starts_with(" src=\"") && script.contains("></script>"), "{script}");
        }
        for file in FILES
            .iter()
            .filter(|file| file.content_type == JS && !file.path.starts_with("/vendor/"))
        {
            for forbidden in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!text(file.path).contains(forbidden), "{}: {forbidden}", file.path);
            }
        }
    }

    #[test]
    fn every_reference_is_to_a_file() {
        let page = text("/");
        for attribute in [" src=\"", " href=\""] {
            for rest in page.split(attribute).skip(1) {
                let target = rest.split('"').next().unwrap();
                if !target.starts_with('#') {
                    assert!(answer(&format!("/{target}"), None).is_some(), "{target}");
                }
            }
        }
        for file in FILES.iter().filter(|file| file.content_type == JS) {
            for rest in text(file.path).split("from \"./").skip(1) {
                let target = rest.split('"').next().unwrap();
                assert!(answer(&format!("/{target}"), None).is_some(), "{}: {target}", file.path);
            }
        }
    }
}
