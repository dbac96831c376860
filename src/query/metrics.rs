//! The numbers of one standing query, and of each of its inputs.

use std::time::Duration;

use crate::metrics::{Counter, Family, Gauge, Histogram, MetricProducer, MetricsSnapshot};

/// Labels: `query`.
#[derive(Debug, Default)]
pub struct QueryMetrics {
    pub epoch: Gauge,
    /// In microseconds.
    pub watermark: Gauge,
    /// These totals are since the server was made, across restarts; rows read again in a recovery count once.
    pub rows_in: Counter,
    pub rows_out: Counter,
    pub late: Counter,
    /// Late rows without an event time, which `late` does not count.
    pub untimed: Counter,
    pub bad: Counter,
    pub state_rows: Gauge,
    pub state_bytes: Gauge,
    pub checkpoint: Gauge,
    /// Of the last epoch, in microseconds.
    pub epoch_us: Gauge,
    epoch_duration: Histogram,
}

const EPOCH: Family = Family::new("tidemark_query_epoch", "The last committed epoch.");
const WATERMARK: Family = Family::new(
    "tidemark_query_watermark_timestamp_seconds",
    "The event time up to which the inputs are declared complete, in Unix time.",
);
const ROWS_IN: Family = Family::new("tidemark_query_rows_in_total", "Rows read, across restarts.");
const ROWS_OUT: Family =
    Family::new("tidemark_query_rows_out_total", "Rows that came or went in the answer, across restarts.");
const LATE: Family = Family::new("tidemark_query_late_rows_total", "Rows behind the watermark, across restarts.");
const UNTIMED: Family =
    Family::new("tidemark_query_no_event_time_rows_total", "Rows without an event time, across restarts.");
const BAD: Family = Family::new(
    "tidemark_query_dead_letters_total",
    "Records that did not decode and rows that an expression failed on, across restarts.",
);
const STATE_ROWS: Family = Family::new("tidemark_query_state_rows", "Rows that the operators remember.");
const STATE_BYTES: Family = Family::new("tidemark_query_state_bytes", "Memory of what the operators remember.");
const CHECKPOINT: Family = Family::new("tidemark_query_checkpoint_epoch", "The epoch of the last checkpoint.");
const LAST_EPOCH: Family = Family::new(
    "tidemark_query_last_epoch_seconds",
    "How long the last epoch took, from its intent to its being visible.",
);
const EPOCH_DURATION: Family = Family::new(
    "tidemark_query_epoch_duration_seconds",
    "How long epochs took, from their intent to their being visible, since the server started.",
);

impl QueryMetrics {
    pub fn note_epoch(&self, took: Duration) {
        self.epoch_us.set_count(Some(took.as_micros() as u64));
        self.epoch_duration.observe(took);
    }
}

/// Microseconds as the seconds of a metric.
fn seconds(micros: &Gauge) -> Option<f64> {
    micros.get().map(|micros| micros as f64 / 1e6)
}

fn count(gauge: &Gauge) -> Option<f64> {
    gauge.count().map(|count| count as f64)
}

impl MetricProducer for QueryMetrics {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        snapshot.gauge(EPOCH, count(&self.epoch));
        snapshot.gauge(WATERMARK, seconds(&self.watermark));
        snapshot.counter(ROWS_IN, self.rows_in.get());
        snapshot.counter(ROWS_OUT, self.rows_out.get());
        snapshot.counter(LATE, self.late.get());
        snapshot.counter(UNTIMED, self.untimed.get());
        snapshot.counter(BAD, self.bad.get());
        snapshot.gauge(STATE_ROWS, count(&self.state_rows));
        snapshot.gauge(STATE_BYTES, count(&self.state_bytes));
        snapshot.gauge(CHECKPOINT, count(&self.checkpoint));
        snapshot.gauge(LAST_EPOCH, seconds(&self.epoch_us));
        snapshot.histogram(EPOCH_DURATION, &self.epoch_duration);
    }
}

/// Labels: `query` and `input`. A query that reads an input twice has it once there.
#[derive(Debug, Default)]
pub struct InputMetrics {
    pub backlog_rows: Gauge,
    pub backlog_bytes: Gauge,
    pub backlog_files: Gauge,
    /// What the next epoch may take.
    pub admitted_rows: Gauge,
    pub admitted_bytes: Gauge,
    /// Of the last epoch.
    pub rows_per_second: Gauge,
}

const BACKLOG_ROWS: Family = Family::new("tidemark_input_backlog_rows", "Rows that wait to be read.");
const BACKLOG_BYTES: Family = Family::new("tidemark_input_backlog_bytes", "Bytes that wait to be read.");
const BACKLOG_FILES: Family = Family::new("tidemark_input_backlog_files", "Files that wait to be read.");
const ADMITTED_ROWS: Family = Family::new("tidemark_input_admitted_rows", "Rows that the next epoch may take.");
const ADMITTED_BYTES: Family = Family::new("tidemark_input_admitted_bytes", "Bytes that the next epoch may take.");
const ROWS_PER_SECOND: Family =
    Family::new("tidemark_input_rows_per_second", "Rows that the last epoch took, by its duration.");

impl MetricProducer for InputMetrics {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        snapshot.gauge(BACKLOG_ROWS, count(&self.backlog_rows));
        snapshot.gauge(BACKLOG_BYTES, count(&self.backlog_bytes));
        snapshot.gauge(BACKLOG_FILES, count(&self.backlog_files));
        snapshot.gauge(ADMITTED_ROWS, count(&self.admitted_rows));
        snapshot.gauge(ADMITTED_BYTES, count(&self.admitted_bytes));
        snapshot.gauge(ROWS_PER_SECOND, count(&self.rows_per_second));
    }
}
