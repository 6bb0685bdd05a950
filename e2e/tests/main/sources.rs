//! Each source, through a Model, into a pod, byte for byte.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use e2e::Error;
use e2e::hub::{Files, S3_KEYS, TOKEN, sha256};
use serde_json::json;
use test_hub::fixtures::{MINILM, minilm, minilm_folder};

use crate::scene::{Scene, digests, files, hugging_face, model, noise, s3, secret, url};

pub async fn hugging_face_repository(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("tiny"), files("hf"));
    scene.hub.repository(&repository, &files)?;
    let status = scene.downloads("tiny", &hugging_face(&repository), &files).await?;

    let content = status.content.expect("a Ready model has content");
    assert!(content.verified, "the hub gives a digest of every file");
    let total: usize = files.values().map(Vec::len).sum();
    assert_eq!(content.bytes, i64::try_from(total).ok());
    assert_eq!(content.resolved_revision.map(|commit| commit.len()), Some(40), "`main` is resolved to a commit");
    assert_eq!(status.progress, Some(100));
    Ok(())
}

/// Real weights, not only noise.
pub async fn real_model(scene: Scene) -> Result<(), Error> {
    let folder = minilm_folder().expect("the model's package can be had");
    serve_minilm(&scene).await?;
    let mut wanted = BTreeMap::new();
    for (name, path) in below(&folder) {
        wanted.insert(name, sha256(&std::fs::read(path).expect("the model can be read")));
    }
    let mut model = model("all-minilm-l6-v2", &hugging_face(MINILM));
    model["spec"]["storage"]["size"] = json!("256Mi");
    scene.apply(&model)?;
    let status = scene.ready("all-minilm-l6-v2").await?;
    assert!(status.content.expect("content").verified);
    assert_eq!(scene.digests("all-minilm-l6-v2").await?, wanted);
    assert_eq!(wanted["model.safetensors"], "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db");
    Ok(())
}

/// Has the hub serve the real model as [`MINILM`].
pub async fn serve_minilm(scene: &Scene) -> Result<(), Error> {
    static LAID_OUT: Mutex<()> = Mutex::new(());
    {
        // Files that are present are kept, so nobody may come upon half of one.
        let _alone = LAID_OUT.lock().unwrap_or_else(PoisonError::into_inner);
        minilm(scene.hub.root()).expect("the hub's directory can be written");
    }
    scene.hub.refresh(&scene.cluster).await
}

/// Every file below a folder, by its name relative to it.
fn below(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder can be read").flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if path.is_dir() {
            files.extend(below(&path).into_iter().map(|(rest, path)| (format!("{name}/{rest}"), path)));
        } else {
            files.push((name, path));
        }
    }
    files
}

pub async fn chosen_files_of_a_repository(scene: Scene) -> Result<(), Error> {
    let (repository, mut files) = (scene.repository("tiny"), files("chosen"));
    scene.hub.repository(&repository, &files)?;
    let source = json!({ "huggingFace": { "repoId": repository, "exclude": ["*.safetensors"] } });
    files.remove("model.safetensors");
    scene.downloads("chosen", &source, &files).await.map(drop)
}

pub async fn single_url(scene: Scene) -> Result<(), Error> {
    let content = noise("url", 2 << 20);
    scene.hub.file(&format!("files/{}/weights.gguf", scene.namespace), &content)?;
    let mut source = url(&format!("files/{}/weights.gguf", scene.namespace));
    let files = Files::from([("weights.gguf".to_owned(), content)]);
    let status = scene.downloads("unchecked", &source, &files).await?;
    assert!(!status.content.expect("content").verified, "nobody said what the digest should be");

    source["url"]["sha256"] = json!(sha256(&files["weights.gguf"]));
    let status = scene.downloads("checked", &source, &files).await?;
    assert!(status.content.expect("content").verified);
    Ok(())
}

pub async fn private_url(scene: Scene) -> Result<(), Error> {
    let content = noise("private url", 100_000);
    scene.hub.file(&format!("private/{}/weights.gguf", scene.namespace), &content)?;
    let files = Files::from([("weights.gguf".to_owned(), content)]);
    for (name, keys) in [
        ("by-token", json!({ "TOKEN": TOKEN })),
        ("by-password", json!({ "USERNAME": "user", "PASSWORD": "password" })),
    ] {
        scene.apply(&secret(name, &keys))?;
        let mut model = model(name, &url(&format!("private/{}/weights.gguf", scene.namespace)));
        model["spec"]["credentialsSecret"] = json!(name);
        scene.apply(&model)?;
        scene.ready(name).await?;
        assert_eq!(scene.digests(name).await?, digests(&files));
    }
    Ok(())
}

pub async fn objects_below_a_prefix(scene: Scene) -> Result<(), Error> {
    let files = files("s3");
    let below = files.iter().map(|(name, content)| (format!("llama/{name}"), content.clone())).collect();
    scene.hub.bucket(&scene.namespace, &below)?;
    // A neighbour whose key starts alike is no part of the model.
    scene.hub.bucket(&scene.namespace, &Files::from([("llama-2/other.bin".to_owned(), vec![1; 10])]))?;
    scene.apply(&s3_secret())?;
    for (name, key, files) in [
        ("prefix", "llama/", files.clone()),
        ("object", "llama/config.json", Files::from([("config.json".to_owned(), files["config.json"].clone())])),
    ] {
        let mut model = model(name, &s3(&scene.namespace, key));
        model["spec"]["credentialsSecret"] = json!("s3");
        scene.apply(&model)?;
        scene.ready(name).await?;
        assert_eq!(scene.digests(name).await?, digests(&files));
    }
    Ok(())
}

pub async fn private_repository(scene: Scene) -> Result<(), Error> {
    let (repository, files) = (scene.repository("secret"), files("private"));
    scene.hub.repository(&repository, &files)?;
    scene.hub.make_private(&repository)?;
    scene.apply(&secret("hub", &json!({ "HF_TOKEN": TOKEN })))?;
    let mut model = model("secret", &hugging_face(&repository));
    model["spec"]["credentialsSecret"] = json!("hub");
    scene.apply(&model)?;
    scene.ready("secret").await?;
    assert_eq!(scene.digests("secret").await?, digests(&files));
    Ok(())
}

/// The keys of the hub's buckets.
pub fn s3_secret() -> serde_json::Value {
    secret("s3", &json!({ "AWS_ACCESS_KEY_ID": S3_KEYS.0, "AWS_SECRET_ACCESS_KEY": S3_KEYS.1 }))
}
