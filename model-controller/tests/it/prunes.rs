//! Earlier content is taken off the claim, and never under a pod.

#![allow(clippy::unwrap_used, reason = "support code of tests fails as tests do")]

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use model_core::api::{Content, ModelStatus, Phase};
use model_core::labels::{MODEL, PRUNE};
use model_core::observed::{PruneStep, Users};
use model_core::status::PRUNE_FAILED;
use serde_json::json;

use crate::plane::{Scene, until};

const PRUNE_JOB: &str = "model-prune-llama";

/// A pod as the webhook made it when this content was offered.
fn pod(name: &str, content: &Content) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "app", "image": "app", "volumeMounts": [
                { "name": "model", "mountPath": "/models/llama", "subPath": content.path },
            ] }],
            "volumes": [{ "name": "model", "persistentVolumeClaim": { "claimName": "model-llama" } }],
        },
    }))
    .unwrap()
}

/// Downloads what this address has.
async fn publish(scene: &Scene, url: &str) -> Content {
    let before = scene.jobs.get_opt("model-download-llama").await.unwrap().and_then(|job| job.uid());
    let old = scene.models.get_opt("llama").await.unwrap().and_then(|model| model.status?.content);
    scene.apply(url).await;
    scene.job(before.as_deref()).await;
    scene.job_ends("Complete").await;
    let status = scene.status_with("the content is offered", |status| {
        status.phase == Some(Phase::Ready) && status.content.is_some() && status.content != old
    });
    status.await.content.unwrap()
}

/// As if so much time had passed: what is recorded is older. What the controller records meanwhile is not overwritten.
async fn eleven_minutes_pass(scene: &Scene) {
    until("the Model stays as it is for a moment", async || {
        let model = scene.models.get("llama").await.unwrap();
        let version = model.resource_version();
        let mut earlier = model.status.unwrap_or_default().earlier;
        for content in &mut earlier {
            content.since.0 -= jiff::SignedDuration::from_mins(11);
        }
        let patch = json!({ "metadata": { "resourceVersion": version }, "status": { "earlier": earlier } });
        match scene.models.patch_status("llama", &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(_) => Some(()),
            Err(kube::Error::Api(status)) if status.is_conflict() => None,
            Err(error) => panic!("{error}"),
        }
    })
    .await;
}

fn step(job: &Job) -> PruneStep {
    serde_json::from_str(&job.annotations()[PRUNE]).unwrap()
}

async fn prune_job(scene: &Scene, not: Option<&str>) -> Job {
    until("a prune Job", async || {
        let job = scene.jobs.get_opt(PRUNE_JOB).await.unwrap()?;
        (job.uid().as_deref() != not && job.metadata.deletion_timestamp.is_none()).then_some(job)
    })
    .await
}

#[tokio::test]
async fn earlier_content_goes_in_two_jobs_and_a_pod_in_between_keeps_its_own() {
    let scene = scene("prune").await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let (first, second) =
        (publish(&scene, "https://example.com/a").await, publish(&scene, "https://example.com/b").await);
    pods.create(&PostParams::default(), &pod("first", &first)).await.unwrap();
    publish(&scene, "https://example.com/c").await;
    let ids: Vec<_> = scene.status().await.earlier.into_iter().map(|earlier| earlier.id).collect();
    assert_eq!(ids, [second.id.clone(), first.id.clone()], "the newest first");
    assert!(scene.jobs.get_opt(PRUNE_JOB).await.unwrap().is_none());

    // What a pod names stays.
    eleven_minutes_pass(&scene).await;
    let aside = prune_job(&scene, None).await;
    assert_eq!(step(&aside), PruneStep::SetAside(vec![second.id.clone()]));
    let begun = |status: &ModelStatus| status.earlier.iter().any(|known| known.setting_aside && known.id == second.id);
    assert!(begun(&scene.status().await), "it is known before the Job is made");
    assert_eq!(aside.labels()[MODEL], "llama");
    // A copy of a pod of long ago comes while the Job renames. It gets its content back.
    pods.create(&PostParams::default(), &pod("second", &second)).await.unwrap();
    scene.ends(PRUNE_JOB, "Complete").await;
    let finish = prune_job(&scene, aside.uid().as_deref()).await;
    assert_eq!(step(&finish), PruneStep::Finish { put_back: vec![second.id.clone()], delete: vec![] });
    scene.ends(PRUNE_JOB, "Complete").await;
    scene
        .status_with("what was put back is recorded", |status| status.earlier.iter().all(|known| !known.set_aside))
        .await;

    // Both pods go, and so do both contents.
    for name in ["first", "second"] {
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }
    eleven_minutes_pass(&scene).await;
    let (mut last, mut deleted) = (finish.uid(), BTreeSet::new());
    let next = async |last: Option<String>| {
        until("another prune Job, or nothing left to prune", async || {
            if scene.status().await.earlier.is_empty() {
                return Some(None);
            }
            let job = scene.jobs.get_opt(PRUNE_JOB).await.unwrap()?;
            (job.uid() != last && job.metadata.deletion_timestamp.is_none()).then_some(Some(job))
        })
        .await
    };
    while let Some(job) = next(last.clone()).await {
        if let PruneStep::Finish { put_back, delete } = step(&job) {
            assert_eq!(put_back, Vec::<String>::new());
            deleted.extend(delete);
        }
        scene.ends(PRUNE_JOB, "Complete").await;
        last = job.uid();
    }
    assert_eq!(deleted, BTreeSet::from([first.id, second.id]));
    let status = scene.status_with("nothing is left", |status| status.earlier.is_empty()).await;
    assert_eq!(status.phase, Some(Phase::Ready));
}

/// A namespace with its service account, which is made by a controller that does not run here.
async fn scene(name: &str) -> Scene {
    let scene = Scene::new(name).await;
    let account = serde_json::from_value(json!({ "metadata": { "name": "default" } })).unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(scene.client.clone(), &scene.namespace);
    accounts.create(&PostParams::default(), &account).await.unwrap();
    scene
}

#[tokio::test]
async fn content_is_put_back_whatever_becomes_of_the_job_that_set_it_aside() {
    let scene = scene("prune-killed").await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let first = publish(&scene, "https://example.com/a").await;
    let second = publish(&scene, "https://example.com/b").await;
    eleven_minutes_pass(&scene).await;
    let aside = prune_job(&scene, None).await;
    assert_eq!(step(&aside), PruneStep::SetAside(vec![first.id.clone()]));

    // It renames, and gives up before it ends. That is said, and the Job stays.
    scene.ends(PRUNE_JOB, "Failed").await;
    let failed = |status: &ModelStatus| status.conditions.iter().find(|known| known.type_ == PRUNE_FAILED).cloned();
    let status = scene.status_with("the failure is shown", |status| failed(status).is_some()).await;
    let shown = failed(&status).unwrap();
    assert_eq!((shown.status.as_str(), shown.reason.as_str()), ("True", "PruneFailed"));
    assert!(shown.message.contains("played by the test; kubectl describe job/model-prune-llama"), "{}", shown.message);
    assert_eq!(status.phase, Some(Phase::Ready));
    until("an Event", async || scene.events().await.contains(&"PruneFailed".to_owned()).then_some(())).await;

    // A download wants to start: first all is put back.
    scene.apply("https://example.com/c").await;
    its_pods_are_gone(&scene).await;
    let back = prune_job(&scene, aside.uid().as_deref()).await;
    assert_eq!(step(&back), PruneStep::Finish { put_back: vec![first.id.clone()], delete: vec![] });
    let status = scene.status_with("the download waits", |status| {
        failed(status).is_none()
            && status.message.as_deref().is_some_and(|message| message.contains("is put back first"))
    });
    assert_eq!(status.await.phase, Some(Phase::Ready));
    let download = scene.jobs.get_opt("model-download-llama").await.unwrap();
    assert!(download.is_none_or(|job| job.metadata.deletion_timestamp.is_some()));
    scene.ends(PRUNE_JOB, "Complete").await;
    publish_started(&scene, &second).await;

    // Somebody deletes the Job that sets aside, and a pod comes that names what it took.
    eleven_minutes_pass(&scene).await;
    let again = prune_job(&scene, back.uid().as_deref()).await;
    assert!(matches!(step(&again), PruneStep::SetAside(_)), "{:?}; {:#?}", step(&again), scene.status().await);
    pods.create(&PostParams::default(), &pod("late", &first)).await.unwrap();
    scene.jobs.delete(PRUNE_JOB, &DeleteParams::background()).await.unwrap();
    let back = prune_job(&scene, again.uid().as_deref()).await;
    assert_eq!(step(&back), PruneStep::Finish { put_back: vec![first.id], delete: vec![] });
}

#[tokio::test]
async fn a_prune_pod_that_outlives_its_job_is_waited_for() {
    let scene = scene("prune-outlived").await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    publish(&scene, "https://example.com/a").await;
    publish(&scene, "https://example.com/b").await;
    eleven_minutes_pass(&scene).await;
    let aside = prune_job(&scene, None).await;
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {
            "name": "model-prune-llama-x",
            "labels": aside.metadata.labels,
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": PRUNE_JOB, "uid": aside.uid(), "controller": true,
            }],
        },
        "spec": { "containers": [{ "name": "prune", "image": "loader" }] },
    }))
    .unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    scene.jobs.delete(PRUNE_JOB, &DeleteParams::background()).await.unwrap();

    // What it sets aside cannot be put back while it works.
    scene.apply("https://example.com/c").await;
    let waits = |status: &ModelStatus| status.message.as_deref().is_some_and(|text| text.contains("has stopped"));
    scene.status_with("the download waits", waits).await;
    assert!(scene.jobs.get_opt(PRUNE_JOB).await.unwrap().is_none());
    scene.patch_status(&pods, "model-prune-llama-x", &json!({ "phase": "Succeeded" })).await;
    let back = prune_job(&scene, aside.uid().as_deref()).await;
    assert!(step(&back).only_restores(), "{:?}", step(&back));
}

/// What the garbage collector does once no pod of a Job is left that is deleted in the foreground.
async fn its_pods_are_gone(scene: &Scene) {
    let is_deleted = async || scene.jobs.get(PRUNE_JOB).await.unwrap().metadata.deletion_timestamp;
    until("the prune Job is deleted", is_deleted).await;
    let free = json!({ "metadata": { "finalizers": null } });
    scene.jobs.patch(PRUNE_JOB, &PatchParams::default(), &Patch::Merge(&free)).await.unwrap();
}

/// The download that has started ends, and its content is offered in place of this.
async fn publish_started(scene: &Scene, old: &Content) {
    scene.job(None).await;
    scene.job_ends("Complete").await;
    let is_other = |status: &ModelStatus| status.content.as_ref().is_some_and(|content| content.id != old.id);
    scene.status_with("the content is offered", is_other).await;
}

#[tokio::test]
async fn who_debugs_a_pod_can_have_the_claim_only_as_a_whole() {
    let scene = scene("ephemeral").await;
    let content = publish(&scene, "https://example.com/a").await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), &scene.namespace);
    pods.create(&PostParams::default(), &pod("app", &content)).await.unwrap();
    let with = |mount: serde_json::Value| {
        let debugger = json!([{ "name": "debugger", "image": "sh", "volumeMounts": [mount] }]);
        Patch::Strategic(json!({ "spec": { "ephemeralContainers": debugger } }))
    };
    let params = PatchParams::default();
    let part = json!({ "name": "model", "mountPath": "/m", "subPath": content.path });
    let refused = pods.patch_ephemeral_containers("app", &params, &with(part)).await.unwrap_err().to_string();
    assert!(refused.contains("subPath: Forbidden"), "{refused}");
    let whole = json!({ "name": "model", "mountPath": "/m" });
    let app = pods.patch_ephemeral_containers("app", &params, &with(whole)).await.unwrap();
    assert!(Users::of_claim("model-llama", [&app]).name("anything"), "{app:#?}");
}

#[tokio::test]
async fn what_the_spec_keeps_stays_and_a_foreign_job_is_left_alone() {
    let scene = Scene::new("keep").await;
    publish(&scene, "https://example.com/a").await;
    let second = publish(&scene, "https://example.com/b").await;
    let keep = |revisions: i32| Patch::Merge(json!({ "spec": { "keepRevisions": revisions } }));
    scene.models.patch("llama", &PatchParams::default(), &keep(2)).await.unwrap();
    let theirs: Job = serde_json::from_value(json!({
        "metadata": { "name": PRUNE_JOB },
        "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "theirs", "image": "theirs" }],
        } } },
    }))
    .unwrap();
    let theirs = scene.jobs.create(&PostParams::default(), &theirs).await.unwrap();
    eleven_minutes_pass(&scene).await;
    scene.models.patch("llama", &PatchParams::default(), &keep(1)).await.unwrap();
    let status = scene.status_with("the change is seen", |status| status.observed_generation == Some(4)).await;
    assert_eq!((status.phase, status.earlier.len()), (Some(Phase::Ready), 1));
    assert_eq!(scene.jobs.get(PRUNE_JOB).await.unwrap().resource_version(), theirs.resource_version());
    scene.jobs.delete(PRUNE_JOB, &DeleteParams::background()).await.unwrap();
    // Nobody watches what is not ours: the next change of the Model brings it on.
    let touch = json!({ "metadata": { "annotations": { "touched": "yes" } } });
    scene.models.patch("llama", &PatchParams::default(), &Patch::Merge(&touch)).await.unwrap();
    let job = prune_job(&scene, None).await;
    let PruneStep::SetAside(ids) = step(&job) else { panic!("{job:#?}") };
    assert!(ids.len() == 1 && ids[0] != second.id);
}
