//! From the rows of an epoch to the messages that say them.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, UInt32Array},
    compute::take_record_batch,
    datatypes::SchemaRef,
};
use bytes::Bytes;

use super::envelope;
use crate::{
    connectors::{
        Outgoing,
        sink::{Mode, Pair},
    },
    error::{Error, ErrorKind, Result},
    formats::{Encoder, MessageFormat},
};

/// What goes into a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    pub key: Option<Bytes>,
    /// `None` deletes what the key stands for.
    pub value: Option<Bytes>,
}

/// Makes messages of rows.
#[derive(Debug)]
pub struct MessageBuilder {
    mode: Mode,
    key: Option<Vec<usize>>,
    keys: Option<Box<dyn Encoder>>,
    values: Box<dyn Encoder>,
}

impl MessageBuilder {
    /// Fails where the formats cannot hold the columns.
    pub fn new(
        mode: Mode,
        schema: &SchemaRef,
        key: Option<Vec<usize>>,
        format: &MessageFormat,
        key_format: &MessageFormat,
    ) -> Result<MessageBuilder> {
        let values = match (mode, format) {
            (Mode::Debezium, MessageFormat::Json) => format.encoder(&envelope::schema(schema))?,
            (Mode::Debezium, _) => {
                let message = "type = 'debezium' needs format = 'json'";
                return Err(Error::new(ErrorKind::InvalidParameterValue, message));
            }
            _ => format.encoder(schema)?,
        };
        let keys = match &key {
            Some(key) => Some(key_format.encoder(&Arc::new(schema.project(key)?))?),
            None => None,
        };
        Ok(MessageBuilder { mode, key, keys, values })
    }

    /// The messages of an epoch, in an order in which those of one key are right.
    pub fn of(&mut self, rows: &Outgoing) -> Result<Vec<OutgoingMessage>> {
        let all = rows.changes.rows();
        match self.mode {
            Mode::Upsert => {
                let pairs = rows.pairs(self.key.as_deref())?;
                let (put, gone): (Vec<Pair>, Vec<Pair>) = pairs.into_iter().partition(|pair| pair.came.is_some());
                let put = rows_at(all, put.iter().filter_map(|pair| pair.came))?;
                let gone = rows_at(all, gone.iter().filter_map(|pair| pair.went))?;
                let mut messages = self.with_values(&put)?;
                let tombstone = |key| OutgoingMessage { key, value: None };
                messages.extend(self.keys_of(&gone)?.into_iter().map(tombstone));
                Ok(messages)
            }
            Mode::Debezium => {
                let pairs = rows.pairs(self.key.as_deref())?;
                let keys = rows_at(all, pairs.iter().filter_map(|pair| pair.came.or(pair.went)))?;
                let keys = self.keys_of(&keys)?;
                let values = self.values.encode(&envelope::envelopes(all, &pairs)?)?;
                Ok(keys.into_iter().zip(values).map(|(key, value)| OutgoingMessage { key, value }).collect())
            }
            _ => self.with_values(all),
        }
    }

    fn with_values(&mut self, rows: &RecordBatch) -> Result<Vec<OutgoingMessage>> {
        let keys = self.keys_of(rows)?;
        let values = self.values.encode(rows)?;
        Ok(keys.into_iter().zip(values).map(|(key, value)| OutgoingMessage { key, value }).collect())
    }

    fn keys_of(&mut self, rows: &RecordBatch) -> Result<Vec<Option<Bytes>>> {
        match (&self.key, &mut self.keys) {
            (Some(key), Some(keys)) => keys.encode(&rows.project(key)?),
            _ => Ok(vec![None; rows.num_rows()]),
        }
    }
}

fn rows_at(rows: &RecordBatch, at: impl Iterator<Item = u32>) -> Result<RecordBatch> {
    Ok(take_record_batch(rows, &UInt32Array::from_iter_values(at))?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;
    use crate::changes::Changes;

    fn encoded(mode: Mode, key: Option<Vec<usize>>) -> Vec<(String, String)> {
        let ids = Arc::new(Int64Array::from(vec![1, 1, 2, 3])) as ArrayRef;
        let names = Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("c"), None])) as ArrayRef;
        let rows = RecordBatch::try_from_iter_with_nullable([("id", ids, true), ("name", names, true)]).unwrap();
        let diffs = Int64Array::from(vec![-1, 1, -1, 1]);
        let json = MessageFormat::Json;
        let mut messages = MessageBuilder::new(mode, &rows.schema(), key, &json, &json).unwrap();
        let text = |bytes: Option<Bytes>| bytes.map_or("-".to_string(), |b| String::from_utf8(b.to_vec()).unwrap());
        let all = messages.of(&Outgoing { changes: Changes::new(rows, diffs), whole: false }).unwrap();
        all.into_iter().map(|message| (text(message.key), text(message.value))).collect()
    }

    fn pairs(all: &[(String, String)]) -> Vec<(&str, &str)> {
        all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn upsert_retracted_key_becomes_a_tombstone() {
        let all = encoded(Mode::Upsert, Some(vec![0]));
        let (one, three) = (r#"{"id":1,"name":"b"}"#, r#"{"id":3,"name":null}"#);
        assert_eq!(pairs(&all), [(r#"{"id":1}"#, one), (r#"{"id":3}"#, three), (r#"{"id":2}"#, "-")]);
    }

    #[test]
    fn debezium_envelope_has_before_and_after() {
        let all = encoded(Mode::Debezium, Some(vec![0]));
        let update = r#"{"before":{"id":1,"name":"a"},"after":{"id":1,"name":"b"},"op":"u"}"#;
        let delete = r#"{"before":{"id":2,"name":"c"},"after":null,"op":"d"}"#;
        let create = r#"{"before":null,"after":{"id":3,"name":null},"op":"c"}"#;
        assert_eq!(pairs(&all), [(r#"{"id":1}"#, update), (r#"{"id":2}"#, delete), (r#"{"id":3}"#, create)]);
        let separate: Vec<String> =
            encoded(Mode::Debezium, None).into_iter().map(|(key, value)| key + &value).collect();
        assert_eq!(separate.len(), 4);
        assert_eq!(separate[0], r#"-{"before":{"id":1,"name":"a"},"after":null,"op":"d"}"#);
    }
}
