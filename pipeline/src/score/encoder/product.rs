//! Matrix products over slices, on one thread.
//!
//! A row of a product has the same bits whatever the other rows are: an element is summed in the order of `k`, in blocks whose
//! size depends on `k` alone. For products of few elements `gemm` has other orders: [`LEAST_ROWS`].

use gemm::Parallelism;

/// With so many rows or more, the order of sums is that of every larger number of rows.
pub(super) const LEAST_ROWS: usize = 65;

/// A matrix inside a slice: `value(row, column) = slice[start + row * row_stride + column * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) start: usize,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl View {
    /// Rows of `width` values, one after the other.
    pub(crate) fn rows(width: usize) -> Self {
        Self { start: 0, row_stride: width, column_stride: 1 }
    }

    /// Values from which on a slice is too short.
    fn end(self, n_rows: usize, n_columns: usize) -> usize {
        self.start + (n_rows - 1) * self.row_stride + (n_columns - 1) * self.column_stride + 1
    }
}

/// `out = left * right`, where `left` has `m` rows and `k` columns, `right` `k` rows and `n` columns.
///
/// # Panics
/// If a view goes beyond its slice.
pub(crate) fn product(
    [m, k, n]: [usize; 3],
    (left, left_view): (&[f32], View),
    (right, right_view): (&[f32], View),
    (out, out_view): (&mut [f32], View),
) {
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(left_view.end(m, k) <= left.len(), "the left matrix is too short");
    assert!(right_view.end(k, n) <= right.len(), "the right matrix is too short");
    assert!(out_view.end(m, n) <= out.len(), "the product is too short");
    let signed = |stride: usize| stride as isize;
    #[expect(unsafe_code, reason = "gemm takes pointers")]
    // SAFETY: all elements lie inside of their slices, as was just checked, and `out`, being borrowed mutably, overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr().add(out_view.start),
            signed(out_view.column_stride),
            signed(out_view.row_stride),
            false,
            left.as_ptr().add(left_view.start),
            signed(left_view.column_stride),
            signed(left_view.row_stride),
            right.as_ptr().add(right_view.start),
            signed(right_view.column_stride),
            signed(right_view.row_stride),
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
