//! Objects without `metadata.managedFields`.
//!
//! The API server tells of every object which client set which field. Nobody here reads it, and it takes more than half of
//! the time to parse an object, and of its memory. So it is passed over while the rest is parsed.

use std::borrow::Cow;
use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, forward_to_deserialize_any};

/// What is passed over: the last of these, within the others.
const FIELD_MANAGERS: [&str; 2] = ["metadata", "managedFields"];

/// An object as the API server sends it, read without its field managers. Written, it is the object.
///
/// Boxed, because watches hand on what they get from stream to stream, and objects are large.
///
/// ```
/// use k8s_openapi::api::core::v1::Pod;
/// use model_watch::Lean;
///
/// # fn main() -> Result<(), serde_json::Error> {
/// let Lean(pod) = serde_json::from_str::<Lean<Pod>>(
///     r#"{ "metadata": { "managedFields": [{ "manager": "kubectl" }], "name": "a" }, "spec": { "containers": [] } }"#,
/// )?;
/// assert_eq!(pod.metadata.name.as_deref(), Some("a"));
/// assert_eq!(pod.metadata.managed_fields, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct Lean<K>(pub Box<K>);

impl<'de, K: Deserialize<'de>> Deserialize<'de> for Lean<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        K::deserialize(Without { path: &FIELD_MANAGERS, inner: deserializer }).map(|object| Self(Box::new(object)))
    }
}

impl<K: Resource> Resource for Lean<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

/// Passes over what lies at the end of a path. It stands around each part of serde that is on the way there.
struct Without<T> {
    path: &'static [&'static str],
    inner: T,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Without<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Without { path: self.path, inner: visitor })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Without { path: self.path, inner: visitor })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Without<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Fields { path: self.path, map, is_on_path: false })
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Without { path: self.path, inner: deserializer })
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<V::Value, E> {
        self.inner.visit_bool(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<V::Value, E> {
        self.inner.visit_i64(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<V::Value, E> {
        self.inner.visit_u64(value)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        self.inner.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.inner.visit_str(value)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        self.inner.visit_string(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.inner.visit_seq(items)
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Without<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.inner.deserialize(Without { path: self.path, inner: deserializer })
    }
}

/// The fields of an object that is on the way.
struct Fields<A> {
    path: &'static [&'static str],
    map: A,
    /// Whether the value that comes next is on the way, too.
    is_on_path: bool,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(Key(key)) = self.map.next_key()? {
            self.is_on_path = self.path.first().is_some_and(|name| *name == key);
            if !(self.is_on_path && self.path.len() == 1) {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        if self.is_on_path {
            self.map.next_value_seed(Without { path: &self.path[1..], inner: seed })
        } else {
            self.map.next_value_seed(seed)
        }
    }
}

/// The name of a field, borrowed where it can be.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl<'de> Visitor<'de> for Name {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_identifier(Name)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;
    use kube::core::{DeserializeGuard, PartialObjectMeta};
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::Lean;

    fn job() -> Value {
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": "download",
                "labels": { "managedFields": "a label", "metadata": "another" },
                "managedFields": [{ "manager": "someone", "operation": "Apply", "fieldsV1": { "f:spec": { ".": {} } } }],
                "uid": "u",
            },
            "spec": { "suspend": false, "template": { "metadata": { "name": "\u{e9}", "managedFields": [] } } },
            "status": { "active": 1 },
        })
    }

    fn without(mut object: Value) -> Value {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.remove("managedFields");
        object
    }

    fn read<T: DeserializeOwned>(object: &Value) -> T {
        serde_json::from_str(&object.to_string()).unwrap()
    }

    /// Only those of the object itself: what its own template or labels say is another matter.
    #[test]
    fn all_but_the_field_managers_is_read() {
        let lean = read::<Lean<Job>>(&job()).0;
        assert_eq!(lean, read(&without(job())));
        assert_eq!(serde_json::to_value(Lean(lean.clone())).unwrap(), serde_json::to_value(lean).unwrap());
        assert_eq!(*read::<Lean<Value>>(&job()).0, without(job()));
        assert_eq!(read::<Lean<PartialObjectMeta<Job>>>(&job()).0.metadata.managed_fields, None);
        let guarded = read::<Lean<DeserializeGuard<Job>>>(&job()).0.0.unwrap();
        assert_eq!(guarded, read(&without(job())));
    }

    #[test]
    fn an_object_without_any_is_read_and_a_broken_one_says_what_is_wrong() {
        assert_eq!(*read::<Lean<Job>>(&json!({})).0, Job::default());
        assert_eq!(*read::<Lean<Job>>(&json!({ "metadata": null })).0, Job::default());
        for (case, text, at) in [
            ("no object", "7", "expected Job"),
            ("another type", r#"{ "metadata": { "name": 7 } }"#, "invalid type: integer"),
            ("cut off", r#"{ "metadata": { "managedFields": [{ "#, "EOF"),
        ] {
            let error = serde_json::from_str::<Lean<Job>>(text).unwrap_err().to_string();
            assert!(error.contains(at), "{case}: {error}");
        }
    }
}
