//! Settings of a tier that cannot work, found without asking any store.

use tamis_schemas::config::Config;
use tamis_schemas::tier::{Credentials, TierConfig};
use url::Url;

use super::class::{Provider, storage_class};
use crate::store::Stores;
use crate::{Error, Result};

/// The tier whose place is the output's, unless it has its own.
pub(crate) const DEFAULT_TIER: &str = "default";

/// Checks every tier.
///
/// # Errors
/// `Error::Config` for the first that cannot work, with its name.
pub(crate) fn check(config: &Config) -> Result<()> {
    Stores::new::<&str, &str>([]).with_tiers(config)?;
    config
        .tiers
        .iter()
        .try_for_each(|(name, tier)| check_tier(name, tier, tier.url.as_deref().unwrap_or(&config.output.path)))
}

/// Checks one tier, which lies at `url`.
///
/// # Errors
/// `Error::Config` with its name.
pub(crate) fn check_tier(name: &str, tier: &TierConfig, url: &str) -> Result<()> {
    let provider = Provider::of(url);
    let failed = |message: String, hint: String| {
        Err(Error::Config { message: format!("tier `{name}`: {message}"), hint: Some(hint) })
    };
    if let Err(Error::Config { message, hint }) = storage_class(provider, tier) {
        return failed(message, hint.unwrap_or_default());
    }
    let has_access = tier.endpoint.is_some() || tier.region.is_some() || tier.credentials.is_some();
    if provider == Provider::Local && has_access {
        return failed(
            format!("`{url}` is a folder, which has no endpoint, region or credentials"),
            "give the tier a URL that starts with s3://, gs:// or az://, or leave them out".into(),
        );
    }
    if tier.region.is_some() && provider != Provider::Amazon {
        return failed("only S3 buckets have a region here".into(), "leave `region` out".into());
    }
    if let Some(endpoint) = &tier.endpoint
        && !is_endpoint(endpoint)
    {
        return failed(
            "the endpoint is not the URL of a service".into(),
            "write for instance https://minio.example:9000, without user, password or query".into(),
        );
    }
    if let Some(reference) = &tier.credentials
        && !is_reference(reference)
    {
        return failed(
            "`credentials` is not a reference to credentials (its value is not shown)".into(),
            "write env:PREFIX_ for variables like PREFIX_AWS_ACCESS_KEY_ID, or file:PATH; a secret has no place in a config"
                .into(),
        );
    }
    if let Some(retention) = tier.retention
        && retention.whole_days().is_none()
    {
        return failed(
            format!("a retention of {retention} is not a number of days"),
            "rules of buckets count whole days: 90d, 12w or 1y".into(),
        );
    }
    Ok(())
}

fn is_endpoint(endpoint: &str) -> bool {
    Url::parse(endpoint).is_ok_and(|url| {
        let has_secret = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
        matches!(url.scheme(), "http" | "https") && url.has_host() && !has_secret
    })
}

fn is_reference(reference: &Credentials) -> bool {
    match reference {
        Credentials::Env(prefix) => {
            let is_named = |char: char| char.is_ascii_alphanumeric() || char == '_';
            !prefix.is_empty() && prefix.chars().all(is_named)
        }
        Credentials::File(path) => !path.is_empty(),
        Credentials::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_named() {
        let check = |url: &str, toml: TierConfig, expect: &str| {
            let found = check_tier("cold", &toml, url);
            let message = found.err().map_or_else(String::new, |error| error.to_string());
            let is_expected = if expect.is_empty() { message.is_empty() } else { message.contains(expect) };
            assert!(is_expected, "{url}: {message:?}, not {expect:?}");
            assert!(!message.contains("AKIA"), "{message}");
        };
        let tier = TierConfig::default;
        let credentials = |text: &str| TierConfig { credentials: Some(text.to_owned().into()), ..tier() };
        let endpoint = |text: &str| TierConfig { endpoint: Some(text.to_owned()), ..tier() };
        let region = || TierConfig { region: Some("eu-west-1".into()), ..tier() };
        let retention = |text: &str| TierConfig { retention: Some(text.parse().unwrap()), ..tier() };
        check("s3://b", credentials("env:COLD_"), "");
        check("s3://b", credentials("file:/run/secrets/cold"), "");
        for secret in ["AKIA0123456789", "env:AKIA/+=", "env:", "file:", "AKIA:file", ""] {
            check("s3://b", credentials(secret), "not a reference");
        }
        check("out", credentials("env:COLD_"), "is a folder");
        check("s3://b", endpoint("http://127.0.0.1:8333"), "");
        for bad in ["127.0.0.1:8333", "s3://b", "https://AKIA:secret@host", "https://host/?sig=AKIA"] {
            check("s3://b", endpoint(bad), "not the URL of a service");
        }
        check("s3://b", region(), "");
        check("gs://b", region(), "region");
        check("s3://b", retention("90d"), "");
        check("s3://b", retention("36h"), "36h");
        check("s3://b", retention("0d"), "0d");
        check("gs://b", TierConfig { native: Some("GLACIER".into()), ..tier() }, "GLACIER");
    }
}
