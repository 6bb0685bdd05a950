//! Waiting by watching, with a deadline. On a timeout the error holds what a person would look at next.

use std::fmt::Debug;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use crate::{Cluster, Error, report};

/// What a watched object tells.
#[derive(Debug)]
pub enum Seen<T> {
    /// Not yet: look at the next change.
    NotYet,
    /// It happened.
    Done(T),
    /// It can never happen any more; the text says why.
    Never(String),
}

/// Watches one object, absent or not, until `judge` is content, and gives what it made of the object.
///
/// # Errors
/// After `seconds`, or when `judge` says that it can never happen: with the object, the events and the pod logs of its namespace.
pub async fn until<K, T>(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    what: &str,
    seconds: u64,
    mut judge: impl FnMut(Option<&K>) -> Seen<T>,
) -> Result<T, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api: Api<K> = Api::namespaced(cluster.client(), namespace);
    let watching = async {
        let mut objects = watcher::watch_object(api, name).default_backoff().boxed();
        // The backoff above repeats a watch that broke off.
        while let Some(object) = objects.next().await {
            let Ok(object) = object else { continue };
            match judge(object.as_ref()) {
                Seen::NotYet => {}
                Seen::Done(found) => return Ok(found),
                Seen::Never(why) => return Err(why),
            }
        }
        Err("the watch ended".to_owned())
    };
    let subject = format!("{}/{name}", K::plural(&()));
    match tokio::time::timeout(Duration::from_secs(seconds), watching).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(why)) => {
            let what = format!("{subject} in {namespace} did not {what}: {why}");
            Err(Error::Unexpected { what, report: report::namespace(cluster, namespace) })
        }
        Err(_) => {
            let what = format!("{subject} in {namespace} did not {what}");
            Err(Error::Timeout { what, seconds, report: report::namespace(cluster, namespace) })
        }
    }
}
