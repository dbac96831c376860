//! LIMIT and OFFSET of a subquery, if they are literals.

use std::sync::Arc;

use datafusion::{
    error::Result as DfResult,
    logical_expr::{FetchType, Limit, LogicalPlan, Projection, SkipType},
};

/// The input of a LIMIT with literal counts, its offset and its row limit. Projections above it are kept.
pub(super) fn limited(plan: &LogicalPlan) -> DfResult<Option<(LogicalPlan, usize, Option<usize>)>> {
    match plan {
        LogicalPlan::Limit(limit) => {
            Ok(numbers(limit)?.map(|(skip, fetch)| (limit.input.as_ref().clone(), skip, fetch)))
        }
        LogicalPlan::Projection(projection) => {
            let Some((input, skip, fetch)) = limited(&projection.input)? else { return Ok(None) };
            let plan = Projection::try_new(projection.expr.clone(), Arc::new(input))?;
            Ok(Some((LogicalPlan::Projection(plan), skip, fetch)))
        }
        _ => Ok(None),
    }
}

/// The offset and the row limit of a LIMIT, if these are literals.
pub(super) fn numbers(limit: &Limit) -> DfResult<Option<(usize, Option<usize>)>> {
    match (limit.get_skip_type()?, limit.get_fetch_type()?) {
        (SkipType::Literal(skip), FetchType::Literal(fetch)) => Ok(Some((skip, fetch))),
        _ => Ok(None),
    }
}
