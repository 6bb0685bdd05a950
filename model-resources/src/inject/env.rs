//! The variables that tell a container about a model.

use model_core::api::Source;
use model_core::names::env_prefix;
use serde_json::{Value, json};

use super::container::Target;
use super::{ReadyModel, Wish, list};
use crate::expansion::literal;

/// The variables of a model that the container does not set itself: what a user wrote wins.
///
/// They describe the content that is mounted, not the newest spec.
pub(super) fn variables<'a>(
    target: &'a Target,
    wish: &Wish,
    model: &ReadyModel,
) -> impl Iterator<Item = Value> + use<'a> {
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
    let named = all.into_iter().map(move |(suffix, value)| (format!("{prefix}_{suffix}"), value));
    named
        .filter(|(name, _)| !list(target.json, "env").any(|existing| existing["name"] == name.as_str()))
        .map(|(name, value)| json!({ "name": name, "value": literal(&value) }))
}
