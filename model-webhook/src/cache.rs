//! The watch cache of Models: every look-up during a request is answered from memory.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::{Stream, StreamExt};
use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store, store, store::Writer};
use kube::runtime::{WatchStreamExt, watcher};
use model_core::api::Model;
use model_watch::{Namespaces, with_causes};

/// How long one watch call lasts. A connection that died silently is noticed 5 s later.
pub(crate) const WATCH_SECONDS: u32 = 60;

/// A Model as the watch delivers it: one that does not parse is an error of its own and does not end the watch.
pub type Guarded = DeserializeGuard<Model>;

/// All Models of the watched namespaces, in memory. Clones share the same memory.
#[derive(Clone, Debug)]
pub struct ModelCache {
    store: Store<Guarded>,
    filled: Arc<AtomicBool>,
}

impl ModelCache {
    /// An empty cache, and the task that fills it and keeps it current for as long as it is polled.
    ///
    /// Errors of the watch are logged and tried again, with a growing delay.
    pub fn watch(client: &Client, namespaces: &Namespaces) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (store, writer) = store();
        let cache = Self::new(store);
        let events = namespaces.watch(client, watcher::Config::default().timeout(WATCH_SECONDS));
        let task = fill(cache.clone(), writer, events);
        (cache, task)
    }

    /// A cache over a store that somebody else fills, and which is empty until [`Self::mark_filled`].
    #[must_use]
    pub fn new(store: Store<Guarded>) -> Self {
        Self { store, filled: Arc::default() }
    }

    /// Declares that the store holds the first complete list.
    pub fn mark_filled(&self) {
        self.filled.store(true, Ordering::Release);
    }

    /// Whether the first complete list has been read. Before, a missing Model proves nothing.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// The Model, or the error of one that does not parse. `None`: there is no Model of that name.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Guarded>> {
        self.store.get(&ObjectRef::new(name).within(namespace))
    }
}

async fn fill(
    cache: ModelCache,
    writer: Writer<Guarded>,
    events: impl Stream<Item = watcher::Result<watcher::Event<Guarded>>> + Send,
) {
    let mut events = std::pin::pin!(events.reflect(writer));
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::InitDone) => {
                if !cache.is_filled() {
                    tracing::info!(models = cache.store.len(), "read all Models");
                }
                cache.mark_filled();
            }
            Ok(
                watcher::Event::Apply(DeserializeGuard(Err(error)))
                | watcher::Event::InitApply(DeserializeGuard(Err(error))),
            ) => {
                let (namespace, name) = (&error.metadata.namespace, &error.metadata.name);
                tracing::warn!(?namespace, ?name, %error, "a Model cannot be read; pods that ask for it are denied");
            }
            Ok(_) => {}
            Err(error) => {
                let error = with_causes(&error);
                tracing::warn!(error, "could not watch Models; trying again");
            }
        }
    }
}
