//! The watches of controller and webhook are cut again and again, and expire, while downloads run and pods come. Each
//! container says what it finds when it starts: nothing but the whole. Nothing else may run beside this.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::Uri;
use axum::http::request::Parts;
use e2e::Error;
use model_core::api::{Model, Phase};
use serde_json::json;

use crate::faults::{away, once, restarted, slow};
use crate::gates::{deployment, read};
use crate::proxy::{Fate, Fault, Proxy, Redirected};
use crate::scene::{Scene, digest_script, digests, hugging_face, parse_digests, pod};

/// A watch lives for so long at the least, and for [`SPREAD_MILLISECONDS`] more at the most.
const SHORTEST: Duration = Duration::from_millis(300);
const SPREAD_MILLISECONDS: u64 = 2000;
/// Pods that come while watches are cut.
const PODS: u32 = 8;

/// Cuts every watch. Of three in a row the first ends as if it were whole, the second breaks off, and the third asks for
/// changes since a time that the API server no longer remembers, so that it says 410 Gone.
#[derive(Default)]
struct Cuts(Mutex<BTreeMap<String, Watch>>);

/// What became of the watches of one kind of object.
#[derive(Clone, Copy, Debug, Default)]
struct Watch {
    begun: u32,
    gone: u32,
}

impl Cuts {
    fn seen(&self) -> MutexGuard<'_, BTreeMap<String, Watch>> {
        self.0.lock().expect("nobody panicked")
    }
}

impl Fault for Cuts {
    fn meets(&self, request: &mut Parts, _body: &[u8]) -> Fate {
        let Some(query) = request.uri.query().filter(|query| query.contains("watch=true")) else { return Fate::Passes };
        let path = request.uri.path().to_owned();
        let mut seen = self.seen();
        let watch = seen.entry(path.clone()).or_default();
        watch.begun += 1;
        // Without a pattern, and the same each time.
        let mixed = u64::from(watch.begun).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let after = SHORTEST + Duration::from_millis(mixed % SPREAD_MILLISECONDS);
        match watch.begun % 3 {
            1 => Fate::Ends(after),
            2 => Fate::Breaks(after),
            _ => {
                request.uri = long_ago(&path, query);
                Fate::Passes
            }
        }
    }

    fn passes(&self, path: &str, piece: &[u8]) {
        let says_gone = br#""code":410"#;
        if piece.windows(says_gone.len()).any(|part| part == says_gone) {
            self.seen().entry(path.to_owned()).or_default().gone += 1;
        }
    }
}

/// The same watch, from the first of all changes on.
fn long_ago(path: &str, query: &str) -> Uri {
    let is_version = |part: &&str| part.starts_with("resourceVersion=");
    let others: Vec<_> = query.split('&').filter(|part| !part.is_empty() && !is_version(part)).collect();
    format!("{path}?{}&resourceVersion=1", others.join("&")).parse().expect("a URI")
}

pub async fn watches_are_cut_and_expire(scene: Scene) -> Result<(), Error> {
    // A young API server remembers everything, one that was started again nothing from before.
    restarted(&scene, "kube-apiserver", Duration::from_secs(1)).await?;
    let ways = ["model-controller", "model-webhook"].map(|name| (name, Arc::new(Cuts::default())));
    let proxies = ways.each_ref().map(|(name, cuts)| (*name, Proxy::start(&scene, cuts.clone())));
    let redirected = Redirected::start(&scene.cluster, &proxies.each_ref().map(|(name, proxy)| (*name, proxy)))?;

    let seconds = away().as_secs();
    let short = slow(&scene, "short", seconds * 2 / 3).await?;
    let long = slow(&scene, "long", seconds).await?;
    scene.model("tiny", &hugging_face(&scene.repository("long")))?;
    scene.model("short", &hugging_face(&scene.repository("short")))?;
    scene.apply(&deployment())?;
    let comes = json!({ "inject": "short", "when-not-ready": "wait" });
    for number in 0..PODS {
        let comes = pod(&format!("comes-{number}"), &comes, &digest_script("/models/short"));
        scene.admit_waiting(&comes).await?;
        tokio::time::sleep(away() / PODS).await;
    }
    scene.ready("short").await?;
    scene.ready("tiny").await?;
    read(&scene, &long).await?;
    for number in 0..PODS {
        let found = parse_digests(&scene.log(&format!("comes-{number}")).await?);
        assert_eq!(found, digests(&short), "comes-{number}");
    }
    // What is Ready stays so for who asks later.
    assert_eq!(scene.digests("short").await?, digests(&short));
    once(&scene, &["tiny", "short"], &[("long", &long), ("short", &short)]).await?;
    let phases = scene.api::<Model>().list(&kube::api::ListParams::default()).await.expect("Models can be listed");
    assert!(
        phases
            .items
            .iter()
            .all(|model| { model.status.as_ref().is_some_and(|status| status.phase == Some(Phase::Ready)) })
    );
    drop(redirected);
    for (name, cuts) in &ways {
        for (path, Watch { begun, gone }) in cuts.seen().iter() {
            println!("watches_cut: {name}: {path} was begun {begun} times, {gone} times it was 410 Gone");
            assert!(*begun > 3 && *gone > 0, "{name}: the watch of {path} was hardly disturbed");
        }
        assert!(cuts.seen().contains_key("/apis/models.main-currents.news/v1alpha1/models"), "{name} watches Models");
    }
    Ok(())
}
