//! The figures: medians as Markdown, all of them as JSON.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use crate::client::Client;
use crate::machine::Machine;
use crate::measure::Usage;
use crate::scenario::Scenario;

/// One download.
#[derive(Debug, Serialize)]
pub struct Sample {
    #[serde(serialize_with = "scenario_title")]
    pub scenario: Scenario,
    #[serde(serialize_with = "client_name")]
    pub client: Client,
    /// From 0.
    pub round: u32,
    pub usage: Usage,
    /// Computing the digests afterwards. `None` for a client that has verified them while it downloaded.
    pub check: Option<Usage>,
    /// Bytes of the model.
    pub size: u64,
    /// Bytes of bodies that the server sent for it.
    pub sent: u64,
    pub requests: u64,
    pub connections: u64,
}

/// One download that did not succeed, or left wrong bytes.
#[derive(Debug, Serialize)]
pub struct Failure {
    #[serde(serialize_with = "scenario_title")]
    pub scenario: Scenario,
    #[serde(serialize_with = "client_name")]
    pub client: Client,
    /// From 0.
    pub round: u32,
    pub reason: String,
}

/// All there is to say of one run of the bench.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    /// The command line of the bench.
    pub command: String,
    /// Models were smaller by this factor.
    pub shrink: u64,
    /// What each client says of its version.
    pub versions: Vec<(&'static str, String)>,
    pub samples: Vec<Sample>,
    pub failures: Vec<Failure>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn scenario_title<S: Serializer>(scenario: &Scenario, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(scenario.title())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn client_name<S: Serializer>(client: &Client, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(client.name())
}

impl Report {
    /// A table for each scenario, and what they were measured with.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        let mut scenarios: Vec<Scenario> = Vec::new();
        let seen = self.samples.iter().map(|sample| sample.scenario);
        for scenario in seen.chain(self.failures.iter().map(|failure| failure.scenario)) {
            if !scenarios.contains(&scenario) {
                scenarios.push(scenario);
            }
        }
        for scenario in scenarios {
            self.table(scenario, &mut text);
        }
        let Machine { cpu, cores, memory_gib, kernel, load_before } = &self.machine;
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "Medians. Machine: {cores} cores of {cpu}, {memory_gib} GiB, Linux {kernel}; load before the run {load_before}.  \n\
             Command: `{}`.  ",
            self.command
        );
        if self.shrink != 1 {
            let _ = writeln!(text, "Models were {} times smaller than the titles say.  ", self.shrink);
        }
        let versions: Vec<String> = self.versions.iter().map(|(name, said)| format!("{name}: {said}")).collect();
        let _ = writeln!(text, "Versions: {}.", versions.join("; "));
        text
    }

    fn table(&self, scenario: Scenario, text: &mut String) {
        let lines: Vec<Line> = self.versions.iter().filter_map(|(name, _)| self.line(scenario, name)).collect();
        let fastest = |wall: fn(&Medians) -> f64| {
            let peers = lines.iter().filter(|line| line.client != Client::ModelLoader.name());
            peers.filter_map(|line| line.medians.as_ref()).map(wall).reduce(f64::min)
        };
        let (fastest, fastest_checked) = (fastest(|medians| medians.wall), fastest(|medians| medians.checked));
        let _ = writeln!(
            text,
            "### {}\n\n| client | wall, s | of the fastest peer | wall with digests, s | of the fastest peer | CPU, s per GiB | CPU, s | peak, MiB | sent of size | requests | runs |\n\
             |---|---|---|---|---|---|---|---|---|---|---|",
            scenario.title()
        );
        for Line { client, runs, failed, medians } in lines {
            let runs = if failed == 0 { runs.to_string() } else { format!("{runs}, {failed} failed") };
            let _ = match medians {
                None => writeln!(text, "| {client} | failed | | | | | | | | | {runs} |"),
                Some(m) => {
                    let of = |wall: f64, fastest: Option<f64>| {
                        fastest.map(|fastest| format!("{:.2}", wall / fastest)).unwrap_or_default()
                    };
                    let (ratio, checked) = (of(m.wall, fastest), of(m.checked, fastest_checked));
                    writeln!(
                        text,
                        "| {client} | {:.2} | {ratio} | {:.2} | {checked} | {:.2} | {:.2} | {:.0} | {:.3} | {:.0} | {runs} |",
                        m.wall, m.checked, m.cpu_per_gib, m.cpu, m.peak_mib, m.sent, m.requests
                    )
                }
            };
        }
        text.push('\n');
    }

    /// `None` if the client was not measured in this scenario.
    fn line(&self, scenario: Scenario, client: &'static str) -> Option<Line> {
        let of = |found: Scenario, by: Client| found == scenario && by.name() == client;
        let samples: Vec<&Sample> = self.samples.iter().filter(|sample| of(sample.scenario, sample.client)).collect();
        let failed = self.failures.iter().filter(|failure| of(failure.scenario, failure.client)).count();
        let medians = Medians::of(&samples);
        (failed > 0 || medians.is_some()).then_some(Line { client, runs: samples.len(), failed, medians })
    }
}

struct Line {
    client: &'static str,
    runs: usize,
    failed: usize,
    medians: Option<Medians>,
}

#[derive(Debug, PartialEq)]
struct Medians {
    wall: f64,
    /// Wall time until every digest is known.
    checked: f64,
    cpu: f64,
    cpu_per_gib: f64,
    peak_mib: f64,
    /// Bytes sent, as a share of the model's size.
    sent: f64,
    requests: f64,
}

impl Medians {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn of(samples: &[&Sample]) -> Option<Self> {
        let of = |value: fn(&Sample) -> f64| median(samples.iter().map(|sample| value(sample)).collect());
        Some(Self {
            wall: of(|sample| sample.usage.wall)?,
            checked: of(|sample| sample.usage.wall + sample.check.map_or(0.0, |check| check.wall))?,
            cpu: of(|sample| sample.usage.cpu())?,
            cpu_per_gib: of(|sample| sample.usage.cpu() / (sample.size as f64 / f64::from(1 << 30)))?,
            peak_mib: of(|sample| sample.usage.peak_kib as f64 / 1024.0)?,
            sent: of(|sample| sample.sent as f64 / sample.size as f64)?,
            requests: of(|sample| sample.requests as f64)?,
        })
    }
}

/// The middle value, or the mean of the two in the middle. `None` of nothing.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    Some(if values.len() % 2 == 1 { upper } else { f64::midpoint(values[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(client: Client, wall: f64, user: f64) -> Sample {
        let usage = Usage { wall, user, system: 0.5, peak_kib: 20 << 10 };
        let (scenario, size) = (Scenario::File, 2 << 30);
        let check = (!client.verifies()).then_some(Usage { wall: 1.0, ..usage });
        Sample { scenario, client, round: 0, usage, check, size, sent: size, requests: 9, connections: 3 }
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_line_has_medians_per_gib_and_the_distance_to_the_fastest_peer() {
        let ours = [1.0, 2.2, 9.0].map(|wall| sample(Client::ModelLoader, wall, 1.5));
        let peers = [2.0, 2.0, 1.0].map(|wall| sample(Client::Curl, wall, 2.5));
        let reason = "exit code 0, but wrong".to_owned();
        let report = Report {
            machine: Machine::here(),
            command: "bench-loader".to_owned(),
            shrink: 1,
            versions: [Client::ModelLoader, Client::Curl, Client::S5cmd, Client::Hf]
                .map(|client| (client.name(), "1.0".to_owned()))
                .into(),
            samples: ours.into_iter().chain(peers).collect(),
            failures: vec![Failure { scenario: Scenario::File, client: Client::S5cmd, round: 0, reason }],
        };
        let text = report.markdown();
        let lines: Vec<&str> = text.lines().skip(4).take_while(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "| model-loader | 2.20 | 1.10 | 2.20 | 0.73 | 1.00 | 2.00 | 20 | 1.000 | 9 | 3 |",
                "| curl | 2.00 | 1.00 | 3.00 | 1.00 | 1.50 | 3.00 | 20 | 1.000 | 9 | 3 |",
                "| s5cmd | failed | | | | | | | | | 0, 1 failed |",
            ]
        );
    }
}
