//! Nothing is lost by dying: a controller that is killed at any of its writes, on either side of it, ends up where it
//! would have ended up otherwise.
//!
//! Everything is played once with a controller that lives, which counts the writes; then once for each write and side
//! with a controller that dies there and another one that takes its place. `MODEL_CONTROLLER_KILLS=all` tries all of
//! them, a number that many of each test, chosen by `MODEL_CONTROLLER_KILLS_SEED`.

mod certificates;
mod cluster;
mod hand_over;
mod histories;
mod models;
mod mortal;
mod past;
mod picture;
mod settle;
mod stage;

use std::sync::LazyLock;

use dev_cluster::ControlPlane;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use crate::plane::install;

/// No controller runs there but those that die.
static PLANE: LazyLock<ControlPlane> = LazyLock::new(|| {
    let plane = ControlPlane::start().expect("a control plane starts");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let admin = Client::try_from(config_of(&plane).await).expect("a client");
        install(&admin).await;
        let growing =
            json!({ "metadata": { "name": "growing" }, "provisioner": "nobody", "allowVolumeExpansion": true });
        let growing: StorageClass = serde_json::from_value(growing).expect("a class");
        Api::all(admin).create(&PostParams::default(), &growing).await.expect("the class is accepted");
    });
    plane
});

async fn config_of(plane: &ControlPlane) -> Config {
    let kubeconfig = Kubeconfig::read_from(plane.kubeconfig()).expect("its kubeconfig is there");
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a config")
}

/// Where all of it is played, with a client of the user and the rest of the cluster.
pub async fn plane() -> (Config, Client) {
    let plane = tokio::task::spawn_blocking(|| &*PLANE).await.expect("it starts");
    let config = config_of(plane).await;
    (config.clone(), Client::try_from(config).expect("a client"))
}

/// The kills that are tried: so many unless something else is asked for.
fn chosen<K>(mut kills: Vec<K>, usually: usize) -> Vec<K> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if std::env::var("MODEL_CONTROLLER_KILLS").is_ok_and(|kills| kills == "all") {
        return kills;
    }
    let mut state: u64 = number("MODEL_CONTROLLER_KILLS_SEED").unwrap_or(1);
    let wanted = number("MODEL_CONTROLLER_KILLS").map_or(usually, |count| usize::try_from(count).unwrap_or(usually));
    // A shuffle by SplitMix64.
    for last in (1..kills.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = (mixed ^ (mixed >> 31)) % (last as u64 + 1);
        kills.swap(last, usize::try_from(other).unwrap_or(0));
    }
    kills.truncate(wanted);
    kills
}
