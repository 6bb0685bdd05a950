use reqwest::{Certificate, Client};
use test_hub::{Hub, HubConfig};

use crate::support::{client, serve};

fn trusting(ca: &str) -> Client {
    client();
    let authority = Certificate::from_pem(ca.as_bytes()).unwrap();
    Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap()
}

#[tokio::test]
async fn https_leads_to_an_https_cdn_for_clients_that_trust_the_authority() {
    let served = serve(HubConfig::with_tls);
    let url = format!("{}/acme/tiny/resolve/main/model.safetensors", served.hub.tls_url().unwrap());
    let file = trusting(served.hub.ca_pem().unwrap()).get(&url).send().await.unwrap();
    assert_eq!(file.url().scheme(), "https");
    assert_eq!(file.bytes().await.unwrap(), served.file("hf/acme/tiny/model.safetensors"));
    let other = serve(HubConfig::with_tls);
    assert!(trusting(other.hub.ca_pem().unwrap()).get(&url).send().await.is_err(), "another authority");
}

#[tokio::test]
async fn an_authority_in_a_folder_outlives_the_hub() {
    let root = tempfile::tempdir().unwrap();
    let start = || {
        let mut config = HubConfig::new(root.path()).with_tls();
        config.tls.ca_dir = Some(root.path().join("ca"));
        Hub::start(config).unwrap()
    };
    let first = start().ca_pem().unwrap().to_owned();
    assert_eq!(std::fs::read_to_string(root.path().join("ca/ca.crt")).unwrap(), first);
    let second = start();
    let url = format!("{}/files/none", second.tls_url().unwrap());
    assert_eq!(trusting(&first).get(url).send().await.unwrap().status(), 404);
}
