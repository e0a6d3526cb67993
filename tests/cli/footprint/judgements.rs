//! Runs held against each other: `compare` and `audit`.

use super::*;

#[test]
fn a_regression_is_flagged_and_named() {
    let dir = ran("");
    for _ in 0..4 {
        again(dir.path(), "");
    }
    let ids: Vec<Value> = rows(dir.path()).iter().map(|row| row["run_id"].clone()).collect();
    let last = ids[ids.len() - 1].clone();
    rewrite(dir.path(), |row| {
        let is_worse = row["run_id"] == last && row["stage"] == "writing";
        for component in row["components"].as_array_mut().unwrap() {
            let mid = if is_worse { 2.0 } else { 1.0 };
            component["provisioned_j"] = json!({"low": 0.5, "mid": mid, "high": 3.0});
        }
    });
    let audit = tamis(dir.path(), "footprint audit out --format json").expect_code(3).json();
    assert_eq!(audit["is_flagged"], true);
    tamis(dir.path(), "footprint audit out --max-rise-ratio 2").expect_code(0);
    let flagged: BTreeMap<&str, bool> = audit["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|stage| (stage["name"].as_str().unwrap(), stage["is_flagged"].as_bool().unwrap()))
        .collect();
    assert_eq!(flagged.iter().filter(|(_, flagged)| **flagged).map(|(name, _)| *name).collect::<Vec<_>>(), ["writing"]);
}

#[test]
fn rows_name_their_command_and_are_compared_with_those_of_the_same() {
    let dir = ran("");
    assert!(rows(dir.path()).iter().all(|row| row["command"] == "dedup"));
    let of = |args: &str, code: i32| tamis(dir.path(), &format!("footprint {args}")).expect_code(code);
    tamis(dir.path(), &format!("convert {} -o other", sample("banking.jsonl"))).expect_code(0);
    let refused = of("compare other --baseline out", 2);
    refused.expect_stderr("no run of `tamis convert` to compare with: its last one is of `tamis dedup`");
    assert!(of("compare other --baseline out --force", 0).stdout.contains("WARNING: not alike"));
    // One output, two commands.
    tamis(dir.path(), &format!("convert {} -o out --overwrite", sample("banking.jsonl"))).expect_code(0);
    let audit = of("audit out", 0).stdout;
    assert!(audit.contains("is of `tamis dedup`") && audit.contains("nothing to compare with"), "{audit}");
    assert!(!audit.contains('%'), "{audit}");
    assert!(of("compare out --baseline other", 0).stdout.contains("of energy per million documents"));
    // Rows of versions that did not name it are read, and are like each other.
    let config = format!("[input]\npaths = [{:?}]\n[output]\npath = \"out\"\n", sample("banking.jsonl"));
    std::fs::write(dir.path().join("tamis.toml"), config).unwrap();
    rewrite(dir.path(), |row| drop(row.as_object_mut().unwrap().shift_remove("command")));
    of("verify out", 0);
    tamis(dir.path(), "run tamis.toml --overwrite").expect_code(0);
    let all = rows(dir.path());
    assert_eq!((&all[0]["command"], &all[all.len() - 1]["command"]), (&Value::Null, &json!("run")));
    of("verify out", 0);
    assert!(of("audit out", 0).stdout.contains("is of a command that its rows do not name"));
}

#[test]
fn runs_without_rows_or_a_meter_fail_no_audit_by_2() {
    let dir = ran("");
    let audit = |code: i32| tamis(dir.path(), "footprint audit out --max-rise-ratio 1e9").expect_code(code).stdout;
    again(dir.path(), "--method powercap");
    let blind = audit(4);
    assert!(blind.contains("was not metered: cpu: there are no readings"), "{blind}");
    assert!(blind.contains("nothing to compare with"), "{blind}");
    rewrite(dir.path(), |row| row["run"]["docs_in"] = json!(0));
    again(dir.path(), "--method generic");
    rewrite(dir.path(), |row| {
        if row["method"] == "generic/1" {
            row["run"]["docs_in"] = json!(0);
        }
    });
    let empty = audit(0);
    assert!(empty.starts_with("0 runs") && empty.contains("read no rows"), "{empty}");
    let compared = tamis(dir.path(), "footprint compare out --baseline out").expect_code(0).stdout;
    assert!(compared.starts_with("nothing to compare") && compared.contains("read no rows"), "{compared}");
    for ratio in ["nan", "inf", "=-0.1"] {
        let args = format!("footprint audit out --max-rise-ratio {ratio}").replace(" =", "=");
        tamis(dir.path(), &args).expect_code(2).expect_stderr("a number, 0 or more");
    }
}
