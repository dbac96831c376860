//! Functions of our own, and those that statements make.

mod arrays;
mod define;
mod fields;
mod hop;
mod inline;
mod json;
mod ordered;
mod rows;
mod session;

use std::sync::Arc;

use datafusion::logical_expr::{ScalarUDF, WindowUDF, planner::ExprPlanner};

pub use arrays::HAS_NULLS;
pub use define::{Defined, Functions, What, define};
pub use fields::{FieldsOfNull, UnnestOfNull};
pub use hop::{HOP_STARTS, WINDOWS_MAX};
pub use inline::Inliner;
pub use ordered::SeveralOrders;
pub use rows::{RowCounts, relation_of_rows};
pub use session::{SESSION_END, SESSION_START};

/// All that look at one row, to be registered wherever queries are planned.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(ScalarUDF::from(arrays::HasNulls::default())),
        Arc::new(ScalarUDF::from(hop::HopStarts::default())),
        Arc::new(ScalarUDF::from(json::JsonGet::new(false))),
        Arc::new(ScalarUDF::from(json::JsonGet::new(true))),
    ]
}

/// Those that look at more than one row.
pub fn windows() -> Vec<Arc<WindowUDF>> {
    [false, true].map(|end| Arc::new(WindowUDF::from(session::SessionBound::new(end)))).into()
}

/// What knows the operators that are ours.
pub fn operators() -> Arc<dyn ExprPlanner> {
    Arc::new(json::Arrows)
}
