//! What the user typed about storage tiers.

use clap::{Args, Subcommand};

use super::ConfigFile;

/// `tamis tiers`.
#[derive(Debug, Subcommand)]
pub(crate) enum TiersCommand {
    /// Look at every tier, in the config and in the real stores
    ///
    /// Writes a small object below `_tamis/` in each place and removes it. Exit code 2 if a tier does not work; warnings are
    /// about what costs more than it must, and about what could not be looked at.
    Check(ConfigFile),
    /// Print lifecycle rules: --format aws, gcs, azure or terraform
    #[command(after_help = LIFECYCLE_HELP)]
    Lifecycle(TiersLifecycle),
}

/// `tamis tiers lifecycle`.
#[derive(Debug, Args)]
pub(crate) struct TiersLifecycle {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// Only the rules of this bucket; of Azure, of this account
    #[arg(long, value_name = "NAME")]
    pub(crate) bucket: Option<String>,
}

const LIFECYCLE_HELP: &str = "Formats:
  --format aws        for aws s3api put-bucket-lifecycle-configuration
  --format gcs        for gcloud storage buckets update --lifecycle-file
  --format azure      for az storage account management-policy create
  --format terraform  resources for all providers

Uploads that never ended are aborted after 3 days. Files are removed when the tier's
retention is over: those of its tables, except `kept`. The manifest and what else
lies below the prefix stays.

Example:
  tamis tiers lifecycle tamis.toml --format aws > rules.json";
