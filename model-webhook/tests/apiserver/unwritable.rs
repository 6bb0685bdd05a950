//! The controller may not write the webhook's Secret, until somebody gives it the right.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::SignedDuration;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, WebhookClientConfig};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::Api;
use kube::client::ClientBuilder;
use kube::config::{KubeConfigOptions, Kubeconfig};
use model_controller::{Rhythm, WebhookCertificates, keep_webhook_certificates};
use tower::util::MapRequestLayer;

use crate::cluster::{client, eventually, kubeconfig, kubectl, namespace};
use crate::webhook::register_as;

/// Of Secret, registration and user.
const NAME: &str = "unwritable";
const SECRET: &str = "model-webhook-tls";

/// A client of the user, and how often it has asked for a new Secret.
async fn counting_client() -> (Client, Arc<AtomicUsize>) {
    let kubeconfig: Kubeconfig = kubeconfig().await;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.auth_info.impersonate = Some(NAME.to_owned());
    let creations = Arc::new(AtomicUsize::new(0));
    let counted = creations.clone();
    let count = move |request: axum::http::Request<_>| {
        if request.method() == axum::http::Method::POST && request.uri().path().ends_with("/secrets") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        request
    };
    let client = ClientBuilder::try_from(config).unwrap().with_layer(&MapRequestLayer::new(count)).build();
    (client, creations)
}

/// What the API server trusts the webhook by, PEM.
async fn bundle(client: &Client) -> String {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let mut registration = api.get(NAME).await.unwrap();
    let bundle = registration.webhooks.as_mut().unwrap()[0].client_config.ca_bundle.take();
    String::from_utf8(bundle.map(|ByteString(bundle)| bundle).unwrap_or_default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_written_costs_one_authority_and_no_more() {
    let admin = client(None).await;
    namespace(&admin, NAME).await;
    let user = format!("--user={NAME}");
    let registrations = "--resource=mutatingwebhookconfigurations.admissionregistration.k8s.io,validatingwebhookconfigurations.admissionregistration.k8s.io";
    let (role, of_role) = (["create", "role", "-n", NAME, "reads"], ["create", "rolebinding", "-n", NAME, "reads"]);
    for command in [
        &["create", "clusterrole", NAME, "--verb=get,patch", registrations][..],
        &["create", "clusterrolebinding", NAME, "--clusterrole=unwritable", &user],
        &[&role[..], &["--verb=get,list", "--resource=secrets,endpointslices.discovery.k8s.io"]].concat(),
        &[&of_role[..], &["--role=reads", &user]].concat(),
    ] {
        kubectl(command, "").await.unwrap();
    }
    let url = Some("https://127.0.0.1:1/mutate-v1-pod".to_owned());
    register_as(NAME, &admin, NAME, WebhookClientConfig { url, ..WebhookClientConfig::default() }, |_| ()).await;

    let (client, creations) = counting_client().await;
    let rhythm = Rhythm { look_every: SignedDuration::from_millis(100), ..Rhythm::default() };
    let settings = WebhookCertificates {
        mutating: vec![NAME.to_owned()],
        validating: Vec::new(),
        rhythm,
        ..WebhookCertificates::new(NAME)
    };
    tokio::spawn(keep_webhook_certificates(client, settings));
    eventually(async || match creations.load(Ordering::Relaxed) {
        tries @ 0..4 => Err(format!("{tries} tries")),
        _ => Ok(()),
    })
    .await;
    let trusted = bundle(&admin).await;
    assert_eq!(trusted.matches("BEGIN CERTIFICATE").count(), 1, "{trusted}");

    for command in [
        &["create", "role", "-n", NAME, "creates", "--verb=create", "--resource=secrets"][..],
        &["create", "rolebinding", "-n", NAME, "creates", "--role=creates", &user],
    ] {
        kubectl(command, "").await.unwrap();
    }
    let secrets: Api<Secret> = Api::namespaced(admin.clone(), NAME);
    let secret = eventually(async || secrets.get_opt(SECRET).await.unwrap().ok_or("no Secret".to_owned())).await;
    assert_eq!(secret.data.unwrap()["ca.crt"].0, trusted.as_bytes(), "the one that was trusted all the time");
    assert_eq!(bundle(&admin).await, trusted);
}
