//! Parquet settings for each kind of column.

use arrow::datatypes::{DataType, Field, Schema};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;
use tamis_schemas::columns;

use crate::{Error, Result};

/// Writer settings for a table of `schema`.
///
/// Text and ids are not worth a dictionary (it is built, given up and written anew) and a text's minimum and maximum
/// help nobody; embeddings compress as separate byte streams; all else takes the writer's own choice, a dictionary
/// with a fall-back.
pub(super) fn writer_properties(
    schema: &Schema,
    unique_columns: &[String],
    zstd_level: i32,
) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(zstd_level)
        .map_err(|_| Error::config(format!("zstd level {zstd_level} is not between 1 and 22")))?;
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(None)
        .set_created_by(concat!("tamis ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_offset_index_disabled(false);
    for field in schema.fields() {
        let is_unique = field.name() == columns::ID || unique_columns.contains(field.name());
        builder = column_properties(builder, field, vec![field.name().clone()], is_unique);
    }
    Ok(builder.build())
}

fn column_properties(
    builder: WriterPropertiesBuilder,
    field: &Field,
    path: Vec<String>,
    is_unique: bool,
) -> WriterPropertiesBuilder {
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View if is_unique => {
            let statistics =
                if field.name() == columns::ID { EnabledStatistics::Page } else { EnabledStatistics::None };
            let column = ColumnPath::new(path);
            builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column, statistics)
        }
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item)
            if matches!(item.data_type(), DataType::Float16 | DataType::Float32 | DataType::Float64) =>
        {
            let column = ColumnPath::new([path, vec!["list".into(), item.name().clone()]].concat());
            builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_statistics_enabled(column.clone(), EnabledStatistics::None)
                .set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT)
        }
        _ => builder,
    }
}
