//! LATERAL joins without the columns that their conditions were pulled up by. DataFusion leaves these in the join that it
//! makes, and a join above it, which counts its columns by their places, takes one for another.

use std::sync::Arc;

use datafusion::{
    common::tree_node::Transformed,
    error::Result as DfResult,
    logical_expr::{Expr, LogicalPlan, Projection},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule, decorrelate_lateral_join::DecorrelateLateralJoin},
};

/// DataFusion's rule with the columns that the join had before.
#[derive(Debug, Default)]
pub(in crate::sql) struct LateralJoins(DecorrelateLateralJoin);

impl OptimizerRule for LateralJoins {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let schema = plan.schema().clone();
        let join = self.0.rewrite(plan, config)?;
        if !join.transformed || join.data.schema().fields().len() == schema.fields().len() {
            return Ok(join);
        }
        join.map_data(|join| {
            let columns = schema.columns().into_iter().map(Expr::Column).collect();
            Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, Arc::new(join), schema)?))
        })
    }
}
