//! `tamis init`: a commented config from what the inputs hold.

use std::io::Write;

use anyhow::Context as _;
use tamis_pipeline::run::{InputSummary, look};
use tamis_schemas::config::InputConfig;

use crate::args::{Global, Init};
use crate::exit::Exit;
use crate::number;
use crate::progress::Display;
use crate::settings;

/// Names under which people keep the text, the likeliest first.
const TEXT_NAMES: [&str; 8] = ["text", "content", "body", "document", "raw_content", "sentence", "question", "message"];
/// Names under which people keep an id.
const ID_NAMES: [&str; 8] = ["tamis_id", "id", "_id", "uuid", "doc_id", "document_id", "url", "path"];

pub(crate) fn run(args: &Init, global: &Global) -> anyhow::Result<Exit> {
    let to_stdout = args.output.as_os_str() == "-";
    if !to_stdout && args.output.exists() && !args.overwrite {
        anyhow::bail!("`{}` is there already; pass --overwrite to replace it", args.output.display());
    }
    let context = settings::context(global)?;
    let display = Display::start(global);
    let summary = look(&InputConfig::new(args.inputs.clone()), &settings::stores(), &context, display.progress());
    drop(display);
    let text = config_text(&args.inputs, &summary?);
    if to_stdout {
        std::io::stdout().write_all(text.as_bytes())?;
    } else {
        std::fs::write(&args.output, text).with_context(|| format!("could not write `{}`", args.output.display()))?;
        writeln!(std::io::stdout(), "wrote {0}; next: tamis run {0}", args.output.display())?;
    }
    Ok(Exit::Clean)
}

fn config_text(inputs: &[String], summary: &InputSummary) -> String {
    let text = text_column(summary);
    let id = summary.columns.iter().find(|column| column.is_unique && ID_NAMES.contains(&column.name.as_str()));
    let quoted = |value: &str| toml::Value::from(value).to_string();
    let paths: Vec<String> = inputs.iter().map(|input| quoted(input)).collect();
    let mut out = format!(
        "# {}, {}, {}{}. Columns:\n",
        number::counted(summary.n_files, "file"),
        number::bytes(summary.size_bytes),
        number::counted(summary.rows, "row"),
        if summary.rejected > 0 {
            format!(", {} of them unreadable", number::count(summary.rejected))
        } else {
            String::new()
        },
    );
    for column in &summary.columns {
        out += &format!("#   {}: {}\n", column.name, column.data_type);
    }
    let text_line = match text {
        Some(name) => format!("text = {}", quoted(name)),
        None => "text = \"text\"  # no column looks like text: name one".to_owned(),
    };
    let id_line = match id {
        Some(column) => format!("id = {}", quoted(&column.name)),
        None => "# id = \"id\"        # a column of unique ids; without it rows are named <file>#<row>".to_owned(),
    };
    out += &format!(
        "
[input]
paths = [{}]
{text_line}
{id_line}

[deduplicate]
measure = \"jaccard\" # or \"containment\": the share of the smaller row, which is the one dropped
# preset = \"web\"     # or \"standard\", \"loose\": in place of the next three lines; `tamis tune` shows what thresholds do
threshold = 0.8     # similarity of shingle sets from which rows are near-duplicates
recall = 0.99       # share of the pairs at the threshold to find; 1.0 compares exhaustively
ngram = 5           # tokens per shingle
keep = \"first\"      # who stays: \"first\", \"longest\", or columns: \"score:desc,date:asc\"
linkage = \"star\"    # every dropped row has a proven edge to a kept one; \"connected\" is transitive
",
        paths.join(", ")
    );
    out += "
# Paragraphs (or lines) that an earlier row has too: drop rows that are mostly such, or cut them out of the text:
# [grain]
# unit = \"paragraph\"  # or \"line\"
# action = \"drop\"     # \"cut\" records what it takes in the table spans; tamis restore puts it back
# max_duplicate_ratio = 0.8

# Rows that repeat themselves, or the repeated paragraphs in them:
# [repetition]
# action = \"drop\"     # or \"cut\"

# Drop rows that contain an item of a held-out set, before anything else:
# [decontaminate]
# paths = [\"benchmarks\"]    # files, folders, globs or URLs
# ngram = 13                # tokens in a row; of shorter items all
# min_tokens = 4            # shorter items are not looked for

# Stop before too much is lost, of all rows, of the rows of a file, or of a cluster:
# [guards]
# max_dropped_ratio = 0.5
# max_cluster_rows = 10000

# Compare with what earlier runs kept, and add what this one keeps:
# [index]
# url = \"tamis-index\"   # a folder, or s3://bucket/prefix

# Rows that say the same in other words, by embeddings of an encoder:
# [semantic]
# model = \"model\"       # a folder or URL with model.safetensors, or ORG/NAME that the hub's cache has
# threshold = 0.95      # cosine

# Of the rows that near-duplicate removal keeps, those whose quality is best stay:
# [quality]
# scorer = \"ngram\"          # bits per byte under a model of the reference; \"dsir\": importance for the reference
# reference = [\"good.jsonl\"] # texts as they should be; without it \"ngram\" compares each row with the others
# keep = \"top\"              # the share `ratio`; \"band\": from `min` to `max`; \"gumbel\": a draw by `temperature`
# ratio = 0.5

# Embeddings of the rows that stay:
# [embed]
# model = \"model\"       # a folder or URL with model.safetensors, or ORG/NAME that the hub's cache has
# cache = \"embeddings\"  # later runs compute new texts only

# [score]
# device = \"auto\"     # \"cpu\" or \"cuda:0\"

# Choose the next rows to label:
# [select]
# budget = 100
# labels = [\"labels.csv\"]   # id and label of what is labelled already; without it the batch is a cold start
# label_column = \"label\"
# annotator_column = \"annotator\"   # several labels for an id: what most annotators say counts

# When `tamis schedule run` runs this, or what `tamis schedule print` prints for:
# [schedule]
# cron = \"30 3 * * *\"      # minute, hour, day of month, month, day of week; or \"@daily\"
# timezone = \"UTC\"         # or \"Europe/Berlin\"
# jitter = \"5m\"            # longest random delay of a start
# deadline = \"2h\"          # longest time of a run
# window = \"1h\"            # a run may wait for a cleaner grid, if it ends within this time
# forecast = \"grid.json\"   # by this forecast

# Energy and emissions of a run, in a ledger beside the output (docs/footprint.md):
# [footprint]
# region = \"FRA\"           # or \"gcp:europe-west9\", \"aws:eu-west-3\", \"azure:francecentral\"
# max_g = 50.0             # most grams of CO2e

[output]
path = \"tamis-out\"   # a folder, or s3://bucket/prefix
# mode = \"append\"     # each run reads the files that no earlier one has read, and adds what it keeps
# lease = \"1m\"        # a run that shows no sign of life for so long is taken over by the next

# Where tables go, and how they are stored. Tables: kept, dropped, evidence, spans, rejected, scores, embeddings, batch.
# [tiers.cold]
# url = \"s3://bucket/cold\"
# class = \"cold\"      # hot, warm, cold, archive, in the provider's words by `native`
# zstd = 9
# retention = \"90d\"    # `tamis tiers lifecycle` prints the rules; `tamis tiers check` looks at all of this
# credentials = \"env:COLD_\"   # COLD_AWS_ACCESS_KEY_ID and so on, or \"file:PATH\"; never the secret itself
# [routes]
# dropped = \"cold\"
";
    out
}

/// The column that people would call the text: by name, else the one with the longest values.
fn text_column(summary: &InputSummary) -> Option<&str> {
    let texts = || summary.columns.iter().filter(|column| column.is_text);
    let by_name = TEXT_NAMES.iter().find_map(|name| texts().find(|column| column.name == *name));
    let longest = || texts().max_by(|a, b| a.mean_length.total_cmp(&b.mean_length));
    by_name.or_else(longest).map(|column| column.name.as_str())
}
