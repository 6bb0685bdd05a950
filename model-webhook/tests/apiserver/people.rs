//! What people may do by the roles that Kubernetes adds to its own. The controller that adds them up runs on a node only, so
//! that here each person is bound to the parts.

use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::cluster::{client, kubectl, model, namespace, ready};
use crate::rights::may;

const GROUP: &str = "models.main-currents.news";

#[tokio::test(flavor = "multi_thread")]
async fn who_views_reads_models_and_who_edits_changes_them_and_no_status() {
    let admin = client(None).await;
    namespace(&admin, "people").await;
    model(&admin, "people", "llama", ready()).await;
    let roles: Api<ClusterRole> = Api::all(admin);
    for (user, role, parts) in [
        ("vera", "view", &["view"][..]),
        // It has all of `view`, and `admin` all of `edit`.
        ("ed", "edit", &["view", "edit"]),
        ("ada", "admin", &["view", "edit", "admin"]),
    ] {
        let mut names = Vec::new();
        for part in parts {
            let label = format!("rbac.authorization.k8s.io/aggregate-to-{part}=true");
            let found = roles.list(&ListParams::default().labels(&label)).await.unwrap();
            names.extend(found.iter().map(ResourceExt::name_any));
        }
        names.sort();
        names.dedup();
        assert!(names.iter().any(|name| name.starts_with("model-operator-")), "{names:?}");
        for (index, name) in names.iter().enumerate() {
            let (binding, user) = (format!("{user}-{index}"), format!("--user={user}"));
            let role = format!("--clusterrole={name}");
            kubectl(&["create", "rolebinding", &binding, "-n", "people", &role, &user], "").await.unwrap();
        }
        let person = client(Some(user)).await;
        let changes = role != "view";
        for (verb, group, resource, wanted) in [
            ("get", GROUP, "models", true),
            ("list", GROUP, "models", true),
            ("watch", GROUP, "models", true),
            ("get", GROUP, "models/status", true),
            // What `kubectl model why`, `logs` and `usage` read is in the role of Kubernetes.
            ("list", "batch", "jobs", true),
            ("get", "", "pods/log", true),
            ("list", "", "persistentvolumeclaims", true),
            ("create", GROUP, "models", changes),
            ("update", GROUP, "models", changes),
            ("patch", GROUP, "models", changes),
            ("delete", GROUP, "models", changes),
            // `kubectl model retry`.
            ("delete", "batch", "jobs", changes),
            ("patch", GROUP, "models/status", false),
            ("update", GROUP, "models/status", false),
            ("update", GROUP, "models/finalizers", false),
        ] {
            assert_eq!(may(&person, verb, group, resource, "people").await, wanted, "{role}: {verb} {resource}");
            assert!(!may(&person, verb, group, resource, "kube-system").await, "{role}: {verb} {resource} elsewhere");
        }
    }
    let listed = kubectl(&["get", "models", "-n", "people", "--as=vera"], "").await.unwrap();
    assert!(listed.contains("llama"), "{listed}");
    let annotate = ["annotate", "model", "llama", "-n", "people", "models.main-currents.news/verify=1"];
    let refused = kubectl(&[&annotate[..], &["--as=vera"]].concat(), "").await.unwrap_err();
    assert!(refused.contains("cannot patch"), "{refused}");
    kubectl(&[&annotate[..], &["--as=ed"]].concat(), "").await.unwrap();
}
