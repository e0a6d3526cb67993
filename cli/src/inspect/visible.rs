//! Text of others, made safe to show: no character of it moves a cursor, changes a color or turns the direction of writing.

use std::borrow::Cow;

/// The text with control characters as pictures (`␀`, `␛`) and other invisible commands as their code.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_command) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '\0'..='\u{1f}' => shown.push(char::from_u32(0x2400 + char as u32).unwrap_or('\u{fffd}')),
            '\u{7f}' => shown.push('\u{2421}'),
            char if is_command(char) => shown.push_str(&format!("<U+{:04X}>", char as u32)),
            char => shown.push(char),
        }
    }
    Cow::Owned(shown)
}

fn is_command(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_pictures() {
        for (text, expect) in [
            ("plain é 人 👍", "plain é 人 👍"),
            ("a\0b\x1b[31mc\x7f", "a␀b␛[31mc␡"),
            ("a\nb", "a␊b"),
            ("x\u{9b}y\u{202e}z", "x<U+009B>y<U+202E>z"),
        ] {
            assert_eq!(visible(text), expect);
        }
    }
}
