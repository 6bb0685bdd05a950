//! The rules that the API server checks, in its expression language (CEL), each with the message that the user sees.
//!
//! What a pattern or a length says clearly by itself stands at the field; here stands what needs a sentence.

use kube::core::Rule;

/// At the schema's root, the only place that sees the name.
pub(super) fn name() -> Rule {
    Rule::new("self.metadata.name.size() <= 48 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "metadata.name must be a DNS label (a-z, 0-9 and -, no dots) of at most 48 characters, because the Job is called model-download-{name}",
    )
}

/// On `spec.source`.
pub(super) fn one_source() -> Rule {
    Rule::new("(has(self.huggingFace) ? 1 : 0) + (has(self.url) ? 1 : 0) + (has(self.s3) ? 1 : 0) == 1")
        .message("spec.source must have exactly one of huggingFace, url, s3")
}

/// On `spec.source.url`.
pub(super) fn plain_url() -> Rule {
    Rule::new("isURL(self.url) && !self.url.matches('^https?://[^/?#]*@')").message(
        "spec.source.url.url must be a valid http or https address without user or password: those belong in spec.credentialsSecret",
    )
}

/// On `spec.storage`: what a claim cannot change.
pub(super) fn storage_class_is_fixed() -> Rule {
    Rule::new("has(self.storageClass) == has(oldSelf.storageClass) && (!has(self.storageClass) || self.storageClass == oldSelf.storageClass)")
        .message("spec.storage.storageClass cannot change, because the claim's cannot: delete the Model and create it again")
}

/// On `spec.storage`: what a claim cannot change.
pub(super) fn access_modes_are_fixed() -> Rule {
    Rule::new("self.accessModes == oldSelf.accessModes").message(
        "spec.storage.accessModes cannot change, because the claim's cannot: delete the Model and create it again",
    )
}

/// On `spec.storage`: everything else is what somebody gave that claim. The default of accessModes is filled in before.
pub(super) fn existing_claim_stands_alone() -> Rule {
    Rule::new("!has(self.existingClaim) || (!has(self.storageClass) && !has(self.size) && self.accessModes == ['ReadWriteOnce'])")
        .message("spec.storage.existingClaim cannot stand beside storageClass, size or accessModes: they are the claim's own")
}

/// On `spec.storage`: the files lie on that claim.
pub(super) fn existing_claim_is_fixed() -> Rule {
    Rule::new("has(self.existingClaim) == has(oldSelf.existingClaim) && (!has(self.existingClaim) || self.existingClaim == oldSelf.existingClaim)")
        .message("spec.storage.existingClaim cannot change, because the files stay where they are: delete the Model and create it again")
}

/// On `spec.storage`.
pub(super) fn size_is_positive() -> Rule {
    Rule::new("!has(self.size) || quantity(self.size).isGreaterThan(quantity('0'))")
        .message("spec.storage.size must be more than 0")
}

/// On `spec.storage`: a volume only grows.
pub(super) fn size_only_grows() -> Rule {
    Rule::new("!has(self.size) || !has(oldSelf.size) || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0")
        .message("spec.storage.size cannot shrink: delete the Model and create it again")
}
