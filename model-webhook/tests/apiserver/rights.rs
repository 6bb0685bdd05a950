//! What the two accounts may do with the rights of `config/rbac` and no others, as the API server's authorizer sees it.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use model_webhook::PATH;
use serde_json::json;

use crate::cluster::{client, config, eventually, kubectl, model, namespace, ready};
use crate::webhook::{Running, client_config, register};

const CONTROLLER: &str = "system:serviceaccount:model-system:model-controller";
const WEBHOOK: &str = "system:serviceaccount:model-system:model-webhook";

pub async fn may(client: &Client, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let attributes = ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        namespace: Some(namespace.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await.unwrap();
    answer.status.unwrap().allowed
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_account_reads_secrets_or_becomes_more_than_it_is() {
    for account in [CONTROLLER, WEBHOOK] {
        let client = client(Some(account)).await;
        assert!(may(&client, "list", "models.main-currents.news", "models", "team").await, "{account} has its rights");
        for (verb, group, resource) in [
            ("get", "", "secrets"),
            ("list", "", "secrets"),
            ("watch", "", "secrets"),
            ("create", "", "pods"),
            ("create", "", "pods/exec"),
            ("create", "", "serviceaccounts/token"),
            ("impersonate", "", "serviceaccounts"),
            ("impersonate", "", "users"),
            ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
            ("bind", "rbac.authorization.k8s.io", "clusterroles"),
            ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
            ("update", "models.main-currents.news", "models"),
            ("delete", "models.main-currents.news", "models"),
            // The controller may delete one by RBAC, or it could set no owner; its policy refuses that (policies.rs).
            ("deletecollection", "", "persistentvolumeclaims"),
            ("patch", "apps", "deployments"),
            ("patch", "", "nodes"),
            ("*", "*", "*"),
        ] {
            let (client, what) = (client.clone(), format!("{account} may {verb} {resource}"));
            for namespace in ["team", "kube-system"] {
                assert!(!may(&client, verb, group, resource, namespace).await, "{what} in {namespace}");
            }
        }
    }
    let webhook = client(Some(WEBHOOK)).await;
    for verb in ["create", "update", "patch", "delete", "deletecollection"] {
        for (group, resource) in [
            ("", "pods"),
            ("", "persistentvolumeclaims"),
            ("batch", "jobs"),
            ("", "events"),
            ("models.main-currents.news", "models/status"),
        ] {
            assert!(!may(&webhook, verb, group, resource, "team").await, "{verb} {resource}");
        }
    }
}

/// As `config/README.md` says: the rights of `config/rbac` by a `RoleBinding` in each namespace.
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_with_rights_in_two_namespaces_knows_those_and_no_other() {
    let admin = client(None).await;
    for name in ["narrow-1", "narrow-2", "narrow-3"] {
        namespace(&admin, name).await;
        model(&admin, name, "llama", ready()).await;
    }
    for place in ["narrow-1", "narrow-2"] {
        let binding = ["create", "rolebinding", "narrow", "-n", place, "--clusterrole=model-webhook", "--user=narrow"];
        kubectl(&binding, "").await.unwrap();
    }
    let server = Running::start_as("narrow", &["narrow-1", "narrow-2"]).await;
    let pod = |place: &str| {
        let metadata = json!({ "name": "app", "namespace": place, "annotations": { "models.main-currents.news/inject": "llama" } });
        let spec = json!({ "containers": [{ "name": "app", "image": "app:1" }] });
        serde_json::from_value::<Pod>(json!({ "metadata": metadata, "spec": spec })).unwrap()
    };
    for place in ["narrow-1", "narrow-2", "narrow-3"] {
        register(&admin, place, client_config(server.port, PATH, &server.certificates), |_| ()).await;
    }
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for place in ["narrow-1", "narrow-2"] {
        eventually(|| async {
            let created =
                Api::namespaced(admin.clone(), place).create(&dry, &pod(place)).await.map_err(|e| e.to_string())?;
            let mounts = created.spec.unwrap().containers.remove(0).volume_mounts.unwrap_or_default();
            if mounts.iter().any(|mount| mount.name == "model-llama") { Ok(()) } else { Err("not injected".to_owned()) }
        })
        .await;
    }
    eventually(|| async {
        match Api::namespaced(admin.clone(), "narrow-3").create(&dry, &pod("narrow-3")).await {
            Err(kube::Error::Api(status)) if status.message.contains("model not found: llama") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_policies_are_accepted() {
    let file = |name: &str| config("network").join(name).to_str().unwrap().to_owned();
    let applied = kubectl(&["apply", "--dry-run=server", "-f", &file("operator.yaml")], "").await.unwrap();
    for component in ["model-controller", "model-webhook"] {
        assert!(applied.contains(&format!("networkpolicy.networking.k8s.io/{component} created")), "{applied}");
    }
    kubectl(&["apply", "--dry-run=server", "--namespace", "default", "-f", &file("downloads.yaml")], "").await.unwrap();
}
