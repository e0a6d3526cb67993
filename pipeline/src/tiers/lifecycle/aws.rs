//! Rules of S3 buckets as the AWS command line takes them.

use serde_json::{Value, json};

use super::{ABORT_DAYS, Action, Bucket, Rule};

pub(super) fn configuration(bucket: &Bucket) -> String {
    let rules: Value = bucket.rules.iter().map(rule).collect();
    format!("{:#}\n", json!({ "Rules": rules }))
}

fn rule(rule: &Rule) -> Value {
    let mut value = json!({ "ID": rule.id, "Status": "Enabled", "Filter": { "Prefix": rule.prefix } });
    match rule.action {
        Action::AbortUploads => {
            value["AbortIncompleteMultipartUpload"] = json!({ "DaysAfterInitiation": ABORT_DAYS });
        }
        Action::Expire { days } => value["Expiration"] = json!({ "Days": days }),
    }
    value
}
