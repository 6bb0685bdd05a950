//! Names of everything that belongs to a Model. Pure functions of the Model's name.

use sha2::{Digest, Sha256};

use crate::labels::GROUP;

/// Longest name of a Model, so that [`job_name`] and the names that Kubernetes derives from it fit in 63 characters.
pub const MAX_MODEL_NAME: usize = 48;

/// Whether `name` can name a Model: a DNS label of at most [`MAX_MODEL_NAME`] characters.
#[must_use]
pub fn is_model_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= MAX_MODEL_NAME
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// The claim that holds the model's files, and the volume that pods mount it by.
#[must_use]
pub fn claim_name(model: &str) -> String {
    format!("model-{model}")
}

/// The Job that downloads the model.
#[must_use]
pub fn job_name(model: &str) -> String {
    format!("model-download-{model}")
}

/// The Job that asks the source what there is to download.
#[must_use]
pub fn plan_job_name(model: &str) -> String {
    format!("model-plan-{model}")
}

/// The Job that takes earlier content off the claim.
#[must_use]
pub fn prune_job_name(model: &str) -> String {
    format!("model-prune-{model}")
}

/// The Job that reads the published content again.
#[must_use]
pub fn verify_job_name(model: &str) -> String {
    format!("model-verify-{model}")
}

/// What the environment variables of a model start with: `MODEL_LLAMA_3_8B` for `llama-3-8b`.
#[must_use]
pub fn env_prefix(model: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    std::iter::once("MODEL_").flat_map(str::chars).chain(model.chars().map(upper)).collect()
}

/// Directory on the claim that holds a directory for each content.
pub const REVISIONS: &str = "revisions";

/// Where the loader publishes content on the claim, relative to the claim's root.
#[must_use]
pub fn revision_path(content_id: &str) -> String {
    format!("{REVISIONS}/{content_id}")
}

/// The directory of a Model on a claim that it shares with others, relative to the claim's root.
///
/// The group's name keeps it apart from whatever else lies there. The namespace does so for volumes that are exported to
/// claims of several namespaces.
#[must_use]
pub fn shared_directory(namespace: &str, model: &str) -> String {
    format!("{GROUP}/{namespace}/{model}")
}

/// The Model that a path on a shared claim belongs to, and what follows its directory. `None`: it is not of this namespace,
/// or no path of ours.
#[must_use]
pub fn split_shared_path<'a>(namespace: &str, path: &'a str) -> Option<(&'a str, &'a str)> {
    let below = path.strip_prefix(GROUP)?.strip_prefix('/')?.strip_prefix(namespace)?.strip_prefix('/')?;
    let (model, rest) = below.split_once('/').unwrap_or((below, ""));
    is_model_name(model).then_some((model, rest))
}

/// The volume that pods mount a shared claim by: one for all Models on it, because the kubelet does not mount one claim
/// by two volumes of a pod. It differs from the [`claim_name`] of every Model.
#[must_use]
pub fn shared_volume_name(claim: &str) -> String {
    let digest = Sha256::digest(claim);
    digest.iter().take(8).fold("models-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_the_specification() {
        assert_eq!(claim_name("llama-3-8b"), "model-llama-3-8b");
        assert_eq!(job_name("llama-3-8b"), "model-download-llama-3-8b");
        assert_eq!(plan_job_name("llama-3-8b"), "model-plan-llama-3-8b");
        assert_eq!(prune_job_name("llama-3-8b"), "model-prune-llama-3-8b");
        assert_eq!(verify_job_name("llama-3-8b"), "model-verify-llama-3-8b");
        assert_eq!(env_prefix("llama-3-8b"), "MODEL_LLAMA_3_8B");
    }

    #[test]
    fn a_model_name_is_a_short_dns_label() {
        let longest = "x".repeat(MAX_MODEL_NAME);
        for good in ["a", "0", "llama-3-8b", longest.as_str()] {
            assert!(is_model_name(good), "{good}");
        }
        let too_long = "x".repeat(MAX_MODEL_NAME + 1);
        for bad in ["", "-a", "a-", "a.b", "A", "a_b", "a/b", "ä", too_long.as_str()] {
            assert!(!is_model_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_shared_claim_has_a_directory_for_each_model() {
        let path = format!("{}/revisions/0a", shared_directory("team-a", "llama"));
        assert_eq!(path, "models.main-currents.news/team-a/llama/revisions/0a");
        assert_eq!(split_shared_path("team-a", &path), Some(("llama", "revisions/0a")));
        assert_eq!(split_shared_path("team-a", &shared_directory("team-a", "llama")), Some(("llama", "")));
        assert_eq!(split_shared_path("team", &path), None);
        assert_eq!(split_shared_path("team-a", "revisions/0a"), None);
        assert_eq!(split_shared_path("team-a", "models.main-currents.news/team-a/.."), None);
        assert_eq!(shared_volume_name("weights").len(), 23);
    }

    proptest! {
        #[test]
        fn directories_and_volumes_of_shared_claims_are_distinct(
            a in "[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", b in "[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?",
            c in "[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", d in "[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?",
        ) {
            prop_assert_eq!((&a, &b) == (&c, &d), shared_directory(&a, &b) == shared_directory(&c, &d));
            prop_assert_eq!(a == b, shared_volume_name(&a) == shared_volume_name(&b));
            prop_assert_ne!(shared_volume_name(&a), claim_name(&b));
        }

        #[test]
        fn derived_names_are_dns_labels_and_distinct(a in "[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?", b in "[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?") {
            prop_assert!(is_model_name(&a));
            for name in [claim_name(&a), job_name(&a), plan_job_name(&a), prune_job_name(&a), verify_job_name(&a)] {
                prop_assert!(name.len() <= 63);
                prop_assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
            }
            prop_assert_eq!(a == b, claim_name(&a) == claim_name(&b));
            prop_assert_eq!(a == b, job_name(&a) == job_name(&b));
            prop_assert_eq!(a == b, env_prefix(&a) == env_prefix(&b));
        }
    }
}
