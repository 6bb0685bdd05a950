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
        let disks = self.dir().join("disks");
        let (image, mounted) = (disks.join(format!("{name}.img")), disks.join(name));
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
}
