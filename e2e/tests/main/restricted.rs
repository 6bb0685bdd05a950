//! A namespace that enforces the restricted pod security standard.

use e2e::Error;
use e2e::wait::Seen;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::scene::{Scene, digest_script, digests, files, hugging_face, parse_digests, phase, pod};

/// Downloads, injects every kind of container, and reads, where nothing but restricted pods is admitted.
pub async fn models_in_a_restricted_namespace(scene: Scene) -> Result<(), Error> {
    let enforce = "pod-security.kubernetes.io/enforce=restricted";
    scene.cluster.run(&["label", "namespace", &scene.namespace, enforce])?;
    let files = files("restricted");
    scene.hub.repository(&scene.repository("tiny"), &files)?;
    scene.model("tiny", &hugging_face(&scene.repository("tiny")))?;
    scene.ready("tiny").await?;
    let job = scene.find("model-download-tiny", "exist", |job: &Job| Some(job.clone())).await?;
    let download = job.spec.and_then(|spec| spec.template.spec).expect("a pod");
    assert_eq!(download.automount_service_account_token, Some(false), "a download needs no right to the API");
    let resources = download.containers[0].resources.clone().unwrap_or_default();
    assert!(resources.requests.is_some() && resources.limits.is_some(), "{resources:?}");

    // The pod's own containers have to meet the standard; what injection adds must not change that.
    let everywhere = with_every_kind_of_container("everywhere", &json!({ "container": "*", "offline": "true" }));
    scene.admit(&everywhere).await?;
    let mut some = with_every_kind_of_container("some", &json!({}));
    some["metadata"]["annotations"] = json!({
        "models.example.com/inject": "tiny",
        "models.example.com/container": "init, app",
        "models.example.com/offline": "true",
    });
    scene.admit(&some).await?;
    let mut nobody = everywhere;
    nobody["metadata"]["name"] = json!("nobody");
    nobody["metadata"]["annotations"]["models.main-currents.news/container"] = json!("app,helper");
    let refused = scene.try_apply(&nobody)?.text;
    let missing =
        r#"container names the container "helper", which is not in the pod: it has app, second, init, sidecar"#;
    assert!(refused.contains(missing), "{refused}");

    for (name, injected) in [("everywhere", &["app", "second", "init", "sidecar"][..]), ("some", &["app", "init"])] {
        scene
            .until(name, "succeed", |pod: Option<&Pod>| match phase(pod) {
                Some("Succeeded") => Seen::Done(()),
                Some("Failed") => Seen::Never("it failed".to_owned()),
                _ => Seen::NotYet,
            })
            .await?;
        for container in ["app", "second", "init", "sidecar"] {
            let log = scene.kubectl(&["logs", name, "-c", container])?;
            if injected.contains(&container) {
                assert_eq!(parse_digests(&log), digests(&files), "{name} {container}: {log}");
                assert!(log.contains("offline 1 1"), "{name} {container}: {log}");
            } else {
                assert_eq!(log, "no model\n", "{name} {container}");
            }
        }
    }
    Ok(())
}

/// A restricted pod with two containers, an init container and a native sidecar, each of which reads the model.
fn with_every_kind_of_container(name: &str, annotations: &Value) -> Value {
    let read = format!(
        "if test -e /models/tiny; then ({}); echo offline $HF_HUB_OFFLINE $TRANSFORMERS_OFFLINE; else echo no model; fi",
        digest_script("/models/tiny")
    );
    let mut pod = pod(name, annotations, &read);
    pod["metadata"]["annotations"]["models.main-currents.news/inject"] = json!("tiny");
    pod["spec"]["securityContext"]["seccompProfile"] = json!({ "type": "RuntimeDefault" });
    let mut app = pod["spec"]["containers"][0].clone();
    app["securityContext"] = json!({ "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } });
    let named = |name: &str| {
        let mut container = app.clone();
        container["name"] = json!(name);
        container
    };
    let mut sidecar = named("sidecar");
    sidecar["restartPolicy"] = json!("Always");
    sidecar["command"] =
        json!(["sh", "-ec", format!("{read}; trap 'exit 0' TERM; touch /tmp/read; while true; do sleep 1; done")]);
    // The others start once it has read.
    sidecar["startupProbe"] =
        json!({ "exec": { "command": ["test", "-e", "/tmp/read"] }, "periodSeconds": 1, "failureThreshold": 120 });
    pod["spec"]["initContainers"] = json!([named("init"), sidecar]);
    pod["spec"]["containers"] = json!([named("app"), named("second")]);
    pod
}
