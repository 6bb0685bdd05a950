//! Models that the cluster gives no pod or no volume: each says which rule it is.

use e2e::Error;
use serde_json::{Value, json};

use crate::failures::not_ready_yet;
use crate::scene::{Scene, files, hugging_face, model};

/// All of them at once; what takes longest to be named takes half a minute.
pub async fn what_the_cluster_refuses_is_named(scene: Scene) -> Result<(), Error> {
    let repository = scene.repository("tiny");
    scene.hub.repository(&repository, &files("broken"))?;
    let (full, limited) = (beside(&scene, "full"), beside(&scene, "limited"));
    for other in [&full, &limited] {
        scene.cluster.run(&["create", "namespace", &other.namespace])?;
    }
    let quota = json!({ "pods": "0" });
    full.apply(&object("ResourceQuota", &json!({ "hard": quota })))?;
    let limit = json!({ "type": "Container", "max": { "memory": "64Mi" } });
    limited.apply(&object("LimitRange", &json!({ "limits": [limit] })))?;
    let class = format!("{}-class", scene.namespace);
    let metadata = json!({ "name": class });
    let nobody = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": metadata,
        "provisioner": "nobody.example.com", "volumeBindingMode": "WaitForFirstConsumer",
    });
    scene.apply(&nobody)?;

    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "empty" } });
    scene.apply(&secret)?;
    let broken: [(&Scene, &str, Value, &str, &str); 7] = [
        (&full, "quota", json!({}), "QuotaExceeded", "exceeded quota"),
        (&limited, "limit", json!({}), "LimitRangeViolated", "maximum memory usage"),
        (
            &scene,
            "priority",
            json!({ "jobTemplate": { "priorityClassName": "none" } }),
            "PriorityClassNotFound",
            "none",
        ),
        (
            &scene,
            "account",
            json!({ "jobTemplate": { "serviceAccountName": "none" } }),
            "ServiceAccountNotFound",
            "\"none\" not found",
        ),
        (&scene, "node", json!({ "nodeSelector": { "disk": "none" } }), "Unschedulable", "node affinity/selector"),
        (&scene, "key", json!({ "credentialsSecret": "empty" }), "CredentialsMissing", "HF_TOKEN"),
        (
            &scene,
            "volume",
            json!({ "storage": { "size": "64Mi", "storageClass": class } }),
            "ClaimPending",
            "PVC stuck Pending",
        ),
    ];
    for (place, name, spec, ..) in &broken {
        let mut model = model(name, &hugging_face(&repository));
        for (field, value) in spec.as_object().into_iter().flatten() {
            model["spec"][field] = value.clone();
        }
        place.apply(&model)?;
    }
    for (place, name, _, reason, words) in &broken {
        let message = not_ready_yet(place, name, reason).await?;
        assert!(message.contains(words), "{name}: {message}");
    }

    // The quota is freed, and nothing else is needed.
    full.kubectl(&["delete", "resourcequota", "rule"])?;
    full.ready("quota").await?;
    for other in [&full, &limited] {
        scene.cluster.run(&["delete", "namespace", &other.namespace, "--wait=false"])?;
    }
    scene.cluster.run(&["delete", "storageclass", &class]).map(drop)
}

fn beside(scene: &Scene, name: &str) -> Scene {
    Scene { namespace: format!("{}-{name}", scene.namespace), ..scene.clone() }
}

fn object(kind: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": "rule" }, "spec": spec })
}
