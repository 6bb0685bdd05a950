//! The limits that a download gets when nobody sets any, and how much of them it uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use e2e::Error;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::{Value, json};
use test_hub::fixtures::random_safetensors;

use crate::scene::{PATIENCE, Scene, hugging_face, model};

/// More than any buffer and any limit, so that a loader that keeps what it fetched does not get through.
const SIZE: u64 = 400 << 20;
/// The default limit, in bytes.
const LIMIT: u64 = 256 << 20;
/// What a download may have of its own, in bytes, whatever the model's size. Pages of files are the kernel's: it fills
/// any limit with them and gives them back when they are needed.
const OWN_MEMORY: u64 = 64 << 20;
/// How often its memory is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub async fn a_large_model_in_little_memory(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("large");
    let file = scene.hub.root().join(format!("hf/{repository}/model.safetensors"));
    random_safetensors(&file, 7, SIZE).expect("the hub's directory can be written");
    let mut large = model("large", &hugging_face(&repository));
    large["spec"]["storage"]["size"] = json!("1Gi");
    scene.apply(&large)?;
    let pod = download_pod(&scene, "large").await;

    let mut peak = 0;
    let ready = scene.ready("large");
    let sampling = async {
        loop {
            peak = peak.max(own_memory(&pod).unwrap_or(0));
            tokio::time::sleep(LOOK).await;
        }
    };
    let status = tokio::select! {
        status = ready => status?,
        () = sampling => unreachable!("sampling never ends"),
    };
    let content = status.content.expect("a Ready model has content");
    assert!(content.verified);
    assert!(content.bytes.unwrap_or_default() >= i64::try_from(SIZE).expect("a small number"));
    println!("large_model_in_little_memory: {} MiB of its own at the most", peak >> 20);
    assert!(peak > 0, "the download's cgroup with a limit of {LIMIT} bytes was never seen");
    assert!(peak < OWN_MEMORY, "{peak} bytes");

    let job = scene.find("model-download-large", "exist", |job: &Job| job.status.clone()).await?;
    assert_eq!((job.succeeded, job.failed.unwrap_or(0)), (Some(1), 0), "one attempt was enough");
    let pods = scene.kubectl(&["get", "pods", "-l", "models.main-currents.news/model=large", "-o", "json"])?;
    let pods: Value = serde_json::from_str(&pods).expect("kubectl prints JSON");
    let pods = pods["items"].as_array().expect("a list");
    assert_eq!(pods.len(), 1);
    let limits = json!({ "requests": { "cpu": "250m", "memory": "128Mi" }, "limits": { "memory": "256Mi" } });
    assert_eq!(pods[0]["spec"]["containers"][0]["resources"], limits);
    let container = &pods[0]["status"]["containerStatuses"][0];
    assert_eq!(container["restartCount"], 0);
    assert_eq!(container["state"]["terminated"]["reason"], "Completed");
    fs::remove_file(&file).expect("the hub's directory can be written");
    Ok(())
}

/// UID of the Model's download pod.
async fn download_pod(scene: &Scene, model: &str) -> String {
    let of_model = ListParams::default().labels(&format!("models.main-currents.news/model={model}"));
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    loop {
        let pods = scene.api::<Pod>().list(&of_model).await.expect("pods can be listed").items;
        if let Some(uid) = pods.into_iter().find_map(|pod| pod.metadata.uid) {
            return uid;
        }
        assert!(Instant::now() < deadline, "no download pod");
        tokio::time::sleep(LOOK).await;
    }
}

/// Bytes of anonymous memory of the container in this pod that has the default limit. The kernel tells: of cgroup v2
/// first, of v1 where the node has that. `None` while there is no such container.
fn own_memory(pod: &str) -> Option<u64> {
    let node = ["/sys/fs/cgroup/dev-cluster", "/sys/fs/cgroup/memory/dev-cluster"];
    let pod = node.iter().find_map(|root| find(Path::new(root), &format!("pod{pod}")))?;
    let containers = fs::read_dir(pod).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    let limited = |container: &PathBuf| {
        let limits = ["memory.max", "memory.limit_in_bytes"];
        limits
            .iter()
            .any(|file| fs::read_to_string(container.join(file)).is_ok_and(|text| text.trim() == LIMIT.to_string()))
    };
    let stat = fs::read_to_string(containers.into_iter().find(limited)?.join("memory.stat")).ok()?;
    let value = |line: &str| line.strip_prefix("anon ").or_else(|| line.strip_prefix("rss "))?.parse().ok();
    stat.lines().find_map(value)
}

/// The directory of that name below another.
fn find(below: &Path, name: &str) -> Option<PathBuf> {
    let folders = fs::read_dir(below).ok()?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders
        .into_iter()
        .find_map(|entry| if entry.file_name() == name { Some(entry.path()) } else { find(&entry.path(), name) })
}
