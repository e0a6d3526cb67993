//! Rows of the tables.

use serde::Deserialize;
use tamis_schemas::footprint::Interval;

use super::interval;

/// Yearly mean of a country's grid.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Country {
    /// ISO 3166-1, three letters.
    pub iso3: String,
    /// Name.
    pub country: String,
    /// Grams of `CO2e` per kWh, life cycle.
    pub g_per_kwh: f64,
    /// Year of the mean.
    pub year: u32,
    /// Source.
    pub source: String,
}

/// Yearly mean of the grid of a region of Google Cloud.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct GcpRegion {
    /// Region.
    pub region: String,
    /// Place.
    pub location: String,
    /// Country.
    pub iso3: String,
    /// Share of hours with carbon-free energy as the provider counts it, contracts included: shown, never used.
    pub carbon_free_ratio: f64,
    /// Grams of `CO2e` per kWh of the grid.
    pub g_per_kwh: f64,
    /// Year of the mean.
    pub year: u32,
    /// Source.
    pub source: String,
}

/// Where a region of a cloud is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct CloudRegion {
    /// `aws` or `azure`.
    pub provider: String,
    /// Region.
    pub region: String,
    /// Country.
    pub iso3: String,
    /// Source.
    pub source: String,
}

/// Watts of a whole server at the wall, per hardware thread.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CpuFamily {
    /// Vendor as `cpuid` says it.
    pub vendor: String,
    /// Family number.
    pub family: u32,
    /// First model number.
    pub model_first: u32,
    /// Last model number.
    pub model_last: u32,
    /// Name.
    pub name: String,
    idle_low_w: f64,
    idle_w: f64,
    idle_high_w: f64,
    full_low_w: f64,
    full_w: f64,
    full_high_w: f64,
    /// Results that the medians are of.
    pub n_results: u32,
    /// A processor of the family that the figures are held against.
    pub check_part: String,
    /// Its threads.
    pub check_threads: u32,
    /// Its thermal design power, watts.
    pub check_tdp_w: f64,
    /// Source.
    pub source: String,
}

/// Thermal design power.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct CpuTdp {
    /// Name of the processor.
    pub name: String,
    /// Watts.
    pub tdp_w: f64,
}

/// Power, replicas and embodied emissions of a tier of storage.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct StorageTier {
    /// Name.
    pub tier: String,
    /// `hdd`, `ssd` or `unknown`.
    pub media: String,
    replicas_low: f64,
    replicas: f64,
    replicas_high: f64,
    wh_per_tb_hour_low: f64,
    wh_per_tb_hour: f64,
    wh_per_tb_hour_high: f64,
    embodied_kg_per_tb_year_low: f64,
    embodied_kg_per_tb_year: f64,
    embodied_kg_per_tb_year_high: f64,
    /// Source.
    pub source: String,
}

/// Energy of sending.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct NetworkPath {
    /// Which path.
    pub path: String,
    kwh_per_gb_low: f64,
    kwh_per_gb: f64,
    kwh_per_gb_high: f64,
    /// Source.
    pub source: String,
}

/// What it took to make a piece of hardware.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct EmbodiedItem {
    /// `thread` or `ram_gb`.
    pub item: String,
    kg_low: f64,
    kg: f64,
    kg_high: f64,
    /// Years it is used.
    pub life_years: f64,
    /// Source.
    pub source: String,
}

/// PUE of a kind of site.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SitePue {
    /// Name.
    pub site: String,
    pue_low: f64,
    pue: f64,
    pue_high: f64,
    /// Source.
    pub source: String,
}

/// Any other figure.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Coefficient {
    /// Name.
    pub name: String,
    low: f64,
    mid: f64,
    high: f64,
    /// Unit.
    pub unit: String,
    /// Year.
    pub year: u32,
    /// Source.
    pub source: String,
}

impl CpuFamily {
    /// Watts per thread of an idle machine.
    pub fn idle_w(&self) -> Interval {
        interval(self.idle_low_w, self.idle_w, self.idle_high_w)
    }

    /// Watts per thread at full load.
    pub fn full_w(&self) -> Interval {
        interval(self.full_low_w, self.full_w, self.full_high_w)
    }

    /// All bounds, idle and full, in order.
    pub(super) fn watts(&self) -> [[f64; 3]; 2] {
        [[self.idle_low_w, self.idle_w, self.idle_high_w], [self.full_low_w, self.full_w, self.full_high_w]]
    }
}

impl StorageTier {
    /// kWh of a terabyte in a year, all replicas, PUE not in it.
    pub fn kwh_per_tb_year(&self) -> Interval {
        let replicas = interval(self.replicas_low, self.replicas, self.replicas_high);
        let watts = interval(self.wh_per_tb_hour_low, self.wh_per_tb_hour, self.wh_per_tb_hour_high);
        watts.times(&replicas).scale(24.0 * 365.0 / 1e3)
    }

    /// Embodied kilograms of `CO2e` of a terabyte in a year, all replicas.
    pub fn embodied_kg_per_tb_year(&self) -> Interval {
        let replicas = interval(self.replicas_low, self.replicas, self.replicas_high);
        let (low, high) = (self.embodied_kg_per_tb_year_low, self.embodied_kg_per_tb_year_high);
        interval(low, self.embodied_kg_per_tb_year, high).times(&replicas)
    }
}

impl NetworkPath {
    /// kWh of a gigabyte (10^9 bytes).
    pub fn kwh_per_gb(&self) -> Interval {
        interval(self.kwh_per_gb_low, self.kwh_per_gb, self.kwh_per_gb_high)
    }
}

impl EmbodiedItem {
    /// Grams of `CO2e` for each hour that it is reserved; a year has 365 days.
    pub fn g_per_hour(&self) -> Interval {
        interval(self.kg_low, self.kg, self.kg_high).scale(1e3 / (self.life_years * 365.0 * 24.0))
    }
}

impl SitePue {
    /// Energy of the site over that of its machines.
    pub fn value(&self) -> Interval {
        interval(self.pue_low, self.pue, self.pue_high)
    }
}

impl Coefficient {
    /// The figure.
    pub fn value(&self) -> Interval {
        interval(self.low, self.mid, self.high)
    }

    /// Its bounds as the table has them.
    pub(super) fn bounds(&self) -> [f64; 3] {
        [self.low, self.mid, self.high]
    }
}
