//! The management policy of an Azure storage account.

use serde_json::{Value, json};

use super::{Action, Bucket};

pub(super) fn policy(account: &Bucket) -> String {
    let rules: Value = expirations(account)
        .map(|(id, prefix, days)| {
            json!({
                "enabled": true,
                "name": id,
                "type": "Lifecycle",
                "definition": {
                    "actions": { "baseBlob": { "delete": { "daysAfterModificationGreaterThan": days } } },
                    "filters": { "blobTypes": ["blockBlob"], "prefixMatch": [prefix] },
                },
            })
        })
        .collect();
    format!("{:#}\n", json!({ "rules": rules }))
}

/// Name, prefix and days of the rules: Azure knows no others.
pub(super) fn expirations(account: &Bucket) -> impl Iterator<Item = (&str, &str, u64)> {
    account.rules.iter().filter_map(|rule| match rule.action {
        Action::Expire { days } => Some((rule.id.as_str(), rule.prefix.as_str(), days)),
        Action::AbortUploads => None,
    })
}
