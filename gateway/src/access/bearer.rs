//! Bearer tokens as they are written, in the header `Authorization` (RFC 6750 §2.1, RFC 9110 §11.4)
//! and in files.

use super::Refusal;

/// The token in the value of a header `Authorization`; `None` if it is of another scheme, which may
/// be meant for a proxy.
///
/// # Errors
/// When the scheme is Bearer and no token follows.
pub fn bearer_token(authorization: &[u8]) -> Result<Option<&str>, Refusal> {
    let value = authorization.trim_ascii();
    let end = value.iter().position(|b| *b == b' ').unwrap_or(value.len());
    let (scheme, rest) = value.split_at(end);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = str::from_utf8(rest.trim_ascii()).ok().filter(|token| is_token(token));
    token.map(Some).ok_or(Refusal::BadAuthorization)
}

/// Whether it is a `b64token`, which is also a `token68`.
pub(super) fn is_token(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let is_digit = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
    !digits.is_empty() && digits.bytes().all(is_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_follows_the_scheme_whatever_its_case() {
        let bad = Err(Refusal::BadAuthorization);
        for (value, expected) in [
            ("Bearer mF_9.B5f-4.1JqM", Ok(Some("mF_9.B5f-4.1JqM"))),
            ("bearer a", Ok(Some("a"))),
            (" BEARER   aA0-._~+/==\t", Ok(Some("aA0-._~+/=="))),
            ("Basic dXNlcjpwYXNz", Ok(None)),
            ("Digest username=\"a\", realm=\"b\"", Ok(None)),
            ("Bearertoken", Ok(None)),
            ("", Ok(None)),
            ("Bearer", bad),
            ("Bearer ", bad),
            ("Bearer ==", bad),
            ("Bearer a=b", bad),
            ("Bearer a b", bad),
            ("Bearer a,b", bad),
            ("Bearer \"a\"", bad),
            ("Bearer é", bad),
        ] {
            assert_eq!(bearer_token(value.as_bytes()), expected, "{value:?}");
        }
        assert_eq!(bearer_token(b"Bearer \xff"), bad);
        assert_eq!(bearer_token(b"\xff \xff"), Ok(None));
    }
}
