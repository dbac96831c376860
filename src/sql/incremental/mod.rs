//! From a batch plan to the plan of an epoch: scans read this epoch's rows, stateful nodes become operators.
//!
//! | logical operator | in an epoch |
//! | --- | --- |
//! | scan of a source, table or view | this epoch's span only |
//! | VALUES, fixed table | itself, where it is joined; once, where it is unioned |
//! | projection, filter, unnest, UNION ALL, alias | themselves; diff and source partition are carried along |
//! | aggregate, DISTINCT | `Aggregate` over rows that come; by diff where all functions are linear; else `AggregateByRecompute` |
//! | GROUPING SETS, CUBE, ROLLUP | an aggregate of each row with each set |
//! | join with something fixed | DataFusion's own, the fixed side as build side |
//! | join of what changes; IN, EXISTS, scalar subquery, INTERSECT, EXCEPT | `Join`: both sides kept by key, until time bounds let go |
//! | join FOR SYSTEM_TIME AS OF PROCTIME() | `Lookup`: what is there in its epoch, once |
//! | DISTINCT ON … EMIT ON WINDOW CLOSE, by no window | `Dedup`: the first row of each id, forgotten behind the watermark |
//! | WHERE that compares with now() | `Temporal`: each row comes and leaves when its time has come |
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
