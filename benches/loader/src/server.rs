//! The server that every client downloads from: threads, HTTP/1.1 with kept-alive connections, no TLS.
//!
//! It serves one model in three protocols on one port: plain files, the Hugging Face hub and S3. The hub's large files
//! come from a second port, since a CDN is another origin: clients tell the two apart.

mod answer;
mod hub;
mod pace;
mod range;
mod request;
mod routes;
mod s3;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pace::Pace;
use request::{Method, Requests};

use crate::model::Model;

/// The hub's organisation: the model is the repository `bench/NAME`.
pub const ORGANISATION: &str = "bench";
/// The bucket: the model's objects are `NAME/PATH` in it.
pub const BUCKET: &str = "weights";
/// Folder of the plain files: `/files/PATH`.
pub const FILES: &str = "files";

/// How long a client may be silent, or not read, before its connection is closed.
const PATIENCE: Duration = Duration::from_secs(120);
/// Connections at a time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 2048;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// Wait before each answer.
    pub latency: Duration,
    /// Bytes per second on each connection; `None` is as fast as it goes.
    pub rate: Option<u64>,
}

/// What was asked for and sent since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Bytes of bodies handed to the kernel to send.
    pub bytes: u64,
    /// Requests answered.
    pub requests: u64,
    /// Connections accepted.
    pub connections: u64,
}

#[derive(Default)]
struct Stats {
    bytes: AtomicU64,
    requests: AtomicU64,
    connections: AtomicU64,
}

struct Shared {
    model: Arc<Model>,
    /// `http://ADDRESS:PORT` of the second port.
    cdn: String,
    manners: Manners,
    stats: Stats,
    stopped: AtomicBool,
    open: AtomicUsize,
}

/// A running server. It accepts nothing more once it is dropped.
pub struct Server {
    addresses: [SocketAddr; 2],
    shared: Arc<Shared>,
    accepting: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts on two free ports of the loopback interface.
    ///
    /// # Errors
    /// No ports can be had.
    pub fn start(model: Arc<Model>, manners: Manners) -> io::Result<Self> {
        let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = [listen()?, listen()?];
        let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        let shared = Arc::new(Shared {
            model,
            cdn: format!("http://{}", addresses[1]),
            manners,
            stats: Stats::default(),
            stopped: AtomicBool::new(false),
            open: AtomicUsize::new(0),
        });
        let accepting = listeners.map(|listener| {
            let shared = shared.clone();
            thread::spawn(move || accept(&listener, &shared))
        });
        Ok(Self { addresses, shared, accepting: accepting.into() })
    }

    /// `http://ADDRESS:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses[0])
    }

    /// How it behaves.
    pub fn manners(&self) -> Manners {
        self.shared.manners
    }

    /// The counts so far.
    pub fn counts(&self) -> Counts {
        let Stats { bytes, requests, connections } = &self.shared.stats;
        let [bytes, requests, connections] = [bytes, requests, connections].map(|count| count.load(Ordering::Relaxed));
        Counts { bytes, requests, connections }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the threads that accept. If this fails, they are not waited for: they end with the process.
        for (address, accepting) in self.addresses.iter().zip(self.accepting.drain(..)) {
            if TcpStream::connect(address).is_ok() {
                let _ = accepting.join();
            }
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        shared.stats.connections.fetch_add(1, Ordering::Relaxed);
        if shared.open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            shared.open.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let for_thread = shared.clone();
        let started = thread::Builder::new().stack_size(256 << 10).spawn(move || {
            // A client that goes away is no fault of the server; whether it has what it needs is seen in its files.
            let _ = serve(&stream, &for_thread);
            for_thread.open.fetch_sub(1, Ordering::Relaxed);
        });
        if started.is_err() {
            shared.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Answers one request after another until the client closes the connection.
fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut requests = Requests::default();
    let mut pace = Pace::new(shared.manners.rate);
    while let Some(request) = requests.next(stream)? {
        thread::sleep(shared.manners.latency);
        shared.stats.requests.fetch_add(1, Ordering::Relaxed);
        let answer = routes::answer(&shared.model, &shared.cdn, &request);
        answer.send(stream, request.method == Method::Head, &mut pace, &shared.stats)?;
        if request.close || shared.stopped.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;
    use crate::model::Shape;

    /// Sends requests on one connection and reads to its end.
    fn exchange(server: &Server, requests: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(server.addresses[0]).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        answers
    }

    fn get(path: &str, headers: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n")
    }

    #[test]
    fn ranges_come_over_one_connection_in_all_three_protocols() {
        let root = tempfile::tempdir().unwrap();
        let shape = Shape { name: "tiny", file: "model.safetensors", files: 1, sizes: 100_000..=100_000 };
        let model = Arc::new(Model::write(&shape, root.path()).unwrap());
        let content = std::fs::read(root.path().join("model.safetensors")).unwrap();
        let server = Server::start(model.clone(), Manners::default()).unwrap();
        for (path, first) in [
            ("/files/model.safetensors".to_owned(), 0),
            (format!("/cdn/bench/tiny/{}/model.safetensors", model.commit), 99_000),
            ("/weights/tiny/model.safetensors".to_owned(), 5),
        ] {
            let two =
                get(&path, &format!("Range: bytes={first}-{}\r\n", first + 999)) + &get(&path, "Connection: close\r\n");
            let answers = exchange(&server, &two);
            let text = String::from_utf8_lossy(&answers);
            assert!(text.starts_with("HTTP/1.1 206 "), "{path}: {text:.40}");
            assert!(text.contains(&format!("Content-Range: bytes {first}-{}/100000\r\n", first + 999)), "{path}");
            let part = answers.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
            assert_eq!(answers[part..part + 1000], content[first..first + 1000], "{path}");
            assert!(answers.ends_with(&content), "{path}");
        }
        assert_eq!(server.counts(), Counts { bytes: 3 * 101_000, requests: 6, connections: 3 });

        let moved = exchange(&server, &get("/bench/tiny/resolve/main/model.safetensors", "Connection: close\r\n"));
        let moved = String::from_utf8(moved).unwrap();
        assert!(moved.starts_with("HTTP/1.1 302 "), "{moved}");
        assert!(moved.contains(&format!("Location: http://{}/cdn/bench/tiny/", server.addresses[1])), "{moved}");
        assert!(moved.contains(&format!("X-Repo-Commit: {}\r\n", model.commit)), "{moved}");
        let absent = exchange(&server, &get("/files/../Cargo.toml", "Connection: close\r\n"));
        assert!(absent.starts_with(b"HTTP/1.1 404 "));
    }

    #[test]
    fn latency_and_rate_slow_a_connection_down() {
        let root = tempfile::tempdir().unwrap();
        let shape = Shape { name: "tiny", file: "model.safetensors", files: 1, sizes: 1 << 20..=1 << 20 };
        let model = Arc::new(Model::write(&shape, root.path()).unwrap());
        let manners = Manners { latency: Duration::from_millis(50), rate: Some(4 << 20) };
        let server = Server::start(model, manners).unwrap();
        let start = std::time::Instant::now();
        let got = exchange(&server, &get("/files/model.safetensors", "Connection: close\r\n"));
        assert!(got.len() > 1 << 20);
        // 50 ms and three waits of a sixteenth of a second: it cannot be faster.
        assert!(start.elapsed() >= Duration::from_millis(50 + 187), "{:?}", start.elapsed());
    }
}
