//! A pod that cannot have its model is refused in words that say what to do, as `kubectl apply` shows them.

use e2e::Error;
use e2e::wait::Seen;
use k8s_openapi::api::core::v1::{Event, Pod};
use model_core::api::Model;
use serde_json::{Value, json};

use crate::scene::{Scene, files, hugging_face, pod, prefixed};

fn asking(annotations: &Value) -> Value {
    pod("reader", annotations, "true")
}

pub async fn wishes_that_cannot_be_met(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("denials"))?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.ready("tiny").await?;
    let mut both = asking(&json!({ "inject": "tiny" }));
    both["metadata"]["annotations"]["models.example.com/inject"] = json!("other");
    let mut taken = asking(&json!({ "inject": "tiny" }));
    taken["spec"]["volumes"] = json!([{ "name": "model-tiny", "emptyDir": {} }]);
    let mut shadowed = asking(&json!({ "inject": "tiny" }));
    shadowed["spec"]["volumes"] = json!([{ "name": "scratch", "emptyDir": {} }]);
    shadowed["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "scratch", "mountPath": "/models/tiny/" }]);
    for (pod, want) in [
        (asking(&json!({ "inject": "tinny" })), &["model not found: tinny", "create it first"][..]),
        (asking(&json!({ "inject": "" })), &["models.main-currents.news/inject", "at least one name"]),
        (asking(&json!({ "inject": "tiny", "container": "worker" })), &["\"worker\"", "it has app"]),
        (asking(&json!({ "inject": "tiny", "read-only": "yes" })), &["read-only", "\"true\" or \"false\""]),
        (asking(&json!({ "inject": "tiny", "mount-path": "models" })), &["mount-path", "absolute path"]),
        (both, &["models.main-currents.news/inject", "models.example.com/inject", "keep one of them"]),
        (taken, &["volume model-tiny", "give that volume another name"]),
        (shadowed, &["would hide model tiny at /models/tiny", "mount-path"]),
    ] {
        let answer = scene.try_apply(&pod)?;
        assert!(!answer.ok, "{pod} was admitted");
        for part in want {
            assert!(answer.text.contains(part), "{part:?} is not in\n{}", answer.text);
        }
    }
    assert_eq!(scene.kubectl(&["get", "pod", "reader", "--ignore-not-found"])?, "");
    Ok(())
}

/// Rows 1 and 2 of the specification's table: the cause shows, its cure works, and nothing else is needed.
pub async fn a_deployment_waits_for_its_model(scene: Scene) -> Result<(), Error> {
    let labels = json!({ "app": "early" });
    let mut spec = crate::scene::pod_spec("sleep 3600");
    spec["restartPolicy"] = json!("Always");
    scene.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "early" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels, "annotations": prefixed(&json!({ "inject": "tiny" })) },
                "spec": spec,
            },
        },
    }))?;
    told(&scene, "model not found: tiny").await?;

    let repository = scene.repository("tiny");
    scene.held_back(&repository, &files("early")).await?;
    scene.model("tiny", &hugging_face(&repository))?;
    let downloading = |model: &Model| {
        let status = model.status.as_ref()?;
        (status.progress? > 0 && status.phase == Some(model_core::api::Phase::Downloading)).then_some(())
    };
    scene.find("tiny", "show progress", downloading).await?;
    let answer = scene.try_apply(&asking(&json!({ "inject": "tiny" })))?;
    assert!(!answer.ok, "admitted before its model was there");
    for part in ["model not ready: tiny is Downloading, ", " %", "kubectl wait --for=condition=Ready"] {
        assert!(answer.text.contains(part), "{part:?} is not in\n{}", answer.text);
    }

    scene.let_go(&repository).await?;
    scene.ready("tiny").await?;
    let available = |deployment: &k8s_openapi::api::apps::v1::Deployment| {
        (deployment.status.as_ref()?.available_replicas? == 1).then_some(())
    };
    scene.find("early", "become available", available).await
}

/// Row 2 for a Model that failed: the answer names the cause and where to look.
pub async fn a_failed_model_is_not_ready(scene: Scene) -> Result<(), Error> {
    scene.model("gone", &hugging_face(&scene.repository("gone")))?;
    scene.failed("gone").await?;
    // The webhook's cache follows the status by a moment.
    let answer = scene.refused(&asking(&json!({ "inject": "gone" })), "model not ready: gone is Failed").await?;
    assert!(answer.contains("kubectl describe"), "{answer}");
    Ok(())
}

/// Waits until an Event of the namespace says `text`.
async fn told(scene: &Scene, text: &str) -> Result<(), Error> {
    use futures::StreamExt;
    use kube::runtime::watcher;
    let events = watcher::watcher(scene.api::<Event>(), watcher::Config::default());
    let said = events.filter(|event| {
        let event = match event {
            Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => Some(event),
            _ => None,
        };
        let found = event.and_then(|event| event.message.as_deref()).is_some_and(|message| message.contains(text));
        std::future::ready(found)
    });
    let patience = std::time::Duration::from_secs(crate::scene::PATIENCE);
    let found = tokio::time::timeout(patience, std::pin::pin!(said).next()).await;
    assert!(matches!(found, Ok(Some(_))), "no Event says {text:?}:\n{}", scene.kubectl(&["events"])?);
    Ok(())
}

impl Scene {
    /// Applies a pod until it is refused with `text`, as the webhook's cache follows the API server by a moment.
    pub async fn refused(&self, pod: &Value, text: &str) -> Result<String, Error> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(crate::scene::PATIENCE);
        loop {
            let answer = self.try_apply(pod)?;
            assert!(!answer.ok, "{pod} was admitted");
            if answer.text.contains(text) || std::time::Instant::now() > deadline {
                assert!(answer.text.contains(text), "{text:?} is not in\n{}", answer.text);
                return Ok(answer.text);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}

/// A pod without annotation is none of the webhook's business.
pub async fn pods_that_ask_for_nothing_are_left_alone(scene: Scene) -> Result<(), Error> {
    let plain = pod("plain", &json!({}), "test ! -e /models");
    scene.apply(&plain)?;
    scene.log("plain").await?;
    let stored =
        scene.until("plain", "exist", |pod: Option<&Pod>| pod.cloned().map_or(Seen::NotYet, Seen::Done)).await?;
    let volumes = stored.spec.and_then(|spec| spec.volumes).unwrap_or_default();
    assert!(volumes.iter().all(|volume| volume.persistent_volume_claim.is_none()), "{volumes:?}");
    Ok(())
}
