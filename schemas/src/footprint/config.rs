//! Settings of footprint accounting. They change no output, only what is said about a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Section `[footprint]` of a config.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FootprintConfig {
    /// Where the machine stands: `gcp:europe-west9`, `aws:eu-west-3`, `azure:francecentral`, or a country as three letters, `FRA`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Grams of `CO2e` per kWh; goes before all tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intensity_g_per_kwh: Option<f64>,
    /// File with what the grid's intensity was, in any of the shapes of forecasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actuals: Option<String>,
    /// Power usage effectiveness, 1 or more; goes before all tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pue: Option<f64>,
    /// What kind of site it is, if no region of a cloud says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteConfig>,
    /// Rule for the energy of the processor. Default: the best one there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<MethodConfig>,
    /// Readings of a power meter: CSV of timestamp and watts, or of timestamp and joules that only grow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_file: Option<String>,
    /// Watts of a thread at full load, for a machine that is in no table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watts_per_thread: Option<f64>,
    /// Board power of the graphics processors together, watts; used if they have no meter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_watts: Option<f64>,
    /// Most grams of `CO2e` that a run may cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_g: Option<f64>,
    /// The same for a million input documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_g_per_mdoc: Option<f64>,
    /// Which bound the budget is about.
    pub bound: BoundConfig,
    /// Which energy the budget is about.
    pub view: ViewConfig,
}

/// Kind of site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SiteConfig {
    /// A data center that is not known better.
    Datacenter,
    /// A machine on or below a desk.
    Desk,
}

/// Rule for the energy of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MethodConfig {
    /// The power file, and nothing else.
    PowerFile,
    /// The counters of the processor, and nothing else.
    Powercap,
    /// Watts per thread of the processor family.
    SpecFamily,
    /// Thermal design power, a thread's share.
    Tdp,
    /// 2 W per thread, 0.5 to 6.
    Generic,
    /// What `CodeCarbon` says of a process: CPU seconds times TDP over threads.
    CodecarbonCompat,
}

/// One of the three numbers of an interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BoundConfig {
    /// Lower bound.
    Low,
    /// Best guess.
    Mid,
    /// Upper bound.
    #[default]
    High,
}

/// Which energy is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ViewConfig {
    /// With a share of what the machine draws when idle.
    #[default]
    Provisioned,
    /// Beyond idle.
    Dynamic,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_read_and_an_unknown_key_is_not() {
        let text = r#"{"region": "gcp:europe-west9", "method": "codecarbon-compat", "bound": "mid", "site": "desk"}"#;
        let config: FootprintConfig = serde_json::from_str(text).unwrap();
        assert_eq!((config.method, config.bound), (Some(MethodConfig::CodecarbonCompat), BoundConfig::Mid));
        assert_eq!(config.view, ViewConfig::Provisioned);
        let again = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<FootprintConfig>(&again).unwrap(), config);
        assert!(serde_json::from_str::<FootprintConfig>(r#"{"regoin": "FRA"}"#).is_err());
        assert_eq!(serde_json::from_str::<FootprintConfig>("{}").unwrap(), FootprintConfig::default());
    }
}
