//! Rules of Google Cloud Storage buckets as `gcloud` takes them.

use serde_json::{Value, json};

use super::{ABORT_DAYS, Action, Bucket, Rule};

pub(super) fn configuration(bucket: &Bucket) -> String {
    let rules: Value = bucket.rules.iter().map(rule).collect();
    format!("{:#}\n", json!({ "lifecycle": { "rule": rules } }))
}

fn rule(rule: &Rule) -> Value {
    let (action, age) = action(rule.action);
    let mut condition = json!({ "age": age });
    // No prefix is any prefix; an empty one is refused.
    if !rule.prefix.is_empty() {
        condition["matchesPrefix"] = json!([rule.prefix]);
    }
    json!({ "action": { "type": action }, "condition": condition })
}

/// The provider's name of an action, and the age at which it is done.
pub(super) fn action(action: Action) -> (&'static str, u64) {
    match action {
        Action::AbortUploads => ("AbortIncompleteMultipartUpload", ABORT_DAYS),
        Action::Expire { days } => ("Delete", days),
    }
}
