//! The variables that tell a container about its models.

use model_core::api::Source;
use model_core::names::env_prefix;
use serde_json::{Value, json};

use super::container::Target;
use super::{ReadyModel, Wish, list};
use crate::expansion::literal;

/// What makes the libraries of Hugging Face open no connections, and fail at once on what the mounted files lack.
const OFFLINE: [&str; 2] = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];

/// The wished variables that the container does not set itself: what a user wrote wins.
pub(super) fn variables(target: &Target, wish: &Wish, models: &[ReadyModel]) -> Vec<Value> {
    let mut all = Vec::new();
    if wish.inject_env {
        all.extend(models.iter().flat_map(|model| of_model(wish, model)));
    }
    if wish.offline && !models.is_empty() {
        all.extend(OFFLINE.map(|name| (name.to_owned(), "1".to_owned())));
    }
    all.retain(|(name, _)| !list(target.json, "env").any(|existing| existing["name"] == name.as_str()));
    all.into_iter().map(|(name, value)| json!({ "name": name, "value": literal(&value) })).collect()
}

/// They describe the content that is mounted, not the newest spec.
fn of_model(wish: &Wish, model: &ReadyModel) -> impl Iterator<Item = (String, String)> {
    let prefix = env_prefix(&model.name);
    let content = &model.content;
    let mut all = vec![("PATH", wish.mount_path(&model.name))];
    all.extend(content.version.clone().map(|version| ("VERSION", version)));
    all.push(("SOURCE_TYPE", content.source.source_type().as_str().to_owned()));
    match &content.source {
        Source::HuggingFace(source) => all.push(("REPO_ID", source.repo_id.clone())),
        Source::Url(source) => all.push(("URL", source.url.clone())),
        Source::S3(source) => all.extend([("BUCKET", source.bucket.clone()), ("KEY", source.key.clone())]),
    }
    all.into_iter().map(move |(suffix, value)| (format!("{prefix}_{suffix}"), value))
}
