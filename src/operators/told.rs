//! Rows as they are told to people: where they go that did not make it into an answer.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray},
    datatypes::{DataType, Field, Schema},
    json::{
        LineDelimitedWriter,
        writer::{EncoderOptions, make_encoder},
    },
    util::display::{ArrayFormatter, FormatOptions},
};

use crate::error::Result;

/// A line of JSON for each row. What JSON has no word for, such as an interval, is text: a row that is only told of
/// must not stop a query.
pub fn as_json(rows: &RecordBatch) -> Result<String> {
    let options = EncoderOptions::default();
    let (mut fields, mut columns): (Vec<_>, Vec<ArrayRef>) = Default::default();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if make_encoder(field, column, &options).is_ok() {
            fields.push(field.clone());
            columns.push(column.clone());
        } else {
            let formatter = ArrayFormatter::try_new(column, &FormatOptions::default())?;
            let text = |row| column.is_valid(row).then(|| formatter.value(row).to_string());
            fields.push(Field::new(field.name(), DataType::Utf8, true).into());
            columns.push(Arc::new((0..column.len()).map(text).collect::<StringArray>()));
        }
    }
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let rows = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &count)?;
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(&rows)?;
    writer.finish()?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_any_type_can_be_told() {
        use arrow::{array::IntervalMonthDayNanoArray, datatypes::IntervalMonthDayNano};
        let intervals = vec![Some(IntervalMonthDayNano::new(1, 2, 0)), None];
        let columns: Vec<(_, ArrayRef)> = vec![
            ("text", Arc::new(StringArray::from(vec!["a\nb", "c"]))),
            ("span", Arc::new(IntervalMonthDayNanoArray::from(intervals))),
        ];
        let text = as_json(&RecordBatch::try_from_iter(columns).unwrap()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines, [r#"{"text":"a\nb","span":"1 mons 2 days"}"#, r#"{"text":"c"}"#]);
    }
}
