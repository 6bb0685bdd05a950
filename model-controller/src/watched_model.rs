//! A Model as the watch delivers it, and as the cache keeps it.

use std::borrow::Cow;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use model_core::api::{Model, ModelSpec, ModelStatus};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Spec and status are kept as text: as values they take twice as much, and the cache holds all Models where a pass reads one.
/// So one that does not parse ends no watch, and is told apart when somebody reads it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WatchedModel {
    metadata: ObjectMeta,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

impl WatchedModel {
    /// The Model, or what is wrong with it.
    pub(crate) fn read(&self) -> Result<Model, String> {
        let spec = self.spec()?;
        let status = self.status()?;
        Ok(Model { metadata: self.metadata.clone(), spec, status })
    }

    /// What is asked for.
    pub(crate) fn spec(&self) -> Result<ModelSpec, String> {
        let text = self.spec.as_deref().map_or("null", RawValue::get);
        serde_json::from_str(text).map_err(|error| format!("spec: {error}"))
    }

    fn status(&self) -> Result<Option<ModelStatus>, String> {
        let Some(text) = self.status.as_deref() else { return Ok(None) };
        serde_json::from_str(text.get()).map_err(|error| format!("status: {error}"))
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
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
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
        assert_eq!(told(&object).read().unwrap(), model);
        object["status"] = Value::Null;
        assert_eq!(told(&object).read().unwrap().status, None);
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
            let model = told(&json!({ "metadata": { "name": "tiny" }, "spec": spec, "status": status }));
            assert_eq!(model.meta().name.as_deref(), Some("tiny"), "{case}");
            let error = model.read().unwrap_err();
            assert!(error.starts_with(want), "{case}: {error}");
        }
    }
}
