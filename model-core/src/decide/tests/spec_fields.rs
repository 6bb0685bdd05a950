//! Each field of the spec changed alone: what downloads again, and what does not.

use std::collections::BTreeMap;

use super::world::model;
use crate::api::{HuggingFaceSource, JobTemplate, Model, S3Source, Source, UrlSource};
use crate::labels;
use crate::persisted::Persisted;

fn id(model: &Model) -> String {
    Persisted::try_from(model).unwrap().content_id
}

fn from(source: Source) -> Model {
    let mut model = model("https://example.com/0");
    model.spec.source = source;
    model
}

#[test]
fn only_content_downloads_again() {
    type Change = fn(&mut Model);
    let changes: [(&str, bool, Change); 10] = [
        ("version", true, |m| m.spec.version = Some("2".into())),
        ("refresh annotation", true, |m| {
            m.metadata.annotations =
                Some(BTreeMap::from([(labels::REFRESH.to_owned(), "2026-01-01T00:00:00Z".to_owned())]));
        }),
        ("other annotation", false, |m| {
            m.metadata.annotations = Some(BTreeMap::from([("team".to_owned(), "a".to_owned())]));
        }),
        ("storage.size", false, |m| m.spec.storage.size = Some("2Gi".into())),
        ("preflight", false, |m| m.spec.preflight = true),
        ("storage.storageClass", false, |m| m.spec.storage.storage_class = Some("fast".into())),
        ("storage.accessModes", false, |m| m.spec.storage.access_modes.clear()),
        ("credentialsSecret", false, |m| m.spec.credentials_secret = Some("token".into())),
        ("nodeSelector", false, |m| m.spec.node_selector = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())])),
        ("jobTemplate", false, |m| m.spec.job_template = Some(JobTemplate::default())),
    ];
    for (field, downloads, change) in changes {
        let mut other = model("https://example.com/0");
        change(&mut other);
        *other.metadata.generation.as_mut().unwrap() += 1;
        assert_eq!(id(&other) != id(&model("https://example.com/0")), downloads, "{field}");
    }
}

#[test]
fn every_field_of_a_source_counts() {
    let hugging_face = |change: fn(&mut HuggingFaceSource)| {
        let mut source =
            HuggingFaceSource { repo_id: "a/b".into(), revision: "main".into(), include: vec![], exclude: vec![] };
        change(&mut source);
        from(Source::HuggingFace(source))
    };
    let s3 = |change: fn(&mut S3Source)| {
        let mut source = S3Source { bucket: "abc".into(), key: "k".into(), endpoint: None, region: None };
        change(&mut source);
        from(Source::S3(source))
    };
    let url = |sha256: Option<&str>| {
        from(Source::Url(UrlSource { url: "https://example.com/x".into(), sha256: sha256.map(str::to_owned) }))
    };
    let models = vec![
        hugging_face(|_| {}),
        hugging_face(|s| s.repo_id = "a/c".into()),
        hugging_face(|s| s.revision = "v1".into()),
        hugging_face(|s| s.include = vec!["*.json".into()]),
        hugging_face(|s| s.exclude = vec!["*.json".into()]),
        s3(|_| {}),
        s3(|s| s.bucket = "abd".into()),
        s3(|s| s.key = "l".into()),
        s3(|s| s.endpoint = Some("http://minio:9000".into())),
        s3(|s| s.region = Some("eu-central-1".into())),
        url(None),
        url(Some("00")),
    ];
    let ids: std::collections::BTreeSet<String> = models.iter().map(id).collect();
    assert_eq!(ids.len(), models.len());
}
