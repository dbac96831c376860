//! Columns whose values stand in the names of folders: `year=2024/month=3/`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{Schema, SchemaRef},
};
use datafusion::common::ScalarValue;

use super::log::{NULL_FOLDER, unescape};
use crate::{
    formats::{Damage, Request},
    time::{out_of_range, rows_out_of_range},
};

/// Adds the partition columns of a file's path to its rows.
#[derive(Debug)]
pub(super) struct Hive {
    /// The request for the columns in the file.
    pub stored: Request,
    /// Per output column: its value from the path; `None` if it is in the file.
    values: Vec<Option<Option<String>>>,
}

impl Hive {
    /// `None` if the path names none of the declared columns.
    pub fn of(path: &str, request: &Request) -> Option<Hive> {
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        let named: Vec<_> = folders
            .split('/')
            .filter_map(|part| part.split_once('='))
            .map(|(name, value)| (unescape(name), (value != NULL_FOLDER).then(|| unescape(value))))
            .collect();
        let value = |i: usize| {
            let name = request.schema.field(i).name();
            named.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
        };
        let all = 0..request.schema.fields().len();
        if named.is_empty() || all.clone().all(|i| value(i).is_none()) {
            return None;
        }
        let stored: Vec<usize> = all.filter(|i| value(*i).is_none()).collect();
        let fields: Vec<_> = stored.iter().map(|i| request.schema.fields()[*i].clone()).collect();
        let place = |i: &usize| stored.iter().position(|s| s == i);
        let stored_request = Request {
            schema: Arc::new(Schema::new(fields)),
            projection: request.projection.iter().filter_map(place).collect(),
            batch_rows: request.batch_rows,
        };
        Some(Hive { stored: stored_request, values: request.projection.iter().map(|i| value(*i)).collect() })
    }

    /// The output rows.
    pub fn complete(&self, stored: &RecordBatch, output: &SchemaRef) -> Result<RecordBatch, Damage> {
        let rows = stored.num_rows();
        let mut read = stored.columns().iter().cloned();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.values.len());
        for (value, field) in self.values.iter().zip(output.fields()) {
            let Some(value) = value else {
                columns.extend(read.next());
                continue;
            };
            let text: ArrayRef = Arc::new(StringArray::from(vec![value.as_deref()]));
            let options = CastOptions { safe: false, ..CastOptions::default() };
            let one = cast_with_options(&text, field.data_type(), &options)?;
            if !rows_out_of_range(&one).is_empty() {
                return Err(Damage(format!("{} in the name of its folder", out_of_range(field.data_type()))));
            }
            columns.push(ScalarValue::try_from_array(&one, 0)?.to_array_of_size(rows)?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(output.clone(), columns, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{AsArray, Int32Array},
        datatypes::{DataType, Field, Int32Type},
    };

    use super::*;

    fn request(projection: &[usize]) -> Request {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let fields = vec![field("y", DataType::Int32), field("v", DataType::Int32), field("p q", DataType::Utf8)];
        Request { schema: Arc::new(Schema::new(fields)), projection: projection.to_vec(), batch_rows: 10 }
    }

    #[test]
    fn hive_partition_columns_are_read_from_the_path() {
        for path in ["f.csv", "z=1/f.csv", "y=2024", "a/b/y/f"] {
            assert!(Hive::of(path, &request(&[0, 1])).is_none(), "{path}");
        }
        let request = request(&[2, 1, 0]);
        let hive = Hive::of("y=2024/p%20q=__HIVE_DEFAULT_PARTITION__/z=/f", &request).unwrap();
        assert_eq!(hive.stored.schema.fields().len(), 1);
        assert_eq!(hive.stored.projection, [0]);
        let column: ArrayRef = Arc::new(Int32Array::from(vec![7, 8]));
        let stored = RecordBatch::try_new(hive.stored.output(), vec![column]).unwrap();
        let rows = hive.complete(&stored, &request.output()).unwrap();
        assert_eq!(rows.column(0).null_count(), 2);
        assert_eq!(rows.column(1).as_primitive::<Int32Type>().values(), &[7, 8]);
        assert_eq!(rows.column(2).as_primitive::<Int32Type>().values(), &[2024, 2024]);
        let hive = Hive::of("y=x/f", &request).unwrap();
        let stored = RecordBatch::new_empty(hive.stored.output());
        assert!(hive.complete(&stored, &request.output()).is_err());
    }
}
