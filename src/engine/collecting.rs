//! Runs the plan of a writing statement.

use datafusion::{logical_expr::LogicalPlan, physical_plan::execute_stream, prelude::SessionContext};

use super::{collected::Collected, physical::physical};
use crate::{error::Result, sql::plan::Planner};

/// The rows that a statement inserts, or selects to change.
pub(super) async fn collect_written(context: &SessionContext, plan: LogicalPlan) -> Result<Collected> {
    Box::pin(collect(context, Planner::normalized(context, plan)?)).await
}

pub(super) async fn collect(context: &SessionContext, plan: LogicalPlan) -> Result<Collected> {
    let rows = execute_stream(physical(context, plan).await?, context.task_ctx())?;
    Collected::of(rows, &context.runtime_env().memory_pool).await
}
