//! The wire format: `AdmissionReview` of `admission.k8s.io/v1`, with the pod as raw JSON.
//!
//! The types of `kube` parse the object's metadata and would drop what they do not know; a patch must be computed on
//! what was really sent. Most pods ask for nothing, so of a pod no more than its metadata is read at first.

use k8s_openapi::ByteString;
use model_core::labels::GROUP;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// What the API server asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request<'a> {
    pub(crate) uid: String,
    pub(crate) kind: GroupKind,
    #[serde(default)]
    pub(crate) sub_resource: Option<String>,
    /// The pod itself has none yet at admission.
    #[serde(default)]
    pub(crate) namespace: String,
    pub(crate) operation: String,
    #[serde(default)]
    pub(crate) dry_run: bool,
    #[serde(borrow, default)]
    object: Option<&'a RawValue>,
    /// Of the object the metadata alone.
    #[serde(skip)]
    pub(crate) named: Value,
    /// What is being deleted.
    #[serde(default)]
    pub(crate) old_object: Value,
}

#[derive(Debug, Deserialize)]
pub(crate) struct GroupKind {
    #[serde(default)]
    pub(crate) group: String,
    pub(crate) kind: String,
}

/// The body is no review that can be answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("could not read the body as an AdmissionReview")]
    Json(#[source] serde_json::Error),
    #[error("the body is {api_version:?} {kind:?}: send AdmissionReview of admission.k8s.io/v1")]
    Version { api_version: String, kind: String },
    #[error("the AdmissionReview has no request")]
    NoRequest,
}

impl<'a> Request<'a> {
    /// Reads the body of a call.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Review<'r> {
            api_version: String,
            kind: String,
            #[serde(borrow)]
            request: Option<Request<'r>>,
        }
        let Review { api_version, kind, request } = serde_json::from_slice(body).map_err(Malformed::Json)?;
        if (api_version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            return Err(Malformed::Version { api_version, kind });
        }
        let mut request = request.ok_or(Malformed::NoRequest)?;
        request.named = request.object.map(named).transpose().map_err(Malformed::Json)?.unwrap_or_default();
        Ok(request)
    }

    /// The whole object.
    pub(crate) fn object(&self) -> Result<Value, Malformed> {
        let object = self.object.map(|object| serde_json::from_str(object.get())).transpose();
        object.map(Option::unwrap_or_default).map_err(Malformed::Json)
    }

    /// Whether a pod is being created. Nothing else is ever changed or denied.
    pub(crate) fn creates_pod(&self) -> bool {
        self.operation == "CREATE"
            && self.kind.group.is_empty()
            && self.kind.kind == "Pod"
            && self.sub_resource.as_deref().unwrap_or_default().is_empty()
    }

    /// The Model that is being deleted. The request itself has no name where many are deleted at once.
    pub(crate) fn deleted_model(&self) -> Option<&str> {
        let is_one = self.operation == "DELETE" && self.kind.group == GROUP && self.kind.kind == "Model";
        self.old_object.pointer("/metadata/name").and_then(Value::as_str).filter(|_| is_one)
    }

    /// The pod's name, or the start of the name that the API server will give it.
    pub(crate) fn pod_name(&self) -> &str {
        let member = |key| self.named.pointer(key).and_then(Value::as_str).filter(|name| !name.is_empty());
        member("/metadata/name").or_else(|| member("/metadata/generateName")).unwrap_or_default()
    }
}

/// An object with its metadata alone, or all of it where that is not told apart.
fn named(object: &RawValue) -> Result<Value, serde_json::Error> {
    #[derive(Deserialize)]
    struct Object {
        #[serde(default)]
        metadata: Value,
    }
    let text = object.get();
    let metadata = text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten();
    metadata.map_or_else(|| serde_json::from_str(text), |Object { metadata }| Ok(json!({ "metadata": metadata })))
}

/// What the API server is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'a str,
    message: String,
}

impl<'a> Response<'a> {
    /// The pod is admitted as it is.
    pub(crate) fn allow(request: &'a Request<'_>) -> Self {
        Self { uid: &request.uid, allowed: true, status: None, patch: None, patch_type: None }
    }

    /// The pod is admitted with a change.
    pub(crate) fn patch(request: &'a Request<'_>, patch: &json_patch::Patch) -> Result<Self, serde_json::Error> {
        let patch = Some(ByteString(serde_json::to_vec(patch)?));
        Ok(Self { patch, patch_type: Some("JSONPatch"), ..Self::allow(request) })
    }

    /// The pod is not admitted. `kubectl` shows `reason` and `message`.
    pub(crate) fn deny(request: &'a Request<'_>, code: u16, reason: &'a str, message: String) -> Self {
        let status = Some(Status { code, reason, message });
        Self { allowed: false, status, ..Self::allow(request) }
    }

    /// The whole body of the answer.
    pub(crate) fn to_body(&self) -> Result<Vec<u8>, serde_json::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Review<'r> {
            api_version: &'static str,
            kind: &'static str,
            response: &'r Response<'r>,
        }
        serde_json::to_vec(&Review { api_version: API_VERSION, kind: KIND, response: self })
    }
}
