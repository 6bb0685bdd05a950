//! What blocks a Model or a pod, and what to do about it.
//!
//! Objects go in, a [`Report`] comes out: [`of_model`] and [`of_pod`]. It holds no secrets: objects are never repeated
//! whole, and addresses in messages stand there without user and query.

mod events;
mod model;
mod parts;
mod pod;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use model_core::api::Model;
use model_core::reason::Reason;
use serde::Serialize;

use crate::text::line;

pub(crate) use model::concerns;
pub use model::of_model;
pub(crate) use pod::wanted;
pub use pod::{Asked, of_pod};

/// One look at a Model and all that belongs to it.
#[derive(Clone, Debug)]
pub struct ModelView {
    /// The Model.
    pub model: Model,
    /// The claim of its name.
    pub claim: Option<PersistentVolumeClaim>,
    /// Whether the claim's storage class exists. `None` where nobody looked.
    pub class_exists: Option<bool>,
    /// The Job of its name.
    pub job: Option<Job>,
    /// The pods of the namespace that belong to its Job or mount its claim.
    pub pods: Vec<Pod>,
    /// Events on any of these.
    pub events: Vec<Event>,
    /// What could not be seen, and why.
    pub unseen: Vec<String>,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `Model` or `Pod`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its state in one line.
    pub state: String,
    /// The objects that belong to it.
    pub parts: Vec<Part>,
    /// What is wrong or worth knowing, the most important first.
    pub findings: Vec<Finding>,
    /// The newest Events on it and its parts, newest first.
    pub events: Vec<EventLine>,
    /// What could not be seen, and why: the findings may then be incomplete.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// Version of this plugin.
    pub plugin_version: &'static str,
}

/// An object that belongs to what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// What it is: `source`, `claim`, `Job`, `pod`, `container`, `Model`.
    pub what: &'static str,
    /// Its name.
    pub name: String,
    /// Its state in one line.
    pub state: String,
}

/// Something that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// One word: that of the operator, where it has one.
    pub reason: String,
    /// Whether the Model cannot be mounted, or the pod not run, until this is settled.
    pub blocks: bool,
    /// The thing at fault, and what is wrong with it.
    pub what: String,
    /// What the cluster or the source said about it. Empty where that adds nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// What to do. Empty where nothing needs doing.
    #[serde(rename = "do", skip_serializing_if = "String::is_empty")]
    pub advice: String,
    /// Commands that help with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

/// One Event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventLine {
    /// How long ago it was seen last.
    pub age: String,
    /// `Normal` or `Warning`.
    pub kind: String,
    /// One word.
    pub reason: String,
    /// `Kind/name` of the object.
    pub object: String,
    /// The message.
    pub message: String,
}

impl Report {
    /// Whether anything blocks.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.findings.iter().any(|finding| finding.blocks)
    }
}

impl Finding {
    /// A finding with a reason of the operator and its advice for the Model `model`.
    pub(crate) fn of(reason: Reason, model: &str, what: impl Into<String>, why: &str) -> Self {
        // People who have this plugin need not know which Job that is.
        let advice = reason.advice().replace("delete the Job to retry", "retry").replace("NAME", model);
        Self {
            reason: reason.as_str().to_owned(),
            blocks: reason.is_trouble(),
            what: what.into(),
            why: line(why),
            advice,
            commands: Vec::new(),
        }
    }

    /// A finding of this plugin's own.
    pub(crate) fn own(reason: &str, what: impl Into<String>, why: &str, advice: impl Into<String>) -> Self {
        Self {
            reason: line(reason),
            blocks: true,
            what: what.into(),
            why: line(why),
            advice: advice.into(),
            commands: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, command: String) -> Self {
        self.commands.push(command);
        self
    }

    /// Worth knowing, and no hindrance.
    pub(crate) fn harmless(mut self) -> Self {
        self.blocks = false;
        self
    }
}

/// The report on one screen.
#[must_use]
pub fn screen(report: &Report) -> String {
    let mut text = format!("{} {} in namespace {}\n  {}\n", report.kind, report.name, report.namespace, report.state);
    let width = report.parts.iter().map(|part| part.what.len()).max().unwrap_or_default();
    for part in &report.parts {
        let _ = writeln!(text, "  {:<width$}  {}: {}", part.what, part.name, part.state);
    }
    let (blocking, worth_knowing): (Vec<_>, Vec<_>) = report.findings.iter().partition(|finding| finding.blocks);
    match blocking.as_slice() {
        [] => text.push_str("\nNothing blocks it.\n"),
        blocking => list(&mut text, "What blocks it", blocking),
    }
    if !worth_knowing.is_empty() {
        list(&mut text, "Worth knowing", &worth_knowing);
    }
    if !report.events.is_empty() {
        text.push_str("\nNewest Events\n");
        for event in &report.events {
            let _ = writeln!(text, "  {:>6}  {} {}: {}", event.age, event.reason, event.object, event.message);
        }
    }
    for unseen in &report.unseen {
        let _ = write!(text, "\nnot seen: {unseen}");
    }
    text.trim_end().to_owned()
}

fn list(text: &mut String, title: &str, findings: &[&Finding]) {
    let _ = writeln!(text, "\n{title}");
    for (number, finding) in findings.iter().enumerate() {
        let _ = writeln!(text, "  {}. {}: {}", number + 1, finding.reason, finding.what);
        if !finding.why.is_empty() && finding.why != finding.what {
            let _ = writeln!(text, "     why: {}", finding.why);
        }
        if !finding.advice.is_empty() {
            let _ = writeln!(text, "     do:  {}", finding.advice);
        }
        for command in &finding.commands {
            let _ = writeln!(text, "          {command}");
        }
    }
}

/// The time that findings are measured against, with what they are about.
struct Context<'a> {
    view: &'a ModelView,
    name: &'a str,
    namespace: &'a str,
    now: Timestamp,
}
