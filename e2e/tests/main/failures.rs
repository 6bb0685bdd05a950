//! A download that cannot succeed says why, where its user looks.

use e2e::Error;
use e2e::wait::Seen;
use k8s_openapi::api::batch::v1::Job;
use model_core::api::{Model, ModelStatus, Phase};
use model_core::names::job_name;
use serde_json::json;

use crate::scene::{NODE_CLASS, Scene, digests, files, hugging_face, model, secret, url};

/// The word in `reason` of the condition `Ready`.
pub fn reason(status: &ModelStatus) -> &str {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    ready.map_or("no condition Ready", |condition| &condition.reason)
}

pub async fn missing_repository(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("nowhere");
    scene.model("nowhere", &hugging_face(&repository))?;
    let status = scene.failed("nowhere").await?;
    let message = status.message.clone().unwrap_or_default();
    assert_eq!(reason(&status), "SourceNotFound", "{message}");
    assert!(message.contains(&repository), "{message}");
    event(&scene, "nowhere", "SourceNotFound").await?;

    // The second attempt fails in the same way and says so again.
    scene.kubectl(&["delete", "job", &job_name("nowhere")])?;
    let again = scene
        .find("nowhere", "fail once more", |model: &Model| {
            let status = model.status.as_ref().filter(|status| status.phase == Some(Phase::Failed))?;
            status.download.as_ref().map(|download| download.attempt).filter(|attempt| *attempt > 1)
        })
        .await?;
    assert_eq!(again, 2);
    Ok(())
}

pub async fn missing_url(scene: Scene) -> Result<(), Error> {
    scene.model("nowhere", &url("files/no/such/file.bin"))?;
    let status = scene.failed("nowhere").await?;
    assert_eq!(reason(&status), "SourceNotFound", "{:?}", status.message);
    event(&scene, "nowhere", "SourceNotFound").await
}

pub async fn bad_token(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("secret");
    scene.hub.repository(&repository, &files("bad token"))?;
    scene.hub.make_private(&repository)?;
    scene.apply(&secret("hub", &json!({ "HF_TOKEN": "hf_wrong" })))?;
    let mut model = model("secret", &hugging_face(&repository));
    model["spec"]["credentialsSecret"] = json!("hub");
    scene.apply(&model)?;
    let status = scene.failed("secret").await?;
    let message = status.message.clone().unwrap_or_default();
    assert_eq!(reason(&status), "AccessDenied", "{message}");
    assert!(!message.contains("hf_wrong"), "a message never holds a secret: {message}");
    event(&scene, "secret", "AccessDenied").await?;

    // The user corrects the token and deletes the Job, as the advice says.
    scene.apply(&secret("hub", &json!({ "HF_TOKEN": e2e::hub::TOKEN })))?;
    scene.kubectl(&["delete", "job", &job_name("secret")])?;
    ready_again(&scene, "secret").await
}

pub async fn missing_secret(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("tiny"), files("missing secret"));
    scene.hub.repository(&repository, &files)?;
    let mut model = model("tiny", &hugging_face(&repository));
    model["spec"]["credentialsSecret"] = json!("forgotten");
    scene.apply(&model)?;
    let message = scene
        .find("tiny", "name the missing secret", |model: &Model| {
            let status = model.status.as_ref().filter(|status| reason(status) == "CredentialsMissing")?;
            status.message.clone()
        })
        .await?;
    assert!(message.contains("forgotten"), "{message}");

    // Nothing else is needed once the secret is there.
    scene.apply(&secret("forgotten", &json!({ "HF_TOKEN": e2e::hub::TOKEN })))?;
    scene.ready("tiny").await.map(drop)
}

pub async fn deleting_the_failed_job_retries(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("late"), files("late"));
    scene.model("late", &hugging_face(&repository))?;
    scene.failed("late").await?;
    let first = scene.find("model-download-late", "exist", |job: &Job| job.metadata.uid.clone()).await?;

    scene.hub.repository(&repository, &files)?;
    scene.hub.refresh(&scene.cluster).await?;
    scene.kubectl(&["delete", "job", "model-download-late"])?;
    ready_again(&scene, "late").await?;
    let second = scene.find("model-download-late", "exist", |job: &Job| job.metadata.uid.clone()).await?;
    assert_ne!(first, second, "a new Job did it");
    assert_eq!(scene.digests("late").await?, digests(&files));
    Ok(())
}

/// Waits for Ready where the Model is still Failed at first.
pub async fn ready_again(scene: &Scene, name: &str) -> Result<(), Error> {
    scene
        .find(name, "become Ready after its Job was deleted", |model: &Model| {
            let phase = model.status.as_ref()?.phase?;
            (phase == Phase::Ready).then_some(())
        })
        .await
}

/// Waits until an Event of type Warning with this reason is about the Model.
async fn event(scene: &Scene, name: &str, reason: &str) -> Result<(), Error> {
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::Event;
    use kube::runtime::watcher;
    let config = watcher::Config::default().fields(&format!("involvedObject.name={name}"));
    let events = watcher::watcher(scene.api::<Event>(), config);
    let wanted = events.filter_map(async |event| match event {
        Ok(watcher::Event::Apply(event) | watcher::Event::InitApply(event)) => Some(event),
        _ => None,
    });
    let wanted = wanted.filter(|event| {
        let found = event.reason.as_deref() == Some(reason) && event.type_.as_deref() == Some("Warning");
        std::future::ready(found)
    });
    let found = tokio::time::timeout(std::time::Duration::from_secs(30), std::pin::pin!(wanted).next()).await;
    assert!(matches!(found, Ok(Some(_))), "no Warning {reason} about {name}; there are:\n{}", scene.events(name)?);
    Ok(())
}

/// Row 4: the claim waits for a class that does not exist.
pub async fn a_storage_class_that_does_not_exist(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("class"))?;
    let mut model = model("tiny", &hugging_face(&repository));
    model["spec"]["storage"]["storageClass"] = json!(format!("{}-class", scene.namespace));
    scene.apply(&model)?;
    let message = not_ready_yet(&scene, "tiny", "StorageClassNotFound").await?;
    for part in ["PVC stuck Pending", "storage class", "verify storage class exists"] {
        assert!(message.contains(part), "{part:?} is not in {message}");
    }

    // The cure that the table names.
    scene.apply(&scene.storage_class(&format!("{}-class", scene.namespace))?)?;
    scene.ready("tiny").await?;
    scene.cluster.run(&["delete", "storageclass", &format!("{}-class", scene.namespace)]).map(drop)
}

/// Row 4 without a class in the spec: the cluster has none that it would take by itself.
pub async fn no_default_storage_class(scene: Scene) -> Result<(), Error> {
    const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("no default"))?;
    let class = format!("storageclass/{NODE_CLASS}");
    scene.cluster.run(&["annotate", &class, "--overwrite", &format!("{DEFAULT}=false")])?;
    scene.model("tiny", &hugging_face(&repository))?;
    let message = not_ready_yet(&scene, "tiny", "StorageClassNotFound").await;
    // Kubernetes gives the waiting claim the new default by itself.
    scene.cluster.run(&["annotate", &class, "--overwrite", &format!("{DEFAULT}=true")])?;
    let message = message?;
    assert!(message.contains("PVC stuck Pending") && message.contains("no default storage class"), "{message}");
    scene.ready("tiny").await.map(drop)
}

/// Row 5: the Job fails, and its log says why to whoever looks where the table says.
pub async fn the_job_fails(scene: Scene) -> Result<(), Error> {
    scene.model("gone", &hugging_face(&scene.repository("gone")))?;
    let status = scene.failed("gone").await?;
    let failed = |job: &Job| {
        let conditions = job.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().any(|condition| condition.type_ == "Failed" && condition.status == "True").then_some(())
    };
    scene.find("model-download-gone", "fail", failed).await?;
    let log = scene.kubectl(&["logs", "job/model-download-gone"])?;
    assert!(log.contains(&scene.repository("gone")), "{log}");
    let described = scene.kubectl(&["describe", "model", "gone"])?;
    assert!(described.contains(&status.message.unwrap_or_default()), "{described}");
    Ok(())
}

/// Kept apart from [`Scene::failed`]: here the Job still tries, and the reason shows already.
pub async fn not_ready_yet(scene: &Scene, name: &str, reason_wanted: &str) -> Result<String, Error> {
    scene
        .until(name, &format!("show {reason_wanted}"), |model: Option<&Model>| {
            let Some(status) = model.and_then(|model| model.status.as_ref()) else { return Seen::NotYet };
            match status.message.clone() {
                Some(message) if reason(status) == reason_wanted => Seen::Done(message),
                _ => Seen::NotYet,
            }
        })
        .await
}
