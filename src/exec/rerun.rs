//! Plans that are run again and again: what a run leaves in a plan, taken out of it.

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

/// A plan that an operator runs over rows of its own.
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

    /// What it makes of some rows, which have the columns of its leaf. It is to be called on a thread that may block.
    pub fn run(&self, rows: RecordBatch) -> Result<RecordBatch> {
        *locked(&self.input) = Some(rows);
        let plan = reset_for_rerun(&self.plan)?;
        let run = collect(plan.clone(), self.context.clone());
        let batches = wait_for(async { Ok(run.await?) })?;
        Ok(concat_batches(&plan.schema(), &batches)?)
    }
}

/// A plan that can be run again: nothing is left in it of earlier runs, but what its joins have made of their build
/// side. That side is fixed, and none of our joins marks in it what was found.
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

/// A plan as it was planned. A join that is run again and again counts each run: now and then it is to begin anew.
pub fn rebuild(plan: &Plan) -> Result<Plan> {
    Ok(reset_plan_states(plan.clone())?)
}
