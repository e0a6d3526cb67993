//! The inverse of a cut.

/// A piece of a text: where it stood, and what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// First byte in the whole text.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
    /// The bytes.
    pub text: &'a str,
}

/// The whole text, from what a cut left and the pieces that it took out, in order of their starts.
///
/// `None` if they do not belong together.
pub fn rebuild(rest: &str, pieces: &[Piece<'_>]) -> Option<String> {
    let n_bytes = pieces.iter().map(|piece| piece.text.len()).sum::<usize>();
    let mut text = String::with_capacity(rest.len() + n_bytes);
    let mut rest = rest;
    for piece in pieces {
        let n_before = usize::try_from(piece.start).ok()?.checked_sub(text.len())?;
        let (before, after) = rest.split_at_checked(n_before)?;
        text.push_str(before);
        text.push_str(piece.text);
        if text.len() as u64 != piece.end {
            return None;
        }
        rest = after;
    }
    text.push_str(rest);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let piece = |start, end, text| Piece { start, end, text };
        assert_eq!(rebuild("ad", &[piece(1, 3, "bc")]).as_deref(), Some("abcd"));
        assert_eq!(rebuild("", &[piece(0, 1, "a"), piece(1, 3, "ä")]).as_deref(), Some("aä"));
        assert_eq!(rebuild("x", &[]).as_deref(), Some("x"));
        assert_eq!(rebuild("ad", &[piece(3, 5, "bc")]), None, "beyond the end");
        assert_eq!(rebuild("ad", &[piece(1, 4, "bc")]), None, "another length");
        assert_eq!(rebuild("äd", &[piece(1, 3, "bc")]), None, "inside a character");
        assert_eq!(rebuild("ad", &[piece(1, 3, "bc"), piece(2, 3, "x")]), None, "overlapping");
    }
}
