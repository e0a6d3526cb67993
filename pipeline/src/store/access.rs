//! How the store of a place is reached: by the usual variables, or as the place's tier says.

use std::path::Path;

use tamis_schemas::config::Config;
use tamis_schemas::tier::Credentials;

use super::profile;
use super::variables::Variables;
use crate::tiers::Provider;
use crate::{Error, Result};

/// What a tier says of the place that it lies in, and so of everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Access {
    tier: String,
    /// Without a slash at its end.
    url: String,
    endpoint: Option<String>,
    region: Option<String>,
    credentials: Option<Credentials>,
}

impl Access {
    /// What the tiers say that say anything, those of the innermost places first.
    ///
    /// # Errors
    /// `Error::Config` if two say different things of one place.
    pub(super) fn of_tiers(config: &Config) -> Result<Vec<Self>> {
        let mut found: Vec<Self> = Vec::new();
        for (name, tier) in &config.tiers {
            if tier.endpoint.is_none() && tier.region.is_none() && tier.credentials.is_none() {
                continue;
            }
            let access = Self {
                tier: name.clone(),
                url: tier.url.as_ref().unwrap_or(&config.output.path).trim_end_matches('/').to_owned(),
                endpoint: tier.endpoint.clone(),
                region: tier.region.clone(),
                credentials: tier.credentials.clone(),
            };
            match found.iter().find(|other| other.url == access.url) {
                None => found.push(access),
                Some(other) if access == (Self { tier: access.tier.clone(), ..other.clone() }) => {}
                Some(other) => {
                    return Err(Error::Config {
                        message: format!("tiers `{}` and `{name}` lie in one place, reached in two ways", other.tier),
                        hint: Some("give both the same endpoint, region and credentials, or other URLs".into()),
                    });
                }
            }
        }
        found.sort_by_key(|access| std::cmp::Reverse(access.url.len()));
        Ok(found)
    }

    /// Whether `location` is the place, or lies below it.
    pub(super) fn holds(&self, location: &str) -> bool {
        location.strip_prefix(&self.url).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The variables that configure a store of `provider`. `all` are those of the environment.
///
/// A tier's credentials stand alone: what the environment says to all stores is not mixed with them.
///
/// # Errors
/// Whatever is wrong with the credentials that the tier names, or with the AWS profile.
pub(super) fn variables(access: Option<&Access>, provider: Provider, all: &Variables) -> Result<Variables> {
    let Some(access) = access else { return usual(provider, all) };
    let mut variables = match &access.credentials {
        None => usual(provider, all)?,
        Some(reference) => referred_to(reference, all)
            .and_then(|variables| check_provider(variables, provider, reference))
            .map_err(|error| in_tier(error, &access.tier))?,
    };
    let (endpoint, region) = match provider {
        // The variable of S3 alone goes before that of all services.
        Provider::Amazon => ("AWS_ENDPOINT_URL_S3", "AWS_REGION"),
        Provider::Google => ("GOOGLE_BASE_URL", ""),
        Provider::Azure => ("AZURE_STORAGE_ENDPOINT", ""),
        Provider::Local => return Ok(variables),
    };
    if let Some(url) = &access.endpoint {
        variables.set(endpoint, url);
        if url.starts_with("http://") {
            variables.set("ALLOW_HTTP", "true");
        }
    }
    if let (Some(name), false) = (&access.region, region.is_empty()) {
        variables.set(region, name);
    }
    Ok(variables)
}

fn usual(provider: Provider, all: &Variables) -> Result<Variables> {
    let mut variables = all.of_stores();
    if provider == Provider::Amazon {
        profile::complete(&mut variables, all)?;
    }
    Ok(variables)
}

fn referred_to(reference: &Credentials, all: &Variables) -> Result<Variables> {
    match reference {
        Credentials::Env(prefix) => Ok(all.below(prefix)),
        Credentials::File(path) => Variables::read(Path::new(path)),
        Credentials::Unknown => Err(Error::config("`credentials` is not a reference")),
    }
}

/// # Errors
/// `Error::Config` if nothing is there for this provider: its store would look for the machine's own identity instead.
fn check_provider(variables: Variables, provider: Provider, reference: &Credentials) -> Result<Variables> {
    let (prefix, example) = match provider {
        Provider::Amazon => ("AWS_", "AWS_ACCESS_KEY_ID"),
        Provider::Google => ("GOOGLE_", "GOOGLE_SERVICE_ACCOUNT"),
        Provider::Azure => ("AZURE_", "AZURE_STORAGE_ACCOUNT_KEY"),
        Provider::Local => return Ok(variables),
    };
    if variables.has_prefix(prefix) {
        return Ok(variables);
    }
    let (message, hint) = match reference {
        Credentials::Env(own) => {
            (format!("no variable begins with {own}{prefix}"), format!("set {own}{example} and what belongs to it"))
        }
        _ => (format!("`{reference}` sets no {prefix}* variable"), format!("it takes lines like {example}=...")),
    };
    Err(Error::Config { message, hint: Some(hint) })
}

fn in_tier(error: Error, tier: &str) -> Error {
    match error {
        Error::Config { message, hint } => {
            Error::Config { message: format!("credentials of tier `{tier}`: {message}"), hint }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use tamis_schemas::config::{InputConfig, OutputConfig};
    use tamis_schemas::tier::TierConfig;

    use super::*;

    fn config(tiers: &[(&str, Option<&str>, &str)]) -> Config {
        let output = OutputConfig::new("s3://hot/out/".into());
        let tier = |&(name, url, credentials): &(&str, Option<&str>, &str)| {
            let credentials = Some(Credentials::from(credentials.to_owned()));
            (name.to_owned(), TierConfig { url: url.map(str::to_owned), credentials, ..TierConfig::default() })
        };
        Config { tiers: tiers.iter().map(tier).collect(), ..Config::new(InputConfig::new(Vec::new()), output) }
    }

    #[test]
    fn the_innermost_place_holds_a_location() {
        let config = config(&[("a", None, "env:A_"), ("b", Some("s3://hot/out/cold"), "env:B_")]);
        let all = Access::of_tiers(&config).unwrap();
        let check = |location: &str, tier: Option<&str>| {
            let found = all.iter().find(|access| access.holds(location)).map(|access| access.tier.as_str());
            assert_eq!(found, tier, "{location}");
        };
        check("s3://hot/out", Some("a"));
        check("s3://hot/out/kept/part-00000.parquet", Some("a"));
        check("s3://hot/out/cold/dropped", Some("b"));
        check("s3://hot/out/colder", Some("a"));
        check("s3://hot/output", None);
        check("s3://hot", None);
    }

    #[test]
    fn one_place_is_reached_in_one_way() {
        assert_eq!(Access::of_tiers(&config(&[("a", None, "env:A_"), ("b", None, "env:A_")])).unwrap().len(), 1);
        let error = Access::of_tiers(&config(&[("a", None, "env:A_"), ("b", None, "env:B_")])).unwrap_err();
        assert!(error.to_string().contains("`a` and `b`"), "{error}");
    }

    #[test]
    fn a_tiers_credentials_are_not_mixed_with_the_usual_ones() {
        let all = Variables::new([
            ("AWS_ACCESS_KEY_ID", "hot"),
            ("AWS_SESSION_TOKEN", "hot"),
            ("COLD_AWS_ACCESS_KEY_ID", "cold"),
            ("COLD_AWS_SECRET_ACCESS_KEY", "cold"),
        ]);
        let check = |reference: &str, provider: Provider| {
            let access = Access::of_tiers(&config(&[("a", None, reference)])).unwrap();
            variables(access.first(), provider, &all)
        };
        let found = check("env:COLD_", Provider::Amazon).unwrap();
        assert_eq!((found.get("AWS_ACCESS_KEY_ID"), found.get("AWS_SESSION_TOKEN")), (Some("cold"), None));
        for (reference, provider, expect) in [
            ("env:WARM_", Provider::Amazon, "WARM_AWS_"),
            ("env:COLD_", Provider::Google, "COLD_GOOGLE_"),
            ("AKIAsecret", Provider::Amazon, "not a reference"),
        ] {
            let error = check(reference, provider).unwrap_err().to_string();
            assert!(error.contains(expect) && error.contains("tier `a`") && !error.contains("AKIA"), "{error}");
        }
    }
}
