//! The server of `examples/embedding-server` in a cluster, and what sentence-transformers makes of the same sentences.

use serde::Deserialize;
use serde_json::json;

use crate::{Cluster, Error};

/// Deployment and Service `embeddings`, for the Model `minilm` of their namespace.
pub const MANIFEST: &str = include_str!("../../examples/embedding-server/server.yaml");

/// Name of the Deployment and of the Service.
pub const NAME: &str = "embeddings";

/// A sentence and its embedding.
#[derive(Clone, Debug, Deserialize)]
pub struct Sentence {
    /// The sentence.
    pub text: String,
    /// What `PyTorch` computed for it, of length 1.
    pub embedding: Vec<f32>,
}

/// The sentences of `examples/embedding-server/reference`. The first three are for people: two alike, and another one.
///
/// # Errors
/// When the file in the sources is not what it should be.
pub fn reference() -> Result<Vec<Sentence>, Error> {
    #[derive(Deserialize)]
    struct Reference {
        sentences: Vec<Sentence>,
    }
    let text = include_str!("../../examples/embedding-server/reference/reference.json");
    let invalid = |error: serde_json::Error| {
        let what = "reference.json is not what its script writes".to_owned();
        Error::Unexpected { what, report: error.to_string() }
    };
    serde_json::from_str::<Reference>(text).map(|reference| reference.sentences).map_err(invalid)
}

/// Asks the server in this namespace for embeddings, through the API server, so that this works with any cluster.
///
/// # Errors
/// When it cannot be reached, refuses, or answers with something else.
pub async fn embed(cluster: &Cluster, namespace: &str, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
    let doing = "ask the server for embeddings";
    let uri = format!("/api/v1/namespaces/{namespace}/services/{NAME}:http/proxy/embed");
    let body = json!({ "inputs": texts }).to_string().into_bytes();
    let request = http::Request::post(uri).header("Content-Type", "application/json").body(body);
    let request = request.map_err(|error| Error::api(doing)(kube::Error::HttpError(error)))?;
    cluster.client().request(request).await.map_err(Error::api(doing))
}

/// How alike two embeddings are: 1 for the same direction, 0 for none in common.
#[must_use]
pub fn similarity(one: &[f32], other: &[f32]) -> f32 {
    let product = |one: &[f32], other: &[f32]| one.iter().zip(other).map(|(one, other)| one * other).sum::<f32>();
    product(one, other) / (product(one, one) * product(other, other)).sqrt()
}

/// The largest difference between two numbers at the same place. Infinite for embeddings of different lengths.
#[must_use]
pub fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return f32::INFINITY;
    }
    one.iter().zip(other).map(|(one, other)| (one - other).abs()).fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embeddings_are_compared() {
        let near = |got: f32, want: f32| assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        near(similarity(&[3.0, 4.0], &[6.0, 8.0]), 1.0);
        near(similarity(&[1.0, 0.0], &[0.0, 2.0]), 0.0);
        near(largest_difference(&[1.0, 2.0], &[1.5, 1.0]), 1.0);
        assert!(largest_difference(&[1.0], &[1.0, 2.0]).is_infinite());
    }

    #[test]
    fn the_sentences_for_people_are_two_alike_and_another() {
        let sentences = reference().unwrap();
        let alike = |one: usize, other: usize| similarity(&sentences[one].embedding, &sentences[other].embedding);
        assert!(alike(0, 1) > 0.5 && alike(0, 2) < 0.2 && alike(1, 2) < 0.2);
    }
}
