//! The processes of pods, as the machine under the node sees them.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A process in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub id: String,
    /// The pod's UID.
    pub pod: String,
    /// The words behind the program's name.
    pub arguments: Vec<String>,
}

/// The processes of a program, named as its image names it, in all pods of this cluster: others on this machine run the same.
pub fn of_program(cluster: &dev_cluster::Cluster, program: &str) -> Vec<Process> {
    let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let pids = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    pids.filter(|(id, _)| id.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|(id, path)| {
            let line = read(&path, "cmdline");
            let mut words = line.trim_end_matches('\0').split('\0').map(str::to_owned);
            if words.next()? != program {
                return None;
            }
            // …/dev-cluster/NAME/kubepods/burstable/podUID/CONTAINER
            let cgroup = read(&path, "cgroup");
            let (_, below) = cgroup.split_once(&format!("/dev-cluster/{}/", cluster.name()))?;
            let (_, below) = below.split_once("/pod")?;
            Some(Process { id, pod: below.split('/').next()?.to_owned(), arguments: words.collect() })
        })
        .collect()
}

fn read(process: &Path, file: &str) -> String {
    fs::read_to_string(process.join(file)).unwrap_or_default()
}

/// Sends a signal, such as `-KILL`. `false`: one of them was gone already.
pub fn signal(signal: &str, processes: &[String]) -> bool {
    Command::new("kill").arg(signal).args(processes).status().is_ok_and(|status| status.success())
}
