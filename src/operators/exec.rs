//! Where our steps meet DataFusion: the only nodes of ours in an epoch's plan.
//!
//! All nodes of one query's plan share one [`EpochCell`]. Before an epoch the runner fills it with the streams of each
//! input and the tick; the plan, which never changes, is then run like any other.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::{DataFusionError, Result as DfResult},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, PlanProperties,
        execution_plan::{Boundedness, EmissionType, reset_plan_states},
        joins::{HashJoinExec, HashJoinExecBuilder},
        replace_children_if_necessary,
        stream::RecordBatchStreamAdapter,
        streaming::PartitionStream,
    },
};
use futures::{StreamExt, TryFutureExt, TryStreamExt, future::try_join_all, stream};
use tokio::sync::OnceCell;

use super::{Collector, Late, Operator};
use crate::{
    changes::{Changes, has_diff},
    error::{Error, Result},
    time::{Epoch, Micros, Tick, event_times},
};

/// An operator and its state: one step at a time.
type SharedOperator = Arc<Mutex<Box<dyn Operator>>>;

/// What one epoch hands to the nodes of its plan, and gets back from them.
#[derive(Debug)]
pub struct EpochCell {
    partitions: usize,
    run: Mutex<Run>,
    operators: Mutex<Vec<SharedOperator>>,
    watermarks: Mutex<Vec<Arc<Observed>>>,
}

#[derive(Debug)]
struct Run {
    tick: Tick,
    inputs: Vec<Vec<Arc<dyn PartitionStream>>>,
    /// Whether there is enough to do that partitions are worth a task each.
    parallel: bool,
    late: Late,
    rows_in: Arc<AtomicU64>,
}

/// The event times that passed one watermark in one epoch.
#[derive(Debug)]
pub struct Observed {
    max: AtomicI64,
    /// Event times further than this ahead of the clock do not count.
    ahead_us_max: Option<Micros>,
}

const NONE: i64 = i64::MIN;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EpochCell {
    /// For a plan whose inputs come in up to `partitions` streams.
    pub fn new(partitions: usize) -> Arc<Self> {
        let tick = Tick { epoch: Epoch(0), watermark: None, now: 0 };
        let run = Run { tick, inputs: Vec::new(), parallel: false, late: Late::default(), rows_in: Arc::default() };
        Arc::new(EpochCell {
            partitions,
            run: Mutex::new(run),
            operators: Mutex::default(),
            watermarks: Mutex::default(),
        })
    }

    /// Readies the next run: for each input its streams.
    pub fn fill(&self, tick: Tick, inputs: Vec<Vec<Arc<dyn PartitionStream>>>, parallel: bool) {
        locked(&self.watermarks).iter().for_each(|w| w.max.store(NONE, Ordering::Relaxed));
        *locked(&self.run) = Run { tick, inputs, parallel, late: Late::default(), rows_in: Arc::default() };
    }

    /// The late rows of the last run.
    pub fn take_late(&self) -> Late {
        std::mem::take(&mut locked(&self.run).late)
    }

    /// The rows that the inputs gave in the last run.
    pub fn rows_in(&self) -> u64 {
        locked(&self.run).rows_in.load(Ordering::Relaxed)
    }

    /// The greatest event time that each watermark saw in the last run.
    pub fn observed(&self) -> Vec<Option<Micros>> {
        let seen = |w: &Arc<Observed>| Some(w.max.load(Ordering::Relaxed)).filter(|max| *max != NONE);
        locked(&self.watermarks).iter().map(seen).collect()
    }

    pub fn tick(&self) -> Tick {
        locked(&self.run).tick
    }

    fn add_operator(&self, operator: Box<dyn Operator>) -> SharedOperator {
        let operator = Arc::new(Mutex::new(operator));
        locked(&self.operators).push(operator.clone());
        operator
    }

    /// Calls `with` for each operator of the plan, in the order in which they were planned.
    pub fn each_operator<T>(&self, mut with: impl FnMut(usize, &mut dyn Operator) -> Result<T>) -> Result<Vec<T>> {
        let operators = locked(&self.operators).clone();
        operators.iter().enumerate().map(|(n, operator)| with(n, locked(operator).as_mut())).collect()
    }
}

fn properties(schema: SchemaRef, partitions: usize, emission: EmissionType) -> Arc<PlanProperties> {
    let equivalences = EquivalenceProperties::new(schema);
    let partitioning = Partitioning::UnknownPartitioning(partitions);
    Arc::new(PlanProperties::new(equivalences, partitioning, emission, Boundedness::Bounded))
}

/// The kinds of node. One `ExecutionPlan` for all: they differ only in what they do with a stream.
#[derive(Debug, Clone)]
enum Kind {
    /// A leaf: this epoch's rows of an input.
    Delta { input: usize, name: String },
    /// Its child's rows in the first epoch, nothing ever after: what does not change comes once.
    Once,
    /// Its child's rows, all in one partition; computed in the first epoch that asks, kept for all others.
    Fixed { rows: Arc<OnceCell<Vec<RecordBatch>>> },
    /// Passes rows on and notes their event times.
    Watermark { column: usize, observed: Arc<Observed> },
    /// An operator over all partitions of its child.
    Operator { operator: SharedOperator, label: String },
}

/// A node of ours in an epoch's plan.
#[derive(Debug)]
pub struct EpochExec {
    kind: Kind,
    cell: Arc<EpochCell>,
    child: Option<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl EpochExec {
    pub fn delta(cell: &Arc<EpochCell>, input: usize, name: String, schema: SchemaRef) -> Self {
        let properties = properties(schema, cell.partitions, EmissionType::Incremental);
        EpochExec { kind: Kind::Delta { input, name }, cell: cell.clone(), child: None, properties }
    }

    pub fn once(cell: &Arc<EpochCell>, child: Arc<dyn ExecutionPlan>) -> Self {
        let partitions = child.properties().partitioning.partition_count();
        let properties = properties(child.schema(), partitions, EmissionType::Incremental);
        EpochExec { kind: Kind::Once, cell: cell.clone(), child: Some(child), properties }
    }

    pub fn fixed(cell: &Arc<EpochCell>, child: Arc<dyn ExecutionPlan>) -> Self {
        let properties = properties(child.schema(), 1, EmissionType::Incremental);
        EpochExec { kind: Kind::Fixed { rows: Arc::default() }, cell: cell.clone(), child: Some(child), properties }
    }

    pub fn watermark(
        cell: &Arc<EpochCell>,
        child: Arc<dyn ExecutionPlan>,
        column: usize,
        ahead_us_max: Option<Micros>,
    ) -> Self {
        let observed = Arc::new(Observed { max: AtomicI64::new(NONE), ahead_us_max });
        locked(&cell.watermarks).push(observed.clone());
        let partitions = child.properties().partitioning.partition_count();
        let properties = properties(child.schema(), partitions, EmissionType::Incremental);
        EpochExec { kind: Kind::Watermark { column, observed }, cell: cell.clone(), child: Some(child), properties }
    }

    /// `schema` is that of the operator's changes, with the diff where it withdraws.
    pub fn operator(
        cell: &Arc<EpochCell>,
        child: Arc<dyn ExecutionPlan>,
        operator: Box<dyn Operator>,
        label: String,
        schema: SchemaRef,
    ) -> Self {
        let operator = cell.add_operator(operator);
        let properties = properties(schema, 1, EmissionType::Final);
        EpochExec { kind: Kind::Operator { operator, label }, cell: cell.clone(), child: Some(child), properties }
    }

    fn child_stream(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        match &self.child {
            Some(child) => child.execute(partition, context),
            None => Ok(Box::pin(EmptyRecordBatchStream::new(self.schema()))),
        }
    }
}

impl DisplayAs for EpochExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Delta { name, .. } => write!(f, "DeltaScan: {name}"),
            Kind::Once => write!(f, "Once"),
            Kind::Fixed { .. } => write!(f, "Fixed"),
            Kind::Watermark { column, .. } => write!(f, "Watermark: {}", self.schema().field(*column).name()),
            Kind::Operator { label, .. } => write!(f, "{label}"),
        }
    }
}

impl ExecutionPlan for EpochExec {
    fn name(&self) -> &str {
        "EpochExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.child.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(EpochExec {
            kind: self.kind.clone(),
            cell: self.cell.clone(),
            child: children.pop(),
            properties: self.properties.clone(),
        }))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let empty = || Box::pin(EmptyRecordBatchStream::new(self.schema())) as SendableRecordBatchStream;
        match &self.kind {
            Kind::Delta { input, .. } => {
                let run = locked(&self.cell.run);
                let Some(stream) = run.inputs.get(*input).and_then(|i| i.get(partition)) else { return Ok(empty()) };
                let rows_in = run.rows_in.clone();
                let counted = stream.execute(context).inspect_ok(move |batch| {
                    rows_in.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                });
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), counted)))
            }
            Kind::Once if self.cell.tick().epoch > Epoch(1) => Ok(empty()),
            Kind::Once => self.child_stream(partition, context),
            Kind::Fixed { rows } => {
                let rows = kept(rows.clone(), self.child.clone(), context);
                let batches = rows.map_ok(|rows| stream::iter(rows.into_iter().map(DfResult::Ok))).try_flatten_stream();
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
            }
            Kind::Watermark { column, observed } => {
                let (column, observed, now) = (*column, observed.clone(), self.cell.tick().now);
                let noted = self.child_stream(partition, context)?.inspect_ok(move |batch| {
                    observed.note(batch, column, now);
                });
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), noted)))
            }
            Kind::Operator { operator, .. } => {
                let child = self.child.clone().ok_or_else(|| Error::internal("an operator has no input"))?;
                let work = step(self.cell.clone(), operator.clone(), child, context, self.schema());
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(work))))
            }
        }
    }
}

/// What a child gives, computed once.
async fn kept(
    rows: Arc<OnceCell<Vec<RecordBatch>>>,
    child: Option<Arc<dyn ExecutionPlan>>,
    context: Arc<TaskContext>,
) -> DfResult<Vec<RecordBatch>> {
    let compute = || async move {
        match child {
            Some(child) => datafusion::physical_plan::collect(child, context).await,
            None => Ok(Vec::new()),
        }
    };
    rows.get_or_try_init(compute).await.cloned()
}

impl Observed {
    fn note(&self, batch: &RecordBatch, column: usize, now: Micros) {
        let Some(times) = event_times(batch.column(column)) else { return };
        let max = match self.ahead_us_max {
            None => arrow::compute::max(&times),
            Some(ahead) => times.iter().flatten().filter(|t| *t <= now.saturating_add(ahead)).max(),
        };
        max.map(|max| self.max.fetch_max(max, Ordering::Relaxed));
    }
}

/// One epoch of one operator: every partition collected, then the step.
async fn step(
    cell: Arc<EpochCell>,
    operator: SharedOperator,
    child: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    schema: SchemaRef,
) -> DfResult<RecordBatch> {
    let tick = cell.tick();
    let parallel = locked(&cell.run).parallel;
    let mut parts = Vec::new();
    for partition in 0..child.properties().partitioning.partition_count() {
        let collector = locked(&operator).collector(&tick)?;
        parts.push(collect(collector, child.execute(partition, context.clone())?));
    }
    let collected = if parallel {
        let tasks = parts.into_iter().map(datafusion::common::runtime::SpawnedTask::spawn);
        let joined = try_join_all(tasks).await.map_err(|e| DataFusionError::External(Box::new(e)))?;
        joined.into_iter().collect::<DfResult<Vec<_>>>()?
    } else {
        let mut all = Vec::new();
        for part in parts {
            all.push(part.await?);
        }
        all
    };
    let step = locked(&operator).step(collected, &tick)?;
    locked(&cell.run).late.merge(step.late);
    Ok(step.changes.into_batch(has_diff(&schema))?)
}

async fn collect(
    mut collector: Box<dyn Collector>,
    mut rows: SendableRecordBatchStream,
) -> DfResult<Box<dyn Collector>> {
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        if batch.num_rows() > 0 {
            collector.push(batch)?;
        }
    }
    Ok(collector)
}

/// A plan that can be run again: nothing is left in it of earlier runs, but what its joins have made of their build
/// side. That side is fixed, and none of our joins marks in it what was found.
fn again(plan: &Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    let children = plan.children().into_iter().map(again).collect::<DfResult<Vec<_>>>()?;
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        return HashJoinExecBuilder::from(join).with_new_children(children)?.build_exec();
    }
    match children.is_empty() {
        true => plan.clone().reset_state(),
        false => replace_children_if_necessary(plan.clone(), children)?.reset_state(),
    }
}

/// A plan as it was planned. A join that is run again and again counts each run: now and then it is to begin anew.
pub fn anew(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(reset_plan_states(plan.clone())?)
}

/// The partitions of a plan, run and put together as the changes of an epoch.
pub async fn run(plan: &Arc<dyn ExecutionPlan>, cell: &EpochCell, context: Arc<TaskContext>) -> Result<Changes> {
    let plan = again(plan)?;
    let schema = crate::changes::without_diff(&plan.schema());
    let partitions = plan.properties().partitioning.partition_count();
    let parallel = locked(&cell.run).parallel && partitions > 1;
    let mut streams = Vec::new();
    for partition in 0..partitions {
        streams.push(plan.execute(partition, context.clone())?);
    }
    let batches: Vec<RecordBatch> = if parallel {
        let tasks = streams.into_iter().map(|s| datafusion::common::runtime::SpawnedTask::spawn(s.try_collect()));
        let joined = try_join_all(tasks).await.map_err(|e| Error::internal(format!("an epoch's task died: {e}")))?;
        joined.into_iter().collect::<DfResult<Vec<Vec<_>>>>()?.concat()
    } else {
        let mut all = Vec::new();
        for stream in streams {
            let batches: Vec<RecordBatch> = stream.try_collect().await?;
            all.extend(batches);
        }
        all
    };
    let parts =
        batches.into_iter().filter(|b| b.num_rows() > 0).map(Changes::from_batch).collect::<Result<Vec<_>>>()?;
    Changes::concat(&schema, &parts)
}
