//! For a browser: one page that needs nothing else, no script, no font, no picture.

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use tamis_pipeline::inspect::{Cluster, ClusterSummary, Gap, Overview, Pair, Proof, Sources, Text};

use super::compare::{Alone, Compared, Segment, Side};
use super::terminal::{NO_DROPPED_TEXT, because, no_kept_text};
use super::visible::visible;
use super::{Found, View};
use crate::number::{bytes, count, counted, percent};

const STYLE: &str = include_str!("page.css");

/// The page. It holds no time and no machine: equal runs give equal pages.
pub(crate) fn page(view: &View<'_>) -> String {
    let mut body = String::new();
    match &view.found {
        Found::Overview(overview, clusters) => {
            add_overview(&mut body, view, overview);
            for (index, cluster) in clusters.iter().enumerate() {
                add_cluster(&mut body, cluster, index, view.is_full);
            }
        }
        Found::Cluster(cluster) => add_cluster(&mut body, cluster, 0, view.is_full),
        Found::Dropped(pairs) => {
            body += "<section>\n";
            for pair in pairs {
                let _ = writeln!(body, "<h3>{}</h3>", escaped(&pair.proof.dropped_id));
                add_pair(&mut body, pair, view.is_full);
            }
            body += "</section>\n";
        }
    }
    let name = escaped(view.run.location());
    let version = escaped(&view.run.manifest().tamis_version);
    let words = view.similarity_in_words().map_or_else(String::new, |words| format!("{}. ", escaped(&words)));
    format!(
        "<!doctype html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
<title>tamis inspect {name}</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>What was dropped, and why: <code>{name}</code></h1>
<p class=\"faint\">{words}In the texts, <del>struck out</del> is only in the kept one, <ins>underlined</ins> only in the \
         dropped one; white space is not compared.</p>
</header>
<main>
{body}</main>
<footer><p>tamis inspect; the run was made by tamis {version}</p></footer>
</body>
</html>
"
    )
}

/// Text that is safe between tags and in quoted attributes.
fn escaped(text: &str) -> Cow<'_, str> {
    let text = visible(text);
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            char => safe.push(char),
        }
    }
    Cow::Owned(safe)
}

fn add_overview(body: &mut String, view: &View<'_>, overview: &Overview) {
    add_rows(body, view, overview);
    if overview.evidence_rows == 0 {
        *body += "<section><p>No row was dropped for another.</p></section>\n";
        return;
    }
    *body += "<div class=\"pair-of-sections\">\n";
    let similarities = overview.similarities.iter().map(|bin| {
        let range = if bin.from < bin.to { format!("{:.2} to {:.2}", bin.from, bin.to) } else { "1.00".to_owned() };
        let share = percent(bin.rows_at_least, overview.evidence_rows);
        (range, bin.rows, format!("{} <span class=\"faint\">{share}</span>", count(bin.rows_at_least)))
    });
    add_histogram(
        body,
        "Similarity of a dropped row and the one that stands for it",
        ["similarity", "rows", "at least"],
        &similarities.collect::<Vec<_>>(),
    );
    let sizes = overview.cluster_sizes.iter().map(|bin| {
        let range =
            if bin.from == bin.to { count(bin.from) } else { format!("{} to {}", count(bin.from), count(bin.to)) };
        (range, bin.clusters, count(bin.dropped))
    });
    add_histogram(
        body,
        &format!("{} clusters by number of rows", count(overview.n_clusters)),
        ["rows", "clusters", "dropped"],
        &sizes.collect::<Vec<_>>(),
    );
    *body += "</div>\n";
    add_clusters(body, overview);
    if let Some(sources) = &overview.sources {
        add_sources(body, sources);
    }
}

fn add_rows(body: &mut String, view: &View<'_>, overview: &Overview) {
    let manifest = view.run.manifest();
    let rows = manifest.rows;
    let parts = |counts: &std::collections::BTreeMap<String, u64>| {
        counts.iter().map(|(name, n)| format!("{} {}", count(*n), escaped(name))).collect::<Vec<_>>().join(", ")
    };
    let figures = [
        ("rows in", rows.rows_in, format!("from {}", counted(manifest.inputs.len() as u64, "file"))),
        ("kept", rows.kept, percent(rows.kept, rows.rows_in)),
        (
            "dropped",
            rows.dropped,
            format!("{}: {}", percent(rows.dropped, rows.rows_in), parts(&manifest.dropped_by_reason)),
        ),
        ("rejected", rows.rejected, percent(rows.rejected, rows.rows_in)),
        ("rows of evidence", overview.evidence_rows, parts(&overview.by_method)),
    ];
    *body += "<section>\n<dl class=\"figures\">\n";
    for (name, n, note) in figures {
        let note = note.trim_end_matches([':', ' ']);
        let _ = writeln!(body, "<div><dt>{name}</dt><dd>{}<small>{note}</small></dd></div>", count(n));
    }
    *body += "</dl>\n</section>\n";
}

/// A table of ranges with bars.
fn add_histogram(body: &mut String, title: &str, heads: [&str; 3], bins: &[(String, u64, String)]) {
    let most = bins.iter().map(|(_, n, _)| *n).max().unwrap_or(0).max(1);
    let _ = write!(
        body,
        "<section>\n<h2>{title}</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">{}</th>\
         <th scope=\"col\" class=\"n\">{}</th><th></th><th scope=\"col\" class=\"n\">{}</th></tr></thead>\n<tbody>\n",
        heads[0], heads[1], heads[2]
    );
    for (range, n, note) in bins {
        let width = 100.0 * *n as f64 / most as f64;
        let bar = if *n > 0 { format!("<span style=\"width:{width:.1}%\"></span>") } else { String::new() };
        let _ = writeln!(
            body,
            "<tr><td class=\"range\">{range}</td><td class=\"n\">{}</td><td class=\"bar\">{bar}</td><td class=\"n\">{note}</td></tr>",
            count(*n)
        );
    }
    *body += "</tbody>\n</table></div>\n</section>\n";
}

fn add_clusters(body: &mut String, overview: &Overview) {
    let n_shown = overview.clusters.len() as u64;
    let _ = write!(
        body,
        "<section>\n<h2>{} of {} clusters</h2>\n<div class=\"scroll\"><table class=\"clusters\">\n<thead><tr>\
         <th scope=\"col\" class=\"n\">rows</th><th scope=\"col\" class=\"n\">lowest</th>\
         <th scope=\"col\" class=\"n\">mean</th><th scope=\"col\">proof</th><th scope=\"col\">kept row</th>\
         <th scope=\"col\">begins</th></tr></thead>\n<tbody>\n",
        count(n_shown),
        count(overview.n_clusters)
    );
    for (index, cluster) in overview.clusters.iter().enumerate() {
        let ClusterSummary { id, rows, lowest, mean, methods, text, .. } = cluster;
        let number = |value: &Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.3}"));
        let proofs: Vec<String> = methods.iter().map(|(name, n)| format!("{} {}", count(*n), escaped(name))).collect();
        let begins = match text {
            Some(text) => escaped(text),
            None => "the kept row is not in this run".into(),
        };
        let _ = writeln!(
            body,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td>\
             <td class=\"id\"><a href=\"#cluster-{index}\">{}</a></td><td class=\"begins\" dir=\"auto\">{begins}</td></tr>",
            count(*rows),
            number(lowest),
            number(mean),
            proofs.join(", "),
            escaped(id),
        );
    }
    *body += "</tbody>\n</table></div>\n</section>\n";
}

fn add_sources(body: &mut String, sources: &Sources) {
    let name = sources.column.as_deref().map_or("input file".into(), escaped);
    let n_shown = sources.sources.len() as u64;
    let which = if n_shown < sources.n_sources {
        let (n_shown, n_sources) = (count(n_shown), count(sources.n_sources));
        format!("<p class=\"faint\">{n_shown} of {n_sources}: those that lost most.</p>\n")
    } else {
        String::new()
    };
    let _ = write!(
        body,
        "<section>\n<h2>By {name}</h2>\n{which}\
         <div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\">{name}</th><th scope=\"col\" class=\"n\">rows</th>\
         <th scope=\"col\" class=\"n\">dropped</th><th scope=\"col\" class=\"n\">share</th><th></th></tr></thead>\n<tbody>\n"
    );
    for source in &sources.sources {
        let name = source.name.as_deref().map_or("(null)".into(), escaped);
        let width = 100.0 * source.dropped as f64 / source.rows.max(1) as f64;
        let bar = if source.dropped > 0 { format!("<span style=\"width:{width:.1}%\"></span>") } else { String::new() };
        let _ = writeln!(
            body,
            "<tr><td class=\"id\">{name}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"bar\">{bar}</td></tr>",
            count(source.rows),
            count(source.dropped),
            percent(source.dropped, source.rows)
        );
    }
    *body += "</tbody>\n</table></div>\n";
    if sources.unknown_dropped > 0 {
        let n = count(sources.unknown_dropped);
        let _ = writeln!(body, "<p class=\"faint\">The ids of {n} dropped rows do not tell the file.</p>");
    }
    *body += "</section>\n";
}

fn add_cluster(body: &mut String, cluster: &Cluster, index: usize, is_full: bool) {
    let _ = write!(
        body,
        "<section id=\"cluster-{index}\">\n<h2>Cluster <code>{}</code></h2>\n\
         <p class=\"faint\">{} rows, {} of them dropped in this run; the least similar first.</p>\n",
        escaped(&cluster.id),
        count(cluster.rows),
        count(cluster.dropped)
    );
    for (position, pair) in cluster.pairs.iter().enumerate() {
        let similarity = pair.proof.similarity.map_or_else(String::new, |similarity| format!("{similarity:.3} "));
        let _ = writeln!(
            body,
            "<details{}>\n<summary>{similarity}<code>{}</code></summary>",
            if position == 0 { " open" } else { "" },
            escaped(&pair.proof.dropped_id)
        );
        add_pair(body, pair, is_full);
        *body += "</details>\n";
    }
    let more = cluster.dropped - cluster.pairs.len() as u64;
    if more > 0 {
        let n = count(more);
        let _ = writeln!(body, "<p class=\"faint\">{n} more rows were dropped, none less similar than these.</p>");
    }
    *body += "</section>\n";
}

fn add_pair(body: &mut String, pair: &Pair, is_full: bool) {
    let Pair { proof, kept, dropped } = pair;
    let kept_id = proof.kept_id.as_ref().map_or_else(String::new, |id| format!(" Kept: <code>{}</code>.", escaped(id)));
    let _ = writeln!(body, "<p class=\"why\">{}.{kept_id}</p>", escaped(&because(proof)));
    match (kept, dropped) {
        (Some(kept), Some(dropped)) => add_compared(body, kept, dropped, is_full),
        (None, Some(dropped)) => {
            if let Some(note) = no_kept_text(proof) {
                let _ = writeln!(body, "<p>{}.</p>", escaped(&note));
            }
            add_alone(body, dropped, proof, is_full);
        }
        (Some(kept), None) => {
            let _ = writeln!(body, "<p>{}.</p>", escaped(NO_DROPPED_TEXT));
            add_alone(body, kept, &Proof { span: None, ..proof.clone() }, is_full);
        }
        (None, None) => *body += "<p>Neither text is in this run's tables.</p>\n",
    }
}

fn add_compared(body: &mut String, kept: &Text, dropped: &Text, is_full: bool) {
    let compared = Compared::new(kept, dropped);
    let counts = compared.counts();
    let number = |n: usize| count(n as u64);
    let _ = write!(
        body,
        "<p class=\"why\">{} words equal, {} only in kept, {} only in dropped.</p>\n<div class=\"texts\">\n\
         <div class=\"head\">kept</div><div class=\"head right\">dropped</div>\n",
        number(counts.equal),
        number(counts.only_kept),
        number(counts.only_dropped)
    );
    for (index, segment) in compared.segments(is_full).iter().enumerate() {
        match segment {
            Segment::Omitted { kept, dropped, is_equal } => {
                let note = if *is_equal {
                    format!("{} equal words left out", number(*kept))
                } else {
                    format!("{} words of kept and {} of dropped left out", number(*kept), number(*dropped))
                };
                let _ = writeln!(body, "<div class=\"omitted\">{note}</div>");
            }
            Segment::Shown { gap, changes } => {
                let is_same = changes.iter().all(|change| change.is_equal);
                let class = if is_same { "same" } else { "changed" };
                let paragraph = if *gap == Gap::Paragraph && index > 0 { " paragraph" } else { "" };
                for (side, name) in [("left", "kept"), ("right", "dropped")] {
                    let who = if is_same { "" } else { name };
                    let _ = write!(body, "<div class=\"{side} {class}{paragraph}\" dir=\"auto\">");
                    if !who.is_empty() {
                        let _ = write!(body, "<span class=\"who\">{who}</span>");
                    }
                    for change in changes {
                        let (words, range) = if side == "left" {
                            (&compared.kept, &change.left)
                        } else {
                            (&compared.dropped, &change.right)
                        };
                        let tag = match (change.is_equal, side) {
                            (true, _) => None,
                            (false, "left") => Some("del"),
                            (false, _) => Some("ins"),
                        };
                        add_words(body, words, range, tag);
                    }
                    *body += "</div>";
                }
                *body += "\n";
            }
        }
    }
    *body += "</div>\n";
    for (name, text) in [("Kept", kept), ("Dropped", dropped)] {
        add_missing(body, name, text);
    }
}

fn add_alone(body: &mut String, text: &Text, proof: &Proof, is_full: bool) {
    let alone = Alone::new(text, proof.span.as_ref(), is_full);
    let note = |n: usize| {
        if n > 0 { format!("<div class=\"omitted\">{} words left out</div>\n", count(n as u64)) } else { String::new() }
    };
    *body += &note(alone.shown.start);
    *body += "<div class=\"alone\" dir=\"auto\">";
    let marked = &alone.marked;
    if marked.is_empty() {
        add_words(body, &alone.side, &alone.shown, None);
    } else {
        add_words(body, &alone.side, &(alone.shown.start..marked.start), None);
        add_words(body, &alone.side, marked, Some("mark"));
        add_words(body, &alone.side, &(marked.end..alone.shown.end), None);
    }
    *body += "</div>\n";
    *body += &note(alone.side.words.len() - alone.shown.end);
    add_missing(body, "It", text);
}

fn add_missing(body: &mut String, name: &str, text: &Text) {
    if text.missing_bytes() > 0 {
        let more = bytes(text.missing_bytes());
        let _ = writeln!(body, "<p class=\"faint\">{name} has {more} more, which were not looked at.</p>");
    }
}

/// Adds words, inside of `tag` if there is one.
fn add_words(body: &mut String, side: &Side<'_>, range: &Range<usize>, tag: Option<&str>) {
    if range.is_empty() {
        return;
    }
    for index in range.clone() {
        *body += match side.words[index].gap {
            Gap::None => "",
            Gap::Space => " ",
            // A cell begins with its first word.
            _ if body.ends_with("dir=\"auto\">") || body.ends_with("</span>") => "",
            Gap::Line => "<br>",
            Gap::Paragraph => "<br><br>",
        };
        if let Some(tag) = tag.filter(|_| index == range.start) {
            let _ = write!(body, "<{tag}>");
        }
        *body += &escaped(side.word(index));
    }
    if let Some(tag) = tag {
        let _ = write!(body, "</{tag}>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_text_is_markup() {
        assert_eq!(escaped("plain é"), "plain é");
        assert_eq!(escaped("<script>\"a\" & 'b'\0"), "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;␀");
    }
}
