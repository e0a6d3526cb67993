//! Objects in an archive: they are not read before the store has brought them back, hours after it was asked to.

use object_store::path::Path;

use super::bucket::{Ask, Bucket};

/// How an archive is asked to bring objects back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thaw {
    /// Days for which they can be read then; Azure keeps them until they are archived again.
    pub days: u32,
    /// How soon, and at what price.
    pub speed: Speed,
}

/// How soon an archive brings objects back. Azure knows two: `Bulk` is as `Standard` there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// In hours.
    Standard,
    /// Later, and for less.
    Bulk,
    /// In minutes, for much more; not from the deepest archives.
    Expedited,
}

/// An object that is not read as it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Archived {
    /// Its class, in the provider's words.
    pub(crate) class: String,
    /// Whether the store was asked for it already.
    pub(crate) is_coming: bool,
    /// Whether S3 archived it by itself: it comes back for good.
    is_tiered: bool,
}

impl Speed {
    /// In the words of the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Bulk => "bulk",
            Self::Expedited => "expedited",
        }
    }
}

impl Thaw {
    /// Hours until an object of a class is back, at most; `None`: the class has no such speed.
    pub(crate) fn hours(self, class: &str) -> Option<u32> {
        let [expedited, standard, bulk] = match class {
            "Archive" => [Some(1), Some(15), Some(15)],
            "DEEP_ARCHIVE" | "DEEP_ARCHIVE_ACCESS" => [None, Some(12), Some(48)],
            _ => [Some(1), Some(5), Some(12)],
        };
        match self.speed {
            Speed::Expedited => expedited,
            Speed::Standard => standard,
            Speed::Bulk => bulk,
        }
    }

    /// The body of S3's request.
    fn xml(self, is_tiered: bool) -> String {
        let days = if is_tiered { String::new() } else { format!("<Days>{}</Days>", self.days) };
        let tier = match self.speed {
            Speed::Standard => "Standard",
            Speed::Bulk => "Bulk",
            Speed::Expedited => "Expedited",
        };
        format!(
            "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{days}<GlacierJobParameters><Tier>{tier}</Tier></GlacierJobParameters></RestoreRequest>"
        )
    }
}

impl Bucket {
    /// How it is with an object that the store would not read: `None` if it can be read by now.
    pub(crate) async fn archived(&self, path: &Path) -> object_store::Result<Option<Archived>> {
        let answer = self.ask(&Ask { method: "HEAD", path: path.clone(), ..Ask::default() }).await?;
        if !answer.is_success() {
            return Err(answer.into_error());
        }
        let text = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        if self.is_azure() {
            let is_coming = !text("x-ms-archive-status").is_empty();
            let class = text("x-ms-access-tier");
            return Ok((class == "Archive").then_some(Archived { class, is_coming, is_tiered: false }));
        }
        let restore = text("x-amz-restore");
        if restore.contains("ongoing-request=\"false\"") {
            return Ok(None);
        }
        let tiered = text("x-amz-archive-status");
        let is_tiered = !tiered.is_empty();
        let class = if is_tiered { tiered } else { text("x-amz-storage-class") };
        Ok(Some(Archived { class, is_coming: restore.contains("ongoing-request=\"true\""), is_tiered }))
    }

    /// Asks for an object to be brought back.
    pub(crate) async fn bring_back(&self, path: &Path, archived: &Archived, thaw: Thaw) -> object_store::Result<()> {
        let xml = thaw.xml(archived.is_tiered);
        let priority = if thaw.speed == Speed::Expedited { "High" } else { "Standard" };
        let ask = if self.is_azure() {
            Ask {
                method: "PUT",
                query: &[("comp", "tier")],
                headers: &[("x-ms-access-tier", "Hot"), ("x-ms-rehydrate-priority", priority)],
                ..Ask::default()
            }
        } else {
            Ask { method: "POST", query: &[("restore", "")], body: &xml, ..Ask::default() }
        };
        let answer = self.ask(&Ask { path: path.clone(), ..ask }).await?;
        let is_asked_already = ["RestoreAlreadyInProgress", "BlobBeingRehydrated"];
        if answer.is_success() || is_asked_already.iter().any(|code| answer.body.contains(code)) {
            return Ok(());
        }
        Err(answer.into_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_which_archive() {
        let thaw = |speed| Thaw { days: 7, speed };
        let check = |class: &str, expect: [Option<u32>; 3]| {
            let hours = [Speed::Expedited, Speed::Standard, Speed::Bulk].map(|speed| thaw(speed).hours(class));
            assert_eq!(hours, expect, "{class}");
        };
        check("GLACIER", [Some(1), Some(5), Some(12)]);
        check("DEEP_ARCHIVE", [None, Some(12), Some(48)]);
        check("Archive", [Some(1), Some(15), Some(15)]);
        let xml = thaw(Speed::Bulk).xml(false);
        assert!(xml.contains("<Days>7</Days>") && xml.contains("<Tier>Bulk</Tier>"), "{xml}");
        assert!(!thaw(Speed::Bulk).xml(true).contains("Days"), "what S3 tiers by itself takes no days");
    }
}
