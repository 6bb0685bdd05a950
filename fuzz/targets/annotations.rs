//! Annotations of a pod that is otherwise in order: one `key: value` a line, keys without a prefix under the group's own.
#![no_main]

use fuzz::pods::check_injection;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

fuzz_target!(|text: &str| {
    let pairs = text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| {
        let key = if key.contains('/') { key.to_owned() } else { format!("models.main-currents.news/{key}") };
        (key, Value::from(value))
    });
    let annotations: Map<_, _> = pairs.collect();
    check_injection(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "app", "annotations": annotations },
        "spec": {
            "initContainers": [{ "name": "prepare", "image": "app", "restartPolicy": "Always" }],
            "containers": [
                { "name": "app", "image": "app", "env": [{ "name": "MODEL_A_PATH", "value": "mine" }] },
                { "name": "beside", "image": "app", "volumeMounts": [{ "name": "tmp", "mountPath": "/models/x//tmp/" }] }
            ],
            "volumes": [{ "name": "tmp", "emptyDir": {} }]
        }
    }));
});
