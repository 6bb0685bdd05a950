//! What Prometheus and Grafana are given. That the figures exist is shown in `tests/main/metrics.rs`.

use serde_json::{Value, json};

use crate::render::{render, workspace};

fn file(name: &str) -> Value {
    let path = workspace().join("charts/model-operator/monitoring").join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn prometheus_finds_the_port_that_the_pods_open() {
    let objects = render("models", &json!({ "monitoring": { "podMonitor": { "enabled": true } } })).unwrap();
    let monitor = &objects[&("PodMonitor".to_owned(), "model-operator".to_owned())]["spec"];
    let port = &monitor["podMetricsEndpoints"][0]["port"];
    for name in ["model-controller", "model-webhook"] {
        let template = &objects[&("Deployment".to_owned(), name.to_owned())]["spec"]["template"];
        for (label, value) in monitor["selector"]["matchLabels"].as_object().unwrap() {
            assert_eq!(&template["metadata"]["labels"][label], value, "{name}");
        }
        let ports = template["spec"]["containers"][0]["ports"].as_array().unwrap();
        assert!(ports.iter().any(|known| &known["name"] == port), "{name} has no port {port}");
    }
}

#[test]
fn rules_and_dashboard_arrive_as_they_are() {
    let on = json!({ "enabled": true });
    let objects = render("models", &json!({ "monitoring": { "alerts": on, "dashboard": on } })).unwrap();
    let rule = &objects[&("PrometheusRule".to_owned(), "model-operator".to_owned())];
    assert_eq!(rule["spec"], file("alerts.yaml"));
    let dashboard = &objects[&("ConfigMap".to_owned(), "model-operator-dashboard".to_owned())];
    let text = dashboard["data"]["model-operator.json"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), file("dashboard.json"));
}

/// Whoever is woken up reads what is wrong and where to look.
#[test]
fn every_alert_says_what_it_means() {
    let alerts = file("alerts.yaml");
    let rules: Vec<_> =
        alerts["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(!rules.is_empty());
    let docs = std::fs::read_to_string(workspace().join("docs/monitoring.md")).unwrap();
    for rule in rules {
        for field in ["/alert", "/expr", "/for", "/labels/severity", "/annotations/summary", "/annotations/description"]
        {
            assert!(rule.pointer(field).is_some_and(Value::is_string), "{field} is missing in {rule}");
        }
        let row =
            format!("| `{}` | {} |", rule["alert"].as_str().unwrap(), rule["labels"]["severity"].as_str().unwrap());
        assert!(docs.contains(&row), "docs/monitoring.md does not have {row}");
    }
}

#[test]
fn panels_of_the_dashboard_lie_beside_each_other() {
    let dashboard = file("dashboard.json");
    let mut taken = std::collections::BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let number = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        assert!(number("x") + number("w") <= 24, "{}", panel["title"]);
        for x in number("x")..number("x") + number("w") {
            for y in number("y")..number("y") + number("h") {
                assert!(taken.insert((x, y)), "{} covers another panel", panel["title"]);
            }
        }
    }
}
