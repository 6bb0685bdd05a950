//! The webhook's certificate goes from one maker to another and back, by the real Helm and at the kubelet's own pace, and no
//! pod is refused meanwhile. Nothing else may run beside this.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::deploy::{self, NAMESPACE, RELEASE};
use e2e::{Cluster, Error};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use model_core::labels::RENEW_AFTER;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::WORKSPACE;
use crate::askers::has_model;
use crate::history::rounds;
use crate::scene::{Scene, digests, files, hugging_face, pod};

/// The kubelet brings a changed Secret within about a minute and a half, and each change of makers is one or two of them.
const WITHIN: Duration = Duration::from_mins(4);
/// Of cert-manager these two are all that the chart names.
const CERT_MANAGER: [(&str, &str); 2] = [("Certificate", "certificates"), ("Issuer", "issuers")];

/// What the replicas are given, and what the API server trusts them by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    uid: String,
    pub authority: String,
    renew_after: Option<String>,
    /// Of both registrations.
    trusted: Vec<String>,
}

impl Certificate {
    pub fn of(cluster: &Cluster) -> Result<Self, Error> {
        let secret = cluster.run(&["-n", NAMESPACE, "get", "secret", "model-webhook-tls", "-o", "json"])?;
        let secret: Value = serde_json::from_str(&secret).expect("kubectl prints JSON");
        let trusted = r"-o=jsonpath={.webhooks[*].clientConfig.caBundle}";
        let registrations = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];
        let trusted = registrations.map(|kind| cluster.run(&["get", kind, "model-webhook", trusted]));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            uid: text(&secret["metadata"]["uid"]).unwrap_or_default(),
            authority: text(&secret["data"]["ca.crt"]).unwrap_or_default(),
            renew_after: text(&secret["metadata"]["annotations"][RENEW_AFTER]),
            trusted: trusted.into_iter().collect::<Result<_, _>>()?,
        })
    }

    /// Whether what the replicas are given is trusted, maybe beside what they were given before.
    pub fn is_trusted(&self) -> bool {
        let text = |base64: &String| {
            let bytes = serde_json::from_value(json!(base64)).map(|ByteString(bytes)| bytes);
            String::from_utf8(bytes.expect("base64")).expect("PEM is text")
        };
        let authority = text(&self.authority);
        !authority.is_empty() && self.trusted.iter().all(|bundle| text(bundle).contains(authority.trim()))
    }

    /// Made by the controller, and served by every replica: the authority before it is trusted no more.
    pub fn is_the_controllers(&self) -> bool {
        let renewed = self.renew_after.as_deref().is_some_and(|time| time != "never");
        renewed && self.trusted.iter().all(|bundle| *bundle == self.authority)
    }
}

/// A machine that stands still for longer is to blame for a timeout, and no certificate.
const STALL: Duration = Duration::from_secs(2);

/// When this machine last stood still, which shows in the lateness of a thread that does nothing else.
fn last_stall() -> Arc<Mutex<Option<Instant>>> {
    let last = Arc::new(Mutex::new(None));
    let noted = Arc::downgrade(&last);
    std::thread::spawn(move || {
        loop {
            let before = Instant::now();
            std::thread::sleep(Duration::from_millis(100));
            let Some(last) = noted.upgrade() else { return };
            if before.elapsed() > STALL {
                *last.lock().expect("nobody panicked") = Some(Instant::now());
            }
        }
    });
    last
}

/// Whether the webhook, or the API server, was not heard in time because the machine stood still.
async fn is_of_a_stall(refusal: &str, last: &Mutex<Option<Instant>>) -> bool {
    // Whoever is told of the timeout may wake before the stall is noted.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let recent = last.lock().expect("nobody panicked").is_some_and(|end| end.elapsed() < Duration::from_secs(6));
    let timeout = ["deadline exceeded", "i/o timeout"].iter().any(|words| refusal.contains(words));
    recent && timeout && !refusal.contains("x509")
}

/// Pods that are asked for all the time, one with a model and one without. The API server asks the webhook about each and
/// stores none (a dry run), so that no node is filled. Ends with the first that is refused, or let in without its volume, or
/// given one that it did not ask for. Only where the machine stood still, a timeout is told and the pod asked for again.
pub fn load(client: &Client, namespace: &str) -> (JoinSet<String>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut load = JoinSet::new();
    let stalled = last_stall();
    for annotations in [json!({ "inject": "tiny" }), json!({})] {
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let pod: Pod = serde_json::from_value(pod("asks", &annotations, "true")).expect("a pod");
        let (asked, stalled) = (asked.clone(), stalled.clone());
        load.spawn(async move {
            let params = PostParams { dry_run: true, ..PostParams::default() };
            loop {
                match pods.create(&params, &pod).await {
                    Ok(let_in) if has_model(&let_in) == annotations["inject"].is_string() => {
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(let_in) => return format!("a pod with {annotations} was let in as {:?}", let_in.spec),
                    Err(error) if is_of_a_stall(&error.to_string(), &stalled).await => {
                        eprintln!("the machine stood still, so a pod is asked for again: {error}");
                    }
                    Err(error) => return format!("a pod with {annotations} was refused: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    (load, asked)
}

/// Has the controller renew its certificate before it is time, and waits until every replica serves the new one and
/// nothing else is trusted.
async fn renewed(load: &mut JoinSet<String>, cluster: &Cluster, before: &Certificate) -> Result<Certificate, Error> {
    let due = format!("{RENEW_AFTER}=2026-01-01T00:00:00Z");
    let kubectl = |arguments: &[&str]| cluster.run(&[&["-n", NAMESPACE], arguments].concat());
    kubectl(&["annotate", "secret", "model-webhook-tls", "--overwrite", &due])?;
    let mut looks = 0;
    until(load, "the certificate is renewed", || {
        // The kubelet brings a changed Secret to a pod when it looks at the pod, which is at once where the pod changes.
        looks += 1;
        let look = format!("looks={looks}");
        kubectl(&["annotate", "pods", "-l", "app.kubernetes.io/name=model-webhook", "--overwrite", &look])?;
        let now = Certificate::of(cluster)?;
        Ok(now.authority != before.authority && now.is_the_controllers())
    })
    .await?;
    Certificate::of(cluster)
}

/// Waits until it is so, and fails at once where a pod is refused before.
pub async fn until(
    load: &mut JoinSet<String>,
    what: &str,
    mut so: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(refused) = load.try_join_next() {
            panic!("until {what}: {refused:?}");
        }
        if so()? {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "still waiting until {what}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Upgrades the release to these values of `certificates`.
pub fn certificates(cluster: &Cluster, values: &Value, flags: &[&str]) -> Result<(), Error> {
    let chart = Path::new(WORKSPACE).join("charts/model-operator");
    let values = format!("certificates={values}");
    let chart = chart.to_string_lossy();
    let upgrade = ["upgrade", RELEASE, &chart, "-n", NAMESPACE, "--reset-then-reuse-values", "--set-json", &values];
    cluster.helm(&[&upgrade[..], flags].concat())?;
    ["model-controller", "model-webhook"].into_iter().try_for_each(|name| deploy::rolled_out(cluster, name))
}

/// When what each replica serves ends, in seconds since 1970.
pub fn ends(cluster: &Cluster) -> Result<Vec<i64>, Error> {
    let webhook = "-l=app.kubernetes.io/name=model-webhook";
    let pods = cluster.run(&["-n", NAMESPACE, "get", "pods", webhook, "-o=jsonpath={.items[*].metadata.name}"])?;
    let mut ends = Vec::new();
    for pod in pods.split_whitespace() {
        let metrics =
            cluster.run(&["get", "--raw", &format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics")])?;
        let end = metrics
            .lines()
            .find_map(|line| line.strip_prefix("model_webhook_certificate_expiry_timestamp_seconds ")?.parse().ok());
        ends.push(end.expect("each replica tells its certificate's end"));
    }
    Ok(ends)
}

/// Whether every replica serves a certificate that ends in years.
fn all_serve_helms(cluster: &Cluster) -> Result<bool, Error> {
    let in_a_year = jiff::Timestamp::now().as_second() + 365 * 24 * 60 * 60;
    let ends = ends(cluster)?;
    Ok(!ends.is_empty() && ends.into_iter().all(|end| end > in_a_year))
}

/// The kinds that cert-manager's own installation brings, here without anybody who acts on them.
fn cert_manager_kinds() -> Value {
    let kind = |(kind, plural): (&str, &str)| {
        let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("{plural}.cert-manager.io") },
            "spec": {
                "group": "cert-manager.io",
                "scope": "Namespaced",
                "names": { "kind": kind, "plural": plural },
                "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema } }],
            },
        })
    };
    json!({ "apiVersion": "v1", "kind": "List", "items": CERT_MANAGER.map(kind) })
}

pub async fn the_certificate_goes_from_maker_to_maker(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    let content = files("certificates");
    scene.hub.repository(&repository, &content)?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.ready("tiny").await?;
    let cluster = &scene.cluster;
    let (mut load, asked) = load(&cluster.client(), &scene.namespace);
    until(&mut load, "the controller's is served", || Ok(Certificate::of(cluster)?.is_the_controllers())).await?;
    let mut first = Certificate::of(cluster)?;
    for _ in 0..rounds() {
        first = renewed(&mut load, cluster, &first).await?;
    }

    // As docs/install.md says. What the replicas serve for a minute yet stays trusted beside the new one.
    certificates(cluster, &json!({ "selfManaged": false }), &["--take-ownership", "--force-conflicts"])?;
    let helms = Certificate::of(cluster)?;
    assert_eq!((&helms.uid, helms.renew_after.as_deref()), (&first.uid, Some("never")));
    assert_ne!(helms.authority, first.authority);
    until(&mut load, "Helm's is served", || all_serve_helms(cluster)).await?;

    certificates(cluster, &json!({ "selfManaged": true }), &[])?;
    until(&mut load, "the controller's is served again", || Ok(Certificate::of(cluster)?.is_the_controllers())).await?;
    let again = Certificate::of(cluster)?;
    assert_eq!(again.uid, first.uid, "the Secret was never away");
    assert!(again.authority != helms.authority && again.authority != first.authority);

    // cert-manager takes its time. Until it has issued one, all stays as it is.
    let kinds = cluster.feed(&["apply", "-f", "-"], &cert_manager_kinds().to_string())?;
    assert!(kinds.ok, "{}", kinds.text);
    for (_, plural) in CERT_MANAGER {
        cluster.run(&[
            "wait",
            "--for=condition=Established",
            &format!("crd/{plural}.cert-manager.io"),
            "--timeout=60s",
        ])?;
    }
    certificates(cluster, &json!({ "certManager": { "enabled": true } }), &[])?;
    let issued_into = ["get", "certificates.cert-manager.io/model-webhook", "-o=jsonpath={.spec.secretName}"];
    assert_eq!(cluster.run(&[&["-n", NAMESPACE], &issued_into[..]].concat())?, "model-webhook-tls");
    assert_eq!(Certificate::of(cluster)?, again);

    // And back, so that later scenarios find the operator as it was. Each upgrade after it is an ordinary one.
    certificates(cluster, &json!({ "certManager": { "enabled": false } }), &[])?;
    certificates(cluster, &json!({ "selfManaged": true }), &[])?;
    until(&mut load, "all is as it was", || Ok(Certificate::of(cluster)? == again)).await?;
    let definitions = CERT_MANAGER.map(|(_, plural)| format!("crd/{plural}.cert-manager.io"));
    cluster.run(&["delete", &definitions[0], &definitions[1]])?;
    println!("{} pods were asked for while the certificate changed", asked.load(Ordering::Relaxed));
    assert!(load.try_join_next().is_none(), "a pod was refused");
    // Not only let in by the API server, but mounted, run and read.
    assert_eq!(scene.digests("tiny").await?, digests(&content));
    Ok(())
}
