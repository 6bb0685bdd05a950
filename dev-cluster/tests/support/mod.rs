//! What the tests of both sizes ask of a cluster.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Runs to the end; returns standard output. Fails with what the command said.
pub fn output(command: &mut Command) -> String {
    let out = command.stdin(Stdio::null()).output().expect("the program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?} failed:\n{stdout}{stderr}");
    stdout.into_owned()
}

/// Waits until the condition holds; `what` says what did not happen.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Kills one process the way nothing can prepare for.
pub fn kill_9(pid: u32) {
    output(Command::new("kill").args(["-9", &pid.to_string()]));
}

/// The command lines of living processes that name this directory.
pub fn processes(dir: &Path) -> Vec<String> {
    let dir = dir.to_str().expect("the path is text");
    let proc = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let lines = proc.filter_map(|process| fs::read_to_string(process.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(dir)).collect()
}
