//! The forward pass of BERT, for one text at a time: there is no padding, so nothing is masked.

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::ops::softmax_last_dim;
use candle_nn::{Embedding, LayerNorm, Linear, VarBuilder, embedding, layer_norm, linear};
use serde::Deserialize;

/// What of a model's `config.json` is needed to compute with it. Other kinds of models are refused when it is read.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: Activation,
    /// The most tokens of a text.
    pub max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    #[serde(rename = "model_type")]
    _kind: Kind,
    #[serde(default, rename = "position_embedding_type")]
    _positions: Positions,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Activation {
    Gelu,
    Relu,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Bert,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Positions {
    #[default]
    Absolute,
}

/// A model's weights.
pub struct Bert {
    words: Embedding,
    positions: Embedding,
    types: Embedding,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    output_norm: LayerNorm,
    wide: Linear,
    activation: Activation,
    narrow: Linear,
    narrow_norm: LayerNorm,
    heads: usize,
}

impl Bert {
    /// Reads the weights, by the names that `PyTorch` gives them.
    ///
    /// # Errors
    /// When one is missing, or has another shape than the configuration says.
    pub fn load(config: &Config, weights: Vec<u8>) -> Result<Self> {
        let from = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        let tokens = from.pp("embeddings");
        let table = |name: &str, rows| embedding(rows, config.hidden_size, tokens.pp(name));
        let layer = |number: usize| Layer::load(config, &from.pp("encoder.layer").pp(number));
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            types: table("token_type_embeddings", config.type_vocab_size)?,
            norm: layer_norm(config.hidden_size, config.layer_norm_eps, tokens.pp("LayerNorm"))?,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?,
        })
    }

    /// What the model makes of each token: a row each. `types` says of which part of the text each one is.
    ///
    /// # Errors
    /// When a token or a type is none of the model's, or there are more than it has positions.
    pub fn forward(&self, ids: &[u32], types: &[u32]) -> Result<Tensor> {
        let words = self.words.forward(&Tensor::new(ids, &Device::Cpu)?)?;
        let types = self.types.forward(&Tensor::new(types, &Device::Cpu)?)?;
        let positions: Vec<_> = (0..).take(ids.len()).collect::<Vec<u32>>();
        let positions = self.positions.forward(&Tensor::new(positions, &Device::Cpu)?)?;
        let tokens = self.norm.forward(&((words + types)? + positions)?)?;
        self.layers.iter().try_fold(tokens, |tokens, layer| layer.forward(&tokens))
    }
}

impl Layer {
    fn load(config: &Config, from: &VarBuilder) -> Result<Self> {
        let (hidden, wide, heads) = (config.hidden_size, config.intermediate_size, config.num_attention_heads);
        if heads == 0 || hidden % heads != 0 {
            candle_core::bail!("{hidden} numbers a token cannot be shared by {heads} attention heads");
        }
        let norm = |name: &str| layer_norm(hidden, config.layer_norm_eps, from.pp(name));
        let square = |name: &str| linear(hidden, hidden, from.pp(name));
        Ok(Self {
            query: square("attention.self.query")?,
            key: square("attention.self.key")?,
            value: square("attention.self.value")?,
            output: square("attention.output.dense")?,
            output_norm: norm("attention.output.LayerNorm")?,
            wide: linear(hidden, wide, from.pp("intermediate.dense"))?,
            activation: config.hidden_act,
            narrow: linear(wide, hidden, from.pp("output.dense"))?,
            narrow_norm: norm("output.LayerNorm")?,
            heads,
        })
    }

    fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let attended = self.output.forward(&self.attend(tokens)?)?;
        let tokens = self.output_norm.forward(&(attended + tokens)?)?;
        let wide = self.wide.forward(&tokens)?;
        let wide = match self.activation {
            Activation::Gelu => wide.gelu_erf()?,
            Activation::Relu => wide.relu()?,
        };
        self.narrow_norm.forward(&(self.narrow.forward(&wide)? + tokens)?)
    }

    /// Each token as the mean of all, each head weighing them by how well their keys answer its query.
    fn attend(&self, tokens: &Tensor) -> Result<Tensor> {
        let (count, hidden) = tokens.dims2()?;
        let width = hidden / self.heads;
        let by_head =
            |part: &Linear| part.forward(tokens)?.reshape((count, self.heads, width))?.transpose(0, 1)?.contiguous();
        let (query, key, value) = (by_head(&self.query)?, by_head(&self.key)?, by_head(&self.value)?);
        // Widths are far below what an f64 holds.
        #[expect(clippy::cast_precision_loss)]
        let scores = (query.matmul(&key.transpose(1, 2)?)? / (width as f64).sqrt())?;
        softmax_last_dim(&scores)?.matmul(&value)?.transpose(0, 1)?.reshape((count, hidden))
    }
}
