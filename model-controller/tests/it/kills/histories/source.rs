//! Content that is there already: read again, and compared with what its source has.

use kube::ResourceExt;
use kube::api::ListParams;
use model_core::api::{ModelStatus, Phase, VerificationResult as Found};
use model_core::labels::{REFRESH, VERIFY};
use model_core::reason::Reason;
use model_core::status::{SOURCE_REACHABLE, UP_TO_DATE};
use serde_json::json;

use super::{published, url};
use crate::kills::stage::Stage;

/// Intact, then damaged, then intact: each request has an answer of its own.
pub async fn verify(stage: &Stage) {
    published(stage, "a").await;
    for (request, damaged, wanted) in
        [("1", false, Found::Intact), ("2", true, Found::Damaged), ("3", false, Found::Intact)]
    {
        stage.cluster.past().damaged = damaged;
        stage.change(json!({ "metadata": { "annotations": { VERIFY: request } } })).await;
        let answered = |status: &ModelStatus| {
            let known = status.verification.as_ref().filter(|known| known.request == request);
            known.is_some_and(|known| known.result != Found::Running)
        };
        let status = stage.status("the answer", answered).await;
        assert_eq!(status.verification.map(|known| known.result), Some(wanted), "{}", stage.label);
        assert_eq!(status.phase, Some(Phase::Ready), "{}: whatever it finds", stage.label);
    }
}

/// Nothing newer, something newer, no answer; then what is newer is fetched.
pub async fn checks(stage: &Stage) {
    let spec = json!({ "source": url("a"), "storage": { "size": "1Gi" }, "checkInterval": "24h" });
    stage.create("llama", &spec).await;
    stage.up_to_date("llama").await;
    let (same, newer) = (("True", Reason::UpToDate), ("False", Reason::NewRevision));
    let (answered, silent) = (("True", Reason::SourceAnswered), ("False", Reason::NetworkError));
    for (revision, is_silent, fresh, source) in
        [(0, false, same, answered), (1, false, newer, answered), (1, true, newer, silent)]
    {
        {
            let mut past = stage.cluster.past();
            (past.revision, past.silent) = (revision, is_silent);
        }
        let status = check(stage).await;
        for (kind, (word, reason)) in [(UP_TO_DATE, fresh), (SOURCE_REACHABLE, source)] {
            let found = status.conditions.iter().find(|condition| condition.type_ == kind).expect("the condition");
            assert_eq!((&*found.status, &*found.reason), (word, reason.as_str()), "{}: {kind}", stage.label);
        }
    }
    stage.change(json!({ "metadata": { "annotations": { REFRESH: "2026-11-21T10:00:00Z" } } })).await;
    stage.up_to_date("llama").await;
}

/// The next check comes: its result is recorded and its Job removed.
async fn check(stage: &Stage) -> ModelStatus {
    let before = stage.two_days_pass().await.job;
    let recorded =
        |status: &ModelStatus| status.check.as_ref().is_some_and(|check| check.job.is_some() && check.job != before);
    let status = stage.status("the result", recorded).await;
    stage
        .until("the Job is removed", async || {
            let jobs = stage.jobs.list(&ListParams::default()).await.expect("Jobs can be listed").items;
            jobs.iter().all(|job| job.name_any() != "model-plan-llama").then_some(())
        })
        .await;
    status
}
