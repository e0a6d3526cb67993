//! The rows that the model is least sure of, and nothing else.

use super::{Pool, Proposal};

/// The first candidates by their order.
pub(super) fn first(pool: Pool<'_>, n: usize, admit: &mut dyn FnMut(usize) -> bool) -> Vec<Proposal> {
    let mut order: Vec<usize> = (0..pool.rows.len()).collect();
    order.sort_by(|&a, &b| {
        let place = |index: usize| (pool.rows[index].key, pool.rows[index].row);
        pool.rows[a].order.total_cmp(&pool.rows[b].order).then_with(|| place(a).cmp(&place(b)))
    });
    let admitted = order.into_iter().filter(|&index| admit(index)).take(n);
    admitted.map(|index| Proposal { index, score: -f64::from(pool.rows[index].order), cluster: None }).collect()
}
