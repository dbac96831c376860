//! Scalar functions of our own.

mod hop;
mod json;

use std::sync::Arc;

use datafusion::logical_expr::{ScalarUDF, planner::ExprPlanner};

pub use hop::{HOP_STARTS, WINDOWS_MAX};

/// All of them, to be registered wherever queries are planned.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![
        Arc::new(ScalarUDF::from(hop::HopStarts::default())),
        Arc::new(ScalarUDF::from(json::JsonGet::new(false))),
        Arc::new(ScalarUDF::from(json::JsonGet::new(true))),
    ]
}

/// What knows the operators that are ours.
pub fn operators() -> Arc<dyn ExprPlanner> {
    Arc::new(json::Arrows)
}
