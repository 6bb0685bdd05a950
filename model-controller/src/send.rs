//! Writes whose answer is hardly read. The API server sends the whole object back, which is known already.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Error, Resource, ResourceExt};
use serde::{Deserialize, Serialize};

/// An object that was written, as the API server holds it now.
#[derive(Debug)]
pub(crate) struct Written(String);

impl Written {
    /// Its UID, which every object has.
    pub(crate) fn uid(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            uid: String,
        }
        serde_json::from_str(&self.0).map(|Object { metadata }| metadata.uid).map_err(Error::SerdeError)
    }
}

/// Creates an object in its namespace.
pub(crate) async fn create<K>(client: &Client, params: &PostParams, object: &K) -> Result<Written, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize,
{
    let url = K::url_path(&(), object.namespace().as_deref());
    let body = serde_json::to_vec(object).map_err(Error::SerdeError)?;
    let request = Request::new(url).create(params, body).map_err(Error::BuildRequest)?;
    client.request_text(request).await.map(Written)
}

/// Patches the status of an object.
pub(crate) async fn patch_status<K>(
    client: &Client,
    object: &K,
    params: &PatchParams,
    patch: &Patch<impl Serialize + Debug>,
) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let url = K::url_path(&(), object.namespace().as_deref());
    let request = Request::new(url).patch_subresource("status", &object.name_any(), params, patch);
    client.request_text(request.map_err(Error::BuildRequest)?).await.map(drop)
}
