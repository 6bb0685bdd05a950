//! What blocks a Model.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt;
use model_core::api::{Model, Phase, VerificationResult};
use model_core::decide::Retry;
use model_core::names::job_name;
use model_core::observed::{ClaimState, JobState, Refusal, claim_state, job_state, newest_pod, refusal};
use model_core::persisted::Persisted;
use model_core::reason::Reason;
use model_core::report::Failure;
use model_core::status::{CONTENT_WRITABLE, DOWNLOADED, PRUNE_FAILED, UP_TO_DATE};

use super::parts::{is_download, parts};
use super::{Context, Finding, ModelView, Report, events};
use crate::progress::{is_observed, next_attempt, phase, state};
use crate::text::line;
use model_core::figures::span;

/// What blocks this Model and what to do about it, as of `now`.
#[must_use]
pub fn of_model(view: &ModelView, now: Timestamp) -> Report {
    let (name, namespace) = (view.model.name_any(), view.model.namespace().unwrap_or_default());
    let context = Context { view, name: &name, namespace: &namespace, now };
    Report {
        kind: "Model",
        state: state(&view.model),
        parts: parts(&context),
        findings: findings(&context),
        events: events::newest(&view.events, now),
        unseen: view.unseen.clone(),
        plugin_version: env!("CARGO_PKG_VERSION"),
        name: name.clone(),
        namespace: namespace.clone(),
    }
}

/// What the objects show now comes first, then what the operator has recorded and they do not show.
fn findings(context: &Context) -> Vec<Finding> {
    let model = &context.view.model;
    let persisted = match Persisted::try_from(model) {
        Ok(persisted) => persisted,
        Err(error) => return vec![Finding::of(Reason::InvalidModel, context.name, error.to_string(), "")],
    };
    let mut found = Vec::new();
    if model.metadata.deletion_timestamp.is_some() {
        let what = "the Model is being deleted, and its claim goes with it once no pod mounts it";
        found.push(
            Finding::own("Deleting", what, "", "create it again once it is gone").with(context.kubectl("get pods")),
        );
    } else if !is_observed(model) {
        let what = "the operator has not looked at this version of the Model yet";
        let advice = "wait a few seconds; where that does not help, check that the operator runs";
        found.push(
            Finding::own("NotObserved", what, "", advice)
                .with("kubectl get pods -A -l app.kubernetes.io/part-of=model-operator".to_owned()),
        );
    }
    let claim = claim_state(&persisted, context.view.claim.as_ref(), context.view.class_exists, None);
    found.extend(claim_finding(context, &claim));
    let pod = context.view.job.as_ref().and_then(|job| newest_pod(job, &context.view.pods));
    let job = job_state(&persisted, &claim, context.view.job.as_ref(), pod, None, Refusal::NotRead, context.now);
    // A pod that waits for the claim says no more than the claim itself.
    let of_claim = |finding: &Finding| finding.reason == Reason::ClaimPending.as_str() && !found.is_empty();
    found.extend(job_finding(context, &job, pod).filter(|finding| !of_claim(finding)));
    let recorded = recorded(context, &job);
    found.extend(
        recorded.into_iter().filter(|more| !found.iter().any(|known| known.reason == more.reason)).collect::<Vec<_>>(),
    );
    // What keeps newer content from coming does not keep pods from mounting the earlier one.
    if phase(model) == Phase::Ready && model.metadata.deletion_timestamp.is_none() {
        found = found.into_iter().map(Finding::harmless).collect();
    }
    found.extend(writable(context));
    found.extend(unpruned(context));
    found.extend(damaged(context));
    found.extend(checks(context));
    found.sort_by_key(|finding| !finding.blocks);
    found
}

impl Context<'_> {
    fn kubectl(&self, command: &str) -> String {
        format!("kubectl {command} -n {}", self.namespace)
    }

    fn finding(&self, reason: Reason, what: impl Into<String>, why: &str) -> Finding {
        Finding::of(reason, self.name, what, why)
    }

    fn retry(&self) -> String {
        self.kubectl(&format!("model retry {}", self.name))
    }
}

/// What the newest check of the content that is mounted now has found.
fn damaged(context: &Context) -> Option<Finding> {
    let status = context.view.model.status.as_ref()?;
    let (check, mounted) = (status.verification.as_ref()?, status.content.as_ref()?);
    if check.result != VerificationResult::Damaged || check.content.as_ref() != Some(&mounted.id) {
        return None;
    }
    let (files, faults) = (check.files.unwrap_or(0), check.faults.unwrap_or(0));
    let what = format!("a check found {faults} faults in {files} published files");
    let finding = context.finding(Reason::ContentDamaged, what, check.message.as_deref().unwrap_or_default());
    Some(finding.with(context.kubectl(&format!("model refresh {}", context.name))))
}

fn claim_finding(context: &Context, claim: &ClaimState) -> Option<Finding> {
    let name = context.view.model.spec.storage.claim_name(context.name);
    let describe = context.kubectl(&format!("describe pvc {name}"));
    let warning = || events::warning(&context.view.events, &["ProvisioningFailed", "FailedBinding"], &[&name]);
    match claim {
        ClaimState::Foreign { owner } => {
            let what = format!("claim {name} belongs to {}, so the operator leaves it alone", line(owner));
            Some(context.finding(Reason::ClaimConflict, what, "").with(describe))
        }
        ClaimState::Missing => Some(context.finding(Reason::ClaimNotFound, format!("claim {name} does not exist"), "")),
        ClaimState::Lost => {
            let what = format!("claim {name} lost its volume, and the files with it");
            let delete = context.kubectl(&format!("delete pvc {name}"));
            let finding = context.finding(Reason::ClaimLost, what, "");
            Some(
                Finding { advice: "delete the claim: the download then starts over by itself".to_owned(), ..finding }
                    .with(delete),
            )
        }
        ClaimState::Terminating => {
            let users: Vec<String> = context.view.pods.iter().map(ResourceExt::name_any).collect();
            let why = if users.is_empty() { String::new() } else { format!("still mounted by {}", users.join(", ")) };
            Some(context.finding(Reason::ClaimLost, format!("claim {name} is being deleted"), &why))
        }
        ClaimState::Ours { trouble: Some(trouble), .. } => {
            let what = format!("claim {name} has no volume");
            Some(context.finding(trouble.reason, what, &trouble.message).with("kubectl get storageclass".to_owned()))
        }
        ClaimState::Ours { bound: false, trouble: None, .. } => {
            // Without a warning it waits for its pod to be placed, which is no fault.
            let why = warning()?;
            Some(context.finding(Reason::ClaimPending, format!("claim {name} has no volume"), why).with(describe))
        }
        ClaimState::Absent | ClaimState::Ours { .. } => None,
    }
}

fn job_finding(context: &Context, job: &JobState, pod: Option<&Pod>) -> Option<Finding> {
    let name = job_name(context.name);
    match job {
        JobState::Foreign { owner } => {
            let what = format!("Job {name} belongs to {}, so the operator leaves it alone", line(owner));
            Some(context.finding(Reason::JobConflict, what, "").with(context.kubectl(&format!("describe job {name}"))))
        }
        JobState::Terminating => {
            Some(context.finding(Reason::JobTerminating, format!("Job {name} is being deleted"), ""))
        }
        JobState::Stale { .. } => {
            let what = format!("Job {name} was made for other content or another claim");
            Some(context.finding(Reason::JobStale, what, ""))
        }
        JobState::Failed { failure, .. } => Some(failed(context, failure)),
        JobState::Running { trouble: Some(trouble), .. } => Some(held_up(context, trouble, pod)),
        JobState::Running { trouble: None, unmounted: Some(unmounted), .. } => {
            let pod = pod.map(ResourceExt::name_any).unwrap_or_default();
            let failure = events::not_started(&context.view.events, &pod)?;
            let what = match failure.reason {
                Reason::VolumeNotMounted => {
                    format!("the node has not mounted what pod {pod} needs: {}", line(&unmounted.volumes))
                }
                _ => format!("the node cannot start pod {pod}"),
            };
            Some(
                context
                    .finding(failure.reason, what, &failure.message)
                    .with(context.kubectl(&format!("describe pod {pod}"))),
            )
        }
        JobState::Running { trouble: None, unmounted: None, .. } if pod.is_none() => {
            let why = events::warning(&context.view.events, &["FailedCreate"], &[&name])?;
            let what = format!("the pod of Job {name} is refused");
            Some(context.finding(refusal(why).reason, what, why).with(context.kubectl(&format!("describe job {name}"))))
        }
        JobState::Running { .. } | JobState::Succeeded { .. } | JobState::Absent => None,
    }
}

/// The Job has given up, and waits to be looked at.
fn failed(context: &Context, failure: &Failure) -> Finding {
    let finding = context.finding(failure.reason, "the download failed", &failure.message);
    let finding = with_help(context, finding, failure.reason);
    finding.with(context.retry())
}

/// The Job goes on, and something keeps its pod from ending well.
fn held_up(context: &Context, trouble: &Failure, pod: Option<&Pod>) -> Finding {
    let pod = pod.map(ResourceExt::name_any).unwrap_or_default();
    let what = match trouble.reason {
        Reason::Unschedulable | Reason::ClaimPending => format!("pod {pod} cannot be placed on a node"),
        Reason::ImagePullFailed => format!("pod {pod} has no image"),
        Reason::CredentialsMissing => format!("pod {pod} lacks its credentials"),
        Reason::ContainerNotStarted => format!("the container of pod {pod} cannot be started"),
        Reason::Suspended => "nobody lets the Job run".to_owned(),
        _ => format!("pod {pod} failed; Kubernetes starts another"),
    };
    let finding = with_help(context, context.finding(trouble.reason, what, &trouble.message), trouble.reason);
    match trouble.reason {
        Reason::Unschedulable | Reason::ClaimPending | Reason::ImagePullFailed => {
            finding.with(context.kubectl(&format!("describe pod {pod}")))
        }
        _ => finding,
    }
}

/// The command that shows more of this.
fn with_help(context: &Context, finding: Finding, reason: Reason) -> Finding {
    match (reason, &context.view.model.spec.credentials_secret) {
        (Reason::CredentialsMissing | Reason::AccessDenied | Reason::GatedRepository, Some(secret)) => {
            finding.with(context.kubectl(&format!("describe secret {}", line(secret))))
        }
        (Reason::DownloadFailed, _) => finding.with(context.kubectl(&format!("model logs {}", context.name))),
        _ => finding,
    }
}

/// What the operator has recorded: why it does not go on, and how an attempt failed whose Job is gone.
fn recorded(context: &Context, job: &JobState) -> Vec<Finding> {
    let Some(status) = &context.view.model.status else { return Vec::new() };
    let downloaded = status.conditions.iter().find(|condition| condition.type_ == DOWNLOADED);
    let reason = |word: &str| Reason::ALL.iter().copied().find(|reason| reason.as_str() == word);
    let failure = status.download.as_ref().and_then(|download| download.last_failure.as_ref());
    let mut found = Vec::new();
    if matches!(job, JobState::Absent)
        && let Some(failure) = failure
        && phase_is_failed(context)
    {
        let finding = context.finding(failure.reason, "the download failed", &failure.message);
        let finding = with_help(context, finding, failure.reason);
        found.push(next_try(context, finding));
    } else if let Some(condition) = downloaded
        && let Some(reason) = reason(&condition.reason)
        && (reason.is_trouble() || reason == Reason::NotVerified)
    {
        let what = match reason {
            Reason::Rejected => "the cluster refuses the claim or the Job",
            Reason::NotVerified => "some files were not checked against a digest",
            _ => "the operator cannot go on",
        };
        // The advice stands in the recorded message already; here it has a line of its own.
        let advice = reason.advice().replace("NAME", context.name);
        let why = condition.message.strip_suffix(&advice).unwrap_or(&condition.message);
        found.push(context.finding(reason, what, why.trim_end_matches("; ")));
    }
    if let Some(failure) = failure
        && phase(&context.view.model) == Phase::Downloading
    {
        let finding = context.finding(failure.reason, "an attempt before this one failed", &failure.message);
        found.push(Finding { advice: String::new(), ..finding }.harmless());
    }
    found
}

fn phase_is_failed(context: &Context) -> bool {
    let up_to_date = |condition: &&Condition| condition.type_ == DOWNLOADED && condition.status == "True";
    let status = context.view.model.status.iter();
    let downloaded = status.flat_map(|status| &status.conditions).find(up_to_date).is_some();
    !downloaded && matches!(phase(&context.view.model), Phase::Failed | Phase::Ready)
}

/// When a failed download whose Job is gone is tried again.
fn next_try(context: &Context, finding: Finding) -> Finding {
    let when = match next_attempt(&context.view.model, context.now) {
        Some(Retry::At(when)) => {
            format!("it is tried again by itself in {}", span(when.duration_since(context.now).as_secs()))
        }
        Some(Retry::Now) => return Finding { advice: "it is being started again".to_owned(), ..finding },
        Some(Retry::Never) | None => "it is not tried again by itself".to_owned(),
    };
    let advice = if finding.advice.is_empty() { when } else { format!("{}; {when}", finding.advice) };
    Finding { advice, ..finding }.with(context.retry())
}

fn writable(context: &Context) -> Option<Finding> {
    let status = context.view.model.status.as_ref()?;
    let condition = status.conditions.iter().find(|condition| condition.type_ == CONTENT_WRITABLE)?;
    let why = condition.message.split("; ").next().unwrap_or_default();
    Some(context.finding(Reason::WritableMount, "the files may no longer be what was verified", why).harmless())
}

fn unpruned(context: &Context) -> Option<Finding> {
    let status = context.view.model.status.as_ref()?;
    let condition = status.conditions.iter().find(|condition| condition.type_ == PRUNE_FAILED)?;
    let why = condition.message.split("; ").next().unwrap_or_default();
    Some(context.finding(Reason::PruneFailed, "earlier content takes room on the claim", why).harmless())
}

/// What was found when the source was asked for newer content. None of it keeps pods from mounting what is there.
fn checks(context: &Context) -> Vec<Finding> {
    let Some(status) = context.view.model.status.as_ref().filter(|status| status.check.is_some()) else {
        return Vec::new();
    };
    let newer = |condition: &&Condition| {
        condition.type_ == UP_TO_DATE && condition.reason == Reason::NewRevision.as_str() && condition.status == "False"
    };
    let newer = status.conditions.iter().find(newer).map(|condition| {
        let why = condition.message.split("; fetch it").next().unwrap_or_default();
        context
            .finding(Reason::NewRevision, "the source has newer content than what is mounted", why)
            .with(context.kubectl(&format!("model refresh {}", context.name)))
    });
    let failed = status.check.as_ref().and_then(|check| check.last_failure.as_ref()).map(|failure| {
        let what = "the source could not be asked for newer content";
        let finding = with_help(context, context.finding(failure.reason, what, &failure.message), failure.reason);
        // Much advice ends in a Job to delete; there is none.
        Finding { advice: "it is asked again after spec.checkInterval".to_owned(), ..finding }
    });
    newer.into_iter().chain(failed).map(Finding::harmless).collect()
}

/// Whether a pod belongs to the view of a Model: a pod of its Job, or one that mounts its claim.
pub(crate) fn concerns(pod: &Pod, model: &Model) -> bool {
    let name = model.name_any();
    is_download(pod, &name) || crate::usage::mounts(pod, &model.spec.storage.claim_name(&name))
}
