//! A model of the BERT family in the form in which sentence-transformers keeps it, and the embeddings that it makes.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokenizers::{Tokenizer, TruncationParams};

use crate::bert::{Bert, Config};

/// Why a model cannot be loaded, or gives no embedding.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is missing or cannot be read.
    #[error("could not read {}: is there a model at this place?", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what this server can use.
    #[error("could not use {}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A text does not become tokens.
    #[error("could not split the text into tokens: {0}")]
    Tokens(String),
    /// The arithmetic failed.
    #[error("could not compute the embedding")]
    Compute(#[from] candle_core::Error),
}

/// A model in memory.
pub struct Embedder {
    model: Bert,
    tokenizer: Tokenizer,
}

/// What of `sentence_bert_config.json` matters here.
#[derive(Deserialize)]
struct SentenceConfig {
    /// Tokens after which a text is cut off, those that mark its ends included.
    max_seq_length: usize,
}

/// What of `1_Pooling/config.json` matters here.
#[derive(Deserialize)]
struct Pooling {
    pooling_mode_mean_tokens: bool,
}

/// The fewest tokens that a text is cut to: those that mark its ends, and one.
const FEWEST_TOKENS: usize = 3;

impl Embedder {
    /// Loads `config.json`, `tokenizer.json` and `model.safetensors` of a folder, and from `sentence_bert_config.json`
    /// after how many tokens a text is cut off; without that file after as many as the model has places for.
    ///
    /// # Errors
    /// When a file is missing or is not what it should be, or the model does not make a sentence's embedding of the mean
    /// of its tokens'.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let config: Config = json(&folder.join("config.json"))?;
        let pooling = folder.join("1_Pooling/config.json");
        if optional::<Pooling>(&pooling)?.is_some_and(|pooling| !pooling.pooling_mode_mean_tokens) {
            let reason = "this server knows the mean of the tokens only (pooling_mode_mean_tokens)".to_owned();
            return Err(Error::Content { path: pooling, reason });
        }
        let cut = folder.join("sentence_bert_config.json");
        let longest = optional::<SentenceConfig>(&cut)?.map_or(usize::MAX, |config| config.max_seq_length);
        let longest = longest.min(config.max_position_embeddings);
        if longest < FEWEST_TOKENS {
            let reason = format!("texts of {longest} tokens have no content; {FEWEST_TOKENS} are the fewest");
            return Err(Error::Content { path: cut, reason });
        }
        let tokenizer = tokenizer(&folder.join("tokenizer.json"), longest)?;
        // Mapping the file instead would need `unsafe`: whoever shortened it would end this program.
        let path = folder.join("model.safetensors");
        let model = Bert::load(&config, read(&path)?);
        let model = model.map_err(|error| Error::Content { path, reason: error.to_string() })?;
        Ok(Self { model, tokenizer })
    }

    /// The embedding of each text, of length 1, in their order. What of a text is too long for the model is left out, as
    /// sentence-transformers does it. Takes a processor for some milliseconds a text.
    ///
    /// # Errors
    /// When the tokenizer or the arithmetic fails, which no text should bring about.
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        // One after another: on processors a batch is no faster, and its padding would have to be computed, too.
        texts.iter().map(|text| self.embed_one(text)).collect()
    }

    fn embed_one(&self, text: &str) -> Result<Vec<f32>, Error> {
        let tokens = self.tokenizer.encode_fast(text, true).map_err(|error| Error::Tokens(error.to_string()))?;
        let mean = self.model.forward(tokens.get_ids(), tokens.get_type_ids())?.mean(0)?;
        let length = mean.sqr()?.sum_all()?.sqrt()?;
        Ok(mean.broadcast_div(&length)?.to_vec1()?)
    }
}

fn tokenizer(path: &Path, longest: usize) -> Result<Tokenizer, Error> {
    let unusable = |error: tokenizers::Error| Error::Content { path: path.to_owned(), reason: error.to_string() };
    let mut tokenizer = Tokenizer::from_bytes(read(path)?).map_err(unusable)?;
    let truncation = TruncationParams { max_length: longest, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(unusable)?.with_padding(None);
    Ok(tokenizer)
}

fn optional<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    if path.exists() { json(path).map(Some) } else { Ok(None) }
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let unusable = |error: serde_json::Error| Error::Content { path: path.to_owned(), reason: error.to_string() };
    serde_json::from_slice(&read(path)?).map_err(unusable)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
