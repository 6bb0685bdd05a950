//! Hugging Face's own Xet crates, made to upload to and download from their own local server.
//!
//! `run.sh` beside this crate measures with it.

use std::{
    collections::VecDeque,
    env,
    error::Error,
    fs::OpenOptions,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use model_loader::{Access, Meter, Network, Wanted};
use test_hub::{Hub, HubConfig};
use tokio::task::JoinSet;
use xet::xet_session::{Sha256Policy, XetFileInfo, XetSession, XetSessionBuilder};
use xet_client::cas_client::{LocalServer, LocalServerConfig};
use xet_runtime::core::XetContext;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const USAGE: &str = "xet-bench serve DIR PORT            runs the local server for ever
xet-bench upload CAS FILE                prints the file's Xet hash
xet-bench pull CAS HASH SIZE FILE        downloads as `hf` does: the whole file through the crate's own writer
xet-bench stream CAS HASH SIZE FILE RANGE STREAMS
                                         downloads in ranges of RANGE bytes, STREAMS at once, written at their offset
xet-bench hub ROOT                       runs a test hub for ever and prints its URL
xet-bench load ENDPOINT REPO DIR         downloads with model-loader, its feature `xet` being on
xet-bench load-url URL DIR               downloads one file with it, by plain HTTP";

#[tokio::main]
async fn main() -> Outcome {
    // Their `rustls-no-provider`: without it the crates bring aws-lc.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| "a TLS provider is installed already")?;
    let args: Vec<String> = env::args().skip(1).collect();
    match &*args.iter().map(String::as_str).collect::<Vec<_>>() {
        ["serve", dir, port] => serve(dir.into(), port.parse()?).await,
        ["upload", cas, file] => upload(cas, file.into()).await,
        ["pull", cas, hash, size, file] => pull(cas, info(hash, size)?, file.into()).await,
        ["stream", cas, hash, size, file, range, streams] => {
            stream(cas, info(hash, size)?, Path::new(file), range.parse()?, streams.parse()?).await
        }
        ["hub", root] => hub(Path::new(root)).await,
        ["load", endpoint, repo, dir] => load(endpoint, &format!("hf://{repo}"), dir).await,
        ["load-url", url, dir] => load("http://127.0.0.1", url, dir).await,
        _ => Err(USAGE.into()),
    }
}

fn info(hash: &str, size: &str) -> Outcome<XetFileInfo> {
    Ok(XetFileInfo::new(hash.to_owned(), size.parse()?))
}

/// A session whose buffers and concurrency come from the `HF_XET_…` variables.
fn session() -> Outcome<XetSession> {
    Ok(XetSessionBuilder::new().build()?)
}

async fn serve(data_directory: PathBuf, port: u16) -> Outcome {
    let config = LocalServerConfig { data_directory, host: "127.0.0.1".to_owned(), port, in_memory: false };
    Ok(LocalServer::new(XetContext::default()?, config).await?.run().await?)
}

async fn upload(cas: &str, file: PathBuf) -> Outcome {
    let commit = session()?.new_upload_commit()?.with_endpoint(cas).build().await?;
    commit.upload_from_path(file, Sha256Policy::Compute).await?;
    for done in commit.commit().await?.uploads.values() {
        println!("{}", done.xet_info.hash);
    }
    Ok(())
}

async fn pull(cas: &str, info: XetFileInfo, file: PathBuf) -> Outcome {
    let group = session()?.new_file_download_group()?.with_endpoint(cas).build().await?;
    group.download_file_to_path(info, file).await?;
    group.finish().await?;
    Ok(())
}

async fn stream(cas: &str, info: XetFileInfo, file: &Path, range: u64, streams: usize) -> Outcome {
    let size = info.file_size().unwrap_or(0);
    let file = Arc::new(OpenOptions::new().write(true).create(true).truncate(true).open(file)?);
    let starts: VecDeque<u64> = (0..size).step_by(usize::try_from(range)?).collect();
    let starts = Arc::new(Mutex::new(starts));
    let group = session()?.new_download_stream_group()?.with_endpoint(cas).build().await?;
    let mut tasks = JoinSet::<Outcome>::new();
    for _ in 0..streams {
        let (file, starts, group, info) = (file.clone(), starts.clone(), group.clone(), info.clone());
        tasks.spawn(async move {
            while let Some(start) = take(&starts) {
                let end = size.min(start + range);
                let mut pieces = group.download_unordered_stream(info.clone(), Some(start..end)).await?;
                while let Some((offset, bytes)) = pieces.next().await? {
                    // Offsets count from the start of the range.
                    file.write_all_at(&bytes, start + offset)?;
                }
            }
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    group.finish().await;
    Ok(())
}

fn take(starts: &Mutex<VecDeque<u64>>) -> Option<u64> {
    starts.lock().ok()?.pop_front()
}

async fn hub(root: &Path) -> Outcome {
    let hub = Hub::start(HubConfig::new(root))?;
    println!("{}", hub.url());
    std::future::pending().await
}

async fn load(endpoint: &str, source: &str, dir: &str) -> Outcome {
    let vars = [("HF_ENDPOINT".to_owned(), endpoint.to_owned())];
    let network = Network { access: Access::from_vars(vars)?, ..Network::default() };
    model_loader::pull(&Wanted::all_of(source.parse()?), Path::new(dir), &network, &Meter::default()).await?;
    Ok(())
}
