//! `tamis tiers check|lifecycle`.

use std::io::{self, Write};

use serde_json::{Value, json};
use tamis_pipeline::tiers::{self, Finding, Level, RuleFormat, TierReport};

use crate::args::{ConfigFile, Format, Global, TiersCommand, TiersLifecycle};
use crate::diagnostic;
use crate::exit::Exit;
use crate::settings;

pub(crate) fn run(args: &TiersCommand, global: &Global) -> anyhow::Result<Exit> {
    match args {
        TiersCommand::Check(file) => check(file, global),
        TiersCommand::Lifecycle(args) => lifecycle(args, global.format),
    }
}

fn check(file: &ConfigFile, global: &Global) -> anyhow::Result<Exit> {
    let (config, _) = settings::load(&file.config)?;
    let context = settings::context(global)?;
    let stores = settings::stores().with_tiers(&config)?;
    let reports = tiers::check(&config, &settings::stamp().nonce, &stores, &context)?;
    let worst = findings(&reports).map(|finding| finding.level).max().unwrap_or(Level::Ok);
    let mut out = io::stdout().lock();
    match global.format {
        Format::Json => {
            let tiers: Value = reports.iter().map(to_json).collect();
            writeln!(out, "{:#}", json!({ "command": "tamis tiers check", "level": name(worst), "tiers": tiers }))?;
        }
        // Other formats are refused before a command begins.
        _ => write_text(&mut out, &reports)?,
    }
    out.flush()?;
    Ok(if worst == Level::Error { Exit::Failed } else { Exit::Clean })
}

fn findings(reports: &[TierReport]) -> impl Iterator<Item = &Finding> {
    reports.iter().flat_map(|report| &report.findings)
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Ok => "ok",
        Level::Warning => "warning",
        Level::Error => "error",
    }
}

fn to_json(report: &TierReport) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "subject": finding.subject,
            "level": name(finding.level),
            "message": finding.message,
            "hint": finding.hint,
        })
    };
    json!({
        "tier": report.tier,
        "url": report.url,
        "class": report.class,
        "findings": report.findings.iter().map(finding).collect::<Value>(),
    })
}

fn write_text(out: &mut impl Write, reports: &[TierReport]) -> io::Result<()> {
    for report in reports {
        let class = report.class.map_or_else(String::new, |class| format!(", {class}"));
        writeln!(out, "{} at {}{class}", report.tier, report.url)?;
        for Finding { subject, level, message, hint } in &report.findings {
            writeln!(out, "  {:<8} {subject:<19} {message}", name(*level))?;
            if let Some(hint) = hint {
                writeln!(out, "{:31}hint: {hint}", "")?;
            }
        }
        writeln!(out)?;
    }
    let count = |level: Level| findings(reports).filter(|finding| finding.level == level).count();
    let counted = |n: usize, noun: &str| crate::number::counted(n as u64, noun);
    writeln!(out, "{}, {}", counted(count(Level::Error), "error"), counted(count(Level::Warning), "warning"))
}

fn lifecycle(args: &TiersLifecycle, format: Format) -> anyhow::Result<Exit> {
    let format = match format {
        Format::Aws => RuleFormat::Aws,
        Format::Gcs => RuleFormat::Gcs,
        Format::Azure => RuleFormat::Azure,
        Format::Terraform => RuleFormat::Terraform,
        _ => {
            anyhow::bail!("say who is to read the rules: --format aws, gcs, azure or terraform");
        }
    };
    let (config, _) = settings::load(&args.file.config)?;
    let made = tiers::lifecycle(&config, format, args.bucket.as_deref())?;
    made.notes.iter().for_each(|note| diagnostic::note(note));
    io::stdout().lock().write_all(made.text.as_bytes())?;
    Ok(Exit::Clean)
}
