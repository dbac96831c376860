//! Rejected rows (dead letters, late rows) as JSON.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, timezone::Tz},
    datatypes::{DataType, Field, Schema},
    json::{
        LineDelimitedWriter,
        writer::{EncoderOptions, make_encoder},
    },
    util::display::{ArrayFormatter, FormatOptions},
};

use crate::{error::Result, time::show};

/// One line of JSON per row. Types without a JSON form, such as intervals, become text, since reporting a row must not
/// fail a query.
pub fn as_json(rows: &RecordBatch) -> Result<String> {
    encoded(rows, has_time_beyond_json(rows)?)
}

/// Whether there is a timestamp after the year 262143, which Arrow's JSON writer cannot write.
fn has_time_beyond_json(rows: &RecordBatch) -> Result<bool> {
    let options = FormatOptions::default().with_display_error(false);
    for column in rows.columns().iter().filter(|column| is_moment(column.data_type())) {
        let formatter = ArrayFormatter::try_new(column, &options)?;
        if (0..column.len()).any(|row| formatter.value(row).try_to_string().is_err()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn encoded(rows: &RecordBatch, times_as_text: bool) -> Result<String> {
    let options = EncoderOptions::default();
    let (mut fields, mut columns): (Vec<_>, Vec<ArrayRef>) = Default::default();
    let zone: Tz = "+00:00".parse()?;
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        if times_as_text && is_moment(column.data_type()) {
            let text = |row| {
                let mut text = String::new();
                show(column, row, zone, &mut text);
                column.is_valid(row).then_some(text)
            };
            fields.push(Field::new(field.name(), DataType::Utf8, true).into());
            columns.push(Arc::new((0..column.len()).map(text).collect::<StringArray>()));
        } else if make_encoder(field, column, &options).is_ok() {
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

fn is_moment(data_type: &DataType) -> bool {
    use DataType::*;
    matches!(data_type, Date32 | Date64 | Time32(_) | Time64(_) | Timestamp(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_with_an_interval_is_rendered_as_json() {
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

    #[test]
    fn timestamp_beyond_the_range_of_chrono_is_rendered_as_text() {
        use arrow::array::TimestampMicrosecondArray;
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(i64::MAX - 1), None, Some(0)]));
        let text = as_json(&RecordBatch::try_from_iter([("at", at)]).unwrap()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines, [r#"{"at":"294247-01-10 04:00:54.775806"}"#, "{}", r#"{"at":"1970-01-01 00:00:00"}"#]);
    }
}
