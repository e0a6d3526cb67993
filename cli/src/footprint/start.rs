//! When a run starts, if it may wait for a cleaner grid.

use std::time::Duration;

use serde_json::{Value, json};
use tamis_pipeline::Error;
use tamis_pipeline::context::Cancel;
use tamis_pipeline::context::Context;
use tamis_pipeline::footprint::forecast::{Decision, Prefer, Question, choose, parse, time_text};
use tamis_pipeline::footprint::planner::Plan;
use tamis_pipeline::store::Stores;
use tamis_schemas::time_span::TimeSpan;

use super::{Account, now};
use crate::args::{Accounting, Format};
use crate::exit::Exit;
use crate::{answer, diagnostic};

/// How long a signal goes unheard while a run waits.
const TICK: Duration = Duration::from_millis(200);

/// When, and why.
#[derive(Debug)]
pub(crate) struct Start {
    decision: Decision,
    deadline: i64,
}

/// Chooses the start. A forecast that cannot be read is none: the run starts now, and says so.
pub(super) fn decide(within: TimeSpan, path: Option<&str>, plan: &Plan, now: i64) -> Start {
    let series = path.and_then(|path| {
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let series = read.and_then(|text| parse(&text, path, Prefer::Forecast).map_err(|error| error.to_string()));
        let tell = |why: &String| {
            diagnostic::warn(&format!("the forecast `{path}` was not used: {why}"), "the run starts now");
        };
        series.inspect_err(tell).ok()
    });
    let prediction = match plan {
        Plan::Known(prediction) => Some(prediction),
        Plan::Unknown => None,
    };
    let deadline = now + within.seconds as i64;
    let question = Question {
        now,
        deadline,
        duration_seconds: prediction.map(|prediction| prediction.run.wall_seconds.p90.ceil() as i64),
        energy_kwh: prediction.map(|prediction| prediction.run.kwh_p50.mid()),
    };
    Start { decision: choose(&question, series.as_ref()), deadline }
}

/// Tells another scheduler when to start.
pub(crate) fn print_start(
    account: Option<&Account>,
    flags: &Accounting,
    (stores, context): (&Stores, &Context),
    format: Format,
) -> anyhow::Result<Exit> {
    let account = account.ok_or_else(|| Error::config("--print-start needs --footprint on"))?;
    if let Some(start) = account.start(flags, account.input_bytes(stores, context)?) {
        answer::print(&format!("{}\n", start.words()), &start.json(), format)?;
    }
    Ok(Exit::Clean)
}

impl Start {
    /// For people.
    fn words(&self) -> String {
        self.decision.to_string()
    }

    /// For other schedulers.
    fn json(&self) -> Value {
        json!({
            "start_at": time_text(self.decision.start_at),
            "start_at_seconds": self.decision.start_at,
            "deadline": time_text(self.deadline),
            "why": self.words(),
            "now_g_per_kwh": self.decision.now_g_per_kwh,
            "chosen_g_per_kwh": self.decision.chosen_g_per_kwh,
            "saved_g": self.decision.saved_g,
        })
    }

    /// Waits until then, or for a signal.
    pub(super) fn wait(&self, cancel: &Cancel) -> anyhow::Result<()> {
        diagnostic::note(&self.words());
        while now() < self.decision.start_at as f64 {
            cancel.check()?;
            std::thread::sleep(TICK);
        }
        Ok(())
    }
}
