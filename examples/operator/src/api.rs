//! The operator's own kind.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that people can ask questions.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(group = "examples.main-currents.news", version = "v1alpha1", kind = "Assistant", namespaced)]
#[serde(rename_all = "camelCase")]
pub struct AssistantSpec {
    /// Repository of its model on the hub, for example `acme/tiny`.
    pub repository: String,
    /// Size of the claim for the model's files, for example `2Gi`.
    pub size: String,
    /// Image of the server. It finds the files at `$MODEL_<NAME>_PATH`.
    pub image: String,
    /// How many servers run.
    #[serde(default = "one")]
    pub replicas: i32,
}

fn one() -> i32 {
    1
}
