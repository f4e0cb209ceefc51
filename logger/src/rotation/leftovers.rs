//! Cleans up what an aborted step left beside the jobs, once the jobs are settled.
//!
//! - `.tmp.<job>`, in the log directory and in the directory of rotated files: half a compressed
//!   file. Its source still exists, so it is removed. Loggers may share a directory of rotated
//!   files: each holds a lock on the file it writes, and locked files stay.
//! - `<job>.held`, in the job directory: a log that is being moved to another file system. If its
//!   job cannot be read, this is all that is left of the log; it is kept as `<job>.held.damaged` in
//!   the log directory.
//!
//! [`JobDir::settle`] handles half-written jobs, `<job>.tmp`. Names are matched exactly: nothing
//! else is touched.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::RotationSettings;
use super::job::{JobDir, JobId};
use crate::files;

/// Cleans up. Call it after the jobs are settled, before a job begins, and while no other process
/// uses the log directory. Failures are only logged: leftovers are in the way of nothing.
pub(super) fn settle(settings: &RotationSettings, jobs: &JobDir) {
    let target = settings.target_dir();
    let is_one = target == settings.log_dir;
    for (dir, is_ours) in [(&*settings.log_dir, true), (target, false)] {
        match remove_temporaries(dir, is_ours) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::warn!("cannot remove leftovers in {}: {error}", dir.display());
            }
            _ if is_one => break,
            _ => {}
        }
    }
    if let Err(error) = keep_held(settings, jobs) {
        log::error!("cannot recover the logs in {}: {error}", jobs.path().display());
    }
}

fn keep_held(settings: &RotationSettings, jobs: &JobDir) -> io::Result<()> {
    for (id, held) in jobs.held()? {
        if jobs.is_known(&id)? {
            continue;
        }
        let aside = files::with_end(&settings.log_dir.join(files::os_name(&held)), ".damaged");
        files::rename_new(&held, &aside)?;
        log::error!("{}: its rotation job is gone; kept as {}", held.display(), aside.display());
    }
    Ok(())
}

/// `is_ours`: no other process may write there.
fn remove_temporaries(dir: &Path, is_ours: bool) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().and_then(JobId::of_temporary).is_none() {
            continue;
        }
        let path = entry.path();
        let Some((file, _)) = files::open_regular(&path)? else { continue };
        if is_ours || is_nobodys(&file) {
            files::remove_if_there(&path)?;
            log::info!("removed {}, left half written by an earlier run", path.display());
        }
    }
    Ok(())
}

/// Marks a file as being written while it is open. If the file system has no locks, no process
/// removes it either.
pub(super) fn mark_in_use(file: &File) {
    let _ = file.try_lock();
}

fn is_nobodys(file: &File) -> bool {
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock | TryLockError::Error(_)) => false,
    }
}
