//! Which scorer a config asks for.

use tamis_schemas::columns;

use crate::{Error, Result};

/// What the names of columns with embeddings begin with.
const COLUMN: &str = "column:";

/// What the names of language models begin with.
pub(crate) const GGUF: &str = "gguf:";

/// A scorer by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ScorerChoice {
    /// The built-in scorer.
    #[default]
    Builtin,
    /// An encoder of the BERT family with a head: where its model lies.
    Encoder(String),
    /// A head on embeddings that rows have in this column.
    Column(String),
    /// One that needs no labels.
    Unlabelled(Unlabelled),
}

/// A scorer that needs no labels, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unlabelled {
    /// Bits per byte under a byte n-gram model.
    Ngram,
    /// Importance for a target.
    Dsir,
    /// Bits per byte under a language model: where its GGUF file lies.
    Causal(String),
}

impl Unlabelled {
    /// `None` if another scorer has this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ngram" => Some(Self::Ngram),
            "dsir" => Some(Self::Dsir),
            _ => name.strip_prefix(GGUF).map(|file| Self::Causal(file.to_owned())),
        }
    }

    /// The column that it appends.
    pub fn column(&self) -> &'static str {
        match self {
            Self::Ngram | Self::Causal(_) => columns::BITS_PER_BYTE,
            Self::Dsir => columns::LOG_IMPORTANCE,
        }
    }
}

impl std::str::FromStr for ScorerChoice {
    type Err = Error;

    /// Reads `builtin`, `column:NAME`, or the location of a model: what has no other name is one.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "builtin" => Ok(Self::Builtin),
            "" => Err(Error::Config {
                message: "a scorer without a name".into(),
                hint: Some("use `builtin`, `ngram`, `dsir`, `gguf:FILE`, or the folder or URL of an encoder".into()),
            }),
            name if name.starts_with(COLUMN) => Ok(Self::Column(name[COLUMN.len()..].to_owned())),
            name => Ok(Unlabelled::named(name).map_or_else(|| Self::Encoder(name.to_owned()), Self::Unlabelled)),
        }
    }
}
