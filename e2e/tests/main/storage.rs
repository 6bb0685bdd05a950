//! What the kind of volume does to downloads and pods, on two nodes.
//!
//! Volumes are made by hand: `hostPath` ones are in reach of both nodes, because they share this machine's file system,
//! and stand for volumes that attach anywhere; `local` ones are file systems of one node.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dev_cluster::WORKER_TAINT;
use e2e::Error;
use e2e::hub::Files;
use e2e::wait::Seen;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use model_core::api::{Model, ModelStatus, Phase};
use model_core::observed::nodes_of;
use model_core::reason::Reason;
use serde_json::{Value, json};

use crate::scene::{Scene, digest_script, digests, files, hugging_face, model, noise, parse_digests, phase, pod};

impl Scene {
    /// The node that takes only pods that tolerate its taint.
    fn worker(&self) -> String {
        format!("{}-2", self.node.name())
    }

    /// A volume made by hand, and a class for it that waits for the first consumer. Both are named like the scenario.
    fn volume(&self, access_mode: &str, place: &Value) -> Result<(), Error> {
        self.apply(&json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": self.namespace },
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
        }))?;
        let mut spec = json!({
            "capacity": { "storage": "64Mi" },
            "accessModes": [access_mode],
            "storageClassName": self.namespace,
            "persistentVolumeReclaimPolicy": "Retain",
        });
        spec.as_object_mut().expect("an object").extend(place.as_object().expect("an object").clone());
        let metadata = json!({ "name": self.namespace });
        self.apply(&json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec }))
    }

    /// A volume in reach of both nodes. The kubelet applies no `fsGroup` to this type, so anybody may write to it.
    fn volume_of_both_nodes(&self, access_mode: &str) -> Result<(), Error> {
        let directory = self.node.dir().join("shared").join(&self.namespace);
        fs::create_dir_all(&directory).expect("the cluster's directory can be written");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).expect("it is ours");
        self.volume(access_mode, &json!({ "hostPath": { "path": directory, "type": "Directory" } }))
    }

    /// Applies the Model of this repository on the scenario's volume, downloaded on whichever node.
    fn stored(&self, repository: &str, access_mode: &str) -> Result<(), Error> {
        let mut stored = model("tiny", &hugging_face(&self.repository(repository)));
        stored["spec"]["storage"] = json!({
            "size": "8Mi", "storageClass": self.namespace, "accessModes": [access_mode],
        });
        stored["spec"]["jobTemplate"] = json!({ "tolerations": [toleration()] });
        self.apply(&stored)
    }

    /// Applies a pod with the model that prints its digests and stays.
    async fn stays(&self, name: &str, node: &str) -> Result<(), Error> {
        let script = format!("{}; exec sleep 3600", digest_script("/models/tiny"));
        let mut staying = pod(name, &json!({ "inject": "tiny" }), &script);
        staying["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        staying["spec"]["tolerations"] = json!([toleration()]);
        self.admit(&staying).await?;
        self.until(name, "run", |pod: Option<&Pod>| match phase(pod) {
            Some("Running") => Seen::Done(()),
            Some("Failed") => Seen::Never("it failed".to_owned()),
            _ => Seen::NotYet,
        })
        .await
    }

    /// Waits until other content than `old` is published; the phase stays Ready all the time.
    async fn newer(&self, old: &ModelStatus) -> Result<ModelStatus, Error> {
        let old = old.content.as_ref().map(|content| content.id.clone());
        self.until("tiny", "publish the new content", |model: Option<&Model>| {
            let Some(status) = model.and_then(|model| model.status.as_ref()) else { return Seen::NotYet };
            if status.phase != Some(Phase::Ready) {
                return Seen::Never(format!("it was {:?} in between", status.phase));
            }
            let id = status.content.as_ref().map(|content| content.id.clone());
            if id == old { Seen::NotYet } else { Seen::Done(status.clone()) }
        })
        .await
    }

    /// The Job that published this, and the node that its pod ran on.
    async fn download(&self, status: &ModelStatus) -> Result<(Job, String), Error> {
        let id = status.content.as_ref().map(|content| content.id.clone()).unwrap_or_default();
        let is_of_content = |annotations: &Option<std::collections::BTreeMap<String, String>>| {
            annotations.as_ref().and_then(|all| all.get(model_core::labels::CONTENT_ID)) == Some(&id)
        };
        let job = self.find("model-download-tiny", "exist", |job: &Job| Some(job.clone())).await?;
        assert!(is_of_content(&job.metadata.annotations), "the Job is that of the newest content");
        let pods = self.kubectl(&["get", "pods", "-l", "models.main-currents.news/model=tiny", "-o", "json"])?;
        let pods: Value = serde_json::from_str(&pods).expect("kubectl prints JSON");
        let pods: Vec<Pod> = serde_json::from_value(pods["items"].clone()).expect("pods");
        let own = pods.into_iter().find(|pod| is_of_content(&pod.metadata.annotations)).expect("the Job has a pod");
        Ok((job, own.spec.and_then(|spec| spec.node_name).unwrap_or_default()))
    }
}

fn toleration() -> Value {
    json!({ "key": WORKER_TAINT, "operator": "Exists" })
}

pub async fn two_models_share_a_claim(scene: Scene) -> Result<(), Error> {
    let (first, second) = (files("first"), files("second"));
    for (name, content) in [("first", &first), ("second", &second)] {
        scene.hub.repository(&scene.repository(name), content)?;
        let mut shared = model(name, &hugging_face(&scene.repository(name)));
        shared["spec"]["storage"] = json!({ "existingClaim": "weights" });
        scene.apply(&shared)?;
    }
    let missed = |model: &Model| {
        let message = model.status.as_ref()?.message.as_deref()?;
        message.starts_with("claim weights does not exist").then_some(())
    };
    scene.find("second", "miss the claim", missed).await?;
    scene.apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "weights" },
        "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "64Mi" } } },
    }))?;
    scene.ready("first").await?;
    scene.ready("second").await?;

    let script = "cd /models; find . -type f ! -path '*/.*/*' | sort | xargs sha256sum";
    scene.admit(&pod("reads-both", &json!({ "inject": "first, second" }), script)).await?;
    let below = |name: &str, content| {
        digests(content).into_iter().map(move |(file, sum)| (format!("{name}/{file}"), sum)).collect::<Vec<_>>()
    };
    let want = below("first", &first).into_iter().chain(below("second", &second)).collect();
    assert_eq!(parse_digests(&scene.log("reads-both").await?), want);

    // The claim is nobody's but its maker's.
    scene.kubectl(&["delete", "models", "first", "second"])?;
    scene.gone::<Job>("model-download-first").await?;
    scene.gone::<Job>("model-download-second").await?;
    let claim = scene.find("weights", "stay", |claim: &PersistentVolumeClaim| Some(claim.metadata.clone())).await?;
    assert_eq!((claim.owner_references, claim.deletion_timestamp), (None, None));
    Ok(())
}

pub async fn a_refresh_runs_where_pods_use_the_claim(scene: Scene) -> Result<(), Error> {
    let (first, second) = (files("one"), files("two"));
    scene.hub.repository(&scene.repository("one"), &first)?;
    scene.hub.repository(&scene.repository("two"), &second)?;
    scene.volume_of_both_nodes("ReadWriteOnce")?;
    scene.stored("one", "ReadWriteOnce")?;
    let old = scene.ready("tiny").await?;
    let (job, _) = scene.download(&old).await?;
    assert!(nodes_of(&job).is_empty(), "nobody used the claim");

    let worker = scene.worker();
    scene.stays("app", &worker).await?;
    scene.stored("two", "ReadWriteOnce")?;
    let new = scene.newer(&old).await?;
    let (job, node) = scene.download(&new).await?;
    assert_eq!(nodes_of(&job).into_iter().collect::<Vec<_>>(), [worker.as_str()]);
    assert_eq!(node, worker);
    Ok(())
}

pub async fn a_refresh_waits_for_the_one_pod_of_a_claim(scene: Scene) -> Result<(), Error> {
    scene.hub.repository(&scene.repository("one"), &files("one"))?;
    scene.hub.repository(&scene.repository("two"), &files("two"))?;
    scene.volume_of_both_nodes("ReadWriteOncePod")?;
    scene.stored("one", "ReadWriteOncePod")?;
    let old = scene.ready("tiny").await?;
    scene.stays("app", &scene.worker()).await?;
    scene.stored("two", "ReadWriteOncePod")?;
    scene
        .find("tiny", "tell who uses the claim", |model: &Model| {
            let status = model.status.as_ref()?;
            let told = status.message.as_deref()?.contains("claim model-tiny is ReadWriteOncePod and pod app uses it");
            (told && status.phase == Some(Phase::Ready)).then_some(())
        })
        .await?;
    scene.kubectl(&["delete", "pod", "app"])?;
    scene.newer(&old).await.map(drop)
}

pub async fn pods_of_both_nodes_read_a_claim_of_many(scene: Scene) -> Result<(), Error> {
    let (first, second) = (files("one"), files("two"));
    scene.hub.repository(&scene.repository("one"), &first)?;
    scene.hub.repository(&scene.repository("two"), &second)?;
    scene.volume_of_both_nodes("ReadWriteMany")?;
    scene.stored("one", "ReadWriteMany")?;
    let old = scene.ready("tiny").await?;
    for (name, node) in [("here", scene.node.name().to_owned()), ("there", scene.worker())] {
        scene.stays(name, &node).await?;
        scene
            .find(name, "print what it reads", |_: &Pod| {
                let log = scene.kubectl(&["logs", name]).ok()?;
                (parse_digests(&log) == digests(&first)).then_some(())
            })
            .await?;
    }
    scene.stored("two", "ReadWriteMany")?;
    let (job, _) = scene.download(&scene.newer(&old).await?).await?;
    assert!(nodes_of(&job).is_empty(), "it may run on any node");
    Ok(())
}

/// Bytes of what fits on the disk.
const SECOND: usize = 6 << 20;

pub async fn a_full_disk_takes_nothing_down(scene: Scene) -> Result<(), Error> {
    let first = files("one");
    scene.hub.repository(&scene.repository("one"), &first)?;
    let large = [("model.safetensors".to_owned(), noise("large", 20 << 20))].into();
    scene.hub.repository(&scene.repository("large"), &large)?;
    let disk = scene.node.add_disk(&scene.namespace, 16)?;
    let on_worker = json!([{ "key": "kubernetes.io/hostname", "operator": "In", "values": [scene.worker()] }]);
    let affinity = json!({ "required": { "nodeSelectorTerms": [{ "matchExpressions": on_worker }] } });
    scene.volume("ReadWriteOnce", &json!({ "local": { "path": disk }, "nodeAffinity": affinity }))?;
    scene.stored("one", "ReadWriteOnce")?;
    // Written as an ordinary user to a disk of root's, by way of fsGroup.
    let old = scene.ready("tiny").await?;
    assert_eq!(scene.download(&old).await?.1, scene.worker(), "the disk's node is the volume's");

    scene.stored("large", "ReadWriteOnce")?;
    let message = disk_full(&scene, "tell that the disk is too small").await?;
    assert!(message.contains("needed") && message.contains("free"), "{message}");

    reads(&scene, "reads", &first).await?;

    // This one fits, until somebody else fills the disk in the middle of it.
    let second = [("model.safetensors".to_owned(), noise("two", SECOND))].into();
    scene.slow_repository(&scene.repository("two"), &second, SECOND as u64 / 20).await?;
    scene.stored("two", "ReadWriteOnce")?;
    scene
        .find("tiny", "fetch what fits", |model: &Model| {
            let download = model.status.as_ref()?.download.as_ref()?;
            (download.last_failure.is_none() && download.downloaded_bytes? > 0).then_some(())
        })
        .await?;
    scene.node.fill_disk(&scene.namespace)?;
    disk_full(&scene, "tell that the disk ran full").await?;
    // The next attempt may have failed meanwhile, before it wrote.
    let told =
        scene.kubectl(&["get", "events", "--field-selector=reason=DiskFull", "-o=jsonpath={.items[*].message}"])?;
    assert!(told.contains("No space left on device"), "{told}");
    reads(&scene, "reads-meanwhile", &first).await?;
    // As the message says.
    scene.node.free_disk(&scene.namespace)?;
    scene.kubectl(&["delete", "job", "model-download-tiny"])?;
    scene.newer(&old).await?;
    reads(&scene, "reads-again", &second).await?;
    let sent = scene.hub.stats(&scene.cluster).await?.containing(&scene.repository("two")).bytes;
    assert!(sent < SECOND as u64 * 5 / 4, "the download goes on where it was: {sent} bytes were sent");
    Ok(())
}

/// Waits until a download has failed for want of room, while what was published is offered on. Gives the message.
async fn disk_full(scene: &Scene, what: &str) -> Result<String, Error> {
    scene
        .find("tiny", what, |model: &Model| {
            let status = model.status.as_ref()?;
            let failure = status.download.as_ref()?.last_failure.as_ref()?;
            let full = failure.reason == Reason::DiskFull && status.phase == Some(Phase::Ready);
            full.then(|| failure.message.clone())
        })
        .await
}

/// A pod mounts the model and reads these files.
async fn reads(scene: &Scene, name: &str, files: &Files) -> Result<(), Error> {
    let mut reads = pod(name, &json!({ "inject": "tiny" }), &digest_script("/models/tiny"));
    reads["spec"]["tolerations"] = json!([toleration()]);
    scene.admit(&reads).await?;
    assert_eq!(parse_digests(&scene.log(name).await?), digests(files), "{name}");
    Ok(())
}
