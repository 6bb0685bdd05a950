//! Two controllers act at the same time, by mistake. Nothing else may run beside this.

use std::panic::{AssertUnwindSafe, resume_unwind};

use e2e::{Error, deploy};
use futures::FutureExt;

use crate::history;
use crate::processes;
use crate::scene::Scene;

pub async fn two_controllers_act_at_once(scene: Scene) -> Result<(), Error> {
    deploy::set_controller_env(&scene.cluster, &["MODEL_CONTROLLER_LEADER_ELECTION=false"])?;
    assert_eq!(processes::of_program(&scene.node, "/model-controller").len(), 2, "two of them run");
    let outcome = AssertUnwindSafe(history::play(&scene)).catch_unwind().await;
    // Whatever came of it: the scenarios after this one need one that leads.
    deploy::set_controller_env(&scene.cluster, &["MODEL_CONTROLLER_LEADER_ELECTION-"])?;
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}
