//! LIMIT and OFFSET of a subquery, where they are numbers.

use std::sync::Arc;

use datafusion::{
    error::Result as DfResult,
    logical_expr::{FetchType, Limit, LogicalPlan, Projection, SkipType},
};

/// What a LIMIT with numbers is over, how many rows it leaves out and how many it lets through. Projections above it stay.
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

/// How many rows a LIMIT leaves out and how many it lets through, where these are numbers.
pub(super) fn numbers(limit: &Limit) -> DfResult<Option<(usize, Option<usize>)>> {
    match (limit.get_skip_type()?, limit.get_fetch_type()?) {
        (SkipType::Literal(skip), FetchType::Literal(fetch)) => Ok(Some((skip, fetch))),
        _ => Ok(None),
    }
}
