//! A Model as the watch delivers it.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::error_boundary::InvalidObject;
use model_core::api::{Model, ModelSpec, ModelStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One that does not parse is an error of its own, and does not end the watch.
// kube's DeserializeGuard does the same by way of a tree of all values, which is copied.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Parts")]
pub(crate) struct WatchedModel(pub Result<Model, InvalidObject>);

/// Spec and status as they came, so that each can fail without the metadata.
#[derive(Deserialize)]
struct Parts {
    metadata: ObjectMeta,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

impl From<Parts> for WatchedModel {
    fn from(Parts { metadata, spec, status }: Parts) -> Self {
        let spec: Result<ModelSpec, _> = serde_json::from_str(spec.as_deref().map_or("null", RawValue::get));
        let status: Result<Option<ModelStatus>, _> =
            status.map_or(Ok(None), |status| serde_json::from_str(status.get()));
        let invalid = |field: &str, error: serde_json::Error| format!("{field}: {error}");
        let parts = spec
            .map_err(|error| invalid("spec", error))
            .and_then(|spec| status.map(|status| (spec, status)).map_err(|error| invalid("status", error)));
        Self(match parts {
            Ok((spec, status)) => Ok(Model { metadata, spec, status }),
            Err(error) => Err(InvalidObject { error, metadata }),
        })
    }
}

impl Resource for WatchedModel {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        Model::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        Model::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        Model::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        Model::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match &self.0 {
            Ok(model) => &model.metadata,
            Err(invalid) => &invalid.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match &mut self.0 {
            Ok(model) => &mut model.metadata,
            Err(invalid) => &mut invalid.metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::core::WatchEvent;
    use model_watch::Lean;
    use serde_json::{Value, json};

    use super::*;

    /// As the watch reads it.
    fn told(object: &Value) -> WatchedModel {
        let line = format!(r#"{{"type":"ADDED","object":{object}}}"#);
        match serde_json::from_str(&line).unwrap() {
            WatchEvent::Added(Lean(model)) => *model,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_model_is_read_whole() {
        let mut object = json!({
            "apiVersion": "models.main-currents.news/v1alpha1",
            "kind": "Model",
            "metadata": { "name": "tiny", "namespace": "team", "uid": "u" },
            "spec": { "source": { "url": { "url": "https://host/a" } }, "storage": { "size": "1Gi" } },
            "status": { "phase": "Ready", "message": "\u{e9}\"" },
        });
        let model: Model = serde_json::from_value(object.clone()).unwrap();
        object["metadata"]["managedFields"] = json!([{ "manager": "someone" }]);
        assert_eq!(told(&object).0.unwrap(), model);
        object["status"] = Value::Null;
        assert_eq!(told(&object).0.unwrap().status, None);
    }

    #[test]
    fn one_that_does_not_parse_has_a_name_and_says_what_is_wrong() {
        let spec = json!({ "source": { "url": { "url": "https://host/a" } }, "storage": { "size": "1Gi" } });
        for (case, spec, status, want) in [
            ("no spec", Value::Null, Value::Null, "spec: invalid type: null"),
            (
                "another source",
                json!({ "source": { "ftp": {} }, "storage": {} }),
                Value::Null,
                "spec: unknown variant `ftp`",
            ),
            ("another phase", spec, json!({ "phase": "Lost" }), "status: unknown variant `Lost`"),
        ] {
            let invalid =
                told(&json!({ "metadata": { "name": "tiny" }, "spec": spec, "status": status })).0.unwrap_err();
            assert_eq!(invalid.metadata.name.as_deref(), Some("tiny"), "{case}");
            assert!(invalid.error.starts_with(want), "{case}: {}", invalid.error);
        }
    }
}
