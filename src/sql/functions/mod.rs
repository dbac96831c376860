//! Our own functions, and user-defined ones.

mod array_agg;
mod arrays;
mod canonical;
mod constant;
mod date_bin;
mod date_trunc;
mod decoded;
mod define;
mod defined;
mod extremes;
mod fields;
mod hop;
mod inline;
mod interval_micros;
mod json;
mod levenshtein;
mod named_cast;
mod only_row;
mod ordered;
mod perhaps_null;
mod rows;
mod series;
mod session;
mod signed;
mod sized;
mod sort_key;
mod string_agg;
mod sums;
mod to_timestamp;

use std::sync::Arc;

use datafusion::{
    catalog::TableFunctionImpl,
    logical_expr::{AggregateUDF, ScalarUDF, WindowUDF, planner::ExprPlanner},
};

pub use arrays::HAS_NULLS;
pub use canonical::{canonical_of, canonical_value, is_canonical, is_canonical_value};
pub use constant::constant;
pub use date_trunc::Unit;
pub use decoded::DictionaryValues;
pub use define::define;
pub use defined::{Defined, FunctionBody, Functions};
pub use extremes::{extreme_of_floats, is_extreme};
pub use fields::{FieldsOfNull, UnnestOfNull};
pub use hop::{HOP_STARTS, HOP_STARTS_OR_NULL, WINDOWS_MAX};
pub use inline::Inliner;
pub use interval_micros::INTERVAL_MICROS;
pub use named_cast::NAMED_CAST;
pub use only_row::only_row;
pub use ordered::SeveralOrders;
pub use perhaps_null::perhaps_null;
pub use rows::{RowCounts, relation_of_rows};
pub use series::timestamp_series;
pub use session::{SESSION_END, SESSION_START};
pub use sized::{CheckSizes, ResultLimit, rechecked, unchecked};
pub use sort_key::{extreme_of_arrays, is_array, is_extreme_of_arrays, needs_sort_key, sort_key_of};
pub use sums::{by_diff as sum_by_diff, is_exact};

/// All scalar functions, registered in each planning session.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let mut all = vec![
        Arc::new(ScalarUDF::from(arrays::HasNulls::default())),
        Arc::new(ScalarUDF::from(date_bin::DateBin::default())),
        Arc::new(ScalarUDF::from(date_trunc::DateTrunc::default())),
        Arc::new(ScalarUDF::from(hop::HopStarts::new(false))),
        length_in_micros(),
        Arc::new(ScalarUDF::from(json::JsonGet::new(false))),
        Arc::new(ScalarUDF::from(json::JsonGet::new(true))),
        Arc::new(ScalarUDF::from(levenshtein::Levenshtein::default())),
        Arc::new(ScalarUDF::from(named_cast::NamedCast::default())),
        Arc::new(ScalarUDF::from(to_timestamp::Now::default())),
    ];
    all.extend(signed::scalars());
    all.extend(to_timestamp::ToTimestamp::family().map(|function| Arc::new(ScalarUDF::from(function))));
    all
}

/// `hop_starts` with a window NULL for a row in no window.
pub fn hop_starts_or_null() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(hop::HopStarts::new(true)))
}

/// A duration as a number of microseconds.
pub fn length_in_micros() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(interval_micros::IntervalMicros::default()))
}

/// All aggregate functions.
pub fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let mut all = sums::all();
    all.push(Arc::new(AggregateUDF::from(array_agg::ArrayAgg::default())));
    all.push(Arc::new(AggregateUDF::from(string_agg::LimitedStringAgg::default())));
    all
}

/// All table functions.
pub fn tables() -> Vec<(&'static str, Arc<dyn TableFunctionImpl>)> {
    series::SeriesTable::all().into_iter().map(|(name, table)| (name, Arc::new(table) as _)).collect()
}

/// All window functions.
pub fn windows() -> Vec<Arc<WindowUDF>> {
    let mut all = signed::windows();
    all.extend([false, true].map(|end| Arc::new(WindowUDF::from(session::SessionBound::new(end)))));
    all
}

/// The planner of our operators.
pub fn operators() -> Arc<dyn ExprPlanner> {
    Arc::new(json::Arrows)
}
