//! The rules that the API server checks, in its expression language (CEL), each with the message that the user sees.
//!
//! A length or a number that is out of bounds says so clearly by itself and stands at the field. A regular expression does
//! not, so there is no `pattern` in the schema: each one stands here, with a sentence that says what to write.

use kube::core::Rule;

/// At the schema's root, the only place that sees the name.
pub(super) fn name() -> Rule {
    Rule::new("self.metadata.name.size() <= 48 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "metadata.name must be a DNS label (a-z, 0-9 and -, no dots) of at most 48 characters, because the Job is called model-download-{name}",
    )
}

/// On `spec.checkInterval`. More often would be a burden on the source, and once a year is hardly a check.
pub(super) fn check_interval() -> Rule {
    Rule::new("self != '' && self.matches('^([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$') && duration(self) >= duration('1h') && duration(self) <= duration('8760h')")
        .message("write hours, minutes and seconds, for example 24h or 1h30m: at least 1h, at most 8760h, which is a year")
}

/// On `spec.source`.
pub(super) fn one_source() -> Rule {
    Rule::new("(has(self.huggingFace) ? 1 : 0) + (has(self.url) ? 1 : 0) + (has(self.s3) ? 1 : 0) == 1")
        .message("spec.source must have exactly one of huggingFace, url, s3")
}

/// On names of Secrets and claims.
pub(super) fn object_name() -> Rule {
    Rule::new("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')").message(
        "write the name of an object of this namespace: a-z, 0-9, - and . only, with a letter or digit at both ends",
    )
}

/// On `spec.source.huggingFace.repoId`.
pub(super) fn repository() -> Rule {
    Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$')").message(
        "write ORGANISATION/NAME as the address of the model's page ends, for example meta-llama/Llama-3.1-8B-Instruct",
    )
}

/// On `spec.source.huggingFace.revision`.
pub(super) fn revision() -> Rule {
    Rule::new("self.matches('^[A-Za-z0-9][A-Za-z0-9._/-]*$')")
        .message("write a branch, tag or commit of the repository: it starts with a letter or digit and has no spaces")
}

/// On `spec.source.s3.bucket`.
pub(super) fn bucket() -> Rule {
    Rule::new("self.matches('^[a-z0-9][a-z0-9.-]*[a-z0-9]$')")
        .message("write the bucket's name alone, without s3:// and key: a-z, 0-9, - and . only")
}

/// On `spec.source.s3.key`.
pub(super) fn key() -> Rule {
    Rule::new(r"self.matches(r'^[^/\x00-\x1f\x7f][^\x00-\x1f\x7f]*$')")
        .message("write the key, or the prefix of several, without a slash at its start and without control characters")
}

/// On `spec.source.s3.endpoint`.
pub(super) fn endpoint() -> Rule {
    Rule::new(r"self.matches(r'^https?://[^\s@/?#][^\s@]*$')").message(
        "write the server's http or https address, without user or password: those belong in spec.credentialsSecret",
    )
}

/// On `spec.source.s3.region`.
pub(super) fn region() -> Rule {
    Rule::new("self.matches('^[a-z0-9-]+$')").message("write the region's name, for example eu-central-1")
}

/// On `spec.source.url.sha256`.
pub(super) fn sha256() -> Rule {
    Rule::new("self.matches('^[0-9A-Fa-f]{64}$')").message("write the 64 hex digits that sha256sum prints for the file")
}

/// On `spec.source.url`.
pub(super) fn plain_url() -> Rule {
    Rule::new(r"isURL(self.url) && self.url.matches(r'^https?://[^\s/?#][^\s]*$') && !self.url.matches('^https?://[^/?#]*@')").message(
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

/// On `spec.storage.size`.
pub(super) fn quantity() -> Rule {
    Rule::new(format!("self.matches('{QUANTITY}')")).message("write an amount as Kubernetes does, for example 20Gi")
}

/// On `spec.storage`.
pub(super) fn size_is_positive() -> Rule {
    Rule::new(format!(
        "!has(self.size) || !self.size.matches('{QUANTITY}') || quantity(self.size).isGreaterThan(quantity('0'))"
    ))
    .message("spec.storage.size must be more than 0")
}

/// On `spec.storage`: a volume only grows.
pub(super) fn size_only_grows() -> Rule {
    Rule::new(format!(
        "!has(self.size) || !has(oldSelf.size) || !self.size.matches('{QUANTITY}') || quantity(self.size).compareTo(quantity(oldSelf.size)) >= 0"
    ))
    .message("spec.storage.size cannot shrink: delete the Model and create it again")
}

/// What is no amount breaks [`quantity`], whose sentence then stands alone.
const QUANTITY: &str = r"^[0-9]+(\\.[0-9]+)?([EPTGMk]i?|Ki|m|[eE][0-9]+)?$";
