//! What the loader publishes is what the readers of model files expect: a real small model, read by the real readers.

use std::process::Command;

use test_hub::fixtures;

use crate::world::{World, printed};

/// Reads the directory in its first argument. Weights, tokenizer, and the hub's own check of a directory.
const READ: &str = r#"
import sys
from huggingface_hub import HfApi
from safetensors import safe_open
from tokenizers import Tokenizer

folder, endpoint, repo = sys.argv[1:]
with safe_open(f"{folder}/model.safetensors", framework="numpy") as weights:
    parameters = sum(weights.get_tensor(name).size for name in weights.keys())
tokens = Tokenizer.from_file(f"{folder}/tokenizer.json").encode("every byte once").tokens[1:4]
checked = HfApi(endpoint=endpoint).verify_repo_checksums(repo, local_dir=folder)
print(parameters, *tokens, len(checked.mismatches), len(checked.missing_paths), checked.checked_count > 5)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_real_readers_read_a_real_model() {
    let world = World::new();
    fixtures::minilm(world.root.path()).unwrap();
    world.hub.refresh();
    world.pull(&format!("hf://{}", fixtures::MINILM)).await.unwrap();
    let mut python = Command::new(fixtures::python_clients().unwrap().join("python"));
    python
        .args(["-c", READ])
        .arg(world.target())
        .arg(world.hub.url())
        .arg(fixtures::MINILM)
        .env("HF_TOKEN", "hf_test_token");
    let read = python.output().unwrap();
    // 22.7 million parameters, as its model card says.
    assert_eq!(String::from_utf8_lossy(&read.stdout).trim(), "22713728 every byte once 0 0 True", "{}", printed(&read));
}
