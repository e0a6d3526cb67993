//! Documents as the world writes them: every script, short ones, empty ones, ones without a word.

use std::fs;

use serde_json::json;

use crate::support::{strings, table, tamis};

fn dedup(rows: &[serde_json::Value], flags: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(dir.path().join("in.jsonl"), lines).unwrap();
    tamis(dir.path(), &format!("dedup in.jsonl -o out {flags}")).expect_code(0);
    let out = dir.path().join("out");
    let (_, evidence) = table(&out, "evidence");
    (strings(&table(&out, "kept").1, "text"), strings(&evidence, "dropped_id"), strings(&evidence, "kept_id"))
}

#[test]
fn every_script_survives_once_with_its_bytes() {
    let texts = [
        "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.",
        "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι.",
        "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
        "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
        "មនុស្សទាំងអស់កើតមកមានសេរីភាពនិងសមភាពក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ",
        "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق وقد وهبوا عقلاً وضميرًا",
        "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है",
        "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다",
    ];
    let rows: Vec<_> = texts
        .iter()
        .enumerate()
        .flat_map(|(n, text)| {
            let planted = format!("{} {text} ", "\u{feff}").trim_start_matches('\u{feff}').to_owned();
            [json!({"id": format!("{n}"), "text": text}), json!({"id": format!("{n}-again"), "text": planted})]
        })
        .collect();
    let (kept, dropped, of) = dedup(&rows, "");
    assert_eq!(kept, texts);
    assert_eq!(dropped, (0..texts.len()).map(|n| format!("{n}-again")).collect::<Vec<_>>());
    assert_eq!(of, (0..texts.len()).map(|n| format!("{n}")).collect::<Vec<_>>());
}

#[test]
fn unspaced_scripts_are_compared_by_character() {
    let base = "人人生而自由在尊严和权利上一律平等他们赋有理性和良心并应以兄弟关系的精神相对待人人有资格享有本宣言所载的一切权利";
    let near = base.replacen('他', "她", 1);
    let far = "我们今天去公园散步看见许多美丽的花朵和小鸟在树上唱歌孩子们在草地上奔跑玩耍非常开心快乐无比";
    let rows: Vec<_> = [base, &near, far].iter().enumerate().map(|(n, text)| json!({"id": n, "text": text})).collect();
    let (kept, dropped, _) = dedup(&rows, "--threshold 0.7");
    assert_eq!((kept.as_slice(), dropped.as_slice()), (&[base.to_owned(), far.to_owned()][..], &["1".to_owned()][..]));
}

#[test]
fn short_and_wordless_documents() {
    let texts =
        ["Yes", "yes", "no", "", "", " ", "!!!", "!!!", "???", "a b c d", "a b c e", "A b c d", "👍", "👍", "👎"];
    let rows: Vec<_> = texts.iter().enumerate().map(|(n, text)| json!({"id": n, "text": text})).collect();
    let (kept, dropped, of) = dedup(&rows, "");
    assert_eq!(kept, ["Yes", "no", "", " ", "!!!", "???", "a b c d", "a b c e", "👍", "👎"]);
    assert_eq!(dropped, ["1", "4", "7", "11", "13"]);
    assert_eq!(of, ["0", "3", "6", "9", "12"]);
}

#[test]
fn ten_thousand_copies_and_a_template() {
    let mut rows: Vec<_> = (0..10_000)
        .map(|n| json!({"id": format!("copy-{n}"), "text": "the same words over and over again in every row"}))
        .collect();
    let filler: Vec<String> = (0..120).map(|word| format!("clause{word}")).collect();
    let filler = filler.join(" ");
    rows.extend((0..3000).map(|n| json!({"id": format!("template-{n}"), "text": format!("{filler} signed by person {n} on day {}", n * 7 % 365)})));
    let (kept, dropped, _) = dedup(&rows, "");
    assert_eq!(kept.len() + dropped.len(), 13_000);
    assert!(kept.len() < 60, "{} rows stay", kept.len());
}
