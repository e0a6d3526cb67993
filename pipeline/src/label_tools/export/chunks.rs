//! Tasks in files of bounded size.

use std::ops::Range;

use super::{ExportFile, ExportSettings};

/// Most bytes of a file of several tasks.
const MAX_FILE_BYTES: usize = 100_000_000;

/// Which tasks go into a file together, given their sizes.
pub(super) fn cut(sizes: impl IntoIterator<Item = usize>, max_tasks: usize) -> Vec<Range<usize>> {
    cut_at(sizes, max_tasks.max(1), MAX_FILE_BYTES)
}

fn cut_at(sizes: impl IntoIterator<Item = usize>, max_tasks: usize, max_bytes: usize) -> Vec<Range<usize>> {
    let (mut ranges, mut begin, mut end, mut n_bytes) = (Vec::new(), 0, 0, 0);
    for size in sizes {
        if begin < end && (end - begin == max_tasks || max_bytes < n_bytes + size) {
            ranges.push(begin..end);
            (begin, n_bytes) = (end, 0);
        }
        end += 1;
        n_bytes += size;
    }
    if begin < end {
        ranges.push(begin..end);
    }
    ranges
}

/// How tasks lie in a file of JSON.
#[derive(Debug, Clone, Copy)]
pub(super) enum Framing {
    /// One list.
    List,
    /// A line each.
    Lines,
}

/// Files of tasks that are JSON texts without line breaks.
pub(super) fn files(tasks: &[String], framing: Framing, settings: &ExportSettings) -> Vec<ExportFile> {
    let (open, between, close, extension) = match framing {
        Framing::List => ("[\n", ",\n", "\n]\n", "json"),
        Framing::Lines => ("", "\n", "\n", "jsonl"),
    };
    // What lies between two tasks counts with the second.
    let ranges = cut(tasks.iter().map(|task| task.len() + between.len()), settings.max_tasks_per_file);
    ranges
        .into_iter()
        .enumerate()
        .map(|(place, range)| ExportFile {
            name: settings.file_name(place, extension),
            bytes: [open, &tasks[range].join(between), close].concat().into_bytes(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_full_but_not_too_full() {
        let cut = |sizes: &[usize], max_tasks, max_bytes| cut_at(sizes.iter().copied(), max_tasks, max_bytes);
        assert!(cut(&[], 2, 10).is_empty());
        assert_eq!(cut(&[1, 1, 1, 1, 1], 2, 10), [0..2, 2..4, 4..5]);
        assert_eq!(cut(&[5, 5, 1], 9, 10), [0..2, 2..3]);
        assert_eq!(cut(&[1, 50, 1], 9, 10), [0..1, 1..2, 2..3]);
    }
}
