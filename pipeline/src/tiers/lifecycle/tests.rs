use serde_json::Value;
use tamis_schemas::config::{DeduplicateConfig, InputConfig, OutputConfig};
use tamis_schemas::tier::TierConfig;

use super::*;

/// A run whose dropped rows and evidence go to `dropped_url`, for 90 days.
fn config(output: &str, dropped_url: Option<&str>) -> Config {
    let output = OutputConfig::new(output.into());
    let trash = TierConfig {
        url: dropped_url.map(str::to_owned),
        retention: Some("90d".parse().unwrap()),
        ..TierConfig::default()
    };
    let routes = [Table::Dropped, Table::Evidence].map(|table| (table, "trash".to_owned()));
    Config {
        deduplicate: Some(DeduplicateConfig::default()),
        tiers: [("trash".to_owned(), trash)].into(),
        routes: routes.into(),
        ..Config::new(InputConfig::new(vec!["in".into()]), output)
    }
}

fn json(config: &Config, format: RuleFormat, only: Option<&str>) -> Value {
    serde_json::from_str(&lifecycle(config, format, only).unwrap().text).unwrap()
}

fn message(config: &Config, format: RuleFormat, only: Option<&str>) -> String {
    let error = lifecycle(config, format, only).unwrap_err();
    format!("{error}; {}", error.hint().unwrap_or_default())
}

#[test]
fn tables_expire_and_nothing_beside_them() {
    let rules = json(&config("s3://hot/out", None), RuleFormat::Aws, None)["Rules"].take();
    let rules = rules.as_array().unwrap();
    let days: Vec<(&str, Option<u64>)> = rules
        .iter()
        .map(|rule| (rule["Filter"]["Prefix"].as_str().unwrap(), rule["Expiration"]["Days"].as_u64()))
        .collect();
    assert_eq!(days, [("out/", None), ("out/dropped/", Some(90)), ("out/evidence/", Some(90))]);
    assert_eq!(rules[0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"], 3);
    let reached = |key: &str| days.iter().any(|(prefix, days)| days.is_some() && key.starts_with(prefix));
    assert!(reached("out/dropped/part-00000.parquet"));
    for key in ["out/manifest.json", "out/_tamis/probe-x", "out/kept/part-00000.parquet", "out/index/index.json", "out"]
    {
        assert!(!reached(key), "{key}");
    }
}

#[test]
fn what_is_kept_never_expires() {
    let mut config = config("s3://hot/out", None);
    config.routes.clear();
    let year = TierConfig { retention: Some("1y".parse().unwrap()), ..TierConfig::default() };
    config.tiers = [("default".to_owned(), year)].into();
    let made = lifecycle(&config, RuleFormat::Aws, None).unwrap();
    assert!(made.text.contains("out/dropped/") && !made.text.contains("out/kept/"), "{}", made.text);
    assert!(made.notes.iter().any(|note| note.contains("`kept`")), "{:?}", made.notes);
}

#[test]
fn each_bucket_has_its_rules() {
    let config = config("s3://hot/out", Some("s3://cold"));
    assert!(message(&config, RuleFormat::Aws, None).contains("hot, cold"));
    assert!(message(&config, RuleFormat::Aws, Some("warm")).contains("`warm`"));
    let rules = json(&config, RuleFormat::Aws, Some("cold"))["Rules"].take();
    let prefixes: Vec<&str> =
        rules.as_array().unwrap().iter().map(|rule| rule["Filter"]["Prefix"].as_str().unwrap()).collect();
    assert_eq!(prefixes, ["", "dropped/", "evidence/"]);
    let ids: std::collections::BTreeSet<&str> =
        rules.as_array().unwrap().iter().map(|rule| rule["ID"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
}

#[test]
fn a_rule_of_an_outer_place_is_enough() {
    let config = config("s3://hot/out", Some("s3://hot/out/trash"));
    let rules = json(&config, RuleFormat::Aws, None);
    assert_eq!(rules["Rules"].as_array().unwrap().len(), 3, "{rules:#}");
    let names = |prefixes: &[&str]| {
        let mut bucket = Bucket { provider: Provider::Amazon, name: "b".into(), rules: Vec::new() };
        for prefix in prefixes {
            bucket.add((*prefix).to_owned(), Action::AbortUploads);
        }
        bucket.rules.iter().map(|rule| rule.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["a/b/", "a/"]), ["tamis-abort-uploads-a"]);
    assert_eq!(names(&["a/b/", "a-b/"]), ["tamis-abort-uploads-a-b", "tamis-abort-uploads-a-b-2"]);
    assert_eq!(names(&[""]), ["tamis-abort-uploads"]);
}

#[test]
fn every_provider_in_its_own_words() {
    let google = json(&config("gs://hot/out", None), RuleFormat::Gcs, None)["lifecycle"]["rule"].take();
    let google: Vec<(&str, u64, &str)> = google
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| {
            let condition = &rule["condition"];
            let prefix = condition["matchesPrefix"][0].as_str().unwrap();
            (rule["action"]["type"].as_str().unwrap(), condition["age"].as_u64().unwrap(), prefix)
        })
        .collect();
    let abort = ("AbortIncompleteMultipartUpload", 3, "out/");
    assert_eq!(google, [abort, ("Delete", 90, "out/dropped/"), ("Delete", 90, "out/evidence/")]);

    for (url, prefix) in [("az://hot/out", "hot/out/"), ("abfss://hot@acme.dfs.core.windows.net/out", "hot/out/")] {
        let azure = json(&config(url, None), RuleFormat::Azure, None)["rules"].take();
        let azure = azure.as_array().unwrap();
        assert_eq!(azure.len(), 2, "{azure:?}");
        for (rule, table) in azure.iter().zip(["dropped/", "evidence/"]) {
            let definition = &rule["definition"];
            assert_eq!(definition["filters"]["prefixMatch"][0], format!("{prefix}{table}"));
            assert_eq!(definition["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"], 90);
            assert!(rule["name"].is_string() && rule["enabled"] == true && rule["type"] == "Lifecycle");
        }
    }
}

#[test]
fn terraform_is_for_every_provider() {
    let mixed = config("s3://hot/out", Some("gs://cold/trash"));
    let text = lifecycle(&mixed, RuleFormat::Terraform, None).unwrap().text;
    assert_eq!(text.matches('{').count(), text.matches('}').count(), "{text}");
    for expect in [
        "resource \"aws_s3_bucket_lifecycle_configuration\" \"tamis_hot\" {",
        "prefix = \"out/\"",
        "days_after_initiation = 3",
        "resource \"google_storage_bucket\" \"tamis_cold\" {",
        "matches_prefix = [\"trash/dropped/\"]",
    ] {
        assert!(text.contains(expect), "{expect}\n{text}");
    }
    let azure = lifecycle(&config("az://hot/out", None), RuleFormat::Terraform, None).unwrap().text;
    assert!(azure.contains("prefix_match = [\"hot/out/dropped/\"]"), "{azure}");
}

#[test]
fn a_format_that_fits_no_tier_is_refused() {
    assert!(message(&config("s3://hot/out", None), RuleFormat::Gcs, None).contains("--format aws"));
    assert!(message(&config("out", None), RuleFormat::Terraform, None).contains("folders have no rules"));
    let mut azure = config("az://hot/out", None);
    azure.tiers.clear();
    azure.routes.clear();
    assert!(message(&azure, RuleFormat::Azure, None).contains("no tier on Azure has a retention"));
}

#[test]
fn what_runs_are_added_to_is_not_removed_by_age() {
    let mut config = config("s3://hot/out", Some("s3://cold/trash"));
    let has_expiration = |config: &Config| {
        let rules = lifecycle(config, RuleFormat::Aws, Some("cold")).unwrap();
        (rules.text.contains("\"Expiration\""), rules.text.contains("AbortIncompleteMultipartUpload"))
    };
    assert_eq!(has_expiration(&config), (true, true));
    config.output.mode = tamis_schemas::config::OutputMode::Append;
    assert_eq!(has_expiration(&config), (false, true));
}
