//! The held-out items of a config, read through the same sources as the input.

use tamis_schemas::manifest::{DecontaminationRecord, InputRecord};

use super::plan::{HeldOutPlan, Plan};
use super::{about, input_records, pass, with_flags};
use crate::context::Context;
use crate::decontaminate::{Contaminated, Decontaminate, HeldOutBuilder, Hits, ItemReader};
use crate::progress::Progress;
use crate::source::{Columns, Decoded, Inputs, Reject, Request, Types};
use crate::store::Stores;
use crate::{Error, Result};

/// Held-out items that are ready to be looked for, and what the manifest says of them.
#[derive(Debug)]
pub(super) struct HeldOutItems {
    pub(super) stage: Decontaminate,
    record: DecontaminationRecord,
}

/// Reads the held-out items, if the config names any.
///
/// # Errors
/// Whatever keeps an item from being looked for: a file that cannot be read or is empty, a row that cannot be read.
pub(super) fn load(
    plan: &Plan,
    stores: &Stores,
    context: &Context,
    progress: &Progress,
) -> Result<Option<HeldOutItems>> {
    let Some(plan) = &plan.decontaminate else { return Ok(None) };
    let inputs = Inputs::discover(&plan.paths, &plan.source, stores, context).map_err(in_held_out)?;
    let request = Request {
        columns: Columns::Named(Vec::new()),
        text: Some(plan.text.clone()),
        id: Some(plan.id.clone()),
        rows: None,
    };
    let reader = ItemReader::new(plan.settings);
    let mut builder = HeldOutBuilder::new(plan.settings, context);
    let mut types = Types::default();
    let (mut n_rejects, mut first_reject) = (0, None);
    progress.begin("reading held-out items");
    let scan = inputs.survey(&request)?;
    progress.watch(inputs.total_bytes(), scan.bytes_read());
    pass::for_each(
        scan,
        context,
        |Decoded { batches, rejects, types, .. }| {
            let items = batches.iter().map(|batch| reader.read(batch)).collect::<Result<Vec<_>>>()?;
            let n_rows: usize = batches.iter().map(arrow::array::RecordBatch::num_rows).sum();
            Ok((items, n_rows, rejects, types))
        },
        |(items, n_rows, rejects, block_types)| {
            progress.add_rows(n_rows as u64);
            types.merge(block_types);
            n_rejects += rejects.len();
            first_reject = first_reject.take().or(rejects.into_iter().next());
            items.iter().try_for_each(|items| builder.add(items))
        },
    )
    .map_err(in_held_out)?;
    let file_rows = inputs.check(&types).map_err(in_held_out)?;
    if let Some(reject) = first_reject {
        return Err(unreadable_items(&inputs, n_rejects, &reject));
    }
    if let Some((file, _)) = inputs.files().iter().zip(&file_rows).find(|(_, n_rows)| **n_rows == 0) {
        return Err(Error::Config {
            message: format!("the held-out file `{}` is empty", file.name),
            hint: Some("leave it out, or look whether it is the file you mean".into()),
        });
    }
    let held_out = builder.finish(context)?;
    if held_out.is_empty() {
        return Err(nothing_to_find(plan, held_out.n_without_tokens(), held_out.n_too_short()));
    }
    let record = DecontaminationRecord {
        files: input_records(&inputs, &file_rows),
        skipped_files: inputs.skipped().to_vec(),
        ngram: plan.settings.n_tokens as u64,
        items: held_out.len() as u64,
        items_without_tokens: held_out.n_without_tokens(),
        items_too_short: held_out.n_too_short(),
        found_items: 0,
        contaminated_rows: 0,
    };
    Ok(Some(HeldOutItems { stage: Decontaminate::new(held_out), record }))
}

impl HeldOutItems {
    /// The files that they come from.
    pub(super) fn files(&self) -> &[InputRecord] {
        &self.record.files
    }

    /// The rows that contain an item, once every row was looked at; the items themselves are let go.
    pub(super) fn finish(self, hits: Hits, context: &Context) -> (Contaminated, DecontaminationRecord) {
        let Self { stage, mut record } = self;
        let contaminated = Contaminated::new(stage, hits, context);
        record.found_items = contaminated.n_found_items();
        record.contaminated_rows = contaminated.rows().len();
        (contaminated, record)
    }
}

/// Says of an error that would be taken for one of the input that it is not.
fn in_held_out(error: Error) -> Error {
    let flags = "--against-text-column and --against-id-column name the columns of the held-out files";
    about("held-out items", with_flags(error, flags))
}

/// A held-out row that cannot be read is contamination that would not be found.
fn unreadable_items(inputs: &Inputs, n_rejects: usize, first: &Reject) -> Error {
    let rows = if n_rejects == 1 { "row" } else { "rows" };
    let file = &inputs.files()[first.file].name;
    Error::Config {
        message: format!(
            "{n_rejects} held-out {rows} could not be read, the first one is row {} of `{file}`: {}",
            first.row, first.reason
        ),
        hint: Some("mend the rows or take them out: an item that is not read is not looked for".into()),
    }
}

fn nothing_to_find(plan: &HeldOutPlan, n_without_tokens: u64, n_too_short: u64) -> Error {
    Error::Config {
        message: format!(
            "there is no held-out item to look for: {n_too_short} have fewer than {} tokens, {n_without_tokens} have none",
            plan.settings.min_tokens
        ),
        hint: Some("look for shorter ones with --against-min-tokens (decontaminate.min_tokens)".into()),
    }
}
