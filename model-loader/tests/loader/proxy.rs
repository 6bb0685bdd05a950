//! Two servers that stand in between: a forward proxy and a server that redirects.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

type Heads = Arc<Mutex<Vec<String>>>;

/// Forwards plain requests and opens tunnels. Whatever the host is called, it is taken to be this machine.
pub struct Proxy {
    address: SocketAddr,
    heads: Heads,
}

/// Answers every request with a redirect to one place.
pub struct Redirector {
    address: SocketAddr,
    heads: Heads,
}

impl Proxy {
    pub fn start() -> Self {
        let (address, heads) = serve(|client, head| {
            let mut words = head.split(' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let (host, path) = match target.strip_prefix("http://") {
                Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
                None => (target, ""),
            };
            let port: u16 = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(80);
            let mut server = TcpStream::connect(("127.0.0.1", port))?;
            if method == "CONNECT" {
                client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            } else {
                // One request a connection: the next one may be for another server.
                let (_, headers) = head.split_once("\r\n").unwrap_or_default();
                write!(server, "{method} {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")?;
            }
            let (mut to, mut from) = (server.try_clone()?, client.try_clone()?);
            thread::spawn(move || {
                let _ = io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            let _ = io::copy(&mut server, client);
            client.shutdown(Shutdown::Both)
        });
        Self { address, heads }
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The heads of all requests, in small letters.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Redirector {
    pub fn start(location: String) -> Self {
        let (address, heads) = serve(move |client, _| {
            write!(
                client,
                "HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
        });
        Self { address, heads }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// Reads the head of each connection's first request and has it answered, until the process ends.
fn serve(answer: impl Fn(&mut TcpStream, &str) -> io::Result<()> + Send + Sync + 'static) -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let heads = Heads::default();
    let (seen, answer) = (heads.clone(), Arc::new(answer));
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, seen, answer) = (client.unwrap(), seen.clone(), answer.clone());
            thread::spawn(move || {
                let mut head = String::new();
                let mut reader = BufReader::new(&client);
                while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
                let head = head.trim_end_matches("\r\n").to_owned() + "\r\n";
                seen.lock().unwrap().push(head.to_lowercase());
                // A client that went away is none of this thread's business.
                let _ = answer(&mut client, &head);
            });
        }
    });
    (address, heads)
}
