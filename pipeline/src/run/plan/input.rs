//! How inputs are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tamis_schemas::columns;
use tamis_schemas::config::{InputConfig, InputFormat};

use crate::source::{Format, IdSource, SourceOptions, TextDocuments, TextExpression, TextPart};
use crate::{Error, Result};

/// `text` is the column `text`; `{title}\n{body}` puts columns into a template, `{{` and `}}` are braces.
pub(crate) fn parse_text(text: &str) -> Result<TextExpression> {
    if !text.contains(['{', '}']) {
        return Ok(TextExpression { parts: vec![TextPart::Column(text.to_owned())] });
    }
    let bad = |what: &str| Error::Config {
        message: format!("the text template `{text}` {what}"),
        hint: Some("name columns in braces: \"{title} {body}\"; write {{ and }} for braces themselves".into()),
    };
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match (char, rest.peek()) {
            ('{', Some('{')) | ('}', Some('}')) => literal.extend(rest.next()),
            ('{', _) => {
                let mut name = String::new();
                loop {
                    match rest.next() {
                        Some('}') => break,
                        Some(char) => name.push(char),
                        None => return Err(bad("has a brace that is not closed")),
                    }
                }
                if !literal.is_empty() {
                    parts.push(TextPart::Literal(std::mem::take(&mut literal)));
                }
                parts.push(TextPart::Column(name));
            }
            ('}', _) => return Err(bad("has a brace that was not opened")),
            (char, _) => literal.push(char),
        }
    }
    if !literal.is_empty() {
        parts.push(TextPart::Literal(literal));
    }
    if parts.iter().all(|part| matches!(part, TextPart::Literal(_))) {
        return Err(bad("names no column"));
    }
    Ok(TextExpression { parts })
}

pub(in crate::run) fn id_source(id: Option<&str>) -> IdSource {
    match id {
        Some("") => IdSource::Row,
        Some(name) => IdSource::Column(name.to_owned()),
        None => IdSource::FirstPresent(vec![columns::ID.to_owned(), "id".to_owned()]),
    }
}

pub(in crate::run) fn source_options(input: &InputConfig) -> Result<SourceOptions> {
    let format = input.format.map(|format| match format {
        InputFormat::Jsonl => Format::JsonLines,
        InputFormat::Csv => Format::Csv,
        InputFormat::Tsv => Format::Tsv,
        InputFormat::Parquet => Format::Parquet,
        InputFormat::Arrow => Format::Arrow,
        InputFormat::Text => Format::Text,
    });
    let text_documents = match input.text_documents {
        tamis_schemas::config::TextDocuments::Line => TextDocuments::Lines,
        tamis_schemas::config::TextDocuments::File => TextDocuments::Files,
    };
    let schema = input.schema.as_ref().map(parse_schema).transpose()?;
    Ok(SourceOptions {
        format,
        text_documents,
        schema,
        max_row_bytes: input.max_row.0 as usize,
        ..SourceOptions::default()
    })
}

/// Types by their Arrow names, the simple ones in any case: `int64`, `utf8`, `Timestamp(Microsecond, None)`.
fn parse_schema(columns: &BTreeMap<String, String>) -> Result<SchemaRef> {
    const SIMPLE: [&str; 16] = [
        "Boolean",
        "Int8",
        "Int16",
        "Int32",
        "Int64",
        "UInt8",
        "UInt16",
        "UInt32",
        "UInt64",
        "Float32",
        "Float64",
        "Utf8",
        "LargeUtf8",
        "Binary",
        "Date32",
        "Date64",
    ];
    let fields = columns.iter().map(|(name, text)| {
        let simple = SIMPLE.iter().find(|simple| simple.eq_ignore_ascii_case(text)).copied();
        let data_type: DataType = simple.unwrap_or(text).parse().map_err(|_| Error::Config {
            message: format!("input.schema: `{text}` of column `{name}` is not a type"),
            hint: Some(
                "write Arrow types: int64, float64, boolean, utf8, date32, \"Timestamp(Microsecond, None)\"".into(),
            ),
        })?;
        Ok(Field::new(name, data_type, true))
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_templates() {
        let column = |name: &str| TextPart::Column(name.into());
        let literal = |text: &str| TextPart::Literal(text.into());
        let check = |text: &str, parts: Vec<TextPart>| assert_eq!(parse_text(text).unwrap().parts, parts, "{text}");
        check("text", vec![column("text")]);
        check("{title}\n{body}", vec![column("title"), literal("\n"), column("body")]);
        check("{{{a}}}", vec![literal("{"), column("a"), literal("}")]);
        for bad in ["{a", "a}", "{{a}}"] {
            assert!(parse_text(bad).is_err(), "{bad}");
        }
    }
}
