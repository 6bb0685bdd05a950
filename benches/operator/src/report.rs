//! The figures as Markdown.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::controller::{self, LIFE, is_write};
use crate::webhook::{self, Overload, Round, TIME_LIMIT};

/// What the operator in Go took for 10,000 requests: CPU-seconds for pods that ask for a model and for others, and MiB idle
/// and at its peak.
const GO_WEBHOOK: (f64, f64, f64, f64) = (7.1, 2.9, 33.0, 47.0);
/// What the operator in Go took: Models, CPU-seconds, MiB.
const GO_CONTROLLER: [(usize, f64, f64); 3] = [(100, 0.44, 40.0), (1000, 3.9, 60.0), (3000, 10.7, 101.0)];

/// What the webhook took.
pub fn webhook(findings: &webhook::Findings, connections: usize) -> String {
    let mut text = format!(
        "### Webhook: pods asked about over {connections} connections\n\n\
         | pods | requests | CPU, s | per 10,000, s | in Go, s | requests a second | p50, ms | p99, ms | slowest, ms |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    let (go_annotated, go_plain, go_idle, go_peak) = GO_WEBHOOK;
    for (name, round, go) in
        [("that ask for a model", &findings.annotated, go_annotated), ("that do not", &findings.plain, go_plain)]
    {
        row(&mut text, name, round, go);
    }
    let (after, later) = &findings.memory;
    let _ = writeln!(
        text,
        "\nMemory: {:.1} MiB idle (in Go {go_idle}), {:.1} MiB after both rounds, {:.1} MiB after ten times as many, \
         {:.1} MiB at most (in Go {go_peak}).",
        findings.idle.now, after.now, later.now, later.peak
    );
    let Overload { offered, requests, answered, refused, lost, slowest, usage } = &findings.overload;
    let _ = writeln!(
        text,
        "\nOverload: {requests} requests came, {offered:.0} a second, half as many again as were answered above. \
         Answered: {answered}, the slowest after {} ms. Later than the {} s that the API server waits, or not at all: {lost}. \
         Refused by an API server that lets 200 run at once, before it asks: {refused}. Memory at most {:.1} MiB.",
        slowest.as_millis(),
        TIME_LIMIT.as_secs(),
        usage.peak
    );
    text
}

#[expect(clippy::cast_precision_loss, reason = "a bench's count")]
fn row(text: &mut String, name: &str, round: &Round, go: f64) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    let _ = writeln!(
        text,
        "| {name} | {} | {:.2} | {:.2} | {go} | {:.0} | {:.2} | {:.2} | {:.1} |",
        round.requests,
        round.cpu,
        round.cpu * 10_000.0 / round.requests as f64,
        round.rate(),
        milliseconds(round.percentile(50)),
        milliseconds(round.percentile(99)),
        milliseconds(round.percentile(100)),
    );
}

/// What a controller took.
#[expect(clippy::cast_precision_loss, reason = "a bench's count")]
pub fn controller(title: &str, all: &[controller::Findings]) -> String {
    let mut text = format!(
        "### {title}\n\n\
         | Models | wall, s | CPU, s | per Model, ms | in Go, s | memory, MiB | at most | in Go | writes each | CPU of a restart, s | requests | CPU a minute idle, s |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    for findings in all {
        let go = GO_CONTROLLER.iter().find(|(models, ..)| *models == findings.models);
        let go = |figure: fn(&(usize, f64, f64)) -> f64| go.map_or_else(|| "-".to_owned(), |go| figure(go).to_string());
        let (idle, quiet) = findings.idle;
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.2} | {:.2} | {} | {:.1} | {:.1} | {} | {:.2} | {:.2} | {} | {:.2} |",
            findings.models,
            findings.wall.as_secs_f64(),
            findings.cpu,
            findings.cpu * 1000.0 / findings.models as f64,
            go(|go| go.1),
            findings.usage.now,
            findings.usage.peak,
            go(|go| go.2),
            writes_each(findings),
            findings.restart.cpu,
            findings.restart_requests.total(),
            idle * 60.0 / quiet.as_secs_f64(),
        );
    }
    requests(&mut text, all);
    text
}

#[expect(clippy::cast_precision_loss, reason = "a bench's count")]
fn writes_each(findings: &controller::Findings) -> f64 {
    findings.requests.of(&LIFE) as f64 / findings.models as f64
}

fn requests(text: &mut String, all: &[controller::Findings]) {
    text.push('\n');
    for findings in all {
        let models = findings.models;
        let (writes, reads) = (findings.requests.only(is_write), findings.requests.only(|key| !is_write(key)));
        let _ = writeln!(text, "- {models} Models, writes: {writes}");
        let _ = writeln!(text, "- {models} Models, reads: {reads}");
        let _ = writeln!(text, "- {models} Models, restart: {}", findings.restart_requests);
        let _ = writeln!(text, "- {models} Models, idle: {}", findings.idle_requests);
    }
}

/// What the figures are from.
pub fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cpu = cpu.map_or("", |(_, name)| name.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (kernel, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "Machine: {cores} cores of {cpu}, Linux {}; load at the end {}.  \nCommand: `bench-operator {}`.",
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        arguments.join(" ")
    )
}
