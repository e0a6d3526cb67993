//! Where a run was, in words that other tools know.

use tamis_schemas::footprint::LedgerRow;

use crate::footprint::tables::Tables;

/// A cloud and its region, and the country. What is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The country's name.
    pub(super) country: String,
    /// Its three letters.
    pub(super) iso3: String,
    /// `gcp`, `aws` or `azure`.
    pub(super) provider: String,
    /// The region of the cloud.
    pub(super) region: String,
}

impl Place {
    /// By the zone that the intensity of a row is about: a country, a region of a cloud, or neither.
    pub(super) fn of(row: &LedgerRow, tables: &Tables) -> Self {
        let zone = row.intensity.zone.as_str();
        let name = zone.split(' ').next().unwrap_or(zone);
        let (provider, region) = name.split_once(':').unwrap_or(("", ""));
        let of_gcp = || Some(tables.gcp_regions.iter().find(|row| row.region == region)?.iso3.as_str());
        let of_cloud = || {
            let found = tables.cloud_regions.iter().find(|row| row.provider == provider && row.region == region);
            found.map(|row| row.iso3.as_str())
        };
        let iso3 = match provider {
            "" => name,
            "gcp" => of_gcp().unwrap_or_default(),
            _ => of_cloud().unwrap_or_default(),
        };
        let country = tables.country(iso3);
        Self {
            country: country.map(|row| row.country.clone()).unwrap_or_default(),
            iso3: country.map(|row| row.iso3.clone()).unwrap_or_default(),
            provider: provider.to_owned(),
            region: region.to_owned(),
        }
    }
}
