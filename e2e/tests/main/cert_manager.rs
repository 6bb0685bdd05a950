//! cert-manager itself makes the webhook's certificate: its controllers and its injector run beside the node, as an
//! administrator, and the rest is the chart and the API server.

use std::fs::File;
use std::process::{Child, Command};
use std::sync::atomic::Ordering;

use dev_cluster::CertManager;
use e2e::deploy::{NAMESPACE, rolled_out};
use e2e::{Cluster, Error};
use serde_json::{Value, json};

use crate::certificates::{Certificate, certificates, ends, load, until};
use crate::scene::{Scene, digests, files, hugging_face};

/// What the webhook serves, and who signs it: both of the chart.
const SERVED: &str = "model-webhook";
const AUTHORITY: &str = "model-webhook-authority";

pub async fn cert_manager_issues_renews_and_hands_back(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    let content = files("cert-manager");
    scene.hub.repository(&repository, &content)?;
    scene.model("tiny", &hugging_face(&repository))?;
    scene.ready("tiny").await?;
    let cluster = &scene.cluster;
    let cert_manager = dev_cluster::cert_manager()?;
    let definitions = cert_manager.definitions.to_string_lossy();
    cluster.run(&["apply", "--server-side", "-f", &definitions])?;
    cluster.run(&["wait", "--for=condition=Established", "-f", &definitions, "--timeout=60s"])?;
    let process = Process::start(&cert_manager, &scene);

    let (mut load, asked) = load(&cluster.client(), &scene.namespace);
    until(&mut load, "the controller's is served", || Ok(Certificate::of(cluster)?.is_the_controllers())).await?;
    let before = Certificate::of(cluster)?;

    beside(cluster, |cluster| {
        certificates(cluster, &json!({ "certManager": { "enabled": true } }), &[])?;
        [AUTHORITY, SERVED].into_iter().try_for_each(|name| ready(cluster, name))
    })
    .await?;
    until(&mut load, "cert-manager's is served", || all_serve(cluster)).await?;
    let first = Certificate::of(cluster)?;
    assert!(first.authority != before.authority && first.is_trusted());
    // Not only looked at by the webhook, but mounted, run and read.
    assert_eq!(scene.digests("tiny").await?, digests(&content));

    beside(cluster, |cluster| renew(cluster, SERVED)).await?;
    until(&mut load, "the renewed one is served", || all_serve(cluster)).await?;
    assert_eq!(Certificate::of(cluster)?, first, "the Secret and the authority stay");

    beside(cluster, |cluster| [AUTHORITY, SERVED].into_iter().try_for_each(|name| renew(cluster, name))).await?;
    until(&mut load, "one of the renewed authority is served", || all_serve(cluster)).await?;
    let renewed = Certificate::of(cluster)?;
    assert_ne!(renewed.authority, first.authority);
    assert!(renewed.is_trusted());

    let before = issued(cluster, SERVED)?;
    cluster.run(&["-n", NAMESPACE, "delete", "secret", "model-webhook-tls"])?;
    until(&mut load, "a lost Secret is made again", || Ok(issued(cluster, SERVED)? > before)).await?;
    until(&mut load, "the new Secret is served", || all_serve(cluster)).await?;

    // And back, so that nothing here needs cert-manager.
    beside(cluster, |cluster| certificates(cluster, &json!({ "certManager": { "enabled": false } }), &[])).await?;
    until(&mut load, "the controller's is served", || Ok(Certificate::of(cluster)?.is_the_controllers())).await?;
    rolled_out(cluster, "model-webhook")?;
    println!("cert_manager: {} pods were asked for, none was refused", asked.load(Ordering::Relaxed));
    assert!(load.try_join_next().is_none(), "a pod was refused");
    drop(process);
    cluster.run(&["delete", "-f", &definitions]).map(drop)
}

/// Waits for programs without holding up the load.
async fn beside(
    cluster: &Cluster,
    act: impl FnOnce(&Cluster) -> Result<(), Error> + Send + 'static,
) -> Result<(), Error> {
    let cluster = cluster.clone();
    tokio::task::spawn_blocking(move || act(&cluster)).await.expect("it does not panic")
}

/// Ends with the scenario, and with the tests.
struct Process(Child);

impl Process {
    fn start(cert_manager: &CertManager, scene: &Scene) -> Self {
        let log = scene.node.dir().join("logs/cert-manager.log");
        let log = File::create(&log).expect("the cluster's directory can be written to");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(&cert_manager.program).arg(scene.node.kubeconfig());
        command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
        Self(command.spawn().expect("setpriv is there: util-linux"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until cert-manager says that a Certificate is issued.
fn ready(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let certificate = format!("certificates.cert-manager.io/{name}");
    cluster.run(&["-n", NAMESPACE, "wait", "--for=condition=Ready", &certificate, "--timeout=120s"]).map(drop)
}

fn certificate(cluster: &Cluster, name: &str) -> Result<Value, Error> {
    let found = ["-n", NAMESPACE, "get", "certificates.cert-manager.io", name, "-o", "json"];
    Ok(serde_json::from_str(&cluster.run(&found)?).expect("kubectl prints JSON"))
}

/// How often a Certificate was issued.
fn issued(cluster: &Cluster, name: &str) -> Result<i64, Error> {
    Ok(certificate(cluster, name)?["status"]["revision"].as_i64().unwrap_or_default())
}

/// Has a Certificate issued anew, as `cmctl renew` does, and waits for it.
fn renew(cluster: &Cluster, name: &str) -> Result<(), Error> {
    let before = issued(cluster, name)?;
    let condition = json!({
        "type": "Issuing", "status": "True", "reason": "ManuallyTriggered", "message": "renewed by a test",
        "lastTransitionTime": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    let patch = json!([{ "op": "add", "path": "/status/conditions/-", "value": condition }]).to_string();
    let certificate = format!("certificates.cert-manager.io/{name}");
    let patch = ["-n", NAMESPACE, "patch", &certificate, "--subresource=status", "--type=json", "-p", &patch];
    cluster.run(&patch)?;
    let next = format!("--for=jsonpath={{.status.revision}}={}", before + 1);
    cluster.run(&["-n", NAMESPACE, "wait", &next, &certificate, "--timeout=120s"]).map(drop)
}

/// Whether every replica serves what cert-manager issued last.
fn all_serve(cluster: &Cluster) -> Result<bool, Error> {
    let certificate = certificate(cluster, SERVED)?;
    let end: jiff::Timestamp = certificate["status"]["notAfter"].as_str().unwrap_or_default().parse().expect("a time");
    let ends = ends(cluster)?;
    Ok(!ends.is_empty() && ends.into_iter().all(|served| served == end.as_second()))
}
