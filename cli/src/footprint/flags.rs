//! Flags that do not go together, or of which one counts and the other does not.

use tamis_pipeline::Error;
use tamis_pipeline::footprint::intensity::Region;
use tamis_schemas::footprint::{FootprintConfig, MethodConfig};

use crate::args::{Accounting, Switch};
use crate::diagnostic;

use super::settings;

/// Refuses flags that mean nothing alone.
///
/// # Errors
/// `Error::Config` for a forecast without a time to wait in.
pub(crate) fn check_flags(flags: &Accounting) -> tamis_pipeline::Result<()> {
    if flags.forecast.is_some() && flags.start_within.is_none() {
        return Err(Error::Config {
            message: "a forecast is given, and no time in which the run may wait for a cleaner grid".into(),
            hint: Some("give the time with --start-within 8h (schedule.window), or leave --forecast out".into()),
        });
    }
    Ok(())
}

/// Refuses what a run on a cluster does not look at, unless nobody accounts for it.
///
/// # Errors
/// `Error::Config` with the first of it.
pub(crate) fn check_on_cluster(flags: &Accounting, config: &FootprintConfig) -> tamis_pipeline::Result<()> {
    check_flags(flags)?;
    let settings = settings(config.clone(), flags);
    let is_off = flags.footprint == Some(Switch::Off);
    let meter = matches!(settings.method, Some(MethodConfig::PowerFile | MethodConfig::Powercap));
    let refused = [
        (
            "a budget of emissions (footprint.max_g, --max-g)",
            settings.max_g.is_some() || settings.max_g_per_mdoc.is_some(),
        ),
        (
            "a power file (footprint.power_file, --power-file)",
            settings.power_file.is_some() && settings.method.is_none(),
        ),
        ("a meter of one machine (footprint.method, --method)", meter),
    ];
    let refused = refused.into_iter().map(|(what, is_set)| (what, is_set && !is_off));
    match refused.chain([("--start-within", flags.start_within.is_some())]).find(|(_, is_set)| *is_set) {
        Some((what, _)) => Err(Error::Config {
            message: format!("{what} does not work on a cluster yet"),
            hint: Some("leave it out, or run on one machine: without --engine spark".into()),
        }),
        None => Ok(()),
    }
}

/// The flags once more, for the process that leads a run on a cluster.
pub(crate) fn flags_of_session(flags: &Accounting) -> Vec<String> {
    let switch = flags.footprint.map(|switch| match switch {
        Switch::On => "on".to_owned(),
        Switch::Off => "off".to_owned(),
    });
    let method = flags.method.and_then(|method| Some(serde_json::to_value(method).ok()?.as_str()?.to_owned()));
    let given = [
        ("footprint", switch),
        ("region", flags.region.clone()),
        ("intensity", flags.intensity.map(|grams| grams.to_string())),
        ("actuals", flags.actuals.clone()),
        ("pue", flags.pue.map(|ratio| ratio.to_string())),
        ("method", method),
    ];
    given.into_iter().filter_map(|(name, value)| Some(format!("--{name}={}", value?))).collect()
}

/// Says which settings do not count because another one goes before them.
pub(crate) fn tell_unused(settings: &FootprintConfig) {
    for (what, before) in unused(settings) {
        diagnostic::warn(&format!("{what} is not used: {before} goes before it"), "leave one of the two out");
    }
}

fn unused(settings: &FootprintConfig) -> Vec<(String, &'static str)> {
    let mut unused = Vec::new();
    if settings.intensity_g_per_kwh.is_some() {
        const INTENSITY: &str = "the intensity given";
        if let Some(region) = &settings.region {
            // A cloud's region has a PUE, too.
            let is_cloud = matches!(Region::parse(region), Ok(Region::Cloud(..)));
            let what = if is_cloud && settings.pue.is_none() { "the intensity of the region" } else { "the region" };
            unused.push((format!("{what} `{region}`"), INTENSITY));
        }
        if let Some(path) = &settings.actuals {
            unused.push((format!("the file of actual intensities `{path}`"), INTENSITY));
        }
    }
    if let (Some(path), Some(method)) = (&settings.power_file, settings.method)
        && method != MethodConfig::PowerFile
    {
        unused.push((format!("the power file `{path}`"), "the method given"));
    }
    unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_is_said() {
        let check = |change: fn(&mut FootprintConfig), expect: &[&str]| {
            let mut settings = FootprintConfig::default();
            change(&mut settings);
            let said: Vec<String> = unused(&settings).into_iter().map(|(what, _)| what).collect();
            assert_eq!(said, expect, "{settings:?}");
        };
        check(|settings| settings.region = Some("FRA".into()), &[]);
        check(
            |settings| (settings.region, settings.intensity_g_per_kwh) = (Some("FRA".into()), Some(1.0)),
            &["the region `FRA`"],
        );
        check(
            |settings| (settings.region, settings.intensity_g_per_kwh) = (Some("gcp:x".into()), Some(1.0)),
            &["the intensity of the region `gcp:x`"],
        );
        check(
            |settings| (settings.actuals, settings.intensity_g_per_kwh) = (Some("a".into()), Some(1.0)),
            &["the file of actual intensities `a`"],
        );
        let powered = |settings: &mut FootprintConfig, method| {
            (settings.power_file, settings.method) = (Some("p".into()), Some(method));
        };
        check(|settings| settings.power_file = Some("p".into()), &[]);
        let mut settings = FootprintConfig::default();
        powered(&mut settings, MethodConfig::PowerFile);
        assert!(unused(&settings).is_empty());
        powered(&mut settings, MethodConfig::Tdp);
        assert_eq!(unused(&settings)[0].0, "the power file `p`");
    }
}
