//! Watches of all namespaces, or of a few as if there were no others.
//!
//! The API server serves a watch of one namespace or of all of them. An operator that may see some only needs a watch for
//! each, and caches that take them for one: [`Namespaces::watch`].
//!
//! ```no_run
//! use futures::StreamExt;
//! use k8s_openapi::api::core::v1::Pod;
//! use kube::runtime::watcher;
//! use model_watch::Namespaces;
//!
//! # async fn example() -> Result<(), kube::Error> {
//! let client = kube::Client::try_default().await?;
//! let namespaces = Namespaces::new(["team-a".to_owned(), "team-b".to_owned()]);
//! let mut pods = namespaces.watch::<Pod>(&client, watcher::Config::default());
//! while let Some(event) = pods.next().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod causes;
mod lean;
mod merged;

use std::fmt::Debug;

use futures::future::ready;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

pub use causes::with_causes;
pub use lean::Lean;
use merged::merged;

/// The namespaces that are looked at. Default: all, those of the future too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(Vec<String>);

impl Namespaces {
    /// These and no others, or all where none is named. Spaces, empty names and repetitions are dropped.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut names: Vec<_> = names.into_iter().map(|name| name.trim().to_owned()).collect();
        names.retain(|name| !name.is_empty());
        names.sort_unstable();
        names.dedup();
        Self(names)
    }

    /// Everything of one kind in these namespaces, first as a list, then as it changes, [`Lean`]. Broken watches begin again,
    /// with a growing delay.
    ///
    /// Like any watch it may begin anew with a whole list; of several namespaces all do then.
    #[must_use]
    pub fn watch<K>(
        &self,
        client: &Client,
        config: watcher::Config,
    ) -> BoxStream<'static, watcher::Result<watcher::Event<K>>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
    {
        let (client, names) = (client.clone(), self.0.clone());
        match &names[..] {
            [] => watch(Api::all(client), config),
            [name] => watch(Api::namespaced(client, name), config),
            _ => merged(move || {
                let one = |name: &String| watch(Api::namespaced(client.clone(), name), config.clone());
                names.iter().map(one).collect()
            })
            .boxed(),
        }
    }
}

fn watch<K>(api: Api<Lean<K>>, config: watcher::Config) -> BoxStream<'static, watcher::Result<watcher::Event<K>>>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let watch =
        watcher(api, config).try_filter(|event| ready(!matches!(event, watcher::Event::Init))).default_backoff();
    // A list begins with what it brings: the beginning of one that then fails would pass for a success, after which it is
    // asked for again at once.
    let mut in_list = false;
    let with_begin = watch.flat_map(move |event| {
        let of_list = matches!(event, Ok(watcher::Event::InitApply(_) | watcher::Event::InitDone));
        let begins = of_list && !in_list;
        in_list = matches!(event, Ok(watcher::Event::InitApply(_)));
        stream::iter(begins.then_some(Ok(watcher::Event::Init)).into_iter().chain([event]))
    });
    with_begin.map_ok(object).boxed()
}

fn object<K>(event: watcher::Event<Lean<K>>) -> watcher::Event<K> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    match event {
        Apply(Lean(object)) => Apply(*object),
        Delete(Lean(object)) => Delete(*object),
        Init => Init,
        InitApply(Lean(object)) => InitApply(*object),
        InitDone => InitDone,
    }
}

#[cfg(test)]
mod tests {
    use super::Namespaces;

    #[test]
    fn no_name_means_all() {
        let of = |text: &str| Namespaces::new(text.split(',').map(str::to_owned));
        assert_eq!(of(""), Namespaces::default());
        assert_eq!(of(" , "), Namespaces::default());
        assert_eq!(of("b, a,b,"), Namespaces(vec!["a".to_owned(), "b".to_owned()]));
    }
}
