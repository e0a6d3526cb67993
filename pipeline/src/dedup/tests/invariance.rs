//! The result depends on documents and settings only.

use super::*;

/// Runs under very different resources; all must give the same outcome, evidence included.
fn check(documents: &[Document], settings: &Settings) {
    let expect = run_with(documents, settings, &resources(1, 4 << 30, 8192));
    for other in
        [resources(8, 4 << 30, 7), resources(2, 1 << 20, 8192), resources(8, 16 << 20, 1), resources(1, 1 << 10, 64)]
    {
        let outcome = run_with(documents, settings, &other);
        assert!(outcome == expect, "{other:?} changes the result under {settings:?}");
    }
}

#[test]
fn threads_batches_and_memory_do_not_matter() {
    let mut documents = sample("licences.jsonl");
    for (row, document) in documents.iter_mut().enumerate() {
        document.score = (row % 5 != 0).then_some((row * 7919 % 100) as i64);
    }
    documents.extend_from_within(40..60);
    for (row, document) in documents.iter_mut().enumerate() {
        document.id = format!("{row}-{}", document.id);
    }
    let by_score = KeepOrder::Columns(vec![("score".into(), Direction::Descending)]);
    for recall in [0.99, 1.0] {
        for keep in [KeepOrder::First, by_score.clone()] {
            for linkage in [Linkage::Star, Linkage::Connected] {
                let settings = Settings { threshold: 0.7, recall, keep: keep.clone(), linkage, ..Settings::default() };
                if linkage == Linkage::Star || recall < 1.0 {
                    check_star_or_connected(&documents, &settings);
                }
            }
        }
    }
}

/// The union-find of connected rows is the one thing that needs memory: it is not tried with less than 16 MiB.
fn check_star_or_connected(documents: &[Document], settings: &Settings) {
    if settings.linkage == Linkage::Star {
        return check(documents, settings);
    }
    let expect = run_with(documents, settings, &resources(1, 4 << 30, 8192));
    let outcome = run_with(documents, settings, &resources(8, 16 << 20, 7));
    assert!(outcome == expect, "16 MiB change the result under {settings:?}");
}

#[test]
fn rows_in_doubt_are_read_again_only_if_memory_is_short() {
    let documents = sample("licences.jsonl");
    for keep in [KeepOrder::First, KeepOrder::Longest] {
        for linkage in [Linkage::Star, Linkage::Connected] {
            let settings = Settings { threshold: 0.7, keep: keep.clone(), linkage, ..Settings::default() };
            let run = |limit_bytes| run_passes(&documents, &settings, &resources(2, limit_bytes, 16));
            let (expect, n_passes) = run(1 << 20);
            assert_eq!(n_passes, 2, "1 MiB has no room for the shingles of these texts");
            assert!(expect.report.n_near_exact > 0);
            assert!(run(4 << 30) == (expect, 1), "under {settings:?}");
        }
    }
}

#[test]
fn the_seed_changes_chance_and_not_proof() {
    let documents = sample("laws.jsonl");
    let outcome = |seed, recall| run(&documents, &Settings { seed, recall, threshold: 0.7, ..Settings::default() });
    assert_eq!(outcome(0, 1.0).reasons, outcome(1, 1.0).reasons);
    assert_ne!(outcome(0, 0.99).evidence, outcome(1, 0.99).evidence, "estimates differ");
}

#[test]
fn no_documents_no_verdicts() {
    for recall in [0.99, 1.0] {
        let outcome = run(&[], &Settings { recall, ..Settings::default() });
        assert_eq!((outcome.reasons.len(), outcome.report.n_rows), (0, 0));
    }
}

#[test]
fn rows_out_of_order_and_early_takes_are_refused() {
    let context = Context::new(&Resources::default(), Cancel::default()).unwrap();
    let settings = Settings::default();
    let (mut barrier, handle) = NearDuplicates::new(&settings, &context).unwrap();
    let fingerprint = Fingerprint::new(&settings).unwrap();
    let rows = documents(["a", "b"]);
    barrier.observe(&fingerprint.apply(batch(&[4, 5], &rows)).unwrap(), &context).unwrap();
    let again = fingerprint.apply(batch(&[5, 6], &rows)).unwrap();
    assert_eq!(barrier.observe(&again, &context).unwrap_err().to_string(), "row 5 comes after row 5");
    assert!(handle.take().is_err());
}

#[test]
fn a_cancelled_run_stops() {
    let cancel = Cancel::default();
    let context = Context::new(&Resources::default(), cancel.clone()).unwrap();
    let settings = Settings::default();
    let (mut barrier, _handle) = NearDuplicates::new(&settings, &context).unwrap();
    let fingerprint = Fingerprint::new(&settings).unwrap();
    barrier.observe(&fingerprint.apply(batch(&[0, 1], &documents(["a", "a"]))).unwrap(), &context).unwrap();
    cancel.cancel();
    let error = Box::new(barrier).end_of_pass(&context).unwrap_err();
    assert_eq!(error.to_string(), "interrupted; nothing was written");
}
