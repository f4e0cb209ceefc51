//! Key files: one key per line, 40 characters of Z85. Lines that begin with `#`, as no key does,
//! are comments. The first key is the one in use; others are old or future ones.
//!
//! `NAME.secret` holds secret keys and is refused if other users may read it; `NAME.pub` holds
//! public keys and is refused if any user may write to it. Both are refused in a directory that any
//! user may write to, because they could be replaced there.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use zeroize::Zeroizing;

use super::protected_file::{ProtectedFileError, Protection, read};
use crate::atomic_file;
use crate::wire::zmtp::{BadKey, KeyPair, PublicKey, SecretKey};

/// Bytes of the largest file that is read.
const MAX_SIZE: u64 = 64 << 10;
/// Keys in a file: each secret one costs every client that connects some time.
pub const MAX_KEYS: usize = 8;
/// Bytes of a secret key in its file, with the comment above it; at most.
const LINES_OF_SECRET: usize = 128;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read the key file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It cannot be changed.
    #[error("cannot change the key file {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may read a secret, or replace a public key.
    #[error(
        "{} has mode {mode:04o}, so others may {what}; expected {expected}: chmod {fix} {}",
        path.display(), path.display()
    )]
    Mode {
        /// The file, or its directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// What others may do.
        what: &'static str,
        /// What it should be.
        expected: &'static str,
        /// The argument of chmod.
        fix: &'static str,
    },
    /// A line is not a key.
    #[error("{}, line {line}: {source}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: BadKey,
    },
    /// It has no keys, or too many.
    #[error("{}: found {found} keys, expected 1 to {MAX_KEYS}, one a line", path.display())]
    Count {
        /// The file.
        path: PathBuf,
        /// How many.
        found: usize,
    },
}

impl From<ProtectedFileError> for KeyFileError {
    fn from(error: ProtectedFileError) -> Self {
        match error {
            ProtectedFileError::Read { path, source } => Self::Read { path, source },
            ProtectedFileError::Mode { path, mode, what, expected, fix } => {
                Self::Mode { path, mode, what, expected, fix }
            }
        }
    }
}

impl KeyFileError {
    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// The file, or the directory it is in.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::Mode { path, .. }
            | Self::Line { path, .. }
            | Self::Count { path, .. } => path,
        }
    }
}

/// The path of the secret keys of a node, or of the broker, in a directory.
pub fn secret_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.secret"))
}

/// The path of the public keys of a node in a directory.
pub fn public_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.pub"))
}

/// Reads a file of secret keys.
///
/// # Errors
/// When it cannot be read, others may read it, or it holds something else.
pub fn read_secret_keys(path: &Path) -> Result<Vec<KeyPair>, KeyFileError> {
    let text = read(path, MAX_SIZE, Protection::OWNER)?;
    Ok(keys::<SecretKey>(path, &text)?.into_iter().map(KeyPair::from).collect())
}

/// Reads a file of public keys.
///
/// # Errors
/// When it cannot be read, any user may write to it, or it holds something else.
pub fn read_public_keys(path: &Path) -> Result<Vec<PublicKey>, KeyFileError> {
    let text = read(path, MAX_SIZE, Protection::READABLE)?;
    keys(path, &text)
}

/// Writes a new file of a secret key, which only its owner can read.
///
/// # Errors
/// When it exists or cannot be written.
pub fn write_secret_key(path: &Path, key: &SecretKey) -> io::Result<()> {
    atomic_file::create(path, 0o600, secret_text(&[key]).as_bytes())
}

/// Writes a file of secret keys, replacing an existing one.
///
/// # Errors
/// When it cannot be written.
pub fn replace_secret_keys(path: &Path, keys: &[KeyPair]) -> io::Result<()> {
    let keys: Vec<_> = keys.iter().map(KeyPair::secret).collect();
    atomic_file::replace(path, 0o600, secret_text(&keys).as_bytes())
}

fn secret_text(keys: &[&SecretKey]) -> Zeroizing<String> {
    // Room for all of it: growing would leave copies of secrets behind.
    let mut text = Zeroizing::new(String::with_capacity(keys.len() * LINES_OF_SECRET));
    for key in keys {
        let comment = format!("# Secret. Its public key is {}\n", key.public_key());
        text.extend([comment.as_str(), &key.expose_text(), "\n"]);
    }
    text
}

/// Writes a file of public keys, replacing an existing one.
///
/// # Errors
/// When it cannot be written.
pub fn write_public_keys(path: &Path, keys: &[PublicKey]) -> io::Result<()> {
    let mut text = String::new();
    for key in keys {
        text.extend([&key.to_string(), "\n"]);
    }
    atomic_file::replace(path, 0o644, text.as_bytes())
}

/// The public keys in a file, ignoring everything else; none if it cannot be read.
pub fn find_public_keys(path: &Path) -> Vec<PublicKey> {
    let text = read(path, MAX_SIZE, Protection::NONE).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Removes a key from a file of public keys, and the file with its last key. Returns whether the
/// file had the key.
///
/// # Errors
/// When the file cannot be read or written, or holds something else.
pub fn remove_public_key(path: &Path, key: &PublicKey) -> Result<bool, KeyFileError> {
    let keys = read_public_keys(path)?;
    if !keys.contains(key) {
        return Ok(false);
    }
    let written = if keys.iter().all(|other| other == key) {
        atomic_file::remove(path)
    } else {
        // Comments stay: they may say whose the other keys are.
        let text = read(path, MAX_SIZE, Protection::NONE)?;
        let lines = text.lines().filter(|line| line.trim().parse() != Ok(*key));
        let rest: String = lines.flat_map(|line| [line, "\n"]).collect();
        atomic_file::replace(path, 0o644, rest.as_bytes())
    };
    written.map(|()| true).map_err(|source| KeyFileError::Write { path: path.into(), source })
}

fn keys<K: FromStr<Err = BadKey>>(path: &Path, text: &str) -> Result<Vec<K>, KeyFileError> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let key = |(index, line): (usize, &str)| {
        let fail = |source| KeyFileError::Line { path: path.into(), line: index + 1, source };
        line.parse().map_err(fail)
    };
    let keys = lines.map(key).collect::<Result<Vec<K>, _>>()?;
    if (1..=MAX_KEYS).contains(&keys.len()) {
        Ok(keys)
    } else {
        Err(KeyFileError::Count { path: path.into(), found: keys.len() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, public) = (secret_path(dir.path(), "a"), public_path(dir.path(), "a"));
        let pair = KeyPair::generate();
        write_secret_key(&secret, pair.secret()).unwrap();
        assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let read = read_secret_keys(&secret).unwrap();
        assert_eq!((read.len(), read[0].public()), (1, pair.public()));
        assert!(write_secret_key(&secret, pair.secret()).is_err(), "never over another");

        let others = [*pair.public(), *KeyPair::generate().public()];
        for keys in [&others[..1], &others[..]] {
            write_public_keys(&public, keys).unwrap();
            assert_eq!(read_public_keys(&public).unwrap(), keys);
        }

        let pairs = [KeyPair::generate(), pair];
        replace_secret_keys(&secret, &pairs).unwrap();
        assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let read: Vec<_> =
            read_secret_keys(&secret).unwrap().iter().map(|pair| *pair.public()).collect();
        assert_eq!(read, pairs.map(|pair| *pair.public()));
        assert!(read_public_keys(&dir.path().join("b.pub")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_key_that_is_removed_leaves_the_rest_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = public_path(dir.path(), "a");
        let [one, other, stranger] = [(); 3].map(|()| *KeyPair::generate().public());
        fs::write(&path, format!("# one\n{one}\n\n# other\n  {other}\n{one}\n")).unwrap();
        assert!(!remove_public_key(&path, &stranger).unwrap());
        assert!(remove_public_key(&path, &one).unwrap());
        let rest = format!("# one\n\n# other\n  {other}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), rest);
        assert!(remove_public_key(&path, &other).unwrap());
        assert!(!path.exists());
        assert!(remove_public_key(&path, &other).unwrap_err().is_not_found());
    }

    #[test]
    fn what_others_may_touch_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.secret");
        let pair = KeyPair::generate();
        write_secret_key(&path, pair.secret()).unwrap();
        for (mode, refused) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let outcome = read_secret_keys(&path);
            assert_eq!(outcome.is_err(), refused, "{mode:o}");
            if let Err(error) = outcome {
                let text = error.to_string();
                assert!(text.contains(&format!("has mode {mode:04o}")), "{text}");
                assert!(text.ends_with(&format!("chmod 600 {}", path.display())), "{text}");
            }
        }
        write_public_keys(&path, &[*pair.public()]).unwrap();
        for (mode, refused) in [(0o644, false), (0o664, false), (0o666, true), (0o644, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(read_public_keys(&path).is_err(), refused, "{mode:o}");
        }
        for (mode, refused) in [(0o775, false), (0o777, true), (0o1777, true), (0o700, false)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let outcome = read_public_keys(&path);
            assert_eq!(outcome.is_err(), refused, "{mode:o}");
            if let Err(error) = outcome {
                let end = format!("0755 or less: chmod o-w {}", dir.path().display());
                assert!(error.to_string().ends_with(&end), "{error}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_told_with_its_line_and_without_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pub");
        let key = KeyPair::generate().public().to_string();
        for (text, expected) in [
            (String::new(), "found 0 keys"),
            ("# nothing\n\n".into(), "found 0 keys"),
            (format!("{key}\n").repeat(9), "found 9 keys, expected 1 to 8, one a line"),
            (format!("# old\n{key}\nhunter2\n"), "a.pub, line 3: found 7 characters"),
            (format!("{key} trailing\n"), "a.pub, line 1: found 49 characters"),
        ] {
            fs::write(&path, &text).unwrap();
            let error = read_public_keys(&path).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("hunter2"), "{error}");
        }
        fs::write(&path, format!("#old: {key}\n {key}\r\n")).unwrap();
        assert_eq!(read_public_keys(&path).unwrap().len(), 1);
        fs::write(&path, vec![b'x'; 100_000]).unwrap();
        assert!(read_public_keys(&path).is_err());
        assert!(read_public_keys(dir.path()).is_err());
    }
}
