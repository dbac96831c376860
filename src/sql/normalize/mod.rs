//! PostgreSQL semantics where DataFusion plans something else: rewrites of the logical plan of every query, batch or
//! standing, so that both mean the same.
//!
//! | rewrite | what it mends |
//! | --- | --- |
//! | `grouping_keys` | computed keys of GROUPING SETS, ROLLUP and CUBE |
//! | `repeats`, and a rule of the optimizer | repeated ORDER BY expressions |
//! | `row_counts` | `count(t.*)`, which counts the rows of an outer join with a match in `t` |
//! | `set_operations` | `INTERSECT ALL` and `EXCEPT ALL`, which work on multisets |
//! | `subqueries` | EXISTS, IN, ANY, ALL and scalar subqueries over aggregates, and in any clause |
//! | `ordering` | ORDER BY of a subquery, where a node above depends on it |
//! | `null_places` | NULLS FIRST and NULLS LAST of arrays, which have NULLs within |
//! | `ties` | rows that tie in the ORDER BY of an aggregate function |
//! | `floats`, a rule of the analyzer | -0 equals 0; NaNs are equal and greater than all else; NULLs within arrays |
//! | `numbers`, a rule of the analyzer | an operation on a decimal and a float |
//! | `empty_arms`, a rule of the optimizer | the columns of a UNION of which only one arm has rows |
//! | `held_filters`, a rule of the optimizer | predicates without columns over `count(*)`, and volatile ones |
//! | `in_lists`, a rule of the optimizer | computed elements of an IN list |
//! | `lateral_joins`, a rule of the optimizer | the columns of a LATERAL join, below another join; one whose condition is false |
//! | `nested_orders`, a rule of the optimizer | arrays and rows with NULLs within, in an order with a LIMIT; windows by arrays in arrays |
//! | `computed_keys`, a rule of the optimizer | computed sort keys |
//! | `offsets`, a rule of the optimizer | OFFSET without LIMIT, whose sort DataFusion removes |
//! | `split_windows`, a rule of the optimizer | window functions of one node that need several sort orders |
//! | `nested_constants`, behind the optimizer | constant nested arrays, which do not compare |
//! | `marks`, a rule of the optimizer | EXISTS and IN in the columns of a SELECT, under OR and NOT |

mod computed_keys;
mod empty_arms;
mod floats;
mod grouping_keys;
mod has_subquery;
mod held_filters;
mod in_lists;
mod input_schema;
mod lateral_joins;
mod left_over;
mod marks;
mod nested_constants;
mod nested_orders;
mod null_places;
mod numbers;
mod offsets;
mod ordering;
mod repeats;
mod row_counts;
mod set_operations;
mod split_windows;
mod subqueries;
mod ties;

use datafusion::{
    common::config::ConfigOptions,
    logical_expr::LogicalPlan,
    optimizer::{AnalyzerRule, analyzer::resolve_grouping_function::ResolveGroupingFunction},
};

pub(super) use self::{
    computed_keys::{ComputedKeys, keys_as_columns},
    empty_arms::EmptyArms,
    floats::{FloatRules, Forms, compared, named_expressions},
    held_filters::HeldFilters,
    in_lists::InLists,
    input_schema::input_schema,
    lateral_joins::LateralJoins,
    left_over::refuse_subqueries,
    marks::MarkSubqueries,
    nested_constants::constants_as_calls,
    nested_orders::NestedOrders,
    numbers::{Numbers, with_floats},
    offsets::CountedOffsets,
    ordering::unordered,
    repeats::OrdersOnce,
    split_windows::{SplitWindows, by_order},
};
use crate::error::Result;

/// Rewrites the plan of DataFusion's planner to PostgreSQL's semantics.
pub(super) fn normalize(plan: LogicalPlan) -> Result<LogicalPlan> {
    // Comes first: afterwards the arguments may differ from the GROUP BY keys.
    let plan = ResolveGroupingFunction::new().analyze(plan, &ConfigOptions::default())?;
    let plan = grouping_keys::as_columns(plan)?;
    let plan = repeats::named_once(plan)?;
    let plan = row_counts::of_relations(plan)?;
    let plan = set_operations::of_multisets(plan)?;
    let plan = subqueries::of_one_meaning(plan)?;
    ties::broken(null_places::expand_null_placement(ordering::top_level_ordered(plan)?)?)
}
