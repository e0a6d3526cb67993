//! What the small files of a model say: its sizes, how token vectors become one, how long a text may be.

use serde::Deserialize;
use serde_json::Value;

use super::folder::ModelFolder;
use crate::context::Context;
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const MODULES: &str = "modules.json";
const SENTENCE_CONFIG: &str = "sentence_bert_config.json";
/// Tokens of a text if no file says how many and the model could take more.
const USUAL_TOKENS: usize = 512;
/// No size is larger: above any model's, and products of two of them still fit.
const MOST: usize = 1 << 24;

/// Sizes of a model of the BERT family, from its `config.json`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Shape {
    #[serde(default)]
    model_type: String,
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) max_position_embeddings: usize,
    #[serde(default = "two")]
    pub(super) type_vocab_size: usize,
    #[serde(default = "usual_epsilon")]
    pub(super) layer_norm_eps: f64,
    hidden_act: String,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

fn two() -> usize {
    2
}

fn usual_epsilon() -> f64 {
    1e-12
}

impl Shape {
    /// Components of a head.
    pub(super) fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first one.
    Cls,
}

/// All that the small files say.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) shape: Shape,
    pub(super) pooling: Pooling,
    /// Tokens of a text, those at its ends included.
    pub(super) max_tokens: usize,
    pub(super) lower_case: bool,
}

#[derive(Debug, Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    path: String,
}

#[derive(Debug, Default, Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

impl Description {
    /// Reads them.
    ///
    /// # Errors
    /// `Error::Config` for a model that computes otherwise than this code does, `Error::Corrupt` for files that say nonsense.
    pub(super) fn read(folder: &ModelFolder, max_tokens: Option<usize>, context: &Context) -> Result<Self> {
        let shape: Shape = folder.parse(CONFIG, &folder.read(CONFIG, context)?)?;
        check_shape(&shape, folder)?;
        let pooling = pooling(folder, context)?;
        let sentences: SentenceConfig = match folder.read_if_there(SENTENCE_CONFIG, context)? {
            Some(bytes) => folder.parse(SENTENCE_CONFIG, &bytes)?,
            None => SentenceConfig::default(),
        };
        let most = shape.max_position_embeddings;
        let usual = sentences.max_seq_length.map_or(most.min(USUAL_TOKENS), |tokens| tokens.min(most));
        let max_tokens = max_tokens.unwrap_or(usual);
        if !(2..=most).contains(&max_tokens) {
            return Err(Error::config(format!("a text has 2 to {most} tokens in this model, not {max_tokens}")));
        }
        Ok(Self { shape, pooling, max_tokens, lower_case: sentences.do_lower_case })
    }
}

fn check_shape(shape: &Shape, folder: &ModelFolder) -> Result<()> {
    let refuse = |what: &str| {
        Err(Error::Config {
            message: format!("`{}` describes a model that cannot be run: {what}", folder.display(CONFIG)),
            hint: Some(
                "use a model of the BERT family as MiniLM, E5, BGE and GTE have it: BertModel, absolute positions, GELU".into(),
            ),
        })
    };
    if shape.model_type != "bert" {
        return refuse(&format!("its type is `{}`, not `bert`", shape.model_type));
    }
    if shape.hidden_act != "gelu" {
        return refuse(&format!("its activation is `{}`, not `gelu`", shape.hidden_act));
    }
    if let Some(kind) = shape.position_embedding_type.as_ref().filter(|kind| *kind != "absolute") {
        return refuse(&format!("its positions are `{kind}`, not `absolute`"));
    }
    let sizes = [shape.vocab_size, shape.hidden_size, shape.num_attention_heads, shape.intermediate_size];
    if sizes.contains(&0) || shape.type_vocab_size == 0 || shape.max_position_embeddings < 2 {
        return refuse("one of its sizes is 0");
    }
    if sizes.into_iter().chain([shape.max_position_embeddings, shape.type_vocab_size]).any(|size| MOST < size) {
        return refuse("one of its sizes is absurd");
    }
    // Sums of few elements would depend on how many texts are computed together.
    if shape.hidden_size < 4 || !shape.hidden_size.is_multiple_of(shape.num_attention_heads) {
        return refuse(&format!("{} components do not make {} heads", shape.hidden_size, shape.num_attention_heads));
    }
    if !shape.layer_norm_eps.is_finite() || shape.layer_norm_eps <= 0.0 {
        return refuse("layer_norm_eps is not a small positive number");
    }
    Ok(())
}

/// What `modules.json` and the pooling's own file say; the mean if there is neither.
fn pooling(folder: &ModelFolder, context: &Context) -> Result<Pooling> {
    let mut path = "1_Pooling".to_owned();
    if let Some(bytes) = folder.read_if_there(MODULES, context)? {
        for module in folder.parse::<Vec<Module>>(MODULES, &bytes)? {
            match module.kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" | "Normalize" => {}
                "Pooling" => path = module.path,
                other => {
                    let message =
                        format!("`{}` names a module `{other}`, which this does not have", folder.display(MODULES));
                    return Err(Error::Config {
                        message,
                        hint: Some("use a model of Transformer, Pooling and Normalize".into()),
                    });
                }
            }
        }
    }
    let name = format!("{path}/{CONFIG}");
    let Some(bytes) = folder.read_if_there(&name, context)? else { return Ok(Pooling::Mean) };
    let config: Value = folder.parse(&name, &bytes)?;
    let modes: Vec<String> = match config.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode.clone()],
        Some(Value::Array(modes)) => modes.iter().filter_map(|mode| mode.as_str().map(str::to_owned)).collect(),
        _ => {
            let flags = config.as_object().into_iter().flatten().filter(|(_, value)| value.as_bool() == Some(true));
            flags
                .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
                .map(|mode| mode.trim_end_matches("_token").trim_end_matches("_tokens").to_owned())
                .collect()
        }
    };
    match modes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["mean"] => Ok(Pooling::Mean),
        ["cls"] => Ok(Pooling::Cls),
        other => Err(Error::Config {
            message: format!("`{}` asks for the pooling {}", folder.display(&name), other.join(" and ")),
            hint: Some("only the mean of all tokens and the first token (cls) are there".into()),
        }),
    }
}
