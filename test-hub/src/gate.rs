//! A door in front of a registry that opens with a password or with a token that ends soon.
//!
//! Registries with accounts are large to build and their tokens live for minutes; this stands in for the account
//! service alone. Behind the door is the real registry, reached by a redirect to another origin, as with Docker Hub.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::http::header::{AUTHORIZATION, LOCATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::runtime::Runtime;

use crate::Error;

/// What the door asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// User and password with every request.
    Password,
    /// A token, which user and password open, and which ends after this time.
    Token(Duration),
    /// A new token with every request: it is said to end at once, and opens the door a single time. No clock decides.
    TokenEach,
}

/// How long a token for a single request waits for it.
const UNUSED: Duration = Duration::from_hours(1);

/// The user that the door knows.
pub const GATE_USER: &str = "registry-user";
/// That user's password.
pub const GATE_PASSWORD: &str = "registry-password";

/// A running door. It ends when it is dropped.
pub struct Gate {
    port: u16,
    door: Arc<Door>,
    runtime: Option<Runtime>,
}

struct Door {
    lock: Lock,
    port: u16,
    behind_port: u16,
    /// URL of the registry, without a slash at its end.
    registry: String,
    /// Tokens that were given out, and when they end.
    tokens: Mutex<Vec<(String, Instant)>>,
    refused: AtomicU64,
    leaked: AtomicU64,
}

impl Gate {
    /// Starts a door in front of the registry of this URL.
    ///
    /// # Errors
    /// No port is free or no thread can be started.
    pub fn start(registry: &str, lock: Lock) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(Error::file("start threads for", "a gate"))?;
        let (front, port) = bind()?;
        let (behind, behind_port) = bind()?;
        let door = Arc::new(Door {
            lock,
            port,
            behind_port,
            registry: registry.trim_end_matches('/').to_owned(),
            tokens: Mutex::default(),
            refused: AtomicU64::new(0),
            leaked: AtomicU64::new(0),
        });
        let front_routes = Router::new().route("/token", get(token)).fallback(enter).with_state(door.clone());
        let behind_routes = Router::new().fallback(pass).with_state(door.clone());
        for (listener, routes) in [(front, front_routes), (behind, behind_routes)] {
            runtime.spawn(async move { axum_server::from_tcp(listener)?.serve(routes.into_make_service()).await });
        }
        Ok(Self { port, door, runtime: Some(runtime) })
    }

    /// `HOST:PORT` of the door.
    #[must_use]
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many tokens were given out.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.door.tokens().len()
    }

    /// How many requests came without what opens the door.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.door.refused.load(Ordering::Relaxed)
    }

    /// How many requests brought credentials to the origin behind the door, which are not for it.
    #[must_use]
    pub fn leaked(&self) -> u64 {
        self.door.leaked.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Door {
    fn tokens(&self) -> std::sync::MutexGuard<'_, Vec<(String, Instant)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opens(&self, headers: &HeaderMap) -> bool {
        match self.lock {
            Lock::Password => knows(headers),
            Lock::Token(_) | Lock::TokenEach => {
                let (given, now) = (authorization(headers), Instant::now());
                let mut tokens = self.tokens();
                let mut valid = tokens.iter_mut().filter(|(_, end)| now < *end);
                let Some((_, end)) = valid.find(|(token, _)| given == format!("Bearer {token}")) else { return false };
                if self.lock == Lock::TokenEach {
                    *end = now;
                }
                true
            }
        }
    }
}

#[derive(Deserialize)]
struct Asked {
    service: String,
    scope: String,
}

/// Gives out a token for the right password and scope.
async fn token(State(door): State<Arc<Door>>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let (told, life) = match door.lock {
        Lock::Password => return StatusCode::NOT_FOUND.into_response(),
        Lock::Token(life) => (life, life),
        Lock::TokenEach => (Duration::ZERO, UNUSED),
    };
    if !knows(&headers) {
        return (StatusCode::UNAUTHORIZED, Json(serde_json::json!({"details": "incorrect username or password"})))
            .into_response();
    }
    if asked.service != "gate" || !(asked.scope.starts_with("repository:") && asked.scope.ends_with(":pull")) {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let mut tokens = door.tokens();
    let token = format!("gate-token-{}", tokens.len());
    tokens.push((token.clone(), Instant::now() + life));
    Json(serde_json::json!({"token": token, "expires_in": told.as_secs()})).into_response()
}

/// Lets in whoever has what opens the door: to the other origin.
async fn enter(State(door): State<Arc<Door>>, headers: HeaderMap, uri: Uri) -> Response {
    if door.opens(&headers) {
        return redirect(&format!("http://127.0.0.1:{}{uri}", door.behind_port));
    }
    door.refused.fetch_add(1, Ordering::Relaxed);
    let path = uri.path().trim_start_matches("/v2/");
    let name = ["/manifests/", "/blobs/"].iter().find_map(|kind| path.split_once(kind)).map_or("", |(name, _)| name);
    let challenge = match door.lock {
        Lock::Password => "Basic realm=\"gate\"".to_owned(),
        Lock::Token(_) | Lock::TokenEach => format!(
            "Bearer realm=\"http://127.0.0.1:{}/token\",service=\"gate\",scope=\"repository:{name}:pull\"",
            door.port
        ),
    };
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response()
}

/// Leads on to the registry, unless the request brings what was for the door alone.
async fn pass(State(door): State<Arc<Door>>, headers: HeaderMap, uri: Uri) -> Response {
    if headers.contains_key(AUTHORIZATION) {
        door.leaked.fetch_add(1, Ordering::Relaxed);
        return StatusCode::BAD_REQUEST.into_response();
    }
    redirect(&format!("{}{uri}", door.registry))
}

fn redirect(to: &str) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to.to_owned())]).into_response()
}

fn knows(headers: &HeaderMap) -> bool {
    authorization(headers) == format!("Basic {}", STANDARD.encode(format!("{GATE_USER}:{GATE_PASSWORD}")))
}

fn authorization(headers: &HeaderMap) -> &str {
    headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn bind() -> Result<(TcpListener, u16), Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let failed = |source| Error::Listen { address: address.to_string(), source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}
