//! Nodes that pass on the rows of their one input: columns and partitions are the input's.

use std::{fmt, sync::Arc};

use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::Result as DfResult,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, Statistics,
        statistics::{ChildStats, StatisticsArgs},
    },
};

use super::Plan;

/// How such a node transforms the stream of its input.
pub(super) trait PassThrough: fmt::Debug + Clone + Send + Sync + 'static {
    const NAME: &'static str;

    /// Whether the node declares the ordering and constants of its input.
    const KEEPS_ORDER: bool = true;

    /// The line of `EXPLAIN`.
    fn label(&self) -> &'static str {
        Self::NAME
    }

    /// The rows of a partition of the input.
    fn stream(&self, input: &Plan, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream>;
}

#[derive(Debug)]
struct PassThroughExec<P> {
    with: P,
    input: Plan,
    properties: Arc<PlanProperties>,
}

/// A node around `input`.
pub(super) fn around<P: PassThrough>(input: Plan, with: P) -> Plan {
    let properties = match P::KEEPS_ORDER {
        true => input.properties().clone(),
        false => {
            let PlanProperties { partitioning, emission_type, boundedness, .. } = input.properties().as_ref();
            let unknown = EquivalenceProperties::new(input.schema());
            Arc::new(PlanProperties::new(unknown, partitioning.clone(), *emission_type, *boundedness))
        }
    };
    Arc::new(PassThroughExec { with, input, properties })
}

impl<P: PassThrough> DisplayAs for PassThroughExec<P> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.with.label())
    }
}

impl<P: PassThrough> ExecutionPlan for PassThroughExec<P> {
    fn name(&self) -> &str {
        P::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![P::KEEPS_ORDER]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> DfResult<Arc<Statistics>> {
        Ok(inputs.first().cloned().unwrap_or_else(|| Arc::new(Statistics::new_unknown(&self.input.schema()))))
    }

    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Plan>) -> DfResult<Plan> {
        Ok(around(children.pop().unwrap_or_else(|| self.input.clone()), self.with.clone()))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        self.with.stream(&self.input, partition, context)
    }
}
