//! What a user does in a history, and what is waited for.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use model_core::api::{Content, Model, ModelStatus, Phase, SourceCheck};
use model_core::persisted::wanted_content_id;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::picture::Picture;

/// How long a history waits for what must come. It only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the cluster moves.
const ROUND: Duration = Duration::from_millis(40);

/// A namespace of one run.
pub struct Stage {
    /// Which run it is, for people.
    pub label: String,
    pub client: Client,
    pub namespace: String,
    pub models: Api<Model>,
    pub claims: Api<PersistentVolumeClaim>,
    pub jobs: Api<Job>,
    pub pods: Api<Pod>,
    pub cluster: Cluster,
}

impl Stage {
    pub async fn new(client: Client, label: &str) -> Self {
        let namespace = format!("run-of-{}", label.to_ascii_lowercase());
        let metadata = ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() };
        let own = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &own).await.expect("a namespace");
        Self {
            label: label.to_owned(),
            models: Api::namespaced(client.clone(), &namespace),
            claims: Api::namespaced(client.clone(), &namespace),
            jobs: Api::namespaced(client.clone(), &namespace),
            pods: Api::namespaced(client.clone(), &namespace),
            cluster: Cluster::new(&client, &namespace),
            client,
            namespace,
        }
    }

    /// Lets the cluster move until `look` finds something.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.cluster.round().await;
            if let Some(found) = look().await {
                return found;
            }
            let in_time = Instant::now() < deadline;
            assert!(in_time, "{}: still waiting: {what}; {:#?}", self.label, Picture::of(self).await);
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Creates a Model.
    pub async fn create(&self, name: &str, spec: &Value) -> Model {
        let model = json!({
            "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model", "metadata": { "name": name },
            "spec": spec,
        });
        let model = serde_json::from_value(model).expect("a Model");
        self.models.create(&PostParams::default(), &model).await.expect("the Model is accepted")
    }

    /// Changes the Model `llama`.
    pub async fn change(&self, change: Value) -> Model {
        let patch = Patch::Merge(change);
        self.models.patch("llama", &PatchParams::default(), &patch).await.expect("the change is accepted")
    }

    pub async fn status_of(&self, name: &str, what: &str, wanted: impl Fn(&ModelStatus) -> bool) -> ModelStatus {
        self.until(what, async || {
            let status = self.models.get_opt(name).await.expect("it can be read")?.status.unwrap_or_default();
            wanted(&status).then_some(status)
        })
        .await
    }

    pub async fn status(&self, what: &str, wanted: impl Fn(&ModelStatus) -> bool) -> ModelStatus {
        self.status_of("llama", what, wanted).await
    }

    /// Waits until what this Model asks for is being downloaded.
    pub async fn downloads(&self, model: &Model) {
        let wanted = wanted_content_id(model);
        let is_started = |status: &ModelStatus| {
            let download = status.download.as_ref().filter(|download| download.started_at.is_some());
            download.is_some_and(|download| download.id == wanted)
        };
        self.status("the download of the new content", is_started).await;
    }

    /// Waits until the status speaks of the newest spec, and nothing but the wanted content is offered.
    pub async fn up_to_date(&self, name: &str) -> Content {
        self.until("the wanted content is offered", async || {
            let model = self.models.get_opt(name).await.expect("it can be read")?;
            let wanted = wanted_content_id(&model);
            let status = model.status?;
            let content = status.content.filter(|content| content.id == wanted)?;
            (status.phase == Some(Phase::Ready) && status.observed_generation == model.metadata.generation)
                .then_some(content)
        })
        .await
    }

    /// As if so much time had passed: what is recorded is older.
    pub async fn eleven_minutes_pass(&self) {
        let mut earlier = self.status("earlier content", |status| !status.earlier.is_empty()).await.earlier;
        for content in &mut earlier {
            content.since.0 -= jiff::SignedDuration::from_mins(11);
        }
        let patch = Patch::Merge(json!({ "status": { "earlier": earlier } }));
        self.models.patch_status("llama", &PatchParams::default(), &patch).await.expect("the status is accepted");
    }

    /// As if two days had passed: the next check is due. Gives what was recorded of the last one.
    pub async fn two_days_pass(&self) -> SourceCheck {
        let check = self.status("checks are planned", |status| status.check.is_some()).await.check.expect("a check");
        let ago = |time: &Time| Time(time.0 - jiff::SignedDuration::from_hours(48));
        let older = json!({ "since": ago(&check.since), "checkedAt": check.checked_at.as_ref().map(ago) });
        let patch = Patch::Merge(json!({ "status": { "check": older } }));
        self.models.patch_status("llama", &PatchParams::default(), &patch).await.expect("the status is accepted");
        check
    }

    pub async fn delete_and_wait<K>(&self, api: &Api<K>, name: &str)
    where
        K: Clone + Debug + DeserializeOwned + kube::Resource,
    {
        let uid = api.get(name).await.expect("it is there").uid();
        api.delete(name, &DeleteParams::background()).await.expect("it is deleted");
        self.until("it is gone", async || {
            let found = api.get_opt(name).await.expect("it can be read");
            (found.and_then(|object| object.uid()) != uid).then_some(())
        })
        .await;
    }

    pub async fn delete_model(&self) {
        self.delete_and_wait(&self.models, "llama").await;
        self.until("what it owned is gone", async || {
            let owned = |owners: &[OwnerReference]| owners.iter().any(|owner| owner.kind == "Model");
            let jobs = self.jobs.list(&ListParams::default()).await.expect("Jobs can be listed").items;
            let claims = self.claims.list(&ListParams::default()).await.expect("claims can be listed").items;
            let left = jobs.iter().any(|job| owned(job.owner_references()))
                || claims.iter().any(|claim| owned(claim.owner_references()));
            (!left).then_some(())
        })
        .await;
    }
}
