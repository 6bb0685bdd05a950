//! The end of a run.

use std::time::{Duration, Instant};

use super::picture::Picture;
use super::stage::Stage;

/// For so long nothing was written: the controller is done. Longer than it waits after somebody else's write crossed its own.
const QUIET: Duration = Duration::from_millis(700);
/// A controller that failed waits for its next pass; one that lives has nothing to wait for after so long.
const SETTLED: Duration = Duration::from_millis(1500);
/// A history that is over and never came to the write.
const NEVER: Duration = Duration::from_secs(3);
/// How long the end of a disturbed history may take. It only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// As so much a look counts at most: where the API server or the machine stood still, so did the controller.
const ONE_LOOK: Duration = Duration::from_millis(100);

/// Waits until the end is the undisturbed one and stays so. Without one to compare with: until nothing happens.
///
/// `writes`: how many there were so far. `died`: whether a controller was killed already, or nothing will be done to it.
pub async fn settle(
    stage: &Stage,
    undisturbed: Option<&Picture>,
    writes: impl Fn() -> usize,
    died: impl Fn() -> bool,
) -> (Picture, Vec<String>) {
    let begun = Instant::now();
    let mut seen = (writes(), Picture::of(stage).await);
    let (mut quiet, mut looked) = (Duration::ZERO, Instant::now());
    loop {
        tokio::time::sleep(PAUSE).await;
        stage.cluster.round().await;
        let now = (writes(), Picture::of(stage).await);
        quiet = if now == seen { quiet + looked.elapsed().min(ONE_LOOK) } else { Duration::ZERO };
        (seen, looked) = (now, Instant::now());
        let Some(undisturbed) = undisturbed else {
            if quiet >= SETTLED {
                return (seen.1, Vec::new());
            }
            continue;
        };
        let differences = seen.1.differences(undisturbed);
        let is_over = differences.is_empty() && quiet >= if died() { QUIET } else { NEVER };
        if is_over || begun.elapsed() >= PATIENCE {
            return (seen.1, differences);
        }
    }
}
