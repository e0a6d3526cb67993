//! Words of commands that we tell people to give.

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_alphanumeric() || "/._-:@%+=,~".contains(char);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_more_into_them() {
        assert_eq!(
            ["s3://a/b-1.jsonl", "a b", "it's", "", "*.csv"].map(quoted),
            ["s3://a/b-1.jsonl", "'a b'", r"'it'\''s'", "''", "'*.csv'"]
        );
    }
}
