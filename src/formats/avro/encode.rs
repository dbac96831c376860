//! Rows to Avro messages, with a schema from the options.

use std::{collections::HashMap, fmt};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use arrow_avro::{
    schema::{FingerprintStrategy, SCHEMA_METADATA_KEY},
    writer::{
        Encoder, WriterBuilder,
        format::{AvroBinaryFormat, AvroSoeFormat},
    },
};
use bytes::Bytes;

use super::{AvroOptions, Damage, MessageHeader, Named, Request};
use crate::{
    error::{Error, ErrorKind, Result},
    formats::{self, csv::find, named::guarded},
    options::Taker,
};

/// How messages are encoded: the schema, and the header before each value.
#[derive(Debug, Clone)]
pub struct AvroSpelling {
    options: AvroOptions,
    /// The schema's registry id, for [`Header::Confluent`].
    id: Option<u32>,
}

impl AvroSpelling {
    /// Takes its options; `avro.framing` defaults to `'none'`.
    pub(in crate::formats) fn from_options(options: &mut Taker) -> Result<Self> {
        let avro = AvroOptions::from_options(options)?;
        avro.check_messages()?;
        let id = options.parse("avro.schema_id", "the number of the schema in its registry")?;
        if (avro.header == MessageHeader::Confluent) != id.is_some() {
            return Err(Error::new(
                ErrorKind::InvalidParameterValue,
                "avro.framing = 'confluent' and option \"avro.schema_id\" need each other",
            ));
        }
        Ok(AvroSpelling { options: avro, id })
    }

    /// The encoder of rows with these columns, which must all be in the schema.
    pub(in crate::formats) fn encoder(&self, rows: &SchemaRef) -> Result<AvroValueEncoder> {
        let known = self.options.known()?;
        let names: Vec<String> = known.columns.fields().iter().map(|f| f.name().clone()).collect();
        let refused =
            |why: String| Error::new(ErrorKind::DatatypeMismatch, format!("the Avro schema does not fit: {why}"));
        if let Some(field) = rows.fields().iter().find(|f| find(&names, f.name()).is_none()) {
            return Err(refused(format!("it has no field \"{}\"", field.name())));
        }
        let projection = (0..names.len()).collect();
        let request = Request { schema: known.columns.clone(), projection, batch_rows: 1 };
        let (named, read) = Named::new(&request, rows).map_err(|Damage(why)| refused(why))?;
        let metadata = HashMap::from([(SCHEMA_METADATA_KEY.to_string(), known.json.clone())]);
        let schema = Schema::new_with_metadata(known.columns.fields().clone(), metadata);
        let builder = WriterBuilder::new(schema);
        let encoder = match (self.options.header, self.id) {
            (MessageHeader::Confluent, Some(id)) => {
                builder.with_fingerprint_strategy(FingerprintStrategy::Id(id)).build_encoder::<AvroSoeFormat>()
            }
            (MessageHeader::SingleObject, _) => builder.build_encoder::<AvroSoeFormat>(),
            _ => builder.build_encoder::<AvroBinaryFormat>(),
        };
        let encoder = encoder.map_err(|e| refused(e.to_string()))?;
        Ok(AvroValueEncoder { encoder, named, read })
    }
}

/// Encodes rows.
pub(in crate::formats) struct AvroValueEncoder {
    encoder: Encoder,
    named: Named,
    /// The indexes of the columns with a schema field.
    read: Vec<usize>,
}

impl fmt::Debug for AvroValueEncoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AvroEncoder").field("named", &self.named).finish()
    }
}

impl formats::Encoder for AvroValueEncoder {
    fn encode(&mut self, rows: &RecordBatch) -> Result<Vec<Option<Bytes>>> {
        let (fitted, misfits) = self.named.finish(&rows.project(&self.read)?).map_err(|Damage(why)| unfit(&why))?;
        if let Some(misfit) = misfits.first() {
            return Err(unfit(&misfit.reason));
        }
        let fitted = fitted.with_schema(self.encoder.schema())?;
        let encoder = &mut self.encoder;
        guarded("Avro", || Ok(encoder.encode(&fitted)?)).map_err(|Damage(why)| unfit(&why))?;
        Ok(self.encoder.flush().iter().map(Some).collect())
    }
}

fn unfit(why: &str) -> Error {
    Error::new(ErrorKind::DatatypeMismatch, format!("a row cannot be written as Avro: {why}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        formats::{Encoder as _, Format, MessageFormat, RawRecord},
        options::Options,
    };

    const SCHEMA: &str = r#"{"type": "record", "name": "r", "fields": [
        {"name": "id", "type": "long"},
        {"name": "text", "type": ["null", "string"]},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "list", "type": ["null", {"type": "array", "items": "int"}]}
    ]}"#;

    fn options(more: &[(&str, &str)]) -> Options {
        let mut options = Options::default();
        for (key, value) in [("format", "avro"), ("avro.schema", SCHEMA)].iter().chain(more) {
            options.insert(*key, *value);
        }
        options
    }

    fn rows() -> RecordBatch {
        use arrow::{
            array::{Int32Array, ListArray, StringArray, TimestampMicrosecondArray},
            datatypes::Int32Type,
        };
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)]), None]);
        RecordBatch::try_from_iter_with_nullable([
            ("LIST", Arc::new(list) as arrow::array::ArrayRef, true),
            ("id", Arc::new(Int32Array::from(vec![7, -7])), true),
            ("text", Arc::new(StringArray::from(vec![Some("é"), None])), true),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None])), true),
        ])
        .unwrap()
    }

    #[test]
    fn avro_encoded_messages_decode_to_the_same_rows() {
        for more in
            [&[][..], &[("avro.framing", "single_object")], &[("avro.framing", "confluent"), ("avro.schema_id", "258")]]
        {
            let format = MessageFormat::from_options(&mut options(more).taker("a sink")).unwrap();
            let messages = format.encoder(&rows().schema()).unwrap().encode(&rows()).unwrap();
            if more.len() == 2 {
                assert_eq!(messages[0].as_ref().unwrap()[..5], [0, 0, 0, 1, 2]);
            }
            let source = options(&more[..more.len().min(1)]);
            let format = Format::from_options(&mut source.taker("a source")).unwrap();
            let request = Request { schema: rows().schema(), projection: vec![0, 1, 2, 3], batch_rows: 10 };
            let mut decoder = format.decoder(&request).unwrap();
            messages.iter().for_each(|m| decoder.push(RawRecord { key: None, value: m.as_deref() }));
            let decoded = decoder.flush();
            assert_eq!((decoded.errors, decoded.rows), (vec![], rows()));
        }
    }

    #[test]
    fn avro_encode_of_columns_outside_the_schema_is_refused() {
        let spelling = |more: &[(&str, &str)]| AvroSpelling::from_options(&mut options(more).taker("a sink"));
        assert!(spelling(&[("avro.framing", "confluent")]).unwrap_err().message().contains("need each other"));
        assert!(spelling(&[("avro.schema_id", "1")]).unwrap_err().message().contains("need each other"));
        let other = Arc::new(rows().schema().project(&[0, 1]).unwrap());
        let named = |name: &str| Arc::new(Schema::new(vec![other.field(1).clone().with_name(name)]));
        let spelling = spelling(&[]).unwrap();
        assert!(spelling.encoder(&named("nowhere")).unwrap_err().message().contains("no field \"nowhere\""));
        assert!(spelling.encoder(&named("at")).unwrap_err().message().contains("cannot be cast"));
        // Not NULL there, and NULL for want of a column here.
        let lists = rows().project(&[0]).unwrap();
        let error = spelling.encoder(&lists.schema()).unwrap().encode(&lists).unwrap_err();
        assert!(error.message().contains("\"id\" is NULL"), "{error}");
    }
}
