//! The description of a statement, and its reply.

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_plan::SendableRecordBatchStream;

use super::copy_target::CopyInTarget;
use crate::sql::statement::CopyFormat;

/// The parameters and columns of a statement: the answer to Describe.
#[derive(Debug, Clone)]
pub struct Description {
    /// The types of `$1`, `$2`, …
    pub parameters: Vec<DataType>,
    /// The columns of its rows; `None` if it returns none.
    pub columns: Option<SchemaRef>,
}

/// The reply of a statement.
pub enum Reply {
    /// The command tag: `CREATE SOURCE`, `INSERT 0 3`.
    Done(String),
    /// Rows as they are computed, and the first word of the command tag (`SELECT`, `SHOW`, `EXPLAIN`, `FETCH`).
    Rows { tag: &'static str, rows: SendableRecordBatchStream },
    /// The client may now send rows.
    CopyIn(CopyInTarget),
    /// `COPY … TO STDOUT`.
    CopyOut { format: CopyFormat, rows: SendableRecordBatchStream },
    /// An endless stream of changes (`SUBSCRIBE`); in COPY format if `copy` is given.
    Live { rows: SendableRecordBatchStream, copy: Option<CopyFormat> },
}
