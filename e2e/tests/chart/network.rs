//! `NetworkPolicies`. The nodes of the tests have no plugin that enforces them, so these are about the objects.

use serde_json::{Value, json};

use crate::render::{Objects, parse, render, workspace};

fn policies(values: &Value) -> Objects {
    let mut objects = render("model-system", values).unwrap();
    objects.retain(|(kind, _), _| kind == "NetworkPolicy");
    objects
}

fn policy<'a>(objects: &'a Objects, name: &str) -> &'a Value {
    &objects[&("NetworkPolicy".to_owned(), name.to_owned())]
}

fn on(values: &Value) -> Value {
    let mut all = json!({
        "operator": { "enabled": true },
        "downloads": { "enabled": true, "namespaces": ["team"] },
    });
    all.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
    json!({ "networkPolicies": all })
}

#[test]
fn they_are_those_of_config_and_only_on_request() {
    assert_eq!(policies(&json!({})), Objects::new());
    let mut config = Objects::new();
    for file in ["operator.yaml", "downloads.yaml"] {
        let path = workspace().join("config/network").join(file);
        config.append(&mut parse(&std::fs::read_to_string(path).unwrap()));
    }
    // Applied to the namespace that the command names.
    config.get_mut(&("NetworkPolicy".to_owned(), "model-downloads".to_owned())).unwrap()["metadata"]["namespace"] =
        json!("team");
    let mut rendered = policies(&on(&json!({})));
    for policy in rendered.values_mut() {
        let labels = policy["metadata"].as_object_mut().unwrap().remove("labels").unwrap();
        assert_eq!(labels["app.kubernetes.io/instance"], "model-operator");
    }
    assert_eq!(rendered, config);
}

#[test]
fn an_api_server_whose_address_is_known_is_all_that_the_operator_reaches_and_no_download_does() {
    let known = json!({ "apiServer": { "cidrs": ["192.0.2.10/32", "2001:db8::10/128"], "ports": [8443] } });
    let objects = policies(&on(&known));
    let blocks = json!([{ "ipBlock": { "cidr": "192.0.2.10/32" } }, { "ipBlock": { "cidr": "2001:db8::10/128" } }]);
    for name in ["model-controller", "model-webhook"] {
        let egress = &policy(&objects, name)["spec"]["egress"];
        assert_eq!(egress[0], json!({ "ports": [{ "port": 8443, "protocol": "TCP" }], "to": blocks }), "{name}");
        // Beside it names, and of the controller the webhook's replicas.
        let others = egress.as_array().unwrap()[1..].iter();
        assert!(others.clone().all(|rule| rule["to"][0]["podSelector"].is_object() || rule["ports"][0]["port"] == 53));
    }
    let calls = &policy(&objects, "model-webhook")["spec"]["ingress"][0];
    assert_eq!(calls["ports"][0]["port"], 9443);
    let from = calls["from"].as_array().unwrap();
    assert_eq!((json!(from[..2]), from.len()), (blocks, 3));
    assert_eq!(from[2]["podSelector"]["matchLabels"]["app.kubernetes.io/name"], "model-controller");

    let to = &policy(&objects, "model-downloads")["spec"]["egress"][0]["to"];
    for (block, kept) in [(0, ["169.254.0.0/16", "192.0.2.10/32"]), (1, ["fd00:ec2::254/128", "2001:db8::10/128"])] {
        let except = to[block]["ipBlock"]["except"].as_array().unwrap();
        assert!(kept.iter().all(|cidr| except.contains(&json!(cidr))), "{except:?}");
    }
}

/// A selector that selects nothing would guard nothing, and say nothing.
#[test]
fn they_select_the_pods_that_are_there() {
    let objects = render("model-system", &on(&json!({}))).unwrap();
    for name in ["model-controller", "model-webhook"] {
        let pods = &objects[&("Deployment".to_owned(), name.to_owned())]["spec"]["template"]["metadata"]["labels"];
        let selected = policy(&objects, name)["spec"]["podSelector"]["matchLabels"].as_object().unwrap().clone();
        assert!(selected.iter().all(|(label, value)| &pods[label] == value), "{name}: {pods}");
    }
    let downloads = &policy(&objects, "model-downloads")["spec"]["podSelector"];
    let labels = [("app.kubernetes.io/managed-by", "matchLabels"), (model_core::labels::MODEL, "matchExpressions")];
    for (label, part) in labels {
        assert!(downloads[part].to_string().contains(label), "{label} is not in {downloads}");
    }
    // `model-resources` puts these on every download Job and its pods.
    assert_eq!(downloads["matchLabels"]["app.kubernetes.io/managed-by"], model_core::labels::MANAGER);
}

#[test]
fn downloads_are_narrowed_in_each_namespace_that_is_named() {
    let nowhere = json!({ "networkPolicies": { "downloads": { "enabled": true } } });
    let refused = render("model-system", &nowhere).unwrap_err();
    assert!(refused.contains("networkPolicies.downloads.namespaces or in watchNamespaces"), "{refused}");
    let watched = json!({ "watchNamespaces": ["a"], "networkPolicies": { "downloads": { "enabled": true } } });
    assert_eq!(policy(&policies(&watched), "model-downloads")["metadata"]["namespace"], "a");
    let hub = json!([{ "ipBlock": { "cidr": "203.0.113.0/24" } }]);
    let narrowed = on(&json!({ "downloads": { "enabled": true, "namespaces": ["team"], "to": hub } }));
    assert_eq!(policy(&policies(&narrowed), "model-downloads")["spec"]["egress"][0], json!({ "to": hub }));
}
