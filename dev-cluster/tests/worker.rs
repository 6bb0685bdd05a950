//! Two kubelets in one cluster: pods of both reach each other, and `local` volumes stay where their disk is.

mod support;

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::Duration,
};

use dev_cluster::{Node, NodeOptions, WORKER_TAINT};
use support::{eventually, kill_9, output, processes};

#[test]
fn two_nodes_share_a_network_and_keep_their_disks() {
    let node = Node::start(&NodeOptions { worker: true, ..NodeOptions::default() }).expect("the cluster starts");
    let kubectl = |args: &[&str]| output(node.kubectl().args(args));
    let apply = |manifest: &str| {
        let mut apply =
            node.kubectl().args(["apply", "-f", "-"]).stdin(Stdio::piped()).spawn().expect("kubectl starts");
        apply.stdin.take().expect("piped").write_all(manifest.as_bytes()).expect("kubectl reads");
        assert!(apply.wait().expect("kubectl ends").success(), "{manifest}");
    };
    let name = node.name().to_owned();
    let worker = format!("{name}-2");
    let disk = node.cluster().add_disk("small", 16).expect("a disk is made");
    apply(
        &include_str!("worker.yaml")
            .replace("@FIRST@", &name)
            .replace("@WORKER@", &worker)
            .replace("@TAINT@", WORKER_TAINT)
            .replace("@DISK@", &disk.to_string_lossy()),
    );

    // Pods of the two nodes reach each other and the API server.
    kubectl(&["wait", "--for=condition=Ready", "pod/first", "pod/second", "--timeout=90s"]);
    let address = |pod: &str| kubectl(&["get", "pod", pod, "-o", "jsonpath={.status.podIP}"]);
    for (from, to) in [("first", "second"), ("second", "first")] {
        let url = format!("http://{}:8080/", address(to));
        assert_eq!(kubectl(&["exec", from, "--", "wget", "-qO-", &url]), format!("{to}\n"));
        let connect = "nc -w 5 kubernetes.default.svc.cluster.local 443 </dev/null && echo open";
        assert!(kubectl(&["exec", from, "--", "sh", "-c", connect]).contains("open"));
    }

    // The claim binds to the worker's disk, so the pod runs there, although it names no node.
    kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/fills", "--timeout=90s"]);
    assert_eq!(kubectl(&["get", "pod", "fills", "-o", "jsonpath={.spec.nodeName}"]), worker);
    let log = kubectl(&["logs", "fills"]);
    assert!(log.contains("No space left on device"), "{log}");

    // Without a toleration nothing is put on the worker.
    kubectl(&["wait", "--for=condition=PodScheduled", "pod/plain", "--timeout=30s"]);
    assert_eq!(kubectl(&["get", "pod", "plain", "-o", "jsonpath={.spec.nodeName}"]), name);

    // Each kubelet is taken away by itself, and comes back to its pods.
    let answers =
        |pod: &str| node.kubectl().args(["exec", pod, "--", "true"]).output().expect("it runs").status.success();
    for (kubelet, its, other) in [("kubelet", "first", "second"), ("kubelet-2", "second", "first")] {
        node.cluster().take_away(kubelet, Duration::from_secs(2)).expect("it runs");
        assert!(answers(other), "{other} does not need {kubelet}");
        assert!(!answers(its), "{its} needs {kubelet}");
        eventually("the kubelet answers again", || !node.cluster().is_away(kubelet) && answers(its));
    }

    let dir = node.cluster().dir().to_owned();
    kill_9(node.cluster().supervisor_pid().expect("it runs"));
    eventually("every process ends with the supervisor", || processes(&dir).is_empty());
    drop(node);
    assert!(!dir.exists());
    eventually("the loop device is free again", || !output(Command::new("losetup").arg("-a")).contains(&name));
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(!mounts.contains(&name), "{mounts}");
}
