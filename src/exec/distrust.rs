//! Removes orderings and constants that DataFusion claims for rows and that do not hold:
//!
//! - A column that is constant on one side of an outer join is NULL in unmatched rows; and a sort below a join may rely
//!   on a constant that is no longer known above it.
//! - Rows of GROUPING SETS have NULLs in the keys that their input was sorted by.
//! - Each part of a UNION may have one value in a column, but not the same value; a sort with a LIMIT compares it.
//! - An aggregation along an order cannot compare nested arrays as it needs to.
//! - Where `abs(a) = a` holds, rows sorted by one expression are not recognized as sorted by the other.

use std::sync::Arc;

use datafusion::{
    common::tree_node::Transformed,
    error::Result as DfResult,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{JoinType, Operator},
    physical_expr::{
        AcrossPartitions, PhysicalExpr,
        expressions::{BinaryExpr, Column, Literal},
        split_conjunction,
    },
    physical_plan::{
        ExecutionPlanProperties, InputOrderMode,
        aggregates::AggregateExec,
        filter::FilterExec,
        joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec, SymmetricHashJoinExec},
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};

use super::{
    Plan,
    node_rule::{Rule, node_rule, with_inputs},
    pass_through::{PassThrough, around},
};

/// Hides such orderings and constants from the nodes above. Has to come before all rules that rely on an order.
///
/// `inner_joins`: also below inner joins, where rules disagree about constants: for `SELECT 5 AS o`, joined and then
/// sorted by `o`, one rule removes the sort, and the next one reports it missing.
pub(super) fn distrust(inner_joins: bool) -> Rule {
    node_rule("distrust", move |plan| {
        let by_node = distrusted(&plan, inner_joins)?;
        let wrong = |(child, by_node): (&Plan, &bool)| {
            *by_node || is_of_sets(child) || differs_by_part(child) || equates_expressions(child)
        };
        let wrong: Vec<bool> = plan.children().into_iter().zip(&by_node).map(wrong).collect();
        if !wrong.contains(&true) {
            return Ok(Transformed::no(plan));
        }
        let unordered = |n: usize, input| if wrong[n] { around(input, Unordered) } else { input };
        Ok(Transformed::yes(with_inputs(plan, unordered)?))
    })
}

/// Per input of a node: whether its ordering is not to be relied on.
fn distrusted(plan: &Plan, inner_joins: bool) -> DfResult<Vec<bool>> {
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return Ok(vec![compares_arrays(aggregate)?]);
    }
    let of_join = join_type(plan)
        .is_some_and(|join| inner_joins || matches!(join, JoinType::Left | JoinType::Right | JoinType::Full));
    let constant = |child: &Plan| of_join && !child.equivalence_properties().constants().is_empty();
    Ok(plan.children().into_iter().map(constant).collect())
}

/// Fails for a plan with a window function that would not run: at execution it derives the order of its partitions
/// again, and may find that of an unrelated sort. Has to come after all rules that change an order.
pub(super) fn check_windows() -> Rule {
    node_rule("check_windows", |plan| {
        if let Some(window) = plan.downcast_ref::<WindowAggExec>() {
            window.partition_by_sort_keys()?;
        }
        if let Some(window) = plan.downcast_ref::<BoundedWindowAggExec>() {
            window.partition_by_sort_keys()?;
        }
        Ok(Transformed::no(plan))
    })
}

fn join_type(plan: &Plan) -> Option<JoinType> {
    let hash = plan.downcast_ref::<HashJoinExec>().map(|join| *join.join_type());
    let merge = plan.downcast_ref::<SortMergeJoinExec>().map(|join| join.join_type());
    let looped = plan.downcast_ref::<NestedLoopJoinExec>().map(|join| *join.join_type());
    let symmetric = plan.downcast_ref::<SymmetricHashJoinExec>().map(|join| *join.join_type());
    hash.or(merge).or(looped).or(symmetric)
}

/// Whether rows are the direct output of an aggregation with GROUPING SETS, ROLLUP or CUBE.
fn is_of_sets(plan: &Plan) -> bool {
    plan.downcast_ref::<AggregateExec>().is_some_and(|aggregate| !aggregate.group_expr().is_single())
}

/// Whether a column has one value in each partition, but not the same in all.
fn differs_by_part(plan: &Plan) -> bool {
    let constants = plan.equivalence_properties().constants();
    constants.iter().any(|constant| matches!(constant.across_partitions, AcrossPartitions::Heterogeneous))
}

/// Whether a filter lets only those rows through for which some expression equals another, or a column.
fn equates_expressions(plan: &Plan) -> bool {
    let Some(filter) = plan.downcast_ref::<FilterExec>() else { return false };
    let equates = |condition: &Arc<dyn PhysicalExpr>| {
        let Some(binary) = condition.downcast_ref::<BinaryExpr>().filter(|b| *b.op() == Operator::Eq) else {
            return false;
        };
        let sides = [binary.left(), binary.right()];
        let constant = sides.iter().any(|side| side.downcast_ref::<Literal>().is_some());
        !constant && sides.iter().any(|side| side.downcast_ref::<Column>().is_none())
    };
    split_conjunction(filter.predicate()).into_iter().any(equates)
}

/// Whether an aggregation would rely on an order of arrays. Functions with an ORDER BY of their own need that order.
fn compares_arrays(aggregate: &AggregateExec) -> DfResult<bool> {
    let in_order = aggregate.aggr_expr().iter().any(|function| !function.order_bys().is_empty());
    if *aggregate.input_order_mode() == InputOrderMode::Linear || in_order {
        return Ok(false);
    }
    let schema = aggregate.input().schema();
    for (key, _) in aggregate.group_expr().expr() {
        if key.data_type(&schema)?.is_nested() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Passes its input's rows on and declares no ordering and no constants.
#[derive(Debug, Clone)]
struct Unordered;

impl PassThrough for Unordered {
    const NAME: &'static str = "UnorderedExec";
    const KEEPS_ORDER: bool = false;

    fn stream(&self, input: &Plan, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        input.execute(partition, context)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::{
        physical_expr::expressions::{binary, col, lit},
        physical_plan::empty::EmptyExec,
    };

    use super::*;

    #[test]
    fn unordered_input_has_its_columns_and_no_constants() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, false)]));
        let is_one = binary(col("a", &schema).unwrap(), Operator::Eq, lit(1i64), &schema).unwrap();
        let filter: Plan = Arc::new(FilterExec::try_new(is_one, Arc::new(EmptyExec::new(schema))).unwrap());
        assert!(!filter.equivalence_properties().constants().is_empty());
        let unordered = around(filter.clone(), Unordered);
        assert!(unordered.equivalence_properties().constants().is_empty());
        assert_eq!((unordered.schema(), unordered.name()), (filter.schema(), "UnorderedExec"));
    }
}
