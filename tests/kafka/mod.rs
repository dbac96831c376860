//! Kafka for real: one Apache Kafka broker for all tests of the process, or librdkafka's mock of one where Java or Maven
//! is missing.

mod backlog;
pub mod broker;
mod exactly_once;
mod guarantees;
mod loss;
mod pipelines;
mod sink;
mod source;
