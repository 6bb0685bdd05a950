//! The closed list of what is told about pods that ask for Models, and of what is refused.
//!
//! One word means the same thing in an Event, a denial, a metric label and `kubectl model why`.

use crate::reason::reasons;

reasons! {
    /// Why a pod waits, or why a request to the API server was refused.
    pub enum PodReason;

    /// A Model that the pod waits for is not Ready.
    WaitingForModel => "the pod starts by itself once all its Models are Ready: the message tells how far they are, `kubectl model why MODEL` why",
    /// Everything that the pod waits for is published: it may be scheduled.
    ModelsReady => "",
    /// The pod's Model asks for other content now, so what the pod would mount is not published any more.
    ContentSuperseded => "a pod of a Deployment or Job is replaced by itself; create any other again",
    /// A Model that the pod waits for is not there any more.
    ModelGone => "create the Model again, or delete the pod",
    /// There is no Model of that name in the pod's namespace.
    ModelNotFound => "create the Model first, or correct the name in the annotation inject",
    /// The Model has no content that could be mounted, and the pod does not wait for it.
    ModelNotReady => "create the pod once the Model is Ready, or let it wait with the annotation when-not-ready: wait",
    /// The pod names its node, so no scheduler could let it wait.
    CannotWait => "remove spec.nodeName: nodeSelector or affinity do the same",
    /// An annotation has a value that means nothing.
    AnnotationInvalid => "the message says what is expected",
    /// The same annotation stands under both prefixes with different values.
    AnnotationsDiffer => "keep one of them",
    /// The pod has no container of the name that the annotation container gives.
    ContainerNotFound => "the message lists the containers that the pod has",
    /// The pod has another volume of the name that the Model's volume needs.
    VolumeTaken => "give that volume another name",
    /// A writable mount is asked for, and the pod's own volume of the claim is read-only.
    VolumeReadOnly => "make both the same",
    /// A mount of the container would hide the Model's files.
    MountTaken => "choose another path with the annotation mount-path, or move that mount",
    /// The pod is not one that an API server could have sent.
    PodInvalid => "the message names the field at fault",
    /// The webhook has just started and has not read the Models yet.
    ServiceUnavailable => "try again in some seconds; if it stays, look at the webhook's log and rights",
    /// Pods mount the Model that is to be deleted.
    ModelInUse => "delete the pods first, or the workload that makes them; the message has the annotation that insists",
}

impl PodReason {
    /// Where it is told, in words for a table.
    #[must_use]
    pub const fn place(self) -> &'static str {
        match self {
            Self::WaitingForModel | Self::ModelsReady | Self::ContentSuperseded | Self::ModelGone => "Event of the pod",
            Self::ModelInUse => "refusal of a Model's deletion",
            _ => "refusal of the pod",
        }
    }
}
