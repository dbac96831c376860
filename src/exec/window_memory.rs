//! Window functions that need all rows of a partition at once buffer their whole input, which DataFusion does not
//! count: here it is reserved from the memory pool batch by batch, and released at the end of the query.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::tree_node::Transformed,
    error::Result as DfResult,
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_plan::{RecordBatchStream, windows::WindowAggExec},
};
use futures::{Stream, StreamExt};

use super::{
    Plan,
    node_rule::{Rule, node_rule, with_inputs},
    pass_through::{PassThrough, around},
};
use crate::changes::bytes_of;

/// Copies of each input row in memory: its own batch, and the concatenation of all batches.
const TIMES: usize = 2;

/// Puts a counting node below each such function. Comes after all rules that change the shape of a plan.
pub(super) fn count_windows() -> Rule {
    node_rule("count_windows", |plan| {
        if plan.downcast_ref::<WindowAggExec>().is_none() {
            return Ok(Transformed::no(plan));
        }
        Ok(Transformed::yes(with_inputs(plan, |_, input| around(input, Accounted))?))
    })
}

/// Reserves memory for the rows of its input for as long as it runs.
#[derive(Debug, Clone)]
struct Accounted;

impl PassThrough for Accounted {
    const NAME: &'static str = "CountedExec";

    fn stream(&self, input: &Plan, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let held = MemoryConsumer::new("the rows of a window function").register(context.memory_pool());
        Ok(Box::pin(AccountedRows { input: input.execute(partition, context)?, held }))
    }
}

struct AccountedRows {
    input: SendableRecordBatchStream,
    held: MemoryReservation,
}

impl Stream for AccountedRows {
    type Item = DfResult<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let batch = match ready!(this.input.poll_next_unpin(context)) {
            Some(Ok(batch)) => batch,
            end => return Poll::Ready(end),
        };
        let counted = this.held.try_grow(bytes_of(&batch).saturating_mul(TIMES));
        Poll::Ready(Some(counted.map(|()| batch)))
    }
}

impl RecordBatchStream for AccountedRows {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
