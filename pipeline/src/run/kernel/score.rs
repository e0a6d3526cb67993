//! A reading of units that scores and embeds the rows that stay.

use std::io::{Read, Write};

use tamis_schemas::config::Table;

use super::cuts::{Cuts, CutsOfBatch};
use super::fate::verdicts_of;
use super::pieces::Pieces;
use super::record::{Kind, Record, RecordWriter};
use super::scored::{Scored, Work};
use super::scorer::{Scorer, ScorersOfStream};
use super::stream::{Incoming, Outgoing};
use super::units::PlacedUnit;
use super::{Surroundings, Task, seen};
use crate::Result;
use crate::run::embed::{Embedder, EmbeddingTally};
use crate::run::grain::Grain;
use crate::run::known::Known;
use crate::run::pass;
use crate::run::select::predicts;
use crate::run::verdict::Verdicts;
use crate::run::write::{CarriedTables, Router, stratum_columns};
use crate::source::{Columns, Inputs, Request, schema_to_bytes};
use crate::stage::BarrierStage;

/// Scores the units of a stream.
pub(super) fn score(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let mut writer = RecordWriter::begin(output)?;
    let no_inputs = Inputs::none(&task.plan.source, task.with.context);
    let selects = task.config.select.is_some();
    let (known, _held) = selects.then(|| seen::known_of_stream(task, input)).transpose()?.unzip();
    let (mut scorers, mut scoring) = (ScorersOfStream::default(), None);
    while let Some(batch) = input.next()? {
        let of_batch = ScorersOfStream::column(&batch)?;
        let (units, cuts) = (PlacedUnit::of_batch(&batch)?, CutsOfBatch::new(task, &batch)?);
        for (index, (unit, verdicts)) in units.iter().zip(verdicts_of(task, &batch, &units)?).enumerate() {
            let learnt = scorers.next(&of_batch, index)?;
            let scoring = match &mut scoring {
                Some(scoring) => scoring,
                none => none.insert(Scoring::open(task, &no_inputs, learnt, known.as_ref())?),
            };
            let Cuts { grain, .. } = cuts.of_unit(task, unit, index)?;
            scoring.unit(task, unit, (verdicts, &grain), |record| writer.push(&record))?;
        }
    }
    writer.finish()
}

/// What scores and embeds.
struct Scoring<'a> {
    scorer: Option<Scorer<'a>>,
    embedder: Option<Embedder>,
    /// What selections know, if rows are selected.
    known: Option<&'a Known>,
}

impl<'a> Scoring<'a> {
    fn open(task: Task<'a>, no_inputs: &'a Inputs, learnt: Option<&[u8]>, known: Option<&'a Known>) -> Result<Self> {
        let run = task.run(no_inputs);
        let scores = task.config.score.is_some() || task.config.select.is_some();
        let scorer = scores.then(|| Scorer::open(task, no_inputs, learnt)).transpose()?;
        let embedder = Embedder::open(run, task.plan.embed.as_ref(), None, task.with.stores)?;
        Ok(Self { scorer, embedder, known })
    }

    fn unit(
        &mut self,
        task: Task<'_>,
        unit: &PlacedUnit,
        (verdicts, grain): (Verdicts, &Grain),
        mut to: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let Surroundings { context, progress, .. } = task.with;
        let (inputs, schema) = unit.open(task)?;
        let carried = CarriedTables::new(task.plan, task.config, &schema, false);
        let router = Router::of_verdicts(&inputs, verdicts, None, None, &carried, task.plan, context);
        let stage = self.scorer.as_ref().map(|scorer| &*scorer.opened.scorer);
        let router = router.scoring(stage, self.embedder.as_ref()).cutting(grain.cutter.as_ref());
        let request = Request {
            columns: Columns::Named(stratum_columns(task.config).chain(task.plan.embedding_columns()).collect()),
            text: Some(task.plan.text.clone()),
            id: Some(task.plan.id.clone()),
            rows: None,
        };
        let scan = inputs.scan(&schema, &request)?;
        progress.watch(inputs.total_bytes(), scan.bytes_read());
        if let Some(truncated) = self.scorer.as_ref().and_then(|scorer| scorer.opened.truncated.as_ref()) {
            truncated.forget();
        }
        let mut tally = self.embedder.as_ref().map(|embedder| EmbeddingTally::new(embedder, context));
        let mut selection = self.known.map(|known| seen::selection(task, known.clone())).transpose()?;
        let mut pieces = Pieces::new(unit.number, &mut to);
        let mut n_rows = 0;
        pass::for_each(
            scan,
            context,
            |decoded| router.route(decoded),
            |routed| {
                for routed in routed {
                    progress.add_rows(routed.n_kept + routed.n_dropped);
                    n_rows += routed.n_kept;
                    if let (Some(scorer), Some(scored)) = (&self.scorer, &routed.scored) {
                        if task.plan.writes(Table::Scores) {
                            pieces.push(Table::Scores, &scorer.table.project(scored)?)?;
                        }
                        selection.as_mut().map_or(Ok(()), |selection| selection.observe(scored, context))?;
                    }
                    if let (Some(tally), Some(embedded)) = (&mut tally, routed.embedded) {
                        if task.plan.writes(Table::Embeddings) {
                            pieces.push(Table::Embeddings, &embedded.table)?;
                        }
                        tally.observe(embedded)?;
                    }
                }
                Ok(())
            },
        )?;
        if let Some(selection) = selection {
            seen::hand_over(selection, unit.number..unit.number + 1, &mut to)?;
        }
        let embedding = tally.map(EmbeddingTally::finish).transpose()?;
        let mut scored = Scored { rows: n_rows, ..Scored::default() };
        scored.scorer = self.scorer.as_mut().map(Scorer::work).transpose()?;
        scored.embedding = embedding.as_ref().map(Work::of_embedding);
        if unit.number == 0 {
            let of_scores = self.scorer.as_ref().map(|scorer| (Table::Scores, scorer.table.schema()));
            let of_embeddings = self.embedder.as_ref().map(|embedder| (Table::Embeddings, embedder.schema()));
            for (table, schema) in of_scores.into_iter().chain(of_embeddings) {
                scored.schemas.insert(table, schema_to_bytes(schema)?);
            }
            scored.first_scorer = self.scorer.as_ref().map(|scorer| scorer.record.clone());
            scored.first_embedding = embedding;
            scored.predicts = self.scorer.as_ref().map_or(Ok(false), |scorer| predicts(&*scorer.opened.scorer))?;
        }
        to(Record { unit: Some(unit.number), a: unit.number, ..Record::json(Kind::Scored, &scored)? })
    }
}
