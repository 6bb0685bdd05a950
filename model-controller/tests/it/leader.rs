//! Two controllers, as two replicas of a Deployment: real processes that are stopped and killed.

use std::path::{Path, PathBuf};
use std::time::Instant;

use dev_cluster::ControlPlane;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;
use kube::{Client, ResourceExt};
use model_core::api::Phase;

use crate::plane::{Scene, client, install, until};
use crate::replica::Replica;

/// Where the operator runs, and its lease lies.
const NAMESPACE: &str = "model-system";
const FLAGS: [&str; 2] = ["--lease-namespace", NAMESPACE];

/// A kubeconfig of the controller's service account: with the rights that `config/` gives it and no others.
fn account(plane: &ControlPlane) -> PathBuf {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
    let applied = plane
        .kubectl()
        .arg("apply")
        .arg("-f")
        .arg(config.join("manager/namespace.yaml"))
        .arg("-f")
        .arg(config.join("rbac/controller.yaml"))
        .status();
    assert!(applied.is_ok_and(|status| status.success()), "the manifests are applied");
    let mut kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there");
    let user = kubeconfig.auth_infos[0].auth_info.as_mut().expect("a user");
    user.impersonate = Some(format!("system:serviceaccount:{NAMESPACE}:model-controller"));
    let path = plane.kubeconfig().with_file_name("controller.kubeconfig");
    std::fs::write(&path, serde_json::to_string(&kubeconfig).expect("JSON")).expect("it can be written");
    path
}

/// The lease's holder and how often it went from one to another.
async fn lease(client: &Client) -> (String, i32) {
    let leases: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let spec = leases.get_opt("model-controller").await.expect("leases can be read").and_then(|lease| lease.spec);
    let spec = spec.unwrap_or_default();
    (spec.holder_identity.unwrap_or_default(), spec.lease_transitions.unwrap_or(0))
}

/// Waits until somebody else than `not` leads, and says who.
async fn leader(client: &Client, not: &str) -> String {
    let begun = Instant::now();
    let holder = until("another replica leads", async || {
        let (holder, _) = lease(client).await;
        (!holder.is_empty() && holder != not).then_some(holder)
    });
    let holder = holder.await;
    println!("a new leader after {:.1} s", begun.elapsed().as_secs_f32());
    holder
}

/// The Model has its first Job, in its first attempt, and says so once.
async fn one_job(scene: &Scene, uid: Option<&str>) -> Job {
    scene.phase(Phase::Downloading).await;
    let jobs = scene.jobs.list(&ListParams::default()).await.expect("Jobs can be listed").items;
    assert_eq!(jobs.len(), 1);
    assert!(uid.is_none() || jobs[0].uid().as_deref() == uid, "another Job was made");
    assert_eq!(scene.status().await.download.expect("a download").attempt, 1);
    // An Event follows the status that it tells of.
    let events = until("an Event tells", async || Some(scene.events().await).filter(|events| !events.is_empty()));
    assert_eq!(events.await, ["Downloading"]);
    jobs[0].clone()
}

/// The download is under way for as long as somebody looks: a Job that has no pod for some time is told of.
async fn goes_on(scene: &Scene) {
    scene.takes_pods().await;
    scene.runs("llama", "a-node").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_replicas_acts_and_the_other_takes_over() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there");
    let client = client(kubeconfig).await;
    install(&client).await;
    let account = account(&plane);
    let scene = async |name: &str| Scene::of(client.clone(), name).await;

    let mut first = Replica::start(&account, &FLAGS);
    let first_leads = leader(&client, "").await;
    let mut second = Replica::start(&account, &FLAGS);
    // A replica that waits is ready as well: a rollout waits for it.
    first.is_ready().await;
    second.is_ready().await;
    let before = scene("before").await;
    before.apply("https://example.com/a").await;
    let job = one_job(&before, None).await.uid();
    for (replica, leads) in [(&first, 1.0), (&second, 0.0)] {
        assert_eq!(replica.metric("model_controller_leader").await, Some(leads));
        until("each replica sees the Model", async || {
            let downloading = replica.metric("model_controller_models{phase=\"Downloading\"}").await?;
            let running = replica.metric("model_controller_downloads_running").await?;
            ((downloading, running) == (1.0, 1.0)).then_some(())
        })
        .await;
    }
    assert_eq!(second.metric("model_controller_reconciles_total{result=\"ok\"}").await, Some(0.0));
    assert!(first.metric("model_controller_reconciles_total{result=\"ok\"}").await > Some(0.0));

    // The leader stands still. The other one leads, and takes up what it has only watched so far.
    first.signal("-STOP");
    let meanwhile = scene("meanwhile").await;
    meanwhile.apply("https://example.com/a").await;
    let second_leads = leader(&client, &first_leads).await;
    one_job(&meanwhile, None).await;
    goes_on(&meanwhile).await;
    before.job_ends("Complete").await;
    before.phase(Phase::Ready).await;

    // The old leader wakes up, and ends before it writes anything.
    first.signal("-CONT");
    assert_eq!(first.ended().await.code(), Some(1));
    assert_eq!(lease(&client).await, (second_leads.clone(), 1));
    assert_eq!(before.jobs.get("model-download-llama").await.expect("the Job").uid(), job);
    one_job(&meanwhile, None).await;

    // A leader that is killed releases nothing: its lease has to run out.
    let mut third = Replica::start(&account, &FLAGS);
    third.is_ready().await;
    let underway = scene("underway").await;
    underway.apply("https://example.com/a").await;
    let job = one_job(&underway, None).await.uid();
    goes_on(&underway).await;
    second.signal("-KILL");
    second.ended().await;
    let after = scene("after").await;
    after.apply("https://example.com/a").await;
    let third_leads = leader(&client, &second_leads).await;
    one_job(&after, None).await;
    one_job(&underway, job.as_deref()).await;
    underway.job_ends("Failed").await;
    underway.phase(Phase::Failed).await;
    // It is counted once the status is written.
    let failures = until("the failure is counted", async || {
        let series = "model_controller_download_failures_total{reason=\"DownloadFailed\"}";
        third.metric(series).await.filter(|count| *count > 0.0)
    });
    assert_eq!(Some(failures.await), Some(1.0));

    // One that is told to go releases it.
    let fourth = Replica::start(&account, &FLAGS);
    fourth.is_ready().await;
    third.signal("-TERM");
    assert!(third.ended().await.success());
    leader(&client, &third_leads).await;
    let last = scene("last").await;
    last.apply("https://example.com/a").await;
    one_job(&last, None).await;
    assert_eq!(lease(&client).await.1, 3);
}

/// Attempts to create a lease where there is no namespace for it, as the API server counts them.
async fn refused_leases(client: &Client) -> f64 {
    let request = axum::http::Request::get("/metrics").body(Vec::new()).expect("a request");
    let metrics = client.request_text(request).await.expect("the API server serves its metrics");
    let refused =
        |line: &&str| ["code=\"404\"", "resource=\"leases\"", "verb=\"POST\""].iter().all(|label| line.contains(label));
    let counts = metrics.lines().filter(|line| line.starts_with("apiserver_request_total{")).filter(refused);
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_waits_for_the_namespace_of_its_lease_without_haste() {
    let plane = ControlPlane::start().expect("a control plane starts");
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there");
    let client = client(kubeconfig).await;
    install(&client).await;
    let replica = Replica::start(plane.kubeconfig(), &["--lease-namespace", "later"]);
    let attempts = until("it tries again", async || {
        let attempts = refused_leases(&client).await;
        (attempts >= 2.0).then_some(attempts)
    });
    let attempts = attempts.await;
    assert!(attempts < 10.0, "{attempts} attempts between two looks of this test");
    Scene::of(client.clone(), "later").await;
    until("it leads", async || (replica.metric("model_controller_leader").await == Some(1.0)).then_some(())).await;
}
