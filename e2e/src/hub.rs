//! The model hub as a pod: what it serves is a directory of this machine, what goes wrong is told to its admin port.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use model_webhook::certificates::{self, Certificates};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use test_hub::{Rule, Stats};

use crate::deploy::applied;
use crate::{Cluster, Error};

/// Namespace of the hub, and its Service `hub`.
pub const NAMESPACE: &str = "model-hub";

/// `HF_ENDPOINT` for pods, and the base of `/files` and `/private`.
pub const URL: &str = "http://hub.model-hub.svc:8080";

/// The same over TLS, for those who trust [`Hub::authority`]. A hub with its content in its image has no TLS.
pub const TLS_URL: &str = "https://hub.model-hub.svc:8443";

/// `endpoint` of an S3 source for pods.
pub const S3_URL: &str = "http://hub.model-hub.svc:9000";

/// Bearer token that reads private and gated repositories and `/private`.
pub const TOKEN: &str = "hf_test_token";

/// Access key and secret key of every bucket.
pub const S3_KEYS: (&str, &str) = ("test-access-key", "test-secret-key");

/// The DNS name in [`URL`].
const HOST: &str = "hub.model-hub.svc";

/// Where certificate and key lie, beside what is served.
const TLS_DIR: &str = "tls";

/// Files of a model: path below the model's directory, and content.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A hub in a cluster.
#[derive(Clone, Debug)]
pub struct Hub {
    root: PathBuf,
}

impl Hub {
    /// A hub that serves `root`, a directory of this machine that the node sees under the same path.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Deploys the hub and waits until it answers. `image` must be on the node.
    ///
    /// # Errors
    /// When it is refused or does not become ready.
    pub fn deploy(&self, cluster: &Cluster, image: &str) -> Result<(), Error> {
        for folder in ["hf", "s3", "files", "private"] {
            let path = self.root.join(folder);
            std::fs::create_dir_all(&path).map_err(Error::file("create", &path))?;
        }
        let certificates = Certificates::generate(&[HOST.to_owned()]).map_err(Error::certificates)?;
        for (name, pem) in [
            (certificates::CA_FILE, certificates.ca),
            (certificates::CERTIFICATE_FILE, certificates.certificate),
            (certificates::KEY_FILE, certificates.key),
        ] {
            self.file(&format!("{TLS_DIR}/{name}"), pem.as_bytes())?;
        }
        roll_out(cluster, image, Some(&self.root))
    }

    /// The authority that signed the hub's certificate, PEM. Nobody trusts it by itself.
    ///
    /// # Errors
    /// When the hub was not deployed, or the file cannot be read.
    pub fn authority(&self) -> Result<String, Error> {
        let path = self.root.join(TLS_DIR).join(certificates::CA_FILE);
        std::fs::read_to_string(&path).map_err(Error::file("read", &path))
    }

    /// The directory that it serves: `hf/ORG/NAME/…`, `s3/BUCKET/…`, `files/…`, `private/…`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Serves a repository `ORG/NAME` from now on.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn repository(&self, id: &str, files: &Files) -> Result<(), Error> {
        self.write(&format!("hf/{id}"), files)
    }

    /// Hides a repository from all but the holder of [`TOKEN`].
    ///
    /// # Errors
    /// When the file that says so cannot be written.
    pub fn make_private(&self, id: &str) -> Result<(), Error> {
        let description = json!({ "private": true }).to_string().into_bytes();
        self.write(&format!("hf/{id}/.hub"), &Files::from([("repo.json".to_owned(), description)]))
    }

    /// Serves `s3://BUCKET/…` from now on.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn bucket(&self, bucket: &str, files: &Files) -> Result<(), Error> {
        self.write(&format!("s3/{bucket}"), files)
    }

    /// Serves `/files/PATH`, or for the holder of [`TOKEN`] `/private/PATH`; `path` starts with either word.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn file(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        self.write(folder, &Files::from([(name.to_owned(), content.to_vec())]))
    }

    fn write(&self, folder: &str, files: &Files) -> Result<(), Error> {
        for (name, content) in files {
            let path = self.root.join(folder).join(name);
            let folder = path.parent().unwrap_or(&self.root);
            std::fs::create_dir_all(folder).map_err(Error::file("create", folder))?;
            std::fs::write(&path, content).map_err(Error::file("write", &path))?;
        }
        Ok(())
    }

    /// From now on this goes wrong, beside what already does.
    ///
    /// # Errors
    /// When the hub's admin port does not answer, or refuses the rule.
    pub async fn add_fault(&self, cluster: &Cluster, rule: &Rule) -> Result<(), Error> {
        let body = serde_json::to_vec(rule).unwrap_or_default();
        self.admin(cluster, "POST", "_faults", body).await.map(drop)
    }

    /// Ends every fault.
    ///
    /// # Errors
    /// When the hub's admin port does not answer.
    pub async fn clear_faults(&self, cluster: &Cluster) -> Result<(), Error> {
        self.admin(cluster, "DELETE", "_faults", Vec::new()).await.map(drop)
    }

    /// Reads every repository anew: needed after a change of one that was asked for before.
    ///
    /// # Errors
    /// When the hub's admin port does not answer.
    pub async fn refresh(&self, cluster: &Cluster) -> Result<(), Error> {
        self.admin(cluster, "POST", "_refresh", Vec::new()).await.map(drop)
    }

    /// What the hub was asked for and what it sent.
    ///
    /// # Errors
    /// When the hub's admin port does not answer.
    pub async fn stats(&self, cluster: &Cluster) -> Result<Stats, Error> {
        let body = self.admin(cluster, "GET", "_stats", Vec::new()).await?;
        let invalid = |error| Error::api("read the hub's counts")(kube::Error::SerdeError(error));
        serde_json::from_str(&body).map_err(invalid)
    }

    /// The API server passes the request on, so that this works with any cluster.
    async fn admin(&self, cluster: &Cluster, method: &str, path: &str, body: Vec<u8>) -> Result<String, Error> {
        let uri = format!("/api/v1/namespaces/{NAMESPACE}/services/hub:admin/proxy/{path}");
        let request = http::Request::builder().method(method).uri(uri).header("Content-Type", "application/json");
        let doing = format!("ask the hub's admin port ({method} /{path})");
        let request = request.body(body).map_err(|error| Error::api(&*doing)(kube::Error::HttpError(error)))?;
        cluster.client().request_text(request).await.map_err(Error::api(doing))
    }
}

/// Deploys a hub whose content lies in its image, below `/srv/hub`, and waits until it answers. Unlike [`Hub::deploy`]
/// this needs nothing of the nodes but the image.
///
/// # Errors
/// When it is refused or does not become ready.
pub fn deploy_image(cluster: &Cluster, image: &str) -> Result<(), Error> {
    roll_out(cluster, image, None)
}

fn roll_out(cluster: &Cluster, image: &str, root: Option<&Path>) -> Result<(), Error> {
    for object in objects(image, root) {
        applied(cluster, &["apply", "-f", "-"], &object.to_string())?;
    }
    let rollout = ["-n", NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=120s"];
    cluster.run(&rollout).map(drop).map_err(|error| {
        let what = format!("the hub did not become ready: {error}");
        Error::Unexpected { what, report: crate::report::namespace(cluster, NAMESPACE) }
    })
}

/// SHA-256 as 64 hex digits.
#[must_use]
pub fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const PORTS: [(&str, u16); 6] =
    [("http", 8080), ("cdn", 8081), ("admin", 8082), ("s3", 9000), ("https", 8443), ("cdn-https", 8444)];

fn objects(image: &str, root: Option<&Path>) -> [Value; 3] {
    let labels = json!({ "app.kubernetes.io/name": "test-hub" });
    let metadata = json!({ "name": "hub", "namespace": NAMESPACE, "labels": labels });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } });
    let ports: Vec<_> = PORTS.iter().map(|(name, port)| json!({ "name": name, "port": port })).collect();
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": { "selector": labels, "ports": ports },
    });
    let mounts = root.map(|_| json!([{ "name": "content", "mountPath": "/srv/hub" }]));
    let volumes = root.map(|root| json!([{ "name": "content", "hostPath": { "path": root, "type": "Directory" } }]));
    let tls = |file: &str| format!("/srv/hub/{TLS_DIR}/{file}");
    let with_tls = root.map(|_| {
        let (certificate, key) = (tls(certificates::CERTIFICATE_FILE), tls(certificates::KEY_FILE));
        ["--tls".to_owned(), format!("--tls-cert={certificate}"), format!("--tls-key={key}")]
    });
    let args: Vec<_> =
        ["serve", "--root=/srv/hub"].map(str::to_owned).into_iter().chain(with_tls.into_iter().flatten()).collect();
    let container = json!({
        "name": "hub", "image": image, "imagePullPolicy": "IfNotPresent",
        "args": args,
        "readinessProbe": { "httpGet": { "path": "/healthz", "port": 8082 }, "periodSeconds": 1 },
        "volumeMounts": mounts,
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": { "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [container], "volumes": volumes },
        }},
    });
    [namespace, service, deployment]
}
