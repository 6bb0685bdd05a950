//! What a person sees: the binary in a real pseudo-terminal, its output drawn by a terminal emulator.

use std::io::Read as _;
use std::process::{Command, Stdio};

use model_core::api::Model;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::plane::{PLANE, Scene, downloading, ready};

/// The screens of a run, one after each piece of output. The last message is the exit code.
enum Shown {
    Screen(String),
    End(Option<i32>),
}

fn in_terminal(args: &str, term: &str) -> UnboundedReceiver<Shown> {
    let mut command = Command::new("script");
    // `script` makes a terminal without a size.
    // A test that fails must not leave it behind.
    let line = format!("stty rows 20 cols 100; exec timeout --foreground 60 \"$PLUGIN\" {args}");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TERM", term);
    command.env("PLUGIN", env!("CARGO_BIN_EXE_kubectl-model")).env("KUBECONFIG", PLANE.control.kubeconfig());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("script starts");
    let mut output = child.stdout.take().expect("its output");
    let (sender, screens) = unbounded_channel();
    std::thread::spawn(move || {
        let (mut terminal, mut buffer) = (vt100::Parser::new(20, 100, 0), [0; 4096]);
        loop {
            match output.read(&mut buffer).expect("output") {
                0 => break,
                length => terminal.process(&buffer[..length]),
            }
            // Nobody may be left to look.
            let _ = sender.send(Shown::Screen(terminal.screen().contents()));
        }
        let _ = sender.send(Shown::End(child.wait().expect("it ran").code()));
    });
    screens
}

/// Waits for a screen on which a line is as wanted, and gives that screen.
async fn screen_with(screens: &mut UnboundedReceiver<Shown>, what: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut last = String::new();
    let found = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        loop {
            match screens.recv().await {
                Some(Shown::Screen(screen)) if screen.lines().any(&wanted) => break screen,
                Some(Shown::Screen(screen)) => last = screen,
                Some(Shown::End(_)) | None => panic!("it ended before {what}; the last screen is\n{last}"),
            }
        }
    });
    found.await.unwrap_or_else(|_| panic!("still waiting for {what}"))
}

async fn end(screens: &mut UnboundedReceiver<Shown>) -> (String, Option<i32>) {
    let mut last = String::new();
    loop {
        match screens.recv().await.expect("an end") {
            Shown::Screen(screen) => last = screen,
            Shown::End(code) => return (last, code),
        }
    }
}

#[tokio::test]
async fn watching_draws_one_bar_with_bytes_speed_and_time_left() {
    let scene = Scene::new("terminal").await;
    scene.model("tiny").await;
    let mut screens = in_terminal("status tiny --watch -n terminal", "xterm");
    screen_with(&mut screens, "the Model waits", |line| line.contains("tiny Pending")).await;
    scene.status::<Model>("tiny", &downloading(1 << 30, 4 << 30, 64 << 20)).await;
    let is_bar = |line: &str| line.starts_with("tiny [");
    let screen = screen_with(&mut screens, "a bar", is_bar).await;
    let bar = screen.lines().find(|line| is_bar(line)).unwrap();
    for part in ["=>", "] 25% 1.0 GiB/4.0 GiB, 64.0 MiB/s, ETA 48s"] {
        assert!(bar.contains(part), "{part:?} in {bar}");
    }
    // A message of somebody else stands beside the bar and moves no cursor.
    let mut held_up = downloading(2 << 30, 4 << 30, 64 << 20);
    held_up["message"] = serde_json::json!("\x1b[2J\x1b[Hslow\nsource");
    scene.status::<Model>("tiny", &held_up).await;
    let screen = screen_with(&mut screens, "the bar moves", |line| line.contains("] 50% ")).await;
    assert_eq!(screen.lines().filter(|line| is_bar(line)).count(), 1, "never two bars:\n{screen}");
    scene.status::<Model>("tiny", &ready("ready to mount")).await;
    let (last, code) = end(&mut screens).await;
    assert_eq!(code, Some(0), "{last}");
    assert_eq!(last.trim_end(), "tiny: Ready, 4.0 MiB, ready to mount", "the bar is gone in the end");
}

#[tokio::test]
async fn a_dumb_terminal_gets_lines() {
    let scene = Scene::new("dumb").await;
    scene.model("tiny").await;
    scene.status::<Model>("tiny", &ready("ready to mount")).await;
    let mut screens = in_terminal("wait tiny -n dumb", "dumb");
    let (last, code) = end(&mut screens).await;
    assert_eq!((last.trim_end(), code), ("tiny: Ready, 4.0 MiB, ready to mount", Some(0)));
}
