use super::*;

/// The shipped tables with a replacement in one of them; the sources do not know of it, and one line of the lint says so.
fn with(file: &str, from: &str, to: &str) -> Vec<String> {
    let changed: Vec<(&str, String)> = SHIPPED
        .iter()
        .map(|(name, text)| {
            assert!(*name != file || text.contains(from), "`{from}` is not in {file}");
            (*name, if *name == file { text.replacen(from, to, 1) } else { (*text).to_owned() })
        })
        .collect();
    let texts: Vec<(&str, &str)> = changed.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let mut problems = Tables::parse(&texts, SOURCES).unwrap().lint();
    problems.retain(|problem| !problem.contains("its content is not what SOURCES.toml says"));
    problems
}

#[test]
fn shipped_tables_have_no_problem() {
    assert_eq!(Tables::shipped().lint(), Vec::<String>::new());
    assert!(Tables::shipped().countries.len() > 200);
    assert_eq!(Tables::shipped().hash.len(), 64);
}

#[test]
fn a_row_without_source_is_found() {
    for (file, from, to, expect) in [
        (
            "country_intensity.csv",
            "FRA,France,44.18,2024,ember-carbontracker",
            "FRA,France,44.18,2024,",
            "no source ``",
        ),
        ("storage.csv", "2026,ccf", "2026,hearsay", "no source `hearsay`"),
        ("country_intensity.csv", "FRA,France,44.18,2024", "FRA,France,44.18,0", "says no year"),
    ] {
        let problems = with(file, from, to);
        assert!(problems.len() == 1 && problems[0].contains(expect) && problems[0].contains(", line "), "{problems:?}");
    }
}

#[test]
fn a_source_without_licence_or_year_is_found() {
    let no_licence = SOURCES.replacen("licence = \"MIT\"", "licence = \"\"", 1);
    let problems = Tables::parse(&SHIPPED, &no_licence).unwrap().lint();
    assert!(problems[0].contains("no licence"), "{:?}", problems.first());
    let no_year = SOURCES.replacen("year = 2026\n", "", 1);
    assert!(Tables::parse(&SHIPPED, &no_year).unwrap_err().to_string().contains("year"));
}

#[test]
fn a_changed_table_is_found() {
    let texts: Vec<(&str, String)> =
        SHIPPED.iter().map(|(name, text)| (*name, text.replace("44.18", "44.19"))).collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let problems = Tables::parse(&texts, SOURCES).unwrap().lint();
    assert!(problems.len() == 1 && problems[0].starts_with("country_intensity.csv"), "{problems:?}");
}

#[test]
fn watts_that_no_server_has_are_found() {
    // What a table of another tool had for this family, 3.68 idle and 8.96 full: a pattern of names that matched all servers.
    let turin = "0.19,0.21,0.54,1.04,1.17,3.03,41,EPYC 9755";
    let problems = with("cpu_family_watts.csv", turin, "3.27,3.68,9.5,7.9,8.96,23.3,41,EPYC 9755");
    assert!(problems.len() == 1 && problems[0].contains("4.6 times the 500 W"), "{problems:?}");
    let problems = with("cpu_family_watts.csv", turin, "1.19,1.21,1.54,1.04,1.17,3.03,41,EPYC 9755");
    assert!(problems.len() == 1 && problems[0].contains("not below full load"), "{problems:?}");
    let problems = with("country_intensity.csv", "FRA,France,44.18", "FRA,France,0.04418");
    assert!(problems[0].contains("no grid is outside"), "{problems:?}");
}

#[test]
fn processors_are_known_by_numbers() {
    let cpu = |vendor: &str, family, model, name: &str| Cpu { vendor: vendor.into(), family, model, name: name.into() };
    for (cpu, expect) in [
        (cpu("AuthenticAMD", 25, 1, "AMD EPYC"), Some("EPYC 7xx3")),
        (cpu("AuthenticAMD", 26, 2, "AMD EPYC"), Some("EPYC 9xx5")),
        (cpu("GenuineIntel", 6, 143, "Intel(R) Xeon(R) Platinum 8488C"), Some("Xeon x4xx")),
        (cpu("AuthenticAMD", 23, 1, "AMD Ryzen 7 1700 Eight-Core Processor"), None),
        (cpu("GenuineIntel", 25, 1, ""), None),
    ] {
        assert_eq!(Tables::shipped().cpu_family(&cpu).map(|row| row.name.as_str()), expect, "{cpu:?}");
    }
}

#[test]
fn thermal_design_power_is_found_by_the_kernels_name() {
    for (name, expect) in [
        ("AMD EPYC 7763 64-Core Processor", Some(280.0)),
        ("Intel(R) Xeon(R) Platinum 8175M CPU @ 2.50GHz", Some(240.0)),
        ("AMD EPYC", None),
        ("", None),
    ] {
        assert_eq!(Tables::shipped().tdp_w(name), expect, "{name}");
    }
}

#[test]
fn a_terabyte_year_is_what_the_notes_say() {
    let tier = Tables::shipped().storage_tier("s3-standard").unwrap();
    // 0.65 Wh/TB·h for a year, three replicas: 17.1 kWh.
    assert!((tier.kwh_per_tb_year().mid() - 17.082).abs() < 1e-9);
    assert!(Tables::shipped().storage_tier("tape").unwrap_err().to_string().contains("`tape`"));
}

#[test]
fn old_rows_are_told() {
    let lines = Tables::shipped().old_rows(2026);
    assert!(lines.iter().any(|line| line.starts_with("country_intensity.csv") && line.ends_with("2022")), "{lines:?}");
    assert_eq!(Tables::shipped().old_rows(2005), Vec::<String>::new());
}
