//! Where the model lies. A pod that asks for the Model `minilm` finds `MODEL_MINILM_PATH` in its environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// The environment names no model, or more than one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOneModel {
    /// No such variable is set.
    #[error(
        "no variable MODEL_…_PATH is set: annotate the pod with models.main-currents.news/inject: NAME, or set \
         MODEL_NAME_PATH to a folder with a model"
    )]
    None,
    /// These are.
    #[error("this server serves one model, but more than one is injected: {}", .0.join(", "))]
    Several(Vec<String>),
}

/// The folder of the one model that is named in these environment variables.
///
/// # Errors
/// When there is none, or more than one.
pub fn model_folder(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<PathBuf, NotOneModel> {
    let named = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok()?;
        let model = name.strip_prefix("MODEL_")?.strip_suffix("_PATH")?;
        (!model.is_empty() && !value.is_empty()).then(|| (name.clone(), PathBuf::from(value)))
    };
    let mut found: Vec<_> = variables.into_iter().filter_map(named).collect();
    match found.len() {
        0 => Err(NotOneModel::None),
        1 => Ok(found.remove(0).1),
        _ => {
            found.sort();
            Err(NotOneModel::Several(found.into_iter().map(|(name, _)| name).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_variable_names_the_model() {
        let several = || Err(NotOneModel::Several(vec!["MODEL_A_PATH".to_owned(), "MODEL_B_PATH".to_owned()]));
        for (variables, wanted) in [
            (
                &[("MODEL_MINILM_PATH", "/models/minilm"), ("MODEL_MINILM_VERSION", "1")][..],
                Ok("/models/minilm".into()),
            ),
            (
                &[("PATH", "/bin"), ("MODEL_PATH", "/a"), ("MODEL__PATH", "/b"), ("MODEL_A_PATH", "")],
                Err(NotOneModel::None),
            ),
            (&[("MODEL_B_PATH", "/b"), ("MODEL_A_PATH", "/a")], several()),
        ] {
            let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
            assert_eq!(model_folder(variables), wanted);
        }
    }
}
