//! Small file systems that tests can fill up.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

/// A separate small file system, unmounted when dropped.
pub struct SmallDisk(pub PathBuf);

impl SmallDisk {
    /// Mounts it; `None`, with a line on stderr, if that is not permitted.
    pub fn mount(folder: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir_all(&folder).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(&folder)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(SmallDisk(folder)),
            other => {
                eprintln!("SKIPPED: cannot mount a file system: {other:?}");
                None
            }
        }
    }

    /// Fills it up to the last byte. The returned value can free the space again.
    pub fn fill(&self) -> Filler {
        let filler = self.0.join(".filler");
        let mut file = fs::File::create(&filler).unwrap();
        // Until it is full: the logger writes at the same time.
        while file.write_all(&[0; 4096]).is_ok() {}
        while file.write_all(&[0; 1]).is_ok() {}
        Filler(filler)
    }
}

/// The file that fills a disk.
pub struct Filler(PathBuf);

impl Filler {
    /// Frees the space.
    pub fn remove(self) {
        fs::remove_file(self.0).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
