//! The controller's binary in a process of its own.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::plane::until;

/// The controller's binary as a replica. It is killed when this is dropped.
pub struct Replica {
    process: Child,
    port: u16,
    metrics_port: u16,
}

/// Both are held until both are known, or they could be the same.
fn free_ports() -> [u16; 2] {
    let free = [(); 2].map(|()| TcpListener::bind(("127.0.0.1", 0)).expect("a free port"));
    free.map(|listener| listener.local_addr().expect("an address").port())
}

impl Replica {
    /// Starts one with this kubeconfig, and with these flags beside those that it needs.
    pub fn start(kubeconfig: &Path, flags: &[&str]) -> Self {
        let [port, metrics_port] = free_ports();
        let process = Command::new(env!("CARGO_BIN_EXE_model-controller"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["--loader-image", "model-loader:dev"])
            .args(["--health-port", &port.to_string(), "--metrics-port", &metrics_port.to_string()])
            .args(flags)
            .stdout(Stdio::null())
            .spawn();
        Self { process: process.expect("the controller starts"), port, metrics_port }
    }

    /// Waits until its caches are filled, whether or not it leads.
    pub async fn is_ready(&self) {
        until("the replica is ready", async || get(self.port, "/readyz").await.contains("200 OK").then_some(())).await;
    }

    /// The value of a line of `/metrics`. `None`: there is no such line.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let text = get(self.metrics_port, "/metrics").await;
        assert!(text.contains("application/openmetrics-text") && text.ends_with("# EOF\n"), "{text}");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().expect("a number"))
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "could not send {signal}");
    }

    pub async fn ended(&mut self) -> ExitStatus {
        until("the replica ends", async || self.process.try_wait().expect("it can be asked")).await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a plain HTTP server says, head and body. Empty: it is not there yet.
async fn get(port: u16, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)).await {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        if connection.write_all(request.as_bytes()).await.is_ok() {
            connection.read_to_string(&mut answer).await.ok();
        }
    }
    answer
}
