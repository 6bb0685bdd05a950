//! Answers of sources without the sources.

use super::{Plan, Wanted, hugging_face, listing, oci, ollama, registry, s3, select, url};
use crate::Error;

/// What a source can answer.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// A page of a repository's tree.
    HuggingFace,
    /// A manifest of an artifact.
    Oci,
    /// A manifest of an Ollama model.
    Ollama,
    /// A list of keys, one a line.
    S3,
    /// A URL, as users write it or a server redirects to it.
    Url,
}

/// What would be downloaded if a source answered this.
///
/// # Errors
/// As [`crate::plan()`], but for those of the network.
pub fn planned(answer: Answer, body: &[u8]) -> Result<Plan, Error> {
    let text = String::from_utf8_lossy(body);
    let (source, files) = match answer {
        Answer::HuggingFace => ("hf://acme/tiny", hugging_face::page(body)?),
        Answer::Oci => ("oci://registry.test/acme/tiny", oci::files(&registry::answered(body)?, "fuzz")?),
        Answer::Ollama => ("ollama://tiny", ollama::files(&registry::answered(body)?, "fuzz")?),
        Answer::S3 => ("s3://models/tiny/", s3::listed(&text)?),
        Answer::Url => ("https://host.test/tiny", vec![url::named(&text)?]),
    };
    let wanted = Wanted::all_of(source.parse()?);
    let files = select(files, &wanted)?;
    let listing = listing::listing(&files, None);
    Ok(Plan { source: source.to_owned(), resolved_revision: None, listing, files })
}
