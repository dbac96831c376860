//! The progress of a running query: state, last error, metrics, offsets.

use std::sync::{Arc, Mutex, MutexGuard};

use super::metrics::{InputMetrics, QueryMetrics};
use crate::{
    connectors::{Backlog, Offsets, ReadLimit},
    error::Error,
    metrics::{Gauge, Registry},
    sync::locked,
    time::{Epoch, Micros},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QueryState {
    /// Loading its checkpoint and replaying the epochs after it.
    #[default]
    Recovering,
    Running,
    /// Paused by `ALTER … PAUSE`.
    Paused,
    /// Its trigger has ended: everything that it asks for was read.
    Finished,
    /// Stopped on a permanent error until `ALTER … RESUME`.
    Failed,
    /// Failed on a transient error: it retries.
    Retrying,
}

impl QueryState {
    pub fn word(self) -> &'static str {
        match self {
            QueryState::Recovering => "recovering",
            QueryState::Running => "running",
            QueryState::Paused => "paused",
            QueryState::Finished => "finished",
            QueryState::Failed => "failed",
            QueryState::Retrying => "retrying",
        }
    }
}

/// The progress of a running query, for as long as it exists: numbers in the metrics registry, and the status that is
/// not numeric.
#[derive(Debug)]
pub struct Progress {
    registry: Arc<Registry>,
    query: String,
    status: Mutex<QueryStatus>,
}

/// Written and read under one lock, so that its numbers are of one epoch.
#[derive(Debug, Default)]
pub struct QueryStatus {
    pub state: QueryState,
    pub last_error: Option<Error>,
    /// The first log file that a recovery would read; `None` if it would read none.
    pub log_file: Option<u64>,
    pub metrics: Arc<QueryMetrics>,
    pub inputs: Vec<InputStatus>,
}

#[derive(Debug)]
pub struct InputStatus {
    pub name: String,
    pub offsets: Offsets,
    pub metrics: Arc<InputMetrics>,
}

/// The log file of a query that has yet to recover, for which it may need every record about it.
pub const UNRECOVERED: u64 = 0;

impl Progress {
    /// The progress of a query that has yet to recover.
    pub fn new(registry: Arc<Registry>, query: &str) -> Arc<Progress> {
        let status = QueryStatus { log_file: Some(UNRECOVERED), ..QueryStatus::default() };
        registry.register(vec![("query", query.to_string())], &status.metrics);
        Arc::new(Progress { registry, query: query.to_string(), status: Mutex::new(status) })
    }

    pub fn lock(&self) -> MutexGuard<'_, QueryStatus> {
        locked(&self.status)
    }

    /// Sets the offset of each input. An input with the name it had before keeps its metrics.
    pub fn set_inputs<'a>(&self, status: &mut QueryStatus, inputs: impl Iterator<Item = (&'a str, &'a Offsets)>) {
        let mut before = std::mem::take(&mut status.inputs).into_iter();
        let input = |(name, offsets): (&str, &Offsets)| {
            let (name, offsets) = (name.to_string(), offsets.clone());
            let same = before.next().filter(|input| input.name == name);
            let metrics = same.map_or_else(|| self.input_metrics(&name), |input| input.metrics);
            InputStatus { name, offsets, metrics }
        };
        status.inputs = inputs.map(input).collect();
    }

    fn input_metrics(&self, input: &str) -> Arc<InputMetrics> {
        let metrics = Arc::default();
        self.registry.register(vec![("query", self.query.clone()), ("input", input.to_string())], &metrics);
        metrics
    }

    /// A copy of what the system tables show.
    pub fn read(&self) -> QueryProgress {
        let status = self.lock();
        let metrics = &status.metrics;
        let count = |gauge: &Gauge| gauge.count().unwrap_or_default();
        QueryProgress {
            state: status.state,
            epoch: Epoch(count(&metrics.epoch)),
            watermark: metrics.watermark.get(),
            rows_in: metrics.rows_in.get(),
            rows_out: metrics.rows_out.get(),
            late: metrics.late.get(),
            untimed: metrics.untimed.get(),
            bad: metrics.bad.get(),
            state_rows: count(&metrics.state_rows),
            state_bytes: count(&metrics.state_bytes),
            checkpoint: Epoch(count(&metrics.checkpoint)),
            log_file: status.log_file,
            epoch_us: count(&metrics.epoch_us),
            last_error: status.last_error.clone(),
            inputs: status.inputs.iter().map(InputStatus::read).collect(),
        }
    }
}

impl InputStatus {
    fn read(&self) -> InputProgress {
        let metrics = &self.metrics;
        let (rows, bytes, files) = (&metrics.backlog_rows, &metrics.backlog_bytes, &metrics.backlog_files);
        InputProgress {
            name: self.name.clone(),
            offsets: self.offsets.clone(),
            backlog: Backlog { rows: rows.count(), bytes: bytes.count(), files: files.count() },
            admitted_rows: metrics.admitted_rows.count(),
            admitted_bytes: metrics.admitted_bytes.count(),
            rows_per_second: metrics.rows_per_second.count(),
        }
    }

    pub fn set_backlog(&self, backlog: Backlog) {
        self.metrics.backlog_rows.set_count(backlog.rows);
        self.metrics.backlog_bytes.set_count(backlog.bytes);
        self.metrics.backlog_files.set_count(backlog.files);
    }

    pub fn set_admitted(&self, admitted: ReadLimit) {
        self.metrics.admitted_rows.set_count(admitted.rows);
        self.metrics.admitted_bytes.set_count(admitted.bytes);
    }
}

/// A row of `tidemark.queries`, and its rows of `tidemark.inputs`; the numbers are in `QueryMetrics`.
#[derive(Debug, Clone)]
pub struct QueryProgress {
    pub state: QueryState,
    pub epoch: Epoch,
    pub watermark: Option<Micros>,
    pub rows_in: u64,
    pub rows_out: u64,
    pub late: u64,
    pub untimed: u64,
    pub bad: u64,
    pub state_rows: u64,
    pub state_bytes: u64,
    pub checkpoint: Epoch,
    /// The first log file that a recovery would read; `None` if it would read none.
    pub log_file: Option<u64>,
    pub epoch_us: u64,
    pub last_error: Option<Error>,
    pub inputs: Vec<InputProgress>,
}

#[derive(Debug, Clone)]
pub struct InputProgress {
    pub name: String,
    pub offsets: Offsets,
    pub backlog: Backlog,
    pub admitted_rows: Option<u64>,
    pub admitted_bytes: Option<u64>,
    pub rows_per_second: Option<u64>,
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;

    /// The numbers of the registry by name and labels, without histograms.
    fn shown(registry: &Registry) -> BTreeMap<String, f64> {
        let of = |sample: crate::metrics::Sample| {
            let labels: Vec<String> = sample.labels.into_iter().map(|(_, value)| value).collect();
            (format!("{} {}", sample.name.trim_start_matches("tidemark_"), labels.join(" ")), sample.value)
        };
        registry.collect().samples().into_iter().filter(|s| !s.name.contains("_duration_")).map(of).collect()
    }

    #[test]
    fn progress_is_what_the_registry_holds() {
        let registry = Arc::new(Registry::default());
        let progress = Progress::new(registry.clone(), "v");
        assert_eq!(shown(&registry).get("query_rows_in_total v"), Some(&0.0));
        assert_eq!((progress.read().epoch_us, progress.read().watermark), (0, None));
        {
            let mut status = progress.lock();
            progress.set_inputs(&mut status, [("s", &Offsets::single(3))].into_iter());
            status.metrics.rows_in.set(7);
            status.metrics.watermark.set(Some(-1_500_000));
            status.metrics.note_epoch(Duration::from_micros(2_500_000));
            status.inputs[0].set_backlog(Backlog { rows: Some(5), ..Backlog::default() });
            // With another offset it is still the same input.
            progress.set_inputs(&mut status, [("s", &Offsets::single(4))].into_iter());
        }
        let (read, shown) = (progress.read(), shown(&registry));
        assert_eq!((read.rows_in, shown["query_rows_in_total v"]), (7, 7.0));
        assert_eq!((read.watermark, shown["query_watermark_timestamp_seconds v"]), (Some(-1_500_000), -1.5));
        assert_eq!((read.epoch_us, shown["query_last_epoch_seconds v"]), (2_500_000, 2.5));
        let input = &read.inputs[0];
        assert_eq!(input.offsets, Offsets::single(4));
        assert_eq!((input.backlog.rows, shown["input_backlog_rows v s"]), (Some(5), 5.0));
        assert_eq!((input.backlog.bytes, shown.get("input_backlog_bytes v s")), (None, None));
    }

    #[test]
    fn progress_that_is_dropped_leaves_no_series() {
        let registry = Arc::new(Registry::default());
        let old = Progress::new(registry.clone(), "v");
        old.set_inputs(&mut old.lock(), [("s", &Offsets::single(1))].into_iter());
        old.lock().inputs[0].set_admitted(ReadLimit { rows: Some(1), ..ReadLimit::default() });
        old.lock().metrics.rows_in.set(1);
        // Another query of the same name has metrics of its own.
        let new = Progress::new(registry.clone(), "v");
        new.lock().metrics.rows_in.set(2);
        assert_eq!(shown(&registry)["query_rows_in_total v"], 2.0);
        drop(old);
        assert!(!shown(&registry).contains_key("input_admitted_rows v s"));
        assert_eq!(shown(&registry)["query_rows_in_total v"], 2.0);
        drop(new);
        assert!(shown(&registry).is_empty());
    }
}
