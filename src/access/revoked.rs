//! [`Revoked`]: public keys that are refused wherever else they are listed.
//!
//! They are in the file [`REVOKED`] in the directory of authorized keys, so that copying the
//! directory copies them too. Each line has a key; the time of the revocation and the name of its
//! owner follow for users. Lines that begin with `#` are comments. Nothing readmits a revoked key:
//! neither an old copy of `NAME.pub`, nor a public key derived again from an old secret key, nor a
//! line left in a layout.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use super::key_file::KeyFileError;
use super::protected_file::{Protection, read};
use crate::atomic_file;
use crate::wire::zmtp::PublicKey;

/// The name of the file. Files of keys end in `.pub`, whatever the name of their node.
pub const REVOKED: &str = "revoked";

/// The largest file that is read, in bytes: more than ten thousand keys.
const MAX_SIZE: u64 = 1 << 20;

const HEAD: &str = "# Public keys that are refused wherever they are. Written by `zcluster keys \
                    revoke`; `zcluster keys restore`\n# makes one valid again. Copy this file with \
                    the others.\n";

/// A key that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedKey {
    /// The key.
    pub key: PublicKey,
    /// When it was revoked; empty if the file does not say.
    pub since: String,
    /// Its owner; empty if the file does not say.
    pub name: String,
}

/// The keys that are refused.
#[derive(Clone, Debug, Default)]
pub struct Revoked {
    path: PathBuf,
    /// The lines of the file, including comments.
    text: String,
    keys: Vec<RevokedKey>,
}

impl Revoked {
    /// Reads the file in that directory; without a file, no key is revoked.
    ///
    /// # Errors
    /// When the file cannot be read, any user may write to it, or a line does not begin with a key:
    /// an error is better than admitting a revoked key.
    pub fn read(dir: &Path) -> Result<Self, KeyFileError> {
        let path = dir.join(REVOKED);
        let text = match read(&path, MAX_SIZE, Protection::READABLE).map_err(KeyFileError::from) {
            Err(error) if error.is_not_found() => return Ok(Revoked { path, ..Self::default() }),
            text => text?.to_string(),
        };
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let bad = |source| KeyFileError::Line { path: path.clone(), line: number, source };
            keys.extend(parse(line).map_err(bad)?);
        }
        Ok(Revoked { path, text, keys })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All revoked keys, in the order of revocation.
    pub fn all(&self) -> &[RevokedKey] {
        &self.keys
    }

    /// The entry of a key, if it is revoked.
    pub fn get(&self, key: &PublicKey) -> Option<&RevokedKey> {
        self.keys.iter().find(|revoked| revoked.key == *key)
    }

    /// Whether a key is refused.
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.get(key).is_some()
    }

    /// The revoked keys of a node.
    pub fn of<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r RevokedKey> {
        self.keys.iter().filter(move |revoked| revoked.name == name)
    }

    /// Revokes a key of a node. Returns whether it was not revoked yet.
    pub fn add(&mut self, name: &str, key: PublicKey, now: SystemTime) -> bool {
        if self.contains(&key) {
            return false;
        }
        if self.text.is_empty() {
            self.text.push_str(HEAD);
        } else if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        let now = Timestamp::try_from(now).unwrap_or_default();
        let since = format!("{now:.0}");
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{key} {since} {name}");
        self.keys.push(RevokedKey { key, since, name: name.into() });
        true
    }

    /// Removes a key from the list. Returns whether it was revoked.
    pub fn remove(&mut self, key: &PublicKey) -> bool {
        let is_it = |line: &&str| matches!(parse(line), Ok(Some(revoked)) if revoked.key == *key);
        let rest = self.text.lines().filter(|line| !is_it(line));
        self.text = rest.flat_map(|line| [line, "\n"]).collect();
        let before = self.keys.len();
        self.keys.retain(|revoked| revoked.key != *key);
        self.keys.len() < before
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> Result<(), KeyFileError> {
        atomic_file::replace(&self.path, 0o644, self.text.as_bytes())
            .map_err(|source| KeyFileError::Write { path: self.path.clone(), source })
    }
}

/// The key in a line; `None` if the line has none.
fn parse(line: &str) -> Result<Option<RevokedKey>, crate::wire::zmtp::BadKey> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (key, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim_start();
    let (since, name) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (since, name) = (since.to_owned(), name.trim_start().to_owned());
    Ok(Some(RevokedKey { key: key.parse()?, since, name }))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::wire::zmtp::KeyPair;

    fn now() -> SystemTime {
        "2026-01-02T03:04:05.678Z".parse::<Timestamp>().unwrap().into()
    }

    #[test]
    fn what_is_revoked_is_so_until_it_is_restored() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| *KeyPair::generate().public());
        let mut revoked = Revoked::read(dir.path()).unwrap();
        assert_eq!((revoked.all(), revoked.contains(&one)), (&[][..], false));
        assert!(!dir.path().join(REVOKED).exists());
        assert!(revoked.add("worker 1", one, now()) && revoked.add("b", other, now()));
        assert!(!revoked.add("c", one, now()), "once");
        revoked.write().unwrap();

        let mut revoked = Revoked::read(dir.path()).unwrap();
        let since = "2026-01-02T03:04:05Z".to_owned();
        let expected = RevokedKey { key: one, since: since.clone(), name: "worker 1".into() };
        assert_eq!((revoked.get(&one), revoked.all().len()), (Some(&expected), 2));
        assert_eq!(revoked.of("b").map(|revoked| revoked.key).collect::<Vec<_>>(), [other]);
        assert!(revoked.remove(&one) && !revoked.remove(&one));
        revoked.write().unwrap();
        let text = format!("{HEAD}{other} {since} b\n");
        assert_eq!(fs::read_to_string(revoked.path()).unwrap(), text);
    }

    #[test]
    fn a_key_alone_will_do_and_anything_else_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(REVOKED);
        let key = *KeyPair::generate().public();
        fs::write(&path, format!("# lost laptop\n\n  {key}\r\n")).unwrap();
        let mut revoked = Revoked::read(dir.path()).unwrap();
        assert!(revoked.contains(&key));
        revoked.remove(&key);
        assert_eq!(revoked.text, "# lost laptop\n\n", "comments stay");

        fs::write(&path, format!("{key}\n\nworker-1 {key}\n")).unwrap();
        let error = Revoked::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("revoked, line 3: found 8 characters"), "{error}");
        fs::write(&path, format!("{key}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(Revoked::read(dir.path()).is_err(), "any user could remove the key");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(Revoked::read(dir.path()).is_err());
    }
}
