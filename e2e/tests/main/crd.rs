//! A newer definition of Models is applied as a chart applies it, and then the one before it again, while downloads run and
//! pods wait. Nothing else may run beside this.

use std::time::{Duration, Instant};

use e2e::{Cluster, Error};
use model_core::api::{Model, Phase};
use serde_json::{Value, json};

use crate::faults::{away, once, slow, underway};
use crate::gates::{deployment, read};
use crate::progress::held_repository;
use crate::scene::{PATIENCE, Scene, digest_script, digests, hugging_face, parse_digests, pod};

const NAME: &str = "models.models.main-currents.news";

/// The definition as it is applied. What the API server adds is left out.
fn installed(cluster: &Cluster) -> Result<Value, Error> {
    let found = cluster.run(&["get", "crd", NAME, "-o", "json"])?;
    let found: Value = serde_json::from_str(&found).expect("kubectl prints JSON");
    let metadata = &found["metadata"];
    Ok(json!({
        "apiVersion": found["apiVersion"], "kind": found["kind"], "spec": found["spec"],
        "metadata": { "name": NAME, "labels": metadata["labels"], "annotations": metadata["annotations"] },
    }))
}

/// The next version of it: an optional field and a column that no Model of today has.
fn next_version(definition: &Value) -> Value {
    let mut next = definition.clone();
    let version = &mut next["spec"]["versions"][0];
    let columns = version["additionalPrinterColumns"].as_array_mut().expect("there are columns");
    columns.push(json!({ "name": "Reviewer", "type": "string", "jsonPath": ".spec.reviewer" }));
    let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    assert!(spec.is_object(), "a Model has a spec");
    spec["reviewer"] = json!({ "type": "string", "maxLength": 63 });
    next
}

/// As Helm does.
fn apply(cluster: &Cluster, definition: &Value) -> Result<(), Error> {
    let by_helm = ["apply", "--server-side", "--field-manager=helm", "--force-conflicts", "-f", "-"];
    let answer = cluster.feed(&by_helm, &definition.to_string())?;
    assert!(answer.ok, "{}", answer.text);
    Ok(())
}

pub async fn the_definition_is_upgraded_and_taken_back(scene: Scene) -> Result<(), Error> {
    let before = installed(&scene.cluster)?;
    let life = life(&scene, &before).await;
    // Whatever came of it: what comes after needs the definition as it was.
    apply(&scene.cluster, &before)?;
    life
}

async fn life(scene: &Scene, definition: &Value) -> Result<(), Error> {
    let columns = || Ok::<_, Error>(scene.kubectl(&["get", "models"])?.lines().next().unwrap_or_default().to_owned());
    let early = slow(scene, "early", away().as_secs() / 2).await?;
    let (repository, late) = held_repository(scene).await?;
    scene.model("tiny", &hugging_face(&scene.repository("early")))?;
    scene.model("late", &hugging_face(&repository))?;
    scene.apply(&deployment())?;
    let waits = pod("waits", &json!({ "inject": "late", "when-not-ready": "wait" }), &digest_script("/models/late"));
    scene.find("late", "show progress", underway).await?;
    scene.admit_waiting(&waits).await?;

    apply(&scene.cluster, &next_version(definition))?;
    // Nobody in the operator knows this field.
    let review = r#"{"spec":{"reviewer":"somebody"}}"#;
    until(|| Ok(columns()?.contains("REVIEWER"))).await?;
    for name in ["tiny", "late"] {
        scene.kubectl(&["patch", "model", name, "--type=merge", "-p", review])?;
    }
    scene.ready("tiny").await?;
    let kept = scene.kubectl(&["get", "model", "tiny", "-o=jsonpath={.spec.reviewer}"])?;
    assert_eq!(kept, "somebody", "the controller's writes take nothing away");

    let content = status(scene, "tiny").await.and_then(|status| status.content);
    apply(&scene.cluster, definition)?;
    until(|| Ok(!columns()?.contains("REVIEWER"))).await?;
    assert_ne!(status(scene, "late").await.and_then(|status| status.phase), Some(Phase::Ready), "it still downloads");
    scene.let_go(&repository).await?;
    read(scene, &early).await?;
    scene.ready("late").await?;
    assert_eq!(parse_digests(&scene.log("waits").await?), digests(&late));
    let tiny = scene.ready("tiny").await?;
    assert_eq!(tiny.content, content, "its status is kept");
    // Pods that come now are injected, too.
    assert_eq!(scene.digests("tiny").await?, digests(&early));
    once(scene, &["tiny", "late"], &[("early", &early), ("slow", &late)]).await
}

/// The API server serves a changed definition a moment later.
async fn until(so: impl Fn() -> Result<bool, Error>) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    while !so()? {
        assert!(Instant::now() < deadline, "the changed definition is not served");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn status(scene: &Scene, name: &str) -> Option<model_core::api::ModelStatus> {
    scene.api::<Model>().get(name).await.expect("the Model is there").status
}
