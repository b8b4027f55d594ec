//! A small disk of its own for a server or a program, so that it can be full.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A mounted tmpfs. Unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Of so many MiB; it takes memory only for what is on it. `None` where nothing may be mounted.
    pub fn mount(mib: u32) -> Option<Disk> {
        let folder = tempfile::Builder::new().prefix("payfleet-disk-").tempdir().expect("a temporary folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).arg(folder.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Disk { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn ballast(&self) -> PathBuf {
        self.folder.path().join("ballast")
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        use std::io::Write;
        let mut file = File::create(self.ballast()).expect("a file can be made");
        let block = vec![0; 1 << 20];
        while file.write_all(&block).is_ok() {}
        while file.write_all(&block[..4096]).is_ok() {}
    }

    /// Gives it back.
    pub fn empty(&self) {
        std::fs::remove_file(self.ballast()).expect("the ballast can be thrown off");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Where that fails the folder stays, and says so.
        let _ = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
    }
}
