//! Top-N detection: `ORDER BY … LIMIT n`, and filters that bound `row_number`, `rank` or `dense_rank`.

use datafusion::{
    common::DFSchema,
    logical_expr::{
        BinaryExpr, Expr, FetchType, Filter, Limit, LogicalPlan, Operator, SkipType, Sort, SortExpr, Window,
        expr::WindowFunction, utils::split_conjunction,
    },
    scalar::ScalarValue,
};

use super::window::window_function;
use crate::{
    error::Result,
    state::{RankKind, TopN},
};

/// Which first rows matter, and the order.
pub(super) type Firsts = (TopN, Vec<SortExpr>);

/// The top N of `ORDER BY … LIMIT n OFFSET m`.
pub(super) fn of_limit(limit: &Limit, sort: Option<&Sort>) -> Result<Option<Firsts>> {
    let (SkipType::Literal(skip), FetchType::Literal(Some(fetch))) = (limit.get_skip_type()?, limit.get_fetch_type()?)
    else {
        return Ok(None);
    };
    let most = i64::try_from(skip.saturating_add(fetch)).unwrap_or(i64::MAX);
    let order = sort.map_or_else(Vec::new, |sort| sort.expr.clone());
    Ok(Some((TopN { most, counted: RankKind::RowNumber }, order)).filter(|(_, order)| can_be_kept(order)))
}

/// The top N of a window below filters, if all its functions rank the groups of `keys` in one order. `above` are the
/// nodes over it, outermost first.
pub(super) fn of_filters(window: &Window, keys: &[Expr], above: &[&LogicalPlan]) -> Result<Option<Firsts>> {
    let functions = window.window_expr.iter().map(window_function).collect::<Result<Vec<_>>>()?;
    let Some(order) = functions.first().map(|function| &function.params.order_by) else { return Ok(None) };
    let alike = |function: &&WindowFunction| {
        let by = &function.params.partition_by;
        by.iter().all(|key| keys.contains(key)) && function.params.order_by == *order
    };
    let counted: Option<Vec<RankKind>> = functions.iter().filter(|f| alike(f)).map(|f| counted(f)).collect();
    let Some(counted) = counted.filter(|counted| counted.len() == functions.len() && can_be_kept(order)) else {
        return Ok(None);
    };
    // Per column: the ranking function it holds.
    let own = window.input.schema().fields().len();
    let mut columns: Vec<Option<RankKind>> = vec![None; own];
    columns.extend(counted.iter().copied().map(Some));
    let mut firsts: Vec<TopN> = Vec::new();
    for node in above.iter().rev() {
        match node {
            LogicalPlan::Filter(Filter { predicate, input, .. }) => {
                let bounds = split_conjunction(predicate).into_iter().filter_map(|part| {
                    let (column, most) = bound(part, input.schema())?;
                    Some(TopN { most, counted: columns[column]? })
                });
                firsts.extend(bounds);
            }
            LogicalPlan::Projection(projection) => {
                let from = |expr: &Expr| {
                    let Expr::Column(column) = unaliased(expr) else { return None };
                    columns[projection.input.schema().index_of_column(column).ok()?]
                };
                columns = projection.expr.iter().map(from).collect();
            }
            LogicalPlan::SubqueryAlias(_) => {}
            // Other nodes: unknown.
            _ => return Ok(None),
        }
    }
    let first = firsts.into_iter().min_by_key(|first| (first.most, first.counted));
    Ok(first.map(|first| (first, order.clone())))
}

fn counted(function: &WindowFunction) -> Option<RankKind> {
    match function.fun.name() {
        "row_number" => Some(RankKind::RowNumber),
        "rank" => Some(RankKind::Rank),
        "dense_rank" => Some(RankKind::DenseRank),
        _ => None,
    }
}

/// Whether stored rows can be kept in an order.
fn can_be_kept(order: &[SortExpr]) -> bool {
    order.iter().all(|by| !by.expr.is_volatile())
}

fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The column that a condition bounds from above, and the greatest integer it allows.
fn bound(condition: &Expr, schema: &DFSchema) -> Option<(usize, i64)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
    let (column, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _)) => (column, *op, value),
        (Expr::Literal(value, _), Expr::Column(column)) => (column, op.swap()?, value),
        _ => return None,
    };
    let value = whole(value)?;
    let most = match op {
        Operator::Lt => value.saturating_sub(1),
        Operator::LtEq | Operator::Eq => value,
        _ => return None,
    };
    Some((schema.index_of_column(column).ok()?, most))
}

fn whole(value: &ScalarValue) -> Option<i64> {
    let is_whole = value.data_type().is_integer() && !value.is_null();
    match value.cast_to(&arrow::datatypes::DataType::Int64).ok().filter(|_| is_whole)? {
        ScalarValue::Int64(value) => value,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{SessionContext, lit};

    use super::*;

    /// The first rows that the outermost filter over a window asks for.
    async fn first(condition: &str) -> Option<(i64, RankKind)> {
        let context = SessionContext::new();
        let numbers = "SELECT *, row_number() OVER w AS n, rank() OVER w AS r, dense_rank() OVER w AS d \
                       FROM (VALUES (1, 2)) t (k, v) WINDOW w AS (PARTITION BY k ORDER BY v)";
        let sql = format!("SELECT v, r + 1 AS more FROM ({numbers}) AS q WHERE {condition}");
        let plan = context.state().create_logical_plan(&sql).await.expect("planned");
        let plan = context.state().optimize(&plan).expect("optimized");
        let (mut above, mut at) = (Vec::new(), &plan);
        let window = loop {
            match at {
                LogicalPlan::Window(window) => break window,
                other => above.push(other),
            }
            at = at.inputs().first().copied().expect("a window is below");
        };
        let keys = [window_function(&window.window_expr[0]).expect("a function").params.partition_by[0].clone()];
        let of = of_filters(window, &keys, &above).expect("decided");
        assert_eq!(of_filters(window, &[lit(1)], &above).expect("decided"), None, "groups are not the partitions");
        of.map(|(first, order)| {
            assert_eq!(order.len(), 1);
            (first.most, first.counted)
        })
    }

    #[tokio::test]
    async fn top_n_filter_gives_the_last_rank() {
        for (condition, expected) in [
            ("n <= 3", Some((3, RankKind::RowNumber))),
            ("r < 3 AND v > 1", Some((2, RankKind::Rank))),
            ("3 >= d", Some((3, RankKind::DenseRank))),
            ("n = 1", Some((1, RankKind::RowNumber))),
            ("n BETWEEN 2 AND 4", Some((4, RankKind::RowNumber))),
            ("n < 9 AND r <= 2 AND d <= 2", Some((2, RankKind::Rank))),
            ("n > 3", None),
            ("n <= 3 OR v = 1", None),
            ("n <> 3", None),
            ("v <= 3", None),
        ] {
            assert_eq!(first(condition).await, expected, "{condition}");
        }
    }
}
