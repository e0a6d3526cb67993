//! Rows whose time is over.

use tamis_schemas::commit::CommitKind;
use tamis_schemas::config::Table;

use super::{Site, Upkeep, upkeep};
use crate::Result;
use crate::finished::FinishedRun;
use crate::tiers::DEFAULT_TIER;

/// What is no longer part of the output.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expired {
    /// Paths or URLs of the files.
    pub files: Vec<String>,
    /// Their rows.
    pub rows: u64,
}

/// Takes files out of the output that are older than the retention of their tier, by a commit; `kept` stays whatever its tier
/// says. The files themselves go with [`gc`](crate::finished::gc()). With `is_trial`, only says which.
///
/// # Errors
/// `Error::Leased` if a run is adding to the output.
pub fn expire(site: Site<'_>, is_trial: bool) -> Result<Expired> {
    if FinishedRun::open(site.location, site.stores, site.context, site.progress)?.commits().is_empty() {
        return Ok(Expired::default());
    }
    // Nobody is kept waiting for nothing.
    let expired = expire_all(&mut Upkeep::open(site, site.stamp)?, true)?;
    if is_trial || expired.files.is_empty() {
        return Ok(expired);
    }
    upkeep(site, CommitKind::Expire, |upkeep| expire_all(upkeep, false))
}

fn expire_all(upkeep: &mut Upkeep<'_>, is_trial: bool) -> Result<Expired> {
    let mut expired = Expired::default();
    for table in upkeep.dataset.tables().into_keys().filter(|table| *table != Table::Kept) {
        expire_table(upkeep, table, is_trial, &mut expired)?;
    }
    Ok(expired)
}

fn expire_table(upkeep: &mut Upkeep<'_>, table: Table, is_trial: bool, expired: &mut Expired) -> Result<()> {
    let tier = upkeep.config.routes.get(&table).map_or(DEFAULT_TIER, String::as_str);
    let Some(retention) = upkeep.config.tiers.get(tier).and_then(|tier| tier.retention) else { return Ok(()) };
    let files = upkeep.files(table);
    let is_old = |committed_at: &u64| committed_at + retention.seconds <= upkeep.now;
    let old: Vec<_> = files.into_iter().filter(|(.., committed_at)| is_old(committed_at)).collect();
    if old.is_empty() {
        return Ok(());
    }
    let removed: Vec<String> = old.iter().map(|(_, file, _)| file.path.clone()).collect();
    upkeep.check_untouched(table, &removed)?;
    expired.rows += old.iter().map(|(_, file, _)| file.rows).sum::<u64>();
    expired.files.extend(old.into_iter().map(|(url, ..)| url));
    if !is_trial {
        upkeep.output.remove_files(table, removed);
    }
    Ok(())
}
