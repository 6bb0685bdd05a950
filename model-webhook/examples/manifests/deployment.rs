//! The operator's pods, under the restricted pod security standard.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EnvVar, HTTPGetAction, Namespace, PodAffinityTerm,
    PodAntiAffinity, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile,
    SecretVolumeSource, SecurityContext, Volume, VolumeMount, WeightedPodAffinityTerm,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::names::{CERTIFICATE, CONTROLLER, NAMESPACE, WEBHOOK, cluster_wide, namespaced, selector, template};

/// No user of the node.
const USER: i64 = 65532;
const HEALTH_PORT: i32 = 8081;
const METRICS_PORT: i32 = 8080;
const WEBHOOK_PORT: i32 = 9443;
const CERTIFICATE_DIRECTORY: &str = "/etc/model-webhook/tls";
const LOADER_IMAGE: &str = "model-loader:dev";

pub fn namespace() -> Namespace {
    let mut metadata = cluster_wide(NAMESPACE);
    let restricted = ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned());
    metadata.labels.get_or_insert_default().extend([restricted]);
    Namespace { metadata, ..Namespace::default() }
}

pub fn controller() -> Deployment {
    let container = Container {
        // `config/kustomization.yaml` sets this image along with the others.
        env: Some(vec![EnvVar {
            name: "MODEL_CONTROLLER_LOADER_IMAGE".to_owned(),
            value: Some(LOADER_IMAGE.to_owned()),
            value_from: None,
        }]),
        ..container(CONTROLLER, "256Mi")
    };
    // One of them leads. The other has its caches filled already when it has to take over.
    deployment(CONTROLLER, 2, container, None)
}

pub fn webhook() -> Deployment {
    let mut container = container(WEBHOOK, "128Mi");
    container
        .args
        .get_or_insert_default()
        // The controller's Deployment names a loader image.
        .extend([
            format!("--port={WEBHOOK_PORT}"),
            format!("--cert-dir={CERTIFICATE_DIRECTORY}"),
            "--downloader=loader".to_owned(),
        ]);
    container.ports.get_or_insert_default().push(port("https", WEBHOOK_PORT));
    container.volume_mounts = Some(vec![VolumeMount {
        name: "certificate".to_owned(),
        mount_path: CERTIFICATE_DIRECTORY.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }]);
    let certificate = Volume {
        name: "certificate".to_owned(),
        secret: Some(SecretVolumeSource { secret_name: Some(CERTIFICATE.to_owned()), ..SecretVolumeSource::default() }),
        ..Volume::default()
    };
    deployment(WEBHOOK, 2, container, Some(vec![certificate]))
}

/// Nodes are drained one replica at a time. Also a single replica, or one that never becomes ready, stops no drain.
pub fn disruption_budget(component: &str) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: namespaced(component),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(LabelSelector { match_labels: Some(selector(component)), match_expressions: None }),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        status: None,
    }
}

fn deployment(component: &str, replicas: i32, container: Container, volumes: Option<Vec<Volume>>) -> Deployment {
    // A new replica is ready before an old one goes.
    let rolling = RollingUpdateDeployment { max_unavailable: Some(IntOrString::Int(0)), max_surge: None };
    let strategy = DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(rolling) };
    let pod = PodSpec {
        affinity: Some(apart(component)),
        containers: vec![container],
        volumes,
        service_account_name: Some(component.to_owned()),
        // The variables of Services would be mistaken for settings.
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    };
    Deployment {
        metadata: namespaced(component),
        spec: DeploymentSpec {
            replicas: Some(replicas),
            selector: LabelSelector { match_labels: Some(selector(component)), match_expressions: None },
            strategy: Some(strategy),
            template: PodTemplateSpec { metadata: Some(template(component, METRICS_PORT)), spec: Some(pod) },
            ..DeploymentSpec::default()
        },
        status: None,
    }
}

/// On different nodes where there are several, so that one node takes one replica with it.
fn apart(component: &str) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector { match_labels: Some(selector(component)), match_expressions: None }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    let preferred = vec![WeightedPodAffinityTerm { pod_affinity_term: term, weight: 100 }];
    let pod_anti_affinity = PodAntiAffinity {
        preferred_during_scheduling_ignored_during_execution: Some(preferred),
        ..PodAntiAffinity::default()
    };
    Affinity { pod_anti_affinity: Some(pod_anti_affinity), ..Affinity::default() }
}

/// A container with health probes that may do nothing but run.
fn container(component: &str, memory: &str) -> Container {
    let quantities = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|&(name, amount)| (name.to_owned(), Quantity(amount.to_owned()))).collect::<BTreeMap<_, _>>()
    };
    Container {
        name: component.to_owned(),
        image: Some(format!("{component}:dev")),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec![format!("--health-port={HEALTH_PORT}"), format!("--metrics-port={METRICS_PORT}")]),
        ports: Some(vec![port("health", HEALTH_PORT), port("metrics", METRICS_PORT)]),
        liveness_probe: Some(probe("/healthz")),
        readiness_probe: Some(probe("/readyz")),
        resources: Some(ResourceRequirements {
            requests: Some(quantities(&[("cpu", "10m"), ("memory", "32Mi")])),
            limits: Some(quantities(&[("memory", memory)])),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

fn port(name: &str, number: i32) -> ContainerPort {
    ContainerPort { name: Some(name.to_owned()), container_port: number, ..ContainerPort::default() }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("health".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(5),
        ..Probe::default()
    }
}
