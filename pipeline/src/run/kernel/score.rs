//! A reading of units that scores and embeds the rows that stay.

use std::io::{Read, Write};

use arrow::array::{Array, RecordBatch};
use tamis_schemas::config::Table;
use tamis_schemas::manifest::ScorerRecord;
use xxhash_rust::xxh3::xxh3_64;

use super::fate::verdicts_of;
use super::record::{Kind, Record, RecordWriter};
use super::scored::{Scored, Work, table_code};
use super::stream::{Incoming, Outgoing};
use super::texts::of_score;
use super::units::PlacedUnit;
use super::{Surroundings, Task};
use crate::run::embed::{Embedder, EmbeddingTally};
use crate::run::learn::distilled;
use crate::run::pass;
use crate::run::route::Carried;
use crate::run::unlabelled::open_causal;
use crate::run::verdict::Verdicts;
use crate::run::write::{CarriedTables, Router, score_table};
use crate::score::{CausalScorer, OpenedScorer, SavedScorer, ScorerChoice, SharedEncoder, Truncated, Unlabelled};
use crate::source::{Columns, Inputs, Request, schema_to_bytes};
use crate::{Error, Result};

/// Bytes of rows in a record, about.
const PIECE_BYTES: usize = 1 << 20;

/// Scores the units of a stream.
pub(super) fn score(task: Task<'_>, input: &mut Incoming<impl Read>, output: Outgoing<impl Write>) -> Result<()> {
    let mut writer = RecordWriter::begin(output)?;
    let no_inputs = Inputs::none(&task.plan.source, task.with.context);
    let (mut scoring, mut scorer_hash) = (None, None);
    while let Some(batch) = input.next()? {
        let scorers = super::columns::binaries(&batch, "scorer")?;
        let units = PlacedUnit::of_batch(&batch)?;
        for (index, (unit, verdicts)) in units.iter().zip(verdicts_of(task, &batch, &units)?).enumerate() {
            let learnt = scorers.is_valid(index).then(|| scorers.value(index));
            let hash = learnt.map(xxh3_64);
            if *scorer_hash.get_or_insert(hash) != hash {
                return Err(Error::Invariant("units come with different scorers".into()));
            }
            let scoring = match &mut scoring {
                Some(scoring) => scoring,
                none => none.insert(Scoring::open(task, &no_inputs, learnt)?),
            };
            scoring.unit(task, unit, verdicts, |record| writer.push(&record))?;
        }
    }
    writer.finish()
}

/// What scores and embeds.
struct Scoring<'a> {
    scorer: Option<Scorer<'a>>,
    embedder: Option<Embedder>,
}

struct Scorer<'a> {
    opened: OpenedScorer<'a>,
    record: ScorerRecord,
    table: Carried,
    /// Texts that the cache had, of the units so far.
    n_cached: u64,
}

impl<'a> Scoring<'a> {
    fn open(task: Task<'a>, no_inputs: &'a Inputs, learnt: Option<&[u8]>) -> Result<Self> {
        let run = task.run(no_inputs);
        let scorer = task.config.score.is_some().then(|| Scorer::open(task, no_inputs, learnt)).transpose()?;
        let embedder = Embedder::open(run, task.plan.embed.as_ref(), None, task.with.stores)?;
        Ok(Self { scorer, embedder })
    }

    fn unit(
        &mut self,
        task: Task<'_>,
        unit: &PlacedUnit,
        verdicts: Verdicts,
        mut to: impl FnMut(Record) -> Result<()>,
    ) -> Result<()> {
        let Surroundings { context, progress, .. } = task.with;
        let (inputs, schema) = unit.open(task)?;
        let carried = CarriedTables::new(task.plan, task.config, &schema, false);
        let router = Router::of_verdicts(&inputs, verdicts, None, None, &carried, task.plan, context);
        let stage = self.scorer.as_ref().map(|scorer| &*scorer.opened.scorer);
        let router = router.scoring(stage, self.embedder.as_ref());
        let request = Request {
            columns: Columns::Named(task.plan.embedding_columns()),
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
        let mut pieces = Pieces { unit: unit.number, counts: [0; 2], to: &mut to };
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
                        pieces.push(Table::Scores, &scorer.table.project(scored)?)?;
                    }
                    if let (Some(tally), Some(embedded)) = (&mut tally, routed.embedded) {
                        pieces.push(Table::Embeddings, &embedded.table)?;
                        tally.observe(embedded)?;
                    }
                }
                Ok(())
            },
        )?;
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
        }
        to(Record { unit: Some(unit.number), a: unit.number, ..Record::json(Kind::Scored, &scored)? })
    }
}

impl<'a> Scorer<'a> {
    /// # Errors
    /// `Error::Config` if there is nothing to score with.
    fn open(task: Task<'a>, no_inputs: &'a Inputs, learnt: Option<&[u8]>) -> Result<Self> {
        let (score, Surroundings { stores, context, .. }) = (of_score(task)?, task.with);
        let missing = |what: &str| Error::Config {
            message: format!("{what}, which the run had when it began"),
            hint: Some("every machine must reach the scorer by the same path or URL".into()),
        };
        let check_model = |location: &str, hash: &str| {
            task.job.scoring.as_ref().map_or(Ok(()), |scoring| scoring.check_model(location, hash))
        };
        let (opened, record) = match (learnt, &task.plan.scorer) {
            (Some(bytes), _) => {
                let saved = SavedScorer::from_bytes(bytes, "the scorer that was learnt".into())?;
                let record = ScorerRecord { name: saved.fingerprint().to_owned(), ..ScorerRecord::default() };
                (saved.open(task.plan.device, score.cache.as_deref(), stores, context)?, record)
            }
            (None, _) if task.job.learns() => return Err(missing("there is no scorer in the stream")),
            (None, ScorerChoice::Encoder(location)) => {
                let saved = SavedScorer::read(location, stores, context)?;
                let saved = saved.ok_or_else(|| missing(&format!("there is no scorer in `{location}`")))?;
                check_model(location, saved.fingerprint())?;
                distilled(task.run(no_inputs), saved, score, location, stores)?
            }
            (None, ScorerChoice::Unlabelled(Unlabelled::Causal(file))) => {
                check_model(file, &CausalScorer::digest(file, stores, context)?)?;
                let (scorer, device) = open_causal(task.run(no_inputs), file, task.plan.device, stores)?;
                let record = ScorerRecord { name: score.scorer.clone(), ..ScorerRecord::default() };
                (OpenedScorer { scorer: Box::new(scorer), device, truncated: None, encoder: None }, record)
            }
            (None, _) => return Err(missing("there is no scorer")),
        };
        let table = score_table(&*opened.scorer)?;
        let record = ScorerRecord {
            device: opened.device.description.clone(),
            device_note: opened.device.fallback_reason.clone(),
            ..record
        };
        Ok(Self { opened, record, table, n_cached: 0 })
    }

    /// What it has done since it was asked the last time; what was embedded is in the cache then.
    fn work(&mut self) -> Result<Work> {
        let n_cached = self.opened.encoder.as_ref().map_or(Ok(0), SharedEncoder::finish)?;
        let cached_rows = n_cached - std::mem::replace(&mut self.n_cached, n_cached);
        let truncated_rows = self.opened.truncated.as_ref().map_or(0, Truncated::count);
        let ScorerRecord { name, device, device_note, .. } = self.record.clone();
        Ok(Work { name, device, device_note, truncated_rows, cached_rows })
    }
}

/// The rows of a unit, on their way to tables.
struct Pieces<'a, F> {
    unit: u64,
    /// By table, how many there were.
    counts: [u64; 2],
    to: &'a mut F,
}

impl<F: FnMut(Record) -> Result<()>> Pieces<'_, F> {
    fn push(&mut self, table: Table, rows: &RecordBatch) -> Result<()> {
        let code = table_code(table)?;
        let row_bytes = rows.get_array_memory_size() / rows.num_rows().max(1);
        let most = (PIECE_BYTES / row_bytes.max(1)).max(1);
        for start in (0..rows.num_rows()).step_by(most) {
            let some = rows.slice(start, most.min(rows.num_rows() - start));
            let number = &mut self.counts[code as usize];
            (self.to)(Record {
                unit: Some(self.unit),
                a: *number,
                b: code,
                c: some.num_rows() as u64,
                payload: crate::source::batch_to_bytes(&some)?,
                ..Record::new(Kind::TableRows)
            })?;
            *number += 1;
        }
        Ok(())
    }
}
