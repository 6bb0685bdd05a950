//! Why a pod is not admitted, in words for the person who wrote it.

use model_core::pod_reason::PodReason;

/// Why a pod cannot be injected. The text says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// No Model of that name is in the pod's namespace.
    #[error(
        "model not found: {name}; namespace {namespace} has no Model of that name: create it first, or correct the name in the pod's annotation"
    )]
    ModelNotFound {
        /// The wanted Model.
        name: String,
        /// The pod's namespace.
        namespace: String,
    },
    /// The Model has no content that could be mounted.
    #[error("model not ready: {name} {state}; {advice}")]
    ModelNotReady {
        /// The wanted Model.
        name: String,
        /// What it is instead, for example `is Downloading, 42 %`.
        state: String,
        /// What to do.
        advice: String,
    },
    /// The pod would have to wait for a Model, and names its node.
    #[error(
        "a pod that names its node cannot wait for a model: remove spec.nodeName {node:?} (nodeSelector or affinity do the same), or create the pod once its models are Ready"
    )]
    CannotWait {
        /// `spec.nodeName`.
        node: String,
    },
    /// An annotation has a value that means nothing.
    #[error("annotation {annotation} has the value {value:?}: {expected}")]
    AnnotationInvalid {
        /// The whole key.
        annotation: String,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// The same annotation stands under both prefixes with different values.
    #[error(
        "annotations {first} and {second} have different values, {first_value:?} and {second_value:?}: keep one of them"
    )]
    AnnotationsDiffer {
        /// One key.
        first: String,
        /// Its value.
        first_value: String,
        /// The other key.
        second: String,
        /// Its value.
        second_value: String,
    },
    /// The pod has no container of a wanted name.
    #[error("annotation {annotation} names the container {container:?}, which is not in the pod: it has {}", available.join(", "))]
    ContainerNotFound {
        /// The whole key.
        annotation: String,
        /// The wanted container.
        container: String,
        /// The containers and init containers that the pod has.
        available: Vec<String>,
    },
    /// The pod has another volume of the name that the model's volume needs.
    #[error("volume {volume} of the pod is not claim {claim} of model {model}: give that volume another name")]
    VolumeTaken {
        /// Name of the volume.
        volume: String,
        /// The claim that it would have to be.
        claim: String,
        /// The Model.
        model: String,
    },
    /// A writable mount is wanted, but the pod's own volume of the claim is read-only.
    #[error(
        "volume {volume} of the pod is read-only, but annotation read-only of the pod is \"false\": make both the same"
    )]
    VolumeReadOnly {
        /// Name of the volume.
        volume: String,
    },
    /// A mount of the container would hide the model's files.
    #[error(
        "container {container} mounts volume {volume} at {taken}, which would hide model {model} at {path}: choose another path with annotation mount-path, or move that mount"
    )]
    MountTaken {
        /// Name of the container.
        container: String,
        /// The volume that is mounted there.
        volume: String,
        /// Where it is mounted.
        taken: String,
        /// The Model.
        model: String,
        /// Where the Model should be mounted.
        path: String,
    },
    /// The pod is not one that the API server could have sent.
    #[error("the pod cannot be injected: {what}")]
    PodInvalid {
        /// The field at fault, and what is wrong with it.
        what: String,
    },
}

impl Denial {
    /// Whether the pod has to change. Otherwise it is in order, and only its Model is not, or not yet.
    #[must_use]
    pub const fn is_of_the_pod(&self) -> bool {
        match self {
            Self::ModelNotFound { .. } | Self::ModelNotReady { .. } => false,
            Self::CannotWait { .. }
            | Self::AnnotationInvalid { .. }
            | Self::AnnotationsDiffer { .. }
            | Self::ContainerNotFound { .. }
            | Self::VolumeTaken { .. }
            | Self::VolumeReadOnly { .. }
            | Self::MountTaken { .. }
            | Self::PodInvalid { .. } => true,
        }
    }

    /// One word for metrics and logs.
    #[must_use]
    pub const fn reason(&self) -> PodReason {
        match self {
            Self::ModelNotFound { .. } => PodReason::ModelNotFound,
            Self::ModelNotReady { .. } => PodReason::ModelNotReady,
            Self::CannotWait { .. } => PodReason::CannotWait,
            Self::AnnotationInvalid { .. } => PodReason::AnnotationInvalid,
            Self::AnnotationsDiffer { .. } => PodReason::AnnotationsDiffer,
            Self::ContainerNotFound { .. } => PodReason::ContainerNotFound,
            Self::VolumeTaken { .. } => PodReason::VolumeTaken,
            Self::VolumeReadOnly { .. } => PodReason::VolumeReadOnly,
            Self::MountTaken { .. } => PodReason::MountTaken,
            Self::PodInvalid { .. } => PodReason::PodInvalid,
        }
    }
}
