//! One look at a Model or a pod, and all that belongs to it.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::ListParams;
use model_core::api::Model;
use model_core::names::job_name;
use model_core::observed::newest_pod;

use crate::cluster::{Cluster, object_name};
use crate::error::Error;
use crate::text::line;
use crate::why::{Asked, ModelView, Report, concerns, of_model, of_pod, wanted};

/// Marks the storage class that claims without a class get.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What is asked about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    Model(&'a str),
    Pod(&'a str),
    /// A Model, or else a pod.
    Either(&'a str),
}

impl<'a> Subject<'a> {
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        match text.split_once('/') {
            Some(("model" | "models", name)) => Ok(Self::Model(crate::cluster::model_name(name)?)),
            Some(("pod" | "pods" | "po", name)) => Ok(Self::Pod(object_name("pod", name)?)),
            Some((kind, _)) => {
                Err(Error::wrong_use(format!("{kind:?} is neither a Model nor a pod"), "write model/NAME or pod/NAME"))
            }
            None => Ok(Self::Either(object_name("Model or pod", text)?)),
        }
    }
}

/// Looks, and says what blocks.
pub(super) async fn report(cluster: &Cluster, subject: &Subject<'_>) -> Result<Report, Error> {
    let name = match subject {
        Subject::Model(name) => {
            let model = cluster.model(name).await?;
            return Ok(of_model(&view(cluster, model).await?, Timestamp::now()));
        }
        Subject::Pod(name) | Subject::Either(name) => name,
    };
    if matches!(subject, Subject::Either(_))
        && let Some(model) = find_model(cluster, name).await?
    {
        return Ok(of_model(&view(cluster, model).await?, Timestamp::now()));
    }
    let doing = format!("read pod {name}");
    let pod = cluster.api::<Pod>().get_opt(name).await.map_err(|error| cluster.error(&doing, error))?;
    match (pod, subject) {
        (Some(pod), _) => Box::pin(report_on_pod(cluster, &pod)).await,
        (None, Subject::Either(_)) => Err(cluster.no_such_model(name).await?),
        (None, _) => {
            let what = format!("there is no pod of this name in namespace {}", cluster.namespace);
            let advice = format!(
                "a pod that was refused is never created; its owner says why: kubectl get events -n {} --field-selector reason=FailedCreate",
                cluster.namespace
            );
            Err(Error::cluster(&format!("find pod {name}"), what, advice))
        }
    }
}

async fn report_on_pod(cluster: &Cluster, pod: &Pod) -> Result<Report, Error> {
    let mut asked = Asked::new();
    for name in wanted(pod).unwrap_or_default() {
        let view = match find_model(cluster, &name).await? {
            Some(model) => Some(view(cluster, model).await?),
            None => None,
        };
        asked.push((name, view));
    }
    let mut unseen = Unseen::default();
    let events = unseen.or_default("Events", events(cluster, &pod.name_any()).await);
    let events = events.map_err(|error| cluster.error(&format!("read the Events of pod {}", pod.name_any()), error))?;
    Ok(of_pod(pod, &asked, &events, unseen.0, Timestamp::now()))
}

async fn find_model(cluster: &Cluster, name: &str) -> Result<Option<Model>, Error> {
    // A name that only a pod can have.
    if !model_core::names::is_model_name(name) {
        return Ok(None);
    }
    let doing = format!("read Model {name}");
    cluster.api::<Model>().get_opt(name).await.map_err(|error| cluster.error(&doing, error))
}

/// What the user has no right to see. It is said, and the rest is shown all the same.
#[derive(Default)]
struct Unseen(Vec<String>);

impl Unseen {
    fn or_default<T: Default>(&mut self, what: &str, seen: Result<T, kube::Error>) -> Result<T, kube::Error> {
        match seen {
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                self.0.push(format!("{what}: {}", line(&status.message)));
                Ok(T::default())
            }
            other => other,
        }
    }
}

async fn view(cluster: &Cluster, model: Model) -> Result<ModelView, Error> {
    let doing = format!("look at what belongs to Model {}", model.name_any());
    look(cluster, model).await.map_err(|error| cluster.error(&doing, error))
}

async fn look(cluster: &Cluster, model: Model) -> Result<ModelView, kube::Error> {
    let name = model.name_any();
    let mut unseen = Unseen::default();
    let job = unseen.or_default("Job", cluster.api::<Job>().get_opt(&job_name(&name)).await)?;
    let claims = cluster.api::<PersistentVolumeClaim>();
    let claim_name = model.spec.storage.claim_name(&name);
    let claim = unseen.or_default("claim", claims.get_opt(&claim_name).await)?;
    let all = cluster.api::<Pod>().list(&ListParams::default()).await.map(|list| list.items);
    let pods: Vec<Pod> = unseen.or_default("pods", all)?.into_iter().filter(|pod| concerns(pod, &model)).collect();
    let class_exists = match &claim {
        Some(claim) => unseen.or_default("storage classes", class_exists(cluster, claim).await)?,
        None => None,
    };
    let newest = job.as_ref().and_then(|job| newest_pod(job, &pods)).map(ResourceExt::name_any);
    let mut on_all = Vec::new();
    for object in [Some(name.clone()), Some(claim_name), Some(job_name(&name)), newest].into_iter().flatten() {
        match events(cluster, &object).await {
            Ok(events) => on_all.extend(events),
            // One refusal stands for all.
            refused => {
                unseen.or_default("Events", refused)?;
                break;
            }
        }
    }
    Ok(ModelView { model, claim, class_exists, job, pods, events: on_all, unseen: unseen.0 })
}

async fn events(cluster: &Cluster, object: &str) -> Result<Vec<Event>, kube::Error> {
    let on_object = ListParams::default().fields(&format!("involvedObject.name={object}"));
    Ok(cluster.api::<Event>().list(&on_object).await?.items)
}

/// Whether the storage class of an unbound claim exists. A bound claim has no need of it.
async fn class_exists(cluster: &Cluster, claim: &PersistentVolumeClaim) -> Result<Option<bool>, kube::Error> {
    if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound") {
        return Ok(None);
    }
    let classes = cluster.api_all::<StorageClass>();
    match claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()) {
        // An empty name asks for a volume that somebody made by hand.
        Some("") => Ok(None),
        Some(class) => Ok(Some(classes.get_metadata_opt(class).await?.is_some())),
        None => {
            let all = classes.list_metadata(&ListParams::default()).await?;
            Ok(Some(
                all.iter().any(|class| class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true")),
            ))
        }
    }
}
