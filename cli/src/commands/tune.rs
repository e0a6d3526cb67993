//! `tamis tune`: what near-duplicate removal would do at other thresholds.

use std::io::{self, Write};
use std::time::Instant;

use serde_json::{Value, json};
use tamis_pipeline::dedup::Search;
use tamis_pipeline::run::draw_sample;
use tamis_pipeline::tune::{Pair, Pairs, Sample, ThresholdLine, Tuning};

use crate::args::{Format, Global, Tune};
use crate::exit::Exit;
use crate::machine;
use crate::number::{bytes, count, counted};
use crate::progress::Display;
use crate::settings;
use crate::shell::quoted;

/// Characters of the longest bar of the histogram.
const BAR_CHARS: f64 = 40.0;

pub(crate) fn run(args: &Tune, global: &Global) -> anyhow::Result<Exit> {
    let context = settings::context(global)?;
    let display = Display::start(global);
    let (input, deduplicate) = settings::tune(args);
    let stores = settings::stores();
    let (drawn, reading) =
        timed(|| draw_sample(&input, &deduplicate, args.sample, &stores, &context, display.progress()));
    let (sample, n_rejected) = drawn?;
    display.progress().begin("comparing all pairs");
    let (pairs, comparing) = timed(|| Pairs::compare(&sample, &context));
    let pairs = pairs?;
    let (tuning, judging) = timed(|| Tuning::new(&sample, &pairs, &context));
    let tuning = tuning?;
    drop(display);
    let finished = Finished {
        args,
        sample: &sample,
        tuning: &tuning,
        n_rejected,
        seconds: [reading, comparing, judging],
        n_threads: settings::n_threads(global),
    };
    let mut out = io::stdout().lock();
    match global.format {
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &finished.to_json())?;
            writeln!(out)?;
        }
        // Other formats are refused before a command begins.
        _ => finished.write_text(&mut out)?,
    }
    out.flush()?;
    Ok(if n_rejected > 0 { Exit::Rejects } else { Exit::Clean })
}

/// Does something, and says how many seconds it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let started = Instant::now();
    let result = work();
    (result, started.elapsed().as_secs_f64())
}

struct Finished<'a> {
    args: &'a Tune,
    sample: &'a Sample,
    tuning: &'a Tuning,
    n_rejected: u64,
    /// Of reading, comparing and judging.
    seconds: [f64; 3],
    n_threads: usize,
}

impl Finished<'_> {
    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let sample = self.sample;
        let scope = if sample.is_whole_input() {
            "all compared with each other: pairs, dropped rows and recall are exact".to_owned()
        } else {
            format!(
                "{} drawn at random and {} neighbours of theirs compared: estimates for the whole input",
                count(sample.n_drawn() as u64),
                count(sample.n_neighbours() as u64)
            )
        };
        writeln!(out, "tamis tune: {} rows, {scope}", count(sample.n_rows()))?;
        let [reading, comparing, judging] = self.seconds;
        let memory =
            machine::peak_memory_bytes().map_or_else(String::new, |peak| format!(", peak memory {}", bytes(peak)));
        writeln!(
            out,
            "  reading {reading:.1} s, comparing all pairs {comparing:.1} s, judging {judging:.1} s; {}{memory}",
            counted(self.n_threads as u64, "thread")
        )?;
        if sample.n_cut() > 0 {
            let n = count(sample.n_cut());
            writeln!(
                out,
                "  {n} of them have too many neighbours to compare all: their pairs are estimated from the rows drawn"
            )?;
        }
        if self.n_rejected > 0 {
            writeln!(out, "  {} rows could not be read and are left out", count(self.n_rejected))?;
        }
        writeln!(
            out,
            "\n  {:>9} {:>12} {:>12} {:>16}   {:>9} {:>8} {:>10} {:>14}",
            "threshold", "pairs", "dropped", "share", "bands", "recall", "precision", "candidates/row"
        )?;
        for line in &self.tuning.lines {
            writeln!(out, "{}", text_line(line))?;
        }
        writeln!(
            out,
            "  precision is that of bare candidates: after proof it is 100 %, since no row is dropped without\n"
        )?;
        self.write_histogram(out)?;
        let suggestion = &self.tuning.suggestion;
        writeln!(out, "\nsuggested: {}", self.command())?;
        writeln!(out, "  {}", suggestion.reason)?;
        if let Some(note) = &suggestion.note {
            writeln!(out, "  {note}")?;
        }
        for (side, pairs) in [("above", &self.tuning.above), ("below", &self.tuning.below)] {
            if !pairs.is_empty() {
                writeln!(out, "\njust {side} {:.2}", suggestion.threshold)?;
            }
            for pair in pairs {
                let (earlier, later) = (sample.row(pair.earlier), sample.row(pair.later));
                writeln!(out, "  {:.4}  {}: {}", pair.similarity, earlier.id, earlier.opening)?;
                writeln!(out, "          {}: {}", later.id, later.opening)?;
            }
        }
        Ok(())
    }

    fn write_histogram(&self, out: &mut impl Write) -> io::Result<()> {
        let bins = &self.tuning.histogram;
        let most = bins.iter().map(|bin| bin.1).fold(1.0, f64::max);
        writeln!(out, "  pairs by similarity")?;
        for (at, &(from, n_pairs)) in bins.iter().enumerate() {
            let range =
                bins.get(at + 1).map_or_else(|| "1.00       ".to_owned(), |next| format!("{from:.2} - {:.2}", next.0));
            let bar = "#".repeat((BAR_CHARS * n_pairs / most).ceil() as usize);
            writeln!(out, "{}", format!("  {range} {:>12}  {bar}", rounded(n_pairs)).trim_end())?;
        }
        Ok(())
    }

    /// The command that does what is suggested.
    fn command(&self) -> String {
        let (args, reading) = (self.args, &self.args.reading);
        let name = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let format = reading.input_format.map(|format| name(json!(format)));
        let documents = name(json!(reading.text_documents));
        let flags = [
            (true, format!("--threshold {} --recall {}", self.tuning.suggestion.threshold, args.recall)),
            (args.ngram != 5, format!("--ngram {}", args.ngram)),
            (args.seed != 0, format!("--seed {}", args.seed)),
            (args.ignoring.ignore_diacritics, "--ignore-diacritics".to_owned()),
            (args.ignoring.ignore_digits, "--ignore-digits".to_owned()),
            (args.ignoring.ignore_punctuation, "--ignore-punctuation".to_owned()),
            (reading.text_column != "text", format!("--text-column {}", quoted(&reading.text_column))),
            (
                reading.id_column.is_some(),
                format!("--id-column {}", quoted(reading.id_column.as_deref().unwrap_or_default())),
            ),
            (format.is_some(), format!("--input-format {}", format.as_deref().unwrap_or_default())),
            (documents != "line", format!("--text-documents {documents}")),
        ];
        let flags: Vec<String> = flags.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag).collect();
        let inputs: Vec<String> = args.inputs.iter().map(|input| quoted(input)).collect();
        format!("tamis dedup {} {} -o OUT", inputs.join(" "), flags.join(" "))
    }

    fn to_json(&self) -> Value {
        let (sample, tuning) = (self.sample, self.tuning);
        let [reading, comparing, judging] = self.seconds;
        let lines = tuning.lines.iter().map(|line| {
            let bands = bands_of(line.search);
            json!({
                "threshold": line.threshold,
                "pairs": line.pairs,
                "dropped_rows": line.dropped_rows,
                "dropped_ratio": line.dropped_ratio,
                "dropped_ratio_error": line.dropped_ratio_error,
                "bands": bands.map(|bands| bands.0),
                "rows_per_band": bands.map(|bands| bands.1),
                "recall": line.recall,
                "candidate_precision": line.precision,
                "candidates_per_row": line.candidates_per_row,
            })
        });
        let histogram = tuning.histogram.iter().map(|(from, pairs)| json!({ "from": from, "pairs": pairs }));
        let examples = |pairs: &[Pair]| -> Value {
            let row = |index| json!({ "id": sample.row(index).id, "opening": sample.row(index).opening });
            let example = |pair: &Pair| json!({ "similarity": pair.similarity, "earlier": row(pair.earlier), "later": row(pair.later) });
            pairs.iter().map(example).collect()
        };
        json!({
            "command": "tamis tune",
            "rows": sample.n_rows(),
            "rejected_rows": self.n_rejected,
            "sample": {
                "drawn_rows": sample.n_drawn(),
                "neighbour_rows": sample.n_neighbours(),
                "rows_with_neighbours_left_out": sample.n_cut(),
                "is_whole_input": sample.is_whole_input(),
                "median_shingles": sample.median_shingles(),
            },
            "seconds": { "reading": reading, "comparing": comparing, "judging": judging },
            "threads": self.n_threads,
            "peak_memory_bytes": machine::peak_memory_bytes(),
            "ngram": self.args.ngram,
            "recall": self.args.recall,
            "thresholds": lines.collect::<Value>(),
            "histogram": histogram.collect::<Value>(),
            "suggestion": {
                "threshold": tuning.suggestion.threshold,
                "reason": tuning.suggestion.reason,
                "note": tuning.suggestion.note,
                "command": self.command(),
            },
            "examples": { "above": examples(&tuning.above), "below": examples(&tuning.below) },
        })
    }
}

fn bands_of(search: Search) -> Option<(usize, usize)> {
    match search {
        Search::Bands(bands) => Some((bands.n_bands, bands.rows_per_band)),
        Search::Exhaustive | Search::Samples(_) => None,
    }
}

fn text_line(line: &ThresholdLine) -> String {
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let share = match line.dropped_ratio_error {
        error if error > 0.0 => format!("{:.1} +- {:.1} %", 100.0 * line.dropped_ratio, 100.0 * error),
        _ => format!("{:.1} %", 100.0 * line.dropped_ratio),
    };
    format!(
        "  {:>9.2} {:>12} {:>12} {share:>16}   {:>9} {:>8} {:>10} {:>14}",
        line.threshold,
        rounded(line.pairs),
        rounded(line.dropped_rows),
        bands_of(line.search).map_or_else(|| "all".to_owned(), |(bands, rows)| format!("{bands} x {rows}")),
        percent(line.recall),
        percent(line.precision),
        line.candidates_per_row.map_or_else(|| "-".to_owned(), |candidates| format!("{candidates:.2}")),
    )
}

fn rounded(value: f64) -> String {
    count(value.round() as u64)
}
