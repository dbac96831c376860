//! What PostgreSQL means where DataFusion plans something else: rewrites of a logical plan that every query goes through,
//! whether it is read once or kept up to date, so that both have one meaning.
//!
//! | rewrite | what it mends |
//! | --- | --- |
//! | `grouping_keys` | keys of GROUPING SETS, ROLLUP and CUBE that are computed |
//! | `repeats`, and a rule of the optimizer | an expression that an ORDER BY names twice |
//! | `row_counts` | `count(t.*)`, which counts the rows that an outer join has found |
//! | `set_operations` | `INTERSECT ALL` and `EXCEPT ALL`, which are of multisets |
//! | `subqueries` | EXISTS, IN, ANY, ALL and scalar subqueries over aggregates, and in any clause |
//! | `ordering` | the order of a subquery, where something above depends on it |
//! | `null_places` | NULLS FIRST and NULLS LAST of arrays, which have NULLs within |
//! | `ties` | rows that tie in the order of a function |
//! | `floats`, a rule of the analyzer | -0, which is 0, and NaN, which is one and greater than all else; NULLs within arrays |
//! | `numbers`, a rule of the analyzer | a decimal that meets a float |
//! | `empty_arms`, a rule of the optimizer | the columns of a UNION of which one arm alone has rows |
//! | `held_filters`, a rule of the optimizer | conditions without columns over `count(*)`, and volatile ones |
//! | `in_lists`, a rule of the optimizer | elements of an IN list that are computed |
//! | `lateral_joins`, a rule of the optimizer | the columns of a LATERAL join, below another join; one whose condition is false |
//! | `nested_orders`, a rule of the optimizer | arrays and rows with NULLs within, in an order with a LIMIT; windows by arrays in arrays |
//! | `computed_keys`, a rule of the optimizer | what rows are sorted by, where it is computed |
//! | `offsets`, a rule of the optimizer | OFFSET without LIMIT, whose order is lost |
//! | `windows_apart`, a rule of the optimizer | window functions in one node that come to have several orders |
//! | `nested_constants`, behind the optimizer | constants that do not compare: arrays in arrays |
//! | `marks`, a rule of the optimizer | EXISTS and IN in the columns of a SELECT, under OR and NOT |

mod computed_keys;
mod empty_arms;
mod floats;
mod grouping_keys;
mod has_subquery;
mod held_filters;
mod in_lists;
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
mod subqueries;
mod ties;
mod windows_apart;

use datafusion::{
    common::config::ConfigOptions,
    logical_expr::LogicalPlan,
    optimizer::{AnalyzerRule, analyzer::resolve_grouping_function::ResolveGroupingFunction},
};

pub(super) use self::{
    computed_keys::{ComputedKeys, keys_as_columns},
    empty_arms::EmptyArms,
    floats::{FloatRules, Forms, compared},
    held_filters::HeldFilters,
    in_lists::InLists,
    lateral_joins::LateralJoins,
    left_over::refuse_subqueries,
    marks::MarkSubqueries,
    nested_constants::constants_as_calls,
    nested_orders::NestedOrders,
    numbers::{Numbers, with_floats},
    offsets::CountedOffsets,
    ordering::unordered,
    repeats::OrdersOnce,
    windows_apart::{WindowsApart, by_order},
};
use crate::error::Result;

/// The plan of a query as DataFusion's planner made it, with the meaning that it has in PostgreSQL.
pub(super) fn normalize(plan: LogicalPlan) -> Result<LogicalPlan> {
    // While its arguments are still those that GROUP BY names.
    let plan = ResolveGroupingFunction::new().analyze(plan, &ConfigOptions::default())?;
    let plan = grouping_keys::as_columns(plan)?;
    let plan = repeats::named_once(plan)?;
    let plan = row_counts::of_relations(plan)?;
    let plan = set_operations::of_multisets(plan)?;
    let plan = subqueries::of_one_meaning(plan)?;
    ties::broken(null_places::said_apart(ordering::settled(plan)?)?)
}
