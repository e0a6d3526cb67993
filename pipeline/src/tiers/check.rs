//! `tamis tiers check`: whether tiers do what their config means, as far as the config and the real stores tell.

use tamis_schemas::config::{Config, Table};

use super::class::{Class, ClassAccess, Provider, storage_class};
use super::placed::{Placed, placed};
use super::settings::check_tier;
use super::{probe, uploads};
use crate::context::Context;
use crate::store::Stores;
use crate::{Error, Result};

/// What was found of one tier.
#[derive(Debug)]
pub struct TierReport {
    /// Its name.
    pub tier: String,
    /// Where it lies.
    pub url: String,
    /// Its storage class in the provider's words; folders have none.
    pub class: Option<&'static str>,
    /// One for each thing that was looked at.
    pub findings: Vec<Finding>,
}

/// One thing that was looked at.
#[derive(Debug)]
pub struct Finding {
    /// What.
    pub subject: &'static str,
    /// How it is.
    pub level: Level,
    /// For people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and costs more or does other than was meant.
    Warning,
    /// It does not work.
    Error,
}

impl Finding {
    pub(super) fn ok(subject: &'static str, message: impl Into<String>) -> Self {
        Self { subject, level: Level::Ok, message: message.into(), hint: None }
    }

    pub(super) fn warning(subject: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { subject, level: Level::Warning, message: message.into(), hint: Some(hint.into()) }
    }

    pub(super) fn error(subject: &'static str, message: impl Into<String>, hint: Option<String>) -> Self {
        Self { subject, level: Level::Error, message: message.into(), hint }
    }

    pub(super) fn of(subject: &'static str, error: &Error) -> Self {
        let cause = std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
        Self::error(subject, format!("{error}{cause}"), error.hint())
    }
}

/// Bytes of a file from which the price of a request hardly matters on a cold class.
const COLD_FILE_BYTES: u64 = 256 << 20;
/// Days that are billed at least on classes that we call cold.
const COLD_DAYS: u64 = 90;

/// Looks at every tier. Writes an object to each place, whose name `nonce` makes nobody else's, and removes it.
///
/// # Errors
/// `Error::Config` if the config cannot be run for another reason than its tiers.
pub fn check(config: &Config, nonce: &str, stores: &Stores, context: &Context) -> Result<Vec<TierReport>> {
    placed(config)?.iter().map(|placed| report(placed, nonce, stores, context)).collect()
}

fn report(placed: &Placed<'_>, nonce: &str, stores: &Stores, context: &Context) -> Result<TierReport> {
    context.cancel.check()?;
    let class = storage_class(Provider::of(placed.url), &placed.tier).ok().flatten();
    let findings = match check_tier(placed.name, &placed.tier, placed.url) {
        Ok(()) => looked_at(placed, class, nonce, stores, context),
        Err(error) => vec![Finding::of("settings", &error)],
    };
    Ok(TierReport {
        tier: placed.name.to_owned(),
        url: placed.url.to_owned(),
        class: class.map(|class| class.name),
        findings,
    })
}

fn looked_at(
    placed: &Placed<'_>,
    class: Option<&Class>,
    nonce: &str,
    stores: &Stores,
    context: &Context,
) -> Vec<Finding> {
    let of_config = [
        class.map(|class| of_class(placed, class)),
        tables(placed),
        retention(placed, class),
        class.map(|class| file_size(placed, class)),
    ];
    let mut findings: Vec<Finding> = of_config.into_iter().flatten().collect();
    if let Err(error) = stores.resolve(placed.url) {
        findings.push(Finding::of("settings", &error));
        return findings;
    }
    let probed = probe::conditional_put(placed.url, nonce, stores, context);
    let is_reached = probed.level != Level::Error;
    findings.push(probed);
    let provider = Provider::of(placed.url);
    if is_reached && provider != Provider::Local {
        findings.push(uploads::incomplete(provider, placed.url, stores, context));
    }
    findings
}

fn of_class(placed: &Placed<'_>, class: &Class) -> Finding {
    let name = class.name;
    let hint = "give [tiers.default] another class, and send only what is hardly ever read to this one";
    match class.access {
        ClassAccess::Restored if placed.is_home => Finding::error(
            "class",
            format!("{name} is an archive: what the manifest names here cannot be read before it is restored"),
            Some(hint.into()),
        ),
        ClassAccess::Priced if placed.is_home => Finding::warning(
            "class",
            format!("{name} is an archive: every read of what lies beside the manifest is charged"),
            hint,
        ),
        _ => Finding::ok("class", billed(class)),
    }
}

fn billed(class: &Class) -> String {
    let Class { name, least_days, least_bytes, access } = class;
    let days = if *least_days > 0 { format!(", billed for {least_days} days at least") } else { String::new() };
    let bytes = if *least_bytes > 0 { format!(", as {} KiB at least", least_bytes >> 10) } else { String::new() };
    let access = if *access == ClassAccess::Restored { ", readable when it is restored" } else { "" };
    format!("{name}{days}{bytes}{access}")
}

fn tables(placed: &Placed<'_>) -> Option<Finding> {
    (placed.tables.is_empty() && !placed.is_home).then(|| {
        Finding::warning(
            "tables",
            "no table goes here",
            format!("send one here: [routes] dropped = \"{}\"", placed.name),
        )
    })
}

fn retention(placed: &Placed<'_>, class: Option<&Class>) -> Option<Finding> {
    let days = placed.tier.retention?.whole_days()?;
    if class.is_none() && !placed.is_added_to {
        return Some(Finding::warning(
            "retention",
            "nothing removes old files of a folder",
            "remove them by a task of the system, or leave `retention` out",
        ));
    }
    if let Some(class) = class.filter(|class| days < class.least_days) {
        return Some(Finding::warning(
            "retention",
            format!("{days} days are kept, {} are billed", class.least_days),
            format!("keep them for {} days, or choose another class", class.least_days),
        ));
    }
    let by = if placed.is_added_to { "`tamis gc`" } else { "the rules of `tamis tiers lifecycle`" };
    if placed.tables.contains(&Table::Kept) {
        return Some(Finding::warning(
            "retention",
            "`kept` goes here, which stays: its files are the result",
            "send tables that may go to a tier of their own, and give that one the retention",
        ));
    }
    Some(Finding::ok("retention", format!("{days} days, by {by}")))
}

fn file_size(placed: &Placed<'_>, class: &Class) -> Finding {
    let size = placed.tier.file_size;
    if size.0 < class.least_bytes {
        return Finding::warning(
            "file_size",
            format!("files of {size} are billed as {} KiB", class.least_bytes >> 10),
            "raise file_size",
        );
    }
    if class.least_days >= COLD_DAYS && size.0 < COLD_FILE_BYTES {
        return Finding::warning(
            "file_size",
            format!("files of {size}: on {} each request costs more than on a hot class", class.name),
            "few large files cost less: file_size = \"256MiB\" or more",
        );
    }
    Finding::ok("file_size", format!("files of {size}"))
}
