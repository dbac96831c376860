//! Accounts for the memory of window functions that buffer a whole partition, which DataFusion does not: it is reserved
//! in the memory pool batch by batch until the query ends.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::PhysicalExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, RecordBatchStream, replace_children_if_necessary,
        windows::WindowAggExec,
    },
};
use futures::{Stream, StreamExt};

use crate::changes::bytes_of;

/// Copies of an input row: as it came, and concatenated.
const TIMES: usize = 2;

type PhysicalRules = Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>>;

/// Adds the rule of this file after all that change the shape of a plan.
pub(super) fn counted(mut rules: PhysicalRules) -> PhysicalRules {
    rules.push(Arc::new(CountWindows));
    rules
}

#[derive(Debug)]
struct CountWindows;

impl PhysicalOptimizerRule for CountWindows {
    fn name(&self) -> &str {
        "count_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            if plan.downcast_ref::<WindowAggExec>().is_none() {
                return Ok(Transformed::no(plan));
            }
            let children =
                plan.children().into_iter().map(|child| Arc::new(AccountedExec(child.clone())) as _).collect();
            Ok(Transformed::yes(replace_children_if_necessary(plan, children)?))
        })
        .data()
    }
}

/// Reserves the memory of its input's rows while it runs.
#[derive(Debug)]
struct AccountedExec(Arc<dyn ExecutionPlan>);

impl DisplayAs for AccountedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountedExec")
    }
}

impl ExecutionPlan for AccountedExec {
    fn name(&self) -> &str {
        "CountedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(AccountedExec(children.pop().unwrap_or_else(|| self.0.clone()))))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let held = MemoryConsumer::new("the rows of a window function").register(context.memory_pool());
        Ok(Box::pin(AccountedRows { input: self.0.execute(partition, context)?, held }))
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
