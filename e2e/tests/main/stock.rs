//! The specification's own Jobs, with the images that it names: the controller runs without a loader image.

use e2e::Error;
use e2e::hub::{Files, TOKEN, sha256};
use k8s_openapi::api::batch::v1::Job;
use model_core::api::ModelStatus;
use serde_json::json;

use crate::scene::{Scene, digests, files, hugging_face, model, noise, s3, secret, url};
use crate::sources::s3_secret;

/// Waits until the Model is Ready, and checks what stock images can and cannot promise.
async fn ready(scene: &Scene, name: &str, image: &str) -> Result<ModelStatus, Error> {
    let status = scene.ready(name).await?;
    let downloaded = status.conditions.iter().find(|condition| condition.type_ == "Downloaded");
    assert_eq!(downloaded.map(|condition| condition.reason.as_str()), Some("NotVerified"));
    assert_eq!(status.progress, Some(100));
    assert_eq!(status.content.as_ref().map(|content| content.path.as_str()), Some(""), "files lie at the claim's root");

    let job = scene.find(&format!("model-download-{name}"), "exist", |job: &Job| Some(job.clone())).await?;
    let job = serde_json::to_value(job).expect("a Job is JSON");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(job["spec"]["backoffLimit"], 3);
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 3600);
    assert_eq!(pod["containers"][0]["image"], image);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    Ok(status)
}

pub async fn python_downloads_a_repository(scene: Scene) -> Result<(), Error> {
    let (repository, mut files) = (scene.repository("secret"), files("stock hf"));
    scene.hub.repository(&repository, &files)?;
    scene.hub.make_private(&repository)?;
    scene.apply(&secret("hub", &json!({ "HF_TOKEN": TOKEN })))?;
    let mut model = model("tiny", &json!({ "huggingFace": { "repoId": repository, "exclude": ["tokenizer/*"] } }));
    model["spec"]["credentialsSecret"] = json!("hub");
    scene.apply(&model)?;
    ready(&scene, "tiny", "python:3.11-slim").await?;
    files.remove("tokenizer/vocab.txt");
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    Ok(())
}

pub async fn aws_downloads_a_prefix(scene: Scene) -> Result<(), Error> {
    let files = files("stock s3");
    scene
        .hub
        .bucket(&scene.namespace, &files.iter().map(|(name, c)| (format!("llama/{name}"), c.clone())).collect())?;
    scene.apply(&s3_secret())?;
    let mut model = model("tiny", &s3(&scene.namespace, "llama"));
    model["spec"]["credentialsSecret"] = json!("s3");
    scene.apply(&model)?;
    ready(&scene, "tiny", "amazon/aws-cli:latest").await?;
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    Ok(())
}

pub async fn curl_downloads_a_file(scene: Scene) -> Result<(), Error> {
    let files = Files::from([("weights.gguf".to_owned(), noise("stock url", 1 << 20))]);
    scene.hub.file(&format!("private/{}/weights.gguf", scene.namespace), &files["weights.gguf"])?;
    scene.apply(&secret("basic", &json!({ "USERNAME": "user", "PASSWORD": "password" })))?;
    let mut model = model("tiny", &url(&format!("private/{}/weights.gguf", scene.namespace)));
    model["spec"]["source"]["url"]["sha256"] = json!(sha256(&files["weights.gguf"]));
    model["spec"]["credentialsSecret"] = json!("basic");
    scene.apply(&model)?;
    ready(&scene, "tiny", "curlimages/curl:latest").await?;
    assert_eq!(scene.digests("tiny").await?, digests(&files));
    Ok(())
}

/// An error page is no model: each tool's Job fails, and the Model quotes what the tool said.
pub async fn a_missing_source_fails_each_job(scene: Scene) -> Result<(), Error> {
    scene.hub.bucket(&scene.namespace, &Files::from([("other".to_owned(), vec![1])]))?;
    scene.apply(&s3_secret())?;
    scene.apply(&secret("hub", &json!({ "HF_TOKEN": TOKEN })))?;
    let mut repository = model("hf", &hugging_face(&scene.repository("nowhere")));
    // Without a token the hub does not even tell whether a repository exists.
    repository["spec"]["credentialsSecret"] = json!("hub");
    let mut bucket = model("s3", &s3(&scene.namespace, "llama"));
    bucket["spec"]["credentialsSecret"] = json!("s3");
    let file = model("url", &url("files/no/such/file.bin"));
    let cases = [(repository, "repo_id"), (bucket, "there is no object"), (file, "404")];
    for (model, _) in &cases {
        scene.apply(model)?;
    }
    for (model, word) in &cases {
        let name = model["metadata"]["name"].as_str().unwrap_or_default();
        // The first attempt of four tells already.
        let message = crate::failures::not_ready_yet(&scene, name, "DownloadFailed").await?;
        assert!(message.contains(word), "{word:?} is not in {message:?}");
    }
    // Kubernetes' pauses between the four attempts are most of this scenario's time.
    let status = scene.failed("url").await?;
    assert!(status.message.unwrap_or_default().contains("404"));
    Ok(())
}
