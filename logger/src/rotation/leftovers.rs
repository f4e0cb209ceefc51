//! What an aborted step leaves beside the jobs themselves, once the jobs are settled.
//!
//! - `.tmp.<job>`, in the log directory and in that of rotated files: half a compressed file. Its source
//!   is still there, so it is removed. Loggers may share a directory of rotated files: whoever writes
//!   such a file holds a lock on it, and it is left alone then.
//! - `<job>.held`, in the job directory: a log that is on its way to another file system. Where its job
//!   cannot be read any more it is all that is left of the log, and is kept as `<job>.held.damaged` in
//!   the log directory.
//!
//! Half-written jobs, `<job>.tmp`, are [`JobDir::settle`]'s. Names are exact: nothing else is touched.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::RotationSettings;
use super::job::{JobDir, JobId};
use crate::files;

/// Puts them in order. After the jobs are settled, before a job is begun, and while no other process uses
/// the log directory. What cannot be put in order is in the way of nothing: that is told, no more.
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

/// `is_ours`: nobody else may write there.
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
            log::info!("removed {}, which a former run left half written", path.display());
        }
    }
    Ok(())
}

/// Marks a file as being written, as long as it is open. Where the file system has no locks nobody
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
