//! What a pod asks for, from its annotations.

use std::collections::BTreeMap;

use model_resources::inject::{Containers, Denial, Wish, parse, writes_to};
use serde_json::{Value, json};

/// A pod with these annotations under the prefix of the specification.
fn pod(annotations: &[(&str, &str)]) -> Value {
    let annotations: serde_json::Map<_, _> =
        annotations.iter().map(|(key, value)| (format!("models.example.com/{key}"), json!(value))).collect();
    json!({ "metadata": { "annotations": annotations } })
}

fn wish(annotations: &[(&str, &str)]) -> Wish {
    parse(&pod(annotations)).unwrap().unwrap()
}

fn denial(annotations: &[(&str, &str)]) -> Denial {
    parse(&pod(annotations)).unwrap_err()
}

#[test]
fn each_default_is_that_of_the_specification() {
    let wish = wish(&[("inject", "llama-3-8b")]);
    assert_eq!(wish.models, ["llama-3-8b"]);
    assert_eq!(wish.mount_path("llama-3-8b"), "/models/llama-3-8b");
    assert!(wish.read_only, "read-only");
    assert_eq!(wish.containers, Containers::First);
    assert!(wish.inject_env, "inject-env");
    assert!(!wish.offline, "offline");
}

#[test]
fn a_pod_that_asks_for_nothing_is_left_alone() {
    for pod in [
        json!({}),
        json!(null),
        json!({ "metadata": {} }),
        json!({ "metadata": { "annotations": null } }),
        json!({ "metadata": { "annotations": { "models.example.com/read-only": "maybe" } } }),
        json!({ "metadata": { "annotations": { "other.example.com/inject": "llama" } } }),
    ] {
        assert_eq!(parse(&pod), Ok(None), "{pod}");
    }
}

#[test]
fn names_are_read_generously() {
    for (value, want) in [
        ("a", &["a"][..]),
        (" a , b ", &["a", "b"]),
        (",a,,b,", &["a", "b"]),
        ("b,a,b, b", &["b", "a"]),
        ("a,\n  b\n", &["a", "b"]),
    ] {
        assert_eq!(wish(&[("inject", value)]).models, want, "{value:?}");
    }
}

#[test]
fn a_list_without_a_name_is_denied() {
    for value in ["", " ", ",", " , ,"] {
        let denial = denial(&[("inject", value)]);
        assert_eq!(denial.reason().as_str(), "AnnotationInvalid", "{value:?}");
        assert!(denial.to_string().starts_with("annotation models.example.com/inject has the value "), "{denial}");
        assert!(denial.to_string().contains("write at least one name of a Model"), "{denial}");
    }
}

#[test]
fn a_name_that_no_model_can_have_is_denied_by_name() {
    for name in ["Llama", "llama_3", "llama.3", "meta/llama", "-a", "--flag", "$(id)", "a b"] {
        let denial = denial(&[("inject", &format!("good,{name}"))]);
        let want = format!(
            "annotation models.example.com/inject has the value {name:?}: no Model can have this name; write names of Models, separated by commas"
        );
        assert_eq!(denial.to_string(), want);
    }
}

#[test]
fn containers_are_names_or_all() {
    for (value, want) in [("app", &["app"][..]), (" app , init,,app", &["app", "init"])] {
        let Containers::Named { annotation, names } = wish(&[("inject", "a"), ("container", value)]).containers else {
            panic!("{value:?} names containers");
        };
        assert_eq!(
            (annotation.as_str(), names),
            ("models.example.com/container", want.iter().map(ToString::to_string).collect())
        );
    }
    for every in ["*", " * ", "*,", "*,*"] {
        assert_eq!(wish(&[("inject", "a"), ("container", every)]).containers, Containers::Every, "{every:?}");
    }
    for (value, why) in [
        ("", "write names of containers, separated by commas, or \"*\" for all of them"),
        (" ,", "write names of containers, separated by commas, or \"*\" for all of them"),
        ("*,app", "\"*\" stands for all containers: write it alone, or names only"),
    ] {
        let denial = denial(&[("inject", "a"), ("container", value)]).to_string();
        let want = format!("annotation models.example.com/container has the value {:?}: {why}", value.trim());
        assert_eq!(denial, want);
    }
}

#[test]
fn booleans_are_true_or_false() {
    for key in ["read-only", "inject-env", "offline"] {
        for (value, want) in [("true", true), ("True", true), (" TRUE ", true), ("false", false), ("FALSE", false)] {
            let wish = wish(&[("inject", "a"), (key, value)]);
            let seen = match key {
                "read-only" => wish.read_only,
                "inject-env" => wish.inject_env,
                _ => wish.offline,
            };
            assert_eq!(seen, want, "{key}={value}");
        }
        for value in ["", "yes", "1", "0", "no", "truefalse"] {
            let want =
                format!("annotation models.example.com/{key} has the value {value:?}: write \"true\" or \"false\"");
            assert_eq!(denial(&[("inject", "a"), (key, value)]).to_string(), want);
        }
    }
}

#[test]
fn mount_paths_of_one_and_of_several_models() {
    for (path, models, want) in [
        ("/data", "a", &["/data"][..]),
        ("/data/", "a", &["/data"]),
        ("//data/./x//", "a", &["/data/x"]),
        ("/data", "a,b", &["/data/a", "/data/b"]),
        ("/", "a,b", &["/a", "/b"]),
        ("/{name}/files", "a,b", &["/a/files", "/b/files"]),
        ("/{name}/{name}", "a", &["/a/a"]),
        ("/data/{name}", "a", &["/data/a"]),
        ("/data/..x", "a", &["/data/..x"]),
    ] {
        let wish = wish(&[("inject", models), ("mount-path", path)]);
        let paths: Vec<_> = wish.models.iter().map(|model| wish.mount_path(model)).collect();
        assert_eq!(paths, want, "{path} for {models}");
    }
}

#[test]
fn bad_mount_paths_are_denied() {
    for (path, models, why) in [
        ("", "a", "absolute path"),
        ("models", "a", "absolute path"),
        ("./models", "a", "absolute path"),
        ("{name}", "a", "absolute path"),
        ("/models/../etc", "a", "without .."),
        ("/..", "a,b", "without .."),
        ("/a:b", "a", "colons"),
        ("/a\nb", "a", "control characters"),
        ("/", "a", "root directory"),
        ("//.", "a", "root directory"),
    ] {
        let denial = denial(&[("inject", models), ("mount-path", path)]).to_string();
        assert!(denial.starts_with("annotation models.example.com/mount-path has the value"), "{path:?}: {denial}");
        assert!(denial.contains(why), "{path:?}: {denial}");
    }
}

#[test]
fn both_prefixes_mean_the_same() {
    let ours = json!({ "metadata": { "annotations": {
        "models.main-currents.news/inject": "a", "models.main-currents.news/read-only": "false" } } });
    let mut theirs = wish(&[("inject", "a"), ("read-only", "false")]);
    let ours = parse(&ours).unwrap().unwrap();
    assert_eq!((ours.prefix, theirs.prefix), ("models.main-currents.news", "models.example.com"));
    theirs.prefix = ours.prefix;
    assert_eq!(theirs, ours);
}

#[test]
fn both_prefixes_at_once_must_agree() {
    let both = |ours: &str, theirs: &str| {
        json!({ "metadata": { "annotations": {
            "models.main-currents.news/inject": "a", "models.main-currents.news/read-only": ours,
            "models.example.com/read-only": theirs } } })
    };
    let wish = parse(&both("false", "false")).unwrap().unwrap();
    assert!(!wish.read_only);
    assert_eq!(
        parse(&both("false", "true")).unwrap_err().to_string(),
        "annotations models.main-currents.news/read-only and models.example.com/read-only have different values, \"false\" and \"true\": keep one of them"
    );
}

#[test]
fn only_a_pod_that_asks_for_it_writes_and_only_to_what_it_names() {
    const OURS: &str = "models.main-currents.news";
    const THEIRS: &str = "models.example.com";
    for (annotations, want) in [
        (&[][..], &[][..]),
        (&[(OURS, "inject", "a")], &[]),
        (&[(OURS, "read-only", "false")], &[]),
        (&[(OURS, "inject", "a"), (OURS, "read-only", "true")], &[]),
        (&[(OURS, "inject", "a"), (OURS, "read-only", "false")], &["a"]),
        (&[(THEIRS, "inject", "b, a,"), (THEIRS, "read-only", "False")], &["b", "a"]),
        (&[(OURS, "inject", "a"), (THEIRS, "read-only", "false")], &["a"]),
        (&[(OURS, "inject", "a"), (OURS, "read-only", "false"), (THEIRS, "read-only", "true")], &[]),
        (&[(OURS, "inject", "../a"), (OURS, "read-only", "false")], &[]),
        (&[(OURS, "inject", "a"), (OURS, "read-only", "maybe")], &[]),
    ] {
        let annotations: BTreeMap<_, _> =
            annotations.iter().map(|(prefix, key, value)| (format!("{prefix}/{key}"), (*value).to_owned())).collect();
        assert_eq!(writes_to(&annotations), want, "{annotations:?}");
    }
}
