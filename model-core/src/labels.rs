//! Labels, annotations and field managers: every key that the operator reads or writes.

/// The API group, and the prefix of every label and annotation.
pub const GROUP: &str = "models.main-currents.news";

/// The prefix that the specification writes. Read with the same meaning as [`GROUP`].
pub const SPECIFICATION_PREFIX: &str = "models.example.com";

/// Label on claim, Job and download pod: the Model's name.
pub const MODEL: &str = "models.main-currents.news/model";

/// Label on claim, Job and download pod: who made it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// Value of [`MANAGED_BY`].
pub const MANAGER: &str = "model-operator";

/// Annotation on the Job: the content id that it downloads.
pub const CONTENT_ID: &str = "models.main-currents.news/content-id";

/// Annotation on the Job: the UID of the claim that it writes to.
pub const CLAIM_UID: &str = "models.main-currents.news/claim-uid";

/// Annotation on a prune Job: what it does, as JSON.
pub const PRUNE: &str = "models.main-currents.news/prune";

/// Annotation on a Model: a time. A new value asks for a new download of the same spec.
pub const REFRESH: &str = "models.main-currents.news/refresh";

/// Annotation on a Model: a time. A new value asks for the published content to be read again and compared with what was
/// published. The Job that does so carries the value of its request.
pub const VERIFY: &str = "models.main-currents.news/verify";

/// Label on a pod that the webhook gave a writable mount, whatever prefix its annotations have: `"true"`.
///
/// Output, and a hint only: it selects the pods that the controller watches for the condition `ContentWritable`.
/// Somebody who may change a pod can take it off, which hides that pod, or put it on, which raises the condition for
/// no Model but those of the same namespace that the pod itself asks to write to. Nothing is granted or refused by it.
pub const WRITABLE: &str = "models.main-currents.news/writable";

/// Scheduling gate of a pod that waits for its models. The controller takes it off once they are published.
pub const GATE: &str = "models.main-currents.news/model-not-ready";

/// Label on a pod that was given [`GATE`]: `"true"`.
///
/// It selects the pods that the controller watches, and goes with the gate. A pod that lost it keeps its gate and waits
/// for ever; one that has it without the gate is left alone.
pub const GATED: &str = "models.main-currents.news/gated";

/// Annotation on a pod that was given [`GATE`]: the content ids that its models will have, as `NAME=ID`, separated by
/// commas.
///
/// Of use where a mount has no sub path to tell: with stock images, whose files lie at the claim's root.
pub const WAITS_FOR: &str = "models.main-currents.news/waits-for";

/// Annotation on a Model: `"true"` lets it be deleted although pods mount it.
pub const DELETE_WHILE_MOUNTED: &str = "models.main-currents.news/delete-while-mounted";

/// Annotation on the webhook's Secret: when the controller makes the next certificate. Absent where somebody else made it.
pub const RENEW_AFTER: &str = "models.main-currents.news/renew-after";

/// Field manager of the controller's writes.
pub const FIELD_MANAGER: &str = "model-controller";

/// Pod annotations, read under [`GROUP`] and [`SPECIFICATION_PREFIX`].
pub mod inject {
    /// Required: comma-separated names of Models in the pod's namespace.
    pub const INJECT: &str = "inject";
    /// Where to mount. `{name}` stands for the Model's name. Default [`DEFAULT_MOUNT_PATH`].
    pub const MOUNT_PATH: &str = "mount-path";
    /// Whether mount and volume are read-only. Default `"true"`.
    pub const READ_ONLY: &str = "read-only";
    /// Names of the containers that get the mounts, separated by commas, or `*` for all of them. Init containers and
    /// native sidecars count. Default: the first container.
    pub const CONTAINER: &str = "container";
    /// Whether `MODEL_…` variables are set. Default `"true"`.
    pub const INJECT_ENV: &str = "inject-env";
    /// Whether `HF_HUB_OFFLINE` and `TRANSFORMERS_OFFLINE` are set. Default `"false"`.
    pub const OFFLINE: &str = "offline";
    /// Whether the pod waits for a Model that is not Ready, or is denied: `"wait"` or `"deny"`. Default: what the webhook's
    /// flag says.
    pub const WHEN_NOT_READY: &str = "when-not-ready";
    /// Written, not read as a wish: the containers that were chosen, so that a second pass moves nothing.
    pub const INJECTED_CONTAINERS: &str = "injected-containers";
    /// Label that marks a pod as done: `"true"`.
    pub const INJECTED: &str = "injected";
    /// Where a model is mounted when the pod does not say.
    pub const DEFAULT_MOUNT_PATH: &str = "/models/{name}";
}
