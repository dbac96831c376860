//! Numbers about the running server, in one place: what `tidemark.metrics` shows.
//!
//! What has numbers (a query, an input of one, the sessions) is a [`MetricProducer`] and registers itself once, with its
//! labels. The [`Registry`] does not keep it alive: whatever is gone has no series left. Names follow the convention of
//! Prometheus and OpenMetrics.

mod family;
mod instruments;
mod registry;

pub use family::Family;
pub use instruments::{Counter, Gauge, Histogram};
pub use registry::{Labels, MetricProducer, MetricsSnapshot, Registry, Sample};
