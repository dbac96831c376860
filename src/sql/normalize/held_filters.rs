//! Predicates that DataFusion must not push down. It pushes one below an aggregate if all its columns are group keys,
//! so also one without columns: but an aggregate without keys, ROLLUP, CUBE and GROUPING SETS return a row for empty
//! input. A volatile predicate is evaluated once per row, and the rows below are other ones.
//!
//! ```text
//! Filter random() < 0            Aggregate [count(*)]
//!   Aggregate [count(*)]    ─/▶    Filter random() < 0
//! ```

use std::sync::Arc;

use datafusion::{
    common::tree_node::Transformed,
    error::Result as DfResult,
    logical_expr::{
        Aggregate, Expr, Filter, LogicalPlan,
        utils::{conjunction, split_conjunction_owned},
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule, push_down_filter::PushDownFilter},
};

/// DataFusion's push-down, for all other predicates.
#[derive(Debug, Default)]
pub(in crate::sql) struct HeldFilters(PushDownFilter);

impl OptimizerRule for HeldFilters {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(Filter { mut predicate, mut input, .. }) = plan else {
            return self.0.rewrite(plan, config);
        };
        // DataFusion's rule would merge adjacent filters too, and push the result down at once.
        while let LogicalPlan::Filter(below) = input.as_ref() {
            predicate = below.predicate.clone().and(predicate);
            input = below.input.clone();
        }
        let parts = split_conjunction_owned(predicate.clone());
        let (held, moved): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| is_held(part, &input));
        let Some(held) = conjunction(held) else {
            return self.0.rewrite(LogicalPlan::Filter(Filter::try_new(predicate, input)?), config);
        };
        let Some(moved) = conjunction(moved) else {
            return Ok(Transformed::no(LogicalPlan::Filter(Filter::try_new(predicate, input)?)));
        };
        let below = self.0.rewrite(LogicalPlan::Filter(Filter::try_new(moved, input)?), config)?;
        below.map_data(|below| Ok(LogicalPlan::Filter(Filter::try_new(held, Arc::new(below))?)))
    }
}

fn is_held(part: &Expr, input: &LogicalPlan) -> bool {
    match input {
        LogicalPlan::Aggregate(aggregate) => part.is_volatile() || (is_of_none(aggregate) && !part.any_column_refs()),
        LogicalPlan::Window(_) | LogicalPlan::Distinct(_) => part.is_volatile(),
        _ => false,
    }
}

/// Whether an aggregate may return a row for empty input.
fn is_of_none(aggregate: &Aggregate) -> bool {
    let is_set = |key: &Expr| matches!(key, Expr::GroupingSet(_));
    aggregate.group_expr.is_empty() || aggregate.group_expr.iter().any(is_set)
}
