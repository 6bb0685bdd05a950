//! The closed list of reasons of Models.
//!
//! One word means the same thing in a condition, an Event, a metric label, the loader's termination message and the
//! documentation. A new reason is one variant here, with its meaning and its advice; `docs/reasons.md` is made from them.

use serde::{Deserialize, Deserializer, Serialize};

/// A closed list: each word with its meaning, which is its documentation, and what the user can do about it.
macro_rules! reasons {
    ($(#[$about:meta])* pub enum $List:ident; $($(#[doc = $doc:literal])* $name:ident => $advice:literal,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $List { $($(#[doc = $doc])* $name,)* }

        impl $List {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word itself, as conditions, Events and metrics show it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// What it means, one sentence.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),*).trim_start(),)* }
            }

            /// What the user can do about it. Empty where nothing needs doing.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }

        impl std::fmt::Display for $List {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use reasons;

reasons! {
    /// Why a Model is in the state it is in.
    #[derive(Serialize, Deserialize)]
    pub enum Reason;

    /// The wanted content is on the claim.
    Downloaded => "",
    /// The files are there, and no digest was checked for some of them.
    NotVerified => "stock images check nothing, and a url only has a digest if spec.source.url.sha256 gives it",
    /// The published content is the newest that the source has.
    UpToDate => "",
    /// The source has newer content than what is mounted. It is not fetched by itself.
    NewRevision => "fetch it with `kubectl model refresh NAME`",
    /// Newer content is on its way; the content before it stays mounted until it is there.
    Refreshing => "",
    /// The download of newer content failed; the content before it stays mounted.
    RefreshFailed => "what is mounted stays as it is; the condition Downloaded has the cause and what to do about it",
    /// Nobody asked the source yet; once there is content, whether it has newer.
    NotChecked => "ask for newer content with `kubectl model refresh NAME`",
    /// A download is running.
    Downloading => "",
    /// The source has told what there is to download.
    SourceAnswered => "",
    /// The source is asked for size and files, before a claim is made.
    Planning => "",
    /// The size that the spec gives cannot hold the model. No claim was made.
    StorageTooSmall => "raise spec.storage.size, or leave it out",
    /// Neither the spec nor the source says how large the model is.
    SizeUnknown => "set spec.storage.size",
    /// The spec gives no size, and stock images cannot find it.
    SizeRequired => "set spec.storage.size, or run the controller with --loader-image",
    /// The claim and the Job are about to be created.
    Starting => "",
    /// As many downloads run as the operator may run at once.
    Queued => "it starts by itself once one of those before it has ended",
    /// A failed download is started again.
    Retrying => "",
    /// A pod mounts the content writable.
    WritableMount => "remove the annotation read-only: \"false\" from the pod, unless it has to write",
    /// The claim is bound to a volume.
    ClaimBound => "",
    /// The claim's volume is growing.
    ClaimResizing => "",
    /// The claim's storage class does not let its volume grow.
    ExpansionNotAllowed => "set allowVolumeExpansion on the storage class, or delete the Model and create it again with the new size",
    /// The claim has no volume yet.
    ClaimPending => "check that the storage class exists and can provision: kubectl describe pvc",
    /// The claim that held the content is gone or being deleted.
    ClaimLost => "the download starts over by itself once the old claim is gone",
    /// The claim that the spec names does not exist.
    ClaimNotFound => "create the claim, or delete the Model and create it again with the right spec.storage.existingClaim",
    /// The claim takes one pod at a time, and another pod uses it.
    ClaimInUse => "the download starts by itself once that pod is gone; with spec.storage.accessModes [ReadWriteMany] it need not wait",
    /// A claim of our name belongs to somebody else.
    ClaimConflict => "rename or remove that claim, or give the Model another name; one that an earlier Model of this name left is taken over once it has no owner reference",
    /// A claim that an earlier Model of this name left is taken over.
    ClaimAdopted => "",
    /// The claim has another owner beside the Model, so it would go with that and not be retained.
    ClaimCoOwned => "remove the other owner from metadata.ownerReferences: kubectl edit pvc model-NAME",
    /// The Job went away before it ended.
    JobLost => "the download starts over by itself",
    /// The Job in place was made for other content or another claim.
    JobStale => "it is removed by itself, then the download starts",
    /// The old Job is still being deleted.
    JobTerminating => "the download starts once the old Job is gone",
    /// A Job of our name belongs to somebody else.
    JobConflict => "rename or remove that Job, or give the Model another name",
    /// The API server refuses the claim, the Job or its pod, by a rule that has no reason of its own here.
    Rejected => "the message names the rule: an admission policy or webhook of the cluster",
    /// A quota of the namespace leaves no room for the claim, the Job or its pod.
    QuotaExceeded => "raise or free the quota: kubectl describe resourcequota; requests and limits are set by spec.jobTemplate.resources",
    /// The pod security level of the namespace forbids the download pod.
    PodSecurityViolated => "the download pod meets the level restricted: check what else the message names, such as a policy that changes pods",
    /// A limit range of the namespace forbids the claim or the download pod.
    LimitRangeViolated => "set spec.jobTemplate.resources or spec.storage.size to what the limit range allows: kubectl describe limitrange",
    /// The priority class that the spec names does not exist.
    PriorityClassNotFound => "create the priority class, or correct spec.jobTemplate.priorityClassName and delete the Job",
    /// The service account that the spec names does not exist.
    ServiceAccountNotFound => "create the service account, or correct spec.jobTemplate.serviceAccountName and delete the Job",
    /// The Job has made no pod, and nothing says why.
    PodMissing => "check that kube-controller-manager runs: kubectl describe job/model-download-NAME",
    /// Somebody holds the Job back on purpose.
    Suspended => "",
    /// The storage class that the spec names does not exist.
    StorageClassNotFound => "create the storage class or name one that `kubectl get storageclass` lists",
    /// The download pod cannot be placed on a node.
    Unschedulable => "check nodeSelector, tolerations and free resources: kubectl describe pod",
    /// The node has not mounted a volume that the download pod needs.
    VolumeNotMounted => "create what is missing; the Events of the pod tell which it is: kubectl describe pod",
    /// The node cannot make the sandbox of the download pod: its network plugin or its container runtime fails.
    SandboxFailed => "the message has the node's own words: look at its network plugin and container runtime",
    /// The download image cannot be pulled.
    ImagePullFailed => "check the image name, the registry and imagePullSecrets",
    /// The node cannot start the download container.
    ContainerNotStarted => "check the image and spec.jobTemplate: kubectl describe pod",
    /// The secret or the key that the download needs is missing.
    CredentialsMissing => "create the secret that spec.credentialsSecret names, with the keys that the source needs",
    /// The source has no such repository, revision, bucket or file.
    SourceNotFound => "check repoId, revision, bucket, key or url for typing errors, then change the spec",
    /// The source refuses the credentials.
    AccessDenied => "check the token or keys in spec.credentialsSecret, then delete the Job to retry",
    /// The repository asks for its terms to be accepted.
    GatedRepository => "accept the repository's terms with the account of the token, then delete the Job to retry",
    /// The source asked to come back later.
    RateLimited => "wait, or use a token with a higher limit",
    /// The bytes do not have the digest that they should have.
    ChecksumMismatch => "the source or the network changed the bytes; delete the Job to retry, or correct sha256",
    /// Content that was published before has lost or changed files.
    ContentDamaged => "kubectl model refresh NAME: it fetches what is damaged and keeps the rest",
    /// The volume has no room for the model.
    DiskFull => "raise spec.storage.size, then delete the Job to retry",
    /// The volume is read-only, or the download's user may not write to it.
    VolumeNotWritable => "check that accessModes allow writing, that the volume is not mounted read-only and that its driver applies fsGroup 65532, then delete the Job to retry",
    /// No byte came for too long.
    Stalled => "check the network between the cluster and the source",
    /// The source could not be reached or broke off.
    NetworkError => "check DNS, proxy and network policies between the cluster and the source",
    /// The source answered something that is not its protocol.
    SourceInvalid => "check that the endpoint is what it should be: a proxy or login page may answer in its place",
    /// A file name from the source would leave the model's directory.
    UnsafeFileName => "do not use this source: it tries to write outside its directory",
    /// The source, or a redirect of it, leads to the node itself or to a metadata server.
    ForbiddenAddress => "do not use this source: what answers at such an address is the node's own, and no model",
    /// The download used more memory than its limit.
    OutOfMemory => "raise the memory limit in spec.jobTemplate.resources",
    /// The node took the download pod away.
    Evicted => "the node was short of resources; the download is tried again",
    /// The Job ran into `activeDeadlineSeconds`.
    DeadlineExceeded => "raise spec.jobTemplate.activeDeadlineSeconds, then delete the Job to retry",
    /// The command line of the loader is wrong.
    WrongUse => "operator and loader image are of different versions: use the same for both",
    /// The download failed and said nothing more precise.
    DownloadFailed => "look at the Job's log: kubectl logs job/model-download-NAME",
    /// Earlier content could not be removed from the claim. What is offered is not touched by it.
    PruneFailed => "kubectl describe job/model-prune-NAME and its log say why; it is tried again after an hour, or once that Job is deleted",
    /// The Model cannot be acted on as it is.
    InvalidModel => "correct the spec: kubectl describe model shows what is wrong",
}

impl Reason {
    /// Whether only a person can help: a retry of the same spec would fail in the same way.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(
            self,
            Self::SourceNotFound
                | Self::AccessDenied
                | Self::GatedRepository
                | Self::UnsafeFileName
                | Self::ContentDamaged
                | Self::ForbiddenAddress
                | Self::StorageTooSmall
                | Self::SizeUnknown
                | Self::SizeRequired
                | Self::WrongUse
                | Self::InvalidModel
        )
    }
}

impl Reason {
    /// Whether it is the source, or the way to it, that fails.
    #[must_use]
    pub const fn is_of_source(self) -> bool {
        matches!(
            self,
            Self::SourceNotFound
                | Self::AccessDenied
                | Self::GatedRepository
                | Self::RateLimited
                | Self::Stalled
                | Self::NetworkError
                | Self::SourceInvalid
        )
    }

    /// Whether something is wrong: Events with this reason are warnings.
    #[must_use]
    pub const fn is_trouble(self) -> bool {
        !matches!(
            self,
            Self::Downloaded
                | Self::NotVerified
                | Self::UpToDate
                | Self::NewRevision
                | Self::Refreshing
                | Self::NotChecked
                | Self::Downloading
                | Self::SourceAnswered
                | Self::Planning
                | Self::Starting
                | Self::Queued
                | Self::Retrying
                | Self::ClaimBound
                | Self::ClaimAdopted
                | Self::ClaimResizing
                | Self::JobStale
                | Self::JobTerminating
                | Self::Suspended
        )
    }

    /// Reads a stored reason. A word of a newer version reads as [`Reason::DownloadFailed`], so that a Model survives
    /// a rollback of the operator.
    ///
    /// # Errors
    /// When the value is no string.
    pub fn deserialize_or_unknown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        Ok(Self::ALL.iter().copied().find(|reason| reason.as_str() == word).unwrap_or(Self::DownloadFailed))
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn a_reason_is_written_as_its_name() {
        for reason in Reason::ALL {
            let json = serde_json::to_value(reason).unwrap();
            assert_eq!(json, reason.as_str());
            assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), *reason);
        }
    }
}
