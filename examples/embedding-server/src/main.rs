//! `embedding-server`: answers `POST /embed` with the embeddings of sentences. Its model is the one that `MODEL_…_PATH`
//! names, its port that of `PORT`, else 8080.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::Context as _;
use embedding_server::{Embedder, place, service};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let port: u16 = port.parse().with_context(|| format!("PORT={port} is no port"))?;
    let folder = place::model_folder(std::env::vars_os())?;
    let start = Instant::now();
    let embedder = Embedder::load(&folder)?;
    // It is the first process of its container: nobody else ends it.
    let mut end = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    let listener = listener.with_context(|| format!("could not listen on port {port}"))?;
    println!("{} is loaded in {:.1} s; port {port}", folder.display(), start.elapsed().as_secs_f64());
    let serving = axum::serve(listener, service::router(embedder));
    Ok(serving.with_graceful_shutdown(async move { _ = end.recv().await }).await?)
}
