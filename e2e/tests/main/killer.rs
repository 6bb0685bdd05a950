//! Kills who is due by a schedule, and keeps account of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use e2e::deploy::NAMESPACE;
use e2e::schedule::{Kill, Victim, schedule};
use e2e::{Cluster, Error};

use crate::processes::{self, Process};

/// A Job has four attempts, and the time between two of them doubles from 10 s. The others are left to it: a kubelet that
/// dies while it starts a container may cost one, too.
const FAILURES_OF_A_JOB: usize = 2;
/// The kubelet is started again after so long.
const AWAY: Duration = Duration::from_secs(1);

/// Somebody was killed.
#[derive(Clone, Debug)]
struct Killed {
    victim: Victim,
    /// UID of the Job that lost a pod.
    job: Option<String>,
}

/// A run of kills.
pub struct Killer {
    cluster: Cluster,
    node: dev_cluster::Cluster,
    start: Instant,
    killed: Mutex<Vec<Killed>>,
    done: AtomicBool,
    over: AtomicBool,
}

impl Killer {
    pub fn new(cluster: &Cluster, node: &dev_cluster::Cluster) -> Self {
        Self {
            cluster: cluster.clone(),
            node: node.clone(),
            start: Instant::now(),
            killed: Mutex::default(),
            done: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// Kills as the seed says, so many times, or until it is [over](Self::stop).
    pub fn kill(&self, seed: u64, rounds: usize) {
        for kill in schedule(seed).take(rounds) {
            let killed = loop {
                // Not before there is somebody: what is to be hit is work at any of its moments, and not its first one.
                while !self.is_over() && !self.lives(kill.victim) {
                    thread::sleep(Duration::from_millis(100));
                }
                self.wait(kill.after);
                if self.is_over() {
                    return;
                }
                match self.strike(kill) {
                    Ok(Some(killed)) => break killed,
                    Ok(None) => {}
                    Err(error) => eprintln!("the {} was not killed: {error}", kill.victim),
                }
            };
            println!("kill at {:.1} s: {}", self.start.elapsed().as_secs_f32(), killed.victim);
            self.all().push(killed);
        }
        self.done.store(true, Ordering::Relaxed);
    }

    /// Whether everybody was killed who was due.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed) || self.is_over()
    }

    /// Nobody is killed any more.
    pub fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// How many kills there were.
    pub fn number(&self) -> usize {
        self.all().len()
    }

    /// How many pods of a Job were killed.
    pub fn of_job(&self, uid: &str) -> usize {
        self.all().iter().filter(|killed| killed.job.as_deref() == Some(uid)).count()
    }

    fn all(&self) -> std::sync::MutexGuard<'_, Vec<Killed>> {
        self.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, duration: Duration) {
        let until = Instant::now() + duration;
        while Instant::now() < until && !self.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn lives(&self, victim: Victim) -> bool {
        match victim {
            Victim::Kubelet => !self.node.is_away("kubelet"),
            Victim::Controller | Victim::Webhook | Victim::Loader => !self.processes(victim).is_empty(),
        }
    }

    fn processes(&self, victim: Victim) -> Vec<Process> {
        let mut processes = processes::of_program(&self.node, &format!("/model-{victim}"));
        if victim == Victim::Loader {
            processes.retain(|process| process.arguments.first().is_some_and(|command| command == "pull"));
        }
        processes
    }

    /// `None`: there was nobody left to kill.
    fn strike(&self, kill: Kill) -> Result<Option<Killed>, Error> {
        let killed = |job| Some(Killed { victim: kill.victim, job });
        match kill.victim {
            Victim::Controller | Victim::Webhook => {
                let processes: Vec<_> = self.processes(kill.victim).into_iter().map(|process| process.id).collect();
                if processes.is_empty() || !processes::signal("-KILL", &processes) {
                    return Ok(None);
                }
                // New pods come at once; the kubelet would wait ever longer before it started the same again.
                let label = format!("app.kubernetes.io/name=model-{}", kill.victim);
                self.cluster.run(&["-n", NAMESPACE, "delete", "pods", "-l", &label, "--grace-period=0", "--force"])?;
                Ok(killed(None))
            }
            Victim::Kubelet => {
                self.node.take_away("kubelet", AWAY)?;
                // It runs where other scenarios need a second node.
                let _ = self.node.take_away("kubelet-2", AWAY);
                Ok(killed(None))
            }
            Victim::Loader => {
                let pods = self.pods_of_jobs()?;
                let failures = |job: &str| {
                    let failed = pods.values().filter(|pod| pod.job == job && pod.has_failed).count();
                    failed.max(self.of_job(job))
                };
                let mut downloads: Vec<_> = self
                    .processes(kill.victim)
                    .into_iter()
                    .filter_map(|process| Some((pods.get(&process.pod)?.job.clone(), process.id)))
                    .filter(|(job, _)| failures(job) < FAILURES_OF_A_JOB)
                    .collect();
                downloads.sort();
                let Some((job, process)) = downloads.get(kill.which % downloads.len().max(1)) else { return Ok(None) };
                let hit = processes::signal("-KILL", std::slice::from_ref(process));
                Ok(hit.then(|| killed(Some(job.clone()))).flatten())
            }
        }
    }

    /// By UID.
    fn pods_of_jobs(&self) -> Result<BTreeMap<String, PodOfJob>, Error> {
        let columns = r#"-o=jsonpath={range .items[*]}{.metadata.uid} {.metadata.labels.batch\.kubernetes\.io/controller-uid} {.status.phase}{"\n"}{end}"#;
        let pods = self.cluster.run(&["get", "pods", "-A", "-l", "batch.kubernetes.io/controller-uid", columns])?;
        let pods = pods.lines().filter_map(|line| {
            let (uid, rest) = line.split_once(' ')?;
            let (job, phase) = rest.split_once(' ')?;
            Some((uid.to_owned(), PodOfJob { job: job.to_owned(), has_failed: phase == "Failed" }))
        });
        Ok(pods.collect())
    }
}

struct PodOfJob {
    /// The Job's UID.
    job: String,
    has_failed: bool,
}

/// How many died, and of whom how many.
impl fmt::Display for Killer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = BTreeMap::<_, usize>::new();
        for killed in self.all().iter() {
            *counts.entry(killed.victim).or_default() += 1;
        }
        let parts: Vec<_> = counts.iter().map(|(victim, count)| format!("{victim} {count}")).collect();
        write!(out, "{} kills ({})", counts.values().sum::<usize>(), parts.join(", "))
    }
}
