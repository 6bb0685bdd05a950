//! What a pod that asks for a model gets.

use e2e::Error;
use e2e::wait::Seen;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::ListParams;
use model_core::api::Model;
use serde_json::json;

use crate::scene::{Scene, digest_script, digests, files, hugging_face, parse_digests, pod, pod_spec, prefixed};

/// Tries every way to change the mounted files, then says what its environment is and stays.
const SCRIPT: &str = r#"
for change in "touch $DIR/new" "rm $DIR/config.json" "mv $DIR/config.json $DIR/moved" "mkdir $DIR/sub" \
  "chmod u+w $DIR/config.json" "truncate -s 0 $DIR/config.json"; do
  if $change 2>/dev/null; then echo "CHANGED by $change"; fi
done
if echo x 2>/dev/null >>"$DIR/config.json"; then echo "CHANGED by appending"; fi
env | grep '^MODEL_' | sort
echo done
sleep 3600
"#;

pub async fn a_deployment_reads_and_cannot_write(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("tiny"), files("deployment"));
    scene.hub.repository(&repository, &files)?;
    let mut model = crate::scene::model("tiny-1b", &hugging_face(&repository));
    model["spec"]["version"] = json!("1.0");
    scene.apply(&model)?;
    let status = scene.ready("tiny-1b").await?;

    let script = format!("{}\nDIR=/models/tiny-1b\n{SCRIPT}", digest_script("/models/tiny-1b"));
    let mut spec = pod_spec(&script);
    spec["restartPolicy"] = json!("Always");
    // Root could write wherever a mount allows it.
    spec["securityContext"] = json!({});
    let labels = json!({ "app": "reader" });
    scene.apply(&json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "reader" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels, "annotations": prefixed(&json!({ "inject": "tiny-1b" })) },
                "spec": spec,
            },
        },
    }))?;
    scene
        .find("reader", "have two available replicas", |deployment: &Deployment| {
            let available = deployment.status.as_ref()?.available_replicas?;
            (available == 2).then_some(())
        })
        .await?;

    let pods = scene.api::<Pod>().list(&ListParams::default().labels("app=reader")).await;
    let pods = pods.expect("pods can be listed").items;
    assert_eq!(pods.len(), 2);
    for pod in pods {
        let name = pod.metadata.name.expect("a stored pod has a name");
        let log = finished_log(&scene, &name).await?;
        assert_eq!(parse_digests(&log), digests(&files), "{log}");
        assert!(!log.contains("CHANGED"), "{log}");
        for line in [
            "MODEL_TINY_1B_PATH=/models/tiny-1b".to_owned(),
            "MODEL_TINY_1B_VERSION=1.0".to_owned(),
            "MODEL_TINY_1B_SOURCE_TYPE=huggingFace".to_owned(),
            format!("MODEL_TINY_1B_REPO_ID={repository}"),
        ] {
            assert!(log.lines().any(|found| found == line), "{line} is not in\n{log}");
        }
        let labels = pod.metadata.labels.unwrap_or_default();
        assert_eq!(labels.get("models.main-currents.news/injected").map(String::as_str), Some("true"));
        let mounts = pod.spec.expect("a stored pod has a spec").containers.remove(0).volume_mounts.unwrap_or_default();
        let mount = mounts.iter().find(|mount| mount.name == "model-tiny-1b").expect("the model's mount");
        let content = status.content.as_ref().expect("content");
        assert_eq!(mount.sub_path.as_deref(), Some(content.path.as_str()), "only published files are in reach");
    }
    Ok(())
}

/// The log of a pod that goes on running, once the script is through.
async fn finished_log(scene: &Scene, pod: &str) -> Result<String, Error> {
    use futures::{AsyncBufReadExt, TryStreamExt};
    use kube::api::LogParams;
    let follow = LogParams { follow: true, ..LogParams::default() };
    let api = scene.api::<Pod>();
    let reading = async {
        let lines = api.log_stream(pod, &follow).await.expect("the log can be read").lines();
        let mut lines = std::pin::pin!(lines);
        let mut log = String::new();
        while let Some(line) = lines.try_next().await.expect("the log can be read") {
            if line == "done" {
                break;
            }
            log.push_str(&line);
            log.push('\n');
        }
        log
    };
    let patience = std::time::Duration::from_secs(crate::scene::PATIENCE);
    Ok(tokio::time::timeout(patience, reading).await.expect("the script ends"))
}

pub async fn the_annotations_of_the_specification(scene: Scene) -> Result<(), Error> {
    let (first, second) = (files("first"), files("second"));
    scene.hub.repository(&scene.repository("first"), &first)?;
    scene.hub.repository(&scene.repository("second"), &second)?;
    scene.model("first", &hugging_face(&scene.repository("first")))?;
    scene.model("second", &hugging_face(&scene.repository("second")))?;
    scene.ready("first").await?;
    scene.ready("second").await?;

    let script = format!(
        "({}) | sed 's/^/first /'; ({}) | sed 's/^/second /'; env | grep ^MODEL_ || echo no environment",
        digest_script("/weights/first"),
        digest_script("/weights/second"),
    );
    let mut reader = pod("reader", &json!({}), &script);
    // The specification's own prefix, a list as people write it, one directory for all.
    reader["metadata"]["annotations"] = json!({
        "models.example.com/inject": "first, second,",
        "models.example.com/mount-path": "/weights",
        "models.example.com/container": "main",
        "models.example.com/inject-env": "false",
    });
    let mut main = reader["spec"]["containers"][0].clone();
    main["name"] = json!("main");
    reader["spec"]["containers"][0]["command"] = json!(["sh", "-ec", "test ! -e /weights"]);
    reader["spec"]["containers"].as_array_mut().expect("a list").push(main);
    scene.admit(&reader).await?;
    scene
        .until("reader", "succeed", |pod: Option<&Pod>| match crate::scene::phase(pod) {
            Some("Succeeded") => Seen::Done(()),
            Some("Failed") => Seen::Never("it failed".to_owned()),
            _ => Seen::NotYet,
        })
        .await?;
    let log = scene.kubectl(&["logs", "reader", "-c", "main"])?;
    let of = |name: &str| log.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>().join("\n");
    assert_eq!(parse_digests(&of("first ")), digests(&first), "{log}");
    assert_eq!(parse_digests(&of("second ")), digests(&second), "{log}");
    assert!(log.contains("no environment"), "{log}");
    let label =
        scene.kubectl(&["get", "pod", "reader", "-o", r"jsonpath={.metadata.labels.models\.example\.com/injected}"])?;
    assert_eq!(label, "true");
    Ok(())
}

pub async fn a_writable_mount_on_request(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("writable"))?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.model("other", &hugging_face(&repository))?;
    scene.ready("tiny").await?;
    scene.ready("other").await?;
    // The mark that the webhook sets, forged, on a pod that asks for nothing and on one that only reads.
    for (name, annotations) in [("forged", json!({})), ("forged-reader", json!({ "inject": "tiny" }))] {
        let mut forged = pod(name, &annotations, "sleep 3600");
        forged["metadata"]["labels"] = json!({ "models.main-currents.news/writable": "true" });
        scene.admit(&forged).await?;
    }
    let annotations = json!({ "inject": "tiny", "read-only": "false" });
    // Published directories are 0555: only root, who is asked nothing, adds a file.
    let mut writer =
        pod("writer", &annotations, "echo note >/models/tiny/note; cat /models/tiny/note; echo done; sleep 3600");
    writer["spec"]["securityContext"] = json!({});
    scene.admit(&writer).await?;
    scene.find("writer", "run", |pod: &Pod| (crate::scene::phase(Some(pod))? == "Running").then_some(())).await?;
    assert_eq!(finished_log(&scene, "writer").await?, "note\n");

    let condition = scene.find("tiny", "say that it can be written to", writable).await?;
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "WritableMount"));
    assert!(condition.message.starts_with("pod writer may change the content; "), "{}", condition.message);
    scene.kubectl(&["wait", "--for=condition=Ready", "model/tiny", "--timeout=1s"])?;
    let other = scene.find("other", "exist", |model: &Model| Some(model.clone())).await?;
    assert_eq!(writable(&other), None, "the pod does not name it");

    scene.kubectl(&["delete", "pod", "writer"])?;
    scene.find("tiny", "be as before", |model: &Model| writable(model).is_none().then_some(())).await
}

fn writable(model: &Model) -> Option<Condition> {
    model.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == "ContentWritable").cloned()
}
