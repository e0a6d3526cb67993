//! What goes to stdout when a run has ended.

use std::io::{self, Write};
use std::time::Duration;

use serde_json::json;
use tamis_schemas::config::Measure;
use tamis_schemas::manifest::{
    DecontaminationRecord, EmbeddingRecord, GrainRecord, LossOf, LossRecord, Manifest, NearDuplicateRecord,
    QualityRecord, SemanticRecord,
};

use tamis_pipeline::footprint::{
    self,
    report::{Report, text},
};

use crate::args::Format;
use crate::machine;
use crate::number::{bytes, count, counted, percent};

/// What the manifest does not hold, because it differs from run to run.
#[derive(Debug)]
pub(crate) struct Finished<'a> {
    pub(crate) command: &'static str,
    pub(crate) manifest: &'a Manifest,
    /// Commits that it came in, if it was added to others.
    pub(crate) n_parts: usize,
    /// Rows of earlier runs that left the output for it.
    pub(crate) n_withdrawn: u64,
    pub(crate) output: &'a str,
    pub(crate) elapsed: Duration,
    pub(crate) n_threads: usize,
    /// What it used, if that was accounted for.
    pub(crate) footprint: Option<&'a Report>,
}

/// Prints the summary of a run.
pub(crate) fn print(finished: &Finished<'_>, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            let summary = json!({
                "command": finished.command,
                "output": finished.output,
                "seconds": finished.elapsed.as_secs_f64(),
                "threads": finished.n_threads,
                "peak_memory_bytes": machine::peak_memory_bytes(),
                "parts": finished.n_parts,
                "withdrawn_rows": finished.n_withdrawn,
                "manifest": finished.manifest,
                "footprint": finished.footprint.map(footprint::report::json::of_report),
            });
            serde_json::to_writer_pretty(&mut out, &summary)?;
            writeln!(out)?;
        }
        // Other formats are refused before a run begins.
        _ => write_text(&mut out, finished)?,
    }
    out.flush()
}

/// What a run used, in a line.
pub(crate) fn footprint_words(footprint: &Report) -> String {
    let totals = &footprint.totals;
    format!("{}; {}: {}", text::energy_of(totals, totals), text::grams_of(totals), text::label_line(totals))
}

/// Says that earlier runs have read all `n_inputs` files.
pub(crate) fn print_nothing_new(command: &str, output: &str, n_inputs: usize, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            let summary = json!({"command": command, "output": output, "nothing_new": true, "files": n_inputs});
            serde_json::to_writer_pretty(&mut out, &summary)?;
            writeln!(out)?;
        }
        _ => writeln!(
            out,
            "{command}: nothing new: {} of the input {} in {output} already",
            counted(n_inputs as u64, "file"),
            if n_inputs == 1 { "is" } else { "are" }
        )?,
    }
    out.flush()
}

/// Says that another run, `holder`, is adding to the output.
pub(crate) fn print_skipped(command: &str, output: &str, holder: &str, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::Json => {
            let summary = json!({"command": command, "output": output, "skipped": true, "holder": holder});
            serde_json::to_writer_pretty(&mut out, &summary)?;
            writeln!(out)?;
        }
        _ => writeln!(out, "{command}: skipped: another run is adding to {output}: {holder}")?,
    }
    out.flush()
}

fn write_text(out: &mut impl Write, finished: &Finished<'_>) -> io::Result<()> {
    let Manifest { rows, inputs, dropped_by_reason, .. } = finished.manifest;
    let stored: u64 = inputs.iter().map(|input| input.size_bytes).sum();
    let seconds = finished.elapsed.as_secs_f64();
    let memory = machine::peak_memory_bytes().map_or_else(String::new, |peak| format!(", peak memory {}", bytes(peak)));
    writeln!(
        out,
        "{}: {} from {} ({}) in {seconds:.1} s, {}{memory}\n",
        finished.command,
        counted(rows.rows_in, "row"),
        counted(inputs.len() as u64, "file"),
        bytes(stored),
        counted(finished.n_threads as u64, "thread"),
    )?;
    let row = |name: &str, n: u64, note: &str| {
        format!("  {name:<10}{:>14}  {:>7}  {note}", count(n), percent(n, rows.rows_in))
    };
    let reasons: Vec<String> = dropped_by_reason.iter().map(|(reason, n)| format!("{} {reason}", count(*n))).collect();
    let text = if rows.text_bytes > 0 { format!("{} of text", bytes(rows.text_bytes)) } else { String::new() };
    writeln!(out, "{}", row("rows in", rows.rows_in, &text).trim_end())?;
    writeln!(out, "{}", row("kept", rows.kept, "").trim_end())?;
    writeln!(out, "{}", row("dropped", rows.dropped, &reasons.join(", ")).trim_end())?;
    writeln!(
        out,
        "{}",
        row("rejected", rows.rejected, if rows.rejected > 0 { "see rejected/" } else { "" }).trim_end()
    )?;
    if finished.n_withdrawn > 0 {
        writeln!(
            out,
            "\n{} of earlier runs left the output: of files that have changed, or read in again to be decided anew",
            counted(finished.n_withdrawn, "row")
        )?;
    }
    if let Some(record) = &finished.manifest.decontamination {
        write_decontamination(out, record)?;
    }
    if let Some(record) = &finished.manifest.near_duplicates {
        write_near_duplicates(out, finished.manifest, record)?;
    }
    if let Some(losses) = &finished.manifest.losses {
        write_losses(out, losses)?;
    }
    if let Some(record) = &finished.manifest.index {
        writeln!(
            out,
            "index: {} rows of earlier runs, {} of them alike enough to look at; {} rows dropped for them, {} rows added",
            count(record.indexed_rows),
            count(record.matched_rows),
            count(record.dropped_rows),
            count(record.added_rows),
        )?;
    }
    if let Some(record) = &finished.manifest.grain {
        write_grain(out, finished.manifest, record)?;
    }
    if let Some(record) = &finished.manifest.semantic {
        write_semantic(out, record)?;
    }
    if let Some(record) = &finished.manifest.quality {
        write_quality(out, finished.manifest, record)?;
    }
    if let Some(record) = &finished.manifest.embedding {
        write_embedding(out, record)?;
    }
    write_selection(out, finished.manifest)?;
    let parts = if finished.n_parts == 1 { String::new() } else { format!(" in {} parts", finished.n_parts) };
    if let Some(footprint) = finished.footprint {
        writeln!(out, "\nfootprint: {}", footprint_words(footprint))?;
    }
    writeln!(out, "\nwritten to {}{parts}", finished.output)?;
    for (table, record) in &finished.manifest.tables {
        let size: u64 = record.files.iter().map(|file| file.bytes).sum();
        let class = record.storage_class.as_ref().map_or_else(String::new, |class| format!(", {class}"));
        let place = if record.tier == "default" { String::new() } else { format!(", tier {}", record.tier) };
        writeln!(out, "  {:<10}{:>14} rows  {:>9}{place}{class}", table.name(), count(record.rows), bytes(size))?;
    }
    if !finished.manifest.requests.is_empty() {
        let requests = finished.manifest.requests.iter().map(|(name, n)| format!("{} {name}", count(*n)));
        writeln!(out, "\nrequests to object stores: {}", requests.collect::<Vec<_>>().join(", "))?;
    }
    if !finished.manifest.skipped_files.is_empty() {
        writeln!(
            out,
            "\n{} files were passed over: their format is unknown (first: {})",
            count(finished.manifest.skipped_files.len() as u64),
            finished.manifest.skipped_files[0]
        )?;
    }
    Ok(())
}

fn write_decontamination(out: &mut impl Write, record: &DecontaminationRecord) -> io::Result<()> {
    writeln!(
        out,
        "\nheld out: {} of {}, by runs of {} tokens\n  {} rows contain one, {} items are contained",
        counted(record.items, "item"),
        counted(record.files.len() as u64, "file"),
        record.ngram,
        count(record.contaminated_rows),
        count(record.found_items),
    )?;
    if record.items_too_short + record.items_without_tokens > 0 {
        writeln!(
            out,
            "  {} items are too short to look for, {} have no word",
            count(record.items_too_short),
            count(record.items_without_tokens),
        )?;
    }
    if let Some(first) = record.skipped_files.first() {
        let n_skipped = count(record.skipped_files.len() as u64);
        writeln!(out, "  {n_skipped} files were passed over: their format is unknown (first: {first})")?;
    }
    Ok(())
}

fn write_near_duplicates(out: &mut impl Write, manifest: &Manifest, record: &NearDuplicateRecord) -> io::Result<()> {
    let setting = |key: &str| manifest.config["deduplicate"][key].clone();
    let measure = match record.measure {
        Measure::Jaccard => "Jaccard",
        Measure::Containment => "containment",
    };
    let plan = match &record.sample {
        Some(sample) => format!("{} of {} sampled shared", sample.least_shared, sample.shingles),
        None if record.bands == 0 => "every pair that shares a shingle".to_owned(),
        None => format!("{} bands of {}", record.bands, record.rows_per_band),
    };
    // Bands that no recall was asked of: say which recall they have.
    let plan = match (setting("preset").as_str(), setting("recall").is_null()) {
        (Some(preset), true) => {
            let found = 100.0 * record.recall_at_threshold;
            format!("{plan} (preset {preset}: {found:.1} % of the pairs at the threshold)")
        }
        _ => plan,
    };
    writeln!(
        out,
        "\nnear-duplicates: {measure} >= {} of {}-token shingles, {plan}",
        setting("threshold"),
        setting("ngram"),
    )?;
    let cells = |value: fn(f64, f64) -> String| {
        record.s_curve.iter().map(|point| value(point.similarity, point.probability)).collect::<String>()
    };
    writeln!(out, "  similarity  {}", cells(|similarity, _| format!("{similarity:>7.2}")))?;
    writeln!(out, "  compared    {}", cells(|_, probability| format!("{:>6.1}%", 100.0 * probability)))?;
    writeln!(
        out,
        "  {} candidate pairs, {} proven, {} untested; {} clusters, the largest of {} rows",
        count(record.candidate_pairs),
        count(record.proven_pairs),
        count(record.untested_pairs),
        count(record.clusters),
        count(record.largest_cluster_rows),
    )?;
    if !record.what_if.is_empty() {
        let points =
            record.what_if.iter().map(|point| format!("  {:.2}: {}", point.threshold, count(point.dropped_rows)));
        writeln!(out, "  dropped rows that reach{}", points.collect::<String>())?;
    }
    if record.rows_without_tokens > 0 {
        writeln!(out, "  {} rows without a word: only equal text drops them", count(record.rows_without_tokens))?;
    }
    if record.indirect_rows > 0 {
        writeln!(out, "  {} rows dropped without a direct proof (linkage connected)", count(record.indirect_rows))?;
    }
    if record.spared_rows > 0 {
        writeln!(out, "  {} rows stay beside the first of their cluster (cap_cluster)", count(record.spared_rows))?;
    }
    Ok(())
}

fn write_losses(out: &mut impl Write, losses: &LossRecord) -> io::Result<()> {
    writeln!(out, "\nmore was lost than the guards allow; allow_loss let it pass:")?;
    for breach in &losses.breaches {
        writeln!(out, "  {breach}")?;
    }
    let n_told = |of: LossOf| losses.breaches.iter().filter(|breach| breach.of == of).count() as u64;
    for (n, of, name) in [
        (losses.clusters, LossOf::Cluster, "clusters too large"),
        (losses.sources, LossOf::Source, "sources that lose too much"),
    ] {
        let n_more = n.saturating_sub(n_told(of));
        if n_more > 0 {
            writeln!(out, "  {name} not shown: {}", count(n_more))?;
        }
    }
    Ok(())
}

fn write_grain(out: &mut impl Write, manifest: &Manifest, record: &GrainRecord) -> io::Result<()> {
    let cuts = |section: &str| manifest.config[section]["action"] == "cut";
    if record.units == 0 && !cuts("repetition") {
        return Ok(());
    }
    writeln!(out)?;
    if let Some(unit) = manifest.config["grain"]["unit"].as_str() {
        writeln!(
            out,
            "{unit}s: {} compared, {} of them in an earlier row too",
            count(record.units),
            count(record.duplicate_units)
        )?;
    }
    if cuts("grain") || cuts("repetition") {
        writeln!(
            out,
            "cut: {} spans ({}) out of {} rows; `tamis restore` puts them back",
            count(record.cut_spans),
            bytes(record.cut_bytes),
            count(record.cut_rows),
        )?;
    }
    if record.spared_rows > 0 {
        writeln!(out, "  {} rows stay whole because others were dropped for them", count(record.spared_rows))?;
    }
    Ok(())
}

fn write_semantic(out: &mut impl Write, record: &SemanticRecord) -> io::Result<()> {
    writeln!(
        out,
        "\nsemantic duplicates: cosine >= {} of embeddings, {} of {}",
        record.threshold,
        counted(record.clusters, "cluster"),
        if record.clusters == 1 {
            counted(record.largest_cluster_rows, "row")
        } else {
            format!("up to {}", counted(record.largest_cluster_rows, "row"))
        },
    )?;
    writeln!(
        out,
        "  {} rows dropped; {} pairs compared, {} of different clusters untested",
        count(record.dropped_rows),
        count(record.compared_pairs),
        count(record.untested_pairs),
    )?;
    if record.spared_rows > 0 {
        writeln!(out, "  {} rows stay because others were dropped for them", count(record.spared_rows))?;
    }
    if record.rows_without_text > 0 {
        writeln!(
            out,
            "  {} rows without a word that the model knows are compared with none",
            count(record.rows_without_text)
        )?;
    }
    write_encoder(out, &record.embedding)
}

fn write_quality(out: &mut impl Write, manifest: &Manifest, record: &QualityRecord) -> io::Result<()> {
    let rule = manifest.config["quality"]["keep"].as_str().unwrap_or_default();
    let learnt: u64 = record.reference.iter().map(|file| file.rows).sum();
    let from = if learnt == 0 { String::new() } else { format!(", learnt from {}", counted(learnt, "reference row")) };
    writeln!(
        out,
        "\nquality: {} of {} stay, by {rule} of {}{from}",
        count(record.kept_rows),
        counted(record.judged_rows, "row"),
        record.column
    )?;
    if let [least, low, middle, high, most] = record.quantiles[..] {
        writeln!(out, "  least {least:.3}  10 % {low:.3}  50 % {middle:.3}  90 % {high:.3}  most {most:.3}")?;
    }
    if record.rows_without_score > 0 {
        writeln!(out, "  {} without a score", counted(record.rows_without_score, "row"))?;
    }
    Ok(())
}

fn write_embedding(out: &mut impl Write, record: &EmbeddingRecord) -> io::Result<()> {
    let (rows, cached) = (count(record.rows), count(record.cached_rows));
    let from_cache = if record.cached_rows == 0 { String::new() } else { format!(", {cached} of them from the cache") };
    writeln!(out, "\nembeddings: {rows} of {} components, on {}{from_cache}", record.dimensions, record.device)?;
    write_encoder(out, record)
}

/// What a reader should know of an encoder's work, if anything.
fn write_encoder(out: &mut impl Write, record: &EmbeddingRecord) -> io::Result<()> {
    if let Some(note) = &record.device_note {
        writeln!(out, "  {note}")?;
    }
    if record.truncated_rows > 0 {
        writeln!(
            out,
            "  {} texts were longer than the model takes: their ends do not count",
            count(record.truncated_rows)
        )?;
    }
    Ok(())
}

fn write_selection(out: &mut impl Write, manifest: &Manifest) -> io::Result<()> {
    if let Some(scorer) = &manifest.scorer {
        let knows = match (scorer.classes.len(), scorer.labelled_rows) {
            // It learns without labels.
            _ if scorer.task.is_empty() => String::new(),
            (_, 0) => ", no labels yet".to_owned(),
            (0, n_labelled) => format!(", {} with numbers", counted(n_labelled, "labelled row")),
            (n_classes, n_labelled) => {
                format!(
                    ", {} in {n_classes} {}",
                    counted(n_labelled, "labelled row"),
                    if n_classes == 1 { "class" } else { "classes" }
                )
            }
        };
        writeln!(out, "\nscorer: {} on {}{knows}", scorer.name, scorer.device)?;
        if scorer.truncated_rows > 0 {
            writeln!(
                out,
                "  {} longer than the model takes: the ends do not count",
                counted(scorer.truncated_rows, "text")
            )?;
        }
        if let Some(size) = &scorer.right_size {
            writeln!(
                out,
                "  {} says what {} says of {} of {} rows",
                size.smaller,
                size.larger,
                count(size.agreeing_rows),
                count(size.sample_rows)
            )?;
        }
        if scorer.cached_rows > 0 {
            writeln!(out, "  the cache had the embeddings of {}", counted(scorer.cached_rows, "text"))?;
        }
        if let Some(note) = &scorer.device_note {
            writeln!(out, "  {note}")?;
        }
    }
    if let Some(selection) = &manifest.selection {
        writeln!(
            out,
            "batch: {} of {} unlabelled rows by {} ({}), {} of them at random",
            count(selection.batch_rows - selection.relabelled_rows),
            count(selection.pool_rows),
            selection.strategy,
            selection.why,
            count(selection.random_rows),
        )?;
        if selection.relabelled_rows > 0 {
            writeln!(out, "  and {} labelled rows, to be labelled once more", count(selection.relabelled_rows))?;
        }
        if let Some(shortfall) = &selection.shortfall {
            writeln!(out, "  fewer than asked for: {shortfall}")?;
        }
        if selection.unknown_labels > 0 {
            writeln!(out, "  {} labels are of ids that are not in the pool", count(selection.unknown_labels))?;
        }
    }
    Ok(())
}
