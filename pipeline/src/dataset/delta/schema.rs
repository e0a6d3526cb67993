//! The schema of a Delta Lake table, from an Arrow schema.
//!
//! # Source
//! Delta Transaction Log Protocol, sections "Schema Serialization Format" and "Timestamp without timezone".

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A type of Delta Lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum DeltaType {
    /// `string`, `long`, `decimal(10,2)` ...
    Primitive(String),
    /// A type made of others.
    Nested(Box<NestedType>),
}

/// A type made of others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", rename_all_fields = "camelCase")]
pub(super) enum NestedType {
    /// Fields by name; a table's schema is one.
    Struct {
        /// In order.
        fields: Vec<DeltaField>,
    },
    /// A list.
    Array {
        /// Type of each element.
        element_type: DeltaType,
        /// Whether elements may be null.
        contains_null: bool,
    },
    /// Keys to values.
    Map {
        /// Type of each key.
        key_type: DeltaType,
        /// Type of each value.
        value_type: DeltaType,
        /// Whether values may be null.
        value_contains_null: bool,
    },
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DeltaField {
    name: String,
    #[serde(rename = "type")]
    data_type: DeltaType,
    nullable: bool,
    metadata: serde_json::Map<String, serde_json::Value>,
}

/// The schema of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct DeltaSchema(NestedType);

impl DeltaSchema {
    /// The columns of `schema` that Delta Lake has a type for. The others are in the Parquet files all the same.
    ///
    /// Unsigned numbers get the next wider signed type, 64 bits a decimal, as Apache Spark reads them from Parquet.
    pub(crate) fn of(schema: &Schema) -> Self {
        Self(NestedType::Struct { fields: fields(schema.fields()) })
    }

    /// Adds the columns of `later`, and lets a column be null that one of the two lacks.
    ///
    /// # Errors
    /// `Error::Column` for a column whose type is another; `table` names the table.
    pub(crate) fn merge(&mut self, later: &Self, table: &str) -> Result<()> {
        let (NestedType::Struct { fields }, NestedType::Struct { fields: later }) = (&mut self.0, &later.0) else {
            return Err(Error::Invariant(format!("the schema of table `{table}` is no struct")));
        };
        merge_fields(fields, later, "").map_err(|clash| Error::Column {
            message: format!(
                "column `{}` of table `{table}` has been of type {} in earlier runs, and is of type {} now",
                clash.column, clash.before, clash.now
            ),
            hint: Some("give the column a type in [input.schema], or choose another output".into()),
        })
    }

    /// # Errors
    /// `Error::Column` for two columns whose names differ in case only: readers of Delta Lake tables refuse them.
    pub(crate) fn check_names(&self, table: &str) -> Result<()> {
        let NestedType::Struct { fields } = &self.0 else { return Ok(()) };
        let mut names: HashMap<String, &str> = HashMap::new();
        for field in fields {
            if let Some(other) = names.insert(field.name.to_lowercase(), &field.name) {
                return Err(Error::Column {
                    message: format!("columns `{other}` and `{}` of table `{table}` differ in case only", field.name),
                    hint: Some("readers of Delta Lake tables cannot tell them apart: rename one in the input".into()),
                });
            }
        }
        Ok(())
    }

    /// Whether a column holds a time without a time zone, which readers of the first protocol do not know.
    pub(super) fn needs_timestamp_ntz(&self) -> bool {
        has_timestamp_ntz(&DeltaType::Nested(Box::new(self.0.clone())))
    }

    /// As the log has it, in a string of its own.
    pub(crate) fn to_json(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(|error| Error::Invariant(format!("a schema is not JSON: {error}")))
    }

    /// What [`to_json`](Self::to_json) made.
    pub(crate) fn from_json(json: &serde_json::Value) -> Result<Self> {
        serde_json::from_value(json.clone())
            .map_err(|error| Error::Invariant(format!("the schema of a commit is none: {error}")))
    }
}

const TIMESTAMP_NTZ: &str = "timestamp_ntz";
/// Most digits of a decimal.
const MAX_DECIMAL_DIGITS: u8 = 38;

fn fields(fields: &Fields) -> Vec<DeltaField> {
    fields.iter().filter_map(|field| delta_field(field)).collect()
}

fn delta_field(field: &Field) -> Option<DeltaField> {
    Some(DeltaField {
        name: field.name().clone(),
        data_type: delta_type(field.data_type())?,
        nullable: field.is_nullable(),
        metadata: serde_json::Map::new(),
    })
}

/// `None`: Delta Lake has no such type, or Parquet files written by us hold it as something else.
fn delta_type(data_type: &DataType) -> Option<DeltaType> {
    let nested = |nested: NestedType| Some(DeltaType::Nested(Box::new(nested)));
    let array = |element: &Field| {
        let element_type = delta_type(element.data_type())?;
        nested(NestedType::Array { element_type, contains_null: element.is_nullable() })
    };
    let name = match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "binary",
        DataType::Boolean => "boolean",
        DataType::Int8 => "byte",
        DataType::Int16 | DataType::UInt8 => "short",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 => "long",
        DataType::UInt64 => "decimal(20,0)",
        DataType::Float16 | DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Date32 => "date",
        // Seconds are written as plain numbers.
        DataType::Timestamp(TimeUnit::Second, _) => return None,
        DataType::Timestamp(_, Some(_)) => "timestamp",
        DataType::Timestamp(_, None) => TIMESTAMP_NTZ,
        &(DataType::Decimal32(digits, scale)
        | DataType::Decimal64(digits, scale)
        | DataType::Decimal128(digits, scale))
            if digits <= MAX_DECIMAL_DIGITS && 0 <= scale && scale.unsigned_abs() <= digits =>
        {
            return Some(DeltaType::Primitive(format!("decimal({digits},{scale})")));
        }
        DataType::Dictionary(_, values) => return delta_type(values),
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            return array(element);
        }
        DataType::Struct(inner) => {
            let fields = fields(inner);
            return (fields.len() == inner.len()).then(|| nested(NestedType::Struct { fields })).flatten();
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(entries) = entries.data_type() else { return None };
            let [key, value] = entries.iter().as_slice() else { return None };
            return nested(NestedType::Map {
                key_type: delta_type(key.data_type())?,
                value_type: delta_type(value.data_type())?,
                value_contains_null: value.is_nullable(),
            });
        }
        _ => return None,
    };
    Some(DeltaType::Primitive(name.to_owned()))
}

fn has_timestamp_ntz(data_type: &DeltaType) -> bool {
    match data_type {
        DeltaType::Primitive(name) => name == TIMESTAMP_NTZ,
        DeltaType::Nested(nested) => match &**nested {
            NestedType::Struct { fields } => fields.iter().any(|field| has_timestamp_ntz(&field.data_type)),
            NestedType::Array { element_type, .. } => has_timestamp_ntz(element_type),
            NestedType::Map { key_type, value_type, .. } => {
                has_timestamp_ntz(key_type) || has_timestamp_ntz(value_type)
            }
        },
    }
}

/// A column with two types.
struct Clash {
    column: String,
    before: String,
    now: String,
}

fn merge_fields(fields: &mut Vec<DeltaField>, later: &[DeltaField], path: &str) -> Result<(), Clash> {
    for field in fields.iter_mut() {
        field.nullable |= later.iter().all(|other| other.name != field.name);
    }
    for other in later {
        match fields.iter_mut().find(|field| field.name == other.name) {
            Some(field) => {
                field.nullable |= other.nullable;
                merge_types(&mut field.data_type, &other.data_type, &format!("{path}{}", field.name))?;
            }
            None => fields.push(DeltaField { nullable: true, ..other.clone() }),
        }
    }
    Ok(())
}

fn merge_types(before: &mut DeltaType, now: &DeltaType, column: &str) -> Result<(), Clash> {
    if let (DeltaType::Nested(before), DeltaType::Nested(now)) = (&mut *before, now) {
        match (&mut **before, &**now) {
            (NestedType::Struct { fields }, NestedType::Struct { fields: later }) => {
                return merge_fields(fields, later, &format!("{column}."));
            }
            (
                NestedType::Array { element_type, contains_null },
                NestedType::Array { element_type: later, contains_null: later_null },
            ) => {
                *contains_null |= later_null;
                return merge_types(element_type, later, &format!("{column}[]"));
            }
            (
                NestedType::Map { key_type, value_type, value_contains_null },
                NestedType::Map { key_type: later_key, value_type: later_value, value_contains_null: later_null },
            ) => {
                *value_contains_null |= later_null;
                merge_types(key_type, later_key, &format!("{column}[key]"))?;
                return merge_types(value_type, later_value, &format!("{column}[value]"));
            }
            _ => {}
        }
    }
    if before == now {
        return Ok(());
    }
    let name = |data_type: &DeltaType| serde_json::to_string(data_type).unwrap_or_default();
    Err(Clash { column: column.to_owned(), before: name(before), now: name(now) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn schema(fields: Vec<Field>) -> DeltaSchema {
        DeltaSchema::of(&Schema::new(fields))
    }

    #[test]
    fn every_kind_of_type() {
        let leaf = |name: &str, data_type: DataType| Field::new(name, data_type, true);
        let list = DataType::List(Arc::new(Field::new("item", DataType::Float16, false)));
        let inner = DataType::Struct(vec![leaf("x", DataType::Int8), leaf("y", list.clone())].into());
        let entries = DataType::Struct(vec![Field::new("k", DataType::Utf8, false), leaf("v", inner.clone())].into());
        let found = schema(vec![
            Field::new("id", DataType::LargeUtf8, false),
            leaf("kind", DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8))),
            leaf("n", DataType::UInt64),
            leaf("price", DataType::Decimal128(10, 2)),
            leaf("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            leaf("map", DataType::Map(Arc::new(Field::new("entries", entries, false)), false)),
            // No type of Delta Lake, or not as such in our Parquet files.
            leaf("none", DataType::Null),
            leaf("time", DataType::Time64(TimeUnit::Microsecond)),
            leaf("seconds", DataType::Timestamp(TimeUnit::Second, None)),
            leaf("deep", DataType::Struct(vec![leaf("ok", DataType::Int8), leaf("no", DataType::Null)].into())),
            leaf("wide", DataType::Decimal256(50, 2)),
        ]);
        let field = |name: &str, data_type: serde_json::Value, nullable: bool| json!({"name": name, "type": data_type, "nullable": nullable, "metadata": {}});
        let list = json!({"type": "array", "elementType": "float", "containsNull": false});
        let inner = json!({"type": "struct", "fields": [field("x", json!("byte"), true), field("y", list, true)]});
        let map = json!({"type": "map", "keyType": "string", "valueType": inner, "valueContainsNull": true});
        let expect = json!({"type": "struct", "fields": [
            field("id", json!("string"), false),
            field("kind", json!("string"), true),
            field("n", json!("decimal(20,0)"), true),
            field("price", json!("decimal(10,2)"), true),
            field("at", json!("timestamp"), true),
            field("map", map, true),
        ]});
        let written = found.to_json().unwrap();
        assert_eq!(written, expect);
        assert_eq!(DeltaSchema::from_json(&written).unwrap(), found);
        assert!(!found.needs_timestamp_ntz());
        let naive = DataType::Timestamp(TimeUnit::Nanosecond, None);
        assert!(schema(vec![leaf("list", DataType::new_list(naive, true))]).needs_timestamp_ntz());
    }

    #[test]
    fn schemas_grow_but_types_stay() {
        let int = |name: &str, nullable: bool| Field::new(name, DataType::Int64, nullable);
        let of = |name: &str, inner: Vec<Field>| Field::new(name, DataType::Struct(inner.into()), false);
        let mut merged = schema(vec![int("a", false), of("s", vec![int("x", false)])]);
        merged.merge(&schema(vec![int("b", false), of("s", vec![int("x", false), int("y", false)])]), "kept").unwrap();
        let expect = schema(vec![int("a", true), of("s", vec![int("x", false), int("y", true)]), int("b", true)]);
        assert_eq!(merged, expect);
        let clash = schema(vec![of("s", vec![Field::new("y", DataType::Utf8, true)])]);
        let error = merged.merge(&clash, "kept").unwrap_err().to_string();
        assert!(
            error.contains("`s.y` of table `kept`") && error.contains("long") && error.contains("string"),
            "{error}"
        );
    }
}
