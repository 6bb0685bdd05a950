//! One scenario's place: a namespace of its own, and what every scenario says there.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::time::{Duration, Instant};

use e2e::hub::{Files, sha256};
use e2e::wait::{Seen, until};
use e2e::{Answer, Cluster, Error, Hub};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Resource};
use model_core::api::{Model, ModelStatus, Phase};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use test_hub::{Fault, Rule};

/// The storage class of the node that makes volumes. Scenarios add others.
pub const NODE_CLASS: &str = "local-path";
/// Seconds that a step may take on a machine that does much else. Nothing waits this long when all is well.
pub const PATIENCE: u64 = 180;

/// Bytes of an answer of a repository that is held back: more than what a download must get to try again without end.
const HELD_BACK: u64 = 96 << 10;

/// One scenario's place.
#[derive(Clone)]
pub struct Scene {
    pub cluster: Cluster,
    pub hub: Hub,
    /// The cluster on this machine, for its disks.
    pub node: dev_cluster::Cluster,
    pub namespace: String,
    /// Whether somebody kills the webhook and the kubelet here: who is refused for want of them asks again.
    pub unsteady: bool,
}

/// What a webhook says whose watch has not come to what the test saw already.
const NOT_FOUND_YET: &str = "model not found";
const NOT_READY_YET: &str = "model not ready";
/// What the API server says that did not reach the webhook in time.
const UNREACHED: &str = "failed calling webhook";
/// What a webhook says that has come back. Its Service may not have heard yet that it was gone.
const JUST_STARTED: &str = "has not read the Models yet";
/// What comes of a certificate that is not trusted, which no time cures.
const UNTRUSTED: &str = "x509";

/// What `kubectl` says when webhook or kubelet do not answer, or a kubelet has not come to this pod yet.
const AWAY: [&str; 5] = [UNREACHED, JUST_STARTED, ":10250/containerLogs/", "unexpected EOF", " pods/log "];

impl Scene {
    /// Applies an object as a user would; a refusal ends the scenario.
    pub fn apply(&self, object: &Value) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let answer = self.try_apply(object)?;
            if answer.ok {
                return Ok(());
            }
            assert!(self.asks_again(start, &answer.text), "{}", answer.text);
        }
    }

    /// Applies an object as a user would, and gives the answer.
    pub fn try_apply(&self, object: &Value) -> Result<Answer, Error> {
        self.cluster.apply(&self.namespace, &object.to_string())
    }

    /// Creates a pod that is to be let in with its Models, which are Ready: like those in Kubernetes who create pods, this
    /// asks again while the webhook is a moment behind or not reached. Who expects a denial has [`Self::try_apply`].
    pub async fn admit(&self, pod: &impl Display) -> Result<(), Error> {
        self.admit_past(pod, &[NOT_READY_YET, NOT_FOUND_YET, JUST_STARTED, UNREACHED]).await
    }

    /// The same for a pod that is to be let in whether or not its Models are Ready: nobody may say that they are not.
    pub async fn admit_waiting(&self, pod: &impl Display) -> Result<(), Error> {
        self.admit_past(pod, &[NOT_FOUND_YET, JUST_STARTED, UNREACHED]).await
    }

    async fn admit_past(&self, pod: &impl Display, refusals: &[&str]) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_secs(PATIENCE);
        loop {
            let answer = self.cluster.apply(&self.namespace, &pod.to_string())?;
            if answer.ok {
                return Ok(());
            }
            let passes = refusals.iter().any(|words| answer.text.contains(words)) && !answer.text.contains(UNTRUSTED);
            assert!(passes && Instant::now() < deadline, "refused: {}", answer.text);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Runs `kubectl` in the scenario's namespace.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String, Error> {
        let start = Instant::now();
        loop {
            match self.cluster.run(&[&["-n", &self.namespace], arguments].concat()) {
                Err(error) if self.asks_again(start, &error.to_string()) => {}
                result => return result,
            }
        }
    }

    /// Waits for a moment where a refusal means that somebody is away who was killed.
    fn asks_again(&self, start: Instant, refusal: &str) -> bool {
        let is_away = self.unsteady && AWAY.iter().any(|words| refusal.contains(words));
        let again = is_away && start.elapsed() < Duration::from_secs(PATIENCE);
        if again {
            std::thread::sleep(Duration::from_millis(200));
        }
        again
    }

    /// Applies a Model of 64 MiB with this source.
    pub fn model(&self, name: &str, source: &Value) -> Result<(), Error> {
        self.apply(&model(name, source))
    }

    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    /// Watches an object until `judge` is content.
    pub async fn until<K, T>(
        &self,
        name: &str,
        what: &str,
        judge: impl FnMut(Option<&K>) -> Seen<T>,
    ) -> Result<T, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        until(&self.cluster, &self.namespace, name, what, PATIENCE, judge).await
    }

    /// Waits until the object is there and `judge` finds something in it.
    pub async fn find<K, T>(&self, name: &str, what: &str, judge: impl Fn(&K) -> Option<T>) -> Result<T, Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        self.until(name, what, |object: Option<&K>| match object.and_then(&judge) {
            Some(found) => Seen::Done(found),
            None => Seen::NotYet,
        })
        .await
    }

    /// Waits until the object is gone.
    pub async fn gone<K>(&self, name: &str) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        self.until(name, "go away", |object: Option<&K>| if object.is_none() { Seen::Done(()) } else { Seen::NotYet })
            .await
    }

    /// Waits until the Model is Ready. A failure ends the scenario at once.
    pub async fn ready(&self, name: &str) -> Result<ModelStatus, Error> {
        self.until(name, "become Ready", |model: Option<&Model>| {
            let Some(status) = model.and_then(|model| model.status.clone()) else { return Seen::NotYet };
            match status.phase {
                Some(Phase::Ready) => Seen::Done(status),
                Some(Phase::Failed) => Seen::Never(status.message.unwrap_or_default()),
                Some(Phase::Pending | Phase::Downloading) | None => Seen::NotYet,
            }
        })
        .await
    }

    /// Waits until the Model is Failed.
    pub async fn failed(&self, name: &str) -> Result<ModelStatus, Error> {
        self.until(name, "become Failed", |model: Option<&Model>| {
            let Some(status) = model.and_then(|model| model.status.clone()) else { return Seen::NotYet };
            match status.phase {
                Some(Phase::Failed) => Seen::Done(status),
                Some(Phase::Ready) => Seen::Never("it is Ready".to_owned()),
                Some(Phase::Pending | Phase::Downloading) | None => Seen::NotYet,
            }
        })
        .await
    }

    /// Waits until a pod has ended, and gives its log. A pod that failed ends the scenario.
    pub async fn log(&self, pod: &str) -> Result<String, Error> {
        self.until(pod, "succeed", |pod: Option<&Pod>| match phase(pod) {
            Some("Succeeded") => Seen::Done(()),
            Some("Failed") => Seen::Never("it failed".to_owned()),
            _ => Seen::NotYet,
        })
        .await?;
        self.kubectl(&["logs", pod])
    }

    /// What a pod that asks for `model` reads: SHA-256 by file name.
    pub async fn digests(&self, model: &str) -> Result<BTreeMap<String, String>, Error> {
        let name = format!("reads-{model}");
        self.admit(&pod(&name, &json!({ "inject": model }), &digest_script(&format!("/models/{model}")))).await?;
        Ok(parse_digests(&self.log(&name).await?))
    }

    /// Applies a Model, waits until it is Ready and compares what a pod reads with what the source holds.
    pub async fn downloads(&self, name: &str, source: &Value, files: &Files) -> Result<ModelStatus, Error> {
        self.model(name, source)?;
        let status = self.ready(name).await?;
        assert_eq!(self.digests(name).await?, digests(files));
        Ok(status)
    }

    /// Name of a repository that is this scenario's own.
    pub fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.namespace)
    }

    /// Has the hub serve a repository with these files, each connection no faster than this.
    pub async fn slow_repository(&self, repository: &str, files: &Files, bytes_per_second: u64) -> Result<(), Error> {
        self.hub.repository(repository, files)?;
        self.answers(repository, Fault::Rate { bytes_per_second }).await
    }

    /// Has the hub serve a repository with these files and hold it back until [`Self::let_go`]: a file of 3 MiB takes two
    /// minutes. Each answer ends after some seconds, so that what is asked for next comes as it is then to come.
    pub async fn held_back(&self, repository: &str, files: &Files) -> Result<(), Error> {
        self.slow_repository(repository, files, HELD_BACK / 3).await?;
        self.answers(repository, Fault::Close { after: HELD_BACK, reset: false }).await
    }

    /// Has the hub send what it held back.
    pub async fn let_go(&self, repository: &str) -> Result<(), Error> {
        // Of two rules of one kind the later one counts.
        const WHOLE: u64 = 1 << 40;
        self.answers(repository, Fault::Rate { bytes_per_second: WHOLE }).await?;
        self.answers(repository, Fault::Close { after: WHOLE, reset: false }).await
    }

    async fn answers(&self, repository: &str, fault: Fault) -> Result<(), Error> {
        self.hub.add_fault(&self.cluster, &Rule::new(fault).path(&format!("*{repository}*"))).await
    }

    /// The node's storage class under another name, and not the default.
    pub fn storage_class(&self, name: &str) -> Result<Value, Error> {
        let class = self.cluster.run(&["get", "storageclass", NODE_CLASS, "-o", "json"])?;
        let mut class: Value = serde_json::from_str(&class).expect("kubectl prints JSON");
        // The volumes' type stands in an annotation, too.
        let annotations = class["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        let kept: serde_json::Map<_, _> =
            annotations.into_iter().filter(|(key, _)| !key.contains("kubernetes.io/")).collect();
        class["metadata"] = json!({ "name": name, "annotations": kept });
        Ok(class)
    }

    /// Events of the namespace: `REASON MESSAGE`, a line each.
    pub fn events(&self, object: &str) -> Result<String, Error> {
        let selector = format!("--field-selector=involvedObject.name={object}");
        let columns = r#"-o=jsonpath={range .items[*]}{.type} {.reason} {.message}{"\n"}{end}"#;
        self.kubectl(&["get", "events", &selector, columns])
    }
}

/// A Model of 64 MiB.
pub fn model(name: &str, source: &Value) -> Value {
    json!({
        "apiVersion": "models.main-currents.news/v1alpha1",
        "kind": "Model",
        "metadata": { "name": name },
        "spec": { "source": source, "storage": { "size": "64Mi" } },
    })
}

pub fn hugging_face(repository: &str) -> Value {
    json!({ "huggingFace": { "repoId": repository } })
}

pub fn url(path: &str) -> Value {
    json!({ "url": { "url": format!("{}/{path}", e2e::hub::URL) } })
}

pub fn s3(bucket: &str, key: &str) -> Value {
    json!({ "s3": { "bucket": bucket, "key": key, "endpoint": e2e::hub::S3_URL } })
}

pub fn secret(name: &str, values: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": values })
}

/// A pod that runs a shell script to its end as an ordinary user. `annotations` stand without their prefix.
pub fn pod(name: &str, annotations: &Value, script: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "annotations": prefixed(annotations) },
        "spec": pod_spec(script),
    })
}

pub fn pod_spec(script: &str) -> Value {
    json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": { "runAsUser": 1000, "runAsNonRoot": true },
        "containers": [{
            "name": "app", "image": "busybox:stable", "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-ec", script],
        }],
    })
}

/// Annotations under the group's prefix.
pub fn prefixed(annotations: &Value) -> Value {
    let entries = annotations.as_object().into_iter().flatten();
    entries.map(|(key, value)| (format!("{}/{key}", model_core::labels::GROUP), value.clone())).collect()
}

/// Prints the digest of every file below `folder` that belongs to a model: tools keep their own in hidden directories.
pub fn digest_script(folder: &str) -> String {
    format!("cd {folder}; find . -type f ! -path './.*/*' | sort | xargs sha256sum")
}

/// Reads the output of `sha256sum`.
pub fn parse_digests(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (digest, name) = line.split_once("  ")?;
        Some((name.trim_start_matches("./").to_owned(), digest.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// What a pod should read.
pub fn digests(files: &Files) -> BTreeMap<String, String> {
    files.iter().map(|(name, content)| (name.clone(), sha256(content))).collect()
}

/// A model of three files, one of them in a directory, with content that depends on `seed`.
pub fn files(seed: &str) -> Files {
    Files::from([
        ("config.json".to_owned(), format!("{{\"model_type\": \"{seed}\"}}\n").into_bytes()),
        ("model.safetensors".to_owned(), noise(seed, 3 << 20)),
        ("tokenizer/vocab.txt".to_owned(), noise(&format!("vocab {seed}"), 10_000)),
    ])
}

/// Bytes without a pattern, the same for the same seed.
pub fn noise(seed: &str, length: usize) -> Vec<u8> {
    let mut state = seed
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

pub fn phase(pod: Option<&Pod>) -> Option<&str> {
    pod?.status.as_ref()?.phase.as_deref()
}
