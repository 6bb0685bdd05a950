//! Everybody is killed again and again, as when a machine loses power, and in the end nobody can tell.
//!
//! `MODEL_E2E_KILL_ROUNDS` says how many kills, `MODEL_E2E_KILL_SEED` which ones.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;

use e2e::deploy::{NAMESPACE, rolled_out, set_controller_env};
use e2e::hub::Files;
use e2e::{Cluster, Error, report};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use model_core::api::{Content, Model, Phase};
use model_core::labels::{GROUP, REFRESH};
use serde_json::json;

use crate::askers::{Asked, ask, has_model};
use crate::gates::{deployment, read};
use crate::killer::Killer;
use crate::prunes::{eleven_minutes_pass, revisions};
use crate::scene::{Scene, digest_script, digests, files, hugging_face, parse_digests, pod};

/// Slow enough that a download lasts longer than a kill is waited with.
const BYTES_PER_SECOND: u64 = 500_000;
/// So many Models live side by side, each in a namespace of its own, so that there is nearly always a download.
const SIDE_BY_SIDE: usize = 2;
/// A loader that dies loses what was on its way and was not written yet. In percent of the content.
const LOST_BY_A_KILL: usize = 10;

pub async fn everybody_is_killed_again_and_again(scene: Scene) -> Result<(), Error> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("MODEL_E2E_KILL_SEED").unwrap_or(1);
    let rounds = number("MODEL_E2E_KILL_ROUNDS").and_then(|rounds| usize::try_from(rounds).ok()).unwrap_or(12);
    println!("MODEL_E2E_KILL_SEED={seed} MODEL_E2E_KILL_ROUNDS={rounds}");
    // One that waits for no lease, so that each kill falls into work. That another replica takes over shows elsewhere.
    replicas(&scene.cluster, "1", "MODEL_CONTROLLER_LEADER_ELECTION=false")?;
    let outcome = catch_unwind(AssertUnwindSafe(|| play(&scene, seed, rounds)));
    // Whatever came of it: the scenarios after this one need everybody.
    replicas(&scene.cluster, "2", "MODEL_CONTROLLER_LEADER_ELECTION-")?;
    rolled_out(&scene.cluster, "model-webhook")?;
    scene.cluster.run(&["wait", "nodes", "--all", "--for=condition=Ready", "--timeout=60s"])?;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

fn replicas(cluster: &Cluster, count: &str, variable: &str) -> Result<(), Error> {
    let scale = format!("--replicas={count}");
    cluster.run(&["-n", NAMESPACE, "scale", "deployment/model-controller", &scale])?;
    rolled_out(cluster, "model-controller")?;
    set_controller_env(cluster, &[variable])
}

/// Lives are lived side by side until everybody was killed who was due.
fn play(scene: &Scene, seed: u64, rounds: usize) -> Result<(), Error> {
    let killer = Killer::new(&scene.cluster, &scene.node);
    let places: Vec<_> = (1..=SIDE_BY_SIDE).map(|place| format!("{}-{place}", scene.namespace)).collect();
    for place in &places {
        scene.cluster.run(&["create", "namespace", place])?;
    }
    let (outcomes, asked) = thread::scope(|scope| {
        let kills = scope.spawn(|| killer.kill(seed, rounds));
        let asking = scope.spawn(|| {
            apart(scene, &scene.namespace, async |scene| Ok(ask(&scene.cluster, &places, || killer.is_over()).await))
        });
        let living: Vec<_> = places.iter().map(|place| scope.spawn(|| lives(scene, place, &killer))).collect();
        let outcomes: Vec<_> = living.into_iter().map(thread::ScopedJoinHandle::join).collect();
        killer.stop();
        kills.join().unwrap_or_else(|panic| resume_unwind(panic));
        (outcomes, asking.join().unwrap_or_else(|panic| resume_unwind(panic)))
    });
    let asked = asked?;
    let mut sum = Lives::default();
    for outcome in outcomes {
        let lives = outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
        sum = Lives { number: sum.number + lives.number, most_sent: sum.most_sent.max(lives.most_sent) };
    }
    let Asked { injected, refused, plain } = asked;
    println!(
        "killed: seed {seed}, {killer}, in {} lives; at most {} % of a content's bytes were sent; {injected} times a pod \
         that asked was injected, {refused} times refused",
        sum.number, sum.most_sent
    );
    assert_eq!(killer.number(), rounds);
    assert!(plain.is_empty(), "let in without the model: {plain:?}");
    assert!(injected > 0, "nobody was let in");
    for place in &places {
        scene.cluster.run(&["delete", "namespace", place, "--wait=false"])?;
    }
    Ok(())
}

/// Does something on this thread alone, in a namespace.
fn apart<T>(scene: &Scene, namespace: &str, act: impl AsyncFnOnce(Scene) -> Result<T, Error>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        let cluster = scene.cluster.again().await?;
        act(Scene { cluster, namespace: namespace.to_owned(), unsteady: true, ..scene.clone() }).await
    })
}

/// What was lived in one place.
#[derive(Clone, Copy, Debug, Default)]
struct Lives {
    number: usize,
    /// What was sent of a content, in percent of its size.
    most_sent: usize,
}

/// One life after the other in one place. One that fails ends it for all.
fn lives(scene: &Scene, place: &str, killer: &Killer) -> Result<Lives, Error> {
    let live = || {
        apart(scene, place, async |scene| {
            let mut lives = Lives::default();
            while lives.number == 0 || !killer.is_done() {
                lives.number += 1;
                lives.most_sent = lives.most_sent.max(live(&scene, lives.number, killer).await?);
            }
            Ok(lives)
        })
    };
    let outcome = catch_unwind(AssertUnwindSafe(live));
    if !matches!(outcome, Ok(Ok(_))) {
        killer.stop();
    }
    outcome.unwrap_or_else(|panic| {
        eprintln!("{}", report::namespace(&scene.cluster, place));
        resume_unwind(panic)
    })
}

/// Everything that happens to a Model, from the first download to its deletion. Gives how much was sent of a content at
/// the most, in percent.
async fn live(scene: &Scene, life: usize, killer: &Killer) -> Result<usize, Error> {
    let repository = |name: &str| scene.repository(&format!("{name}-{life:03}"));
    let (first, second) = (files(&repository("first")), files(&repository("second")));
    for (name, content) in [("first", &first), ("second", &second)] {
        scene.slow_repository(&repository(name), content, BYTES_PER_SECOND).await?;
    }
    // Its containers tell what they find when they start: nothing but the whole.
    scene.model("tiny", &hugging_face(&repository("first")))?;
    scene.apply(&deployment())?;
    read(scene, &first).await?;
    let old = offered(scene, None).await?;
    let kills = jobs_did_it(scene, killer).await;
    let sent_first = sent(scene, &repository("first"), &first, kills).await?;

    // The pods keep what they have, and one that comes finds one or the other.
    scene.model("tiny", &hugging_face(&repository("second")))?;
    let waits = json!({ "inject": "tiny", "when-not-ready": "wait" });
    scene.admit_waiting(&pod("comes", &waits, &digest_script("/models/tiny"))).await?;
    let new = offered(scene, Some(&old)).await?;
    let kills = jobs_did_it(scene, killer).await;
    let found = parse_digests(&scene.log("comes").await?);
    assert!(found == digests(&first) || found == digests(&second), "{found:?}");
    read(scene, &first).await?;
    who_asked_has_it(scene).await;
    scene.kubectl(&["delete", "pod", "comes"])?;
    scene.kubectl(&["delete", "deployment", "early", "--cascade=foreground"])?;
    scene.gone::<Deployment>("early").await?;
    pruned(scene).await?;
    assert_eq!(&revisions(scene, "pruned").await?, std::slice::from_ref(&new.id));

    scene.kubectl(&["annotate", "model", "tiny", &format!("{REFRESH}=2026-11-21T00:00:00Z")])?;
    let fresh = offered(scene, Some(&new)).await?;
    assert_eq!(fresh.resolved_revision, new.resolved_revision);
    assert_eq!(scene.digests("tiny").await?, digests(&second));
    let kills = kills + jobs_did_it(scene, killer).await;
    let sent_second = sent(scene, &repository("second"), &second, kills).await?;

    who_asked_has_it(scene).await;
    deleted(scene).await?;
    Ok(sent_first.max(sent_second))
}

/// Waits until content other than `not` is offered, and nothing newer is wanted.
pub async fn offered(scene: &Scene, not: Option<&Content>) -> Result<Content, Error> {
    scene
        .find("tiny", "offer the wanted content", |model: &Model| {
            let status = model.status.as_ref().filter(|status| status.phase == Some(Phase::Ready))?;
            let wanted = model_core::persisted::wanted_content_id(model);
            status.content.clone().filter(|content| content.id == wanted && not.is_none_or(|not| not.id != content.id))
        })
        .await
}

/// One Job downloaded what is offered, and of no Job failed any pods but those whose loader was killed, and those that a
/// kubelet died over while it started them. Gives how many loaders were killed.
async fn jobs_did_it(scene: &Scene, killer: &Killer) -> usize {
    let status = scene.api::<Model>().get("tiny").await.expect("the Model is there").status.unwrap_or_default();
    assert_eq!(status.download.map(|download| download.attempt), Some(1), "a kill starts no download anew");
    let mut kills = 0;
    for Job { metadata, status, .. } in scene.api::<Job>().list(&ListParams::default()).await.expect("Jobs are listed")
    {
        let uid = metadata.uid.unwrap_or_default();
        let pods = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
        let pods = scene.api::<Pod>().list(&pods).await.expect("pods are listed").items;
        let not_started = pods.iter().filter(|pod| was_not_started(pod)).count();
        let of_this = killer.of_job(&uid);
        let failed = status.and_then(|status| status.failed).unwrap_or(0);
        assert!(
            usize::try_from(failed).is_ok_and(|failed| failed <= of_this + not_started),
            "{failed} failed, {of_this} were killed and {not_started} were not started"
        );
        kills += of_this;
    }
    kills
}

/// Whether the pod failed with a container that never ran.
fn was_not_started(pod: &Pod) -> bool {
    let states = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let mut ends = states.filter_map(|container| container.state.as_ref()?.terminated.as_ref()?.reason.as_deref());
    ends.any(|reason| reason == "StartError")
}

/// How much the hub sent of a content, in percent.
async fn sent(scene: &Scene, repository: &str, content: &Files, kills: usize) -> Result<usize, Error> {
    let sent = scene.hub.stats(&scene.cluster).await?.containing(repository).bytes;
    let size: usize = content.values().map(Vec::len).sum();
    let percent = usize::try_from(sent).unwrap_or(usize::MAX) * 100 / size;
    assert!(percent < 110 + kills * LOST_BY_A_KILL, "{percent} % of {repository} were sent, with {kills} kills");
    Ok(percent)
}

/// Each pod that asked for the Model and was let in mounts its content.
async fn who_asked_has_it(scene: &Scene) {
    let pods = scene.api::<Pod>().list(&ListParams::default()).await.expect("pods can be listed").items;
    let inject = format!("{GROUP}/inject");
    let asked = |pod: &&Pod| pod.metadata.annotations.as_ref().is_some_and(|given| given.contains_key(&inject));
    let plain: Vec<_> = pods.iter().filter(asked).filter(|pod| !has_model(pod)).collect();
    assert!(plain.is_empty(), "let in without the model: {plain:?}");
}

/// Lets earlier content grow old, and waits until it is gone.
pub async fn pruned(scene: &Scene) -> Result<(), Error> {
    scene
        .find("tiny", "remember earlier content", |model: &Model| {
            let status = model.status.as_ref()?;
            (!status.earlier.is_empty()).then_some(())
        })
        .await?;
    eleven_minutes_pass(scene).await?;
    scene
        .find("tiny", "have nothing left to prune", |model: &Model| {
            model.status.as_ref()?.earlier.is_empty().then_some(())
        })
        .await
}

/// Deletes the Model, and waits until nothing of it is left.
pub async fn deleted(scene: &Scene) -> Result<(), Error> {
    scene.kubectl(&["delete", "pods", "--all", "--grace-period=1"])?;
    scene.kubectl(&["delete", "model", "tiny"])?;
    scene.gone::<Model>("tiny").await?;
    scene.gone::<Job>("model-download-tiny").await?;
    scene.gone::<PersistentVolumeClaim>("model-tiny").await
}
