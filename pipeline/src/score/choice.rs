//! Which scorer a config asks for.

use crate::{Error, Result};

/// A scorer by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ScorerChoice {
    /// The built-in scorer.
    #[default]
    Builtin,
    /// An encoder of the BERT family with a head: where its model lies.
    Encoder(String),
}

impl std::str::FromStr for ScorerChoice {
    type Err = Error;

    /// Reads `builtin`, or the location of a model: what has no other name is one.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "builtin" => Ok(Self::Builtin),
            "" => Err(Error::Config {
                message: "a scorer without a name".into(),
                hint: Some("use `builtin`, or the folder or URL of an encoder".into()),
            }),
            location => Ok(Self::Encoder(location.to_owned())),
        }
    }
}
