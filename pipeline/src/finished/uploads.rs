//! Uploads to S3 that never ended: their parts are billed, and no listing of files shows them.

use std::collections::BTreeSet;

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use serde::Deserialize;
use tamis_schemas::config::Table;

use super::FinishedRun;
use super::verify::{is_ours, table_places};
use crate::place::Place;
use crate::store::{Ask, explain, unreadable, unwritable};
use crate::tiers::Provider;
use crate::{Error, Result};

/// An upload that never ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upload {
    /// Name of the file that it would have become, in the folder of its table.
    pub(super) name: String,
    /// When it was begun, in seconds since 1970.
    pub(super) begun: u64,
    id: String,
}

/// The folders of tables in buckets of S3. Azure removes what never ended by itself, after a week.
pub(super) fn places(run: &FinishedRun<'_>) -> Result<Vec<Place>> {
    let folders: BTreeSet<String> = if run.commits.is_empty() {
        let first = Table::ALL.into_iter().filter_map(|table| run.files(table).next());
        first.filter_map(|(url, _)| Some(url.rsplit_once('/')?.0.to_owned())).collect()
    } else {
        table_places(run)?.values().map(|place| place.url().to_owned()).collect()
    };
    let folders = folders.iter().filter(|url| Provider::of(url) == Provider::Amazon);
    folders.map(|url| Place::new(url, run.stores, run.context.runtime.handle())).collect()
}

/// Uploads of files that are named as runs name theirs in the folder of a table.
pub(super) fn of_runs(run: &FinishedRun<'_>, place: &Place) -> Result<Vec<Upload>> {
    let bucket = run.stores.bucket(place.url())?;
    let prefix = format!("{}/", place.path(""));
    let is_of_run = |name: &str| if run.commits.is_empty() { is_part(name) } else { is_ours(name) };
    let (mut uploads, mut after) = (Vec::new(), (String::new(), String::new()));
    loop {
        run.context.cancel.check()?;
        let query = [("uploads", ""), ("prefix", &prefix), ("key-marker", &after.0), ("upload-id-marker", &after.1)];
        // An empty marker is none, and not every server takes it for that.
        let n_parameters = if after.0.is_empty() { 2 } else { 4 };
        let ask = Ask { query: &query[..n_parameters], ..Ask::default() };
        let answer = run.context.runtime.block_on(bucket.ask(&ask));
        let answer = answer.map_err(|error| unreadable(place.url(), &error))?;
        if matches!(answer.status, 405 | 501) {
            // Some servers have no such lists.
            return Ok(uploads);
        }
        if !answer.is_success() {
            return Err(unreadable(place.url(), &answer.into_error()));
        }
        let page: Page = quick_xml::de::from_str(&answer.body).map_err(|error| Error::Corrupt {
            location: place.url().to_owned(),
            format: "a list of uploads",
            message: error.to_string(),
        })?;
        for Listed { key, upload_id, initiated } in page.uploads {
            let name = key.strip_prefix(&prefix).filter(|name| is_of_run(name));
            if let (Some(name), Ok(begun)) = (name, string_to_timestamp_nanos(&initiated)) {
                let begun = u64::try_from(begun / 1_000_000_000).unwrap_or_default();
                uploads.push(Upload { name: name.to_owned(), begun, id: upload_id });
            }
        }
        after = (page.next_key_marker, page.next_upload_id_marker);
        if !page.is_truncated || after.0.is_empty() {
            return Ok(uploads);
        }
    }
}

/// Removes what was uploaded so far; an upload that is not there any more is no error.
pub(super) fn abort(run: &FinishedRun<'_>, place: &Place, upload: &Upload) -> Result<()> {
    let query = [("uploadId", upload.id.as_str())];
    let ask = Ask { method: "DELETE", path: place.path(&upload.name), query: &query, ..Ask::default() };
    let answer = run.context.runtime.block_on(run.stores.bucket(place.url())?.ask(&ask));
    match answer {
        Ok(answer) if answer.is_success() || answer.status == 404 => Ok(()),
        Ok(answer) => Err(unwritable(place.display(&upload.name), Box::new(explain(&answer.into_error())))),
        Err(error) => Err(unwritable(place.display(&upload.name), Box::new(error))),
    }
}

/// Whether a file is named as a run of its own names its files: `part-<number>.parquet`.
fn is_part(name: &str) -> bool {
    let number = name.strip_prefix("part-").and_then(|name| name.strip_suffix(".parquet"));
    number.is_some_and(|number| number.len() == 5 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A page of S3's answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Page {
    is_truncated: bool,
    next_key_marker: String,
    next_upload_id_marker: String,
    #[serde(rename = "Upload")]
    uploads: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    key: String,
    upload_id: String,
    initiated: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_as_servers_write_them() {
        let page = |rest: &str| -> Page {
            let xml = format!(
                "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket>{rest}</ListMultipartUploadsResult>"
            );
            quick_xml::de::from_str(&xml).unwrap()
        };
        let empty = page("<KeyMarker/><NextKeyMarker></NextKeyMarker><IsTruncated>false</IsTruncated>");
        assert!(!empty.is_truncated && empty.uploads.is_empty() && empty.next_key_marker.is_empty());
        let upload = |key: &str| {
            format!(
                "<Upload><Key>{key}</Key><UploadId>x</UploadId><Owner><ID>o</ID></Owner><Initiated>2026-11-29T12:30:00.000Z</Initiated></Upload>"
            )
        };
        let two = page(&format!(
            "{}{}<IsTruncated>true</IsTruncated><NextKeyMarker>a&amp;b</NextKeyMarker><NextUploadIdMarker>x</NextUploadIdMarker>",
            upload("a"),
            upload("a&amp;b")
        ));
        assert_eq!((two.uploads.len(), two.uploads[1].key.as_str(), two.is_truncated), (2, "a&b", true));
        assert_eq!((two.next_key_marker.as_str(), two.next_upload_id_marker.as_str()), ("a&b", "x"));
        let begun = string_to_timestamp_nanos(&two.uploads[0].initiated).unwrap();
        assert_eq!(begun / 1_000_000_000, 1_795_955_400);
    }

    #[test]
    fn parts_of_a_table_are_known_by_their_names() {
        assert!(is_part("part-00000.parquet"));
        for other in ["part-0000.parquet", "part-0000x.parquet", "x/part-00000.parquet", "part-00000.csv"] {
            assert!(!is_part(other), "{other}");
        }
    }
}
