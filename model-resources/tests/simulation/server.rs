//! A model of the API server: objects with UIDs and versions, preconditions, two ways to delete, one namespace.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use model_core::api::{Model, ModelSpec, ModelStatus, Source, Storage, UrlSource};

pub const NAMESPACE: &str = "team";
pub const MODEL: &str = "llama";

/// The API server answered otherwise than the writer had hoped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// What is stored. A copy of it is what a watch cache holds.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub model: Option<Model>,
    pub claims: BTreeMap<String, PersistentVolumeClaim>,
    pub jobs: BTreeMap<String, Job>,
    pub pods: BTreeMap<String, Pod>,
    /// One counter for UIDs and resource versions: never used twice.
    counter: u64,
}

impl Server {
    fn next(&mut self) -> String {
        self.counter += 1;
        self.counter.to_string()
    }

    /// Counts each change of any object.
    pub const fn version(&self) -> u64 {
        self.counter
    }

    fn stored<K: Serialize + DeserializeOwned>(&mut self, object: &K, at: Timestamp) -> K {
        let (uid, version) = (self.next(), self.next());
        let mut object = serde_json::to_value(object).unwrap();
        let meta = &mut object["metadata"];
        meta["uid"] = format!("uid-{uid}").into();
        meta["resourceVersion"] = version.into();
        meta["creationTimestamp"] = serde_json::to_value(Time(at)).unwrap();
        serde_json::from_value(object).unwrap()
    }

    pub fn create_model(&mut self, at: Timestamp) {
        if self.model.is_none() {
            let source = Source::Url(UrlSource { url: "https://example.com/0".to_owned(), sha256: None });
            let mut model = Model::new(MODEL, ModelSpec::new(source, Storage::of_size("1Gi")));
            model.metadata.namespace = Some(NAMESPACE.to_owned());
            model.metadata.generation = Some(1);
            self.model = Some(self.stored(&model, at));
        }
    }

    /// A user changes the Model, if there is one.
    pub fn change_model(&mut self, change: impl FnOnce(&mut Model)) {
        let version = self.next();
        if let Some(model) = &mut self.model {
            let before = serde_json::to_value(&model.spec).unwrap();
            change(model);
            if serde_json::to_value(&model.spec).unwrap() != before {
                model.metadata.generation = model.metadata.generation.map(|generation| generation + 1);
            }
            model.metadata.resource_version = Some(version);
        }
    }

    pub fn record_status(&mut self, read: &Model, status: ModelStatus) -> Result<(), Conflict> {
        let version = self.next();
        let is_read = |model: &&mut Model| model.metadata.resource_version == read.metadata.resource_version;
        let model = self.model.as_mut().filter(is_read).ok_or(Conflict)?;
        // As it comes back from the API server.
        model.status = serde_json::from_value(serde_json::to_value(status).unwrap()).unwrap();
        model.metadata.resource_version = Some(version);
        Ok(())
    }

    pub fn create_claim(&mut self, claim: &PersistentVolumeClaim, at: Timestamp) -> Result<String, Conflict> {
        let name = claim.metadata.name.clone().unwrap();
        if self.claims.contains_key(&name) {
            return Err(Conflict);
        }
        let claim = self.stored(claim, at);
        let uid = claim.metadata.uid.clone().unwrap();
        self.claims.insert(name, claim);
        Ok(uid)
    }

    /// Replaces the owners of the claim that was read.
    pub fn own_claim(&mut self, read: &PersistentVolumeClaim, owners: Vec<OwnerReference>) -> Result<(), Conflict> {
        let version = self.next();
        let claim = self.claims.get_mut(read.metadata.name.as_ref().unwrap()).ok_or(Conflict)?;
        if claim.metadata.resource_version != read.metadata.resource_version {
            return Err(Conflict);
        }
        claim.metadata.owner_references = (!owners.is_empty()).then_some(owners);
        claim.metadata.resource_version = Some(version);
        Ok(())
    }

    pub fn create_job(&mut self, job: &Job, at: Timestamp) -> Result<(), Conflict> {
        let name = job.metadata.name.clone().unwrap();
        if self.jobs.contains_key(&name) {
            return Err(Conflict);
        }
        let job = self.stored(job, at);
        self.jobs.insert(name, job);
        Ok(())
    }

    /// Deletes the Job of this name and UID, and no other. In the foreground it stays until its pods are gone; in the
    /// background they outlive it.
    pub fn delete_job(&mut self, name: &str, uid: &str, foreground: bool, at: Timestamp) {
        self.next();
        let Some(job) = self.jobs.get_mut(name).filter(|job| job.metadata.uid.as_deref() == Some(uid)) else { return };
        if foreground {
            mark(&mut job.metadata, at);
        } else if job.metadata.deletion_timestamp.is_none() {
            self.jobs.remove(name);
        }
    }

    pub fn create_pod(&mut self, pod: &Pod, at: Timestamp) {
        let pod = self.stored(pod, at);
        self.pods.insert(pod.metadata.name.clone().unwrap(), pod);
    }

    pub fn change_pod(&mut self, name: &str, change: impl FnOnce(&mut Pod)) {
        self.next();
        if let Some(object) = self.pods.get_mut(name) {
            change(object);
        }
    }

    pub fn change_job(&mut self, name: &str, change: impl FnOnce(&mut Job)) {
        self.next();
        if let Some(object) = self.jobs.get_mut(name) {
            change(object);
        }
    }

    pub fn change_claim(&mut self, name: &str, change: impl FnOnce(&mut PersistentVolumeClaim)) {
        let version = self.next();
        if let Some(claim) = self.claims.get_mut(name) {
            change(claim);
            claim.metadata.resource_version = Some(version);
        }
    }

    /// What has lost all its owners goes, and what is being deleted goes when nothing holds it any more.
    pub fn collect(&mut self, at: Timestamp) {
        let before = (self.claims.len(), self.jobs.len());
        let model = self.model.as_ref().and_then(|model| model.metadata.uid.clone());
        let jobs: Vec<_> = self.jobs.values().filter_map(|job| job.metadata.uid.clone()).collect();
        let lives = |owner: &OwnerReference| Some(&owner.uid) == model.as_ref() || jobs.contains(&owner.uid);
        let is_left = |meta: &ObjectMeta| {
            let mut owners = meta.owner_references.iter().flatten().peekable();
            owners.peek().is_some() && !owners.any(lives)
        };
        let left: Vec<_> =
            self.pods.iter().filter(|(_, pod)| is_left(&pod.metadata)).map(|(name, _)| name.clone()).collect();
        for name in left {
            self.change_pod(&name, |pod| mark(&mut pod.metadata, at));
        }
        for claim in self.claims.values_mut().filter(|claim| is_left(&claim.metadata)) {
            mark(&mut claim.metadata, at);
        }
        let pods = &self.pods;
        self.jobs.retain(|_, job| {
            let owns = |pod: &Pod| {
                pod.metadata
                    .owner_references
                    .iter()
                    .flatten()
                    .any(|owner| Some(&owner.uid) == job.metadata.uid.as_ref())
            };
            let held = job.metadata.deletion_timestamp.is_some() && pods.values().any(owns);
            held || (job.metadata.deletion_timestamp.is_none() && !is_left(&job.metadata))
        });
        // In the foreground the pods of a Job go before it.
        let deleted: Vec<_> = self.jobs.values().filter(|job| job.metadata.deletion_timestamp.is_some()).collect();
        let deleted: Vec<_> = deleted.into_iter().filter_map(|job| job.metadata.uid.clone()).collect();
        for pod in self.pods.values_mut() {
            if pod.metadata.owner_references.iter().flatten().any(|owner| deleted.contains(&owner.uid)) {
                mark(&mut pod.metadata, at);
            }
        }
        // A pod that is on no node yet holds no claim.
        let placed: Vec<_> = self.pods.values().filter(|pod| phase(pod) == "Running").collect();
        self.claims.retain(|name, claim| {
            claim.metadata.deletion_timestamp.is_none() || placed.iter().any(|pod| claims_of(pod).any(|it| it == name))
        });
        if (self.claims.len(), self.jobs.len()) != before {
            self.next();
        }
    }
}

/// Notes that it is being deleted.
pub fn mark(meta: &mut ObjectMeta, at: Timestamp) {
    meta.deletion_timestamp.get_or_insert(Time(at));
}

/// The claims of a pod that has not ended.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let all = volumes.filter_map(|volume| Some(volume.persistent_volume_claim.as_ref()?.claim_name.as_str()));
    all.filter(|_| !has_ended(pod))
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

pub fn has_ended(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}
