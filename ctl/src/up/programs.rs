//! [`find`]: where the executables of the cluster are.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// A program is nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot find {program} in --bin-dir, beside {} or in PATH: build it with \
     `cargo build -p {package}`",
    beside.display()
)]
pub(crate) struct Missing {
    program: &'static str,
    package: &'static str,
    beside: PathBuf,
}

/// Where `program` is: in `bin_dir` if that is given, else beside this executable, else in PATH.
///
/// # Errors
/// When it is in none of them.
pub(crate) fn find(program: &'static str, bin_dir: Option<&Path>) -> Result<PathBuf, Missing> {
    let own = std::env::current_exe().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = bin_dir.map(Path::to_owned).into_iter().chain(own.parent().map(Path::to_owned));
    let found = folders
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok());
    // The node is a binary of the root package; the others have their own.
    let package = if program == "zcluster-node" { "zcluster" } else { program };
    found.ok_or(Missing { program, package, beside: own })
}
