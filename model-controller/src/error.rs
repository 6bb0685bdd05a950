//! Why a pass over a Model stopped.

use kube::core::Status;
use model_core::persisted::NotPersisted;

/// Why a pass over a Model stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The API server could not be reached or did not answer as expected. Retried.
    #[error("could not {doing}")]
    Api {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        source: Box<kube::Error>,
    },
    /// The API server refused a write for good: quota, admission or an invalid object. Recorded in status and retried.
    #[error("could not {doing}: {message}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The API server's words.
        message: String,
    },
    /// Somebody else was faster. The next look sees it. Retried at once.
    #[error("could not {doing}: the cluster changed meanwhile")]
    Raced {
        /// What was being done.
        doing: &'static str,
    },
    /// No certificate could be made for the webhook. Retried.
    #[error("could not make a certificate for {}", hosts.join(", "))]
    Certificate {
        /// The names that it is for.
        hosts: Vec<String>,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// The object does not parse as a Model. Only a change of the object helps.
    #[error("the Model does not parse: {0}")]
    Invalid(String),
    /// The object is not one that the API server stored as a Model. Only a change of the object helps.
    #[error(transparent)]
    NotPersisted(#[from] NotPersisted),
}

impl Error {
    /// Reads an answer of the API server: refused for good, raced, or worth a retry.
    pub(crate) fn api(doing: &'static str, error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.is_conflict() || status.is_already_exists() => Self::Raced { doing },
            kube::Error::Api(status) if is_refusal(&status) => Self::Refused { doing, message: status.message },
            other => Self::Api { doing, source: Box::new(other) },
        }
    }

    /// Whether the API server has answered with a no: nothing was done, and it would be the same for nobody else.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Api { source, .. } => matches!(**source, kube::Error::Api(_)),
            Self::Raced { .. } | Self::Certificate { .. } | Self::Invalid(_) | Self::NotPersisted(_) => false,
        }
    }

    /// How a pass ended that stopped with this: the label of its metric.
    pub(crate) const fn result(&self) -> &'static str {
        match self {
            Self::Api { .. } | Self::Certificate { .. } => "failed",
            Self::Refused { .. } => "refused",
            Self::Raced { .. } => "raced",
            Self::Invalid(_) | Self::NotPersisted(_) => "invalid",
        }
    }

    /// Whether only a change of the object helps.
    pub(crate) const fn is_permanent(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::NotPersisted(_))
    }
}

fn is_refusal(status: &Status) -> bool {
    (status.is_forbidden() && !knows_no_models_yet(status)) || status.is_invalid() || status.code == 400
}

/// For some seconds after the CRD was installed, admission does not know the kind that owns the new object.
fn knows_no_models_yet(status: &Status) -> bool {
    status.message.contains("cannot find RESTMapping")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the words of Kubernetes 1.36.
    #[test]
    fn a_young_crd_is_waited_for_and_not_called_a_policy() {
        let forbidden = |message: &str| {
            let status = Status { code: 403, reason: "Forbidden".into(), message: message.into(), ..Status::default() };
            Error::api("create the claim", kube::Error::Api(Box::new(status)))
        };
        let young = r#"persistentvolumeclaims "model-a" is forbidden: cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion models.main-currents.news/v1alpha1 Kind Model: no matches for kind "Model" in version "models.main-currents.news/v1alpha1""#;
        assert!(matches!(forbidden(young), Error::Api { .. }));
        let quota = r#"persistentvolumeclaims "model-a" is forbidden: exceeded quota: q"#;
        assert!(matches!(forbidden(quota), Error::Refused { .. }));
    }

    #[test]
    fn only_the_api_servers_own_no_is_an_answer() {
        let said = |reason: &str, code| kube::Error::Api(Box::new(Status::failure("no", reason).with_code(code)));
        for (case, error, answer) in [
            ("forbidden", said("Forbidden", 403), true),
            ("an admission webhook that is down", said("InternalError", 500), true),
            ("somebody was faster", said("AlreadyExists", 409), false),
            ("nobody answered", kube::Error::LinesCodecMaxLineLengthExceeded, false),
        ] {
            assert_eq!(Error::api("create the Job", error).is_answer(), answer, "{case}");
        }
    }
}
