//! Download pods that the node cannot run, or does not let run to their end: each Model says which of them it is.

use std::time::{Duration, Instant};

use e2e::Error;
use e2e::hub::Files;
use k8s_openapi::api::batch::v1::Job;
use model_core::api::Model;
use serde_json::{Value, json};

use crate::failures::{not_ready_yet, ready_again};
use crate::scene::{PATIENCE, Scene, digests, files, hugging_face, model, noise, pod};

/// The download's pods of the Model of this name.
const DRAINED: &str = "models.main-currents.news/model=drained";

/// What no setting of a Model can bring about: other people's admission policies change the pods, as mirrors of
/// registries and injectors of sidecars do.
pub async fn what_a_policy_makes_of_a_download_pod_is_named(scene: Scene) -> Result<(), Error> {
    scene.hub.repository(&scene.repository("tiny"), &files("policy"))?;
    let insecure = Scene { namespace: format!("{}-insecure", scene.namespace), ..scene.clone() };
    scene.cluster.run(&["create", "namespace", &insecure.namespace])?;
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    scene.cluster.run(&["label", "namespace", &insecure.namespace, enforce])?;
    let mirror = r#"[JSONPatch{op: "replace", path: "/spec/containers/0/image", value: "mirror.invalid/loader:1"}]"#;
    let host = r#"[JSONPatch{op: "add", path: "/spec/hostNetwork", value: true}]"#;
    for (place, patch, name, reason, words) in [
        (&scene, mirror, "mirrored", "ImagePullFailed", "mirror.invalid/loader:1"),
        (&insecure, host, "insecure", "PodSecurityViolated", "hostNetwork=true"),
    ] {
        for object in policy(&place.namespace, patch) {
            place.apply(&object)?;
        }
        // The API server takes a moment to heed a policy: a pod that shows it is worth more than a pause.
        heeded(place, words).await?;
        place.model(name, &hugging_face(&scene.repository("tiny")))?;
        let message = not_ready_yet(place, name, reason).await?;
        assert!(message.contains(words), "{name}: {message}");

        let policy = &place.namespace;
        scene.cluster.run(&["delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", policy])?;
    }
    scene.cluster.run(&["delete", "namespace", &insecure.namespace, "--wait=false"]).map(drop)
}

/// A policy that patches every pod of a namespace.
fn policy(namespace: &str, patch: &str) -> [Value; 2] {
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": namespace } });
    let rule = json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] });
    let kind = |kind: &str, spec: Value| {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": { "name": namespace }, "spec": spec,
        })
    };
    [
        kind(
            "MutatingAdmissionPolicy",
            json!({
                "matchConstraints": { "resourceRules": [rule] },
                "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": patch } }],
                "reinvocationPolicy": "Never",
            }),
        ),
        kind(
            "MutatingAdmissionPolicyBinding",
            json!({ "policyName": namespace, "matchResources": { "namespaceSelector": selector } }),
        ),
    ]
}

/// Waits until what would become of a pod of this namespace, or why it would be refused, holds these words. A refusal alone
/// says nothing: under `restricted` the probe is refused anyway.
async fn heeded(place: &Scene, words: &str) -> Result<(), Error> {
    let probe = pod("probe", &json!({}), "true").to_string();
    let dry_run = ["--namespace", &place.namespace, "create", "--dry-run=server", "-o", "json", "-f", "-"];
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    loop {
        let answer = place.cluster.feed(&dry_run, &probe)?;
        if answer.text.contains(words) {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "the policy is not heeded: {}", answer.text);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The kernel ends a download whose author gave it too little memory.
pub async fn a_download_out_of_memory_says_so(scene: Scene) -> Result<(), Error> {
    let limited = |name: &str, repository: &str, limit: &str| {
        let mut model = model(name, &hugging_face(repository));
        model["spec"]["jobTemplate"] = json!({ "resources": { "limits": { "memory": limit } } });
        model
    };
    // Too little for the container to start at all, and too little for the list of so many files.
    let (tiny, many) = (scene.repository("tiny"), scene.repository("many"));
    scene.hub.repository(&tiny, &files("memory"))?;
    let list = (0..20_000).map(|number| (format!("a-shard-with-a-long-name-{number:0>100}"), Vec::new()));
    scene.hub.repository(&many, &list.collect())?;
    scene.apply(&limited("tiny", &tiny, "1Mi"))?;
    scene.apply(&limited("many", &many, "12Mi"))?;
    for name in ["tiny", "many"] {
        let message = not_ready_yet(&scene, name, "OutOfMemory").await?;
        assert!(message.contains("memory"), "{name}: {message}");
    }

    // The cure: more of it. A Job's template cannot be changed, so the old one goes.
    scene.model("tiny", &hugging_face(&tiny))?;
    scene.kubectl(&["patch", "model", "tiny", "--type=merge", "-p", r#"{"spec":{"jobTemplate":null}}"#])?;
    scene.kubectl(&["delete", "job", "model-download-tiny"])?;
    ready_again(&scene, "tiny").await
}

/// A node is drained under a download: its pod goes, another goes on from there, and nothing has failed. A pod that the
/// kubelet takes away for what it used itself is named.
pub async fn an_evicted_download_says_so_and_goes_on(scene: Scene) -> Result<(), Error> {
    let files = Files::from([("model.safetensors".to_owned(), noise("evicted", 6 << 20))]);
    let repository = scene.repository("slow");
    scene.slow_repository(&repository, &files, 200_000).await?;
    scene.model("drained", &hugging_face(&repository))?;
    let mut greedy = model("greedy", &hugging_face(&repository));
    // Less than its log takes. The kubelet looks every ten seconds.
    greedy["spec"]["jobTemplate"] = json!({ "resources": { "limits": { "ephemeral-storage": "1" } } });
    scene.apply(&greedy)?;

    let some_bytes = |model: &Model| {
        let bytes = model.status.as_ref()?.download.as_ref()?.downloaded_bytes?;
        (bytes > 0).then_some(bytes)
    };
    scene.find("drained", "receive something", some_bytes).await?;
    let pod = scene.kubectl(&["get", "pods", "-l", DRAINED, "-o", "jsonpath={.items[0].metadata.name}"])?;
    let metadata = json!({ "name": pod });
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata }).to_string();
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", scene.namespace);
    let answer = scene.cluster.feed(&["create", "--raw", &path, "-f", "-"], &eviction)?;
    assert!(answer.ok, "{}", answer.text);

    let message = not_ready_yet(&scene, "greedy", "Evicted").await?;
    assert!(message.contains("ephemeral local storage usage exceeds"), "{message}");
    scene.ready("drained").await?;
    let job = scene.find("model-download-drained", "exist", |job: &Job| job.status.clone()).await?;
    assert_eq!((job.succeeded, job.failed.unwrap_or(0)), (Some(1), 0), "a drain is no failure of the download");
    assert_eq!(scene.digests("drained").await?, digests(&files));
    Ok(())
}
