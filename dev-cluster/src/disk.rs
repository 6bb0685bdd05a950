//! Small disks of a cluster: file systems of their own, with a real end.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use crate::{Cluster, Error, Size, command::run};

impl Cluster {
    /// Makes an ext4 file system of so many MiB and mounts it for the cluster's kubelets, which share their mounts. Gives
    /// the directory, for a `local` volume. It goes with the cluster.
    ///
    /// As on a new disk everything belongs to root, until a pod's `fsGroup` says otherwise.
    ///
    /// # Errors
    /// When the cluster runs no containers or is gone, when the name is taken, or when this machine lends no loop device.
    pub fn add_disk(&self, name: &str, mebibytes: u32) -> Result<PathBuf, Error> {
        if self.size() != Size::Node {
            return Err(Error::NoContainers(self.name().to_owned()));
        }
        let (disks, mounted) = (self.dir().join("disks"), self.disk(name));
        let image = disks.join(format!("{name}.img"));
        let doing = format!("make the disk {}", image.display());
        fs::create_dir_all(&disks).map_err(Error::io(&doing))?;
        fs::create_dir(&mounted).map_err(Error::io(&doing))?;
        let file = File::create_new(&image).map_err(Error::io(&doing))?;
        // Sparse: only what is written takes space of this machine.
        file.set_len(u64::from(mebibytes) << 20).map_err(Error::io(&doing))?;
        drop(file);
        let (image, directory) = (image.to_string_lossy(), mounted.to_string_lossy());
        // Nothing is kept back for root, so that the size is what pods can write.
        run(&doing, "mkfs.ext4", &["-q", "-m", "0", &image])?;
        let pid = self.supervisor_pid()?.to_string();
        // The kernel frees the loop device with the mount, and the mount with the cluster's namespace.
        run(&doing, "nsenter", &["--target", &pid, "--mount", "mount", "-o", "loop", &image, &directory])?;
        Ok(mounted)
    }

    /// Writes a file to a disk of [`Self::add_disk`] until there is no room left on it.
    ///
    /// # Errors
    /// When the cluster is gone, or has no such disk.
    pub fn fill_disk(&self, name: &str) -> Result<(), Error> {
        self.on_disk(name, "fill", "cat /dev/zero >filler 2>/dev/null || test -s filler")
    }

    /// Takes away what filled it.
    ///
    /// # Errors
    /// When the cluster is gone, or nothing filled that disk.
    pub fn free_disk(&self, name: &str) -> Result<(), Error> {
        self.on_disk(name, "free", "rm filler")
    }

    fn disk(&self, name: &str) -> PathBuf {
        self.dir().join("disks").join(name)
    }

    fn on_disk(&self, name: &str, verb: &str, script: &str) -> Result<(), Error> {
        let (pid, directory) = (self.supervisor_pid()?.to_string(), self.disk(name));
        let (doing, script) = (format!("{verb} the disk {name}"), format!("cd \"$0\" && {{ {script}; }}"));
        let shell = ["sh", "-c", &script, &directory.to_string_lossy()];
        run(&doing, "nsenter", &[&["--target", &pid, "--mount"], &shell[..]].concat()).map(drop)
    }
}
