//! The download container with the images that the specification names.
//!
//! Files go to the claim's root, or to the Model's directory on a claim that it shares. Each script is one constant text; what a user wrote is in the environment.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EmptyDirVolumeSource, Volume, VolumeMount};
use model_core::api::{HuggingFaceSource, S3Source, Source, UrlSource};
use model_core::persisted::{Downloader, Persisted};
use serde_json::json;

use super::environment::Environment;
use super::{CONTAINER, Mode, claim_mount, on_claim, security};
use crate::expansion::literal;
use crate::file_name::{key_file_name, url_file_name};

const HUGGING_FACE_IMAGE: &str = "python:3.11-slim";
const S3_IMAGE: &str = "amazon/aws-cli:latest";
const URL_IMAGE: &str = "curlimages/curl:latest";

/// Name of the volume that is home and temporary directory: the rest of the file system is read-only.
const HOME_VOLUME: &str = "home";
const HOME: &str = "/tmp";

pub(super) fn mode(model: &Persisted, settings: &BTreeMap<String, String>) -> Mode {
    let mut environment = Environment::new(settings);
    environment.set("HOME", HOME);
    environment.set("MODEL_DIR", &on_claim(&model.content_path(&Downloader::Stock)));
    let (image, script) = match &model.spec.source {
        Source::HuggingFace(source) => {
            set_hugging_face(&mut environment, source);
            (HUGGING_FACE_IMAGE, include_str!("scripts/hugging-face.sh"))
        }
        Source::S3(source) => {
            set_s3(&mut environment, source);
            (S3_IMAGE, include_str!("scripts/s3.sh"))
        }
        Source::Url(source) => {
            set_url(&mut environment, source);
            if let Some(secret) = &model.spec.credentials_secret {
                environment.set("MODEL_SECRET", secret);
            }
            (URL_IMAGE, include_str!("scripts/url.sh"))
        }
    };
    environment.set_credentials(model);
    let home_mount =
        VolumeMount { name: HOME_VOLUME.to_owned(), mount_path: HOME.to_owned(), ..VolumeMount::default() };
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec!["sh".to_owned(), "-ec".to_owned()]),
        args: Some(vec![literal(script)]),
        env: environment.into_variables(),
        security_context: Some(security::container()),
        // What the tool said last is then the failure's message.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![claim_mount(), home_mount]),
        ..Container::default()
    };
    let home =
        Volume { name: HOME_VOLUME.to_owned(), empty_dir: Some(EmptyDirVolumeSource::default()), ..Volume::default() };
    Mode { container, volumes: vec![home], pod_failure_policy: None }
}

fn set_hugging_face(environment: &mut Environment, source: &HuggingFaceSource) {
    // Bars would push the cause of a failure out of the few lines that Kubernetes keeps.
    environment.set("HF_HUB_DISABLE_PROGRESS_BARS", "1");
    environment.set("MODEL_REPO_ID", &source.repo_id);
    environment.set("MODEL_REVISION", &source.revision);
    environment.set("MODEL_INCLUDE", &json!(source.include).to_string());
    environment.set("MODEL_EXCLUDE", &json!(source.exclude).to_string());
}

fn set_s3(environment: &mut Environment, source: &S3Source) {
    // As `aws s3` reads a prefix: a directory, so that `llama` does not take `llama-2/…` along.
    let prefix = if source.key.ends_with('/') { source.key.clone() } else { format!("{}/", source.key) };
    let head = json!({ "Bucket": source.bucket, "Key": source.key });
    let list = json!({ "Bucket": source.bucket, "Prefix": prefix, "MaxKeys": 1 });
    environment.set("MODEL_BUCKET", &source.bucket);
    environment.set("MODEL_KEY", &source.key);
    environment.set("MODEL_FILE", &key_file_name(&source.key));
    environment.set("MODEL_HEAD", &head.to_string());
    environment.set("MODEL_LIST", &list.to_string());
    // Credentials come from the secret or the service account, never from the node.
    environment.set("AWS_EC2_METADATA_DISABLED", "true");
    environment.set_s3(source);
}

fn set_url(environment: &mut Environment, source: &UrlSource) {
    environment.set("MODEL_URL", &source.url);
    environment.set("MODEL_FILE", &url_file_name(&source.url));
    if let Some(digest) = &source.sha256 {
        environment.set("MODEL_SHA256", &digest.to_ascii_lowercase());
    }
}
