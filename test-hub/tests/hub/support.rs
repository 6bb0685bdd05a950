//! A hub with made-up models and a client for it.

use reqwest::{Client, Response, redirect};
use tempfile::TempDir;
use test_hub::{Hub, HubConfig, fixtures};

/// A hub over made-up models, and the folder that it serves.
pub struct Served {
    pub hub: Hub,
    pub root: TempDir,
}

/// Starts a hub on `configure`'s configuration.
pub fn serve(configure: impl FnOnce(HubConfig) -> HubConfig) -> Served {
    let root = tempfile::tempdir().unwrap();
    fixtures::made_up(root.path()).unwrap();
    let hub = Hub::start(configure(HubConfig::new(root.path()))).unwrap();
    Served { hub, root }
}

impl Served {
    /// The hub's URL for `path`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.hub.url())
    }

    /// A file below the served folder.
    pub fn file(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.root.path().join(path)).unwrap()
    }
}

/// A client that follows redirects and drops credentials on the way to another origin.
pub fn client() -> Client {
    // Fails only if another test has done it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

/// A client that shows redirects.
pub fn still_client() -> Client {
    client();
    Client::builder().no_proxy().redirect(redirect::Policy::none()).build().unwrap()
}

/// A header's text, empty if absent.
pub fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}
