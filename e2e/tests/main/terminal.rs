//! A person's terminal: a real pseudo-terminal, its output drawn by a terminal emulator.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::scene::PATIENCE;

const ROWS: u16 = 30;
const COLUMNS: u16 = 120;

/// The screens of a run, one after each piece of output. The last message is the exit code.
enum Shown {
    Screen(String),
    End(Option<i32>),
}

/// A program that runs in a terminal.
pub struct Terminal {
    shown: Receiver<Shown>,
    last: String,
}

impl Terminal {
    /// Starts a line of shell with the environment of `command`.
    pub fn start(mut command: Command, line: &str) -> Self {
        // `script` makes a terminal without a size. A scenario that fails must not leave it behind.
        let line = format!("stty rows {ROWS} cols {COLUMNS}; exec timeout --foreground {PATIENCE} {line}");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("script starts");
        let mut output = child.stdout.take().expect("its output");
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let (mut terminal, mut buffer) = (vt100::Parser::new(ROWS, COLUMNS, 0), [0; 4096]);
            loop {
                match output.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => terminal.process(&buffer[..length]),
                }
                // Nobody may be left to look.
                let _ = sender.send(Shown::Screen(terminal.screen().contents()));
            }
            let _ = sender.send(Shown::End(child.wait().ok().and_then(|status| status.code())));
        });
        Self { shown, last: String::new() }
    }

    /// Waits for a screen on which a line is as wanted, and gives that line.
    pub fn line(&mut self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            match self.shown.recv_timeout(Duration::from_secs(PATIENCE)) {
                Ok(Shown::Screen(screen)) => {
                    self.last = screen;
                    if let Some(line) = self.last.lines().find(|line| wanted(line)) {
                        return line.to_owned();
                    }
                }
                Ok(Shown::End(code)) => {
                    panic!("it ended with {code:?} before {what}; the last screen is\n{}", self.last)
                }
                Err(error) => panic!("waiting for {what}: {error}; the last screen is\n{}", self.last),
            }
        }
    }

    /// Waits for the end: the last screen, and the exit code.
    pub fn end(mut self) -> (String, Option<i32>) {
        loop {
            match self.shown.recv_timeout(Duration::from_secs(PATIENCE)) {
                Ok(Shown::Screen(screen)) => self.last = screen,
                Ok(Shown::End(code)) => return (self.last, code),
                Err(error) => panic!("waiting for the end: {error}; the last screen is\n{}", self.last),
            }
        }
    }
}
