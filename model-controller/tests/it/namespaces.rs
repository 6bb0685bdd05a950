//! A controller that may see some namespaces only.

use std::path::Path;

use dev_cluster::ControlPlane;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;
use model_core::api::Phase;

use crate::plane::{Scene, client, install};
use crate::replica::Replica;

/// As `config/README.md` says: the rights of `config/rbac` by a `RoleBinding` in each namespace, and to read storage classes.
fn bind(plane: &ControlPlane, namespaces: &[&str]) {
    let role = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/rbac/controller.yaml");
    let run = |arguments: &[&str]| {
        let done = plane.kubectl().args(arguments).status();
        assert!(done.is_ok_and(|status| status.success()), "{arguments:?}");
    };
    run(&["create", "namespace", "model-system"]);
    run(&["apply", "-f", &role.to_string_lossy()]);
    run(&["delete", "clusterrolebinding", "model-controller"]);
    for namespace in namespaces {
        run(&["create", "rolebinding", "narrow", "-n", namespace, "--clusterrole=model-controller", "--user=narrow"]);
    }
    run(&["create", "clusterrole", "narrow", "--verb=get,list", "--resource=storageclasses.storage.k8s.io"]);
    run(&["create", "clusterrolebinding", "narrow", "--clusterrole=narrow", "--user=narrow"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_with_rights_in_two_namespaces_serves_those_and_no_other() {
    let plane = tokio::task::spawn_blocking(|| ControlPlane::start().expect("a control plane starts"));
    let plane = plane.await.expect("it starts");
    let mut kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there");
    let admin = client(kubeconfig.clone()).await;
    install(&admin).await;
    let first = Scene::of(admin.clone(), "first").await;
    let second = Scene::of(admin.clone(), "second").await;
    let other = Scene::of(admin, "other").await;
    bind(&plane, &["first", "second"]);
    kubeconfig.auth_infos[0].auth_info.as_mut().expect("a user").impersonate = Some("narrow".to_owned());
    let path = plane.kubeconfig().with_file_name("narrow.kubeconfig");
    std::fs::write(&path, serde_json::to_string(&kubeconfig).expect("JSON")).expect("it can be written");

    other.apply("https://example.com/model.gguf").await;
    first.apply("https://example.com/model.gguf").await;
    // One that is gone, and the rights in it too, holds up none of the others.
    let flags = ["--watch-namespaces", "gone,second,first", "--leader-election", "false"];
    let replica = Replica::start(&path, &flags);
    replica.is_ready().await;
    // One that was there before, and one that comes later.
    first.phase(Phase::Downloading).await;
    second.apply("https://example.com/model.gguf").await;
    second.phase(Phase::Downloading).await;
    for scene in [&first, &second] {
        scene.job_ends("Complete").await;
        scene.phase(Phase::Ready).await;
    }
    assert_eq!(other.status().await.phase, None, "somebody else looks after that namespace, or nobody");
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(other.client.clone(), "other");
    assert_eq!(claims.list(&ListParams::default()).await.expect("claims are listed").items.len(), 0);
}
