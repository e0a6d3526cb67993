//! Storage tiers: places for tables, with a storage class, a compression, and how they are reached.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::age::Age;
use crate::size::ByteSize;

/// A storage tier: where, in which storage class, how compressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TierConfig {
    /// Folder or object-store URL; the output's by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// URL of the service that holds the bucket, if it is not the provider's own: `https://minio.example:9000`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Region of an S3 bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Where the credentials are: `env:PREFIX_` takes `PREFIX_AWS_ACCESS_KEY_ID` and so on, `file:PATH` a file of `NAME=value`
    /// lines. Default: the `AWS_*`, `GOOGLE_*` and `AZURE_*` variables, then the AWS profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Storage class by temperature, put into the provider's words.
    pub class: TierClass,
    /// Storage class in the provider's own words, instead of `class`: `STANDARD_IA`, `NEARLINE`, `Cool`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub native: Option<String>,
    /// How long tables are kept, in whole days: `90d`. A run removes nothing: `tamis tiers lifecycle` makes
    /// bucket rules of it, and `tamis gc` heeds it where runs are added to the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Age>,
    /// Order of rows in `dropped` and `evidence`; other tables have orders of their own. Default: `cluster` in a class that is
    /// billed for 90 days or more, else `input`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<RowOrder>,
    /// zstd level, 1 to 22.
    pub zstd: i32,
    /// Uncompressed bytes of a row group.
    pub row_group: ByteSize,
    /// Compressed bytes from which the next file is begun.
    pub file_size: ByteSize,
}

impl Default for TierConfig {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: None,
            region: None,
            credentials: None,
            class: TierClass::Hot,
            native: None,
            retention: None,
            order: None,
            zstd: 3,
            row_group: ByteSize(128 << 20),
            file_size: ByteSize(512 << 20),
        }
    }
}

/// Temperature of a storage class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TierClass {
    /// Read often.
    #[default]
    Hot,
    /// Read now and then.
    Warm,
    /// Kept in case, readable at once.
    Cold,
    /// Kept in case, readable after hours.
    Archive,
}

/// Order of the rows that were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RowOrder {
    /// As they were read.
    #[default]
    Input,
    /// Those that were dropped for one row together: much smaller, because they are alike.
    Cluster,
}

/// Where credentials are; never the credentials.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum Credentials {
    /// Variables whose names begin with this, before the usual name.
    Env(String),
    /// A file of `NAME=value` lines.
    File(String),
    /// Something else. It may be a secret: it is not kept, and whoever checks the config refuses it without its text.
    Unknown,
}

impl From<String> for Credentials {
    fn from(text: String) -> Self {
        match text.split_once(':') {
            Some(("env", prefix)) => Self::Env(prefix.to_owned()),
            Some(("file", path)) => Self::File(path.to_owned()),
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(prefix) => write!(f, "env:{prefix}"),
            Self::File(path) => write!(f, "file:{path}"),
            Self::Unknown => f.write_str("(not a reference)"),
        }
    }
}

impl Serialize for Credentials {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Credentials {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written_and_secrets_forgotten() {
        let check = |text: &str, expect: Credentials| {
            let read = Credentials::from(text.to_owned());
            assert_eq!(read, expect, "{text}");
            read.to_string()
        };
        assert_eq!(check("env:COLD_", Credentials::Env("COLD_".into())), "env:COLD_");
        assert_eq!(
            check("file:/run/secrets/cold", Credentials::File("/run/secrets/cold".into())),
            "file:/run/secrets/cold"
        );
        for secret in ["AKIA0123456789", "AKIA0123:secret", ""] {
            let shown = check(secret, Credentials::Unknown);
            assert!(!shown.contains("AKIA"), "{shown}");
        }
    }
}
