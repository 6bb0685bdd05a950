//! The end of a run.

use std::time::{Duration, Instant};

use super::picture::Picture;
use super::stage::Stage;

/// For so long nothing was written: the controller is done.
const QUIET: Duration = Duration::from_millis(300);
/// A controller that failed waits for its next pass; one that lives has nothing to wait for after so long.
const SETTLED: Duration = Duration::from_millis(1500);
/// A history that is over and never came to the write.
const NEVER: Duration = Duration::from_secs(3);
/// How long the end of a disturbed history may take.
const PATIENCE: Duration = Duration::from_secs(15);

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
    let (mut written, mut picture, mut since) = (writes(), Picture::of(stage).await, Instant::now());
    loop {
        stage.cluster.round().await;
        let now = (writes(), Picture::of(stage).await);
        if now != (written, picture.clone()) {
            ((written, picture), since) = (now, Instant::now());
        }
        let Some(undisturbed) = undisturbed else {
            if since.elapsed() >= SETTLED {
                return (picture, Vec::new());
            }
            tokio::time::sleep(QUIET / 6).await;
            continue;
        };
        let differences = picture.differences(undisturbed);
        if differences.is_empty() && since.elapsed() >= if died() { QUIET } else { NEVER } {
            return (picture, differences);
        }
        // What nobody works on any more does not come right.
        if since.elapsed() >= NEVER || begun.elapsed() >= PATIENCE {
            return (picture, differences);
        }
        tokio::time::sleep(QUIET / 6).await;
    }
}
