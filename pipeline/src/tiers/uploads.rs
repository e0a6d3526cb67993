//! Whether a bucket removes the parts of uploads that never ended: they are billed, and no listing shows them.

use serde::Deserialize;

use super::check::Finding;
use super::class::Provider;
use crate::Result;
use crate::context::Context;
use crate::store::{Answer, Ask, Stores, explain};

const SUBJECT: &str = "incomplete_uploads";
const HINT: &str = "`tamis tiers lifecycle` prints a rule that does";

/// Looks for a rule that covers the place.
pub(super) fn incomplete(provider: Provider, url: &str, stores: &Stores, context: &Context) -> Finding {
    match provider {
        Provider::Azure | Provider::Local => Finding::ok(SUBJECT, "removed by the service after a week"),
        Provider::Google => Finding::warning(
            SUBJECT,
            "not looked at: whether the bucket aborts them is not read from Google",
            format!("see `gcloud storage buckets describe`; {HINT}"),
        ),
        Provider::Amazon => in_bucket(url, stores, context).unwrap_or_else(|error| Finding::of(SUBJECT, &error)),
    }
}

fn in_bucket(url: &str, stores: &Stores, context: &Context) -> Result<Finding> {
    let prefix = format!("{}/", stores.resolve(url)?.1);
    let unread =
        |why: String| Finding::warning(SUBJECT, format!("the rules of the bucket cannot be read: {why}"), HINT);
    let ask = Ask { query: &[("lifecycle", "")], ..Ask::default() };
    let answer = match context.runtime.block_on(stores.bucket(url)?.ask(&ask)) {
        Ok(answer) => answer,
        Err(error) => return Ok(unread(explain(&error).to_string())),
    };
    Ok(match answer {
        Answer { status: 200, body, .. } => match days_until_abort(&body, &prefix) {
            Ok(Some(days)) => Finding::ok(SUBJECT, format!("aborted after {days} days")),
            Ok(None) => Finding::warning(SUBJECT, "no rule of the bucket aborts them here", HINT),
            Err(_) => unread("the answer is not understood".into()),
        },
        Answer { status: 404, .. } => Finding::warning(SUBJECT, "the bucket has no rule that aborts them", HINT),
        Answer { status: 403, .. } => unread("s3:GetLifecycleConfiguration is not allowed".into()),
        Answer { status, .. } => unread(format!("status {status}")),
    })
}

/// Days after which uploads below `prefix` are aborted, if they are.
///
/// # Errors
/// If `xml` is something else than rules.
fn days_until_abort(xml: &str, prefix: &str) -> Result<Option<u32>, quick_xml::DeError> {
    let configuration: Configuration = quick_xml::de::from_str(xml)?;
    let covers = |rule: &&Rule| rule.status == "Enabled" && prefix.starts_with(rule.prefix());
    let waits = configuration.rules.iter().filter(covers).filter_map(|rule| Some(rule.abort.as_ref()?.days));
    Ok(waits.min())
}

#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(rename = "Rule", default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Rule {
    status: String,
    prefix: Option<String>,
    filter: Option<Filter>,
    #[serde(rename = "AbortIncompleteMultipartUpload")]
    abort: Option<Abort>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    prefix: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Abort {
    #[serde(rename = "DaysAfterInitiation")]
    days: u32,
}

impl Rule {
    /// What keys begin with that the rule is for. Rules that abort uploads have no other filter.
    fn prefix(&self) -> &str {
        let of_filter = self.filter.as_ref().and_then(|filter| filter.prefix.as_deref());
        of_filter.or(self.prefix.as_deref()).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_what_begins_with_its_prefix() {
        let rule = |prefix: &str, status: &str, action: &str| {
            format!("<Rule><ID>x</ID>{prefix}<Status>{status}</Status>{action}</Rule>")
        };
        let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
        let expire = "<Expiration><Days>9</Days></Expiration>";
        let check = |rules: &[String], expect: Option<u32>| {
            let xml = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</LifecycleConfiguration>",
                rules.concat()
            );
            assert_eq!(days_until_abort(&xml, "out/run/").unwrap(), expect, "{xml}");
        };
        check(&[], None);
        check(&[rule("<Filter><Prefix>out/</Prefix></Filter>", "Enabled", abort)], Some(3));
        check(&[rule("<Filter><Prefix></Prefix></Filter>", "Enabled", abort)], Some(3));
        check(&[rule("<Filter/>", "Enabled", abort)], Some(3));
        check(&[rule("<Prefix>out</Prefix>", "Enabled", abort)], Some(3));
        check(&[rule("<Filter><Prefix>other/</Prefix></Filter>", "Enabled", abort)], None);
        check(&[rule("<Filter><Prefix>out/</Prefix></Filter>", "Disabled", abort)], None);
        check(&[rule("<Filter><Prefix>out/</Prefix></Filter>", "Enabled", expire)], None);
        check(&[rule("<Filter/>", "Enabled", expire), rule("<Filter/>", "Enabled", abort)], Some(3));
        assert!(days_until_abort("<html>no</html", "out/").is_err());
    }
}
