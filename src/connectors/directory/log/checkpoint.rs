//! Checkpoints: all that a log has said up to an entry, as rows of Parquet, an action each.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
    json::{ReaderBuilder, WriterBuilder, writer::LineDelimited},
};
use bytes::Bytes;
use datafusion::parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};

use super::{Action, parse};
use crate::error::{Error, Result};

/// The columns of a checkpoint: one for each kind of action.
fn checkpoint_schema() -> SchemaRef {
    use DataType::{Boolean, Int32, Int64, Utf8};
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let list = || DataType::List(Arc::new(field("element", Utf8)));
    let map = || {
        let entry = vec![Field::new("key", Utf8, false), field("value", Utf8)];
        DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry.into()), false)), false)
    };
    let kind = |name: &str, fields: Vec<Field>| field(name, DataType::Struct(Fields::from(fields)));
    Arc::new(Schema::new(vec![
        kind("txn", vec![field("appId", Utf8), field("version", Int64), field("lastUpdated", Int64)]),
        kind(
            "add",
            vec![
                field("path", Utf8),
                field("partitionValues", map()),
                field("size", Int64),
                field("modificationTime", Int64),
                field("dataChange", Boolean),
                field("stats", Utf8),
            ],
        ),
        kind("remove", vec![field("path", Utf8), field("deletionTimestamp", Int64), field("dataChange", Boolean)]),
        kind(
            "metaData",
            vec![
                field("id", Utf8),
                kind("format", vec![field("provider", Utf8), field("options", map())]),
                field("schemaString", Utf8),
                field("partitionColumns", list()),
                field("configuration", map()),
                field("createdTime", Int64),
            ],
        ),
        kind(
            "protocol",
            vec![
                field("minReaderVersion", Int32),
                field("minWriterVersion", Int32),
                field("readerFeatures", list()),
                field("writerFeatures", list()),
            ],
        ),
    ]))
}

/// The rows of actions; through JSON, whose members are the columns.
pub(in super::super) fn to_parquet(actions: &[Action]) -> Result<Vec<u8>> {
    let schema = checkpoint_schema();
    let mut decoder = ReaderBuilder::new(schema.clone()).with_batch_size(actions.len().max(1)).build_decoder()?;
    decoder.serialize(actions)?;
    let rows = decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(schema.clone()));
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, None).map_err(in_parquet)?;
    writer.write(&rows).map_err(in_parquet)?;
    writer.into_inner().map_err(in_parquet)
}

/// Takes [`to_parquet`] back.
pub(in super::super) fn from_parquet(name: &str, bytes: Bytes) -> Result<Vec<Action>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(ParquetRecordBatchReaderBuilder::build);
    let mut lines = Vec::new();
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(&mut lines);
    for rows in reader.map_err(in_parquet)? {
        writer.write(&rows?)?;
    }
    writer.finish()?;
    drop(writer);
    parse(name, &lines)
}

fn in_parquet(error: datafusion::parquet::errors::ParquetError) -> Error {
    Error::from(datafusion::error::DataFusionError::ParquetError(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{Add, FileKind, MetaData, Protocol, Remove, Txn},
        *,
    };

    #[test]
    fn delta_checkpoint_actions_roundtrip_through_parquet() {
        let action = Action::default;
        let list = Some(vec!["timestampNtz".to_string()]);
        let map = BTreeMap::from([("k".to_string(), "v".to_string())]);
        let protocol = Protocol {
            min_reader_version: 3,
            min_writer_version: 7,
            reader_features: list.clone(),
            writer_features: list,
        };
        let meta = MetaData {
            id: "i".to_string(),
            format: FileKind { provider: "parquet".to_string(), options: BTreeMap::new() },
            schema_string: "{\"type\":\"struct\"}".to_string(),
            partition_columns: vec!["a".to_string()],
            configuration: map,
            created_time: Some(1),
        };
        let add = Add {
            path: "a=1/x".to_string(),
            partition_values: BTreeMap::from([("a".to_string(), Some("1".to_string())), ("b".to_string(), None)]),
            size: 1 << 40,
            modification_time: 2,
            data_change: true,
            stats: Some("{}".to_string()),
        };
        let remove = Remove { path: "y".to_string(), deletion_timestamp: Some(3), data_change: false };
        let txn = Txn { app_id: "s".to_string(), version: 9, last_updated: None };
        let actions = vec![
            Action { protocol: Some(protocol), ..action() },
            Action { meta_data: Some(meta), ..action() },
            Action { txn: Some(txn), ..action() },
            Action { remove: Some(remove), ..action() },
            Action { add: Some(add), ..action() },
        ];
        assert_eq!(from_parquet("c", to_parquet(&actions).unwrap().into()).unwrap(), actions);
    }
}
