//! The controller is killed again and again, as when its node loses power, and in the end nobody can tell.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::deploy::{NAMESPACE, rolled_out, set_controller_env};
use e2e::{Cluster, Error};
use futures::FutureExt;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use model_core::api::{Content, Model, Phase};
use model_core::labels::REFRESH;
use test_hub::{Fault, Rule};

use crate::gates::{deployment, read};
use crate::processes;
use crate::prunes::{eleven_minutes_pass, revisions};
use crate::scene::{PATIENCE, Scene, digests, files, hugging_face};

/// Slow enough that a download lasts for some seconds.
const BYTES_PER_SECOND: u64 = 1_000_000;
/// A controller is killed so long after the one before it at the least, and after as much more at the most.
const LIFE: Duration = Duration::from_secs(2);
const CONTROLLER: &str = "app.kubernetes.io/name=model-controller";

/// `MODEL_E2E_KILL_ROUNDS` and `MODEL_E2E_KILL_SEED` say how often, and when.
pub async fn the_controller_is_killed_again_and_again(scene: Scene) -> Result<(), Error> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let (rounds, seed) = (number("MODEL_E2E_KILL_ROUNDS"), number("MODEL_E2E_KILL_SEED"));
    // One that waits for no lease, so that each kill falls into work. That another replica takes over shows elsewhere.
    replicas(&scene.cluster, "1", "MODEL_CONTROLLER_LEADER_ELECTION=false")?;
    let killer = Killer::start(&scene.cluster, seed);
    let all = async {
        for round in 1..=rounds {
            live(&scene, round).await?;
        }
        Ok::<_, Error>(())
    };
    let outcome = AssertUnwindSafe(all).catch_unwind().await;
    let kills = killer.stop();
    println!("controller_killed: {kills} kills in {rounds} rounds, seed {seed}");
    // Whatever came of it: the scenarios after this one need the controller as it was.
    replicas(&scene.cluster, "2", "MODEL_CONTROLLER_LEADER_ELECTION-")?;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
    assert!(kills > 2, "hardly anything was killed");
    Ok(())
}

fn replicas(cluster: &Cluster, count: &str, variable: &str) -> Result<(), Error> {
    let scale = format!("--replicas={count}");
    cluster.run(&["-n", NAMESPACE, "scale", "deployment/model-controller", &scale])?;
    rolled_out(cluster, "model-controller")?;
    set_controller_env(cluster, &[variable])
}

/// Everything that happens to a Model, from the first download to its deletion.
async fn live(scene: &Scene, round: u64) -> Result<(), Error> {
    let repository = |name: &str| scene.repository(&format!("{name}-{round}"));
    let (first, second) = (files(&repository("first")), files(&repository("second")));
    for (name, content) in [("first", &first), ("second", &second)] {
        scene.hub.repository(&repository(name), content)?;
        let rate =
            Rule::new(Fault::Rate { bytes_per_second: BYTES_PER_SECOND }).path(&format!("*{}*", repository(name)));
        scene.hub.add_fault(&scene.cluster, &rate).await?;
    }
    // Its containers tell what they find when they start: nothing but the whole.
    scene.model("tiny", &hugging_face(&repository("first")))?;
    scene.apply(&deployment())?;
    read(scene, &first).await?;
    let old = offered(scene, None).await?;
    jobs_did_it(scene, 1).await;

    // The pods keep what they have.
    scene.model("tiny", &hugging_face(&repository("second")))?;
    let new = offered(scene, Some(&old)).await?;
    read(scene, &first).await?;
    scene.kubectl(&["delete", "deployment", "early", "--cascade=foreground"])?;
    scene.gone::<Deployment>("early").await?;
    pruned(scene).await?;
    assert_eq!(&revisions(scene, &format!("pruned-{round}")).await?, std::slice::from_ref(&new.id));

    scene.kubectl(&["annotate", "model", "tiny", &format!("{REFRESH}=2026-11-21T00:00:00Z")])?;
    let fresh = offered(scene, Some(&new)).await?;
    assert_eq!(fresh.resolved_revision, new.resolved_revision);
    assert_eq!(scene.digests("tiny").await?, digests(&second));
    jobs_did_it(scene, 1).await;

    scene.kubectl(&["delete", "pods", "--all", "--grace-period=1"])?;
    scene.kubectl(&["delete", "model", "tiny"])?;
    scene.gone::<Model>("tiny").await?;
    scene.gone::<Job>("model-download-tiny").await?;
    scene.gone::<PersistentVolumeClaim>("model-tiny").await
}

/// Waits until content other than `not` is offered, and nothing newer is wanted.
async fn offered(scene: &Scene, not: Option<&Content>) -> Result<Content, Error> {
    scene
        .find("tiny", "offer the wanted content", |model: &Model| {
            let status = model.status.as_ref().filter(|status| status.phase == Some(Phase::Ready))?;
            let wanted = model_core::persisted::wanted_content_id(model);
            status.content.clone().filter(|content| content.id == wanted && not.is_none_or(|not| not.id != content.id))
        })
        .await
}

/// Of each content there was one attempt.
async fn jobs_did_it(scene: &Scene, attempts: i32) {
    let status = scene.api::<Model>().get("tiny").await.expect("the Model is there").status.unwrap_or_default();
    assert_eq!(status.download.map(|download| download.attempt), Some(attempts), "a kill starts no download anew");
    let jobs = scene.api::<Job>().list(&ListParams::default()).await.expect("Jobs can be listed").items;
    assert!(jobs.iter().all(|job| job.status.as_ref().is_none_or(|status| status.failed.unwrap_or(0) == 0)));
}

async fn pruned(scene: &Scene) -> Result<(), Error> {
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

/// Kills the controller's processes at seeded moments, on a thread of its own, until it is told to stop.
struct Killer {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<usize>>,
}

impl Killer {
    fn start(cluster: &Cluster, seed: u64) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (stop, cluster) = (over.clone(), cluster.clone());
        let thread = thread::spawn(move || {
            let (mut kills, mut state) = (0, seed);
            while wait(&stop, next(&mut state)) {
                match kill(&cluster) {
                    Ok(killed) => kills += usize::from(killed),
                    Err(error) => eprintln!("nothing was killed: {error}"),
                }
            }
            kills
        });
        Self { over, thread: Some(thread) }
    }

    /// How often it killed.
    fn stop(mut self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or(0)
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Between one and two lives, by `SplitMix64`.
fn next(state: &mut u64) -> Duration {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    LIFE + Duration::from_millis(mixed % 2000)
}

/// Whether to go on after so long.
fn wait(over: &AtomicBool, duration: Duration) -> bool {
    let until = Instant::now() + duration.min(Duration::from_secs(PATIENCE));
    while Instant::now() < until && !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
    }
    !over.load(Ordering::Relaxed)
}

/// Kills the controller's processes, and then has new pods made at once: the kubelet would wait ever longer. `false`: there
/// were none.
fn kill(cluster: &Cluster) -> Result<bool, Error> {
    let uids = processes::uids(cluster, "model-controller")?;
    let processes = processes::of_pods(&uids, "model-controller");
    if processes.is_empty() {
        return Ok(false);
    }
    let killed = processes::signal("-KILL", &processes);
    cluster.run(&["-n", NAMESPACE, "delete", "pods", "-l", CONTROLLER, "--grace-period=0", "--force"])?;
    Ok(killed)
}
