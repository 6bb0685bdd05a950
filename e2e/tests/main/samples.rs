//! Every file in `config/samples` is accepted, and means what it says.

use e2e::Error;

use crate::scene::{Scene, files};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/samples");

pub async fn every_sample_is_accepted(scene: Scene) -> Result<(), Error> {
    let files = files("llama");
    scene.hub.repository("meta-llama/Llama-3.1-8B-Instruct", &files)?;
    // The class that the specification's sample names.
    scene.apply(&scene.storage_class("longhorn")?)?;
    let apply = |name: &str| scene.kubectl(&["apply", "-f", &format!("{SAMPLES}/{name}")]);
    // Before its Model is ready, the pod is refused with the reason.
    let early = apply("pod.yaml").expect_err("the model is not there yet").to_string();
    assert!(early.contains("model not found: llama-3-8b"), "{early}");

    apply("model-hugging-face.yaml")?;
    scene.ready("llama-3-8b").await?;
    let pod = std::fs::read_to_string(format!("{SAMPLES}/pod.yaml")).expect("config/samples can be read");
    scene.admit(&pod).await?;
    let mounted =
        scene.kubectl(&["get", "pod", "app", "-o", "jsonpath={.spec.containers[0].volumeMounts[*].mountPath}"])?;
    assert!(mounted.split_whitespace().any(|path| path == "/models/llama-3-8b"), "{mounted}");

    let mut others: Vec<_> =
        std::fs::read_dir(SAMPLES).expect("config/samples is there").flatten().map(|entry| entry.file_name()).collect();
    others.sort();
    for name in others {
        apply(&name.to_string_lossy())?;
    }
    Ok(())
}
