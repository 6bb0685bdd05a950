//! The processes of the operator's pods, as the machine under the node sees them.

use std::path::Path;
use std::process::Command;

use e2e::deploy::NAMESPACE;
use e2e::{Cluster, Error};

/// UIDs of the pods of one of the operator's Deployments.
pub fn uids(cluster: &Cluster, deployment: &str) -> Result<Vec<String>, Error> {
    let label = format!("app.kubernetes.io/name={deployment}");
    let uids = cluster.run(&["-n", NAMESPACE, "get", "pods", "-l", &label, "-o=jsonpath={.items[*].metadata.uid}"])?;
    Ok(uids.split_whitespace().map(str::to_owned).collect())
}

/// Ids of the processes in these pods whose command line contains a word. Other nodes on this machine run the same.
pub fn of_pods(uids: &[String], word: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be read").flatten();
    let pids = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
    pids.filter(|(pid, path)| pid.bytes().all(|byte| byte.is_ascii_digit()) && is_in(path, uids, word))
        .map(|(pid, _)| pid)
        .collect()
}

fn is_in(process: &Path, uids: &[String], word: &str) -> bool {
    let read = |name| std::fs::read_to_string(process.join(name)).unwrap_or_default();
    read("cmdline").contains(word) && {
        let cgroup = read("cgroup").replace('_', "-");
        uids.iter().any(|uid| cgroup.contains(uid.as_str()))
    }
}

/// Sends a signal, such as `-KILL`. `false`: one of them was gone already.
pub fn signal(signal: &str, processes: &[String]) -> bool {
    Command::new("kill").arg(signal).args(processes).status().is_ok_and(|status| status.success())
}
