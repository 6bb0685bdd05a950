//! A model that works: the server of an example answers from the files that were mounted into it.

use e2e::Error;
use e2e::embedding::{MANIFEST, embed, largest_difference, reference, similarity};
use serde_json::json;
use test_hub::fixtures::MINILM;

use crate::contents::holds_nothing_but;
use crate::processes;
use crate::scene::{Scene, hugging_face, model};
use crate::sources::serve_minilm;

/// As its image names it.
const SERVER: &str = "/embedding-server";

pub async fn a_server_answers_from_its_model(scene: Scene) -> Result<(), Error> {
    serve_minilm(&scene).await?;
    let mut model = model("minilm", &hugging_face(MINILM));
    model["spec"]["storage"]["size"] = json!("256Mi");
    scene.apply(&model)?;
    // Before the model is there, as people do it.
    let answer = scene.cluster.apply(&scene.namespace, MANIFEST)?;
    assert!(answer.ok, "{}", answer.text);
    scene.ready("minilm").await?;
    scene.kubectl(&["rollout", "status", "deployment/embeddings", "--timeout=180s"])?;

    let sentences = reference()?;
    let texts: Vec<_> = sentences.iter().map(|sentence| sentence.text.as_str()).collect();
    let embeddings = embed(&scene.cluster, &scene.namespace, &texts).await?;
    assert_eq!(embeddings.len(), sentences.len());
    for (sentence, embedding) in sentences.iter().zip(&embeddings) {
        let alike = similarity(embedding, &sentence.embedding);
        let difference = largest_difference(embedding, &sentence.embedding);
        assert!(alike >= 0.9999 && difference <= 1e-3, "{alike}, {difference} of {}", sentence.text);
    }
    let served = processes::of_program(&scene.node, SERVER);
    assert!(!served.is_empty(), "no container runs {SERVER}");
    for process in &served {
        holds_nothing_but(process, SERVER);
    }
    Ok(())
}
