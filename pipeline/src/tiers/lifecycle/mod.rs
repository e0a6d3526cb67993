//! `tamis tiers lifecycle`: the rules that buckets need beside us, in the words of each provider.
//!
//! Two kinds: uploads that never ended are aborted, everywhere below a tier; and files are removed when their retention is
//! over. The second must be narrow. Below a tier's prefix lie the manifest, which makes files a run, the folder `_tamis`, and
//! perhaps an index, all of which stay. So each rule is for the folder of one table that goes to the tier, and none for `kept`,
//! whose files are the result and as old as the run. A run whose other tables have gone can be read, and not restored.

mod aws;
mod azure;
mod gcs;
mod terraform;

use object_store::ObjectStoreScheme;
use tamis_schemas::config::{Config, OutputMode, Table};
use url::Url;

use super::class::Provider;
use super::placed::placed;
use super::settings;
use crate::store::parse_url;
use crate::{Error, Result};

/// Days after which an upload has not ended because nobody is at it.
const ABORT_DAYS: u64 = 3;

/// Who is to read the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleFormat {
    /// `aws s3api put-bucket-lifecycle-configuration --lifecycle-configuration file://...`
    Aws,
    /// `gcloud storage buckets update --lifecycle-file ...`
    Gcs,
    /// `az storage account management-policy create --policy @...`
    Azure,
    /// Terraform, whatever the providers.
    Terraform,
}

/// Rules, and what to know before they are applied.
#[derive(Debug)]
pub struct Lifecycle {
    /// In the format that was asked for.
    pub text: String,
    /// For people.
    pub notes: Vec<String>,
}

/// The rules of one bucket; of Azure, of one account.
#[derive(Debug)]
struct Bucket {
    provider: Provider,
    /// Of Azure the account, empty if the URLs do not name it.
    name: String,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// Unlike those of the other rules.
    id: String,
    /// What names of objects begin with; empty, or ends with a slash. On Azure the container comes first.
    prefix: String,
    action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    AbortUploads,
    Expire { days: u64 },
}

/// Rules for the tiers of a config, of one bucket if `only` names it.
///
/// # Errors
/// `Error::Config` if no tier is of a provider that reads this format, or if the format holds the rules of one bucket and
/// there are several.
pub fn lifecycle(config: &Config, format: RuleFormat, only: Option<&str>) -> Result<Lifecycle> {
    settings::check(config)?;
    let mut notes = Vec::new();
    let all = buckets(config, &mut notes)?;
    let of_format = |bucket: &&Bucket| !bucket.rules.is_empty() && format.is_for(bucket.provider);
    let named: Vec<&Bucket> = all.iter().filter(of_format).collect();
    if named.is_empty() {
        return Err(none_of(format, &all));
    }
    let buckets: Vec<&Bucket> =
        named.iter().filter(|bucket| only.is_none_or(|only| bucket.name == only)).copied().collect();
    let names = || named.iter().map(|bucket| bucket.name.as_str()).collect::<Vec<_>>().join(", ");
    let text = match (format, buckets.as_slice()) {
        (_, []) => {
            return Err(Error::Config {
                message: format!("no tier lies in the bucket `{}`", only.unwrap_or_default()),
                hint: Some(format!("there are tiers in {}", names())),
            });
        }
        (RuleFormat::Terraform, buckets) => terraform::resources(buckets),
        (_, [_, _, ..]) => {
            return Err(Error::Config {
                message: "this format holds the rules of one bucket, and the tiers lie in several".into(),
                hint: Some(format!("choose one with --bucket: {}", names())),
            });
        }
        (RuleFormat::Aws, [bucket]) => aws::configuration(bucket),
        (RuleFormat::Gcs, [bucket]) => gcs::configuration(bucket),
        (RuleFormat::Azure, [bucket]) => azure::policy(bucket),
    };
    if buckets.iter().flat_map(|bucket| &bucket.rules).any(|rule| rule.action != Action::AbortUploads) {
        notes.push(
            "rules go by the age of a file alone: the manifest of an older run names files that are gone, `tamis inspect` shows \
             what is left, and `tamis restore` cannot bring it back"
                .into(),
        );
    }
    if format != RuleFormat::Terraform {
        notes.push("applying these replaces every rule that is there: add those that you want to keep".into());
    }
    Ok(Lifecycle { text, notes })
}

impl RuleFormat {
    fn is_for(self, provider: Provider) -> bool {
        match self {
            Self::Aws => provider == Provider::Amazon,
            Self::Gcs => provider == Provider::Google,
            Self::Azure => provider == Provider::Azure,
            Self::Terraform => true,
        }
    }
}

fn none_of(format: RuleFormat, all: &[Bucket]) -> Error {
    let schemes = match format {
        RuleFormat::Aws => "s3://",
        RuleFormat::Gcs => "gs://",
        RuleFormat::Azure => "az://",
        RuleFormat::Terraform => "s3://, gs:// or az://",
    };
    let is_bare = |bucket: &Bucket| bucket.provider == Provider::Azure && bucket.rules.is_empty();
    if matches!(format, RuleFormat::Azure | RuleFormat::Terraform) && all.iter().any(is_bare) {
        return Error::Config {
            message: "there are no rules to print: no tier on Azure has a retention".into(),
            hint: Some(
                "uploads that never ended are removed by Azure itself; retention = \"90d\" removes tables".into(),
            ),
        };
    }
    let hint = match all.first().map(|bucket| bucket.provider) {
        Some(Provider::Amazon) => "the tiers of this config fit --format aws, or terraform",
        Some(Provider::Google) => "the tiers of this config fit --format gcs, or terraform",
        Some(Provider::Azure) => "the tiers of this config fit --format azure, or terraform",
        _ => "folders have no rules: give a tier a URL in a bucket",
    };
    Error::Config {
        message: format!("there are no rules to print: no tier lies at {schemes}"),
        hint: Some(hint.into()),
    }
}

fn buckets(config: &Config, notes: &mut Vec<String>) -> Result<Vec<Bucket>> {
    let mut found: Vec<Bucket> = Vec::new();
    let mut add = |url: &str, prefix: &str, action: Action| -> Result<()> {
        let provider = Provider::of(url);
        let (name, prefix) = (bucket_of(url)?, format!("{}{prefix}", prefix_of(url)?));
        let at = found.iter().position(|bucket| bucket.provider == provider && bucket.name == name);
        let at = at.unwrap_or_else(|| {
            found.push(Bucket { provider, name, rules: Vec::new() });
            found.len() - 1
        });
        // Azure removes the blocks of such uploads by itself.
        if provider != Provider::Azure || action != Action::AbortUploads {
            found[at].add(prefix, action);
        }
        Ok(())
    };
    let placed = placed(config)?;
    for tier in placed.iter().filter(|tier| Provider::of(tier.url) != Provider::Local) {
        add(tier.url, "", Action::AbortUploads)?;
        let Some(days) = tier.tier.retention.and_then(tamis_schemas::age::Age::whole_days) else { continue };
        if config.output.mode == OutputMode::Append {
            notes.push(format!(
                "nothing is removed of tier `{}`: runs are added to the output, and rules by age would remove files and logs \
                 that later runs and readers need",
                tier.name
            ));
            continue;
        }
        for &table in &tier.tables {
            if table == Table::Kept {
                notes.push(format!("`kept` goes to tier `{}` and is not removed: its files are the result", tier.name));
            } else {
                add(tier.url, &format!("{}/", table.name()), Action::Expire { days })?;
            }
        }
        if tier.tables.is_empty() {
            notes.push(format!("no table goes to tier `{}`: nothing is removed there", tier.name));
        }
    }
    if let Some(index) = config.index.as_ref().filter(|index| Provider::of(&index.url) != Provider::Local) {
        add(index.url.trim_end_matches('/'), "", Action::AbortUploads)?;
    }
    Ok(found)
}

impl Bucket {
    /// Adds a rule, unless an equal one holds for all of the prefix.
    fn add(&mut self, prefix: String, action: Action) {
        let is_held = |rule: &Rule| rule.action == action && prefix.starts_with(&rule.prefix);
        if self.rules.iter().any(is_held) {
            return;
        }
        self.rules.retain(|rule| rule.action != action || !rule.prefix.starts_with(&prefix));
        let verb = if action == Action::AbortUploads { "abort-uploads" } else { "expire" };
        let base = format!("tamis-{verb}-{}", slug(&prefix, '-'));
        let base = base.trim_end_matches('-');
        let is_taken = |id: &String| self.rules.iter().any(|rule| rule.id == *id);
        let numbered = (2..).map(|n| format!("{base}-{n}"));
        let id = std::iter::once(base.to_owned()).chain(numbered).find(|id| !is_taken(id)).unwrap_or_default();
        self.rules.push(Rule { id, prefix, action });
    }
}

/// Letters and digits, anything else as `other`, no longer than names of rules may be.
fn slug(text: &str, other: char) -> String {
    text.trim_matches('/')
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char } else { other })
        .take(200)
        .collect()
}

fn bucket_of(url: &str) -> Result<String> {
    let parsed = parse_url(url)?;
    let host = parsed.host_str().unwrap_or_default();
    let name = match Provider::of(url) {
        // `abfss://container@account.dfs.core.windows.net`: else the host is the container.
        Provider::Azure if parsed.username().is_empty() => "",
        Provider::Azure => host.split('.').next().unwrap_or_default(),
        _ => host,
    };
    Ok(name.to_owned())
}

/// What names of objects below a URL begin with.
fn prefix_of(url: &str) -> Result<String> {
    let parsed = parse_url(url)?;
    let path = match ObjectStoreScheme::parse(&parsed) {
        Ok((_, path)) => path,
        Err(error) => return Err(Error::config(format!("`{url}` is no place in a bucket: {error}"))),
    };
    let container = if Provider::of(url) == Provider::Azure { container_of(&parsed) } else { "" };
    let with_slash = |part: &str| if part.is_empty() { String::new() } else { format!("{part}/") };
    Ok(with_slash(container) + &with_slash(path.as_ref()))
}

fn container_of(url: &Url) -> &str {
    if url.username().is_empty() { url.host_str().unwrap_or_default() } else { url.username() }
}

#[cfg(test)]
mod tests;
