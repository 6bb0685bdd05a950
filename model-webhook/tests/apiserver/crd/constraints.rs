//! Every constraint of the generated CRD, so that none can go without a row.

use serde_json::Value;

/// The keywords that merely bound something, with how much of it a value has.
pub const BOUNDS: [&str; 7] = ["minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "maxProperties"];

/// One way in which a value can be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Constraint {
    /// Where it stands, as `spec.source.s3.bucket`; elements of a list are `[]`, values of a map `{}`.
    pub path: String,
    /// The keyword of the schema; for a required field and for a rule also which one: `required key`, or the rule's message.
    pub keyword: String,
    /// What the keyword says.
    pub value: Value,
}

/// All constraints of the CRD, in the order of its file.
pub fn of(crd: &Value) -> Vec<Constraint> {
    let mut found = Vec::new();
    for version in crd["spec"]["versions"].as_array().unwrap() {
        collect(&version["schema"]["openAPIV3Schema"], "", &mut found);
    }
    found
}

/// Panics at a keyword that it does not know, because that may be a constraint.
fn collect(schema: &Value, path: &str, found: &mut Vec<Constraint>) {
    let mut add = |keyword: &str, value: &Value| {
        found.push(Constraint { path: path.to_owned(), keyword: keyword.to_owned(), value: value.clone() });
    };
    for (keyword, value) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "title"
            | "description"
            | "type"
            | "nullable"
            | "default"
            | "properties"
            | "items"
            | "additionalProperties"
            | "x-kubernetes-list-type" => {}
            "required" => {
                for field in value.as_array().unwrap() {
                    add(&format!("required {}", field.as_str().unwrap()), value);
                }
            }
            "x-kubernetes-validations" => {
                for rule in value.as_array().unwrap() {
                    let message = rule["message"].as_str();
                    add(message.unwrap_or_else(|| panic!("{path}: a rule without a message: {rule}")), rule);
                }
            }
            "enum" | "format" | "x-kubernetes-int-or-string" | "x-kubernetes-list-map-keys" => add(keyword, value),
            keyword if BOUNDS.contains(&keyword) => add(keyword, value),
            unknown => panic!("{path}: is {unknown} a constraint?"),
        }
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(property, &path, found);
    }
    if schema["items"].is_object() {
        collect(&schema["items"], &format!("{path}[]"), found);
    }
    if schema["additionalProperties"].is_object() {
        collect(&schema["additionalProperties"], &format!("{path}{{}}"), found);
    }
}

impl Constraint {
    /// The number that the keyword says. The file has some with a fraction of 0.
    pub fn bound(&self) -> i64 {
        self.value.as_f64().unwrap().to_string().parse().unwrap()
    }
}

/// How much of what the keyword bounds this value has.
pub fn measure(keyword: &str, value: &Value) -> Option<i64> {
    let count = |count: usize| i64::try_from(count).ok();
    match keyword {
        "minLength" | "maxLength" => count(value.as_str()?.chars().count()),
        "minimum" | "maximum" => value.as_i64(),
        "minItems" | "maxItems" => count(value.as_array()?.len()),
        "maxProperties" => count(value.as_object()?.len()),
        _ => None,
    }
}
