//! `COPY … FROM STDIN`: rows collected until the client has sent all.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use datafusion::common::ScalarValue;

use super::{
    collected::Collected,
    tables::{OnConflict, WritableTable},
};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::statement::CopyFormat,
};

/// An open `COPY … FROM STDIN`: all of its rows become durable at [`CopyInTarget::finish`], or none of them.
pub struct CopyInTarget {
    pub format: CopyFormat,
    /// The columns of the client's rows, in its order.
    pub columns: SchemaRef,
    table: Arc<WritableTable>,
    /// Per client column its table position, and the values of the other table columns.
    at: Vec<usize>,
    fills: Vec<ScalarValue>,
    rows: Collected,
    bytes: u64,
    bytes_max: u64,
}

impl CopyInTarget {
    pub(super) fn new(
        format: CopyFormat,
        columns: SchemaRef,
        table: Arc<WritableTable>,
        (at, fills): (Vec<usize>, Vec<ScalarValue>),
        (rows, bytes_max): (Collected, u64),
    ) -> Self {
        CopyInTarget { format, columns, table, at, fills, rows, bytes: 0, bytes_max }
    }

    /// Rows in `columns`' schema.
    pub async fn push(&mut self, rows: RecordBatch) -> Result<()> {
        self.bytes += rows.get_array_memory_size() as u64;
        if self.bytes > self.bytes_max {
            let message = format!("COPY holds more than {} bytes of rows", self.bytes_max);
            return Err(Error::new(ErrorKind::LimitExceeded, message)
                .hint("Send the rows in several COPY statements, or raise query.copy_limit."));
        }
        self.rows.push(widened(&rows, &self.at, &self.fills, &self.table.columns)?)
    }

    /// Inserts all rows; gives their number.
    pub async fn finish(self) -> Result<u64> {
        self.table.insert(&self.rows.rows, &OnConflict::Fail).await
    }
}

/// The client's rows in the schema of the table; `at` has the table position of each client column, `fills` the values
/// of the others.
fn widened(rows: &RecordBatch, at: &[usize], fills: &[ScalarValue], table: &SchemaRef) -> Result<RecordBatch> {
    let column = |(n, fill): (usize, &ScalarValue)| match at.iter().position(|a| *a == n) {
        Some(from) => Ok(rows.column(from).clone()),
        None => fill.to_array_of_size(rows.num_rows()),
    };
    let columns = fills.iter().enumerate().map(column).collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(Arc::new(nullable(table)), columns)?)
}

pub(super) fn nullable(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect::<Vec<_>>())
}
