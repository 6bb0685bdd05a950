//! Each constraint of the generated CRD, broken once, with the message that the user sees, and met at its bounds.

mod bounds;
mod changes;
mod constraints;
mod job_template;
mod model;
mod source;
mod spec;
mod status;

use constraints::{BOUNDS, Constraint, measure};
use kube::api::PostParams;
use model::{change, create, llama, models, put, with};
use serde_json::{Value, json};

use crate::cluster::{client, config, namespace};

/// A value that breaks a constraint.
struct Row {
    /// Where the constraint stands.
    path: String,
    /// The keyword of the schema: `maxLength`, `required key`, or `rule`.
    keyword: &'static str,
    /// The value at that place.
    value: Value,
    /// What is said of the field. `{at}` stands for its path, where the message repeats that.
    says: String,
}

/// What is said of a number that does not fit. It is said of the whole object.
const INT32: &str = r#"Invalid value: "": Checked value must be of type integer with format int32 in {at}"#;
const INT64: &str = r#"Invalid value: "": Checked value must be of type integer with format int64 in {at}"#;

fn row(path: &str, keyword: &'static str, value: impl Into<Value>, says: &str) -> Row {
    Row { path: path.to_owned(), keyword, value: value.into(), says: says.to_owned() }
}

impl Row {
    /// The path as the API server writes it.
    fn place(&self) -> String {
        self.path.replace("[]", "[0]").replace("{}", ".key")
    }

    /// The field that the API server names. It calls the whole object `<nil>`.
    fn field(&self) -> String {
        let place = self.place();
        match (self.keyword.strip_prefix("required "), place.as_str()) {
            (Some(field), "") => field.to_owned(),
            (Some(field), _) => format!("{place}.{field}"),
            (None, _) if self.says == INT32 || self.says == INT64 => {
                if place.starts_with("status.") { "status" } else { "<nil>" }.to_owned()
            }
            // The first one is in order.
            (None, _) if self.keyword == "x-kubernetes-list-map-keys" => format!("{place}[1]"),
            (None, "") => "<nil>".to_owned(),
            (None, _) => place,
        }
    }

    /// The whole message. A status is judged by itself, so that its paths begin below it.
    fn message(&self) -> String {
        let place = self.place();
        self.says.replace("{at}", place.strip_prefix("status.").unwrap_or(&place))
    }

    /// The end of the message that is ours. Empty where all of it is the API server's.
    fn sentence(&self) -> &str {
        let ours = self.says.strip_prefix("Invalid value: ").filter(|_| self.keyword == "rule");
        ours.map_or("", |said| said.split_once("\": ").map_or(said, |(_, sentence)| sentence))
    }

    fn breaks(&self, constraint: &Constraint) -> bool {
        self.path == constraint.path
            && (self.keyword == constraint.keyword
                || self.keyword == "rule" && self.says.ends_with(&format!(": {}", constraint.keyword)))
    }

    /// What is at fault with the answer, if anything. An API server of before 1.33 puts other words around ours, and has
    /// others of its own: there the refusal counts, and our sentence in it.
    fn judge(&self, answer: Result<Value, Vec<(String, String)>>, is_old: bool) -> Option<String> {
        let (path, keyword, value) = (&self.path, self.keyword, &self.value);
        let want = (self.field(), self.message());
        match answer {
            Err(causes) if causes.contains(&want) => None,
            // It does not look how large a whole number is, unless a bound says so.
            Ok(_) if is_old && (self.says == INT32 || self.says == INT64) => None,
            Err(causes) if is_old && causes.iter().any(|(_, says)| says.ends_with(self.sentence())) => None,
            other => Some(format!("{path} {keyword} {value}\n  wanted {want:?}\n  but {other:?}")),
        }
    }
}

fn crd() -> Vec<Constraint> {
    let crd = std::fs::read_to_string(config("crd/models.yaml")).unwrap();
    constraints::of(&serde_saphyr::from_str(&crd).unwrap())
}

async fn is_old() -> bool {
    let version = client(None).await.apiserver_version().await.unwrap();
    version.minor.trim_end_matches('+').parse::<u32>().unwrap() < 33
}

/// All rows but those of changes, which need two values.
fn rows() -> Vec<Row> {
    [spec::rows(), source::rows("spec.source"), job_template::rows(), status::rows()].into_iter().flatten().collect()
}

#[test]
fn every_constraint_of_the_crd_has_a_row() {
    let (constraints, rows) = (crd(), rows());
    let changes = changes::rules();
    let missing: Vec<String> = constraints
        .iter()
        .filter(|constraint| !rows.iter().any(|row| row.breaks(constraint)))
        .filter(|constraint| !changes.contains(&(constraint.path.as_str(), constraint.keyword.as_str())))
        .map(|constraint| format!("{} {} {}", constraint.path, constraint.keyword, constraint.value))
        .collect();
    assert!(missing.is_empty(), "no row breaks:\n{}", missing.join("\n"));
    for row in rows.iter().filter(|row| row.keyword != "type") {
        let constraint = constraints.iter().find(|constraint| row.breaks(constraint));
        let constraint = constraint.unwrap_or_else(|| panic!("the CRD has no {} {}", row.path, row.keyword));
        if BOUNDS.contains(&row.keyword) {
            let beyond = if row.keyword.starts_with("min") { -1 } else { 1 };
            let measured = measure(row.keyword, &row.value).unwrap();
            assert!(
                measured - beyond == constraint.bound(),
                "{} {}: {measured} is not just beyond",
                row.path,
                row.keyword
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_model_cannot_be_is_refused_in_words() {
    let is_old = is_old().await;
    let models = models("default").await;
    create(&models, &llama()).await.unwrap();
    let mut faults = Vec::new();
    for row in rows().iter().filter(|row| !row.path.starts_with("status")) {
        faults.extend(row.judge(create(&models, &with(&row.path, &row.value)).await, is_old));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Nobody but the controller writes it. What it could get wrong is refused all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_status_cannot_be_is_refused_in_words() {
    let is_old = is_old().await;
    namespace(&client(None).await, "statuses").await;
    let models = models("statuses").await;
    models.create(&PostParams::default(), &serde_json::from_value(llama()).unwrap()).await.unwrap();
    change(&models, "llama-3-8b", &json!({ "status": status::whole() })).await.unwrap();
    let mut faults = Vec::new();
    for row in rows().iter().filter(|row| row.path.starts_with("status")) {
        faults.extend(row.judge(change(&models, "llama-3-8b", &status::with(&row.path, &row.value)).await, is_old));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_at_the_bounds_are_good() {
    let models = models("default").await;
    let good = bounds::values();
    for (path, value) in &good {
        let created = create(&models, &with(path, value)).await;
        assert!(created.is_ok(), "{path} {value}: {created:?}");
    }
    for bound in crd().iter().filter(|constraint| BOUNDS.contains(&constraint.keyword.as_str())) {
        let Constraint { path, keyword, value } = bound;
        let is_at = |found: &Value| measure(keyword, found) == Some(bound.bound());
        // The controller counts, and is not asked to go to these bounds.
        let has_row = path.starts_with("status") || good.iter().any(|(at, found)| at == path && is_at(found));
        assert!(has_row, "no good value is at {path} {keyword} {value}");
    }
}

/// What the API server itself fills in.
#[tokio::test(flavor = "multi_thread")]
async fn defaults_are_those_of_the_specification() {
    let created = create(&models("default").await, &llama()).await.unwrap();
    for (pointer, value) in [
        ("/spec/source/huggingFace/revision", Some(json!("main"))),
        ("/spec/storage/accessModes", Some(json!(["ReadWriteOnce"]))),
        ("/spec/storage/storageClass", None),
        ("/spec/version", None),
        ("/spec/credentialsSecret", None),
        ("/spec/nodeSelector", None),
        ("/spec/jobTemplate", None),
        ("/spec/keepRevisions", Some(json!(1))),
        ("/spec/deletionPolicy", Some(json!("Delete"))),
        ("/status", None),
    ] {
        assert_eq!(created.pointer(pointer).filter(|value| !value.is_null()), value.as_ref(), "{pointer}");
    }
}
