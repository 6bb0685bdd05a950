//! What a person sees: the binary in a real pseudo-terminal, its output drawn by a terminal emulator.

use std::{
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
};

use test_hub::{Fault, Rule};

use crate::world::World;

/// Every screen of a run, one after each piece of output, and the exit code.
fn screens(world: &World, env: &[(&str, &str)], args: &[&str]) -> (Vec<String>, Option<i32>) {
    let mut command = Command::new("script");
    // `script` makes a terminal without a size.
    let line = "stty rows 50 cols 120; exec \"$LOADER\" ";
    let quoted: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    command.args(["--quiet", "--return", "--command", &(line.to_owned() + &quoted.join(" ")), "/dev/null"]);
    command.env_clear().envs(world.env()).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TERM", "xterm");
    command.env("LOADER", Path::new(env!("CARGO_BIN_EXE_model-loader"))).envs(env.iter().copied());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut terminal, mut buffer, mut seen) = (vt100::Parser::new(50, 120, 0), [0; 4096], Vec::new());
    loop {
        match output.read(&mut buffer).unwrap() {
            0 => break,
            length => terminal.process(&buffer[..length]),
        }
        seen.push(terminal.screen().contents());
    }
    (seen, child.wait().unwrap().code())
}

fn pull<'a>(source: &'a str, target: &'a str) -> [&'a str; 5] {
    ["pull", "--source", source, "--to", target]
}

#[test]
fn a_download_shows_a_bar_that_log_lines_do_not_tear() {
    let world = World::new();
    // Two seconds for the large file, while the small ones are logged.
    let slow = Fault::Rate { bytes_per_second: 1 << 20 };
    world.hub.set_faults(vec![Rule::new(slow).path("*model.safetensors")]).unwrap();
    let target = world.target();
    let target = target.to_str().unwrap();
    let (screens, code) = screens(&world, &[("RUST_LOG", "model_loader=debug")], &pull("hf://acme/tiny", target));
    let last = screens.last().unwrap();
    assert_eq!(code, Some(0), "{last}");
    world.assert_published(&world.served("hf/acme/tiny"));

    let is_bar = |line: &str| line.starts_with('[');
    let bars: Vec<&str> = screens.iter().flat_map(|screen| screen.lines()).filter(|line| is_bar(line)).collect();
    let whole = |bar: &str| {
        ["/2.19 MiB, ", "/s, ETA ", "/5 files"].iter().all(|part| bar.contains(part))
            && bar.contains("% ")
            && bar.contains('=')
    };
    assert!(bars.iter().any(|bar| whole(bar)), "a bar with everything: {bars:?}");
    for screen in &screens {
        assert!(screen.lines().filter(|line| is_bar(line)).count() <= 1, "never two bars:\n{screen}");
        assert!(!screen.contains("downloadedBytes"), "no lines for programs:\n{screen}");
    }
    assert_eq!(last.matches("file is complete").count(), 5, "{last}");
    let logged: Vec<&str> = last.lines().filter(|line| line.contains("file is complete")).collect();
    for line in logged {
        // Each begins with its time: nothing of the bar is before it.
        assert!(line.starts_with("20") && !line.contains("ETA"), "{line}");
    }
    assert!(!last.lines().any(is_bar) && !last.contains("ETA"), "the bar is gone in the end:\n{last}");
    let done = last.lines().rev().find(|line| !line.is_empty() && line.contains("done: ")).unwrap_or_default();
    assert!(done.starts_with("done: 5 files, 2.19 MiB in "), "{last}");

    let (screens, code) = self::screens(&world, &[], &["verify", target]);
    let last = screens.last().unwrap();
    assert_eq!(code, Some(0), "{last}");
    assert!(last.contains("5 files checked, 2.19 MiB as published, 0 faults"), "{last}");
    assert!(!last.lines().any(is_bar), "{last}");
}

#[test]
fn a_failure_in_a_terminal_ends_with_the_reason() {
    let world = World::new();
    let target = world.target();
    let (screens, code) = screens(&world, &[], &pull("hf://acme/absent", target.to_str().unwrap()));
    let last = screens.last().unwrap();
    assert_eq!(code, Some(2), "{last}");
    assert!(last.lines().any(|line| line.starts_with("SourceNotFound: hf://acme/absent")), "{last}");
    assert!(last.lines().any(|line| line.starts_with("what to do: ")), "{last}");
    assert!(!last.contains("asking the source"), "{last}");
}

#[test]
fn a_dumb_terminal_gets_lines() {
    let world = World::new();
    let target = world.target();
    let (screens, code) = screens(&world, &[("TERM", "dumb")], &pull("hf://acme/tiny", target.to_str().unwrap()));
    let last = screens.last().unwrap();
    assert_eq!(code, Some(0), "{last}");
    assert!(last.contains("downloadedBytes") && last.contains("totals"), "{last}");
    assert!(!last.contains("ETA"), "{last}");
}
