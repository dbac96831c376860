//! What a statement gives: told before it is run, and given when it was.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;

use super::copy_target::CopyInTarget;
use crate::sql::statement::CopyFormat;

/// What a statement will take and give, before it is run: the answer to Describe.
#[derive(Debug, Clone)]
pub struct Description {
    /// The types of `$1`, `$2`, …
    pub parameters: Vec<DataType>,
    /// The columns of its rows; `None` where it gives none.
    pub columns: Option<SchemaRef>,
}

/// What a statement gave.
pub enum Reply {
    /// The command tag: `CREATE SOURCE`, `INSERT 0 3`.
    Done(String),
    /// Rows as they are computed, and the word of the tag that ends them (`SELECT`, `SHOW`, `EXPLAIN`, `FETCH`).
    Rows { tag: &'static str, rows: SendableRecordBatchStream },
    /// The client may now send rows.
    CopyIn(CopyInTarget),
    /// Rows that go out in COPY's form.
    CopyOut { format: CopyFormat, rows: SendableRecordBatchStream },
    /// The changes of a relation as they come, without an end; in COPY's form, if so wished.
    Live { rows: SendableRecordBatchStream, copy: Option<CopyFormat> },
}
