//! The chart, by the real Helm: what an administrator does to the operator, and what pods and Models see of it.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::deploy::{self, NAMESPACE, RELEASE};
use e2e::wait::Seen;
use e2e::{Cluster, Error};
use k8s_openapi::api::core::v1::Pod;
use model_core::api::Model;
use model_core::labels::GATE;
use serde_json::{Value, json};

use crate::WORKSPACE;
use crate::scene::{PATIENCE, Scene, digest_script, digests, files, hugging_face, parse_digests, phase, pod};

/// Nothing else may run beside it: the operator goes away.
pub async fn the_chart_is_upgraded_rolled_back_uninstalled_and_installed_again(scene: Scene) -> Result<(), Error> {
    let life = life(&scene).await;
    // What comes after needs the operator as it was.
    install(&scene.cluster)?;
    life
}

fn install(cluster: &Cluster) -> Result<(), Error> {
    deploy::operator(cluster, Path::new(WORKSPACE), &deploy::values(e2e::hub::URL))
}

async fn life(scene: &Scene) -> Result<(), Error> {
    let (tiny, late) = (files("chart"), files("late"));
    scene.hub.repository(&scene.repository("tiny"), &tiny)?;
    // Until the operator is back.
    scene.held_back(&scene.repository("late"), &late).await?;
    scene.model("tiny", &hugging_face(&scene.repository("tiny")))?;
    let content = scene.ready("tiny").await?.content.expect("content").id;
    scene.admit(&pod("mounts", &json!({ "inject": "tiny" }), "sleep 3600")).await?;
    scene.until("mounts", "run", running).await?;
    scene.model("late", &hugging_face(&scene.repository("late")))?;
    let certificate = certificate(scene)?;

    replaces_the_webhook(scene, || upgrade(&scene.cluster, "webhook.whenNotReady=wait"))?;
    assert_eq!(self::certificate(scene)?, certificate, "an upgrade makes no new certificate");
    for name in ["waits", "let-go-by-hand"] {
        scene.admit_waiting(&pod(name, &json!({ "inject": "late" }), &digest_script("/models/late"))).await?;
        scene.until(name, "wait", gated).await?;
    }

    replaces_the_webhook(scene, || {
        scene.cluster.helm(&["rollback", RELEASE, "--namespace", NAMESPACE])?;
        deploy::rolled_out(&scene.cluster, "model-webhook")
    })?;
    assert_eq!(self::certificate(scene)?, certificate, "neither does a rollback");
    let answer = scene.try_apply(&pod("denied", &json!({ "inject": "late" }), "true"))?;
    assert!(!answer.ok && answer.text.contains("model not ready"), "{}", answer.text);

    scene.cluster.helm(&["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"])?;
    without_the_operator(scene).await?;

    install(&scene.cluster)?;
    // The certificate is there already, so the webhook answers before the API server is told to trust it once more.
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    while trusted(scene)?.is_empty() {
        assert!(Instant::now() < deadline, "the API server does not trust the webhook");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    scene.let_go(&scene.repository("late")).await?;
    // The controller has looked at every Model again once the one that was still downloading is Ready.
    scene.ready("late").await?;
    let status = scene.ready("tiny").await?;
    assert_eq!(status.content.expect("content").id, content);
    assert_eq!(scene.digests("tiny").await?, digests(&tiny));
    assert_eq!(parse_digests(&scene.log("waits").await?), digests(&late), "the pod that waited all the time");
    Ok(())
}

/// As docs/install.md says: the chart's defaults, what was set before, and this.
fn upgrade(cluster: &Cluster, value: &str) -> Result<(), Error> {
    let chart = Path::new(WORKSPACE).join("charts/model-operator");
    let chart = chart.to_string_lossy();
    let upgrade = ["upgrade", RELEASE, &chart, "--namespace", NAMESPACE, "--reset-then-reuse-values", "--set", value];
    cluster.helm(&upgrade)?;
    ["model-controller", "model-webhook"].into_iter().try_for_each(|name| deploy::rolled_out(cluster, name))
}

/// Makes a change that replaces the webhook's pods, and waits until those before it have ended: they answer until then.
fn replaces_the_webhook(scene: &Scene, change: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let of_webhook = "-l=app.kubernetes.io/name=model-webhook";
    let before = scene.cluster.run(&["-n", NAMESPACE, "get", "pods", of_webhook, "-o", "name"])?;
    change()?;
    let before: Vec<_> = before.lines().collect();
    let gone = ["-n", NAMESPACE, "wait", "--for=delete", "--timeout=60s"];
    scene.cluster.run(&[&gone[..], &before].concat()).map(drop)
}

/// Nothing blocks pods, what ran runs on, and no Model is lost.
async fn without_the_operator(scene: &Scene) -> Result<(), Error> {
    let kinds = "deployments,services,serviceaccounts,secrets,poddisruptionbudgets,roles,rolebindings,clusterroles,\
                 clusterrolebindings,mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                 validatingadmissionpolicies,validatingadmissionpolicybindings";
    let ours = format!("--selector=app.kubernetes.io/instance={RELEASE}");
    let left = scene.cluster.run(&["get", kinds, "--all-namespaces", &ours, "-o", "name"])?;
    assert_eq!(left, "", "left behind");

    // Asked for or not, there is nobody to mount a model.
    for (name, annotations) in [("plain", json!({})), ("asks", json!({ "inject": "tiny" }))] {
        scene.apply(&pod(name, &annotations, "ls / | grep -c models || true"))?;
        assert_eq!(scene.log(name).await?, "0\n", "{name}");
    }
    scene.until("mounts", "run on", running).await?;
    scene.find("tiny", "stay", |_: &Model| Some(())).await?;
    scene.until("waits", "go on waiting", gated).await?;

    // What docs/install.md does by jq, which is not on the test machine, for a pod that is to start without its model.
    let mut pod: Value = serde_json::from_str(&scene.kubectl(&["get", "pod", "let-go-by-hand", "-o", "json"])?)
        .expect("kubectl prints JSON");
    let gates_of_pod = pod["spec"]["schedulingGates"].as_array_mut().expect("it has gates");
    gates_of_pod.retain(|gate| gate["name"] != GATE);
    let answer = scene.cluster.feed(&["-n", &scene.namespace, "replace", "-f", "-"], &pod.to_string())?;
    assert!(answer.ok, "{}", answer.text);
    let leaves = |pod: Option<&Pod>| if gates(pod).is_empty() { Seen::Done(()) } else { Seen::NotYet };
    scene.until("let-go-by-hand", "lose its gate", leaves).await?;
    scene.kubectl(&["delete", "pod", "let-go-by-hand"]).map(drop)
}

/// The webhook's certificate, and what the API server trusts.
fn certificate(scene: &Scene) -> Result<Value, Error> {
    let secret = ["-n", NAMESPACE, "get", "secret", "model-webhook-tls", "-o", "jsonpath={.data}"];
    let trusted = trusted(scene)?;
    let secret: Value = serde_json::from_str(&scene.cluster.run(&secret)?).expect("kubectl prints JSON");
    assert!(!trusted.is_empty() && secret["ca.crt"] == trusted, "the API server trusts the certificate that is served");
    Ok(secret)
}

fn trusted(scene: &Scene) -> Result<String, Error> {
    let trusted = r"-o=jsonpath={.webhooks[*].clientConfig.caBundle}";
    scene.cluster.run(&["get", "mutatingwebhookconfiguration", "model-webhook", trusted])
}

fn running(pod: Option<&Pod>) -> Seen<()> {
    match phase(pod) {
        Some("Running") => Seen::Done(()),
        Some("Failed" | "Succeeded") => Seen::Never("it ended".to_owned()),
        _ => Seen::NotYet,
    }
}

fn gated(pod: Option<&Pod>) -> Seen<()> {
    if gates(pod) == [GATE] { Seen::Done(()) } else { Seen::NotYet }
}

fn gates(pod: Option<&Pod>) -> Vec<&str> {
    let gates =
        pod.and_then(|pod| pod.spec.as_ref()).into_iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
    gates.map(|gate| gate.name.as_str()).collect()
}
