//! Providers of object stores and their storage classes.

use tamis_schemas::tier::{RowOrder, TierClass, TierConfig};

use crate::{Error, Result};

/// Whose store a URL names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    Local,
    Amazon,
    Google,
    Azure,
}

impl Provider {
    pub(crate) fn of(url: &str) -> Self {
        match url.split_once("://").map(|(scheme, _)| scheme) {
            Some("s3" | "s3a") => Self::Amazon,
            Some("gs") => Self::Google,
            Some("az" | "adl" | "azure" | "abfs" | "abfss") => Self::Azure,
            _ => Self::Local,
        }
    }

    fn classes(self) -> &'static [Class] {
        match self {
            Self::Local => &[],
            Self::Amazon => &AMAZON,
            Self::Google => &GOOGLE,
            Self::Azure => &AZURE,
        }
    }

    fn name_of(self, temperature: TierClass) -> &'static str {
        use TierClass::{Archive, Cold, Hot, Warm};
        match (self, temperature) {
            (Self::Azure, Hot) => "Hot",
            (Self::Azure, Warm) => "Cool",
            (Self::Azure, Cold) => "Cold",
            (Self::Azure, Archive) => "Archive",
            (_, Hot) => "STANDARD",
            (Self::Google, Warm) => "NEARLINE",
            (Self::Google, Cold) => "COLDLINE",
            (Self::Google, Archive) => "ARCHIVE",
            (_, Warm) => "STANDARD_IA",
            (_, Cold) => "GLACIER_IR",
            (_, Archive) => "DEEP_ARCHIVE",
        }
    }
}

/// A storage class, and what its provider bills in any case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Class {
    /// In the provider's words.
    pub(crate) name: &'static str,
    /// Days that are billed of an object that is deleted sooner.
    pub(crate) least_days: u64,
    /// Bytes that are billed of an object that is smaller.
    pub(crate) least_bytes: u64,
    /// How soon an object can be read.
    pub(crate) access: ClassAccess,
}

/// How soon an object of a class can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClassAccess {
    /// At once.
    Instant,
    /// At once, at a price that only rare reads are worth.
    Priced,
    /// When it has been restored, hours later.
    Restored,
}

const SMALL_OBJECT: u64 = 128 << 10;

const fn class(name: &'static str, least_days: u64, least_bytes: u64, access: ClassAccess) -> Class {
    Class { name, least_days, least_bytes, access }
}

const AMAZON: [Class; 8] = [
    class("STANDARD", 0, 0, ClassAccess::Instant),
    class("REDUCED_REDUNDANCY", 0, 0, ClassAccess::Instant),
    class("STANDARD_IA", 30, SMALL_OBJECT, ClassAccess::Instant),
    class("ONEZONE_IA", 30, SMALL_OBJECT, ClassAccess::Instant),
    class("INTELLIGENT_TIERING", 0, 0, ClassAccess::Instant),
    class("GLACIER_IR", 90, SMALL_OBJECT, ClassAccess::Instant),
    class("GLACIER", 90, 0, ClassAccess::Restored),
    class("DEEP_ARCHIVE", 180, 0, ClassAccess::Restored),
];
const GOOGLE: [Class; 4] = [
    class("STANDARD", 0, 0, ClassAccess::Instant),
    class("NEARLINE", 30, 0, ClassAccess::Instant),
    class("COLDLINE", 90, 0, ClassAccess::Instant),
    class("ARCHIVE", 365, 0, ClassAccess::Priced),
];
const AZURE: [Class; 4] = [
    class("Hot", 0, 0, ClassAccess::Instant),
    class("Cool", 30, 0, ClassAccess::Instant),
    class("Cold", 90, 0, ClassAccess::Instant),
    class("Archive", 180, 0, ClassAccess::Restored),
];

/// Days that are billed at least of an object at `url` in a storage class, by its name.
pub(crate) fn least_days(url: &str, class: &str) -> u64 {
    let classes = Provider::of(url).classes();
    classes.iter().find(|known| known.name == class).map_or(0, |known| known.least_days)
}

/// The storage class of a tier; `None` where there are none.
///
/// # Errors
/// `Error::Config` for a class that the provider does not have.
pub(crate) fn storage_class(provider: Provider, config: &TierConfig) -> Result<Option<&'static Class>> {
    let known = provider.classes();
    if known.is_empty() {
        return Ok(None);
    }
    let name = config.native.as_deref().unwrap_or(provider.name_of(config.class));
    known.iter().find(|class| class.name == name).map(Some).ok_or_else(|| Error::Config {
        message: format!("storage class `{name}` is not one of this provider's"),
        hint: Some(format!("one of {}", known.iter().map(|class| class.name).collect::<Vec<_>>().join(", "))),
    })
}

/// Days that are billed in any case, from which on a class is for what is hardly ever read.
const COLD_DAYS: u64 = 90;

/// The order of dropped rows in a tier of the storage class `class`.
pub(crate) fn row_order(class: Option<&Class>, config: &TierConfig) -> RowOrder {
    let is_cold = match class {
        Some(class) => class.least_days >= COLD_DAYS,
        None => matches!(config.class, TierClass::Cold | TierClass::Archive),
    };
    config.order.unwrap_or(if is_cold { RowOrder::Cluster } else { RowOrder::Input })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hardly_ever_read_is_ordered_by_cluster() {
        use RowOrder::{Cluster, Input};
        use TierClass::{Archive, Cold, Hot, Warm};
        let check = |url: &str, class: TierClass, native: Option<&str>, order: Option<RowOrder>, expect: RowOrder| {
            let config = TierConfig { class, native: native.map(str::to_owned), order, ..TierConfig::default() };
            let class = storage_class(Provider::of(url), &config).unwrap();
            assert_eq!(row_order(class, &config), expect, "{url} {config:?}");
        };
        for url in ["out", "s3://b/p", "gs://b/p", "az://b/p"] {
            for (class, expect) in [(Hot, Input), (Warm, Input), (Cold, Cluster), (Archive, Cluster)] {
                check(url, class, None, None, expect);
                check(url, class, None, Some(Cluster), Cluster);
                check(url, class, None, Some(Input), Input);
            }
        }
        check("s3://b/p", Hot, Some("GLACIER"), None, Cluster);
        check("s3://b/p", Hot, Some("INTELLIGENT_TIERING"), None, Input);
        check("gs://b/p", Cold, Some("NEARLINE"), None, Input);
    }

    #[test]
    fn storage_classes_in_each_providers_words() {
        let check = |url: &str, class: TierClass, native: Option<&str>| {
            let config = TierConfig { class, native: native.map(str::to_owned), ..TierConfig::default() };
            let found = storage_class(Provider::of(url), &config).map_err(|error| error.hint().unwrap_or_default());
            found.map(|class| class.map(|class| class.name))
        };
        assert_eq!(check("out/run", TierClass::Cold, None), Ok(None));
        assert_eq!(check("file:///out", TierClass::Cold, None), Ok(None));
        assert_eq!(check("s3://b/p", TierClass::Cold, None), Ok(Some("GLACIER_IR")));
        assert_eq!(check("gs://b/p", TierClass::Warm, None), Ok(Some("NEARLINE")));
        assert_eq!(check("az://b/p", TierClass::Hot, None), Ok(Some("Hot")));
        assert_eq!(check("s3://b/p", TierClass::Hot, Some("ONEZONE_IA")), Ok(Some("ONEZONE_IA")));
        assert!(check("gs://b/p", TierClass::Hot, Some("GLACIER")).is_err_and(|hint| hint.contains("COLDLINE")));
    }

    #[test]
    fn every_temperature_is_a_class_of_its_provider() {
        for provider in [Provider::Amazon, Provider::Google, Provider::Azure] {
            for class in [TierClass::Hot, TierClass::Warm, TierClass::Cold, TierClass::Archive] {
                let config = TierConfig { class, ..TierConfig::default() };
                assert!(storage_class(provider, &config).unwrap().is_some(), "{provider:?} {class:?}");
            }
        }
    }
}
