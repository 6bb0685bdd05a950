//! The webhook's certificate, made and then renewed, with a kill at every write, and with a conflict at each.
//!
//! At the end the Secret holds one valid certificate, every registration has the authority of that certificate and no
//! other, and every replica serves it. What must hold at every moment on the way is told in [`trust`].

mod replica;
mod trust;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, Config, ResourceExt};
use model_controller::{Rhythm, WebhookCertificates, keep_webhook_certificates};
use model_core::labels::RENEW_AFTER;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::mortal::{Kill, Kind, Side, Trouble};
use super::{chosen, plane};
use replica::Replica;
use trust::{REPLICAS, Watched};

/// Runs at once.
const AT_ONCE: usize = 6;
/// How many kills are tried unless more are asked for.
const KILLS: usize = 8;
/// How long a run waits for what must come. It only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// How much later than the first replica the second one has what is in the Secret.
const LAG: Duration = Duration::from_millis(400);

struct Outcome {
    label: String,
    writes: usize,
    died: bool,
    /// What is left, without what differs from run to run.
    picture: Value,
    wrongs: Vec<String>,
}

/// A webhook with two replicas and two registrations.
struct Scene {
    client: Client,
    settings: WebhookCertificates,
    trust: Watched,
    replicas: Vec<Replica>,
}

impl Scene {
    async fn new(client: Client, name: &str) -> Self {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.expect("a namespace");
        let rhythm = Rhythm {
            settle: trust::SETTLE,
            look_every: SignedDuration::try_from(LOOK).expect("it is short"),
            ..Rhythm::default()
        };
        let settings = WebhookCertificates {
            // These belong to no namespace.
            mutating: vec![name.to_owned()],
            validating: vec![name.to_owned()],
            rhythm,
            ..WebhookCertificates::new(name)
        };
        let webhook = |which: &str| {
            json!({
                "name": format!("{which}.{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": { "service": { "namespace": name, "name": settings.service } },
                // Of what nobody has, so that no other run is asked about it.
                "rules": [{ "apiGroups": ["nobody"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"] }],
            })
        };
        let registration = json!({ "metadata": { "name": name }, "webhooks": [webhook("one"), webhook("two")] });
        let mutating: MutatingWebhookConfiguration = serde_json::from_value(registration.clone()).expect("it is valid");
        let validating: ValidatingWebhookConfiguration = serde_json::from_value(registration).expect("it is valid");
        Api::all(client.clone()).create(&PostParams::default(), &mutating).await.expect("it is accepted");
        Api::all(client.clone()).create(&PostParams::default(), &validating).await.expect("it is accepted");
        let mut replicas = Vec::new();
        for _ in 0..REPLICAS {
            replicas.push(Replica::start(&client, &settings).await);
        }
        Self { client, settings, trust: Watched::default(), replicas }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    /// The registrations as they are.
    async fn registrations(&self) -> [Value; 2] {
        let name = &self.settings.namespace;
        let mutating = Api::<MutatingWebhookConfiguration>::all(self.client.clone()).get(name).await;
        let validating = Api::<ValidatingWebhookConfiguration>::all(self.client.clone()).get(name).await;
        [
            serde_json::to_value(mutating.expect("it is there")).expect("JSON"),
            serde_json::to_value(validating.expect("it is there")).expect("JSON"),
        ]
    }

    /// The bundles of all webhooks, PEM.
    async fn bundles(&self) -> Vec<Vec<String>> {
        self.registrations().await.iter().flat_map(|registration| trust::bundles(&registration["webhooks"])).collect()
    }

    /// Connects to each replica that serves as an API server does that knows the bundles of this moment.
    async fn is_accepted(&self) {
        let before = self.bundles().await;
        for (index, replica) in self.replicas.iter().enumerate() {
            if self.trust.lock().served[index].is_none() {
                continue;
            }
            for bundle in &before {
                let Err(error) = replica.accepts(bundle, &self.settings.hosts[0]).await else { continue };
                // One that was published since is not meant to be accepted by the bundles of before.
                if self.bundles().await == before {
                    let count = bundle.len();
                    self.trust
                        .lock()
                        .wrongs
                        .push(format!("replica {index} is refused by {count} authorities: {error}"));
                }
            }
        }
    }

    /// Waits until everybody has and trusts one certificate, of another authority than `old`, and gives that authority.
    async fn has_settled(&self, old: Option<&str>) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.is_accepted().await;
            let secret = self.secrets().get_opt(&self.settings.secret).await.expect("it can be read");
            let ca = secret
                .as_ref()
                .and_then(|secret| trust::authority(secret.data.as_ref()))
                .filter(|ca| Some(&**ca) != old);
            let bundles = self.bundles().await;
            let served = self.trust.lock().served.clone();
            if let Some(ca) = ca
                && bundles.iter().all(|bundle| *bundle == [ca.clone()])
                && served.iter().all(|served| served.as_ref() == Some(&ca))
            {
                return ca;
            }
            let counts: Vec<_> = bundles.iter().map(Vec::len).collect();
            let in_time = Instant::now() < deadline;
            assert!(in_time, "{}: authorities: {counts:?}, served: {served:?}", self.settings.namespace);
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What is left, with the last authority and nothing else that differs from run to run.
    async fn picture(&self, ca: &str) -> Value {
        let mut registrations = self.registrations().await;
        for registration in &mut registrations {
            let bundles = trust::bundles(&registration["webhooks"]);
            for (webhook, bundle) in registration["webhooks"].as_array_mut().into_iter().flatten().zip(bundles) {
                let is_last = bundle == [ca.to_owned()];
                webhook["clientConfig"]["caBundle"] = json!(if is_last { "the last" } else { "something else" });
            }
            registration["metadata"] = Value::Null;
        }
        let secret = self.secrets().get(&self.settings.secret).await.expect("the Secret");
        let renew_at: Timestamp = secret.annotations()[RENEW_AFTER].parse().expect("a time");
        let days = renew_at.duration_since(Timestamp::now()).as_hours().div_euclid(24);
        let keys: Vec<_> = secret.data.iter().flatten().map(|(key, _)| key).collect();
        let picture = json!({
            "registrations": registrations, "type": secret.type_, "keys": keys, "labels": secret.metadata.labels,
            "days": days, "published": self.trust.lock().published.len(),
        });
        let text = picture.to_string().replace(&self.settings.namespace, "<namespace>");
        serde_json::from_str(&text).expect("JSON")
    }
}

/// A certificate is made, and then the next one, because it is time.
async fn play(trouble: Trouble, config: &Config, admin: Client) -> Outcome {
    let label = trouble.label("certificates");
    let scene = Scene::new(admin, &label.to_ascii_lowercase()).await;
    let lives = trouble.lives(Arc::new(scene.trust.clone()));
    let mut running = JoinSet::new();
    for (index, replica) in scene.replicas.iter().enumerate() {
        let lag = LAG * u32::try_from(index).expect("there are few");
        running.spawn(replica.mounts(scene.secrets(), scene.settings.secret.clone(), scene.trust.clone(), index, lag));
    }
    running.spawn({
        let (lives, config, settings) = (lives.clone(), config.clone(), scene.settings.clone());
        async move { lives.run(&config, |client| keep_webhook_certificates(client, settings.clone())).await }
    });
    let first = scene.has_settled(None).await;
    let due = Patch::Merge(json!({ "metadata": { "annotations": { RENEW_AFTER: "2026-01-01T00:00:00Z" } } }));
    scene.secrets().patch(&scene.settings.secret, &PatchParams::default(), &due).await.expect("it is due");
    scene.has_settled(Some(&first)).await;
    // And so it stays.
    let writes = lives.writes(Kind::Work);
    tokio::time::sleep(4 * LOOK).await;
    let last = scene.has_settled(Some(&first)).await;
    let mut wrongs = std::mem::take(&mut scene.trust.lock().wrongs);
    if lives.writes(Kind::Work) != writes {
        wrongs.push("it was written on after the end".to_owned());
    }
    wrongs.extend(lives.given_up());
    let picture = scene.picture(&last).await;
    let killed_at = lives.killed_at().map(|write| write.to_string());
    if !wrongs.is_empty() {
        println!("{label}, killed at {killed_at:?}: {wrongs:#?}");
    }
    Outcome { label, writes, died: killed_at.is_some(), picture, wrongs }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_over_a_certificate_leaves_no_replica_untrusted() {
    let (config, admin) = plane().await;
    let begun = Instant::now();
    let undisturbed = play(Trouble::Nothing, &config, admin.clone()).await;
    assert!(undisturbed.wrongs.is_empty(), "undisturbed: {:#?}", undisturbed.wrongs);
    let kills: Vec<_> = Kill::each(Kind::Work, undisturbed.writes, &[Side::Before, Side::After]).collect();
    let all = kills.len();
    let one = |kill| {
        let (config, admin) = (&config, admin.clone());
        async move { play(Trouble::Dies(kill), config, admin).await }
    };
    let outcomes: Vec<_> = stream::iter(chosen(kills, KILLS)).map(one).buffer_unordered(AT_ONCE).collect().await;
    let died = outcomes.iter().filter(|outcome| outcome.died).count();
    let contested = play(Trouble::Conflicts, &config, admin.clone()).await;
    let wrong = outcomes.iter().chain([&contested]).filter(|outcome| !outcome.wrongs.is_empty()).map(|one| &one.label);
    let wrong: Vec<_> = wrong.collect();
    println!(
        "{} of {all} kills over certificates tried in {} s: {died} died, {} without a wrong",
        outcomes.len(),
        begun.elapsed().as_secs(),
        outcomes.iter().filter(|outcome| outcome.wrongs.is_empty()).count()
    );
    assert!(wrong.is_empty(), "these went wrong, as told above: {wrong:#?}");
    for outcome in outcomes.iter().chain([&contested]) {
        assert_eq!(outcome.picture, undisturbed.picture, "{}", outcome.label);
    }
    assert_eq!(died, outcomes.len(), "each comes to its write");
}
