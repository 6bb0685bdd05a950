//! What the images of the operator hold, seen from their running containers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use e2e::Error;
use model_core::api::Model;

use crate::processes::{self, Process};
use crate::progress::held_repository;
use crate::scene::{Scene, hugging_face};

pub async fn each_image_holds_one_binary(scene: Scene) -> Result<(), Error> {
    let (repository, _) = held_repository(&scene).await?;
    scene.model("slow", &hugging_face(&repository))?;
    scene.find("slow", "show progress", |model: &Model| model.status.as_ref()?.progress.filter(|now| *now > 0)).await?;
    let download = scene.kubectl(&["get", "pods", "-o=jsonpath={.items[0].metadata.uid}"])?;
    for program in ["/model-controller", "/model-webhook", "/model-loader"] {
        let mut running = processes::of_program(&scene.node, program);
        // Downloads of other scenarios end meanwhile.
        running.retain(|process| program != "/model-loader" || process.pod == download);
        assert!(!running.is_empty(), "no container runs {program}");
        for process in &running {
            holds_nothing_but(process, program);
        }
    }
    scene.let_go(&repository).await?;
    scene.ready("slow").await.map(drop)
}

/// The container of this process holds its program, and no other file.
pub fn holds_nothing_but(process: &Process, program: &str) {
    let root = PathBuf::from(format!("/proc/{}/root", process.id));
    let device = fs::metadata(&root).expect("the process runs").dev();
    assert_eq!(files(&root, &root, device), [program], "pod {}", process.pod);
}

/// All files below a folder that lie on this device, so none that the kubelet mounts. Folders are where it does.
fn files(root: &Path, folder: &Path, device: u64) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.dev() != device {
            continue;
        }
        if about.is_dir() {
            found.extend(files(root, &path, device));
        } else {
            let below = path.strip_prefix(root).expect("it lies below");
            found.push(format!("/{}", below.display()));
        }
    }
    found
}
