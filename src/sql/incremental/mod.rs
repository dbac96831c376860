//! From a batch plan to the plan of an epoch: scans read this epoch's rows, stateful nodes become operators.
//!
//! | logical operator | in an epoch |
//! | --- | --- |
//! | scan of a source, table or view | this epoch's span only |
//! | VALUES, external table | itself as input of a join; once as input of a union |
//! | projection, filter, unnest, UNION ALL, alias | themselves; diff and source partition are carried along |
//! | aggregate, DISTINCT | `Aggregate` over rows that come; by diff where all functions are linear; else `AggregateByRecompute` |
//! | GROUPING SETS, CUBE, ROLLUP | an aggregate over the rows, each paired with each set |
//! | join with a static input | DataFusion's own, with the static side as build side |
//! | join of changing inputs; IN, EXISTS, scalar subquery, INTERSECT, EXCEPT | `Join`: both sides, until expiry |
//! | join FOR SYSTEM_TIME AS OF PROCTIME() | `Lookup`: the rows at its epoch, joined once |
//! | DISTINCT ON … EMIT ON WINDOW CLOSE, by no window | `Dedup`: the first row of each id, expired by the watermark |
//! | WHERE that compares with now() | `Temporal`: rows are inserted and retracted as time passes |
//! | window functions, ORDER BY … LIMIT | `GroupPlan`: DataFusion's own over all rows of the touched groups, or the first of each where those decide |
//!
//! Everything else is refused by name.

mod bounds;
mod carried;
mod dedup;
mod first;
mod group;
mod group_plan;
mod join;
mod linear;
mod physical;
mod refuse;
mod reproducible;
mod rewrite;
mod sets;
mod step;
mod time_bounds;
mod uid;
mod untimed;
mod window;

pub use physical::plan_epoch;
pub use refuse::refuse;
pub use rewrite::{AS_OF_NOW, PlannedInput, PlannedWatermark, Rewritten, rewrite};
pub use time_bounds::{TimeBound, TimeBounds, micros_of};
