//! A full node does what the project needs of one, and leaves nothing behind.

mod support;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::Stdio,
    thread,
};

use dev_cluster::{Node, NodeOptions};
use support::{eventually, kill_9, output, processes};

#[test]
fn a_node_runs_pods_services_names_volumes_and_limits_and_leaves_nothing() {
    let node = Node::start(&NodeOptions::default()).expect("the node starts");
    let kubectl = |args: &[&str]| output(node.kubectl().args(args));
    let mut apply = node.kubectl();
    let mut apply = apply.args(["apply", "-f", "-"]).stdin(Stdio::piped()).spawn().expect("kubectl starts");
    let mut manifests = apply.stdin.take().expect("piped");
    manifests.write_all(include_bytes!("node.yaml")).expect("kubectl reads");
    drop(manifests);
    assert!(apply.wait().expect("kubectl ends").success());

    // A restricted pod writes to a dynamically provisioned volume by way of its fsGroup.
    kubectl(&["wait", "--for=condition=Complete", "job/writer", "--timeout=90s"]);
    let log = kubectl(&["logs", "job/writer"]);
    for line in ["groups=1000,2000", "hello", "CapEff:\t0000000000000000", "Seccomp:\t2"] {
        assert!(log.contains(line), "{line:?} is not in the log:\n{log}");
    }

    kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    for name in ["web", "web.default.svc.cluster.local"] {
        // The endpoints reach kube-proxy a moment after the rollout.
        eventually("the Service answers by its name", || {
            let mut fetch = node.kubectl();
            fetch.args(["exec", "deployment/web", "--", "wget", "-qO-", &format!("http://{name}/")]);
            fetch.output().is_ok_and(|out| out.stdout == b"from the web\n")
        });
    }

    // Pods reach a server on this machine.
    let server = TcpListener::bind((node.host_ip(), 0)).expect("the address is this machine's");
    let url = format!("http://{}/", server.local_addr().expect("bound"));
    let answer = thread::spawn(move || {
        let (mut client, _) = server.accept().expect("a pod connects");
        // What is unread when the connection closes would reset it.
        let request = client.read(&mut [0; 4096]).expect("it asks");
        assert!(request > 0);
        client.write_all(b"HTTP/1.0 200 OK\r\n\r\nfrom the host\n").expect("it reads");
    });
    assert_eq!(kubectl(&["exec", "deployment/web", "--", "wget", "-qO-", &url]), "from the host\n");
    answer.join().expect("served");

    // The API server finds webhooks by their Service: here a server without TLS, so the answer says who was reached.
    eventually("the webhook's Service is asked", || {
        let refused = node.kubectl().args(["create", "configmap", "hooked"]).output().expect("kubectl runs");
        String::from_utf8_lossy(&refused.stderr).contains("server gave HTTP response to HTTPS client")
    });

    let reason = "jsonpath={.status.containerStatuses[0].state.terminated.reason}";
    eventually("the pod over its memory limit is killed", || {
        kubectl(&["get", "pod", "greedy", "-o", reason]) == "OOMKilled"
    });

    let (name, dir) = (node.name().to_owned(), node.cluster().dir().to_owned());
    kill_9(node.cluster().supervisor_pid().expect("it runs"));
    eventually("every process ends with the supervisor", || processes(&dir).is_empty());
    drop(node);
    assert!(!dir.exists());
    let mounts = fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(!mounts.contains(&name), "{mounts}");
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
        assert!(!hierarchy.path().join("dev-cluster").join(&name).exists(), "{hierarchy:?}");
    }
    assert!(!Path::new("/sys/fs/cgroup/dev-cluster").join(&name).exists());
}
