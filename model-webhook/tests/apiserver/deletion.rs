//! Models that pods mount are not deleted by mistake.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use model_core::api::Model;
use model_webhook::{DELETION_PATH, registration};
use serde_json::{Value, json};

use crate::cluster::{client, eventually, model, namespace, ready};
use crate::webhook::{Running, client_config, get};

/// Registers what `config/` registers, for this namespace alone, because all tests share the API server.
async fn register(client: &Client, namespace: &str, server: &Running) {
    let asked = client_config(server.port, DELETION_PATH, &server.certificates);
    let mut configuration = registration::deletion_configuration(asked);
    configuration.metadata.name = Some(format!("model-webhook-{namespace}"));
    configuration.webhooks.as_mut().unwrap()[0].namespace_selector = Some(LabelSelector {
        match_expressions: Some(vec![LabelSelectorRequirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![namespace.to_owned()]),
        }]),
        ..LabelSelector::default()
    });
    Api::<ValidatingWebhookConfiguration>::all(client.clone())
        .create(&PostParams::default(), &configuration)
        .await
        .unwrap();
}

/// A pod as the webhook leaves it.
fn injected(name: &str, prefix: &str, models: &str) -> Pod {
    let pod: Value = json!({
        "metadata": {
            "name": name,
            "labels": { format!("{prefix}/injected"): "true" },
            "annotations": { format!("{prefix}/inject"): models },
        },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] },
    });
    serde_json::from_value(pod).unwrap()
}

async fn delete(models: &Api<Model>, name: &str, dry_run: bool) -> Result<(), String> {
    let params = DeleteParams { dry_run, ..DeleteParams::default() };
    models.delete(name, &params).await.map(drop).map_err(|error| match error {
        kube::Error::Api(status) => status.message,
        other => other.to_string(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_pods_mount_is_not_deleted_by_mistake() {
    let place = "deletion";
    let admin = client(None).await;
    namespace(&admin, place).await;
    let server = Running::start().await;
    register(&admin, place, &server).await;
    let models: Api<Model> = Api::namespaced(admin.clone(), place);
    let pods: Api<Pod> = Api::namespaced(admin.clone(), place);
    for name in ["ours", "theirs", "unused", "forced"] {
        model(&admin, place, name, ready()).await;
    }
    for pod in [
        injected("server-1", "models.main-currents.news", "ours,forced"),
        injected("server-2", "models.main-currents.news", "ours"),
        injected("notebook", "models.example.com", "theirs"),
    ] {
        pods.create(&PostParams::default(), &pod).await.unwrap();
    }
    // Registration and cache follow a moment later.
    for (name, says) in [
        (
            "ours",
            "model ours is mounted by pods server-1, server-2, which could not start again without it: delete them first",
        ),
        ("theirs", "model theirs is mounted by pod notebook, which could not start again without it"),
    ] {
        eventually(|| async {
            match delete(&models, name, true).await {
                Err(refusal) if refusal.contains(says) => Ok(()),
                other => Err(format!("{name}: {other:?}")),
            }
        })
        .await;
    }
    let refusal = delete(&models, "ours", false).await.unwrap_err();
    assert!(refusal.contains(registration::DELETION_WEBHOOK), "{refusal}");
    let insist = "to delete the Model all the same: kubectl annotate --namespace deletion model/ours models.main-currents.news/delete-while-mounted=true";
    assert!(refusal.contains(insist), "{refusal}");
    let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
    let all = models.delete_collection(&dry, &ListParams::default()).await;
    assert!(all.unwrap_err().to_string().contains("is mounted by"), "all at once");

    delete(&models, "unused", false).await.unwrap();
    let yes = Patch::Merge(
        json!({ "metadata": { "annotations": { "models.main-currents.news/delete-while-mounted": "true" } } }),
    );
    models.patch("forced", &PatchParams::default(), &yes).await.unwrap();
    delete(&models, "forced", false).await.unwrap();

    // What Kubernetes itself clears away is none of this webhook's business.
    for cleaner in [
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:serviceaccount:kube-system:namespace-controller",
    ] {
        delete(&Api::namespaced(client(Some(cleaner)).await, place), "ours", true).await.unwrap();
    }

    // A pod that has ended mounts nothing, and one that is gone neither.
    let ended = Patch::Merge(json!({ "status": { "phase": "Succeeded" } }));
    pods.patch_status("notebook", &PatchParams::default(), &ended).await.unwrap();
    eventually(|| delete(&models, "theirs", false)).await;
    let one = "model ours is mounted by pod server-2, which";
    pods.delete("server-1", &DeleteParams::default().grace_period(0)).await.unwrap();
    eventually(|| async {
        match delete(&models, "ours", true).await {
            Err(refusal) if refusal.contains(one) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;

    let metrics = get(server.metrics_port, "/metrics").await;
    for series in ["outcome=\"allowed\",reason=\"\"", "outcome=\"denied\",reason=\"ModelInUse\""] {
        let counted =
            |line: &str| line.strip_prefix(&format!("model_webhook_deletions_total{{{series}}} "))?.parse::<u32>().ok();
        assert!(metrics.lines().find_map(counted) > Some(0), "{series} is not counted in\n{metrics}");
    }

    // Without a webhook nothing keeps a Model.
    server.stop().await.unwrap().unwrap();
    delete(&models, "ours", false).await.unwrap();
}
