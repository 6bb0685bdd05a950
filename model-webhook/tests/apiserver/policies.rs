//! The admission policies, with users that have the rights that each case says.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use model_core::api::Model;
use model_core::persisted::{Downloader, Persisted};
use model_resources::{DownloadSettings, claim, download_job};
use model_webhook::{operator_policy, reference_policy};
use serde_json::{Value, json};

use crate::cluster::{client, config, eventually, kubectl, namespace, set_status};

/// The controller, with the rights of `config/rbac/controller.yaml`.
pub const CONTROLLER: &str = "system:serviceaccount:model-system:model-controller";

/// Gives a user rights in a namespace, on top of those that it has.
pub async fn grant(namespace: &str, user: &str, rules: Value) {
    let name = user.rsplit(':').next().unwrap();
    let objects = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
          "metadata": { "name": name, "namespace": namespace }, "rules": rules },
        { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
          "metadata": { "name": name, "namespace": namespace },
          "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name },
          "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }] },
    ]});
    kubectl(&["apply", "-f", "-"], &objects.to_string()).await.unwrap();
}

/// Applies a file of `config/`. On the server, so that two tests can do so at once.
pub async fn apply(file: &str) {
    kubectl(&["apply", "--server-side", "--force-conflicts", "-f", config(file).to_str().unwrap()], "").await.unwrap();
}

/// The message of a refusal with code 403.
pub fn refused<T: std::fmt::Debug>(case: &str, answer: Result<T, kube::Error>) -> String {
    match answer {
        Err(kube::Error::Api(status)) if status.is_forbidden() => status.message,
        other => panic!("{case}: {other:?}"),
    }
}

/// A small Model with more in its spec.
pub fn model(name: &str, spec: Value) -> Model {
    let mut model = json!({
        "apiVersion": "models.main-currents.news/v1alpha1", "kind": "Model", "metadata": { "name": name },
        "spec": { "source": { "url": { "url": "https://example.com/weights.gguf" } }, "storage": { "size": "1Gi" } },
    });
    model["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(model).unwrap()
}

const NO_SECRET: &str = "spec.credentialsSecret names a Secret that you may not read, and its value would be sent to the source that the Model names: ask for a Role with the verb get on that Secret";
const NO_ACCOUNT: &str = "spec.jobTemplate.serviceAccountName names a service account that you may not act as, and the download would have its identity";

const NO_DEFAULT: &str = "an s3 source without spec.credentialsSecret and spec.jobTemplate.serviceAccountName is fetched with the identity of the service account default, that you may not act as";

#[tokio::test(flavor = "multi_thread")]
async fn a_model_names_only_secrets_and_accounts_that_its_author_has_a_right_to() {
    let place = "references";
    let admin = client(None).await;
    namespace(&admin, place).await;
    apply("webhook/references.yaml").await;
    let models = json!({ "apiGroups": ["models.main-currents.news"], "resources": ["models"], "verbs": ["create", "get", "patch"] });
    let named = |resource: &str, name: &str, verb: &str| json!({ "apiGroups": [""], "resources": [resource], "resourceNames": [name], "verbs": [verb] });
    grant(place, "author", json!([models])).await;
    grant(place, "reader", json!([models, named("secrets", "hugging-face", "get")])).await;
    grant(place, "actor", json!([models, named("serviceaccounts", "cloud", "impersonate")])).await;
    // Listing shows every value, but the verb that names one is what is asked for.
    grant(place, "lister", json!([models, { "apiGroups": [""], "resources": ["secrets"], "verbs": ["list"] }])).await;
    let as_user = async |user: &str| -> Api<Model> { Api::namespaced(client(Some(user)).await, place) };
    let secret = json!({ "credentialsSecret": "hugging-face" });
    let account = json!({ "jobTemplate": { "serviceAccountName": "cloud" } });
    let dry = PostParams { dry_run: true, ..PostParams::default() };

    // The policy is in force a moment after it was written.
    let author = as_user("author").await;
    eventually(|| async {
        let answer = author.create(&dry, &model("probe", secret.clone())).await;
        if answer.is_err() { Ok(()) } else { Err("the policy is not in force".to_owned()) }
    })
    .await;
    for (user, spec, says) in [
        ("author", json!({}), None),
        ("author", json!({ "jobTemplate": { "imagePullSecrets": [{ "name": "registry" }] } }), None),
        ("author", secret.clone(), Some(NO_SECRET)),
        ("author", account.clone(), Some(NO_ACCOUNT)),
        ("reader", secret.clone(), None),
        ("reader", json!({ "credentialsSecret": "database" }), Some(NO_SECRET)),
        ("reader", account.clone(), Some(NO_ACCOUNT)),
        ("lister", secret.clone(), Some(NO_SECRET)),
        ("actor", account.clone(), None),
        ("actor", json!({ "jobTemplate": { "serviceAccountName": "default" } }), Some(NO_ACCOUNT)),
        ("actor", secret.clone(), Some(NO_SECRET)),
    ] {
        let case = format!("{user} creates {spec}");
        let answer = as_user(user).await.create(&dry, &model("new", spec)).await;
        match says {
            None => drop(answer.expect(&case)),
            Some(says) => {
                let message = refused(&case, answer);
                assert!(message.contains(says) && message.contains(reference_policy::NAME), "{case}: {message}");
            }
        }
    }

    // What somebody with the rights wrote can be changed by others, but not led elsewhere.
    let all: Api<Model> = Api::namespaced(admin.clone(), place);
    all.create(&PostParams::default(), &model("private", secret.clone())).await.unwrap();
    all.create(&PostParams::default(), &model("cloudy", account.clone())).await.unwrap();
    let elsewhere = json!({ "spec": { "source": { "url": { "url": "https://attacker.example/" } } } });
    for (user, name, change, says) in [
        ("author", "private", json!({ "spec": { "version": "2" } }), None),
        ("author", "private", json!({ "spec": { "storage": { "size": "2Gi" } } }), None),
        (
            "author",
            "private",
            json!({ "metadata": { "annotations": { "models.main-currents.news/refresh": "now" } } }),
            None,
        ),
        (
            "author",
            "private",
            json!({ "spec": { "credentialsSecret": null, "source": elsewhere["spec"]["source"] } }),
            None,
        ),
        ("author", "private", elsewhere.clone(), Some(NO_SECRET)),
        ("author", "private", json!({ "spec": { "credentialsSecret": "database" } }), Some(NO_SECRET)),
        ("author", "cloudy", json!({ "spec": { "jobTemplate": { "labels": { "team": "a" } } } }), None),
        ("author", "cloudy", elsewhere.clone(), Some(NO_ACCOUNT)),
        (
            "author",
            "cloudy",
            json!({ "spec": { "jobTemplate": { "serviceAccountName": "default" } } }),
            Some(NO_ACCOUNT),
        ),
        ("reader", "private", elsewhere.clone(), None),
        ("reader", "private", json!({ "spec": { "credentialsSecret": "database" } }), Some(NO_SECRET)),
        ("actor", "cloudy", elsewhere.clone(), None),
    ] {
        let case = format!("{user} changes {name}: {change}");
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let answer = as_user(user).await.patch(name, &dry, &Patch::Merge(change)).await;
        match says {
            None => drop(answer.expect(&case)),
            Some(says) => assert!(refused(&case, answer).contains(says), "{case}"),
        }
    }
    // The controller has neither right, and reports how it goes.
    set_status(&client(Some(CONTROLLER)).await, place, "private", json!({ "phase": "Pending" })).await;
}

/// Who names nothing gets what a cloud gives the account that pods have without a name.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_an_identity_takes_the_right_to_the_default_account() {
    let place = "default-account";
    let admin = client(None).await;
    namespace(&admin, place).await;
    apply("webhook/references.yaml").await;
    let models = json!({ "apiGroups": ["models.main-currents.news"], "resources": ["models"], "verbs": ["create", "get", "patch"] });
    let named = |resource: &str, name: &str, verb: &str| json!({ "apiGroups": [""], "resources": [resource], "resourceNames": [name], "verbs": [verb] });
    let account = |name: &str| named("serviceaccounts", name, "impersonate");
    grant(place, "bucket-author", json!([models])).await;
    grant(place, "bucket-reader", json!([models, named("secrets", "keys", "get")])).await;
    grant(place, "bucket-actor", json!([models, account("cloud")])).await;
    grant(place, "default-actor", json!([models, account("default")])).await;
    let as_user = async |user: &str| -> Api<Model> { Api::namespaced(client(Some(user)).await, place) };
    let bucket = |more: &Value| {
        let mut spec = json!({ "source": { "s3": { "bucket": "weights", "key": "llama/" } } });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let (keys, cloud) =
        (json!({ "credentialsSecret": "keys" }), json!({ "jobTemplate": { "serviceAccountName": "cloud" } }));
    let dry = PostParams { dry_run: true, ..PostParams::default() };

    let author = as_user("bucket-author").await;
    eventually(|| async {
        let answer = author.create(&dry, &model("probe", bucket(&json!({})))).await;
        if answer.is_err() { Ok(()) } else { Err("the policy is not in force".to_owned()) }
    })
    .await;
    for (user, more, says) in [
        ("bucket-author", json!({}), Some(NO_DEFAULT)),
        ("bucket-author", json!({ "jobTemplate": { "labels": { "team": "a" } } }), Some(NO_DEFAULT)),
        ("bucket-author", keys.clone(), Some(NO_SECRET)),
        ("bucket-reader", json!({}), Some(NO_DEFAULT)),
        ("bucket-reader", keys.clone(), None),
        ("bucket-actor", json!({}), Some(NO_DEFAULT)),
        ("bucket-actor", cloud.clone(), None),
        ("default-actor", json!({}), None),
        ("default-actor", cloud, Some(NO_ACCOUNT)),
    ] {
        let case = format!("{user} creates a bucket's Model with {more}");
        let answer = as_user(user).await.create(&dry, &model("new", bucket(&more))).await;
        match says {
            None => drop(answer.expect(&case)),
            Some(says) => assert!(refused(&case, answer).contains(says), "{case}"),
        }
    }

    let all: Api<Model> = Api::namespaced(admin.clone(), place);
    all.create(&PostParams::default(), &model("bucket", bucket(&json!({})))).await.unwrap();
    all.create(&PostParams::default(), &model("with-keys", bucket(&keys))).await.unwrap();
    let other = json!({ "spec": { "source": { "s3": { "bucket": "payroll" } } } });
    let no_keys = json!({ "spec": { "credentialsSecret": null } });
    let url = json!({ "spec": { "source": { "s3": null, "url": { "url": "https://example.com/" } } } });
    for (user, name, change, says) in [
        ("bucket-author", "bucket", json!({ "spec": { "version": "2" } }), None),
        ("bucket-author", "bucket", url, None),
        ("bucket-author", "bucket", other.clone(), Some(NO_DEFAULT)),
        ("default-actor", "bucket", other, None),
        ("bucket-author", "with-keys", no_keys.clone(), Some(NO_DEFAULT)),
        ("default-actor", "with-keys", no_keys, None),
    ] {
        let case = format!("{user} changes {name}: {change}");
        let dry = PatchParams { dry_run: true, ..PatchParams::default() };
        let answer = as_user(user).await.patch(name, &dry, &Patch::Merge(change)).await;
        match says {
            None => drop(answer.expect(&case)),
            Some(says) => assert!(refused(&case, answer).contains(says), "{case}"),
        }
    }
}

const LABELS: &str =
    "only with the labels app.kubernetes.io/managed-by=model-operator and models.main-currents.news/model";

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_account_writes_jobs_of_models_only() {
    let place = "operator-jobs";
    let admin = client(None).await;
    namespace(&admin, place).await;
    apply("webhook/operator.yaml").await;
    // As if RBAC allowed all of it.
    let everything = json!([{ "apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["*"] }]);
    grant(place, CONTROLLER, everything).await;
    let controller = client(Some(CONTROLLER)).await;
    let stored = Api::<Model>::namespaced(admin.clone(), place)
        .create(&PostParams::default(), &model("llama", json!({})))
        .await
        .unwrap();
    let persisted = Persisted::try_from(&stored).unwrap();
    let settings = DownloadSettings::new;
    let loader = Downloader::Loader { image: "model-loader:dev".to_owned() };

    let jobs: Api<Job> = Api::namespaced(controller, place);
    let job = download_job(&persisted, &settings(loader), "claim-uid");
    let with = |change: &dyn Fn(&mut Value)| -> Job {
        let mut changed = serde_json::to_value(&job).unwrap();
        change(&mut changed);
        serde_json::from_value(changed).unwrap()
    };
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually(|| async {
        let foreign = with(&|job| job["metadata"]["labels"] = json!({ "app": "web" }));
        let answer = jobs.create(&dry, &foreign).await;
        if answer.is_err() { Ok(()) } else { Err("the policy is not in force".to_owned()) }
    })
    .await;

    jobs.create(&PostParams::default(), &job).await.unwrap();
    jobs.create(&dry, &with(&|job| job["metadata"]["name"] = json!("model-plan-llama"))).await.unwrap();
    let mut stock = download_job(&persisted, &settings(Downloader::Stock), "claim-uid");
    stock.metadata.name = Some("stock".to_owned());
    jobs.create(&dry, &stock).await.unwrap();
    let owned = "writes only Jobs that a Model owns";
    let harmless = "writes only Jobs whose pod has no token";
    let made_by = |version: &str, kind: &str| json!({ "apiVersion": version, "kind": kind, "name": "x", "uid": "x" });
    let spec = "/spec/template/spec";
    let set = |job: &mut Value, path: &str, value: Value| {
        if let Some(place) = job.pointer_mut(path) {
            *place = value;
            return;
        }
        let (parent, key) = path.rsplit_once('/').unwrap();
        job.pointer_mut(parent).unwrap()[key] = value;
    };
    for (path, value, says) in [
        ("/metadata/labels".to_owned(), json!({ "app": "web" }), LABELS),
        ("/metadata/labels".to_owned(), json!({ "app.kubernetes.io/managed-by": "model-operator" }), LABELS),
        ("/metadata/ownerReferences".to_owned(), json!([]), owned),
        ("/metadata/ownerReferences/0".to_owned(), made_by("apps/v1", "Deployment"), LABELS),
        ("/metadata/ownerReferences/0".to_owned(), made_by("models.example.org/v1", "Model"), LABELS),
        (format!("{spec}/automountServiceAccountToken"), json!(true), harmless),
        (format!("{spec}/hostNetwork"), json!(true), harmless),
        (format!("{spec}/hostPID"), json!(true), harmless),
        (format!("{spec}/volumes/0"), json!({ "name": "model", "hostPath": { "path": "/" } }), harmless),
        (format!("{spec}/volumes/0"), json!({ "name": "model", "secret": { "secretName": "database" } }), harmless),
        (format!("{spec}/containers/0/securityContext"), json!({}), harmless),
        (format!("{spec}/containers/0/securityContext/capabilities/add"), json!(["SYS_RAWIO"]), harmless),
        (format!("{spec}/containers/0/securityContext/runAsNonRoot"), json!(false), harmless),
        (format!("{spec}/securityContext/runAsNonRoot"), json!(false), harmless),
        (format!("{spec}/securityContext/seccompProfile/type"), json!("Unconfined"), harmless),
        (format!("{spec}/containers/0/ports"), json!([{ "containerPort": 80, "hostPort": 80 }]), harmless),
        (
            format!("{spec}/initContainers"),
            json!([{ "name": "root", "image": "x", "securityContext": { "privileged": true } }]),
            harmless,
        ),
    ] {
        let case = format!("a Job with {path} {value}");
        let changed = with(&|job| {
            job["metadata"]["name"] = json!("other");
            set(job, &path, value.clone());
            // The API server asks for the volume's name in the mount.
            if path.ends_with("/volumes/0") {
                job["spec"]["template"]["spec"]["volumes"][0]["name"] =
                    job["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["name"].clone();
            }
        });
        let message = refused(&case, jobs.create(&dry, &changed).await);
        assert!(message.contains(says) && message.contains(operator_policy::NAME), "{case}: {message}");
    }

    // Of what others made, nothing is deleted.
    let mut foreign = job.clone();
    foreign.metadata.name = Some("report".to_owned());
    // A Job without labels gets those of its pods.
    foreign.metadata.labels = Some([("app".to_owned(), "web".to_owned())].into());
    Api::<Job>::namespaced(admin.clone(), place).create(&PostParams::default(), &foreign).await.unwrap();
    assert!(refused("deleting", jobs.delete("report", &DeleteParams::background()).await).contains(LABELS));
    jobs.delete("model-download-llama", &DeleteParams::background()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_account_writes_claims_of_models_only() {
    let place = "operator-claims";
    let admin = client(None).await;
    namespace(&admin, place).await;
    apply("webhook/operator.yaml").await;
    grant(place, CONTROLLER, json!([{ "apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["*"] }]))
        .await;
    let stored = Api::<Model>::namespaced(admin.clone(), place)
        .create(&PostParams::default(), &model("llama", json!({})))
        .await
        .unwrap();
    let persisted = Persisted::try_from(&stored).unwrap();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client(Some(CONTROLLER)).await, place);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let ours = claim(&persisted, "1Gi");
    let mut foreign = ours.clone();
    foreign.metadata.name = Some("data".to_owned());
    foreign.metadata.owner_references = None;
    foreign.metadata.labels = None;
    let message = eventually(|| async {
        match claims.create(&dry, &foreign).await {
            Err(kube::Error::Api(status)) => Ok(status.message),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(message.contains(LABELS), "{message}");

    claims.create(&PostParams::default(), &ours).await.unwrap();
    let mut retained = ours.clone();
    retained.metadata.name = Some("model-retained".to_owned());
    retained.metadata.owner_references = None;
    claims.create(&PostParams::default(), &retained).await.unwrap();
    let note = Patch::Merge(json!({ "metadata": { "annotations": { "grown": "yes" } } }));
    claims.patch("model-retained", &PatchParams::default(), &note).await.unwrap();
    let deleted = claims.delete("model-retained", &DeleteParams::default()).await;
    assert!(refused("deleting", deleted.map(drop)).contains("deletes no claim"));

    // Of what others made, nothing is changed or deleted, nor made ours.
    Api::<PersistentVolumeClaim>::namespaced(admin, place).create(&PostParams::default(), &foreign).await.unwrap();
    let steal = Patch::Merge(json!({ "metadata": { "labels": ours.metadata.labels } }));
    for (case, answer) in [
        ("changing", claims.patch("data", &PatchParams::default(), &note).await.map(drop)),
        ("stealing", claims.patch("data", &PatchParams::default(), &steal).await.map(drop)),
        ("deleting", claims.delete("data", &DeleteParams::default()).await.map(drop)),
    ] {
        assert!(refused(case, answer).contains(LABELS), "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controllers_account_takes_its_gate_off_pods_and_nothing_else() {
    let place = "operator-pods";
    let admin = client(None).await;
    namespace(&admin, place).await;
    apply("webhook/operator.yaml").await;
    let everything = json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["*"] }]);
    grant(place, CONTROLLER, everything).await;
    let theirs: Api<Pod> = Api::namespaced(admin, place);
    let pods: Api<Pod> = Api::namespaced(client(Some(CONTROLLER)).await, place);
    let pod = |name: &str, gates: Value| -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "app": "x", "models.main-currents.news/gated": "true" } },
            "spec": { "containers": [{ "name": "app", "image": "app:1" }], "schedulingGates": gates },
        }))
        .unwrap()
    };
    let ours = json!({ "name": "models.main-currents.news/model-not-ready" });
    let other = json!({ "name": "kueue.x-k8s.io/admission" });
    for (name, gates) in
        [("gated", json!([other, ours])), ("unwanted", json!([ours])), ("plain", json!([])), ("queued", json!([other]))]
    {
        theirs.create(&PostParams::default(), &pod(name, gates)).await.unwrap();
    }
    eventually(|| async {
        let dry = DeleteParams { dry_run: true, ..DeleteParams::default() };
        if pods.delete("plain", &dry).await.is_err() { Ok(()) } else { Err("the policy is not in force".to_owned()) }
    })
    .await;

    let says = "the model controller takes the gate models.main-currents.news/model-not-ready and its label off pods, or deletes pods that have it, and does nothing else to pods";
    let lift = json!({ "op": "remove", "path": "/spec/schedulingGates/1" });
    let unlabel = json!({ "op": "remove", "path": "/metadata/labels/models.main-currents.news~1gated" });
    let replace = |path: &str, value: Value| json!({ "op": "add", "path": path, "value": value });
    for (name, operations) in [
        ("gated", json!([replace("/metadata/labels/app", json!("y"))])),
        ("gated", json!([{ "op": "remove", "path": "/spec/schedulingGates/0" }])),
        ("gated", json!([lift, { "op": "remove", "path": "/spec/schedulingGates/0" }])),
        ("gated", json!([lift, replace("/spec/containers/0/image", json!("evil:1"))])),
        ("gated", json!([lift, replace("/metadata/labels/app", json!("y"))])),
        ("gated", json!([lift, replace("/metadata/labels/new", json!(""))])),
        ("gated", json!([lift, { "op": "remove", "path": "/metadata/labels/app" }])),
        ("gated", json!([lift, replace("/metadata/annotations", json!({ "new": "y" }))])),
        ("gated", json!([lift, replace("/metadata/finalizers", json!(["example.com/stay"]))])),
        ("gated", json!([lift, replace("/spec/nodeSelector", json!({ "disk": "fast" }))])),
        ("gated", json!([lift, replace("/spec/activeDeadlineSeconds", json!(1))])),
        ("gated", json!([lift, replace("/spec/tolerations/-", json!({ "key": "gpu", "operator": "Exists" }))])),
        ("queued", json!([{ "op": "remove", "path": "/spec/schedulingGates/0" }])),
        ("plain", json!([replace("/spec/containers/0/image", json!("evil:1"))])),
    ] {
        let case = format!("{name}: {operations}");
        let patch: Patch<Pod> = Patch::Json(serde_json::from_value(operations).unwrap());
        let message = refused(&case, pods.patch(name, &PatchParams::default(), &patch).await);
        assert!(message.contains(says), "{case}: {message}");
    }
    for (name, answer) in [
        ("creating", pods.create(&PostParams::default(), &pod("new", json!([ours]))).await.map(drop)),
        ("deleting", pods.delete("plain", &DeleteParams::default()).await.map(drop)),
        ("deleting", pods.delete("queued", &DeleteParams::default()).await.map(drop)),
    ] {
        assert!(refused(name, answer).contains(says), "{name}");
    }

    let patch: Patch<Pod> = Patch::Json(serde_json::from_value(json!([lift, unlabel])).unwrap());
    let free = pods.patch("gated", &PatchParams::default(), &patch).await.unwrap();
    assert_eq!(free.spec.unwrap().scheduling_gates.unwrap().len(), 1);
    pods.delete("unwanted", &DeleteParams::default()).await.unwrap();
    // Everybody else is none of its business.
    theirs.delete("plain", &DeleteParams::default()).await.unwrap();
}
