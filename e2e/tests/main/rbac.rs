//! Least privilege: what the operator may do and what it did, as the API server's own request log tells.
//!
//! A right that no scenario needed is one too many, and fails the run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use e2e::command::run;
use e2e::{Cluster, Error, deploy};
use serde_json::Value;

/// How often it is looked which pods the operator has. Each lives longer.
const LOOK: Duration = Duration::from_secs(3);

/// A right or a request: group, resource with its subresource, verb.
type Access = (String, String, String);

/// Rights that no request of the operator shows, with the reason why they are there.
const CHECKED_BY_ADMISSION: [(&str, &str, &str); 2] = [
    // An owner reference that blocks the owner's deletion asks for it, where the API server's plugin
    // OwnerReferencesPermissionEnforcement is on.
    ("models.main-currents.news", "models/finalizers", "update"),
    // So does setting an owner on a claim that is there already. The policy of the controller's account lets it delete none.
    ("", "persistentvolumeclaims", "delete"),
];

/// Has the API server log every request from now on, until it is started again.
pub fn listen(mut kubectl: Command) -> Result<(), Error> {
    let level = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    std::fs::write(level.path(), "3").expect("a temporary file can be written");
    kubectl.args(["replace", "--raw", "/debug/flags/v", "-f"]).arg(level.path());
    Ok(run("have the API server log requests", &mut kubectl).map(drop)?)
}

/// Compares the rights of controller and webhook with what they asked for since [`listen`]; prints those that were
/// never used and gives the names of the roles that have any.
///
/// `log` is the API server's; `addresses` are those that the operator's pods had. Both Deployments are restarted,
/// because a watch is logged when it ends.
pub fn check(
    cluster: &Cluster,
    log: &Path,
    addresses: &BTreeSet<(String, String)>,
) -> Result<Vec<&'static str>, Error> {
    let mut addresses = addresses.clone();
    addresses.extend(self::addresses(cluster)?);
    let mut failed = Vec::new();
    for role in ["model-controller", "model-webhook"] {
        let selector = format!("app.kubernetes.io/name={role}");
        cluster.run(&["-n", deploy::NAMESPACE, "delete", "pod", "-l", &selector])?;
        deploy::rolled_out(cluster, role)?;
        let of_role: Vec<_> = addresses.iter().filter(|(name, _)| name == role).map(|(_, address)| address).collect();
        let text = std::fs::read_to_string(log).expect("the API server's log can be read");
        let used: BTreeSet<_> = text.lines().filter_map(|line| request(line, &of_role)).collect();
        let mut rights = BTreeSet::new();
        for name in [role, &format!("{role}-certificates")] {
            for kind in ["clusterrole", "role"] {
                let get = ["-n", deploy::NAMESPACE, "get", kind, name, "--ignore-not-found", "-o", "json"];
                rights.extend(self::rights(&cluster.run(&get)?));
            }
        }
        let unused: Vec<_> =
            rights.into_iter().filter(|right| !used.contains(right) && !is_checked_by_admission(right)).collect();
        let word = if unused.is_empty() { "ok" } else { "FAILED" };
        println!("test every_right_of_{} ... {word} ({} kinds of request)", role.replace('-', "_"), used.len());
        if !unused.is_empty() {
            eprintln!("{role} has rights that no scenario needed: {unused:?}");
            failed.push(role);
        }
    }
    Ok(failed)
}

fn is_checked_by_admission((group, resource, verb): &Access) -> bool {
    CHECKED_BY_ADMISSION.contains(&(group, resource, verb))
}

/// Does something, and gives the addresses of all pods that the operator had meanwhile: scenarios replace them.
pub fn addresses_during<T>(
    cluster: &Cluster,
    act: impl FnOnce() -> Result<T, Error>,
) -> (Result<T, Error>, BTreeSet<(String, String)>) {
    thread::scope(|scope| {
        let (done, is_done) = mpsc::channel::<()>();
        let watching = scope.spawn(move || {
            let mut all = BTreeSet::new();
            loop {
                // A scenario may have the API server or the pods away for a moment; the next look finds them.
                all.extend(addresses(cluster).unwrap_or_default());
                if is_done.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return all;
                }
            }
        });
        let result = act();
        drop(done);
        (result, watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The addresses of the operator's pods that run now, as (Deployment, address).
fn addresses(cluster: &Cluster) -> Result<BTreeSet<(String, String)>, Error> {
    let columns =
        r#"-o=jsonpath={range .items[*]}{.metadata.labels.app\.kubernetes\.io/name} {.status.podIP}{"\n"}{end}"#;
    let pods = cluster.run(&["-n", deploy::NAMESPACE, "get", "pods", columns])?;
    Ok(pods
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, address)| !address.is_empty())
        .map(|(name, address)| (name.to_owned(), address.to_owned()))
        .collect())
}

/// Every single right of a role. None where there is no such role.
fn rights(role: &str) -> BTreeSet<Access> {
    if role.is_empty() {
        return BTreeSet::new();
    }
    let role: Value = serde_json::from_str(role).expect("kubectl prints JSON");
    let words = |rule: &Value, field: &str| -> Vec<String> {
        rule[field].as_array().into_iter().flatten().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in role["rules"].as_array().into_iter().flatten() {
        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                for verb in words(rule, "verbs") {
                    rights.insert((group.clone(), resource.clone(), verb));
                }
            }
        }
    }
    rights
}

/// What a line of the log says was asked for from one of these addresses, and not refused.
fn request(line: &str, addresses: &[&String]) -> Option<Access> {
    let field = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}="))?;
        let rest = rest.strip_prefix('"').unwrap_or(rest);
        rest.split(['"', ' ']).next()
    };
    let (address, _) = field("srcIP")?.rsplit_once(':')?;
    if !addresses.iter().any(|known| *known == address) || field("resp")? == "403" {
        return None;
    }
    let path = field("URI")?.split('?').next()?;
    let mut parts = path.trim_start_matches('/').split('/');
    let group = match parts.next()? {
        "api" => String::new(),
        "apis" => parts.next()?.to_owned(),
        _ => return None,
    };
    let _version = parts.next()?;
    let mut rest: Vec<_> = parts.collect();
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        rest.drain(..2);
    }
    let resource = match rest[..] {
        [resource] | [resource, _] => resource.to_owned(),
        [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
        [] => return None,
    };
    let verb = match field("verb")? {
        "POST" | "CREATE" => "create",
        "PUT" | "UPDATE" => "update",
        "APPLY" | "PATCH" => "patch",
        // The second is the API server's word for a log that is followed.
        "GET" | "CONNECT" => "get",
        "LIST" => "list",
        "WATCH" => "watch",
        "DELETE" => "delete",
        _ => return None,
    };
    Some((group, resource, verb.to_owned()))
}
