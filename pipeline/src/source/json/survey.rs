//! Lines in a survey, and in scans that hand out no input columns.

use super::kind::Kind;
use super::line::LineReader;
use super::typed;
use crate::Result;
use crate::source::plan::{Mode, Output};
use crate::source::records::RecordBlock;
use crate::source::special::SpecialBuilder;

/// Decodes a block into text and id; in a survey, finds the types of its columns too.
pub(in crate::source) fn decode_survey(
    output: &mut Output<'_>,
    block: &RecordBlock,
    damage: Option<&str>,
) -> Result<()> {
    let (plan, file) = (output.plan, output.file);
    let mut reader = LineReader::new(&plan.special);
    // All of the block, unless only some rows are asked for.
    let text_bytes = if plan.rows.is_none() { block.data.len() } else { 0 };
    let mut builder = SpecialBuilder::new(&plan.special, &file.name, file.base_row, text_bytes);
    let mut types = matches!(plan.mode, Mode::Survey).then(SurveyTypes::default);
    let misfits = match (&types, &plan.options.schema) {
        (Some(_), Some(schema)) => typed::misfits(output, block, schema)?,
        _ => Vec::new(),
    };
    output.for_each_record(block, damage, |output, index, line| {
        let row = block.first_row + index as u64;
        if output.plan.was_rejected(file.base_row + row) {
            return typed::rejected_reason(output.plan, line).map(Some);
        }
        if let Err(reason) = reader.read(line) {
            return Ok(Some(reason));
        }
        if types.is_some() {
            observe_keys(output, &reader);
        }
        if !reader.has_text() {
            return Ok(Some(plan.special.no_text_reason()));
        }
        if let Ok(found) = misfits.binary_search_by_key(&index, |(index, _)| *index) {
            return Ok(Some(misfits[found].1.clone()));
        }
        if let Some(types) = &mut types {
            types.observe(&reader);
        }
        builder.push(row, |column| reader.cell(column));
        if builder.len() == plan.batch_rows {
            output.push(Vec::new(), builder.finish())?;
        }
        Ok(None)
    })?;
    output.push(Vec::new(), builder.finish())?;
    if let Some(types) = types {
        types.finish(output, &reader);
    }
    Ok(())
}

/// Notes which of the columns of text and id a line has.
fn observe_keys(output: &mut Output<'_>, reader: &LineReader<'_>) {
    let types = output.decoded.types.files.entry(output.file.index).or_default();
    types.n_readable += 1;
    types.has_special.resize(reader.n_special(), false);
    // The usual case: nothing new to say.
    if types.n_readable > 1 && types.has_special.iter().all(|&has| has) {
        return;
    }
    for &(key, _) in &reader.entries {
        types.add_key(reader.key(key));
        if let Some(special) = reader.special(key) {
            types.has_special[special] = true;
        }
    }
}

/// Types of the columns of a block.
#[derive(Debug, Default)]
struct SurveyTypes {
    /// By index of the key; those of rows that were not rejected.
    kinds: Vec<Option<Kind>>,
    /// Keys in the order in which such a row had them first.
    order: Vec<usize>,
}

impl SurveyTypes {
    fn observe(&mut self, reader: &LineReader<'_>) {
        self.kinds.resize(reader.n_keys(), None);
        for &(key, value) in &reader.entries {
            let order = &mut self.order;
            let kind = self.kinds[key].get_or_insert_with(|| {
                order.push(key);
                Kind::Null
            });
            kind.observe(value, 0);
        }
    }

    fn finish(mut self, output: &mut Output<'_>, reader: &LineReader<'_>) {
        for key in self.order {
            if let Some(kind) = self.kinds[key].take() {
                output.decoded.types.json.insert(reader.key(key).into(), kind);
            }
        }
    }
}
