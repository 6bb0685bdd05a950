//! What `pull` is asked for: the fields of a Model as flags. What none is for is written into a manifest.

use std::collections::BTreeMap;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde::de::DeserializeOwned;
use serde_json::Value;

use model_core::api::{AccessMode, DeletionPolicy};

/// What to create.
#[derive(Clone, Debug, Args)]
pub(crate) struct Pull {
    /// `hf://ORG/REPO[@REVISION]`, `s3://BUCKET/KEY` or `https://…`.
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Name of the Model. Absent: made of the last part of the source.
    #[arg(long)]
    pub name: Option<String>,
    /// Secret with the credentials of the source, in the Model's namespace.
    #[arg(long, value_name = "NAME")]
    pub secret: Option<String>,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub storage: StorageWish,
    /// A label of your own for this content. A Model whose label changes downloads again.
    #[arg(long, value_name = "LABEL")]
    pub version: Option<String>,
    /// Ask the source for size, access and files before a claim is made, also with --size.
    #[arg(long)]
    pub preflight: bool,
    /// A label of the nodes that the download may run on. Can be given again.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label, value_delimiter = ',')]
    pub node_selector: Vec<(String, String)>,
    /// How often the source is asked whether it has newer content, such as 24h or 1h30m: at least 1h, at most 8760h. Nothing is
    /// downloaded by that. Absent: it is not asked.
    #[arg(long, value_name = "INTERVAL")]
    pub check_interval: Option<String>,
    /// How many contents stay on the claim, the mounted one included.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=50))]
    pub keep_revisions: i32,
    /// Whether the claim goes with the Model.
    #[arg(long, value_name = "POLICY", default_value = "Delete", value_parser = one_of::<DeletionPolicy>(&["Delete", "Retain"]))]
    pub deletion_policy: DeletionPolicy,
    /// Create the Model and end.
    #[arg(long)]
    pub no_wait: bool,
}

/// What of a source is wanted, and how to reach it. Each is for one kind of source.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Part {
    /// `hf://`: branch, tag or commit.
    #[arg(long)]
    pub revision: Option<String>,
    /// `hf://`: only files that match, such as `*.safetensors`. Can be given again.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// `hf://`: no files that match. Can be given again.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// `https://`: digest that the file must have, 64 hex digits.
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// `s3://`: address of a service other than AWS.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// `s3://`: region of the bucket.
    #[arg(long)]
    pub region: Option<String>,
}

/// Where the files lie.
#[derive(Clone, Debug, Args)]
pub(crate) struct StorageWish {
    /// Size of the claim, such as 20Gi. Leave room for a second copy while a new revision is downloaded. Absent: the operator
    /// asks the source.
    #[arg(long)]
    pub size: Option<String>,
    /// Storage class of the claim. Absent: the cluster's default.
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// How the claim can be mounted. Can be given again. Absent: `ReadWriteOnce`.
    #[arg(long, value_name = "MODE", value_delimiter = ',', value_parser = one_of::<AccessMode>(&["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]))]
    pub access_mode: Vec<AccessMode>,
    /// A claim that is there already, in the Model's namespace, which several Models can share. The operator never changes or
    /// deletes it.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["size", "storage_class", "access_mode"])]
    pub existing_claim: Option<String>,
}

/// Words of the API, in its own spelling.
fn one_of<T: DeserializeOwned + Clone + Send + Sync + 'static>(
    words: &'static [&'static str],
) -> impl clap::builder::TypedValueParser<Value = T> {
    PossibleValuesParser::new(words).try_map(|word| serde_json::from_value::<T>(Value::String(word)))
}

/// Reads `KEY=VALUE`. What either may hold is for the API server to say.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("write KEY=VALUE, such as pool=downloads".to_owned()),
    }
}

impl Pull {
    /// The labels of the nodes that the download may run on.
    pub fn node_selector(&self) -> BTreeMap<String, String> {
        self.node_selector.iter().cloned().collect()
    }
}
