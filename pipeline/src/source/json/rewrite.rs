//! Lines rewritten so that arrow-json reads them: values of columns of several kinds become strings of their JSON text.

use std::io::Write;

use super::kind::Kind;
use super::value::{for_each_element, for_each_entry};

/// Appends the entries of a line, a valid object, that `kind_of` knows.
pub(super) fn rewrite_line<'k>(line: &str, kind_of: impl Fn(&str) -> Option<&'k Kind>, out: &mut Vec<u8>) {
    out.push(b'{');
    for_each_entry(line, |key, value| {
        if let Some(kind) = kind_of(&key) {
            write_entry(&key, value, kind, out);
        }
    });
    out.extend_from_slice(b"}\n");
}

fn write_entry(key: &str, value: &str, kind: &Kind, out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    write_string(key, out);
    out.push(b':');
    write_value(value, kind, out);
}

fn write_value(text: &str, kind: &Kind, out: &mut Vec<u8>) {
    match kind {
        Kind::Json if text != "null" && !text.starts_with('"') => write_string(text, out),
        Kind::List(element) if text != "null" && element.has_json() => {
            out.push(b'[');
            for_each_element(text, |value| {
                if out.last() != Some(&b'[') {
                    out.push(b',');
                }
                write_value(value, element, out);
            });
            out.push(b']');
        }
        Kind::Object(fields) if text != "null" && kind.has_json() => {
            out.push(b'{');
            for_each_entry(text, |key, value| {
                if let Some(kind) = fields.get(&*key) {
                    write_entry(&key, value, kind, out);
                }
            });
            out.push(b'}');
        }
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::new(out.by_ref());
    serde::Serializer::serialize_str(&mut serializer, text).expect("a vector takes any bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_values_become_strings() {
        let line = r#"{"a":1,"skip":2,"b":[1,"x",null,[2]],"c":{"d":{"e":1e400},"f":true},"g":"s","h":null}"#;
        let kind_of_value = |text: &str| {
            let mut kind = Kind::Null;
            kind.observe(text, 0);
            kind.resolved()
        };
        let kinds = [
            ("a", Kind::Json),
            ("b", kind_of_value(r#"[1,"x"]"#)),
            ("c", kind_of_value(r#"{"d":{"e":1e400},"f":true}"#)),
            ("g", Kind::Json),
            ("h", Kind::Json),
        ];
        let mut out = Vec::new();
        rewrite_line(line, |key| kinds.iter().find(|(name, _)| *name == key).map(|(_, kind)| kind), &mut out);
        let expected = r#"{"a":"1","b":["1","x",null,"[2]"],"c":{"d":{"e":"1e400"},"f":true},"g":"s","h":null}"#;
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}\n"));
    }
}
