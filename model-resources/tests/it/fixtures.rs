//! Models as an API server would hand them out.

use model_core::api::{
    Content, HuggingFaceSource, JobTemplate, Model, ModelSpec, ModelStatus, Phase, S3Source, Source, Storage, UrlSource,
};
use model_core::persisted::{Downloader, Persisted};
use model_resources::DownloadSettings;

/// A stored Model with this source, and nothing else set that has a default.
pub fn model(name: &str, source: Source) -> Model {
    let mut model = Model::new(name, ModelSpec::new(source, Storage::of_size("20Gi")));
    model.metadata.namespace = Some("team-a".into());
    model.metadata.uid = Some("0b5ee3ac-0d9c-4b1c-a2fd-7a1b6b5bb001".into());
    model.metadata.generation = Some(1);
    model
}

/// A status with this phase and this content.
pub fn status(phase: Phase, content: Option<Content>) -> ModelStatus {
    let mut status = ModelStatus::default();
    (status.phase, status.content) = (Some(phase), content);
    status
}

/// The Model as the builders take it.
pub fn persisted(model: &Model) -> Persisted<'_> {
    Persisted::try_from(model).unwrap()
}

pub fn hugging_face() -> Source {
    Source::HuggingFace(HuggingFaceSource {
        repo_id: "meta-llama/Llama-3.1-8B-Instruct".into(),
        revision: "main".into(),
        include: vec!["*.safetensors".into(), "*.json".into()],
        exclude: vec!["original/*".into()],
    })
}

pub fn s3() -> Source {
    Source::S3(S3Source {
        bucket: "models".into(),
        key: "llama/3.1".into(),
        endpoint: Some("https://minio.storage.svc:9000".into()),
        region: Some("eu-central-1".into()),
    })
}

pub fn url() -> Source {
    Source::Url(UrlSource {
        url: "https://example.com/files/model.gguf?download=true".into(),
        sha256: Some("9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08".into()),
    })
}

/// Each source with the name of its kind.
pub fn sources() -> [(&'static str, Source); 3] {
    [("hugging_face", hugging_face()), ("s3", s3()), ("url", url())]
}

pub fn stock() -> DownloadSettings {
    DownloadSettings::default()
}

pub fn loader() -> DownloadSettings {
    let image = "registry.example.com/model-loader:v0.1.0".into();
    DownloadSettings::new(Downloader::Loader { image })
}

/// A Job template with every field set; its labels and annotations try to replace the operator's.
pub fn full_template() -> JobTemplate {
    serde_json::from_value(serde_json::json!({
        "labels": {
            "team": "a",
            "models.main-currents.news/model": "another",
            "app.kubernetes.io/managed-by": "somebody"
        },
        "annotations": {
            "sidecar.istio.io/inject": "false",
            "models.main-currents.news/content-id": "forged",
            "models.main-currents.news/claim-uid": "forged"
        },
        "tolerations": [{ "key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule" }],
        "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a"] }] }
        ] } } },
        "priorityClassName": "batch",
        "resources": { "requests": { "cpu": "2", "memory": "1Gi" }, "limits": { "memory": "2Gi" } },
        "serviceAccountName": "bucket-reader",
        "imagePullSecrets": [{ "name": "registry" }],
        "activeDeadlineSeconds": 86400
    }))
    .unwrap()
}
