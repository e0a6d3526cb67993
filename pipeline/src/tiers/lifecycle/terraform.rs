//! Rules as Terraform resources, for each bucket those of its provider.

use std::fmt::Write;

use super::{ABORT_DAYS, Action, Bucket, azure, gcs, slug};
use crate::tiers::class::Provider;

/// Lines are pushed with their indent, so that this reads as what it makes.
pub(super) fn resources(buckets: &[&Bucket]) -> String {
    let resources = buckets.iter().map(|bucket| match bucket.provider {
        Provider::Google => google(bucket),
        Provider::Azure => azure(bucket),
        Provider::Amazon | Provider::Local => amazon(bucket),
    });
    resources.collect::<Vec<_>>().join("\n")
}

fn amazon(bucket: &Bucket) -> String {
    let mut text = format!(
        "resource \"aws_s3_bucket_lifecycle_configuration\" \"{}\" {{\n  bucket = {}\n",
        name(bucket),
        quoted(&bucket.name)
    );
    for rule in &bucket.rules {
        let action = match rule.action {
            Action::AbortUploads => {
                format!("abort_incomplete_multipart_upload {{\n      days_after_initiation = {ABORT_DAYS}\n")
            }
            Action::Expire { days } => format!("expiration {{\n      days = {days}\n"),
        };
        let _ = write!(
            text,
            "\n  rule {{\n    id     = {}\n    status = \"Enabled\"\n\n    filter {{\n      prefix = {}\n    }}\n\n    {action}    }}\n  }}\n",
            quoted(&rule.id),
            quoted(&rule.prefix)
        );
    }
    text + "}\n"
}

fn google(bucket: &Bucket) -> String {
    let mut text = format!(
        "# Rules are part of the bucket's own resource: move them there.\nresource \"google_storage_bucket\" \"{}\" {{\n  name = {}\n",
        name(bucket),
        quoted(&bucket.name)
    );
    for rule in &bucket.rules {
        let (action, age) = gcs::action(rule.action);
        let prefix = match rule.prefix.as_str() {
            "" => String::new(),
            prefix => format!("      matches_prefix = [{}]\n", quoted(prefix)),
        };
        let _ = write!(
            text,
            "\n  lifecycle_rule {{\n    condition {{\n      age            = {age}\n{prefix}    }}\n\n    action {{\n      type = {}\n    }}\n  }}\n",
            quoted(action)
        );
    }
    text + "}\n"
}

fn azure(account: &Bucket) -> String {
    let name = name(account);
    let mut text = format!(
        "# An account has one policy. Name the account's own resource.\nresource \"azurerm_storage_management_policy\" \"{name}\" {{\n  storage_account_id = azurerm_storage_account.{name}.id\n"
    );
    for (id, prefix, days) in azure::expirations(account) {
        let _ = write!(
            text,
            "\n  rule {{\n    name    = {}\n    enabled = true\n\n    filters {{\n      prefix_match = [{}]\n      blob_types   = [\"blockBlob\"]\n    }}\n\n    actions {{\n      base_blob {{\n        delete_after_days_since_modification_greater_than = {days}\n      }}\n    }}\n  }}\n",
            quoted(id),
            quoted(prefix)
        );
    }
    text + "}\n"
}

fn name(bucket: &Bucket) -> String {
    format!("tamis_{}", slug(&bucket.name, '_')).trim_end_matches('_').to_owned()
}

/// A string of the language, in which `${` and `%{` would begin an expression.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            '$' | '%' if chars.peek() == Some(&'{') => out.extend([char, char]),
            char if char.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_quoted() {
        for (text, expect) in
            [("a/b", "\"a/b\""), ("a\"\\", "\"a\\\"\\\\\""), ("${x}$y%{", "\"$${x}$y%%{\""), ("\n", "\"\\u000a\"")]
        {
            assert_eq!(quoted(text), expect, "{text}");
        }
    }
}
