//! What a command did, as far as its account wants to know.

use std::collections::{BTreeMap, BTreeSet};

use tamis_pipeline::footprint::account;
use tamis_pipeline::footprint::activity::Usage;
use tamis_pipeline::run::{Distilled, Simulated};
use tamis_schemas::active::RoundRecord;
use tamis_schemas::footprint::{Amounts, SAMPLE_BY_LARGER, SAMPLE_BY_SMALLER, ScorerChoiceRow};
use tamis_schemas::manifest::{InputRecord, Manifest, ScorerRecord};

use crate::metrics;

/// Bytes of text that count as a token.
const BYTES_PER_TOKEN: u64 = 4;

/// Stages in which the device of a scorer is used, of runs on a cluster, too.
const SCORER_STAGES: &[&str] =
    &["learning", "scoring", "embedding", "replaying", SAMPLE_BY_SMALLER, SAMPLE_BY_LARGER, "learn", "score", "pick"];
/// That of the encoder whose embeddings are written.
const ENCODER_STAGES: &[&str] = &["embedding", "score"];
/// That of the one by whose embeddings rows are compared.
const SEMANTIC_STAGES: &[&str] = &["comparing by embeddings", "embed"];
/// That of what judges quality.
const QUALITY_STAGES: &[&str] = &["judging quality", "judge"];

/// What was done.
#[derive(Debug)]
pub(crate) struct Done {
    /// What went through.
    pub(super) amounts: Amounts,
    /// SHA-256 that stands for the inputs.
    pub(super) input_hash: String,
    /// Which of two scorers was chosen.
    pub(super) scorer_choice: Option<ScorerChoiceRow>,
    /// Stages in which a device was used.
    device_stages: BTreeSet<&'static str>,
}

impl Done {
    /// Tokens are a quarter of the bytes of text; those of survivors are in proportion of the rows.
    pub(crate) fn of_manifest(manifest: &Manifest) -> Self {
        let rows = &manifest.rows;
        let tokens_in = tokens(rows.text_bytes);
        let tokens_out =
            tokens_in.map(|tokens| u128::from(tokens) * u128::from(rows.kept) / u128::from(rows.rows_in.max(1)));
        let amounts = Amounts {
            docs_in: Some(rows.rows_in),
            docs_out: Some(rows.kept),
            bytes_out: Some(metrics::output_bytes(manifest)),
            tokens_in,
            tokens_out: tokens_out.map(|tokens| tokens as u64),
            labels: manifest.selection.as_ref().map(|selection| selection.batch_rows),
            ..Amounts::default()
        };
        let of_scorer = manifest.scorer.as_ref().map(|scorer| &scorer.device);
        let of_encoder = manifest.embedding.as_ref().map(|embedding| &embedding.device);
        let of_semantic = manifest.semantic.as_ref().map(|semantic| &semantic.embedding.device);
        let of_quality = manifest.quality.as_ref().and_then(|quality| quality.device.as_ref());
        let devices = [
            (of_scorer, SCORER_STAGES),
            (of_encoder, ENCODER_STAGES),
            (of_semantic, SEMANTIC_STAGES),
            (of_quality, QUALITY_STAGES),
        ];
        let done = Self::new(&manifest.inputs, amounts, devices);
        Self { scorer_choice: manifest.scorer.as_ref().and_then(|scorer| scorer_choice(scorer, rows.kept)), ..done }
    }

    /// A scorer was learnt: no row survives it, and none is dropped.
    pub(crate) fn of_distilled(distilled: &Distilled) -> Self {
        let amounts = Amounts {
            docs_in: Some(distilled.rows.rows_in),
            bytes_out: Some(distilled.n_bytes),
            tokens_in: tokens(distilled.rows.text_bytes),
            ..Amounts::default()
        };
        Self::new(&distilled.inputs, amounts, [(Some(&distilled.record.device), SCORER_STAGES)])
    }

    /// Labelling was replayed.
    pub(crate) fn of_simulated(simulated: &Simulated) -> Self {
        let docs_in = simulated.inputs.iter().map(|input| input.rows).sum();
        let amounts = Amounts { docs_in: Some(docs_in), ..Amounts::default() };
        Self::new(&simulated.inputs, amounts, [(simulated.device.as_ref(), SCORER_STAGES)])
    }

    /// Rows were chosen to be labelled.
    pub(crate) fn of_round(round: &RoundRecord) -> Self {
        let rows = &round.pool.rows;
        let amounts = Amounts {
            docs_in: Some(rows.rows_in),
            docs_out: Some(round.selection.batch_rows),
            tokens_in: tokens(rows.text_bytes),
            labels: Some(round.selection.batch_rows),
            ..Amounts::default()
        };
        Self::new(&round.pool.inputs, amounts, [(Some(&round.model.scorer.device), SCORER_STAGES)])
    }

    /// `devices`: where models ran, and in which stages.
    fn new<'a>(
        inputs: &[InputRecord],
        amounts: Amounts,
        devices: impl IntoIterator<Item = (Option<&'a String>, &'static [&'static str])>,
    ) -> Self {
        let bytes_in = inputs.iter().map(|input| input.size_bytes).sum();
        let is_gpu = |device: &String| device.split(", ").any(|device| device.starts_with("cuda"));
        let on_gpus = devices.into_iter().filter(|(device, _)| device.is_some_and(is_gpu));
        Self {
            amounts: Amounts { bytes_in: Some(bytes_in), ..amounts },
            input_hash: account::hash_of(&serde_json::json!(inputs).to_string()),
            scorer_choice: None,
            device_stages: on_gpus.flat_map(|(_, stages)| stages).copied().collect(),
        }
    }

    /// Whether a device was used in this stage.
    pub(super) fn uses_device(&self, stage: &str) -> bool {
        self.device_stages.contains(stage)
    }

    /// Seconds that a device was held: those of the stages that use one, if one was used.
    pub(super) fn device_seconds(&self, usage: &Usage) -> BTreeMap<String, f64> {
        let stages = usage.stages.iter().filter(|stage| self.uses_device(&stage.name));
        stages.map(|stage| (stage.name.clone(), stage.wall_seconds)).collect()
    }
}

fn scorer_choice(scorer: &ScorerRecord, scored_docs: u64) -> Option<ScorerChoiceRow> {
    scorer.right_size.as_ref().map(|size| ScorerChoiceRow {
        smaller: size.smaller.clone(),
        larger: size.larger.clone(),
        is_smaller: scorer.name == size.smaller,
        sample_docs: size.sample_rows,
        agreeing_docs: size.agreeing_rows,
        scored_docs,
    })
}

/// Tokens in bytes of text; none if text was not counted.
fn tokens(text_bytes: u64) -> Option<u64> {
    (0 < text_bytes).then_some(text_bytes / BYTES_PER_TOKEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_used_where_their_models_are() {
        let done = |devices: [(Option<&str>, &'static [&'static str]); 2]| {
            let devices = devices.map(|(device, stages)| (device.map(str::to_owned), stages));
            Done::new(&[], Amounts::default(), devices.iter().map(|(device, stages)| (device.as_ref(), *stages)))
        };
        let judged = done([(Some("cpu"), SCORER_STAGES), (Some("cpu, cuda:0 (a model)"), QUALITY_STAGES)]);
        assert!(judged.uses_device("judging quality") && judged.uses_device("judge"));
        assert!(!judged.uses_device("scoring") && !judged.uses_device("write"));
        let none = done([(Some("cpu"), SCORER_STAGES), (None, ENCODER_STAGES)]);
        assert_eq!(none.device_stages, BTreeSet::new());
        let both = done([(Some("cuda:1"), SEMANTIC_STAGES), (Some("cuda:1"), SCORER_STAGES)]);
        assert!(both.uses_device("comparing by embeddings") && both.uses_device("score"));
    }
}
