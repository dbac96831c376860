//! Plans that are run again and again: what a run leaves in a plan, taken out of it.

use std::sync::Arc;

use datafusion::{
    error::Result as DfResult,
    physical_plan::{
        ExecutionPlan,
        execution_plan::reset_plan_states,
        joins::{HashJoinExec, HashJoinExecBuilder},
        replace_children_if_necessary,
    },
};

use crate::error::Result;

/// A plan that can be run again: nothing is left in it of earlier runs, but what its joins have made of their build
/// side. That side is fixed, and none of our joins marks in it what was found.
pub(super) fn reset_for_rerun(plan: &Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
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
pub fn rebuild(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(reset_plan_states(plan.clone())?)
}
