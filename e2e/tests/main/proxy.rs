//! A way to the API server on which something goes wrong. A part of the operator is sent there by a kubeconfig; each of its
//! requests is passed on with its own token, so that its rights stay what they are.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use e2e::deploy::{self, NAMESPACE};
use e2e::{Cluster, Error};
use futures::{StreamExt, future, stream};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::scene::Scene;

/// Largest request that is passed on.
const MOST_BYTES: usize = 4 << 20;
/// Where a redirected pod finds its kubeconfig.
const FOLDER: &str = "/etc/way";

/// What goes wrong on the way.
pub trait Fault: Send + Sync + 'static {
    /// Looks at a request, which it may change, before it is passed on.
    fn meets(&self, request: &mut axum::http::request::Parts, body: &[u8]) -> Fate;

    /// Sees a piece of an answer on its way back. `path` is that of the request.
    fn passes(&self, _path: &str, _piece: &[u8]) {}
}

/// What becomes of a request.
pub enum Fate {
    /// It is passed on, and so is the answer.
    Passes,
    /// It never reaches the API server: this is the answer.
    Refused(StatusCode, Value),
    /// The answer ends after so long as if it were whole.
    Ends(Duration),
    /// The connection breaks after so long, in the middle of the answer.
    Breaks(Duration),
}

/// A proxy, until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Proxy {
    /// Starts one that the node's pods reach, on a thread of its own: scenarios block theirs.
    pub fn start(scene: &Scene, fault: Arc<impl Fault>) -> Self {
        let host = scene.node.host_ip().expect("a node has a cable to this machine");
        let kubeconfig = Kubeconfig::read_from(scene.node.kubeconfig()).expect("the node has a kubeconfig");
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                let (listener, client) = (listen(host).await, forwarder(kubeconfig).await);
                tell.send(listener.local_addr().expect("it is bound")).expect("the scenario waits for it");
                let app = Router::new().fallback(pass_on).with_state(Way { client, fault });
                // Sent or dropped: both mean that it is over.
                future::select(Box::pin(axum::serve(listener, app).into_future()), stopped).await;
            });
        });
        Self { address: told.recv().expect("the proxy starts"), _stop: stop }
    }
}

async fn listen(host: IpAddr) -> TcpListener {
    TcpListener::bind((host, 0)).await.expect("the cable's address is this machine's")
}

/// A client that says of itself nothing at all: who asks is in the requests.
async fn forwarder(mut kubeconfig: Kubeconfig) -> Client {
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(AuthInfo::default());
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.expect("the kubeconfig can be used")).expect("a client")
}

struct Way<F> {
    client: Client,
    fault: Arc<F>,
}

impl<F> Clone for Way<F> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), fault: self.fault.clone() }
    }
}

async fn pass_on<F: Fault>(State(way): State<Way<F>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MOST_BYTES).await else { return StatusCode::BAD_REQUEST.into_response() };
    let path = parts.uri.path().to_owned();
    let fate = way.fault.meets(&mut parts, &body);
    if let Fate::Refused(code, status) = fate {
        return (code, axum::Json(status)).into_response();
    }
    parts.headers.remove(header::HOST);
    parts.headers.remove(header::CONNECTION);
    let request = axum::http::Request::from_parts(parts, kube::client::Body::from(body));
    let Ok(answer) = way.client.send(request).await else { return StatusCode::BAD_GATEWAY.into_response() };
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.remove(header::CONNECTION);
    let pieces = Body::new(body).into_data_stream().inspect(move |piece| {
        if let Ok(piece) = piece {
            way.fault.passes(&path, piece);
        }
    });
    let body = match fate {
        Fate::Passes | Fate::Refused(..) => Body::from_stream(pieces),
        Fate::Ends(after) => Body::from_stream(pieces.take_until(Box::pin(tokio::time::sleep(after)))),
        Fate::Breaks(after) => {
            let broken = stream::iter([Err::<Bytes, _>(axum::Error::new(Broken))]);
            Body::from_stream(pieces.take_until(Box::pin(tokio::time::sleep(after))).chain(broken))
        }
    };
    Response::from_parts(parts, body)
}

#[derive(Debug, thiserror::Error)]
#[error("the connection breaks")]
struct Broken;

/// Deployments of the operator that reach the API server by way of a proxy, until this is dropped: later scenarios need
/// them as they were.
pub struct Redirected {
    cluster: Cluster,
    deployments: Vec<&'static str>,
}

impl Redirected {
    /// Sends each of these by the proxy beside it, and waits until nobody runs who does not go there.
    pub fn start(cluster: &Cluster, ways: &[(&'static str, &Proxy)]) -> Result<Self, Error> {
        let redirected =
            Self { cluster: cluster.clone(), deployments: ways.iter().map(|(deployment, _)| *deployment).collect() };
        for (deployment, proxy) in ways {
            let applied = cluster.apply(NAMESPACE, &kubeconfig(deployment, proxy.address).to_string())?;
            assert!(applied.ok, "{}", applied.text);
        }
        redirected.patch(redirection)?;
        Ok(redirected)
    }

    fn patch(&self, change: impl Fn(&str) -> Value) -> Result<(), Error> {
        let patches: Vec<_> = self.deployments.iter().map(|name| (*name, change(name).to_string())).collect();
        deploy::change(&self.cluster, &self.deployments, || {
            patches.iter().try_for_each(|(name, patch)| {
                let name = format!("deployment/{name}");
                self.cluster.run(&["-n", NAMESPACE, "patch", &name, "--type=strategic", "-p", patch]).map(drop)
            })
        })
    }
}

impl Drop for Redirected {
    fn drop(&mut self) {
        let undone = self.patch(|name| {
            let mut patch = redirection(name);
            let pod = &mut patch["spec"]["template"]["spec"];
            let container = &mut pod["containers"][0];
            container["env"] = json!([{ "name": variable(name), "$patch": "delete" }]);
            container["volumeMounts"] = json!([{ "mountPath": FOLDER, "$patch": "delete" }]);
            pod["volumes"] = json!([{ "name": "way", "$patch": "delete" }]);
            patch
        });
        if let Err(error) = undone {
            eprintln!("{error}");
        }
    }
}

fn variable(deployment: &str) -> String {
    format!("{}_KUBECONFIG", deployment.replace('-', "_").to_uppercase())
}

/// A change of the Deployment, as a strategic merge patch.
fn redirection(deployment: &str) -> Value {
    let container = json!({
        "name": deployment,
        "env": [{ "name": variable(deployment), "value": format!("{FOLDER}/kubeconfig") }],
        "volumeMounts": [{ "name": "way", "mountPath": FOLDER, "readOnly": true }],
    });
    let volume = json!({ "name": "way", "configMap": { "name": format!("{deployment}-way") } });
    json!({ "spec": { "template": { "spec": { "containers": [container], "volumes": [volume] } } } })
}

/// The way to the proxy, for who has the token of the pod's own account.
fn kubeconfig(deployment: &str, proxy: SocketAddr) -> Value {
    let own = "/var/run/secrets/kubernetes.io/serviceaccount";
    // The authority vouches for nobody on this way. Without one the image would have to have some.
    let cluster = json!({ "server": format!("http://{proxy}"), "certificate-authority": format!("{own}/ca.crt") });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "way",
        "clusters": [{ "name": "way", "cluster": cluster }],
        "users": [{ "name": "own", "user": { "tokenFile": format!("{own}/token") } }],
        "contexts": [{ "name": "way", "context": { "cluster": "way", "user": "own", "namespace": NAMESPACE } }],
    });
    json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("{deployment}-way") },
        "data": { "kubeconfig": kubeconfig.to_string() },
    })
}
