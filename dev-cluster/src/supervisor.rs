//! Starts a cluster's supervisor and has it run components.

use std::{
    fs,
    fs::File,
    io::Write as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Binaries, Cluster, Error, Size, directories::log_tail};

const SCRIPT: &str = include_str!("supervise.sh");

/// A running supervisor and the pipe by which it knows that its owner lives.
#[derive(Debug)]
pub(crate) struct Supervisor {
    cluster: Cluster,
    child: Child,
    /// Closed by the kernel when this process dies. `None` once the cluster was let go.
    owner: Option<ChildStdin>,
}

impl Supervisor {
    /// Starts the supervisor of a cluster just created; a node's in namespaces of its own.
    pub(crate) fn spawn(cluster: Cluster, lock: &File, binaries: &Binaries) -> Result<Self, Error> {
        let script = cluster.write("supervise.sh", SCRIPT)?;
        // A session of its own: neither Ctrl-C nor a closed terminal reaches the cluster but through its owner.
        let mut command = Command::new("setsid");
        if cluster.size() == Size::Node {
            let isolated = ["--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"];
            command.arg("unshare").args(isolated);
        }
        command.arg("sh").arg(script).arg(cluster.dir());
        // containerd finds its shim, and the shim runc, in the path.
        let path = format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", binaries.dir().display());
        let output = || lock.try_clone().map_err(Error::io("share the supervisor's log"));
        command.stdin(Stdio::piped()).stdout(output()?).stderr(output()?);
        // Nothing of the owner's: a proxy setting would take the API server's calls of webhooks out of the node.
        command.env_clear().env("PATH", path);
        let mut child = command.spawn().map_err(Error::io("start the cluster's supervisor"))?;
        let owner = child.stdin.take();
        let mut supervisor = Self { cluster, child, owner };
        supervisor.cluster.write("supervisor.pid", &supervisor.pid().to_string())?;
        let events = supervisor.cluster.dir().join("events");
        supervisor.wait("supervisor", "its namespaces", Duration::from_secs(20), || events.exists())?;
        Ok(supervisor)
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The supervisor's process; of a node, one that is in its mount and network namespaces.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has the supervisor run a program. The command line is kept in `components/`, to be read and tried by people.
    pub(crate) fn start(&mut self, component: &str, program: &Path, args: &[String]) -> Result<(), Error> {
        let program = program.to_string_lossy();
        let script = script(std::iter::once(&*program).chain(args.iter().map(String::as_str)));
        self.cluster.write(&format!("components/{component}"), &script)?;
        self.tell(&format!("start {component}\n"))
    }

    /// Waits until `ready` says so. `component` is blamed when it does not within `limit`.
    pub(crate) fn wait(
        &mut self,
        component: &str,
        waiting_for: &str,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<(), Error> {
        let start = Instant::now();
        while !ready() {
            self.check()?;
            if start.elapsed() > limit {
                return Err(Error::NotReady {
                    component: component.to_owned(),
                    waiting_for: waiting_for.to_owned(),
                    seconds: limit.as_secs(),
                    log: self.log(component),
                });
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Lets the cluster run on without an owner.
    pub(crate) fn detach(mut self) -> Result<Cluster, Error> {
        self.tell("detach\n")?;
        self.owner = None;
        Ok(self.cluster.clone())
    }

    /// Fails when a component or the supervisor itself has ended.
    fn check(&mut self) -> Result<(), Error> {
        let ended = self.child.try_wait().map_err(Error::io("look after the cluster's supervisor"))?.is_some();
        if let Ok(failed) = fs::read_to_string(self.cluster.dir().join("failed")) {
            let (component, status) = failed.trim().split_once(' ').unwrap_or((failed.trim(), "unknown"));
            return Err(Error::ComponentEnded {
                component: component.to_owned(),
                status: status.to_owned(),
                log: self.log(component),
            });
        }
        if ended { Err(Error::SupervisorKilled) } else { Ok(()) }
    }

    fn tell(&mut self, line: &str) -> Result<(), Error> {
        let told = self.owner.as_mut().map_or(Ok(()), |owner| owner.write_all(line.as_bytes()));
        if told.is_err() {
            self.check()?;
        }
        told.map_err(Error::io("tell the cluster's supervisor what to start"))
    }

    fn log(&self, component: &str) -> String {
        let file = match component {
            "supervisor" => "supervisor.log".to_owned(),
            component => format!("logs/{component}.log"),
        };
        log_tail(&self.cluster.dir().join(file))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if self.owner.take().is_none() {
            return;
        }
        let _already_gone = self.child.kill();
        let _reaped = self.child.wait();
        if let Err(error) = self.cluster.end() {
            eprintln!("dev-cluster: {error:?}; the next start sweeps it");
        }
    }
}

/// A shell script that becomes the program that the first word names. The same for the same words, and for no others.
pub(crate) fn script<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.map(quoted).collect();
    format!("exec {}\n", words.join(" \\\n    "))
}

/// A word that the shell takes as it is.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
