//! The physical plan of a client's statement.

use datafusion::{
    error::Result as DfResult,
    execution::{SessionState, SessionStateBuilder},
    logical_expr::LogicalPlan,
    prelude::SessionContext,
};

use crate::{
    error::Result,
    exec::{self, Aside, Plan},
    sql::{batch_rows::batch_rows, plan::of_optimizer},
};

/// The physical plan of a query.
pub(super) async fn physical(context: &SessionContext, plan: LogicalPlan) -> Result<Plan> {
    // On the heap: the state of a session is large.
    let planning = Box::pin(async {
        let mut state = context.state();
        let optimized = state.optimize(&plan)?;
        let most = state.config().batch_size();
        let rows = batch_rows(&optimized, most)?;
        *state.config_mut() = state.config().clone().with_batch_size(rows);
        if rows < most {
            // Round robin buffers without bound what one of its readers has not taken: of wide rows, all the memory of
            // queries. Without it a query runs on as many threads as its inputs have partitions.
            state.config_mut().options_mut().optimizer.enable_round_robin_repartition = false;
        }
        let planned = match state.query_planner().create_physical_plan(&optimized, &state).await {
            // Optimizer rules may contradict each other: planned again with the fewest rules. If that fails too, this
            // error counts.
            Err(error) => {
                tracing::debug!(%error, "a query is planned plainly");
                Box::pin(plainly(state, &optimized)).await.map_err(|_| error)
            }
            planned => planned,
        };
        planned.map(|plan| if rows < most { exec::in_batches(plan, rows) } else { plan })
    });
    let aside = Aside::of(&context.copied_config());
    exec::planned(aside, &plan, planning).await.map_err(of_optimizer)
}

/// Plans a query with the fewest rules and one partition: slower, but without what the other rules assume.
async fn plainly(state: SessionState, plan: &LogicalPlan) -> DfResult<Plan> {
    let config = state.config().clone().with_target_partitions(1);
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_physical_optimizer_rules(exec::fewest_query_rules())
        .build();
    state.query_planner().create_physical_plan(plan, &state).await
}
