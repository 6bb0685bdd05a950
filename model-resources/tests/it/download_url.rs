//! The URL script with the real curl against a small server.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use model_core::api::{Source, UrlSource};
use model_resources::download_job;

use crate::fixtures::{model, persisted, stock};
use crate::kubelet::{Sandbox, container};

/// SHA-256 of `weights`.
const DIGEST: &str = "9A129038D9A00AED0CF6A7EA059CA50A813449061AB87848CF1A13EAFDF33B2C";

/// Answers every request with `answer(path)`; hands out each request's path and its Authorization header.
fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> (SocketAddr, Receiver<(String, Option<String>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let path = lines.next().unwrap().unwrap().split(' ').nth(1).unwrap().to_owned();
            let header = |line: &String| line.strip_prefix("Authorization: ").map(str::to_owned);
            let headers = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
            let authorization = headers.filter_map(|line| header(&line)).last();
            stream.write_all(answer(&path).as_bytes()).unwrap();
            if sender.send((path, authorization)).is_err() {
                return;
            }
        }
    });
    (address, requests)
}

fn ok(_: &str) -> String {
    "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nweights".to_owned()
}

fn status(line: &str) -> String {
    format!("HTTP/1.1 {line}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nerror")
}

/// Runs the Job's command; gives whether it succeeded and what it said.
fn download(sandbox: &Sandbox, url: String, sha256: Option<&str>, token: Option<&str>) -> (bool, String) {
    let source = Source::Url(UrlSource { url, sha256: sha256.map(str::to_owned) });
    let mut model = model("m", source);
    model.spec.credentials_secret = token.map(|_| "credentials".to_owned());
    let secret: BTreeMap<_, _> = token.map(|token| ("TOKEN", token.to_owned())).into_iter().collect();
    let output = sandbox.run(&container(download_job(&persisted(&model), &stock(), "uid")), &secret);
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_file_arrives_under_its_own_name() {
    let (server, requests) = serve(ok);
    for digest in [None, Some(DIGEST)] {
        let sandbox = Sandbox::new();
        let url = format!("http://{server}/a/my%20model.bin?x=[1-2]&y={{a,b}}");
        let (success, said) = download(&sandbox, url, digest, None);
        assert!(success, "{said}");
        assert_eq!(sandbox.files(), ["my model.bin"]);
        assert_eq!(fs::read(sandbox.models().join("my model.bin")).unwrap(), b"weights");
        assert_eq!(requests.recv().unwrap(), ("/a/my%20model.bin?x=[1-2]&y={a,b}".to_owned(), None));
    }
}

#[test]
fn an_http_error_is_a_failure_and_never_a_file() {
    for line in ["404 Not Found", "401 Unauthorized", "400 Bad Request"] {
        let (server, _requests) = serve(move |_| status(line));
        let sandbox = Sandbox::new();
        let (success, said) = download(&sandbox, format!("http://{server}/model.bin"), None, None);
        assert!(!success);
        assert!(said.contains(&line[..3]), "{said}");
        assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
    }
}

#[test]
fn wrong_bytes_are_a_failure_and_never_a_file() {
    let (server, _requests) = serve(ok);
    let sandbox = Sandbox::new();
    let wrong = "0".repeat(64);
    let (success, said) = download(&sandbox, format!("http://{server}/model.bin"), Some(&wrong), None);
    assert!(!success);
    assert!(said.contains(&DIGEST.to_ascii_lowercase()) && said.contains(&wrong), "{said}");
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}

#[test]
fn a_token_goes_to_its_own_origin_only() {
    let (elsewhere, requests_elsewhere) = serve(ok);
    let (server, requests) = serve(move |_| {
        format!(
            "HTTP/1.1 302 Found\r\nLocation: http://{elsewhere}/cdn\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    });
    let sandbox = Sandbox::new();
    let (success, said) = download(&sandbox, format!("http://{server}/model.bin"), None, Some("hf_abc\n"));
    assert!(success, "{said}");
    assert_eq!(requests.recv().unwrap(), ("/model.bin".to_owned(), Some("Bearer hf_abc".to_owned())));
    assert_eq!(requests_elsewhere.recv().unwrap(), ("/cdn".to_owned(), None));
    assert_eq!(sandbox.files(), ["model.bin"]);
}
