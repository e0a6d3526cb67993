//! Which scorer a config asks for.

use tamis_schemas::columns;

use crate::{Error, Result};

/// A scorer by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ScorerChoice {
    /// The built-in scorer.
    #[default]
    Builtin,
    /// One that learns without labels.
    Unlabelled(Unlabelled),
}

/// A scorer that learns without labels, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlabelled {
    /// Bits per byte under a byte n-gram model.
    Ngram,
    /// Importance for a target.
    Dsir,
}

impl Unlabelled {
    /// `None` if another scorer has this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "ngram" => Some(Self::Ngram),
            "dsir" => Some(Self::Dsir),
            _ => None,
        }
    }

    /// Name in config and manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ngram => "ngram",
            Self::Dsir => "dsir",
        }
    }

    /// The column that it appends.
    pub fn column(self) -> &'static str {
        match self {
            Self::Ngram => columns::BITS_PER_BYTE,
            Self::Dsir => columns::LOG_IMPORTANCE,
        }
    }
}

impl std::str::FromStr for ScorerChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "builtin" {
            return Ok(Self::Builtin);
        }
        Unlabelled::named(text).map(Self::Unlabelled).ok_or_else(|| Error::Config {
            message: format!("`{text}` is not a scorer"),
            hint: Some("use `builtin`, `ngram` or `dsir`".into()),
        })
    }
}
