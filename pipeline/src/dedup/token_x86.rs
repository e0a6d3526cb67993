//! Which bytes of a text are part of words, in the vectors of x86-64 processors.

use std::arch::x86_64::{
    _mm256_cmpeq_epi8, _mm256_min_epu8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8, _mm256_setr_epi64x,
    _mm256_sub_epi8, _mm512_cmpeq_epi8_mask, _mm512_cmplt_epu8_mask, _mm512_movepi8_mask, _mm512_set1_epi8,
    _mm512_setr_epi64, _mm512_sub_epi8,
};
use std::ops::RangeInclusive;

use super::token::{BLOCK_BYTES, LEADS, Masks, SIGN_LEAD, SIGNS};

#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn classify_avx512(blocks: &[[u8; BLOCK_BYTES]], masks: &mut [Masks]) {
    let in_range = |bytes, first: u8, n: u8| {
        _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8(first as i8)), _mm512_set1_epi8(n as i8))
    };
    for (block, masks) in blocks.iter().zip(masks) {
        let part = |index: usize| block.as_chunks().0.get(index).map_or(0, |bytes| i64::from_le_bytes(*bytes));
        let bytes = _mm512_setr_epi64(part(0), part(1), part(2), part(3), part(4), part(5), part(6), part(7));
        let high = _mm512_movepi8_mask(bytes);
        let underscore = _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(b'_' as i8));
        let words = high | underscore | in_range(bytes, b'a', 26) | in_range(bytes, b'0', 10);
        let is = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
        let lead = |leads: &RangeInclusive<u8>| in_range(bytes, *leads.start(), leads.end() - leads.start() + 1);
        let [first, second, third] = LEADS.each_ref().map(lead);
        let signs = is(SIGNS[0]) | is(SIGNS[1]);
        *masks = Masks { words, high, leads: letter_leads(first | second | third, is(SIGN_LEAD), signs) };
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn classify_avx2(blocks: &[[u8; BLOCK_BYTES]], masks: &mut [Masks]) {
    let in_range = |bytes, first: u8, n: u8| {
        let offset = _mm256_sub_epi8(bytes, _mm256_set1_epi8(first as i8));
        _mm256_cmpeq_epi8(_mm256_min_epu8(offset, _mm256_set1_epi8(n as i8 - 1)), offset)
    };
    for (block, masks) in blocks.iter().zip(masks) {
        let part = |index: usize| block.as_chunks().0.get(index).map_or(0, |bytes| i64::from_le_bytes(*bytes));
        *masks = Masks::default();
        let (mut leads, mut sign_leads, mut signs) = (0, 0, 0);
        for half in 0..2 {
            let at = 4 * half;
            let bytes = _mm256_setr_epi64x(part(at), part(at + 1), part(at + 2), part(at + 3));
            let underscore = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b'_' as i8));
            let alphanumeric = _mm256_or_si256(in_range(bytes, b'a', 26), in_range(bytes, b'0', 10));
            let mask = |bytes| u64::from(_mm256_movemask_epi8(bytes) as u32) << (32 * half);
            let is = |byte: u8| _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte as i8));
            let high = mask(bytes);
            masks.high |= high;
            masks.words |= mask(_mm256_or_si256(underscore, alphanumeric)) | high;
            let lead = |leads: &RangeInclusive<u8>| in_range(bytes, *leads.start(), leads.end() - leads.start() + 1);
            let [first, second, third] = LEADS.each_ref().map(lead);
            leads |= mask(_mm256_or_si256(_mm256_or_si256(first, second), third));
            sign_leads |= mask(is(SIGN_LEAD));
            signs |= mask(_mm256_or_si256(is(SIGNS[0]), is(SIGNS[1])));
        }
        masks.leads = letter_leads(leads, sign_leads, signs);
    }
}

/// Leads that no sign follows, and not the last byte: what follows it is not known.
fn letter_leads(leads: u64, sign_leads: u64, signs: u64) -> u64 {
    let last = 1 << (BLOCK_BYTES - 1);
    leads & !(sign_leads & signs >> 1) & !last
}
