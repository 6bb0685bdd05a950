//! Every sentence of the admission policies, as the user reads it.

use std::collections::BTreeSet;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use model_core::api::Model;
use model_core::persisted::Persisted;
use model_resources::{DownloadSettings, claim, download_job};
use serde_json::{Value, json};

use crate::cluster::{client, config, eventually, namespace};
use crate::policies::{CONTROLLER, apply, grant, model, refused};

/// The sentences of all policies in `config/webhook`. Those that are put together from what is judged are shown in `storage`.
fn sentences() -> BTreeSet<String> {
    let files = std::fs::read_dir(config("webhook")).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let objects = texts.flat_map(|text| {
        let documents: Vec<Value> =
            text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect();
        documents
    });
    let policies = objects.filter(|object| object["kind"] == "ValidatingAdmissionPolicy");
    policies.flat_map(|policy| policy_sentences(&policy)).collect()
}

fn policy_sentences(policy: &Value) -> Vec<String> {
    let name = policy["metadata"]["name"].as_str().unwrap();
    let shown_in_storage = ["model-replicas", "model-gpu-nodes"].iter().any(|shown| name.starts_with(shown));
    let validations = policy["spec"]["validations"].as_array().unwrap();
    let sentences =
        validations.iter().filter(|validation| !(shown_in_storage && validation["messageExpression"].is_string()));
    let sentences =
        sentences.map(|validation| validation["message"].as_str().unwrap_or_else(|| panic!("{name}: {validation}")));
    sentences.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sentence_of_the_policies_is_shown_to_somebody() {
    let place = "messages";
    let admin = client(None).await;
    namespace(&admin, place).await;
    for file in ["references", "gates", "operator"] {
        apply(&format!("webhook/{file}.yaml")).await;
    }
    let all = |group: &str, resource: &str| json!({ "apiGroups": [group], "resources": [resource], "verbs": ["*"] });
    // As if RBAC allowed the controller all of it.
    grant(place, CONTROLLER, json!([all("", "pods"), all("", "persistentvolumeclaims"), all("batch", "jobs")])).await;
    grant(place, "author", json!([all("models.main-currents.news", "models")])).await;
    let (author, controller) = (client(Some("author")).await, client(Some(CONTROLLER)).await);

    let stored = Api::<Model>::namespaced(admin.clone(), place)
        .create(&PostParams::default(), &model("llama", json!({})))
        .await
        .unwrap();
    let persisted = Persisted::try_from(&stored).unwrap();
    let gated: Pod = serde_json::from_value(json!({
        "metadata": { "name": "gated" },
        "spec": {
            "containers": [{ "name": "app", "image": "app:1" }],
            "schedulingGates": [{ "name": "models.main-currents.news/model-not-ready" }],
        },
    }))
    .unwrap();
    let pods: Api<Pod> = Api::namespaced(admin, place);
    pods.create(&PostParams::default(), &gated).await.unwrap();

    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let (models, jobs) = (Api::<Model>::namespaced(author, place), Api::<Job>::namespaced(controller.clone(), place));
    let claims = Api::<PersistentVolumeClaim>::namespaced(controller.clone(), place);
    let theirs = Api::<Pod>::namespaced(controller, place);
    let mut unlabelled = claim(&persisted, "1Gi");
    unlabelled.metadata.labels = None;
    let mut ownerless = download_job(&persisted, &DownloadSettings::default(), "claim-uid");
    let mut trusted = ownerless.clone();
    ownerless.metadata.owner_references = None;
    let pod = &mut trusted.spec.as_mut().unwrap().template;
    pod.spec.as_mut().unwrap().automount_service_account_token = Some(true);
    claims.create(&PostParams::default(), &claim(&persisted, "1Gi")).await.unwrap();
    let lift: Patch<Pod> =
        Patch::Json(serde_json::from_value(json!([{ "op": "remove", "path": "/spec/schedulingGates/0" }])).unwrap());

    let secret = model("private", json!({ "credentialsSecret": "hugging-face" }));
    let account = model("cloudy", json!({ "jobTemplate": { "serviceAccountName": "cloud" } }));
    let bucket = model("bucket", json!({ "source": { "s3": { "bucket": "models", "key": "llama" } } }));
    let dry_patch = PatchParams { dry_run: true, ..PatchParams::default() };
    let dry_delete = DeleteParams { dry_run: true, ..DeleteParams::default() };
    let shown = eventually(|| async {
        // Each policy is in force a moment after it was written.
        let answers = [
            models.create(&dry, &secret).await.map(drop),
            models.create(&dry, &account).await.map(drop),
            models.create(&dry, &bucket).await.map(drop),
            pods.patch("gated", &dry_patch, &lift).await.map(drop),
            theirs.create(&dry, &gated).await.map(drop),
            claims.create(&dry, &unlabelled).await.map(drop),
            claims.delete("model-llama", &dry_delete).await.map(drop),
            jobs.create(&dry, &ownerless).await.map(drop),
            jobs.create(&dry, &trusted).await.map(drop),
        ];
        if let Some(at) = answers.iter().position(Result::is_ok) {
            return Err(format!("the policy of case {at} is not in force"));
        }
        Ok(answers.map(|answer| refused("a case", answer)))
    })
    .await;
    for sentence in sentences() {
        assert!(
            shown.iter().any(|message| message.ends_with(&sentence)),
            "nobody is shown: {sentence}\nbut {shown:#?}"
        );
    }
}
