//! Batches that become smaller when a device has no memory for them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Works on `items` in batches of at most `limit`, which is halved when `is_too_large` says so of an error, and stays so.
///
/// # Errors
/// The first other error, and that of a single item.
pub(super) fn in_batches<T, E>(
    items: &[T],
    limit: &AtomicUsize,
    is_too_large: impl Fn(&E) -> bool,
    mut work: impl FnMut(&[T]) -> Result<(), E>,
) -> Result<(), E> {
    let mut left = items;
    while !left.is_empty() {
        let n = limit.load(Ordering::Relaxed).clamp(1, left.len());
        match work(&left[..n]) {
            Ok(()) => left = &left[n..],
            Err(error) if 1 < n && is_too_large(&error) => {
                tracing::warn!(n_texts = n, "out of memory on the device: smaller batches from here on");
                limit.fetch_min(n / 2, Ordering::Relaxed);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether Candle says that a device had no memory left. It passes on the words of the driver.
pub(super) fn is_out_of_memory(error: &candle_core::Error) -> bool {
    let text = format!("{error:?} {error}").to_lowercase();
    ["out_of_memory", "out of memory", "alloc_failed"].iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_halved_until_they_fit() {
        let limit = AtomicUsize::new(64);
        let (mut sizes, mut seen) = (Vec::new(), Vec::new());
        let items: Vec<usize> = (0..100).collect();
        in_batches(
            &items,
            &limit,
            |error: &&str| *error == "full",
            |batch| {
                sizes.push(batch.len());
                if 20 < batch.len() {
                    return Err("full");
                }
                seen.extend_from_slice(batch);
                Ok(())
            },
        )
        .unwrap();
        assert_eq!(seen, items);
        assert_eq!(sizes, [64, 32, 16, 16, 16, 16, 16, 16, 4]);
        assert_eq!(limit.into_inner(), 16);
    }

    #[test]
    fn one_item_that_does_not_fit_is_an_error() {
        let failed = in_batches(&[1, 2, 3], &AtomicUsize::new(3), |_| true, |_| Err("full"));
        assert_eq!(failed, Err("full"));
        let failed = in_batches(&[1, 2, 3], &AtomicUsize::new(3), |error| *error == "full", |_| Err("broken"));
        assert_eq!(failed, Err("broken"));
    }

    #[test]
    fn words_of_the_driver() {
        for text in ["DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "CUBLAS_STATUS_ALLOC_FAILED"] {
            assert!(is_out_of_memory(&candle_core::Error::Msg(text.into())), "{text}");
        }
        assert!(!is_out_of_memory(&candle_core::Error::Msg("shape mismatch".into())));
    }
}
