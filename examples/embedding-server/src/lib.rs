//! A server of embeddings, as an example of a program that finds its model mounted.
//!
//! - [`place`]: the folder, as the operator names it in the environment.
//! - [`embedder`]: the model's files, and the embeddings that it makes of sentences.
//! - [`bert`]: the arithmetic in between.
//! - [`service`]: `POST /embed` and `GET /health`.

pub mod bert;
pub mod embedder;
pub mod place;
pub mod service;

pub use embedder::Embedder;
