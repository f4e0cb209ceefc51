//! Reads a layout from a file and the environment: the only part of [`layout`](super) with I/O.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::diagnostic::{Diagnostic, LayoutErrors};
use super::env::{Environment, EnvironmentErrors};
use super::{Layout, Node, WebSocket};
use crate::exit::ExitCode;

/// A layout ready for use.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The layout, with the environment applied.
    pub layout: Layout,
    /// Warnings about the file: legal but unwise.
    pub warnings: Vec<Diagnostic>,
    /// The values from the environment.
    pub environment: Environment,
    /// The path of the file, for messages.
    path: PathBuf,
}

/// Why a layout could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the layout file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error from the system.
        source: io::Error,
    },
    /// The file is not text.
    #[error("{}:{line}:{column}: {what}; expected UTF-8 text", path.display())]
    NoText {
        /// The file.
        path: PathBuf,
        /// The line where the text ends, from 1.
        line: usize,
        /// The byte in that line, from 1.
        column: usize,
        /// What was found there.
        what: &'static str,
    },
    /// The file is wrong; all of its errors.
    #[error(transparent)]
    Layout(#[from] LayoutErrors),
    /// Environment variables are wrong; all of their errors.
    #[error(transparent)]
    Environment(#[from] EnvironmentErrors),
    /// Nothing names the node that this process is.
    #[error("which node is this? set CLUSTER_NODE or give --node; {} has {known}", path.display())]
    NoNode {
        /// The layout file.
        path: PathBuf,
        /// The nodes in it.
        known: String,
    },
    /// The node is not in the layout.
    #[error("'{name}' is not a node of {}; it has {known}", path.display())]
    UnknownNode {
        /// The name.
        name: String,
        /// The layout file.
        path: PathBuf,
        /// The nodes in it.
        known: String,
    },
}

impl LoadError {
    /// The exit code of a process that fails with this error.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            LoadError::Read { .. } => ExitCode::Io,
            LoadError::NoNode { .. } => ExitCode::Usage,
            _ => ExitCode::Config,
        }
    }
}

/// Reads the layout file at `path`, resolves the files of keys and WebSocket APIs that it names
/// relative to it, and applies the environment, read through `lookup`.
///
/// Pass a `--node` from the command line as the answer to `CLUSTER_NODE`:
///
/// ```no_run
/// # fn f(node: Option<String>) -> Result<(), zcluster::layout::LoadError> {
/// let loaded = zcluster::layout::load("cluster-layout.toml", |name| match (name, &node) {
///     ("CLUSTER_NODE", Some(node)) => Some(node.clone()),
///     _ => std::env::var(name).ok(),
/// })?;
/// let (name, node) = loaded.local_node()?;
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The file cannot be read, is wrong, or contradicts the environment.
pub fn load(
    path: impl AsRef<Path>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Loaded, LoadError> {
    let path = path.as_ref().to_owned();
    let text = read_text(&path)?;
    let (mut layout, warnings) = Layout::from_toml(&text, &path.display().to_string())?;
    find_files(&mut layout, &path);
    let environment = Environment::read(lookup)?;
    layout.apply_environment(&environment).map_err(EnvironmentErrors::from)?;
    Ok(Loaded { layout, warnings, environment, path })
}

/// The errors in a layout file and the environment, and the layout if there are none.
#[derive(Debug)]
pub struct Checked {
    /// The layout, as processes would use it.
    pub loaded: Option<Loaded>,
    /// All messages about the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The errors in the environment, or in the combination of both.
    pub errors: Vec<LoadError>,
}

/// Reads as [`load`] does but continues after errors, to report all of them at once. Also reports
/// bounds that exceed this host's memory.
///
/// # Errors
///
/// The file cannot be read.
pub fn check(
    path: impl AsRef<Path>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Checked, LoadError> {
    let path = path.as_ref().to_owned();
    let text = read_text(&path)?;
    let name = path.display().to_string();
    let (layout, diagnostics) = Layout::inspect_toml(&text, &name, Some(host_memory()));
    let mut checked = Checked { loaded: None, diagnostics, errors: Vec::new() };
    let environment = match Environment::read(lookup) {
        Ok(environment) => environment,
        Err(errors) => {
            checked.errors.push(errors.into());
            return Ok(checked);
        }
    };
    let Some(mut layout) = layout else { return Ok(checked) };
    find_files(&mut layout, &path);
    if let Err(error) = layout.apply_environment(&environment) {
        checked.errors.push(EnvironmentErrors::from(error).into());
        return Ok(checked);
    }
    let loaded = Loaded { layout, warnings: Vec::new(), environment, path };
    if loaded.environment.node.is_some()
        && let Err(error) = loaded.local_node()
    {
        checked.errors.push(error);
        return Ok(checked);
    }
    checked.loaded = Some(loaded);
    Ok(checked)
}

/// This host's memory in bytes.
fn host_memory() -> u64 {
    let info = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion)] // As wide as a register.
    u64::from(info.totalram).saturating_mul(info.mem_unit.into())
}

/// A larger file is not a layout: a device, or the wrong file.
const LARGEST: u64 = 16 * 1024 * 1024;

fn read_text(path: &Path) -> Result<Zeroizing<String>, LoadError> {
    let fail = |source| LoadError::Read { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(fail)?;
    // Allocates once: growing would leave copies of secrets behind.
    let expected = file.metadata().map_err(fail)?.len().min(LARGEST);
    bytes.reserve(usize::try_from(expected).unwrap_or(0) + 1);
    file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > LARGEST {
        return Err(fail(io::Error::other("it is larger than 16 MiB, too large for a layout")));
    }
    let at = match std::str::from_utf8(&bytes) {
        Ok(text) => return Ok(Zeroizing::new(text.to_owned())),
        Err(error) => error.valid_up_to(),
    };
    let before = &bytes[..at];
    let what = match bytes[..] {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "this is UTF-16",
        _ if bytes.contains(&0) => "this is not text",
        _ => "this byte is not UTF-8",
    };
    let line = before.split(|byte| *byte == b'\n').count();
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    Err(LoadError::NoText { path: path.to_owned(), line, column, what })
}

/// Processes of one host share the layout, but may have different working directories.
fn find_files(layout: &mut Layout, path: &Path) {
    let beside = path.parent().unwrap_or(Path::new(""));
    let keys = [&mut layout.curve.authorized_keys_dir, &mut layout.curve.secret_keys_dir];
    let websockets = layout.nodes.values_mut().filter_map(|node| node.websocket.as_mut());
    for file in keys.into_iter().chain(websockets.flat_map(WebSocket::files)) {
        *file = beside.join(&*file);
    }
}

impl Loaded {
    /// Whether the file, rather than the environment, contains secret keys.
    pub fn has_secrets(&self) -> bool {
        let (zeromq, environment) = (&self.layout.zeromq, &self.environment);
        let both = [
            (&zeromq.curve_server_secretkey, &environment.curve_server_secretkey),
            (&zeromq.curve_client_secretkey, &environment.curve_client_secretkey),
        ];
        !self.layout.curve.old_server_secretkey.is_empty()
            || both.iter().any(|(key, given)| !key.is_empty() && given.is_empty())
    }

    /// The node of the layout that this process is, by the environment.
    ///
    /// # Errors
    ///
    /// No node is named, or it is not in the layout.
    pub fn local_node(&self) -> Result<(&str, &Node), LoadError> {
        let path = || self.path.clone();
        let known = || self.layout.nodes.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let Some(name) = &self.environment.node else {
            return Err(LoadError::NoNode { path: path(), known: known() });
        };
        match self.layout.nodes.get_key_value(name) {
            Some((name, node)) => Ok((name, node)),
            None => {
                Err(LoadError::UnknownNode { name: name.clone(), path: path(), known: known() })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_text_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.toml");
        for (bytes, expected) in [
            (&b"[log]\nx = \xff\n"[..], ":2:5: this byte is not UTF-8; expected UTF-8 text"),
            (b"\xff\xfe[\0l\0", ":1:1: this is UTF-16; expected UTF-8 text"),
            (b"\x7fELF\x02\0\0\xf0", ":1:8: this is not text; expected UTF-8 text"),
        ] {
            fs::write(&path, bytes).unwrap();
            let error = load(&path, |_| None).unwrap_err();
            let text = error.to_string();
            assert_eq!(text, format!("{}{expected}", path.display()));
            assert_eq!(error.exit_code(), ExitCode::Config);
        }
        let error = load(dir.path(), |_| None).unwrap_err();
        assert!(error.to_string().contains("Is a directory"), "{error}");
        let error = load("/dev/zero", |_| None).unwrap_err();
        assert!(error.to_string().contains("larger than 16 MiB"), "{error}");
    }

    #[test]
    fn a_check_tells_of_file_and_environment_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.toml");
        let node = "[nodes.m]\nnode_type = \"manager\"\nip = \"::1\"\nport = 1\n";
        let variable = |name: &str, wanted: &'static str, value: &'static str| {
            (name == wanted).then(|| value.to_owned())
        };
        let port = |name: &str| variable(name, "ZEEK_CLUSTER_BACKEND_ZEROMQ_XPUB_PORT", "abc");
        fs::write(&path, format!("{node}prt = 1\n[log]\nmax_memory = \"99TiB\"\n")).unwrap();
        let checked = check(&path, port).unwrap();
        assert_eq!((checked.diagnostics.len(), checked.errors.len()), (2, 1));
        let [unknown, memory] = &checked.diagnostics[..] else { panic!("two") };
        assert!(unknown.message.contains("unknown key `prt`"), "{unknown}");
        assert!(memory.message.starts_with("`max_memory` is 99.0 TiB, and this host has "));
        assert!(checked.loaded.is_none());

        fs::write(&path, node).unwrap();
        assert!(check(&path, |_| None).unwrap().loaded.is_some());
        let errors = check(&path, |name| variable(name, "CLUSTER_NODE", "x")).unwrap().errors;
        let expected = format!("'x' is not a node of {}; it has m", path.display());
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
    }

    #[test]
    fn a_missing_file_is_one_clear_line() {
        let error = load("/nonexistent/layout.toml", |_| None).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot read the layout file /nonexistent/layout.toml: "));
        assert_eq!((text.lines().count(), error.exit_code()), (1, ExitCode::Io));
    }

    #[test]
    fn files_are_found_from_where_the_layout_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.toml");
        let node = "[nodes.m]\nnode_type = \"manager\"\nip = \"::1\"\n";
        let curve = "[curve]\nmode = \"per-node\"\nauthorized_keys_dir = \"/etc/keys\"\n";
        fs::write(&path, format!("{curve}{node}")).unwrap();
        let curve = load(&path, |_| None).unwrap().layout.curve;
        assert_eq!(curve.authorized_keys_dir, Path::new("/etc/keys"));
        assert_eq!(curve.secret_keys_dir, dir.path().join("keys/secret"));

        let tls = "cert_file = \"a.pem\"\nkey_file = \"/k.pem\"\nenable_peer_verification = true\n\
                   ca_file = \"../ca.pem\"\n";
        let application = "[nodes.m.websocket.applications.a]\ntoken_file = \"t/a\"\n";
        let websocket = format!("[nodes.m.websocket]\nschema_file = \"s\"\n{tls}{application}");
        fs::write(&path, format!("{node}{websocket}")).unwrap();
        let mut layout = load(&path, |_| None).unwrap().layout;
        let files = layout.nodes.get_mut("m").unwrap().websocket.as_mut().unwrap().files();
        let files: Vec<_> = files.map(|file| file.clone()).collect();
        assert_eq!(files, ["s", "a.pem", "/k.pem", "../ca.pem", "t/a"].map(|f| dir.path().join(f)));
    }

    #[test]
    fn the_local_node_comes_from_the_environment() {
        let mut layout = Layout::default();
        layout
            .nodes
            .insert("m".into(), Node::new(super::super::NodeType::Manager, [127, 0, 0, 1].into()));
        let mut loaded = Loaded {
            layout,
            warnings: Vec::new(),
            environment: Environment::default(),
            path: "l.toml".into(),
        };
        assert_eq!(
            loaded.local_node().unwrap_err().to_string(),
            "which node is this? set CLUSTER_NODE or give --node; l.toml has m"
        );
        loaded.environment.node = Some("x".into());
        assert_eq!(
            loaded.local_node().unwrap_err().to_string(),
            "'x' is not a node of l.toml; it has m"
        );
        loaded.environment.node = Some("m".into());
        assert_eq!(loaded.local_node().unwrap().0, "m");
    }
}
