//! Files of bearer tokens, one per line. Lines that begin with `#` are comments; several tokens are
//! valid at once, so that they can be changed one client at a time.
//!
//! Of a token, only its SHA-256 digest is kept: a token is random and long enough that nobody finds
//! it by its digest, and comparing digests tells nothing about how much of a guess was right.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use zcluster::access::protected_file::{self, ProtectedFileError, Protection};

use super::bearer::is_token;

/// Bytes of the largest file that is read.
const MAX_SIZE: u64 = 64 << 10;
/// Tokens in a file: a client's token is compared with all of them.
const MAX_TOKENS: usize = 100;
/// Characters of the shortest token: 16 of base64 have 96 bits.
const MIN_LENGTH: usize = 16;
/// Characters of the longest token: a header is limited too.
const MAX_LENGTH: usize = 1024;

/// What is wrong with a file of tokens. Messages do not show tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read, or others may read it.
    #[error(transparent)]
    File(#[from] ProtectedFileError),
    /// A line has another length than tokens have.
    #[error(
        "{}, line {line}: found {found} characters, expected a token of {MIN_LENGTH} to \
         {MAX_LENGTH}, such as `openssl rand -hex 32` makes", path.display()
    )]
    Length {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// How many characters it has.
        found: usize,
    },
    /// A line has characters that a header `Authorization` cannot have.
    #[error(
        "{}, line {line}: found a character that is not of a token; expected `A-Z a-z 0-9 - . _ ~ \
         + /`, and `=` at the end", path.display()
    )]
    Character {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// It has no tokens, or too many.
    #[error("{}: found {found} tokens, expected 1 to {MAX_TOKENS}, one per line", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// How many.
        found: usize,
    },
}

/// The digest of a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &str) -> Self {
        TokenDigest(Sha256::digest(token).into())
    }

    /// Whether both are of the same token. Takes the same time for all.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<token>")
    }
}

/// Reads a file of tokens.
///
/// # Errors
/// When it cannot be read, others may read it, or it holds something else.
pub(super) fn read(path: &Path) -> Result<Vec<TokenDigest>, TokenFileError> {
    let text = protected_file::read(path, MAX_SIZE, Protection::OWNER)?;
    let mut tokens = Vec::new();
    for (line, token) in (1..).zip(text.lines().map(str::trim)) {
        if token.is_empty() || token.starts_with('#') {
            continue;
        }
        let found = token.chars().count();
        if !is_token(token) {
            return Err(TokenFileError::Character { path: path.into(), line });
        }
        if !(MIN_LENGTH..=MAX_LENGTH).contains(&found) {
            return Err(TokenFileError::Length { path: path.into(), line, found });
        }
        let token = TokenDigest::of(token);
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    if (1..=MAX_TOKENS).contains(&tokens.len()) {
        Ok(tokens)
    } else {
        Err(TokenFileError::Count { path: path.into(), found: tokens.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn lines_are_tokens_and_mistakes_are_told_without_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        let token = "hunter2-hunter2-hunter2";
        let many = (0..101).map(|n| format!("{token}{n}")).collect::<Vec<_>>().join("\n");
        let length = "characters, expected a token of 16 to 1024, such as `openssl rand -hex 32`";
        for (text, expected) in [
            (format!("# one\n\n {token}\r\n{token}==\n{token}\n"), Ok(2)),
            (token.into(), Ok(1)),
            (String::new(), Err("t: found 0 tokens, expected 1 to 100, one per line".to_owned())),
            ("#\n".into(), Err("t: found 0 tokens, expected".into())),
            (many, Err("t: found 101 tokens, expected 1 to 100".into())),
            (format!("{token}\nhunter2\n"), Err(format!("t, line 2: found 7 {length}"))),
            ("x".repeat(1025), Err(format!("t, line 1: found 1025 {length}"))),
            (format!("{token} # mine\n"), Err("t, line 1: found a character that is not".into())),
            (format!("{token}é\n"), Err("t, line 1: found a character that is not".into())),
            (format!("Bearer {token}\n"), Err("`A-Z a-z 0-9 - . _ ~ + /`, and `=` at".into())),
        ] {
            write(&path, &text, 0o600);
            match (read(&path).map_err(|error| error.to_string()), expected) {
                (Ok(tokens), Ok(count)) => assert_eq!(tokens.len(), count, "{text:?}"),
                (Err(error), Err(expected)) => {
                    assert!(error.contains(&expected), "{error}");
                    assert!(!error.contains("hunter2"), "{error}");
                }
                (found, expected) => panic!("{text:?}: {found:?}, {expected:?}"),
            }
        }
        assert_eq!(format!("{:?}", TokenDigest::of(token)), "<token>");
    }

    #[test]
    fn nobody_else_may_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t");
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            write(&path, "0123456789abcdef", mode);
            let outcome = read(&path).map_err(|error| error.to_string());
            assert_eq!(outcome.is_err(), refused, "{mode:o}");
            if let Err(error) = outcome {
                let end = format!("expected 0600: chmod 600 {}", path.display());
                assert!(error.ends_with(&end), "{error}");
            }
        }
        let error = read(&dir.path().join("x")).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /") && error.contains("/x: No such"), "{error}");
    }
}
