//! Encodes rows of columns as DataRow messages, in the format that the client requested for each column.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, timezone::Tz},
    compute::cast,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use bytes::{BufMut, BytesMut};
use pgwire::{
    api::results::{FieldFormat, FieldInfo},
    messages::data::RowDescription,
};

use super::{backend, binary, text};
use crate::{
    error::{Error, ErrorKind, Result},
    pg_catalog::types,
};

/// The encoding of one result's columns. Cheap to clone.
#[derive(Clone)]
pub(super) struct RowFormat {
    /// The columns after [`plain`]: no dictionaries, no run-ends.
    columns: SchemaRef,
    fields: Arc<Vec<FieldInfo>>,
    zone: Tz,
}

impl RowFormat {
    /// `formats` are as in Bind: none (all text), one for all, or one for each column.
    pub fn new(schema: &Schema, formats: &[i16], zone: Tz) -> Result<RowFormat> {
        let count = schema.fields().len();
        if formats.len() > 1 && formats.len() != count {
            return Err(Error::new(
                ErrorKind::ProtocolViolation,
                format!("bind message has {} result formats but query has {count} columns", formats.len()),
            ));
        }
        let columns: Vec<Field> =
            schema.fields().iter().map(|f| f.as_ref().clone().with_data_type(plain(f.data_type()))).collect();
        let columns = Arc::new(Schema::new(columns));
        let fields = columns.fields().iter().enumerate().map(|(i, field)| {
            let format = formats.get(i).or(formats.first().filter(|_| formats.len() == 1)).copied().unwrap_or(0);
            let ty = types::of_field(field);
            let (length, modifier) = (types::length(&ty), types::modifier(field.data_type()));
            FieldInfo::new(field.name().clone(), None, None, ty, FieldFormat::from(format))
                .with_type_size(length)
                .with_type_modifier(modifier)
        });
        let fields = Arc::new(fields.collect());
        Ok(RowFormat { columns, fields, zone })
    }

    pub fn description(&self) -> RowDescription {
        RowDescription::new(self.fields.iter().map(Into::into).collect())
    }

    /// Whether a client that got the description of `other` can read these rows.
    pub fn fits(&self, other: &RowFormat) -> bool {
        let types = |f: &RowFormat| f.fields.iter().map(|f| f.datatype().oid()).collect::<Vec<_>>();
        types(self) == types(other)
    }

    /// One DataRow message for each row of the batch.
    pub fn rows(&self, batch: &RecordBatch) -> Result<BytesMut> {
        let columns = self.columns(batch)?;
        let mut out = BytesMut::with_capacity(batch.num_rows() * (columns.len() * 12 + 7));
        let mut scratch = String::new();
        for row in 0..batch.num_rows() {
            let start = out.len();
            out.put_slice(b"D\0\0\0\0");
            self.tuple(&columns, row, &mut out, &mut scratch)?;
            let length = i32::try_from(out.len() - start - 1)
                .map_err(|_| Error::new(ErrorKind::LimitExceeded, "a row is longer than 2 GiB"))?;
            out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        }
        Ok(out)
    }

    /// The same as CopyData messages, with `head` before the first.
    pub fn copy_rows(&self, batch: &RecordBatch, head: &[u8]) -> Result<BytesMut> {
        let columns = self.columns(batch)?;
        let (mut out, mut scratch) = (BytesMut::new(), String::new());
        for row in 0..batch.num_rows() {
            let mut tuple = BytesMut::from(if row == 0 { head } else { b"" });
            self.tuple(&columns, row, &mut tuple, &mut scratch)?;
            backend::framed(&mut out, b'd', |out| out.put_slice(&tuple));
        }
        Ok(out)
    }

    fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        if batch.num_columns() != self.fields.len() {
            return Err(Error::internal("a result has other columns than it said"));
        }
        let columns = batch.columns().iter().zip(self.columns.fields()).zip(self.fields.iter());
        let plain = columns.map(|((column, field), info)| {
            let column = plain_column(column, field.data_type())?;
            if info.format() == FieldFormat::Binary { binary::column(&column) } else { Ok(column) }
        });
        plain.collect()
    }

    /// Appends the number of values, and each value after its length.
    fn tuple(&self, columns: &[ArrayRef], row: usize, out: &mut BytesMut, scratch: &mut String) -> Result<()> {
        out.put_i16(columns.len() as i16);
        for (index, column) in columns.iter().enumerate() {
            if self.fields[index].format() == FieldFormat::Binary {
                binary::sized(column, row, &self.columns.fields()[index], out)?;
            } else if column.is_null(row) || *column.data_type() == DataType::Null {
                out.put_i32(-1);
            } else {
                scratch.clear();
                text::write(column, row, self.zone, scratch)?;
                out.put_i32(scratch.len() as i32);
                out.put_slice(scratch.as_bytes());
            }
        }
        Ok(())
    }
}

/// The type that is sent: without dictionaries and run-ends.
fn plain(data_type: &DataType) -> DataType {
    let item = |f: &Arc<Field>| Arc::new(f.as_ref().clone().with_data_type(plain(f.data_type())));
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        DataType::Float16 => DataType::Float32,
        DataType::List(f) | DataType::ListView(f) => DataType::List(item(f)),
        DataType::LargeList(f) | DataType::LargeListView(f) => DataType::List(item(f)),
        DataType::FixedSizeList(f, _) => DataType::List(item(f)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        other => other.clone(),
    }
}

/// Run-ended and dictionary columns have their nulls in the values; they are cast to plain columns.
fn plain_column(column: &ArrayRef, plain: &DataType) -> Result<ArrayRef> {
    if column.data_type() == plain {
        return Ok(column.clone());
    }
    match column.data_type() {
        DataType::RunEndEncoded(..) => {
            let rows = (0..column.len()).map(|row| {
                datafusion::common::ScalarValue::try_from_array(column, row).map(|value| match value {
                    datafusion::common::ScalarValue::RunEndEncoded(_, _, value) => *value,
                    value => value,
                })
            });
            let values = datafusion::common::ScalarValue::iter_to_array(rows.collect::<Result<Vec<_>, _>>()?)?;
            plain_column(&values, plain)
        }
        DataType::Struct(_) => {
            let fields = match plain {
                DataType::Struct(fields) => fields.clone(),
                other => return Err(Error::internal(format!("a record cannot go out as {other}"))),
            };
            let columns = column.as_struct().columns().iter().zip(&fields);
            let columns = columns.map(|(c, f)| plain_column(c, f.data_type())).collect::<Result<Vec<_>>>()?;
            let nulls = column.nulls().cloned();
            Ok(Arc::new(arrow::array::StructArray::try_new(fields, columns, nulls)?))
        }
        _ => Ok(cast(column, plain)?),
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{DictionaryArray, Int32Array, IntervalMonthDayNanoArray, StringArray},
        datatypes::Int8Type,
    };

    use super::*;

    fn encoded(column: ArrayRef, format: i16) -> Vec<u8> {
        let schema = Arc::new(Schema::new(vec![Field::new("c", column.data_type().clone(), true)]));
        let batch = RecordBatch::try_new(schema.clone(), vec![column]).expect("a batch");
        let format = RowFormat::new(&schema, &[format], "UTC".parse().expect("UTC")).expect("a format");
        format.rows(&batch).expect("rows").to_vec()
    }

    #[test]
    fn row_is_encoded_as_one_data_row() {
        assert_eq!(
            encoded(Arc::new(Int32Array::from(vec![Some(7), None])), 0),
            b"D\0\0\0\x0b\0\x01\0\0\0\x017D\0\0\0\x0a\0\x01\xff\xff\xff\xff"
        );
        assert_eq!(encoded(Arc::new(Int32Array::from(vec![7])), 1), b"D\0\0\0\x0e\0\x01\0\0\0\x04\0\0\0\x07");
    }

    #[test]
    fn dictionary_is_encoded_as_its_values_and_nulls() {
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let keys = arrow::array::Int8Array::from(vec![Some(0), Some(1)]);
        let dictionary = DictionaryArray::<Int8Type>::new(keys, values);
        assert_eq!(encoded(Arc::new(dictionary), 1), b"D\0\0\0\x0b\0\x01\0\0\0\x01aD\0\0\0\x0a\0\x01\xff\xff\xff\xff");
        let interval = IntervalMonthDayNanoArray::from(vec![None]);
        assert_eq!(encoded(Arc::new(interval), 1), b"D\0\0\0\x0a\0\x01\xff\xff\xff\xff");
    }
}
