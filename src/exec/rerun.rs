//! Plans that are run many times: resets the state that a run leaves in the nodes.

use std::sync::Arc;

use arrow::{array::RecordBatch, compute::concat_batches};
use datafusion::{
    error::Result as DfResult,
    execution::TaskContext,
    physical_plan::{
        collect,
        execution_plan::reset_plan_states,
        joins::{HashJoinExec, HashJoinExecBuilder},
        replace_children_if_necessary,
    },
};

use super::{Plan, leaf::GroupInput, offload::wait_for};
use crate::{error::Result, sync::locked};

/// A plan that an operator runs over stored rows.
#[derive(Debug, Clone)]
pub struct RerunnablePlan {
    plan: Plan,
    input: GroupInput,
    context: Arc<TaskContext>,
}

impl RerunnablePlan {
    /// The leaf of `plan` reads `input`.
    pub fn new(plan: Plan, input: GroupInput, context: Arc<TaskContext>) -> Self {
        RerunnablePlan { plan, input, context }
    }

    /// The plan's output for `rows`, which have the schema of its leaf. To be called on a thread that may block.
    pub fn run(&self, rows: RecordBatch) -> Result<RecordBatch> {
        *locked(&self.input) = Some(rows);
        let plan = reset_for_rerun(&self.plan)?;
        let run = collect(plan.clone(), self.context.clone());
        let batches = wait_for(async { Ok(run.await?) })?;
        Ok(concat_batches(&plan.schema(), &batches)?)
    }
}

/// The plan with the state of earlier runs reset, except the build sides of its hash joins: these are static, and no
/// join type in use marks matched build rows.
pub(super) fn reset_for_rerun(plan: &Plan) -> DfResult<Plan> {
    let children = plan.children().into_iter().map(reset_for_rerun).collect::<DfResult<Vec<_>>>()?;
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return HashJoinExecBuilder::from(join).with_new_children(children)?.build_exec();
    }
    match children.is_empty() {
        true => plan.clone().reset_state(),
        false => replace_children_if_necessary(plan.clone(), children)?.reset_state(),
    }
}

/// The plan as it was planned, with all state and metrics reset: a join's metrics grow with each run.
pub fn rebuild(plan: &Plan) -> Result<Plan> {
    Ok(reset_plan_states(plan.clone())?)
}
