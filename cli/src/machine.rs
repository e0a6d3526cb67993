//! What this process may use: processors and memory that the cgroup grants.

use std::path::{Path, PathBuf};

use crate::number;

/// Processors granted by affinity and cgroup quota.
pub(crate) fn n_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Bytes of memory granted: the smallest limit of the process's cgroups, or the machine's memory.
pub(crate) fn memory_bytes() -> u64 {
    memory_bytes_under(Path::new("/"))
}

/// This process for people elsewhere, where it began at `since` (seconds since 1970).
pub(crate) fn process(since: u64) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.is_empty() { String::new() } else { format!(" on {}", host.trim_end()) };
    format!("process {}{host}, since {} UTC", std::process::id(), number::utc(since))
}

/// The folder in which the tools of the Hugging Face hub keep models.
pub(crate) fn hub_cache() -> Option<PathBuf> {
    hub_cache_by(|name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn hub_cache_by(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let home = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    let of_hub = || variable("HF_HOME").or_else(|| Some(home()?.join("huggingface")));
    variable("HF_HUB_CACHE").or_else(|| Some(of_hub()?.join("hub")))
}

fn memory_bytes_under(root: &Path) -> u64 {
    let total = std::fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
    });
    let limit = cgroup_files(root).iter().filter_map(|file| read_number(file)).min();
    total.into_iter().chain(limit).min().unwrap_or(2 << 30)
}

/// The memory limit files of the process's cgroup and of those above it, version 1 and 2.
fn cgroup_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default().lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (base, file) = if controllers.is_empty() {
            (root.join("sys/fs/cgroup"), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("sys/fs/cgroup/memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let group = Path::new(path.trim_start_matches('/'));
        files.extend(group.ancestors().map(|group| base.join(group).join(file)));
    }
    files
}

fn read_number(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Highest resident memory of this process so far, where the system tells.
pub(crate) fn peak_memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expect_bytes: u64) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        assert_eq!(memory_bytes_under(root.path()), expect_bytes, "{files:?}");
    }

    #[test]
    fn where_the_hub_keeps_models() {
        let check = |variables: &[(&str, &str)], expect: Option<&str>| {
            let found =
                |name: &str| variables.iter().find(|(of, _)| *of == name).map(|(_, value)| PathBuf::from(value));
            assert_eq!(hub_cache_by(found), expect.map(PathBuf::from), "{variables:?}");
        };
        check(&[], None);
        check(&[("HOME", "/h")], Some("/h/.cache/huggingface/hub"));
        check(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], Some("/x/huggingface/hub"));
        check(&[("HOME", "/h"), ("HF_HOME", "/f")], Some("/f/hub"));
        check(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/f")], Some("/c"));
    }

    #[test]
    fn the_smallest_limit_counts() {
        let meminfo = ("proc/meminfo", "MemTotal:       8388608 kB\nMemFree: 1 kB\n");
        check(&[], 2 << 30);
        check(&[meminfo], 8 << 30);
        let second = ("proc/self/cgroup", "0::/a/b\n");
        check(&[meminfo, second, ("sys/fs/cgroup/a/b/memory.max", "max\n")], 8 << 30);
        check(&[meminfo, second, ("sys/fs/cgroup/a/memory.max", "1073741824\n")], 1 << 30);
        let first = ("proc/self/cgroup", "4:cpu:/x\n3:memory:/job\n");
        check(&[meminfo, first, ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "536870912\n")], 1 << 29);
        let none = ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
        check(&[meminfo, first, none], 8 << 30);
    }
}
