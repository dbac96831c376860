//! Standing queries as the engine starts and rebuilds them.

mod queries;
mod refit;

pub use queries::ContinuousQueries;
