//! Writes whose answer is hardly read. The API server sends the whole object back, which is known already.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Error, Resource, ResourceExt};
use serde::{Deserialize, Serialize};

/// What is read of an object that was written.
#[derive(Debug, Deserialize)]
struct Written {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(default)]
    uid: Option<String>,
}

/// Creates an object in its namespace. Gives its UID.
pub(crate) async fn create<K>(client: &Client, params: &PostParams, object: &K) -> Result<Option<String>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize,
{
    let url = K::url_path(&(), object.namespace().as_deref());
    let body = serde_json::to_vec(object).map_err(Error::SerdeError)?;
    let request = Request::new(url).create(params, body).map_err(Error::BuildRequest)?;
    let written: Written = client.request(request).await?;
    Ok(written.metadata.uid)
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
    let _: Written = client.request(request.map_err(Error::BuildRequest)?).await?;
    Ok(())
}
