//! What the values say reaches the objects, and what the chart does not know is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::render::{Objects, render, workspace};

/// Another value for each one in `values.yaml`, by its path; where the test's own base differs, other than that.
pub fn others() -> BTreeMap<&'static str, Value> {
    let spread = json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" }]);
    let digest = json!(format!("sha256:{}", "0123456789abcdef".repeat(4)));
    let toleration = json!([{ "key": "infra", "operator": "Exists" }]);
    BTreeMap::from([
        ("image.tag", json!("v7")),
        ("image.pullPolicy", json!("Always")),
        ("controller.image.repository", json!("tools/controller")),
        ("controller.image.digest", digest.clone()),
        ("controller.replicas", json!(3)),
        ("controller.resources.requests.cpu", json!("1")),
        ("controller.resources.requests.memory", json!("1Gi")),
        ("controller.resources.limits.memory", json!("2Gi")),
        ("controller.nodeSelector", json!({ "pool": "infra" })),
        ("controller.tolerations", toleration.clone()),
        ("controller.affinity", json!({ "nodeAffinity": {} })),
        ("controller.topologySpreadConstraints", spread.clone()),
        ("controller.priorityClassName", json!("system-cluster-critical")),
        ("controller.logLevel", json!("info,kube=debug")),
        ("controller.podAnnotations", json!({ "a": "b" })),
        ("controller.podLabels", json!({ "a": "b" })),
        ("webhook.image.repository", json!("tools/webhook")),
        ("webhook.image.digest", digest.clone()),
        ("webhook.replicas", json!(3)),
        ("webhook.whenNotReady", json!("wait")),
        ("webhook.resources.requests.cpu", json!("1")),
        ("webhook.resources.requests.memory", json!("1Gi")),
        ("webhook.resources.limits.memory", json!("2Gi")),
        ("webhook.nodeSelector", json!({ "pool": "infra" })),
        ("webhook.tolerations", toleration),
        ("webhook.affinity", json!({ "nodeAffinity": {} })),
        ("webhook.topologySpreadConstraints", spread),
        ("webhook.priorityClassName", json!("system-cluster-critical")),
        ("webhook.logLevel", json!("debug")),
        ("webhook.podAnnotations", json!({ "a": "b" })),
        ("webhook.podLabels", json!({ "a": "b" })),
        ("downloads.downloader", json!("stock")),
        ("downloads.maxConcurrent", json!(50_000_000)),
        ("downloads.maxConcurrentPerHost", json!(4)),
        ("downloads.image.repository", json!("tools/loader")),
        ("downloads.maxLogReadsPerSecond", json!(3)),
        ("downloads.image.digest", digest),
        ("downloads.env", json!({ "RUST_LOG": "debug" })),
        ("airGap.registry", json!("registry.example.com:5000/models")),
        ("airGap.imagePullSecrets", json!(["registry"])),
        ("airGap.hubEndpoint", json!("https://hub.example.com")),
        ("airGap.s3Endpoint", json!("https://s3.example.com")),
        ("airGap.proxy.http", json!("http://proxy.example.com:3128")),
        ("airGap.proxy.https", json!("http://proxy.example.com:3129")),
        ("airGap.proxy.noProxy", json!(".svc,10.0.0.0/8")),
        ("airGap.caConfigMap", json!("company-ca")),
        ("watchNamespaces", json!(["team-a"])),
        ("monitoring.podMonitor.enabled", json!(false)),
        ("monitoring.podMonitor.interval", json!("5s")),
        ("monitoring.podMonitor.labels", json!({ "release": "prometheus" })),
        ("monitoring.alerts.enabled", json!(false)),
        ("monitoring.alerts.labels", json!({ "release": "prometheus" })),
        ("monitoring.dashboard.enabled", json!(false)),
        ("monitoring.dashboard.labels.grafana_dashboard", json!("yes")),
        ("certificates.certManager.enabled", json!(false)),
        ("certificates.certManager.issuerRef", json!({ "name": "company", "kind": "ClusterIssuer" })),
        ("people.roles", json!(false)),
        ("networkPolicies.apiServer.cidrs", json!(["192.0.2.10/32"])),
        ("networkPolicies.apiServer.ports", json!([8443])),
        ("networkPolicies.operator.enabled", json!(false)),
        ("networkPolicies.operator.metricsFrom", json!([{ "namespaceSelector": {} }])),
        ("networkPolicies.downloads.enabled", json!(false)),
        ("networkPolicies.downloads.namespaces", json!(["team-b"])),
        ("networkPolicies.downloads.to", json!([{ "ipBlock": { "cidr": "10.0.0.0/8" } }])),
        ("policies.references", json!(false)),
        ("crds.install", json!(true)),
    ])
}

/// The paths of all values that are no maps, or empty ones.
fn leaves(prefix: &str, values: &Value, found: &mut BTreeSet<String>) {
    match values.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                let dot = if prefix.is_empty() { "" } else { "." };
                leaves(&format!("{prefix}{dot}{key}"), value, found);
            }
        }
        _ => {
            found.insert(prefix.to_owned());
        }
    }
}

/// A tree of values with one leaf.
pub fn at(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, key| json!({ key: value }))
}

fn defaults() -> Value {
    let text = std::fs::read_to_string(workspace().join("charts/model-operator/values.yaml")).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

#[test]
fn no_value_does_nothing() {
    let mut known = BTreeSet::new();
    leaves("", &defaults(), &mut known);
    let others = others();
    // The base's cert-manager goes before it: see the tests of it.
    assert!(known.remove("certificates.selfManaged"));
    assert_eq!(known.iter().map(String::as_str).collect::<Vec<_>>(), others.keys().copied().collect::<Vec<_>>());
    // Without a certificate, which is another one each time, and without the CRD, which is long.
    let base = json!({
        "certificates": { "certManager": { "enabled": true } },
        "crds": { "install": false },
        "monitoring": {
            "podMonitor": { "enabled": true }, "alerts": { "enabled": true }, "dashboard": { "enabled": true },
        },
        "networkPolicies": { "operator": { "enabled": true }, "downloads": { "enabled": true, "namespaces": ["team"] } },
    });
    let before = render("models", &base).unwrap();
    for (path, value) in others {
        let mut values = base.clone();
        merge(&mut values, at(path, value));
        let after = render("models", &values).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_ne!(after, before, "{path} changes nothing");
    }
}

pub fn merge(into: &mut Value, from: Value) {
    match (into.as_object_mut(), from) {
        (Some(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (_, from) => *into = from,
    }
}

#[test]
fn what_the_chart_does_not_know_is_refused() {
    let mut known = BTreeSet::new();
    leaves("", &defaults(), &mut known);
    let parent = |path: &str| Some(path.rsplit_once('.')?.0.to_owned());
    let maps: BTreeSet<_> =
        known.iter().flat_map(|path| std::iter::successors(parent(path), |path| parent(path))).collect();
    // Of these the names are free.
    for map in maps.iter().filter(|map| !map.contains("resources.") && !map.ends_with(".labels")) {
        let error = render("models", &at(&format!("{map}.typo"), json!("x"))).unwrap_err();
        assert!(error.contains("typo"), "{map}: {error}");
    }
    for (path, value, said) in [
        ("typo", json!(1), "'typo' not allowed"),
        ("downloads.env", json!({ "A": "b\nMODEL=c" }), "at '/downloads/env/A'"),
        ("downloads.env", json!({ "A=B": "c" }), "invalid propertyName 'A=B'"),
        ("airGap.hubEndpoint", json!("hub.example.com"), "at '/airGap/hubEndpoint'"),
        ("airGap.registry", json!("https://registry.example.com"), "at '/airGap/registry'"),
        ("webhook.replicas", json!(0), "at '/webhook/replicas'"),
        ("webhook.whenNotReady", json!("later"), "at '/webhook/whenNotReady'"),
    ] {
        let error = render("models", &at(path, value)).unwrap_err();
        assert!(error.contains("values don't meet the specifications") && error.contains(said), "{path}: {error}");
    }
}

pub fn deployment<'a>(objects: &'a Objects, name: &str) -> &'a Value {
    &objects[&("Deployment".to_owned(), name.to_owned())]["spec"]["template"]["spec"]
}

/// All that docs/air-gap.md names, at once.
#[test]
fn an_air_gap_is_said_in_one_place() {
    let values = json!({ "image": { "tag": "v7" }, "airGap": {
        "registry": "registry.example.com/models",
        "imagePullSecrets": ["registry", "mirror"],
        "hubEndpoint": "https://hub.example.com",
        "s3Endpoint": "https://s3.example.com",
        "proxy": { "http": "http://proxy:3128", "https": "http://proxy:3128", "noProxy": ".svc" },
        "caConfigMap": "company-ca",
    } });
    let objects = render("models", &values).unwrap();
    for (name, image) in [("model-controller", "model-controller"), ("model-webhook", "model-webhook")] {
        let pod = deployment(&objects, name);
        assert_eq!(pod["containers"][0]["image"], format!("registry.example.com/models/{image}:v7"));
        assert_eq!(pod["imagePullSecrets"], json!([{ "name": "registry" }, { "name": "mirror" }]));
    }
    let env = &deployment(&objects, "model-controller")["containers"][0]["env"];
    let env: BTreeMap<_, _> =
        env.as_array().unwrap().iter().map(|pair| (pair["name"].as_str().unwrap(), &pair["value"])).collect();
    assert_eq!(*env["MODEL_CONTROLLER_LOADER_IMAGE"], "registry.example.com/models/model-loader:v7");
    assert_eq!(*env["MODEL_CONTROLLER_DOWNLOAD_CA_CONFIG_MAP"], "company-ca");
    assert_eq!(*env["MODEL_CONTROLLER_DOWNLOAD_IMAGE_PULL_SECRETS"], "registry,mirror");
    let variables: BTreeSet<_> = env["MODEL_CONTROLLER_DOWNLOAD_ENV"].as_str().unwrap().lines().collect();
    let want = [
        "AWS_ENDPOINT_URL=https://s3.example.com",
        "HF_ENDPOINT=https://hub.example.com",
        "HTTPS_PROXY=http://proxy:3128",
        "HTTP_PROXY=http://proxy:3128",
        "NO_PROXY=.svc",
        "http_proxy=http://proxy:3128",
        "https_proxy=http://proxy:3128",
        "no_proxy=.svc",
    ];
    assert_eq!(variables, BTreeSet::from(want));
}

/// The API server and the webhook learn of cert-manager's certificate by names that must agree.
#[test]
fn cert_manager_issues_the_certificate_that_the_webhook_mounts() {
    let objects = render("models", &at("certificates.certManager.enabled", json!(true))).unwrap();
    let find = |kind: &str, name: &str| &objects[&(kind.to_owned(), name.to_owned())];
    let certificate = find("Certificate", "model-webhook");
    assert_eq!(certificate["spec"]["dnsNames"], json!(["model-webhook.models.svc"]));
    // Signed by an authority that stays, with its key: a renewal changes nothing of what is trusted.
    let issuer = find("Issuer", "model-webhook");
    assert_eq!(certificate["spec"]["issuerRef"]["name"], issuer["metadata"]["name"]);
    let authority = find("Certificate", "model-webhook-authority");
    assert_eq!(issuer["spec"]["ca"]["secretName"], authority["spec"]["secretName"]);
    assert_ne!(authority["spec"]["secretName"], certificate["spec"]["secretName"]);
    assert_eq!(authority["spec"]["privateKey"]["rotationPolicy"], "Never");
    let volume = &deployment(&objects, "model-webhook")["volumes"][0];
    assert_eq!(certificate["spec"]["secretName"], volume["secret"]["secretName"]);
    let registration = find("MutatingWebhookConfiguration", "model-webhook");
    assert_eq!(registration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"], "models/model-webhook");
    assert!(registration["webhooks"][0]["clientConfig"]["caBundle"].is_null());
    assert!(!objects.contains_key(&("Secret".to_owned(), "model-webhook-tls".to_owned())));
    // Who has an issuer needs no authority of ours.
    let company = json!({ "enabled": true, "issuerRef": { "name": "company", "kind": "ClusterIssuer" } });
    let objects = render("models", &at("certificates.certManager", company)).unwrap();
    let certificate = &objects[&("Certificate".to_owned(), "model-webhook".to_owned())];
    assert_eq!(certificate["spec"]["issuerRef"], json!({ "name": "company", "kind": "ClusterIssuer" }));
    assert!(!objects.keys().any(|(kind, name)| kind == "Issuer" || name == "model-webhook-authority"));
}

/// Rights in the named namespaces, and for the cluster as a whole only to what belongs to no namespace.
#[test]
fn watched_namespaces_get_roles_in_place_of_cluster_roles() {
    let objects = render("models", &json!({ "watchNamespaces": ["team-a"] })).unwrap();
    let find = |kind: &str, name: &str| objects.get(&(kind.to_owned(), name.to_owned()));
    let everywhere = render("models", &json!({})).unwrap();
    for component in ["model-controller", "model-webhook"] {
        let name = format!("{component}-models");
        let (role, binding) = (find("Role", &name).unwrap(), find("RoleBinding", &name).unwrap());
        assert_eq!(
            (&role["metadata"]["namespace"], &binding["metadata"]["namespace"]),
            (&json!("team-a"), &json!("team-a"))
        );
        assert_eq!(
            binding["roleRef"],
            json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name })
        );
        let whole = &everywhere[&("ClusterRoleBinding".to_owned(), component.to_owned())];
        assert_eq!(binding["subjects"], whole["subjects"]);
        // No right is lost, and none is new.
        let rules =
            |role: Option<&Value>| role.map(|role| role["rules"].as_array().unwrap().clone()).unwrap_or_default();
        let wide = rules(find("ClusterRole", component));
        assert!(wide.iter().all(|rule| rule["apiGroups"] == json!(["storage.k8s.io"])), "{wide:?}");
        assert_eq!(find("ClusterRoleBinding", component).is_some(), !wide.is_empty());
        let before = rules(everywhere.get(&("ClusterRole".to_owned(), component.to_owned())));
        let after = [rules(Some(role)), wide].concat();
        assert_eq!(after.len(), before.len());
        assert!(before.iter().all(|rule| after.contains(rule)));
    }
    // They grant nothing before somebody is bound to a role of the cluster, which is done by namespace.
    for role in ["model-operator-view", "model-operator-edit"] {
        assert_eq!(find("ClusterRole", role), everywhere.get(&("ClusterRole".to_owned(), role.to_owned())), "{role}");
        assert!(find("ClusterRole", role).is_some() && find("Role", &format!("{role}-models")).is_none(), "{role}");
    }
    let environment = &deployment(&objects, "model-controller")["containers"][0]["env"];
    let namespaces = json!({ "name": "MODEL_CONTROLLER_WATCH_NAMESPACES", "value": "team-a" });
    assert!(environment.as_array().unwrap().contains(&namespaces), "{environment}");
    let arguments = &deployment(&objects, "model-webhook")["containers"][0]["args"];
    assert!(arguments.as_array().unwrap().contains(&json!("--watch-namespaces=team-a")), "{arguments}");
}

#[test]
fn the_controller_makes_the_certificate_with_the_rights_for_that() {
    let values = json!({ "watchNamespaces": ["team"] });
    let objects = render("models", &values).unwrap();
    let env = deployment(&objects, "model-controller")["containers"][0]["env"].as_array().unwrap();
    let on = json!({ "name": "MODEL_CONTROLLER_WEBHOOK_CERTIFICATES", "value": "true" });
    assert!(env.contains(&on), "{env:?}");
    for kind in ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"] {
        assert!(objects.contains_key(&(kind.to_owned(), "model-controller-certificates".to_owned())), "{kind}");
    }
    // Helm would take back what the controller writes.
    assert!(!objects.contains_key(&("Secret".to_owned(), "model-webhook-tls".to_owned())));
    for object in objects.values().filter(|object| object["webhooks"].is_array()) {
        assert!(object["webhooks"][0]["clientConfig"]["caBundle"].is_null(), "{object}");
    }
    // Where cert-manager makes it, the controller does not.
    let both = render("models", &at("certificates.certManager.enabled", json!(true))).unwrap();
    assert!(!deployment(&both, "model-controller").to_string().contains("MODEL_CONTROLLER_WEBHOOK_CERTIFICATES"));
    assert!(!both.contains_key(&("Role".to_owned(), "model-controller-certificates".to_owned())));
}

#[test]
fn helm_makes_a_certificate_where_nobody_else_does() {
    let objects = render("models", &at("certificates.selfManaged", json!(false))).unwrap();
    let secret = &objects[&("Secret".to_owned(), "model-webhook-tls".to_owned())];
    // Another maker takes it over where it lies, and sees by the mark that it is not its own.
    let annotations = &secret["metadata"]["annotations"];
    assert_eq!(annotations["helm.sh/resource-policy"], "keep");
    assert_eq!(annotations[model_core::labels::RENEW_AFTER], "never");
    assert!(!deployment(&objects, "model-controller").to_string().contains("MODEL_CONTROLLER_WEBHOOK_CERTIFICATES"));
    let registrations: Vec<_> = objects.values().filter(|object| object["webhooks"].is_array()).collect();
    assert_eq!(registrations.len(), 2);
    for registration in registrations {
        assert_eq!(registration["webhooks"][0]["clientConfig"]["caBundle"], secret["data"]["ca.crt"]);
    }
}
