//! Which scorer a config asks for.

use crate::{Error, Result};

/// A scorer by its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ScorerChoice {
    /// The built-in scorer.
    #[default]
    Builtin,
}

impl std::str::FromStr for ScorerChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "builtin" => Ok(Self::Builtin),
            _ => {
                Err(Error::Config { message: format!("`{text}` is not a scorer"), hint: Some("use `builtin`".into()) })
            }
        }
    }
}
