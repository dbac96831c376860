//! Scalar functions of our own.

mod hop;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub use hop::{HOP_STARTS, WINDOWS_MAX};

/// All of them, to be registered wherever queries are planned.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::from(hop::HopStarts::default()))]
}
