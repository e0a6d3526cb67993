//! What a table must not hold: figures without a source, and figures that no machine has.

use super::Tables;

/// A row older than so many years is told, not refused.
const OLD_YEARS: u32 = 3;

/// Full load of all threads over thermal design power: outside of this no server is known, and one table that was published had 4.6.
const FULL_OVER_TDP: std::ops::RangeInclusive<f64> = 0.4..=2.5;

impl Tables {
    /// What is wrong, one line for each: a row without source, year or licence, a changed file, bounds out of order, watts that
    /// cannot be.
    pub fn lint(&self) -> Vec<String> {
        let mut problems = self.lint_origins();
        problems.extend(self.lint_watts());
        for row in self.coefficients.iter().chain(&self.training) {
            let [low, mid, high] = row.bounds();
            if !(low <= mid && mid <= high) {
                problems.push(format!("coefficient `{}`: {low}, {mid}, {high} are no bounds", row.name));
            }
        }
        let intensities = self.countries.iter().map(|row| (&row.iso3, row.g_per_kwh));
        let regions = self.gcp_regions.iter().map(|row| (&row.region, row.g_per_kwh));
        for (name, g_per_kwh) in intensities.chain(regions) {
            if !(5.0..=1500.0).contains(&g_per_kwh) {
                problems.push(format!("intensity of `{name}`: {g_per_kwh} g/kWh, and no grid is outside of 5 to 1500"));
            }
        }
        for row in &self.cloud_regions {
            if self.country(&row.iso3).is_none() {
                problems.push(format!("region `{}` is in `{}`, which is in no table", row.region, row.iso3));
            }
        }
        for row in &self.pue {
            if row.value().low() < 1.0 {
                problems.push(format!("PUE of `{}` is below 1", row.site));
            }
        }
        problems
    }

    /// Rows about a year more than three years before `year`, one line for each table and year.
    pub fn old_rows(&self, year: u32) -> Vec<String> {
        let mut lines = Vec::new();
        for file in &self.files {
            let mut years: Vec<u32> = file.origins.iter().filter_map(|origin| origin.year).collect();
            years.retain(|of_row| of_row + OLD_YEARS < year);
            years.sort_unstable();
            for group in years.chunk_by(|one, other| one == other) {
                lines.push(format!("{}: {} rows are about {}", file.file, group.len(), group[0]));
            }
        }
        lines
    }

    fn lint_origins(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for file in &self.files {
            if file.sha256 != file.actual_sha256 {
                problems.push(format!(
                    "{}: its content is not what SOURCES.toml says; look at the change, then write sha256 = \"{}\"",
                    file.file, file.actual_sha256
                ));
            }
            if file.origins.is_empty() {
                problems.push(format!("{}: it has no rows", file.file));
            }
            for origin in &file.origins {
                let at = format!("{}, line {}", file.file, origin.line);
                let Some(source) = self.sources.get(&origin.source) else {
                    problems.push(format!("{at}: there is no source `{}`", origin.source));
                    continue;
                };
                if source.licence.trim().is_empty() || source.url.trim().is_empty() {
                    problems.push(format!("{at}: source `{}` has no licence or no URL", origin.source));
                }
                if origin.year.unwrap_or(source.year) < 2000 {
                    problems.push(format!("{at}: it says no year"));
                }
            }
        }
        problems
    }

    fn lint_watts(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for row in &self.cpu_families {
            let [idle, full] = row.watts();
            for bounds in [idle, full] {
                if !(0.0 < bounds[0] && bounds[0] <= bounds[1] && bounds[1] <= bounds[2]) {
                    problems.push(format!("{}: {bounds:?} W are no bounds", row.name));
                }
            }
            if (0..3).any(|bound| full[bound] <= idle[bound]) {
                problems.push(format!("{}: idle {idle:?} W are not below full load {full:?} W", row.name));
            }
            let over_tdp = row.full_w().mid() * f64::from(row.check_threads) / row.check_tdp_w;
            if !FULL_OVER_TDP.contains(&over_tdp) {
                problems.push(format!(
                    "{}: {} threads at {} W are {over_tdp:.1} times the {} W of {}",
                    row.name, row.check_threads, full[1], row.check_tdp_w, row.check_part
                ));
            }
        }
        for row in &self.cpu_tdp {
            if !(1.0..=1000.0).contains(&row.tdp_w) {
                problems.push(format!("{}: a thermal design power of {} W", row.name, row.tdp_w));
            }
        }
        problems
    }
}
