//! The context of one epoch: inputs for the nodes of its plan, and what they report.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::SchemaRef,
};
use datafusion::{error::Result as DfResult, execution::TaskContext};
use futures::{StreamExt, stream, stream::BoxStream};

use super::{
    event_times::{EventTimes, Observed, partition_name, stream_number, stream_of},
    operator::{Late, Operator},
};
use crate::{
    changes::PARTITION,
    connectors::{BadRecords, Offsets, Origin, SourceStream},
    error::Result,
    state::{Compaction, StateId},
    sync::locked,
    time::{Epoch, Tick},
};

/// An operator and its state; locked for one step at a time.
pub(super) type SharedOperator = Arc<Mutex<Box<dyn Operator>>>;

/// Connects a plan, which is built once, with the epochs that run it.
#[derive(Debug)]
pub struct EpochContext {
    pub(super) partitions: usize,
    run: Mutex<EpochRun>,
    /// With their uids, in the order in which they were planned.
    operators: Mutex<Vec<(String, SharedOperator)>>,
    watermarks: Mutex<Vec<Arc<Observed>>>,
    /// Rows per batch of an input.
    batch_rows: AtomicUsize,
    /// Number of runs of parts of the plan since it was built.
    pub(super) runs: Arc<AtomicU64>,
}

#[derive(Debug)]
struct EpochRun {
    tick: Tick,
    inputs: Vec<Vec<SourceStream>>,
    /// Whether each partition gets a task of its own.
    parallel: bool,
    late: Late,
    /// Per input: number of rows read.
    rows_in: Vec<Arc<AtomicU64>>,
    /// Per input: its row errors.
    failed: Vec<BadRecords>,
}

impl EpochRun {
    fn partition_of(&self, number: i64) -> String {
        let Some((input, stream)) = stream_of(number) else { return String::new() };
        let stream = self.inputs.get(input).and_then(|streams| streams.get(stream));
        stream.map_or_else(String::new, |stream| partition_name(input, &stream.partition))
    }
}

impl EpochContext {
    /// For a plan whose inputs have up to `partitions` streams.
    pub fn new(partitions: usize) -> Arc<Self> {
        let tick = Tick { epoch: Epoch(0), watermark: None, before: None, now: 0 };
        let run = EpochRun {
            tick,
            inputs: Vec::new(),
            parallel: false,
            late: Late::default(),
            rows_in: Vec::new(),
            failed: Vec::new(),
        };
        Arc::new(EpochContext {
            partitions,
            run: Mutex::new(run),
            operators: Mutex::default(),
            watermarks: Mutex::default(),
            batch_rows: AtomicUsize::new(usize::MAX),
            runs: Arc::default(),
        })
    }

    /// Sets the rows per batch of an input; small for a plan that makes wide rows.
    pub fn set_batch_rows(&self, rows: usize) {
        self.batch_rows.store(rows.max(1), Ordering::Relaxed);
    }

    /// Splits a batch into pieces of `batch_rows`.
    pub(super) fn pieces(&self, batch: RecordBatch) -> impl Iterator<Item = RecordBatch> + use<> {
        let rows = self.batch_rows.load(Ordering::Relaxed).min(batch.num_rows().max(1));
        let starts = (0..batch.num_rows()).step_by(rows);
        starts.map(move |start| batch.slice(start, rows.min(batch.num_rows() - start)))
    }

    /// Prepares the next run: per input its streams, and the collector of its row errors.
    pub fn fill(&self, tick: Tick, inputs: Vec<Vec<SourceStream>>, failed: Vec<BadRecords>, parallel: bool) {
        locked(&self.watermarks).iter().for_each(|observed| observed.clear());
        self.runs.fetch_add(1, Ordering::Relaxed);
        let rows_in = inputs.iter().map(|_| Arc::default()).collect();
        *locked(&self.run) = EpochRun { tick, inputs, parallel, late: Late::default(), rows_in, failed };
    }

    /// Whether parts of the plan ran at least `runs` times since this last gave true.
    pub fn runs_exceed(&self, runs: u64) -> bool {
        self.runs.load(Ordering::Relaxed) >= runs && self.runs.swap(0, Ordering::Relaxed) >= runs
    }

    /// The late rows of the last run.
    pub fn take_late(&self) -> Late {
        std::mem::take(&mut locked(&self.run).late)
    }

    /// Per input: the row errors of the last run.
    pub fn failed(&self) -> Vec<BadRecords> {
        locked(&self.run).failed.clone()
    }

    /// Rows read of all inputs in the last run.
    pub fn rows_in(&self) -> u64 {
        locked(&self.run).rows_in.iter().map(|rows| rows.load(Ordering::Relaxed)).sum()
    }

    /// Rows read of one input in the last run.
    pub fn rows_of(&self, input: usize) -> u64 {
        locked(&self.run).rows_in.get(input).map_or(0, |rows| rows.load(Ordering::Relaxed))
    }

    /// Per watermark: the event times observed in the last run.
    pub fn observed(&self) -> Vec<EventTimes> {
        let watermarks = locked(&self.watermarks).clone();
        let run = locked(&self.run);
        watermarks.iter().map(|observed| observed.by_name(|number| run.partition_of(number))).collect()
    }

    pub fn tick(&self) -> Tick {
        locked(&self.run).tick
    }

    /// The rows of one partition of a leaf (scan node).
    pub(super) fn rows(
        &self,
        input: usize,
        partition: usize,
        schema: SchemaRef,
        context: Arc<TaskContext>,
    ) -> OriginStream {
        let run = locked(&self.run);
        let own: Vec<_> = run.inputs.get(input).into_iter().flatten().enumerate().collect();
        let own = own.into_iter().skip(partition).step_by(self.partitions);
        let streams = own.map(|(n, stream)| (stream_number(input, n), stream.clone())).collect();
        delta(streams, run.rows_in.get(input).cloned().unwrap_or_default(), schema, context)
    }

    /// The collector of an input's row errors.
    pub(super) fn failed_of(&self, input: usize) -> Option<BadRecords> {
        locked(&self.run).failed.get(input).cloned()
    }

    /// Whether each partition gets a task of its own.
    pub(super) fn is_parallel(&self) -> bool {
        locked(&self.run).parallel
    }

    pub(super) fn add_late(&self, late: Late) {
        locked(&self.run).late.merge(late);
    }

    pub(super) fn add_watermark(&self, observed: Arc<Observed>) {
        locked(&self.watermarks).push(observed);
    }

    pub(super) fn add_operator(&self, uid: &str, operator: Box<dyn Operator>) -> SharedOperator {
        let operator = Arc::new(Mutex::new(operator));
        locked(&self.operators).push((uid.to_string(), operator.clone()));
        operator
    }

    /// Calls `with` for operator `n` of the plan; `None` if there is no such operator.
    pub fn with_operator<T>(&self, n: usize, with: impl FnOnce(&mut dyn Operator) -> T) -> Option<T> {
        let (_, operator) = locked(&self.operators).get(n)?.clone();
        let mut operator = locked(&operator);
        Some(with(operator.as_mut()))
    }

    /// Calls `with` for each operator of the plan, in planning order.
    pub fn each_operator<T>(&self, mut with: impl FnMut(usize, &mut dyn Operator) -> Result<T>) -> Result<Vec<T>> {
        let operators = locked(&self.operators).clone();
        operators.iter().enumerate().map(|(n, (_, operator))| with(n, locked(operator).as_mut())).collect()
    }

    /// The uids and state versions of the operators, in planning order.
    pub fn state_ids(&self) -> Vec<StateId> {
        let operators = locked(&self.operators).clone();
        let id =
            |(uid, operator): (String, SharedOperator)| StateId { uid, version: locked(&operator).state_version() };
        operators.into_iter().map(id).collect()
    }

    /// Sets the compaction thresholds of all operators' state.
    pub fn set_compaction(&self, to: Compaction) {
        let operators = locked(&self.operators).clone();
        operators.iter().for_each(|(_, operator)| locked(operator).state().set_compaction(to));
    }
}

/// Batches of an input, each with its origin.
pub(super) type OriginStream = BoxStream<'static, DfResult<(Origin, RecordBatch)>>;

/// The rows of some streams, one after the other; with the stream number, if the schema has a column for it.
fn delta(
    streams: Vec<(i64, SourceStream)>,
    rows_in: Arc<AtomicU64>,
    schema: SchemaRef,
    context: Arc<TaskContext>,
) -> OriginStream {
    let place = schema.index_of(PARTITION).ok();
    let rows = stream::iter(streams).flat_map(move |(number, source)| {
        let (rows_in, schema) = (rows_in.clone(), schema.clone());
        // A single partition is reported without a name.
        let name = if source.partition == Offsets::ONLY { "" } else { source.partition.as_str() };
        let unknown = Origin::within(name);
        source.rows.execute(context.clone()).map(move |batch| {
            let batch = batch?;
            let origin = source.origins.as_ref().and_then(|origins| origins.pop());
            let origin = origin.unwrap_or_else(|| unknown.clone());
            rows_in.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            let Some(place) = place else { return Ok((origin, batch)) };
            let mut columns = batch.columns().to_vec();
            columns.insert(place, Arc::new(Int64Array::from_value(number, batch.num_rows())));
            Ok((origin, RecordBatch::try_new(schema.clone(), columns)?))
        })
    });
    rows.boxed()
}
