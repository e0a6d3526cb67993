//! Fields of a CSV record, as RFC 4180 has them.

use std::borrow::Cow;

/// A field of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) is_quoted: bool,
}

impl Field<'_> {
    /// The value: an empty field without quotes is null, an empty field in quotes is the empty text.
    pub(super) fn value(&self) -> Option<&str> {
        (self.is_quoted || !self.text.is_empty()).then_some(&*self.text)
    }
}

/// Splits a record that lies within one [`Framing::Quoted`](crate::source::records::Framing) record.
///
/// # Errors
/// What is wrong with the record, for people.
pub(super) fn split<'a>(record: &'a str, delimiter: u8, fields: &mut Vec<Field<'a>>) -> Result<(), &'static str> {
    fields.clear();
    let bytes = record.as_bytes();
    let mut start = 0;
    loop {
        let end = if bytes.get(start) == Some(&b'"') {
            let (text, end) = quoted(record, start + 1).ok_or("a quote is not closed")?;
            if bytes.get(end).is_some_and(|&next| next != delimiter) {
                return Err("text after a closing quote");
            }
            fields.push(Field { text, is_quoted: true });
            end
        } else {
            let end = memchr::memchr(delimiter, &bytes[start..]).map_or(bytes.len(), |length| start + length);
            fields.push(Field { text: Cow::Borrowed(&record[start..end]), is_quoted: false });
            end
        };
        if end == bytes.len() {
            return Ok(());
        }
        start = end + 1;
    }
}

/// The text of a quoted field that begins at `start`, and the position after its closing quote.
fn quoted(record: &str, start: usize) -> Option<(Cow<'_, str>, usize)> {
    let bytes = record.as_bytes();
    let mut text = Cow::Borrowed("");
    let mut part_start = start;
    loop {
        let quote = part_start + memchr::memchr(b'"', &bytes[part_start..])?;
        let is_doubled = bytes.get(quote + 1) == Some(&b'"');
        // Of a doubled quote, the first one belongs to the text.
        let part = &record[part_start..quote + usize::from(is_doubled)];
        if text.is_empty() {
            text = Cow::Borrowed(part);
        } else {
            text.to_mut().push_str(part);
        }
        if !is_doubled {
            return Some((text, quote + 1));
        }
        part_start = quote + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: &str, expected: &[Option<&str>]) {
        let mut fields = Vec::new();
        split(record, b',', &mut fields).unwrap();
        assert_eq!(fields.iter().map(Field::value).collect::<Vec<_>>(), expected, "{record}");
    }

    #[test]
    fn fields_of_a_record() {
        check("a,b", &[Some("a"), Some("b")]);
        check("a,", &[Some("a"), None]);
        check(",", &[None, None]);
        check("\"\",x", &[Some(""), Some("x")]);
        check("\"a,\"\"b\"\"\n\",é", &[Some("a,\"b\"\n"), Some("é")]);
        check("\"\"\"\"", &[Some("\"")]);
        check("5\" disk, \"x\"", &[Some("5\" disk"), Some(" \"x\"")]);
    }

    #[test]
    fn bad_quotes() {
        let mut fields = Vec::new();
        assert_eq!(split("\"a\"b,c", b',', &mut fields), Err("text after a closing quote"));
        assert_eq!(split("x,\"a", b',', &mut fields), Err("a quote is not closed"));
    }
}
