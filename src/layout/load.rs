//! Reads a layout from a file and the environment: the only part of [`layout`](super) with I/O.

use std::path::{Path, PathBuf};
use std::{fs, io};

use zeroize::Zeroizing;

use super::diagnostic::{Diagnostic, LayoutErrors};
use super::env::{Environment, EnvironmentError};
use super::{Layout, Node};
use crate::exit::ExitCode;

/// A layout that is ready for use.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The layout, the environment applied.
    pub layout: Layout,
    /// What is legal but unwise in the file.
    pub warnings: Vec<Diagnostic>,
    /// What the environment says.
    pub environment: Environment,
    /// Where the file is, for messages.
    path: PathBuf,
}

/// Why there is no layout.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the layout file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is wrong; every error of it.
    #[error(transparent)]
    Layout(#[from] LayoutErrors),
    /// An environment variable is wrong.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// Nobody says which node this process is.
    #[error("which node is this? set CLUSTER_NODE or give --node; {} has {known}", path.display())]
    NoNode {
        /// The layout file.
        path: PathBuf,
        /// The nodes it has.
        known: String,
    },
    /// The node is not in the layout.
    #[error("'{name}' is not a node of {}; it has {known}", path.display())]
    UnknownNode {
        /// The name.
        name: String,
        /// The layout file.
        path: PathBuf,
        /// The nodes it has.
        known: String,
    },
}

impl LoadError {
    /// The exit code of a process that fails by it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            LoadError::Read { .. } => ExitCode::Io,
            LoadError::NoNode { .. } => ExitCode::Usage,
            _ => ExitCode::Config,
        }
    }
}

/// Reads the layout file at `path`, finds the directories of keys that it names from where it is, and
/// applies the environment, which `lookup` answers for.
///
/// A `--node` of the command line is passed as the answer to `CLUSTER_NODE`:
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
    let text = fs::read_to_string(&path)
        .map(Zeroizing::new)
        .map_err(|source| LoadError::Read { path: path.clone(), source })?;
    let (mut layout, warnings) = Layout::from_toml(&text, &path.display().to_string())?;
    // Processes of one host have one layout, but each may have a working directory of its own.
    let beside = path.parent().unwrap_or(Path::new(""));
    for dir in [&mut layout.curve.authorized_keys_dir, &mut layout.curve.secret_keys_dir] {
        *dir = beside.join(&*dir);
    }
    let environment = Environment::read(lookup)?;
    layout.apply_environment(&environment)?;
    Ok(Loaded { layout, warnings, environment, path })
}

impl Loaded {
    /// Whether the file, rather than the environment, has secret keys in it.
    pub fn has_secrets(&self) -> bool {
        let (zeromq, environment) = (&self.layout.zeromq, &self.environment);
        let both = [
            (&zeromq.curve_server_secretkey, &environment.curve_server_secretkey),
            (&zeromq.curve_client_secretkey, &environment.curve_client_secretkey),
        ];
        !self.layout.curve.old_server_secretkey.is_empty()
            || both.iter().any(|(key, given)| !key.is_empty() && given.is_empty())
    }

    /// Which node of the layout this process is, by the environment.
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
    use super::*;

    #[test]
    fn a_missing_file_is_one_clear_line() {
        let error = load("/nonexistent/layout.toml", |_| None).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("cannot read the layout file /nonexistent/layout.toml: "));
        assert_eq!((text.lines().count(), error.exit_code()), (1, ExitCode::Io));
    }

    #[test]
    fn keys_are_found_from_where_the_layout_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l.toml");
        let node = "[nodes.m]\nnode_type = \"manager\"\nip = \"::1\"\n";
        let curve = "[curve]\nmode = \"per-node\"\nauthorized_keys_dir = \"/etc/keys\"\n";
        fs::write(&path, format!("{curve}{node}")).unwrap();
        let curve = load(&path, |_| None).unwrap().layout.curve;
        assert_eq!(curve.authorized_keys_dir, Path::new("/etc/keys"));
        assert_eq!(curve.secret_keys_dir, dir.path().join("keys/secret"));
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
