//! A loop begins: its settings are checked against the pool, and written.

use tamis_schemas::active::LoopSettings;
use tamis_schemas::columns;

use super::{Ledger, select};
use crate::context::Context;
use crate::dedup::index::Stamp;
use crate::progress::Progress;
use crate::run::{InputSummary, look, parse_text};
use crate::score::ScorerChoice;
use crate::source::TextPart;
use crate::store::Stores;
use crate::{Error, Result};

/// Begins a loop at a folder or URL, and tells what its pool holds now. Settings stay as they are, so that the pool is read once for what
/// would only be found out later. The same settings again change nothing.
///
/// # Errors
/// `Error::Config` for the first setting that cannot work, and if there is a loop with other settings; `Error::Column` if the pool
/// lacks the column of text or id; `Error::NoInput` if it has no file.
pub fn init(
    location: &str,
    settings: &LoopSettings,
    stamp: &Stamp,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<(Ledger, InputSummary)> {
    if settings.pool.paths.iter().any(|path| path == "-") {
        return Err(Error::Config {
            message: "the pool is read again in every round, which standard input cannot be".into(),
            hint: Some("name files, folders or URLs".into()),
        });
    }
    select::check(settings, context)?;
    check_classes(&settings.classes)?;
    let pool = look(&settings.pool, stores, context, progress)?;
    let text = parse_text(&settings.pool.text)?.parts.into_iter().filter_map(|part| match part {
        TextPart::Column(name) => Some((name, "--text-column")),
        TextPart::Literal(_) => None,
    });
    let id = settings.pool.id.clone().filter(|name| !name.is_empty()).map(|name| (name, "--id-column"));
    let stratum = settings.stratum_column.clone().filter(|name| name != columns::LENGTH);
    let stratum = stratum.map(|name| (name, "--stratum-column"));
    for (name, flag) in text.chain(id).chain(stratum) {
        if pool.columns.iter().all(|column| column.name != name) {
            let names: Vec<&str> = pool.columns.iter().map(|column| column.name.as_str()).collect();
            return Err(Error::Column {
                message: format!("the pool has no column `{name}`"),
                hint: Some(format!("{flag} names it; there are {}", names.join(", "))),
            });
        }
    }
    if let ScorerChoice::Column(name) = settings.scorer.parse()? {
        check_embeddings(&pool, &name)?;
    }
    let ledger = Ledger::create(location, settings, stamp, stores, context)?;
    Ok((ledger, pool))
}

/// Refuses classes without a name, and those that are there twice.
fn check_classes(classes: &[String]) -> Result<()> {
    let mut sorted: Vec<&str> = classes.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    if sorted.first() == Some(&"") {
        return Err(Error::config("--classes has one without a name"));
    }
    match sorted.array_windows().find(|[a, b]| a == b) {
        Some([twice, _]) => Err(Error::config(format!("--classes has `{twice}` twice"))),
        None => Ok(()),
    }
}

/// Refuses a column of embeddings that is not there or holds no lists.
fn check_embeddings(pool: &InputSummary, name: &str) -> Result<()> {
    let found = pool.columns.iter().find(|column| column.name == name);
    if found.is_some_and(|column| column.data_type.contains("List")) {
        return Ok(());
    }
    let message = match found {
        Some(column) => {
            format!("the column `{name}` of the pool has type {}, expected lists of numbers", column.data_type)
        }
        None => format!("the pool has no column `{name}`"),
    };
    Err(Error::Column { message, hint: Some("--scorer column:NAME names a column of embeddings".into()) })
}
