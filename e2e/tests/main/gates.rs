//! Pods that wait for their model behind a scheduling gate. In none of these does a container see an empty or partial
//! directory: each one that starts says at once what it finds.

use e2e::Error;
use e2e::hub::Files;
use e2e::wait::Seen;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use model_core::labels::GATE;
use serde_json::{Value, json};

use crate::scene::{Scene, digest_script, digests, files, hugging_face, parse_digests, pod, pod_spec, prefixed};

const FOREIGN: &str = "kueue.x-k8s.io/admission";

fn waits() -> Value {
    json!({ "inject": "tiny", "when-not-ready": "wait" })
}

/// Two pods that say what they find, and stay.
pub fn deployment() -> Value {
    let labels = json!({ "app": "early" });
    let mut spec = pod_spec(&format!("{}; sleep 3600", digest_script("/models/tiny")));
    spec["restartPolicy"] = json!("Always");
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "early" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": labels },
            "template": { "metadata": { "labels": labels, "annotations": prefixed(&waits()) }, "spec": spec },
        },
    })
}

fn gates(pod: &Pod) -> Vec<&str> {
    let gates = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
    gates.map(|gate| gate.name.as_str()).collect()
}

/// The Deployment's pods, once there are two that are not being deleted and all of them satisfy `judge`.
async fn both(scene: &Scene, what: &str, judge: impl Fn(&Pod) -> bool) -> Result<Vec<String>, Error> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(crate::scene::PATIENCE);
    loop {
        let pods = scene.api::<Pod>().list(&ListParams::default().labels("app=early")).await.expect("pods are listed");
        let living: Vec<_> = pods.items.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
        if living.len() == 2 && living.iter().all(|pod| judge(pod)) {
            return Ok(living.iter().filter_map(|pod| pod.metadata.name.clone()).collect());
        }
        assert!(std::time::Instant::now() < deadline, "{what}: {}", scene.kubectl(&["describe", "pods"])?);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Waits until the Deployment is available and compares what its pods found when they started.
pub async fn read(scene: &Scene, files: &Files) -> Result<(), Error> {
    let available = |deployment: &Deployment| (deployment.status.as_ref()?.available_replicas? == 2).then_some(());
    scene.find("early", "become available", available).await?;
    for name in both(scene, "run", |pod| gates(pod).is_empty()).await? {
        // A container counts as started before its first line is written.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(crate::scene::PATIENCE);
        while parse_digests(&scene.kubectl(&["logs", &name])?).len() < files.len() {
            assert!(std::time::Instant::now() < deadline, "{name} says {}", scene.kubectl(&["logs", &name])?);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(parse_digests(&scene.kubectl(&["logs", &name])?), digests(files), "{name}");
        let restarts =
            |pod: &Pod| pod.status.as_ref()?.container_statuses.as_ref()?.first().map(|app| app.restart_count);
        let restarts = scene.find(&name, "have a status", restarts).await?;
        // A kubelet that died between creating and starting a container creates another one and calls it restarted.
        assert!(restarts == 0 || scene.unsteady, "{name} was restarted");
        if restarts > 0 {
            let before = parse_digests(&scene.kubectl(&["logs", &name, "--previous"]).unwrap_or_default());
            assert!(before.is_empty() || before == digests(files), "{name} found {before:?} before");
        }
    }
    Ok(())
}

pub async fn a_gated_deployment_reads_its_model(scene: Scene) -> Result<(), Error> {
    let files = files("gated");
    scene.held_back(&scene.repository("tiny"), &files).await?;
    scene.model("tiny", &hugging_face(&scene.repository("tiny")))?;
    scene.apply(&deployment())?;
    let names = both(&scene, "wait", |pod| gates(pod) == [GATE]).await?;
    let reason = |pod: &Pod| {
        let condition = pod.status.as_ref()?.conditions.as_ref()?.iter().find(|known| known.type_ == "PodScheduled")?;
        condition.reason.clone()
    };
    assert_eq!(scene.find(&names[0], "say why it waits", reason).await?, "SchedulingGated");
    scene.let_go(&scene.repository("tiny")).await?;
    scene.ready("tiny").await?;
    read(&scene, &files).await?;
    // The same pods, with no detour by way of a denial.
    let mut after = both(&scene, "run", |_| true).await?;
    let mut before = names;
    before.sort();
    after.sort();
    assert_eq!(before, after);
    let events = scene.events(&before[0])?;
    for part in ["Normal WaitingForModel waiting for model tiny: it is ", "Normal ModelsReady "] {
        assert!(events.contains(part), "{part:?} is not in\n{events}");
    }
    Ok(())
}

pub async fn the_spec_changes_while_a_deployment_is_gated(scene: Scene) -> Result<(), Error> {
    let (first, second) = (files("one"), files("two"));
    scene.held_back(&scene.repository("one"), &first).await?;
    scene.hub.repository(&scene.repository("two"), &second)?;
    scene.model("tiny", &hugging_face(&scene.repository("one")))?;
    scene.apply(&deployment())?;
    let old = both(&scene, "wait", |pod| gates(pod) == [GATE]).await?;
    scene.model("tiny", &hugging_face(&scene.repository("two")))?;
    for name in &old {
        scene.gone::<Pod>(name).await?;
        let events = scene.events(name)?;
        assert!(events.contains("Warning ContentSuperseded model tiny now asks for other content"), "{events}");
    }
    read(&scene, &second).await
}

/// Whoever takes our gate off by hand is refused; gates of others are left to them.
pub async fn a_gate_is_removed_by_hand(scene: Scene) -> Result<(), Error> {
    let files = files("by hand");
    scene.held_back(&scene.repository("tiny"), &files).await?;
    scene.model("tiny", &hugging_face(&scene.repository("tiny")))?;
    let mut queued = pod("reader", &waits(), &digest_script("/models/tiny"));
    queued["spec"]["schedulingGates"] = json!([{ "name": FOREIGN }]);
    scene.admit_waiting(&queued).await?;
    let remove =
        |index: usize| json!([{ "op": "remove", "path": format!("/spec/schedulingGates/{index}") }]).to_string();
    let by_hand = remove(1);
    let answer = scene.kubectl(&["patch", "pod", "reader", "--type=json", "-p", &by_hand]);
    let refusal = answer.expect_err("the gate was taken off by hand").to_string();
    for part in ["model-gates.models.main-currents.news", "the container would find an empty directory"] {
        assert!(refusal.contains(part), "{part:?} is not in\n{refusal}");
    }

    scene.let_go(&scene.repository("tiny")).await?;
    scene.ready("tiny").await?;
    let ours_is_off = |pod: Option<&Pod>| match pod {
        Some(pod) if gates(pod) == [FOREIGN] => Seen::Done(()),
        Some(pod) if gates(pod).is_empty() => Seen::Never("the gate of somebody else is gone".to_owned()),
        Some(_) | None => Seen::NotYet,
    };
    scene.until("reader", "lose our gate only", ours_is_off).await?;
    scene.kubectl(&["patch", "pod", "reader", "--type=json", "-p", &remove(0)])?;
    assert_eq!(parse_digests(&scene.log("reader").await?), digests(&files));
    Ok(())
}
