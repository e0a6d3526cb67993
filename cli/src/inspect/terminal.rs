//! For people, in a terminal or a pipe.

use std::io::{self, Write};

use tamis_pipeline::inspect::{Cluster, ClusterSummary, Overview, Pair, Proof, Sources, Text};

use super::compare::{Alone, Compared};
use super::layout::{columns, padded, shortened};
use super::paint::{Ink, Paint};
use super::side_by_side::{self, Canvas};
use super::visible::visible;
use super::{Found, View};
use crate::number::{bytes, count, counted, percent};
use crate::shell::quoted;

/// Columns of a bar.
const BAR_COLUMNS: usize = 24;
/// Columns of an id in a list, at least: longer ones take what is left beside the beginning of the text.
const ID_COLUMNS: usize = 32;
/// Columns of the beginning of a text in a list, at least.
const TEXT_COLUMNS: usize = 12;

/// Writes what was found in `width` columns.
pub(crate) fn write(out: &mut impl Write, view: &View<'_>, width: usize, paint: Paint) -> io::Result<()> {
    let mut page = Page { out, view, canvas: Canvas { width, paint } };
    match &view.found {
        Found::Overview(overview, _) => page.overview(overview),
        Found::Cluster(cluster) => page.cluster(cluster),
        Found::Dropped(pairs) => {
            for (index, pair) in pairs.iter().enumerate() {
                if index > 0 {
                    page.line("")?;
                }
                page.pair(pair)?;
            }
            Ok(())
        }
    }
}

struct Page<'a, W> {
    out: &'a mut W,
    view: &'a View<'a>,
    canvas: Canvas,
}

impl<W: Write> Page<'_, W> {
    fn line(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.out, "{}", line.trim_end())
    }

    fn title(&mut self, title: &str) -> io::Result<()> {
        let title = self.canvas.paint.ink(Ink::Title, title);
        writeln!(self.out, "\n{title}")
    }

    fn overview(&mut self, overview: &Overview) -> io::Result<()> {
        let manifest = self.view.run.manifest();
        let rows = manifest.rows;
        let files = counted(manifest.inputs.len() as u64, "file");
        self.line(&format!("{}: {} rows from {files}", self.view.run.location(), count(rows.rows_in)))?;
        self.line("")?;
        let reasons: Vec<String> =
            manifest.dropped_by_reason.iter().map(|(reason, n)| format!("{} {reason}", count(*n))).collect();
        for (name, n, note) in [
            ("kept", rows.kept, String::new()),
            ("dropped", rows.dropped, reasons.join(", ")),
            ("rejected", rows.rejected, String::new()),
        ] {
            self.line(&format!("  {name:<10}{:>14}  {:>7}  {note}", count(n), percent(n, rows.rows_in)))?;
        }
        if overview.evidence_rows == 0 {
            return self.line("\nno row was dropped for another");
        }
        self.proofs(overview)?;
        self.similarities(overview)?;
        self.sizes(overview)?;
        self.clusters(overview)?;
        if let Some(sources) = &overview.sources {
            return self.sources(sources);
        }
        self.title("by source")?;
        self.line("  the ids do not tell the input file; name a column with --by")
    }

    fn proofs(&mut self, overview: &Overview) -> io::Result<()> {
        let words = self.view.similarity_in_words().map_or_else(String::new, |words| format!(": {words}"));
        self.title(&format!("why{words}"))?;
        for (name, counts) in [("rule", &overview.by_rule), ("proof", &overview.by_method)] {
            for (index, (value, n)) in counts.iter().enumerate() {
                let name = if index == 0 { name } else { "" };
                let share = percent(*n, overview.evidence_rows);
                self.line(&format!("  {name:<10}{:>14}  {share:>7}  {}", count(*n), visible(value)))?;
            }
        }
        Ok(())
    }

    fn similarities(&mut self, overview: &Overview) -> io::Result<()> {
        self.title("similarity of a dropped row and the one that stands for it")?;
        self.bin("", "rows", "", "at least")?;
        let most = overview.similarities.iter().map(|bin| bin.rows).max().unwrap_or(0);
        for bin in &overview.similarities {
            let range = if bin.from < bin.to { format!("{:.2} to {:.2}", bin.from, bin.to) } else { "1.00".into() };
            let share = percent(bin.rows_at_least, overview.evidence_rows);
            let at_least = format!("{:>11}  {share:>7}", count(bin.rows_at_least));
            self.bin(&range, &count(bin.rows), &bar(bin.rows, most), &at_least)?;
        }
        if overview.without_similarity > 0 {
            self.bin("none", &count(overview.without_similarity), "", "")?;
        }
        Ok(())
    }

    fn sizes(&mut self, overview: &Overview) -> io::Result<()> {
        self.title(&format!("{} clusters by number of rows", count(overview.n_clusters)))?;
        self.bin("", "clusters", "", "dropped")?;
        let most = overview.cluster_sizes.iter().map(|bin| bin.clusters).max().unwrap_or(0);
        for bin in &overview.cluster_sizes {
            let range =
                if bin.from == bin.to { count(bin.from) } else { format!("{} to {}", count(bin.from), count(bin.to)) };
            self.bin(&range, &count(bin.clusters), &bar(bin.clusters, most), &count(bin.dropped))?;
        }
        if overview.without_cluster > 0 {
            self.bin("no cluster", "", "", &count(overview.without_cluster))?;
        }
        Ok(())
    }

    /// A line of a histogram.
    fn bin(&mut self, range: &str, n: &str, bar: &str, note: &str) -> io::Result<()> {
        self.line(&format!("  {range:<13}{n:>11}  {bar:BAR_COLUMNS$}  {note:>11}"))
    }

    fn clusters(&mut self, overview: &Overview) -> io::Result<()> {
        let Some(first) = overview.clusters.first() else { return Ok(()) };
        let n_shown = overview.clusters.len() as u64;
        let which = if n_shown < overview.n_clusters {
            format!("{} of the clusters", count(n_shown))
        } else {
            "clusters".into()
        };
        let example = quoted(&visible(&first.id));
        self.title(&format!("{which} (one in full: --cluster {example})"))?;
        let figures = |rows: &str, lowest: &str, mean: &str| format!("  {rows:>8}  {lowest:>6}  {mean:>6}  ");
        let head = figures("rows", "lowest", "mean");
        let spare = self.canvas.width.saturating_sub(columns(&head) + 2 + TEXT_COLUMNS);
        let longest = overview.clusters.iter().map(|cluster| columns(&visible(&cluster.id))).max().unwrap_or(0);
        let id_columns = longest.min(spare).max(ID_COLUMNS);
        self.line(&format!("{head}{}  begins", padded("id", id_columns)))?;
        for cluster in &overview.clusters {
            let ClusterSummary { id, rows, lowest, mean, text, .. } = cluster;
            let number = |value: &Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
            let id = padded(&shortened(&visible(id), id_columns), id_columns);
            let start = format!("{}{id}  ", figures(&count(*rows), &number(lowest), &number(mean)));
            let rest = self.canvas.width.saturating_sub(columns(&start)).max(TEXT_COLUMNS);
            let text = match text {
                Some(text) => shortened(&visible(text), rest),
                None => "(the kept row is not in this run)".into(),
            };
            self.line(&format!("{start}{text}"))?;
        }
        Ok(())
    }

    fn sources(&mut self, sources: &Sources) -> io::Result<()> {
        let name = sources.column.as_deref().map_or("input file".into(), visible);
        let n_shown = sources.sources.len() as u64;
        let which = if n_shown < sources.n_sources {
            format!("{} of {}, those that lost most", count(n_shown), count(sources.n_sources))
        } else {
            count(n_shown)
        };
        self.title(&format!("by {name} ({which})"))?;
        let has_same = sources.n_sources > 1 && sources.sources.iter().any(|source| source.same_source.is_some());
        let same = if has_same { "for same" } else { "" };
        self.line(&format!("  {:>11}  {:>11}  {:>7}  {same:>9}", "rows", "dropped", ""))?;
        for source in &sources.sources {
            let name = source.name.as_deref().map_or("(null)".into(), visible);
            let same = source.same_source.filter(|_| has_same).map_or_else(String::new, count);
            let share = percent(source.dropped, source.rows);
            self.line(&format!(
                "  {:>11}  {:>11}  {share:>7}  {same:>9}  {name}",
                count(source.rows),
                count(source.dropped)
            ))?;
        }
        if sources.unknown_dropped > 0 {
            self.line(&format!(
                "  {:>11}  {:>11}  {:>7}  {:>9}  (the id does not tell)",
                "",
                count(sources.unknown_dropped),
                "",
                ""
            ))?;
        }
        Ok(())
    }

    fn cluster(&mut self, cluster: &Cluster) -> io::Result<()> {
        let title = format!("cluster {}", visible(&cluster.id));
        let title = self.canvas.paint.ink(Ink::Title, title);
        self.line(&format!(
            "{title}: {} rows, {} of them dropped in this run",
            count(cluster.rows),
            count(cluster.dropped)
        ))?;
        for pair in &cluster.pairs {
            self.line("")?;
            self.pair(pair)?;
        }
        let more = cluster.dropped - cluster.pairs.len() as u64;
        if more > 0 {
            self.line(&format!(
                "\n{} more rows were dropped, none less similar than these: --limit shows them",
                count(more)
            ))?;
        }
        Ok(())
    }

    fn pair(&mut self, pair: &Pair) -> io::Result<()> {
        let Pair { proof, kept, dropped } = pair;
        for (name, id) in [("dropped", Some(&proof.dropped_id)), ("kept", proof.kept_id.as_ref())] {
            if let Some(id) = id {
                self.line(&format!("{}  {}", self.canvas.paint.ink(Ink::Title, format!("{name:<8}")), visible(id)))?;
            }
        }
        self.line(&format!("{}  {}", self.canvas.paint.ink(Ink::Title, format!("{:<8}", "because")), because(proof)))?;
        match (kept, dropped) {
            (Some(kept), Some(dropped)) => self.texts(kept, dropped)?,
            (None, Some(dropped)) => {
                if let Some(note) = no_kept_text(proof) {
                    self.line(&note)?;
                }
                self.line("")?;
                self.text(dropped, proof)?;
            }
            (Some(kept), None) => {
                self.line(NO_DROPPED_TEXT)?;
                self.line("")?;
                self.text(kept, &Proof { span: None, ..proof.clone() })?;
            }
            (None, None) => self.line("neither text is in this run's tables")?,
        }
        Ok(())
    }

    fn texts(&mut self, kept: &Text, dropped: &Text) -> io::Result<()> {
        let compared = Compared::new(kept, dropped);
        let counts = compared.counts();
        let number = |n: usize| count(n as u64);
        let words = if counts.only_kept + counts.only_dropped == 0 {
            format!("all {} words are equal", number(counts.equal))
        } else {
            let (only_kept, only_dropped) = (number(counts.only_kept), number(counts.only_dropped));
            format!("{} equal, {only_kept} only in kept, {only_dropped} only in dropped", number(counts.equal))
        };
        self.line(&format!("{}  {words}", self.canvas.paint.ink(Ink::Title, format!("{:<8}", "words"))))?;
        self.line("")?;
        for line in side_by_side::compared(&compared, self.view.is_full, self.canvas) {
            self.line(&line)?;
        }
        for (name, text) in [("kept", kept), ("dropped", dropped)] {
            self.missing(name, text)?;
        }
        Ok(())
    }

    fn text(&mut self, text: &Text, proof: &Proof) -> io::Result<()> {
        for line in side_by_side::alone(&Alone::new(text, proof.span.as_ref(), self.view.is_full), self.canvas) {
            self.line(&line)?;
        }
        self.missing("it", text)
    }

    fn missing(&mut self, name: &str, text: &Text) -> io::Result<()> {
        match text.missing_bytes() {
            0 => Ok(()),
            more => self.line(&format!("{name} has {} more, which were not looked at: --full reads them", bytes(more))),
        }
    }
}

/// Said in place of a text.
pub(super) const NO_DROPPED_TEXT: &str = "this run did not write the texts of dropped rows (output.tables)";

/// Said in place of a text, if there should be one.
pub(super) fn no_kept_text(proof: &Proof) -> Option<String> {
    let id = proof.kept_id.as_ref()?;
    Some(format!("the text of {} is not in this run: it is of an earlier run, or a held-out item", visible(id)))
}

/// Rule and proof in words.
pub(super) fn because(proof: &Proof) -> String {
    let mut parts = vec![proof.rule.as_deref().unwrap_or("unknown rule").to_owned()];
    if let Some(similarity) = proof.similarity {
        let method = proof.method.as_ref().map_or_else(String::new, |method| format!(" ({method})"));
        parts.push(format!("similarity {similarity:.4}{method}"));
    }
    match proof.shared_bands {
        None | Some(0) => {}
        Some(1) => parts.push("1 shared band".into()),
        Some(n) => parts.push(format!("{} shared bands", count(n))),
    }
    if let Some(size) = proof.cluster_size {
        parts.push(format!("cluster of {} rows", count(size)));
    }
    if let Some(span) = &proof.span {
        parts.push(format!("bytes {} to {} of the dropped text", span.start, span.end));
    }
    visible(&parts.join(", ")).into_owned()
}

fn bar(value: u64, most: u64) -> String {
    let columns = if most == 0 { 0 } else { (value * BAR_COLUMNS as u64).div_ceil(most) as usize };
    "█".repeat(columns)
}
