//! LATERAL joins without the extra columns through which their correlated predicates were pulled up. DataFusion leaves
//! these in the join that it makes, and a join above, which counts columns by position, confuses them. A LATERAL with
//! no outer reference left, since its predicate is false, becomes a plain relation; DataFusion does not rewrite it.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TreeNodeRecursion},
    error::Result as DfResult,
    logical_expr::{Expr, Join, LogicalPlan, Projection, SubqueryAlias},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule, decorrelate_lateral_join::DecorrelateLateralJoin},
};

/// DataFusion's rule, with the output columns of the original join.
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
        let plan = match plan {
            LogicalPlan::Join(join) => match plain(&join.right)? {
                Some(right) => {
                    return Ok(Transformed::yes(LogicalPlan::Join(Join { right: Arc::new(right), ..join })));
                }
                None => LogicalPlan::Join(join),
            },
            other => return Ok(Transformed::no(other)),
        };
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

/// The relation of a LATERAL without outer references; `None` for others.
fn plain(lateral: &LogicalPlan) -> DfResult<Option<LogicalPlan>> {
    match lateral {
        LogicalPlan::Subquery(subquery) => {
            let reads = subquery.subquery.apply_with_subqueries(|plan| {
                Ok(match plan.contains_outer_reference() {
                    true => TreeNodeRecursion::Stop,
                    false => TreeNodeRecursion::Continue,
                })
            })?;
            let reads_nothing = reads == TreeNodeRecursion::Continue;
            Ok(reads_nothing.then(|| subquery.subquery.as_ref().clone()))
        }
        LogicalPlan::SubqueryAlias(alias) => plain(&alias.input)?
            .map(|input| Ok(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.alias.clone())?)))
            .transpose(),
        _ => Ok(None),
    }
}
