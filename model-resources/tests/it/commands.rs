//! The built commands run for real: whatever a user writes arrives byte for byte as data, and nothing else runs.
//!
//! Shell and Python are those of this machine; `pip`, `aws` and `curl` are commands that record their arguments.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Container;
use model_core::api::{HuggingFaceSource, Model, S3Source, Source, UrlSource};
use model_resources::{DownloadSettings, download_job, key_file_name, literal, url_file_name};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixtures::{loader, model, persisted, stock};
use crate::kubelet::{Sandbox, arguments, container, environment, expand, recorder};

/// What must stay data.
const HOSTILE: &[&str] = &[
    "'; touch pwned; '",
    "\"; touch pwned; \"",
    "; touch pwned #",
    "| touch pwned",
    "$(touch pwned)",
    "$$(touch pwned)",
    "`touch pwned`",
    "line\ntouch pwned\n",
    "$(HOME) $(MODEL_DIR) ${HOME} $HOME $$",
    "{{ .Values.x }} {a,b} [1-3] * ~ !",
    "--flag",
    "-o/tmp/pwned",
    "--",
    "@/etc/passwd",
    "file:///etc/passwd",
    "a\\nb\\\\ %s%n \t\r",
    "$é 😀 \u{2028}",
    "\\\"",
    "",
];

fn built(model: &Model, settings: &DownloadSettings) -> Container {
    container(download_job(&persisted(model), settings, "uid"))
}

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![proptest::sample::select(HOSTILE).prop_map(str::to_owned), "[^\0]{0,8}"];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn no_secret() -> BTreeMap<&'static str, String> {
    BTreeMap::new()
}

/// A `pip` that installs a `huggingface_hub` which records its calls, and a `python` that knows no other packages.
fn hugging_face_sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let python = String::from_utf8(found.stdout).unwrap();
    sandbox.command("python", &format!("#!/bin/sh\nexec '{}' -S \"$@\"\n", python.trim()));
    let package = r#"
import json, os
def record(name, **values):
    with open(os.path.join(os.environ["CALLS"], name), "w") as file:
        json.dump(values, file)
class HfApi:
    def list_repo_files(self, repo, revision):
        record("list", repo=repo, revision=revision)
        return ["model.safetensors"]
def snapshot_download(repo, revision, local_dir, allow_patterns, ignore_patterns):
    record("download", repo=repo, revision=revision, include=allow_patterns, exclude=ignore_patterns)
    open(os.path.join(local_dir, "model.safetensors"), "w").close()
"#;
    let utils = "def filter_repo_objects(files, allow_patterns, ignore_patterns):\n    return (f for f in files if allow_patterns != ['nothing'])\n";
    sandbox.command(
        "pip",
        &format!(
            "{}while [ \"$1\" != --target ]; do shift; done\nmkdir -p \"$2/$3\"\ncat >\"$2/$3/__init__.py\" <<'EOF'\n{package}\nEOF\ncat >\"$2/$3/utils.py\" <<'EOF'\n{utils}\nEOF\n",
            recorder("pip")
        ),
    );
    sandbox
}

fn hugging_face_stays_data(source: &HuggingFaceSource) {
    let sandbox = hugging_face_sandbox();
    let output = sandbox.run(&built(&model("m", Source::HuggingFace(source.clone())), &stock()), &no_secret());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let call: Value = serde_json::from_slice(&fs::read(sandbox.calls().join("download")).unwrap()).unwrap();
    let patterns = |patterns: &[String]| if patterns.is_empty() { Value::Null } else { json!(patterns) };
    let want = json!({
        "repo": source.repo_id, "revision": source.revision,
        "include": patterns(&source.include), "exclude": patterns(&source.exclude),
    });
    assert_eq!(call, want);
    let pip = sandbox.recorded("pip");
    assert_eq!(pip.len(), 1);
    assert_eq!(pip[0].last().unwrap(), "huggingface_hub");
    assert_eq!(sandbox.files(), ["model.safetensors"]);
    assert!(sandbox.is_untouched());
}

#[test]
fn hugging_face_fields_stay_data() {
    let all: Vec<String> = HOSTILE.iter().map(|text| (*text).to_owned()).collect();
    let joined = all.concat();
    let source = HuggingFaceSource { repo_id: joined.clone(), revision: joined, include: all.clone(), exclude: all };
    hugging_face_stays_data(&source);
}

#[test]
fn patterns_that_match_nothing_fail_the_job() {
    let sandbox = hugging_face_sandbox();
    let source = json!({ "huggingFace": { "repoId": "a/b", "include": ["nothing"] } });
    let model = model("m", serde_json::from_value(source).unwrap());
    let output = sandbox.run(&built(&model, &stock()), &no_secret());
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no file of a/b at main matches include and exclude"), "{said}");
    assert!(sandbox.files().is_empty());
}

/// An `aws` that knows one object, or only objects below a prefix, or nothing.
fn s3_sandbox(object: bool, below: bool) -> Sandbox {
    let sandbox = Sandbox::new();
    let script = format!(
        "{}case \" $* \" in\n*' head-object '*) {object} ;;\n*' list-objects-v2 '*) echo {} ;;\nesac\n",
        recorder("aws"),
        if below { "llama/a" } else { "None" },
    );
    sandbox.command("aws", &script);
    sandbox
}

fn s3_stays_data(source: &S3Source, object: bool) {
    let sandbox = s3_sandbox(object, true);
    let output = sandbox.run(&built(&model("m", Source::S3(source.clone())), &stock()), &no_secret());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let S3Source { bucket, key, endpoint, region } = source;
    let mut global = vec![format!("--region={}", region.as_deref().unwrap_or("us-east-1"))];
    global.extend(endpoint.iter().filter(|e| !e.is_empty()).map(|endpoint| format!("--endpoint-url={endpoint}")));
    global.push("--no-sign-request".to_owned());

    let mut calls = sandbox.recorded("aws");
    for call in &mut calls {
        assert_eq!(call.drain(..global.len()).collect::<Vec<_>>(), global);
    }
    let (copy, questions) = calls.split_last().unwrap();
    let directory = key.ends_with('/');
    if object && !directory {
        let target = format!("{}/{}", sandbox.models().display(), key_file_name(key));
        assert_eq!(copy[..], ["s3", "cp", "--only-show-errors", &format!("s3://{bucket}/{key}"), &target]);
    } else {
        let prefix = if directory { key.clone() } else { format!("{key}/") };
        let from = format!("s3://{bucket}/{prefix}");
        let to = sandbox.models().display().to_string();
        assert_eq!(copy[..], ["s3", "cp", "--recursive", "--only-show-errors", &from, &to]);
        let list: Value = serde_json::from_str(&questions.last().unwrap()[3]).unwrap();
        assert_eq!(list, json!({ "Bucket": bucket, "Prefix": prefix, "MaxKeys": 1 }));
    }
    if !directory {
        let head: Value = serde_json::from_str(&questions[0][3]).unwrap();
        assert_eq!(head, json!({ "Bucket": bucket, "Key": key }));
    }
    assert!(sandbox.is_untouched());
}

#[test]
fn s3_fields_stay_data() {
    for text in HOSTILE.iter().map(|text| (*text).to_owned()) {
        let optional = Some(text.clone());
        let source = S3Source { bucket: text.clone(), key: text, endpoint: optional.clone(), region: optional };
        s3_stays_data(&source, true);
        s3_stays_data(&source, false);
    }
}

#[test]
fn a_missing_object_fails_the_job() {
    let sandbox = s3_sandbox(false, false);
    let source = json!({ "s3": { "bucket": "models", "key": "llama" } });
    let output = sandbox.run(&built(&model("m", serde_json::from_value(source).unwrap()), &stock()), &no_secret());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there is no object s3://models/llama and none below it"), "{said}");
}

#[test]
fn s3_credentials_sign_the_requests_and_never_show() {
    let sandbox = s3_sandbox(true, false);
    let mut model = model("m", crate::fixtures::s3());
    model.spec.credentials_secret = Some("credentials".into());
    let container = built(&model, &stock());
    let mut secret = BTreeMap::from([("AWS_ACCESS_KEY_ID", "AKIA".to_owned())]);
    assert_eq!(environment(&container, &secret).unwrap_err(), "AWS_SECRET_ACCESS_KEY");
    secret.insert("AWS_SECRET_ACCESS_KEY", "hush$(HOME)".to_owned());
    assert_eq!(environment(&container, &secret).unwrap()["AWS_SECRET_ACCESS_KEY"], "hush$(HOME)");
    assert!(sandbox.run(&container, &secret).status.success());
    for call in sandbox.recorded("aws") {
        assert!(!call.iter().any(|argument| argument == "--no-sign-request" || argument.contains("hush")), "{call:?}");
    }
}

/// A `curl` that records its standard input, too, and writes a file.
fn url_sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let script = "cat >\"$CALLS/stdin\"\nwhile [ \"$1\" != --output ]; do shift; done\nprintf weights >\"$2\"\n";
    sandbox.command("curl", &(recorder("curl") + script));
    sandbox
}

fn url_stays_data(url: &str) {
    let sandbox = url_sandbox();
    let source = Source::Url(UrlSource { url: url.to_owned(), sha256: None });
    let output = sandbox.run(&built(&model("m", source), &stock()), &no_secret());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let calls = sandbox.recorded("curl");
    assert_eq!(calls.len(), 1);
    let (last, before) = calls[0].split_last().unwrap();
    assert_eq!(last, url);
    assert_eq!(before.last().unwrap(), "--url");
    assert!(before.iter().any(|flag| flag == "--fail") && before.iter().any(|flag| flag == "--globoff"));
    assert_eq!(sandbox.files(), [url_file_name(url)]);
    assert!(sandbox.is_untouched());
}

#[test]
fn urls_stay_data() {
    for text in HOSTILE {
        url_stays_data(&format!("https://example.com/{text}"));
        url_stays_data(&format!("http://{text}"));
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for url in ["--output=pwned", "@/etc/passwd", "file:///etc/passwd", "-K/etc/passwd", ""] {
        let sandbox = url_sandbox();
        let source = Source::Url(UrlSource { url: url.to_owned(), sha256: None });
        let output = sandbox.run(&built(&model("m", source), &stock()), &no_secret());
        assert!(!output.status.success(), "{url}");
        assert!(sandbox.recorded("curl").is_empty() && sandbox.files().is_empty(), "{url}");
    }
}

#[test]
fn url_credentials_reach_curl_byte_for_byte_and_never_as_arguments() {
    let mut model = model("m", crate::fixtures::url());
    model.spec.source = Source::Url(UrlSource { url: "https://example.com/m".into(), sha256: None });
    model.spec.credentials_secret = Some("credentials".into());
    let container = built(&model, &stock());
    for text in HOSTILE.iter().filter(|text| !text.is_empty()) {
        let text = format!("s3cret{text}");
        // A newline at the end is how editors and pipes leave a secret.
        let bare = text.trim_end_matches('\n').to_owned();
        let basic = json!(ByteString(format!("{bare}:{bare}").into_bytes()));
        let bearer = BTreeMap::from([("TOKEN", text.clone())]);
        let login = BTreeMap::from([("USERNAME", text.clone()), ("PASSWORD", text.clone())]);
        for (secret, want) in [
            (bearer, format!("Authorization: Bearer {bare}\n")),
            (login, format!("Authorization: Basic {}\n", basic.as_str().unwrap())),
        ] {
            let sandbox = url_sandbox();
            let output = sandbox.run(&container, &secret);
            let calls = sandbox.recorded("curl");
            if secret.contains_key("TOKEN") && bare.contains(|c: char| c.is_ascii_control()) {
                let said = String::from_utf8(output.stderr).unwrap();
                assert!(said.contains("TOKEN in secret credentials has a control character"), "{said}");
                assert!(!output.status.success() && calls.is_empty());
                continue;
            }
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(fs::read_to_string(sandbox.calls().join("stdin")).unwrap(), want);
            assert!(!calls[0].iter().any(|argument| argument.contains("s3cret")), "{calls:?}");
            assert!(sandbox.is_untouched());
        }
    }
}

#[test]
fn a_secret_without_a_known_key_fails_the_job() {
    let mut model = model("m", crate::fixtures::url());
    model.spec.credentials_secret = Some("credentials".into());
    let sandbox = url_sandbox();
    let output = sandbox.run(&built(&model, &stock()), &no_secret());
    assert!(!output.status.success() && sandbox.recorded("curl").is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("secret credentials does not exist or has neither TOKEN nor USERNAME"), "{said}");
}

/// What the loader gets for a source, after Kubernetes expanded it.
fn loader_arguments(source: Source) -> Vec<String> {
    let container = built(&model("m", source), &loader());
    arguments(&container, &environment(&container, &no_secret()).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 16))]

    #[test]
    fn any_hugging_face_field_stays_data(
        repo_id in hostile(), revision in hostile(),
        include in proptest::collection::vec(hostile(), 0..3), exclude in proptest::collection::vec(hostile(), 0..3),
    ) {
        prop_assume!(include != ["nothing"]);
        hugging_face_stays_data(&HuggingFaceSource { repo_id, revision, include, exclude });
    }

    #[test]
    fn any_s3_field_stays_data(
        bucket in hostile(), key in hostile(), object: bool,
        endpoint in proptest::option::of(hostile()), region in proptest::option::of(hostile()),
    ) {
        s3_stays_data(&S3Source { bucket, key, endpoint, region }, object);
    }

    #[test]
    fn any_url_stays_data(rest in hostile()) {
        url_stays_data(&format!("https://{rest}"));
    }
}

proptest! {
    #[test]
    fn literal_text_survives_the_kubelet(text in hostile()) {
        let variables = BTreeMap::from([("HOME".to_owned(), "expanded".to_owned())]);
        prop_assert_eq!(expand(&literal(&text), &variables), text);
    }

    #[test]
    fn the_loader_gets_every_field_as_written(a in hostile(), b in hostile(), c in hostile(), d in hostile()) {
        let to = |arguments: &[String]| arguments.iter().any(|argument| argument.starts_with("--to=/models/revisions/"));
        let hub = HuggingFaceSource {
            repo_id: a.clone(), revision: b.clone(), include: vec![c.clone(), d.clone()], exclude: vec![d.clone()],
        };
        let seen = loader_arguments(Source::HuggingFace(hub));
        let want = [
            "pull".to_owned(), format!("--source=hf://{a}@{b}"),
            format!("--include={c}"), format!("--include={d}"), format!("--exclude={d}"),
        ];
        prop_assert_eq!(&seen[..5], want);
        prop_assert!(to(&seen) && seen.len() == 8);

        let url = UrlSource { url: a.clone(), sha256: Some(b.clone()) };
        let seen = loader_arguments(Source::Url(url));
        prop_assert_eq!(&seen[1..3], [format!("--source={a}"), format!("--sha256={}", b.to_ascii_lowercase())]);
        prop_assert!(to(&seen) && seen.len() == 6);

        let s3 = S3Source { bucket: a.clone(), key: b.clone(), endpoint: Some(c.clone()), region: Some(d.clone()) };
        let container = built(&model("m", Source::S3(s3)), &loader());
        let variables = environment(&container, &no_secret()).unwrap();
        let seen = arguments(&container, &variables);
        prop_assert_eq!(&seen[1], &format!("--source=s3://{a}/{b}"));
        prop_assert!(to(&seen) && seen.len() == 5);
        prop_assert_eq!(&variables["AWS_ENDPOINT_URL"], &c);
        prop_assert_eq!(&variables["AWS_REGION"], &d);
    }
}
