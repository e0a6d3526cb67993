//! `tamis inspect`: what it says is what the tables hold, for people, machines and browsers.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{command, finish, floats, json_lines, sample, strings, table, tamis};

/// A run over real texts, in `out`.
fn run(dir: &Path, flags: &str) {
    let inputs = format!("{} {}", sample("licences.jsonl"), sample("laws.jsonl"));
    tamis(dir, &format!("dedup {inputs} -o out {flags}")).expect_code(0);
}

/// A run over rows of our own, in `out`.
fn run_rows(dir: &Path, rows: &[Value], flags: &str) {
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(dir.join("in.jsonl"), lines).unwrap();
    tamis(dir, &format!("dedup in.jsonl -o out {flags}")).expect_code(0);
}

#[test]
fn the_overview_is_what_the_tables_hold() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "--threshold 0.6 --id-column=");
    let shown = tamis(dir.path(), "inspect out --format json --top 1000").expect_code(0).json();
    let overview = &shown["overview"];
    let (_, evidence) = table(&dir.path().join("out"), "evidence");
    let (clusters, similarities) = (strings(&evidence, "cluster_id"), floats(&evidence, "similarity"));
    let (methods, dropped) = (strings(&evidence, "method"), strings(&evidence, "dropped_id"));
    assert_eq!(overview["evidence_rows"], evidence.num_rows());
    assert_eq!(overview["rows"]["dropped"], evidence.num_rows());

    let mut expect: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (cluster, similarity) in clusters.iter().zip(&similarities) {
        expect.entry(cluster).or_default().push(*similarity);
    }
    let listed = overview["clusters"].as_array().unwrap();
    assert_eq!((listed.len(), &overview["n_clusters"]), (expect.len(), &json!(expect.len())));
    let kept: HashMap<String, String> = {
        let (_, kept) = table(&dir.path().join("out"), "kept");
        strings(&kept, "tamis_id").into_iter().zip(strings(&kept, "text")).collect()
    };
    let mut last_rows = u64::MAX;
    for cluster in listed {
        let members = &expect[cluster["id"].as_str().unwrap()];
        let lowest = members.iter().copied().fold(1.0, f64::min);
        assert_eq!(cluster["dropped"], members.len());
        assert!((cluster["lowest_similarity"].as_f64().unwrap() - lowest).abs() < 1e-12);
        let mean = members.iter().sum::<f64>() / members.len() as f64;
        assert!((cluster["mean_similarity"].as_f64().unwrap() - mean).abs() < 1e-9);
        let begins: Vec<&str> = cluster["begins"].as_str().unwrap().split(' ').take(3).collect();
        let text = &kept[cluster["id"].as_str().unwrap()];
        assert_eq!(begins, text.split_whitespace().take(3).collect::<Vec<_>>());
        let rows = cluster["rows"].as_u64().unwrap();
        assert!(rows <= last_rows);
        last_rows = rows;
    }
    for (method, n) in overview["by_method"].as_object().unwrap() {
        assert_eq!(*n, methods.iter().filter(|other| *other == method).count());
    }
    for bin in overview["similarities"].as_array().unwrap() {
        let from = bin["from"].as_f64().unwrap();
        assert_eq!(bin["rows_at_least"], similarities.iter().filter(|similarity| **similarity >= from).count());
    }
    for source in overview["sources"]["sources"].as_array().unwrap() {
        let name = source["name"].as_str().unwrap();
        assert_eq!(source["rows"], json_lines(name).len());
        assert_eq!(source["dropped"], dropped.iter().filter(|id| id.starts_with(&format!("{name}#"))).count());
    }

    let text = tamis(dir.path(), "inspect out --sort similarity --top 3").expect_code(0).stdout;
    let least = listed.iter().map(|cluster| cluster["lowest_similarity"].as_f64().unwrap()).fold(1.0, f64::min);
    assert!(text.contains(&format!("{least:.3}")) && text.contains("licences.jsonl"), "{text}");
    assert!(!text.contains('\u{1b}'), "color in a pipe");
}

#[test]
fn a_pair_shows_both_texts_and_every_difference() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "--threshold 0.7");
    let texts: HashMap<String, String> = ["licences.jsonl", "laws.jsonl"]
        .iter()
        .flat_map(|name| json_lines(&sample(name)))
        .map(|row| (row["id"].as_str().unwrap().to_owned(), row["text"].as_str().unwrap().to_owned()))
        .collect();
    let (_, evidence) = table(&dir.path().join("out"), "evidence");
    let squeezed = |text: &str| text.split_whitespace().collect::<String>();
    for (dropped, kept) in strings(&evidence, "dropped_id").iter().zip(strings(&evidence, "kept_id")).step_by(25) {
        let ended =
            finish(command(dir.path()).args(["inspect", "out", "--format", "json", "--full", "--dropped", dropped]));
        let shown = ended.expect_code(0).json();
        let pair = &shown["dropped"][0];
        assert_eq!((pair["kept_id"].as_str(), pair["kept"]["text"].as_str()), (Some(&*kept), Some(&*texts[&kept])));
        assert_eq!(pair["dropped"]["text"].as_str(), Some(&*texts[dropped]));
        for side in ["kept", "dropped"] {
            let of_changes: String = pair["changes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|change| squeezed(change[side].as_str().unwrap()))
                .collect();
            assert_eq!(of_changes, squeezed(pair[side]["text"].as_str().unwrap()));
        }
        for change in pair["changes"].as_array().unwrap().iter().filter(|change| change["is_equal"] == true) {
            assert_eq!(squeezed(change["kept"].as_str().unwrap()), squeezed(change["dropped"].as_str().unwrap()));
        }
    }
}

const FILLER: &str = "All human beings are born free and equal in dignity and rights. They are endowed with reason and \
                      conscience and should act towards one another in a spirit of brotherhood. Everyone is entitled to all the \
                      rights and freedoms set forth in this Declaration, without distinction of any kind.";

#[test]
fn differences_are_seen_without_color() {
    let dir = tempfile::tempdir().unwrap();
    let other = FILLER.replace("dignity", "worth");
    run_rows(dir.path(), &[json!({"id": "a", "text": FILLER}), json!({"id": "b", "text": other})], "--threshold 0.5");
    let show = |flags: &str, color: bool| {
        let mut tamis = command(dir.path());
        if !color {
            tamis.env("NO_COLOR", "1");
        }
        finish(tamis.args("inspect out".split(' ')).args(flags.split_whitespace())).expect_code(0).stdout
    };
    let wide = show("--cluster a --width 120", false);
    assert!(wide.contains("[-dignity-]") && wide.contains("{+worth+}") && wide.contains(" │ "), "{wide}");
    assert!(wide.lines().all(|line| line.chars().count() <= 120), "{wide}");
    assert!(wide.contains("near_duplicate, similarity 0."), "{wide}");
    let narrow = show("--dropped b --width 60", false);
    let words: Vec<&str> = narrow.split_whitespace().collect();
    assert!(words.join(" ").contains("equal in [-dignity-] {+worth+} and") && !narrow.contains('│'), "{narrow}");
    let colored = show("--dropped b --color always", true);
    assert!(
        colored.contains("\u{1b}[31m[-dignity-]\u{1b}[0m") && colored.contains("\u{1b}[32m{+worth+}\u{1b}[0m"),
        "{colored}"
    );
    assert!(!show("--dropped b --color never", true).contains('\u{1b}'));
    assert!(!show("--dropped b", true).contains('\u{1b}'), "no terminal, no color");
}

/// Texts that would like to be more than text.
fn hostile() -> [Value; 3] {
    let evil =
        format!("<script>alert('x')</script> \0 \u{1b}[2J \u{202e} & \"quoted\" https://example.org/a.png {FILLER}");
    [
        json!({"id": "<b id=\"q\">'&", "text": evil, "lang": "<i>en</i>"}),
        json!({"id": "</code><img src=x>", "text": evil.replace("dignity", "<img src=\"http://example.org\">"), "lang": "de"}),
        json!({"id": "plain", "text": evil.replace("reason", "人人生而自由"), "lang": "de"}),
    ]
}

#[test]
fn a_page_is_whole_and_holds_no_markup_of_texts() {
    let dir = tempfile::tempdir().unwrap();
    run_rows(dir.path(), &hostile(), "--threshold 0.5");
    for (name, flags) in [
        ("overview", "--by lang"),
        ("cluster", "--full --cluster <b\u{a0}id=\"q\">'&"),
        ("dropped", "--dropped plain --full"),
    ] {
        let args = flags.split(' ').map(|flag| flag.replace('\u{a0}', " "));
        let file = format!("{name}.html");
        finish(command(dir.path()).args(["inspect", "out", "--format", "html", "-o", &file]).args(args)).expect_code(0);
        let page = std::fs::read_to_string(dir.path().join(&file)).unwrap();
        check_page(&page);
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"), "{name}");
        assert!(page.contains("<ins>"), "{name}");
    }
    let again = tamis(dir.path(), "inspect out --format html -o overview.html").expect_code(2);
    assert!(again.stderr.contains("--overwrite"), "{}", again.stderr);
    tamis(dir.path(), "inspect out --format html -o overview.html --overwrite").expect_code(0);
    assert!(!dir.path().join("overview.html.tmp").exists());
}

/// Tags of a page after its head.
const KNOWN: &str = " body header main footer h1 h2 h3 p code section div dl dt dd small table thead tbody tr th td span a details \
                     summary del ins mark br ";

/// Every tag is one of ours and is closed, every attribute is quoted, and nothing is fetched.
fn check_page(page: &str) {
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    assert!(!page.contains(['\0', '\u{1b}', '\u{202e}']));
    let (head, body) = page.split_once("</style>").unwrap();
    assert!(!head.contains("url(") && !head.contains("@import"));
    let mut open = vec!["html".to_owned()];
    let mut ids = std::collections::BTreeSet::new();
    let mut links = Vec::new();
    let mut rest = body.split_once("</head>").unwrap().1;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        assert!(KNOWN.contains(&format!(" {name} ")), "a tag that is not ours: {tag}");
        let mut attributes = attributes.replace("open", "open=\"\"");
        while let Some((attribute, value)) = attributes.clone().split_once("=\"") {
            let (value, after) = value.split_once('"').expect("quoted");
            match attribute.trim() {
                "id" => assert!(ids.insert(value.to_owned()), "twice {value}"),
                "href" => links.push(value.strip_prefix('#').expect("a link inside of the page").to_owned()),
                "class" | "scope" | "dir" | "style" | "open" => {}
                other => panic!("an attribute that is not ours: {other}"),
            }
            attributes = String::from(after);
        }
        assert_eq!(attributes, "", "{tag}");
        if name != "br" {
            open.push(name.to_owned());
        }
    }
    assert_eq!(open, Vec::<String>::new(), "not closed");
    assert!(links.iter().all(|link| ids.contains(link)), "{links:?} {ids:?}");
}

#[test]
fn nothing_of_a_text_reaches_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    run_rows(dir.path(), &hostile(), "--threshold 0.5");
    for flags in ["--by lang", "--dropped plain", "--dropped plain --width 50 --full", "--dropped plain --format json"]
    {
        let shown = tamis(dir.path(), &format!("inspect out {flags}")).expect_code(0).stdout;
        let controls: Vec<char> = shown.chars().filter(|char| char.is_control() && *char != '\n').collect();
        assert_eq!(controls, [], "{flags}: {shown}");
    }
    let shown = tamis(dir.path(), "inspect out --by lang --format json").expect_code(0).json();
    let sources = &shown["overview"]["sources"];
    assert_eq!(
        sources["sources"],
        json!([
            {"name": "de", "rows": 2, "dropped": 2, "same_source": null},
            {"name": "<i>en</i>", "rows": 1, "dropped": 0, "same_source": null},
        ])
    );
}

#[test]
fn files_are_counted_where_ids_do_not_name_them() {
    let dir = tempfile::tempdir().unwrap();
    let row = |id: &str| format!("{}\n", json!({"id": id, "text": FILLER}));
    std::fs::write(dir.path().join("a.jsonl"), row("x") + &row("y")).unwrap();
    std::fs::write(dir.path().join("b.jsonl"), row("z#1")).unwrap();
    let config =
        "[input]\npaths = [\"a.jsonl\", \"b.jsonl\"]\n[deduplicate]\n[output]\npath = \"out\"\nmode = \"append\"\n";
    std::fs::write(dir.path().join("run.toml"), config).unwrap();
    tamis(dir.path(), "run run.toml").expect_code(0);
    let shown = tamis(dir.path(), "inspect out --format json").expect_code(0).json();
    assert_eq!(
        shown["overview"]["sources"]["sources"],
        json!([
            {"name": "a.jsonl", "rows": 2, "dropped": 1, "same_source": null},
            {"name": "b.jsonl", "rows": 1, "dropped": 1, "same_source": null},
        ])
    );
}

#[test]
fn templates_and_tiers_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let rows: String = [("a", "First"), ("b", "Second")]
        .map(|(id, title)| format!("{}\n", json!({"id": id, "title": title, "body": FILLER})))
        .concat();
    std::fs::write(dir.path().join("in.jsonl"), rows).unwrap();
    let config = "[input]\npaths = [\"in.jsonl\"]\ntext = \"{title}: {body}\"\n[deduplicate]\nthreshold = 0.5\n[output]\npath = \"out\"\n\
                  [tiers.cold]\nurl = \"cold\"\n[routes]\ndropped = \"cold\"\n";
    std::fs::write(dir.path().join("c.toml"), config).unwrap();
    tamis(dir.path(), "run c.toml").expect_code(0);
    let shown = tamis(dir.path(), "inspect out --dropped b --width 100").expect_code(0).stdout;
    assert!(shown.contains("[-First-]: All human") && shown.contains("{+Second+}: All human"), "{shown}");
}

#[test]
fn what_cannot_be_shown_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "");
    let input = sample("laws.jsonl");
    tamis(dir.path(), &format!("convert {input} -o converted")).expect_code(0);
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    for (args, message) in [
        ("inspect none", "no manifest.json"),
        ("inspect empty", "no manifest.json"),
        ("inspect converted", "did not remove near-duplicates"),
        ("inspect out --cluster nothing-like-it", "no row of `out` has the id"),
        ("inspect out --dropped adi-bsd.LICENSE", "adi-bsd.LICENSE"),
        ("inspect out --by nothing", "no column `nothing`"),
        ("inspect out --cluster a --dropped b", "cannot be used with"),
        ("inspect out --cluster a --top 3", "cannot be used with"),
        ("inspect out --dropped a --limit 3", "cannot be used with"),
        ("convert none -o x --format html", "tamis inspect"),
    ] {
        let ended = tamis(dir.path(), args).expect_code(2);
        assert!(ended.stderr.contains(message), "{args}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args}");
    }
    let file = dir.path().join("out/evidence/part-00000.parquet");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    let ended = tamis(dir.path(), "inspect out").expect_code(2);
    assert!(ended.stderr.contains("evidence"), "{}", ended.stderr);
}

#[test]
fn the_command_of_a_list_is_one_for_a_shell() {
    let dir = tempfile::tempdir().unwrap();
    let long = "a folder/of someone's/with long names/".to_owned() + "part-00000.jsonl#17";
    let rows = [json!({"id": long, "text": FILLER}), json!({"id": "b", "text": FILLER})];
    run_rows(dir.path(), &rows, "");
    let shown = tamis(dir.path(), "inspect out --width 120").expect_code(0).stdout;
    assert!(shown.contains(&format!("--cluster '{}'", long.replace('\'', r"'\''"))), "{shown}");
    let listed = shown.lines().find(|line| line.contains("  All human")).unwrap();
    assert!(listed.contains(&long) && listed.chars().count() <= 120, "{listed}");
    let narrow = tamis(dir.path(), "inspect out --width 80").expect_code(0).stdout;
    let listed = narrow.lines().find(|line| line.contains("  All human")).unwrap();
    assert!(!listed.contains(&long) && listed.chars().count() <= 80, "{listed}");
}

#[test]
fn a_reader_may_leave() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), "--threshold 0.6");
    let mut tamis = command(dir.path())
        .args(["inspect", "out", "--top", "1000", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(tamis.stdout.take());
    let ended = tamis.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn rows_of_elsewhere_may_have_the_ids_of_this_run() {
    let dir = tempfile::tempdir().unwrap();
    let (text, held_out) = ("a text of more than five words", "a held out item of several words");
    let rows = [json!({"id": "one", "text": text}), json!({"id": "two", "text": held_out})];
    run_rows(dir.path(), &rows[..1], "--index index");
    std::fs::rename(dir.path().join("out"), dir.path().join("earlier")).unwrap();
    let item = json!({"id": "kept", "text": held_out});
    std::fs::write(dir.path().join("held.jsonl"), format!("{item}\n")).unwrap();
    let kept = json!({"id": "kept", "text": "the only row that stays of this run"});
    let rows = [rows.as_slice(), &[kept]].concat();
    run_rows(dir.path(), &rows, "--index index --against held.jsonl");

    let shown = |flags: &str| tamis(dir.path(), &format!("inspect out --format json {flags}")).expect_code(0).json();
    let again = &shown("--dropped one")["dropped"][0];
    assert_eq!(
        (&again["dropped"]["text"], &again["kept_id"], &again["kept"]),
        (&json!(text), &json!("one"), &json!(null)),
        "{again}"
    );
    let contaminated = &shown("--dropped two")["dropped"][0];
    assert_eq!(contaminated["kept"], json!(null), "the text of the item, not that of the row: {contaminated}");
}
