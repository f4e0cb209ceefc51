//! [`find`]: where the executables of the cluster are.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// A program was not found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot find {program} in --bin-dir, next to {} or in PATH: build it with `cargo build -p \
     {program}`",
    beside.display()
)]
pub(crate) struct Missing {
    program: &'static str,
    beside: PathBuf,
}

/// Finds `program`: in `bin_dir` if given, else next to this executable, else in PATH.
///
/// # Errors
/// When none of them has it.
pub(crate) fn find(program: &'static str, bin_dir: Option<&Path>) -> Result<PathBuf, Missing> {
    let own = std::env::current_exe().unwrap_or_default();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = bin_dir.map(Path::to_owned).into_iter().chain(own.parent().map(Path::to_owned));
    let found = folders
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file() && access(file, Access::EXEC_OK).is_ok());
    found.ok_or(Missing { program, beside: own })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_given_folder_comes_first_and_only_executables_count() {
        let folder = tempfile::tempdir().unwrap();
        let program = "zcluster-pretended";
        let file = folder.path().join(program);
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let error = find(program, Some(folder.path())).unwrap_err().to_string();
        assert!(error.starts_with("cannot find zcluster-pretended in --bin-dir, next to /"));
        assert!(error.ends_with("build it with `cargo build -p zcluster-pretended`"), "{error}");
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(program, Some(folder.path())), Ok(file));
    }
}
