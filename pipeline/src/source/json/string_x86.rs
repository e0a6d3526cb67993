//! Copying what needs no unescaping, in the vectors of x86-64 processors.

use std::arch::x86_64::{
    __m256i, __m512i, _mm256_cmpeq_epi8, _mm256_max_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
    _mm256_setr_epi64x, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_set1_epi8, _mm512_setr_epi64,
};

use super::string::{copy_plain_blocks, copy_plain_words};

/// As `copy_plain_words`.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn copy_plain_avx512(json: &[u8], out: &mut [u8]) -> usize {
    let n_plain = |block: &[u8; size_of::<__m512i>()]| {
        let part = |index: usize| i64::from_le_bytes(block.as_chunks().0[index]);
        let bytes = _mm512_setr_epi64(part(0), part(1), part(2), part(3), part(4), part(5), part(6), part(7));
        let ends = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'"' as i8))
            | _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'\\' as i8))
            | _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(0x20));
        ends.trailing_zeros() as usize
    };
    copy_plain_blocks(json, out, n_plain, copy_plain_words)
}

/// As `copy_plain_words`.
#[target_feature(enable = "avx2")]
pub(super) fn copy_plain_avx2(json: &[u8], out: &mut [u8]) -> usize {
    let n_plain = |block: &[u8; size_of::<__m256i>()]| {
        let part = |index: usize| i64::from_le_bytes(block.as_chunks().0[index]);
        let bytes = _mm256_setr_epi64x(part(0), part(1), part(2), part(3));
        let last_control = _mm256_set1_epi8(0x1f);
        let is_control = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, last_control), last_control);
        let is_quote = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'"' as i8));
        let is_backslash = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'\\' as i8));
        let ends = _mm256_or_si256(is_control, _mm256_or_si256(is_quote, is_backslash));
        _mm256_movemask_epi8(ends).trailing_zeros() as usize
    };
    copy_plain_blocks(json, out, n_plain, copy_plain_words)
}
