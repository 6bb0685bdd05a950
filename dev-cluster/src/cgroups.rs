//! The cgroups of a node's pods, on cgroup v1 (also hybrid) and v2.

use std::{fs, path::Path, path::PathBuf};

use crate::Error;

const MOUNT: &str = "/sys/fs/cgroup";

/// Controllers that the kubelet sets limits with, where the kernel has them.
const CONTROLLERS: [&str; 4] = ["+cpu", "+cpuset", "+memory", "+pids"];

/// The cgroup of the cluster of that name, below the root of each hierarchy.
pub(crate) fn root(name: &str) -> PathBuf {
    Path::new("dev-cluster").join(name)
}

/// Creates a cgroup and those above it in every hierarchy: the kubelet wants to find the one that it keeps its pods in.
pub(crate) fn create(cgroup: &str) -> Result<(), Error> {
    for hierarchy in hierarchies() {
        let dir = hierarchy.join(cgroup);
        fs::create_dir_all(&dir).map_err(Error::io(format!("create the cgroup {}", dir.display())))?;
        let above = dir.ancestors().take_while(|parent| *parent != hierarchy).map(Path::to_owned);
        let mut new: Vec<_> = above.collect();
        new.reverse();
        if is_unified(&hierarchy) {
            for parent in std::iter::once(&hierarchy).chain(&new[..new.len() - 1]) {
                for controller in CONTROLLERS {
                    // Refused where another manager has done it or the kernel lacks it: the kubelet says which it misses.
                    let _refused = fs::write(parent.join("cgroup.subtree_control"), controller);
                }
            }
        } else if hierarchy.ends_with("cpuset") {
            // A new v1 cpuset is empty and takes no process.
            for dir in new {
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    let all = fs::read_to_string(hierarchy.join(file)).unwrap_or_default();
                    let path = dir.join(file);
                    fs::write(&path, all.trim()).map_err(Error::io(format!("write {}", path.display())))?;
                }
            }
        }
    }
    Ok(())
}

/// Removes what is left of the node's cgroups. `false` while one of them still holds a process.
pub(crate) fn remove(name: &str) -> bool {
    let mut gone = true;
    for hierarchy in hierarchies() {
        let dir = hierarchy.join(root(name));
        remove_tree(&dir);
        gone &= !dir.exists();
        // Refused while another node runs.
        let _in_use = dir.parent().map(fs::remove_dir);
    }
    gone
}

/// A cgroup's files cannot be unlinked, its directories can: innermost first.
fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _gone_or_in_use = fs::remove_dir(dir);
}

/// The mounted hierarchies: one on v2, one for each controller on v1.
fn hierarchies() -> Vec<PathBuf> {
    if is_unified(Path::new(MOUNT)) {
        return vec![MOUNT.into()];
    }
    let entries = fs::read_dir(MOUNT).into_iter().flatten().flatten();
    // Symbolic links (`cpu` beside `cpu,cpuacct`) name a hierarchy a second time.
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

fn is_unified(hierarchy: &Path) -> bool {
    hierarchy.join("cgroup.controllers").exists()
}
