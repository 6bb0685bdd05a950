//! What is now, read from the caches at each scrape: nothing is counted twice and nothing runs between scrapes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::reflector::Store;
use model_core::api::{Model, ModelStatus, Phase};
use model_core::reason::Reason;
use model_core::status::{PRUNE_FAILED, READY, UP_TO_DATE};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::Label;
use crate::downloads::{Jobs, is_download, is_queued};
use crate::leader::Leadership;
use crate::watched_model::WatchedModel;

const PHASES: [Phase; 4] = [Phase::Pending, Phase::Downloading, Phase::Ready, Phase::Failed];

/// Where the state is read from.
#[derive(Clone, Debug)]
pub(crate) struct Caches {
    pub models: Store<WatchedModel>,
    pub jobs: Jobs,
    pub leadership: Leadership,
}

/// The state of a controller, once it runs. Clones share the same.
#[derive(Clone, Debug, Default)]
pub(super) struct State(Arc<OnceLock<Caches>>);

impl State {
    pub(super) fn read(&self, caches: Caches) {
        // A controller runs once.
        let _ = self.0.set(caches);
    }
}

/// Sums over all Models.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    phases: BTreeMap<&'static str, i64>,
    /// Why Models are not ready.
    reasons: BTreeMap<&'static str, i64>,
    queued: i64,
    unpruned: i64,
    newer: i64,
    bytes_per_second: i64,
    bytes_missing: i64,
}

impl Sums {
    fn of(models: impl IntoIterator<Item = Option<Model>>) -> Self {
        let mut sums = Self { phases: PHASES.map(|phase| (phase.as_str(), 0)).into(), ..Self::default() };
        let no_status = ModelStatus::default();
        for model in models {
            match model {
                Some(model) => sums.add(model.status.as_ref().unwrap_or(&no_status)),
                // It is in no phase: nothing is done about it.
                None => *sums.reasons.entry(Reason::InvalidModel.as_str()).or_default() += 1,
            }
        }
        sums
    }

    fn add(&mut self, status: &ModelStatus) {
        let phase = status.phase.unwrap_or(Phase::Pending);
        *self.phases.entry(phase.as_str()).or_default() += 1;
        if phase != Phase::Ready {
            *self.reasons.entry(reason(status).as_str()).or_default() += 1;
        }
        self.queued += i64::from(is_queued(status));
        self.unpruned += i64::from(status.conditions.iter().any(|condition| condition.type_ == PRUNE_FAILED));
        self.newer += i64::from(has_newer(status));
        // Absent while nothing runs.
        if let Some((download, speed)) =
            status.download.as_ref().and_then(|download| Some((download, download.bytes_per_second?)))
        {
            self.bytes_per_second = self.bytes_per_second.saturating_add(speed);
            let missing = download.total_bytes.unwrap_or(0) - download.downloaded_bytes.unwrap_or(0);
            self.bytes_missing = self.bytes_missing.saturating_add(missing.max(0));
        }
    }
}

fn has_newer(status: &ModelStatus) -> bool {
    let newer =
        |condition: &Condition| condition.type_ == UP_TO_DATE && condition.reason == Reason::NewRevision.as_str();
    status.conditions.iter().any(newer)
}

/// Why a Model is not ready. Only words of ours, whatever somebody wrote into a status.
fn reason(status: &ModelStatus) -> Reason {
    let ready = status.conditions.iter().find(|condition| condition.type_ == READY);
    let word = ready.map_or(Reason::Starting.as_str(), |condition| condition.reason.as_str());
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == word).unwrap_or(Reason::DownloadFailed)
}

impl Collector for State {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Some(caches) = self.0.get() else { return Ok(()) };
        let models = caches.models.state();
        let sums = Sums::of(models.iter().map(|model| model.read().ok()));
        let running = caches.jobs.at_work().iter().filter(|job| is_download(job)).count();
        let by = |label: &'static str, counts: &BTreeMap<&'static str, i64>| -> Vec<(Option<Label>, i64)> {
            counts.iter().map(|(value, count)| (Some([(label, *value)]), *count)).collect()
        };
        let one = |value: i64| vec![(None, value)];
        for (name, help, values) in [
            ("leader", "Whether this replica acts: 1 or 0", one(caches.leadership.leads().into())),
            ("models", "Models by phase", by("phase", &sums.phases)),
            ("models_unready", "Models without content to mount, by the reason in status", by("reason", &sums.reasons)),
            ("downloads_running", "Download Jobs that have not ended", one(i64::try_from(running).unwrap_or(i64::MAX))),
            ("downloads_queued", "Models that wait for a free download", one(sums.queued)),
            ("models_unpruned", "Models whose earlier content could not be removed", one(sums.unpruned)),
            ("models_with_newer_content", "Models whose source was found to have newer content", one(sums.newer)),
            ("download_speed_bytes_per_second", "Speed of all downloads together", one(sums.bytes_per_second)),
            ("download_missing_bytes", "What running downloads still have to fetch", one(sums.bytes_missing)),
        ] {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (label, value) in values {
                match label {
                    Some(label) => metric.encode_family(&label)?.encode_gauge(&value)?,
                    None => metric.encode_gauge(&value)?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn model(status: &serde_json::Value) -> Model {
        serde_json::from_value(json!({
            "metadata": { "name": "a" },
            "spec": { "source": { "url": { "url": "https://example.com" } }, "storage": { "size": "1Gi" } },
            "status": status,
        }))
        .unwrap()
    }

    fn not_ready(phase: &str, reason: &str) -> serde_json::Value {
        let condition = json!({
            "type": "Ready", "status": "False", "reason": reason, "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        });
        json!({ "phase": phase, "conditions": [condition] })
    }

    #[test]
    fn models_count_by_phase_and_by_words_of_ours() {
        let mut running = not_ready("Downloading", "Downloading");
        running["download"] =
            json!({ "id": "a", "attempt": 1, "totalBytes": 100, "downloadedBytes": 30, "bytesPerSecond": 7 });
        let mut ended = not_ready("Failed", "DiskFull");
        ended["download"] = json!({ "id": "a", "attempt": 1, "totalBytes": 100, "downloadedBytes": 30 });
        let mut refresh = json!({ "phase": "Ready" });
        refresh["conditions"] = not_ready("", "Queued")["conditions"].clone();
        refresh["conditions"][0]["type"] = json!("Downloaded");
        let mut unpruned = not_ready("Ready", "PruneFailed");
        unpruned["conditions"][0]["type"] = json!("PruneFailed");
        let mut newer = json!({ "phase": "Ready", "conditions": not_ready("", "NewRevision")["conditions"] });
        newer["conditions"][0]["type"] = json!("UpToDate");
        let models = [
            newer,
            refresh,
            json!(null),
            running.clone(),
            running,
            ended,
            not_ready("Failed", "a name that somebody made up"),
            unpruned,
        ]
        .map(|status| model(&status));
        let sums = Sums::of(models.into_iter().map(Some).chain([None]));
        assert_eq!(sums.phases, BTreeMap::from([("Downloading", 2), ("Failed", 2), ("Pending", 1), ("Ready", 3)]));
        let reasons =
            [("DiskFull", 1), ("DownloadFailed", 1), ("Downloading", 2), ("InvalidModel", 1), ("Starting", 1)];
        assert_eq!(sums.reasons, BTreeMap::from(reasons));
        assert_eq!((sums.bytes_per_second, sums.bytes_missing), (14, 140));
        assert_eq!(sums.unpruned, 1);
        assert_eq!(sums.newer, 1);
        assert_eq!(sums.queued, 1, "one that has content of before waits as well");
        // A phase without Models is a zero, not a gap in the graph.
        assert_eq!(Sums::of([]).phases.len(), PHASES.len());
    }
}
