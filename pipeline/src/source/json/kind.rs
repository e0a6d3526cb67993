//! The type of a JSON column: what its values were found to be.

use arrow::datatypes::{DataType, Field, Fields};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::value::{for_each_element, for_each_entry};

/// Keys of a nested object beyond which it is a map with data for keys, kept as JSON text.
const MAX_NESTED_KEYS: usize = 512;
/// Nesting beyond which a value is kept as JSON text.
const MAX_DEPTH: usize = 32;
/// Integers of at most this many digits fit both `i64` and `f64`.
const SAFE_DIGITS: usize = 15;

/// What the values of one place in a document are. Merging is associative, `Json` absorbs everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::source) enum Kind {
    /// Nothing but nulls so far.
    #[default]
    Null,
    Bool,
    Number(Numbers),
    Text,
    List(Box<Kind>),
    /// In order of first appearance.
    Object(IndexMap<Box<str>, Kind>),
    /// Values of several kinds: the JSON text of each, strings as they are.
    Json,
}

/// What the numbers of one place are.
#[expect(clippy::struct_excessive_bools, reason = "facts that are merged one by one")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(in crate::source) struct Numbers {
    has_negative: bool,
    has_float: bool,
    /// An integer that `f64` may not hold.
    has_beyond_float: bool,
    has_beyond_i64: bool,
    /// A number that no type of ours holds.
    has_beyond_all: bool,
}

impl Numbers {
    fn of(text: &str) -> Self {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let has_negative = digits.len() < text.len();
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) || (has_negative && digits == "0") {
            let is_finite = text.parse::<f64>().is_ok_and(f64::is_finite);
            return Self { has_float: true, has_beyond_all: !is_finite, ..Self::default() };
        }
        if digits.len() <= SAFE_DIGITS {
            return Self { has_negative, ..Self::default() };
        }
        let magnitude: Option<u64> = digits.parse().ok();
        Self {
            has_negative,
            has_float: false,
            has_beyond_float: magnitude.is_none_or(|magnitude| magnitude > 1 << 53),
            has_beyond_i64: text.parse::<i64>().is_err(),
            has_beyond_all: text.parse::<i64>().is_err() && text.parse::<u64>().is_err(),
        }
    }

    fn merge(&mut self, other: Self) {
        self.has_negative |= other.has_negative;
        self.has_float |= other.has_float;
        self.has_beyond_float |= other.has_beyond_float;
        self.has_beyond_i64 |= other.has_beyond_i64;
        self.has_beyond_all |= other.has_beyond_all;
    }

    /// The type that holds all of them exactly, if there is one.
    fn data_type(self) -> Option<DataType> {
        match self {
            Self { has_beyond_all: true, .. }
            | Self { has_float: true, has_beyond_float: true, .. }
            | Self { has_negative: true, has_beyond_i64: true, .. } => None,
            Self { has_float: true, .. } => Some(DataType::Float64),
            Self { has_beyond_i64: true, .. } => Some(DataType::UInt64),
            _ => Some(DataType::Int64),
        }
    }
}

impl Kind {
    /// Adds a value.
    pub(super) fn observe(&mut self, value: &str, depth: usize) {
        match value.as_bytes()[0] {
            _ if *self == Self::Json => {}
            b'n' => {}
            b't' | b'f' => self.merge(Self::Bool),
            b'"' => self.merge(Self::Text),
            b'[' | b'{' if depth == MAX_DEPTH => *self = Self::Json,
            b'[' => self.observe_list(value, depth),
            b'{' => self.observe_object(value, depth),
            _ => self.merge(Self::Number(Numbers::of(value))),
        }
    }

    fn observe_list(&mut self, value: &str, depth: usize) {
        self.merge(Self::List(Box::default()));
        if let Self::List(element) = self {
            for_each_element(value, |value| element.observe(value, depth + 1));
        }
    }

    fn observe_object(&mut self, value: &str, depth: usize) {
        self.merge(Self::Object(IndexMap::new()));
        let Self::Object(fields) = self else { return };
        let mut n_entries = 0;
        let mut seen: Vec<usize> = Vec::new();
        let mut first_unseen = 0;
        let mut has_duplicate = false;
        for_each_entry(value, |key, value| {
            // Objects of one column mostly have the same keys in the same order.
            let index = match fields.get_index(n_entries) {
                Some((name, _)) if **name == *key => n_entries,
                _ => fields.get_index_of(&*key).unwrap_or_else(|| fields.insert_full(key.into(), Self::Null).0),
            };
            has_duplicate |= index < first_unseen && seen.contains(&index);
            first_unseen = first_unseen.max(index + 1);
            seen.push(index);
            n_entries += 1;
            fields[index].observe(value, depth + 1);
        });
        if has_duplicate || fields.len() > MAX_NESTED_KEYS {
            *self = Self::Json;
        }
    }

    /// Adds what was found elsewhere, later in the input.
    pub(in crate::source) fn merge(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Null) | (Self::Json, _) | (Self::Bool, Self::Bool) | (Self::Text, Self::Text) => {}
            (Self::Null, other) => *self = other,
            (Self::Number(numbers), Self::Number(other)) => numbers.merge(other),
            (Self::List(element), Self::List(other)) => element.merge(*other),
            (Self::Object(fields), Self::Object(other)) => {
                for (name, kind) in other {
                    fields.entry(name).or_default().merge(kind);
                }
                if fields.len() > MAX_NESTED_KEYS {
                    *self = Self::Json;
                }
            }
            _ => *self = Self::Json,
        }
    }

    /// The kind with `Json` in place of what no Arrow type holds; see [`data_type`](Self::data_type).
    pub(in crate::source) fn resolved(self) -> Self {
        match self {
            Self::Number(numbers) if numbers.data_type().is_none() => Self::Json,
            Self::List(element) => Self::List(Box::new(element.resolved())),
            // Parquet has no struct without fields.
            Self::Object(fields) if fields.is_empty() => Self::Json,
            Self::Object(fields) => {
                Self::Object(fields.into_iter().map(|(name, kind)| (name, kind.resolved())).collect())
            }
            other => other,
        }
    }

    /// The Arrow type of a resolved kind. A column of nulls only is text.
    pub(in crate::source) fn data_type(&self) -> DataType {
        match self {
            Self::Null | Self::Text | Self::Json => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Number(numbers) => numbers.data_type().unwrap_or(DataType::Utf8),
            Self::List(element) => DataType::new_list(element.data_type(), true),
            Self::Object(fields) => {
                let fields: Fields =
                    fields.iter().map(|(name, kind)| Field::new(name.as_ref(), kind.data_type(), true)).collect();
                DataType::Struct(fields)
            }
        }
    }

    /// Whether values have to be rewritten as JSON text somewhere inside.
    pub(super) fn has_json(&self) -> bool {
        match self {
            Self::Json => true,
            Self::List(element) => element.has_json(),
            Self::Object(fields) => fields.values().any(Self::has_json),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(values: &[&str]) -> Kind {
        let mut kind = Kind::Null;
        for value in values {
            kind.observe(value, 0);
        }
        kind
    }

    #[test]
    fn types_of_values() {
        let cases: &[(&[&str], &str)] = &[
            (&["null"], "Utf8"),
            (&["1", "null", "-7"], "Int64"),
            (&["9223372036854775807"], "Int64"),
            (&["9223372036854775808", "1"], "UInt64"),
            (&["9223372036854775808", "-1"], "Utf8"),
            (&["18446744073709551616"], "Utf8"),
            (&["1", "0.5"], "Float64"),
            (&["9007199254740992", "0.5"], "Float64"),
            (&["9007199254740993", "0.5"], "Utf8"),
            (&["-0"], "Float64"),
            (&["1e400"], "Utf8"),
            (&["1E5"], "Float64"),
            (&["true", "null", "false"], "Boolean"),
            (&["true", "1"], "Utf8"),
            (&["\"2020-01-01\""], "Utf8"),
            (&["\"1\"", "1"], "Utf8"),
            (&["[]"], "List(Utf8)"),
            (&["[1]", "[2.5, null]"], "List(Float64)"),
            (&["[1]", "[\"a\"]"], "List(Utf8)"),
            (&["[1]", "1"], "Utf8"),
            (&["{}"], "Utf8"),
            (
                &["{\"b\":1}", "{}", "{\"a\":[{\"c\":true}]}"],
                "Struct(\"b\": Int64, \"a\": List(Struct(\"c\": Boolean)))",
            ),
            (&["{\"a\":1,\"a\":2}"], "Utf8"),
            (&["{\"a\":1,\"b\":2}", "{\"b\":1,\"a\":2,\"b\":3}"], "Utf8"),
        ];
        for (values, expected) in cases {
            let data_type = kind_of(values).resolved().data_type();
            assert_eq!(data_type.to_string().replace(", nullable", ""), *expected, "{values:?}");
        }
    }

    #[test]
    fn many_keys_and_deep_nesting_are_json_text() {
        let object = |n: usize| {
            let entries: Vec<String> = (0..n).map(|key| format!("\"k{key}\":1")).collect();
            format!("{{{}}}", entries.join(","))
        };
        assert_ne!(kind_of(&[&object(MAX_NESTED_KEYS)]), Kind::Json);
        assert_eq!(kind_of(&[&object(MAX_NESTED_KEYS + 1)]), Kind::Json);
        let nested = |n: usize| format!("{}1{}", "[".repeat(n), "]".repeat(n));
        assert!(!kind_of(&[&nested(MAX_DEPTH)]).has_json());
        assert!(kind_of(&[&nested(MAX_DEPTH + 1)]).has_json());
    }

    #[test]
    fn merging_parts_is_merging_the_whole() {
        let values =
            ["1", "null", "{\"a\":1}", "{\"b\":[1]}", "[]", "[0.5]", "\"x\"", "true", "{\"a\":[]}", "-1", "1e9"];
        for start in 0..values.len() {
            for end in start..values.len() {
                for middle in start..=end {
                    let mut left = kind_of(&values[start..middle]);
                    left.merge(kind_of(&values[middle..end]));
                    assert_eq!(left, kind_of(&values[start..end]), "{start} {middle} {end}");
                }
            }
        }
    }
}
