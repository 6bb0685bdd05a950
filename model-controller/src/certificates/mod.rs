//! The webhook's certificate where no cert-manager makes one: made, renewed, and trusted by the API server in time.
//!
//! The leader keeps the Secret that the webhook's replicas mount, and the `caBundle` of the webhook's registrations. What
//! to do next is decided in [`step`] without clock or client.

mod pair;
mod served;
mod step;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::{ByteString, Resource};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use model_core::labels::FIELD_MANAGER;
use model_watch::with_causes;
use serde_json::{Value, json};

use crate::error::Error;
use pair::Pair;
use step::{Next, Seen, Step};

/// What the certificate is for, and where it lies. Everything but the registrations is in one namespace.
#[derive(Clone, Debug)]
pub struct WebhookCertificates {
    /// Namespace of Secret and Service.
    pub namespace: String,
    /// Secret that the replicas mount, with `ca.crt`, `tls.crt` and `tls.key`.
    pub secret: String,
    /// Service whose endpoints are the replicas.
    pub service: String,
    /// `MutatingWebhookConfiguration`s whose `caBundle` is kept. One that is missing is waited for.
    pub mutating: Vec<String>,
    /// `ValidatingWebhookConfiguration`s, likewise.
    pub validating: Vec<String>,
    /// DNS names or IP addresses that the API server calls the webhook by. At least one.
    pub hosts: Vec<String>,
    /// When to do what.
    pub rhythm: Rhythm,
}

/// When a certificate is renewed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// How long a certificate is valid.
    pub valid_for: SignedDuration,
    /// After how long the next one is made. Less than `valid_for`.
    pub renew_after: SignedDuration,
    /// How long every API server takes at most to see a changed registration.
    pub settle: SignedDuration,
    /// Between two looks.
    pub look_every: SignedDuration,
}

impl Default for Rhythm {
    /// Valid for 90 days, renewed after 60.
    fn default() -> Self {
        Self {
            valid_for: SignedDuration::from_hours(90 * 24),
            renew_after: SignedDuration::from_hours(60 * 24),
            settle: SignedDuration::from_secs(15),
            look_every: SignedDuration::from_secs(5),
        }
    }
}

impl Rhythm {
    /// How long the next certificate waits for a replica that does not take the current one.
    fn patience(&self) -> SignedDuration {
        (self.valid_for - self.renew_after) / 2
    }
}

impl WebhookCertificates {
    /// Of the webhook as `config/` installs it, in this namespace.
    #[must_use]
    pub fn new(namespace: &str) -> Self {
        let webhook = "model-webhook".to_owned();
        Self {
            namespace: namespace.to_owned(),
            secret: format!("{webhook}-tls"),
            hosts: vec![format!("{webhook}.{namespace}.svc")],
            mutating: vec![webhook.clone()],
            validating: vec![webhook.clone()],
            service: webhook,
            rhythm: Rhythm::default(),
        }
    }
}

/// Looks after the certificate for ever. Only one may run at a time.
pub async fn keep_webhook_certificates(client: Client, settings: WebhookCertificates) {
    let look_every = settings.rhythm.look_every.unsigned_abs();
    let mut keeper = Keeper { client, settings, next: None, told: None };
    let mut before = None;
    loop {
        let done = match keeper.look().await {
            Ok(done) => {
                if done == Step::Wait {
                    keeper.told = None;
                }
                Some(done)
            }
            // Somebody else wrote meanwhile: nothing of it is lost.
            Err(Error::Raced { .. }) => None,
            Err(error) => {
                keeper.failed(&error);
                None
            }
        };
        let at_once = done.as_ref().is_some_and(|done| step::goes_on_at_once(done, before.as_ref()));
        before = done;
        tokio::time::sleep(if at_once { Duration::ZERO } else { look_every }).await;
    }
}

struct Keeper {
    client: Client,
    settings: WebhookCertificates,
    /// Made, and in no Secret yet; since when the API server trusts it.
    next: Option<(Pair, Option<Timestamp>)>,
    /// What was logged last, so that nothing is logged twice in a row.
    told: Option<String>,
}

impl Keeper {
    /// One look and the step that follows from it.
    async fn look(&mut self) -> Result<Step, Error> {
        let now = Timestamp::now();
        let secret = self.secret().await?;
        let current = secret.as_ref().and_then(|secret| pair::current(secret, &self.settings, now));
        let registrations = self.registrations().await?;
        let bundles: Vec<_> = registrations.iter().flat_map(bundles).collect();
        let served = match &current {
            Some(current) => self.is_served(&current.ca).await?,
            None => false,
        };
        let next = self.next.as_ref().map(|(pair, since)| Next {
            ca: pair.ca.clone(),
            trusted_for: since.map(|since| now.duration_since(since)),
        });
        let step = step::step(&Seen { current, next, bundles, served }, &self.settings.rhythm, now);
        match &step {
            Step::Make => {
                let made = Pair::make(&self.settings.hosts, &self.settings.rhythm, now);
                let pair = made.map_err(|source| Error::Certificate { hosts: self.settings.hosts.clone(), source })?;
                self.next = Some((pair, None));
            }
            Step::Trust(authorities) => {
                if let Some((_, since)) = &mut self.next {
                    *since = None;
                }
                for registration in &registrations {
                    self.trust(registration, authorities).await?;
                }
                tracing::info!(authorities = authorities.len(), "the API server trusts the webhook by these");
            }
            Step::Publish => {
                if let Some((pair, _)) = &self.next {
                    self.publish(pair, secret).await?;
                    tracing::info!(secret = self.settings.secret, "the webhook gets a new certificate");
                }
                // Only now: one that could not be written is the next one still, and another would be trusted beside it.
                self.next = None;
            }
            Step::Wait => {}
        }
        // Counted from the first look that finds it in every registration.
        if let (Some((_, since @ None)), Step::Wait) = (&mut self.next, &step) {
            *since = Some(now);
        }
        Ok(step)
    }

    async fn secret(&self) -> Result<Option<Secret>, Error> {
        let found = self.secrets().get_opt(&self.settings.secret).await;
        found.map_err(|error| Error::api("read the webhook's Secret", error))
    }

    async fn publish(&self, pair: &Pair, old: Option<Secret>) -> Result<(), Error> {
        let (is_new, secret) = (old.is_none(), pair.secret(old, &self.settings));
        let written = if is_new {
            self.secrets().create(&PostParams::default(), &secret).await
        } else {
            // With the version that was read: what somebody else wrote meanwhile is refused, and looked at.
            self.secrets().replace(&self.settings.secret, &PostParams::default(), &secret).await
        };
        written.map(drop).map_err(|error| Error::api("write the webhook's Secret", error))
    }

    async fn registrations(&self) -> Result<Vec<DynamicObject>, Error> {
        let names = [(mutating(), &self.settings.mutating), (validating(), &self.settings.validating)];
        let mut found = Vec::new();
        for (kind, names) in names {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
            for name in names {
                let one =
                    api.get_opt(name).await.map_err(|error| Error::api("read the webhook's registration", error))?;
                found.extend(one);
            }
        }
        Ok(found)
    }

    /// Writes the bundle of every webhook of a registration, over the version that was read and over no newer one.
    async fn trust(&self, registration: &DynamicObject, authorities: &[String]) -> Result<(), Error> {
        let bundle = ByteString(authorities.concat().into_bytes());
        let with_bundle = |webhook: &Value| json!({ "name": webhook["name"], "clientConfig": { "caBundle": bundle } });
        let webhooks: Vec<_> = webhooks(registration).iter().map(with_bundle).collect();
        let patch = json!({ "metadata": { "resourceVersion": registration.resource_version() }, "webhooks": webhooks });
        let is_mutating =
            registration.types.as_ref().is_some_and(|types| types.kind == MutatingWebhookConfiguration::KIND);
        let kind = if is_mutating { mutating() } else { validating() };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &kind);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        // Strategic: webhooks are merged by name.
        let written = api.patch(&registration.name_any(), &params, &Patch::Strategic(patch)).await;
        written.map(drop).map_err(|error| Error::api("write the webhook's registration", error))
    }

    async fn is_served(&self, ca: &str) -> Result<bool, Error> {
        let slices: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        let of_service = ListParams::default().labels(&format!("kubernetes.io/service-name={}", self.settings.service));
        let slices =
            slices.list(&of_service).await.map_err(|error| Error::api("list the webhook's endpoints", error))?;
        match (pair::client_config(ca), self.settings.hosts.first()) {
            (Some(config), Some(host)) => Ok(served::all_serve(&slices.items, config, host).await),
            _ => Ok(false),
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    fn failed(&mut self, error: &Error) {
        let told = with_causes(error);
        if self.told.as_ref() != Some(&told) {
            tracing::warn!(error = told, "could not keep the webhook's certificate; trying again");
            self.told = Some(told);
        }
    }
}

fn mutating() -> ApiResource {
    ApiResource::erase::<MutatingWebhookConfiguration>(&())
}

fn validating() -> ApiResource {
    ApiResource::erase::<ValidatingWebhookConfiguration>(&())
}

fn webhooks(registration: &DynamicObject) -> &[Value] {
    registration.data["webhooks"].as_array().map_or(&[], Vec::as_slice)
}

/// What the API server trusts, for each webhook of a registration.
fn bundles(registration: &DynamicObject) -> Vec<Vec<String>> {
    let bundle = |webhook: &Value| {
        let bundle: Option<ByteString> = serde_json::from_value(webhook["clientConfig"]["caBundle"].clone()).ok();
        pair::split(&bundle.map(|bundle| bundle.0).unwrap_or_default())
    };
    webhooks(registration).iter().map(bundle).collect()
}
