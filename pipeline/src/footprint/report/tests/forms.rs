//! Words, and forms that others read.

use super::*;

#[test]
fn the_text_of_a_report() {
    let text = text::of_report(&report(&run("one", 1.0), None, PROVISIONED).unwrap());
    for expect in [
        "run one: 2026-11-30T10:00:00Z to 2026-11-30T10:02:00Z, provisioned view",
        "0 % measured, 27 % estimated, 73 % assumed",
        "per million documents",
        "per million survivor tokens",
        "cpu ",
        "dedup ",
        "intensity 44.2 (35.3 to 55.2) g/kWh, average signal: FRA, 2024",
        "PUE 1.58 (1.10 to 2.00) (assumed)",
        text::STATEMENT,
    ] {
        assert!(text.contains(expect), "no `{expect}` in\n{text}");
    }
    assert!(text.lines().all(|line| !line.ends_with(' ')), "{text}");
}

#[test]
fn numbers_have_three_digits_and_a_unit() {
    for (kwh, expect) in [
        (Interval::around(1e-7, 2e-7, 4e-7), "0.720 J (0.360 to 1.44)"),
        (Interval::exact(0.0), "0 J"),
        (Interval::around(0.001, 0.0123, 0.5), "12.3 Wh (1.00 to 500)"),
        (Interval::exact(2e-4), "0.200 Wh"),
        (Interval::exact(1234.0), "1234 kWh"),
    ] {
        assert_eq!(text::energy(&kwh), expect);
    }
    assert_eq!(text::grams(&Interval::exact(2500.0)), "2.50 kg CO2e");
    assert_eq!(text::grams(&Interval::exact(0.0)), "0 mg CO2e");
    assert_eq!(text::grams(&Interval::exact(0.012)), "12.0 mg CO2e");
}

#[test]
fn emissions_have_the_columns_of_codecarbon() {
    let rows = run("one", 1.0);
    let first = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    let both = codecarbon::emissions_csv(Some(&first), &run("two", 1.0), "tamis", Tables::shipped()).unwrap();
    let mut reader = csv::Reader::from_reader(both.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), codecarbon::COLUMNS);
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 2);
    let value = |record: &csv::StringRecord, name: &str| {
        record[codecarbon::COLUMNS.iter().position(|column| *column == name).unwrap()].to_owned()
    };
    let number = |name: &str| value(&records[0], name).parse::<f64>().unwrap();
    assert_eq!(value(&records[1], "run_id"), "two");
    assert_eq!(value(&records[0], "country_iso_code"), "FRA");
    assert_eq!(value(&records[0], "tracking_mode"), "process");
    assert!(near(number("cpu_energy") + number("gpu_energy") + number("ram_energy"), number("energy_consumed")));
    assert!(near(number("emissions") / number("energy_consumed"), 0.04418));
    assert!(near(number("cpu_power") * number("duration") / J_PER_KWH, number("cpu_energy")));
    let other = first.replacen("wue", "wue,more", 1);
    assert!(codecarbon::emissions_csv(Some(&other), &rows, "tamis", Tables::shipped()).is_err());
}

/// The files that `tests/footprint/codecarbon_reads.py` has CodeCarbon read.
#[test]
fn emissions_are_what_codecarbon_was_given() {
    let rows = run("one", 1.0);
    let first = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    let both = codecarbon::emissions_csv(Some(&first), &run("two", 1.0), "tamis", Tables::shipped()).unwrap();
    let tasks = codecarbon::tasks_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    golden("codecarbon", "emissions.csv", &both);
    golden("codecarbon", "tasks.csv", &tasks);
    let boamps =
        boamps::of_report(&report(&rows, None, PROVISIONED).unwrap(), &boamps::Task::default(), Tables::shipped());
    golden("codecarbon", "boamps.json", &format!("{boamps:#}\n"));
}

/// Compares with a file of the fixtures.
fn golden(folder: &str, name: &str, text: &str) {
    let expect = std::fs::read_to_string(fixture(folder).path(name)).unwrap_or_default();
    assert_eq!(text, expect, "`{folder}/{name}` of the fixtures is another; look at the change, then replace it");
}

#[test]
fn words_are_what_they_were() {
    let rows = run("one", 1.0);
    let of_run = report(&rows, None, PROVISIONED).unwrap();
    golden("words", "report.txt", &text::of_report(&of_run));
    golden("words", "report.md", &markdown::of_report(&of_run));
    let faster = compare(&rows, &run("two", 0.8), Unit::MillionDocs, PROVISIONED, false).unwrap();
    golden("words", "compare.txt", &text::of_comparison(&faster));
    let worse = audit(&history(&[1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.2]), &AuditOptions::default()).unwrap();
    golden("words", "audit.txt", &text::of_audit(&worse));
    let question = AvoidQuestion {
        training: Some(TrainingQuestion {
            params: 1.2e9,
            epochs: 1.0,
            runs: 1.0,
            bound_by: BoundBy::Unknown,
            tokens_removed: Some(2e8),
        }),
        storage: Some(StorageQuestion {
            tier: "s3-standard".into(),
            years: 1.0,
            is_deleted: true,
            bytes_removed: None,
        }),
        labels: None,
    };
    golden("words", "avoid.txt", &text::of_avoided(&avoid(&rows, &question, Tables::shipped()).unwrap()));
    let over = gate(&rows, &Budget { max_g: Some(0.01), max_kwh: Some(1e-4), ..Budget::default() }).unwrap();
    golden("words", "gate.txt", &text::of_verdict(&over));
    let guest = doctor(&fixture("guest-cgroup-v1"), &GpuMeter::none(), &settings(), 2026, Tables::shipped()).unwrap();
    golden("words", "doctor.txt", &text::of_doctor(&guest));
}

#[test]
fn tasks_add_up_to_the_run() {
    let rows = run("one", 1.0);
    let tasks = codecarbon::tasks_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    let mut reader = csv::Reader::from_reader(tasks.as_bytes());
    let headers = reader.headers().unwrap().clone();
    assert_eq!((headers.len(), &headers[0], &headers[1]), (36, "task_name", "timestamp"));
    let at = headers.iter().position(|name| name == "energy_consumed").unwrap();
    let sum: f64 = reader.records().map(|record| record.unwrap()[at].parse::<f64>().unwrap()).sum();
    let run = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    let of_run: f64 = run.lines().nth(1).unwrap().split(',').nth(13).unwrap().parse().unwrap();
    assert!(near(sum, of_run));
}

#[test]
fn a_cloud_has_a_country() {
    let mut rows = run("one", 1.0);
    let settings = tamis_schemas::footprint::FootprintConfig { region: Some("aws:eu-west-3".into()), ..settings() };
    let row = intensity::intensity(&settings, None, (0, 1), Tables::shipped()).unwrap();
    for of_run in &mut rows {
        of_run.intensity = row.clone();
    }
    let text = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    assert!(text.contains(",France,FRA,,aws,eu-west-3,"), "{text}");
    let boamps =
        boamps::of_report(&report(&rows, None, PROVISIONED).unwrap(), &boamps::Task::default(), Tables::shipped());
    assert_eq!(boamps["environment"]["country"], "FRA");
    assert_eq!(boamps["infrastructure"]["cloudProvider"], "aws");
}

#[test]
fn boamps_has_what_its_schema_requires() {
    let report = report(&run("one", 1.0), None, PROVISIONED).unwrap();
    let value = boamps::of_report(&report, &boamps::Task::default(), Tables::shipped());
    for path in [
        "/header/reportDatetime",
        "/header/publisher/confidentialityLevel",
        "/task/taskStage",
        "/task/taskFamily",
        "/task/algorithms/0",
        "/task/dataset/0/dataUsage",
        "/task/dataset/0/dataType",
        "/measures/0/measurementMethod",
        "/measures/0/powerConsumption",
        "/infrastructure/infraType",
        "/infrastructure/components/0/componentType",
        "/infrastructure/components/0/nbComponent",
        "/system/os",
        "/software/language",
        "/environment/country",
    ] {
        assert!(value.pointer(path).is_some(), "no {path}");
    }
    assert_eq!(value["quality"], "low");
    assert_eq!(value["header"]["reportDatetime"], "2026-11-30 10:02:00");
}

#[test]
fn json_markdown_and_gauges_have_the_same_figures() {
    let report = report(&run("one", 1.0), None, PROVISIONED).unwrap();
    let value = json::of_report(&report);
    assert!(near(value["totals"]["kwh"]["mid"].as_f64().unwrap(), report.totals.kwh.mid()));
    assert_eq!(value["totals"]["label"], "assumed");
    assert_eq!(value["stages"].as_array().unwrap().len(), 4);
    let markdown = markdown::of_report(&report);
    assert!(markdown.contains("| dedup | 90.0 |") && markdown.contains("73 % assumed"), "{markdown}");
    let gauges = prometheus::gauges(&report);
    let joules = gauges.iter().filter(|gauge| gauge.name == "tamis_footprint_energy_joules").map(|gauge| gauge.value);
    assert!(near(joules.sum::<f64>(), report.totals.kwh.mid() * J_PER_KWH));
    // Values of one name follow each other.
    let mut names: Vec<&str> = gauges.iter().map(|gauge| gauge.name).collect();
    names.dedup();
    let n_blocks = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), n_blocks);
    assert_eq!(json::of_verdict(&Verdict::Within)["verdict"], "within");
    let audit = json::of_audit(&audit(&history(&[1.0, 1.0]), &AuditOptions::default()).unwrap());
    assert_eq!(audit["runs"].as_array().unwrap().len(), 2);
    let comparison = compare(&run("a", 1.0), &run("b", 1.0), Unit::Gigabyte, PROVISIONED, false).unwrap();
    assert_eq!(json::of_comparison(&comparison)["unit"], "gb");
}

#[test]
fn what_is_absent_is_zero_in_no_form() {
    let mut rows = run("one", 1.0);
    for row in &mut rows {
        absent(row, Component::Cpu);
        row.machine.rss_peak_bytes = None;
        row.machine.ram_bytes = 0;
    }
    let report = report(&rows, None, PROVISIONED).unwrap();
    let csv = codecarbon::emissions_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    let tasks = codecarbon::tasks_csv(None, &rows, "tamis", Tables::shipped()).unwrap();
    for text in [&csv, &tasks] {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headers = reader.headers().unwrap().clone();
        let record = reader.records().next().unwrap().unwrap();
        let cell = |name: &str| &record[headers.iter().position(|column| column == name).unwrap()];
        for name in [
            "cpu_energy",
            "cpu_power",
            "energy_consumed",
            "emissions",
            "emissions_rate",
            "water_consumed",
            "ram_used_gb",
            "ram_total_size",
            "ram_utilization_percent",
            "gpu_count",
        ] {
            assert_eq!(cell(name), "", "{name}");
        }
        assert!(cell("ram_energy").parse::<f64>().unwrap() > 0.0);
        assert_eq!(cell("gpu_energy"), "0.0", "no device was used: that is known");
    }
    golden("codecarbon", "absent.csv", &csv);
    let value = json::of_report(&report);
    for path in ["/totals/kwh", "/totals/g", "/totals/operational_g", "/stages/0/kwh"] {
        assert!(value.pointer(path).unwrap().is_null(), "{path}");
    }
    assert_eq!(value["per_unit"], serde_json::json!([]));
    let boamps = boamps::of_report(&report, &boamps::Task::default(), Tables::shipped());
    assert_eq!(boamps["measures"][0].get("powerConsumption"), None);
    assert_eq!(boamps["infrastructure"]["components"][1].get("memorySize"), None);
    assert!(boamps["task"]["taskDescription"].as_str().unwrap().starts_with("energy not known"), "{boamps}");
    let gauges = prometheus::gauges(&report);
    for name in ["tamis_footprint_run_energy_joules", "tamis_footprint_run_co2e_grams"] {
        assert!(gauges.iter().all(|gauge| gauge.name != name), "{name}");
    }
    assert!(gauges.iter().any(|gauge| gauge.name == "tamis_footprint_absent"));
    for text in [text::of_report(&report), markdown::of_report(&report)] {
        assert!(text.contains("not known") && text.contains("without what is absent"), "{text}");
        assert!(!text.contains("per million"), "{text}");
    }
}

#[test]
fn where_nothing_is_known_nothing_is_said() {
    let mut rows = run("one", 1.0);
    for row in &mut rows {
        for name in [Component::Cpu, Component::Ram, Component::Disk, Component::Network] {
            absent(row, name);
        }
    }
    let report = report(&rows, None, PROVISIONED).unwrap();
    assert!(json::of_report(&report)["totals"]["label_ratios"].is_null());
    assert!(prometheus::gauges(&report).iter().all(|gauge| gauge.name != "tamis_footprint_label_ratio"));
    assert!(text::of_report(&report).contains("energy                         not known\n"));
}

#[test]
fn a_share_of_nothing_has_no_sign() {
    let totals = report(&run("one", 1.0), None, PROVISIONED).unwrap().totals;
    assert!(totals.label_ratios[0].is_sign_positive(), "{:?}", totals.label_ratios);
    let text = json::of_report(&report(&run("one", 1.0), None, PROVISIONED).unwrap()).to_string();
    assert!(!text.contains("-0.0"), "{text}");
}

#[test]
fn files_of_codecarbon_go_on_and_others_stay() {
    let (one, two, tables) = (run("one", 1.0), run("two", 1.0), Tables::shipped());
    for write in [codecarbon::emissions_csv, codecarbon::tasks_csv] {
        let first = write(None, &one, "tamis", tables).unwrap();
        assert_eq!(write(Some(" \n"), &one, "tamis", tables).unwrap(), first);
        let both = write(Some(&first), &two, "tamis", tables).unwrap();
        let torn = write(Some(first.trim_end()), &two, "tamis", tables).unwrap();
        assert!(both.starts_with(&first) && both == torn && both.lines().all(|line| !line.is_empty()), "{both}");
        let n_rows = |text: &str| text.lines().count() - 1;
        assert_eq!(n_rows(&both), 2 * n_rows(&first));
        let error = write(Some("a,b\n1,2\n"), &two, "tamis", tables).unwrap_err();
        assert!(error.to_string().contains("`a,b`") && error.hint().is_some(), "{error}");
    }
    // One kind is not put behind the other.
    let tasks = codecarbon::tasks_csv(None, &one, "tamis", tables).unwrap();
    assert!(codecarbon::emissions_csv(Some(&tasks), &two, "tamis", tables).is_err());
}

#[test]
fn a_country_is_a_country_or_left_out() {
    for (region, country, cloud) in [
        (Some("gcp:europe-west9"), Some("FRA"), Some("google")),
        (Some("aws:us-east-1"), Some("USA"), Some("aws")),
        (Some("DEU"), Some("DEU"), None),
        (None, None, None),
    ] {
        let config =
            tamis_schemas::footprint::FootprintConfig { region: region.map(str::to_owned), ..Default::default() };
        let row = intensity::intensity(&config, None, (0, 1), Tables::shipped()).unwrap();
        let mut rows = run("one", 1.0);
        for of_run in &mut rows {
            of_run.intensity = row.clone();
        }
        let report = report(&rows, None, PROVISIONED).unwrap();
        let value = boamps::of_report(&report, &boamps::Task::default(), Tables::shipped());
        assert_eq!(value["environment"].get("country").and_then(|name| name.as_str()), country, "{region:?}");
        assert_eq!(value["infrastructure"].get("cloudProvider").and_then(|name| name.as_str()), cloud, "{region:?}");
    }
}
