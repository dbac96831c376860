//! Where operators meet DataFusion: the only node type of this crate in an epoch's plan.
//!
//! All nodes of one query's plan share one [`EpochContext`]. Before an epoch the runner fills it with the streams of each
//! input and the tick; the plan, which never changes, is then run like any other.

use std::{fmt, sync::Arc};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::{DataFusionError, Result as DfResult},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
        union::UnionExec,
    },
};
use futures::{StreamExt, TryFutureExt, TryStreamExt, future::try_join_all, stream};
use tokio::sync::OnceCell;

use super::{
    Plan,
    changes_memory::ChangesMemory,
    epoch_context::{EpochContext, SharedOperator},
    event_times::{EventTime, Observed},
    leaf::{BatchSlots, GroupInput},
    offload::offload,
    operator::{Collector, Operator},
    rerun::reset_for_rerun,
    row_errors::{RowErrorFilter, Steps},
};
use crate::{
    changes::{Changes, has_diff},
    error::{Error, Result},
    sync::locked,
    time::{Epoch, Micros},
};

fn properties(schema: SchemaRef, partitions: usize, emission: EmissionType) -> Arc<PlanProperties> {
    let equivalences = EquivalenceProperties::new(schema);
    let partitioning = Partitioning::UnknownPartitioning(partitions);
    Arc::new(PlanProperties::new(equivalences, partitioning, emission, Boundedness::Bounded))
}

/// The kinds of node. One `ExecutionPlan` for all: they differ only in what they do with a stream.
#[derive(Debug, Clone)]
enum NodeKind {
    /// A leaf: this epoch's rows of an input; or those in its slots, if row errors are isolated.
    DeltaScan { input: usize, name: String, slots: Option<Arc<BatchSlots>> },
    /// A leaf: the rows that an operator runs its own plan over.
    GroupInput { given: GroupInput },
    /// Its child's rows without the source rows that an expression fails on.
    RowErrors,
    /// Its child's rows in the first epoch, none in later ones: a constant input is inserted once.
    FirstEpochOnly,
    /// Its child's rows, all in one partition; computed in the first epoch that reads them, cached for all later ones.
    StaticInput { rows: Arc<OnceCell<Vec<RecordBatch>>> },
    /// Passes rows on and records their event times.
    Watermark { time: EventTime, observed: Arc<Observed> },
    /// An operator over all partitions of its children, one for each of its inputs.
    Operator { operator: SharedOperator, label: String },
}

/// A node of this crate in an epoch's plan.
#[derive(Debug)]
pub struct EpochExec {
    kind: NodeKind,
    epoch: Arc<EpochContext>,
    children: Vec<Plan>,
    properties: Arc<PlanProperties>,
}

impl EpochExec {
    /// `isolates_row_errors`: a row that an expression above fails on becomes a dead letter.
    pub fn delta_scan(
        epoch_context: &Arc<EpochContext>,
        input: usize,
        name: String,
        schema: SchemaRef,
        isolates_row_errors: bool,
    ) -> Self {
        let properties = properties(schema, epoch_context.partitions, EmissionType::Incremental);
        let slots = isolates_row_errors.then(|| BatchSlots::new(epoch_context.partitions));
        EpochExec {
            kind: NodeKind::DeltaScan { input, name, slots },
            epoch: epoch_context.clone(),
            children: Vec::new(),
            properties,
        }
    }

    /// The leaf of a plan that an operator runs over stored rows.
    pub fn group_input(epoch_context: &Arc<EpochContext>, given: GroupInput, schema: SchemaRef) -> Self {
        let properties = properties(schema, 1, EmissionType::Incremental);
        EpochExec {
            kind: NodeKind::GroupInput { given },
            epoch: epoch_context.clone(),
            children: Vec::new(),
            properties,
        }
    }

    /// `child` without failing source rows, if it has a source with row error isolation; otherwise `child` itself.
    pub fn isolating_row_errors(epoch_context: &Arc<EpochContext>, child: Plan) -> Plan {
        let partitions = child.properties().partitioning.partition_count();
        if (0..partitions).all(|partition| leaf(&child, partition).is_none()) {
            return child;
        }
        let properties = properties(child.schema(), partitions, EmissionType::Incremental);
        Arc::new(EpochExec {
            kind: NodeKind::RowErrors,
            epoch: epoch_context.clone(),
            children: vec![child],
            properties,
        })
    }

    pub fn first_epoch_only(epoch_context: &Arc<EpochContext>, child: Plan) -> Self {
        let partitions = child.properties().partitioning.partition_count();
        let properties = properties(child.schema(), partitions, EmissionType::Incremental);
        EpochExec { kind: NodeKind::FirstEpochOnly, epoch: epoch_context.clone(), children: vec![child], properties }
    }

    pub fn static_input(epoch_context: &Arc<EpochContext>, child: Plan) -> Self {
        let properties = properties(child.schema(), 1, EmissionType::Incremental);
        EpochExec {
            kind: NodeKind::StaticInput { rows: Arc::default() },
            epoch: epoch_context.clone(),
            children: vec![child],
            properties,
        }
    }

    pub fn watermark(
        epoch_context: &Arc<EpochContext>,
        child: Plan,
        time: EventTime,
        ahead_us_max: Option<Micros>,
    ) -> Self {
        let observed = Arc::new(Observed::new(ahead_us_max));
        epoch_context.add_watermark(observed.clone());
        let partitions = child.properties().partitioning.partition_count();
        let properties = properties(child.schema(), partitions, EmissionType::Incremental);
        EpochExec {
            kind: NodeKind::Watermark { time, observed },
            epoch: epoch_context.clone(),
            children: vec![child],
            properties,
        }
    }

    /// `schema` is that of the operator's changes, with the diff if it retracts. Its state is saved under its `uid`.
    pub fn operator(
        epoch_context: &Arc<EpochContext>,
        children: Vec<Plan>,
        operator: Box<dyn Operator>,
        (uid, label): (&str, String),
        schema: SchemaRef,
    ) -> Self {
        let operator = epoch_context.add_operator(uid, operator);
        let properties = properties(schema, 1, EmissionType::Final);
        EpochExec { kind: NodeKind::Operator { operator, label }, epoch: epoch_context.clone(), children, properties }
    }

    /// The slots of a leaf with row error isolation.
    fn slots(&self) -> Option<&Arc<BatchSlots>> {
        match &self.kind {
            NodeKind::DeltaScan { slots, .. } => slots.as_ref(),
            _ => None,
        }
    }

    /// Whether its output partitions are those of its child.
    fn passes_on(&self) -> bool {
        matches!(self.kind, NodeKind::Watermark { .. })
    }

    fn child_stream(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        match self.children.first() {
            Some(child) => child.execute(partition, context),
            None => Ok(Box::pin(EmptyRecordBatchStream::new(self.schema()))),
        }
    }
}

impl DisplayAs for EpochExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            NodeKind::DeltaScan { name, .. } => write!(f, "DeltaScan: {name}"),
            NodeKind::GroupInput { .. } => write!(f, "GroupInput"),
            NodeKind::RowErrors => write!(f, "RowErrorFilter"),
            NodeKind::FirstEpochOnly => write!(f, "FirstEpochOnly"),
            NodeKind::StaticInput { .. } => write!(f, "StaticInput"),
            NodeKind::Watermark { time, .. } => write!(f, "Watermark: {}", self.schema().field(time.column).name()),
            NodeKind::Operator { label, .. } => write!(f, "{label}"),
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

    fn children(&self) -> Vec<&Plan> {
        self.children.iter().collect()
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> DfResult<Plan> {
        let properties = match (&self.kind, children.as_slice()) {
            // It has the partitions of its child; the new child may have fewer.
            (NodeKind::FirstEpochOnly | NodeKind::RowErrors | NodeKind::Watermark { .. }, [child]) => {
                let partitions = child.properties().partitioning.partition_count();
                properties(self.schema(), partitions, EmissionType::Incremental)
            }
            _ => self.properties.clone(),
        };
        Ok(Arc::new(EpochExec { kind: self.kind.clone(), epoch: self.epoch.clone(), children, properties }))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        match &self.kind {
            NodeKind::DeltaScan { input, slots, .. } => {
                let given = slots.as_ref().and_then(|slots| slots.take(partition));
                let rows = match given {
                    Some(batch) => stream::iter([Ok(batch)]).boxed(),
                    None => {
                        let (epoch_context, rows) =
                            (self.epoch.clone(), self.epoch.rows(*input, partition, self.schema(), context));
                        let pieces = move |(_, batch)| stream::iter(epoch_context.pieces(batch).map(Ok));
                        rows.map_ok(pieces).try_flatten().boxed()
                    }
                };
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
            }
            NodeKind::GroupInput { given } => {
                let rows = stream::iter(locked(given).take().map(Ok));
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
            }
            NodeKind::RowErrors => {
                let child =
                    self.children.first().ok_or_else(|| Error::internal("there is no input whose rows may fail"))?;
                match row_error_filter(&self.epoch, child, partition, &context) {
                    Some(row_error_filter) => {
                        let rows = row_error_filter.batches().map_err(DataFusionError::from);
                        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
                    }
                    None => child.execute(partition, context),
                }
            }
            NodeKind::FirstEpochOnly if self.epoch.tick().epoch > Epoch(1) => {
                Ok(Box::pin(EmptyRecordBatchStream::new(self.schema())))
            }
            NodeKind::FirstEpochOnly => self.child_stream(partition, context),
            NodeKind::StaticInput { rows } => {
                let rows = static_rows(rows.clone(), self.children.first().cloned(), context);
                let batches = rows.map_ok(|rows| stream::iter(rows.into_iter().map(DfResult::Ok))).try_flatten_stream();
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
            }
            NodeKind::Watermark { time, observed } => {
                let (time, observed, now) = (*time, observed.clone(), self.epoch.tick().now);
                let noted = self.child_stream(partition, context)?.inspect_ok(move |batch| {
                    observed.observe(batch, time, now);
                });
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), noted)))
            }
            NodeKind::Operator { operator, .. } => {
                let children = self.children.clone();
                let work = step(self.epoch.clone(), operator.clone(), children, context, self.schema());
                Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream::once(work))))
            }
        }
    }
}

/// The rows of a static input, computed once and cached.
async fn static_rows(
    rows: Arc<OnceCell<Vec<RecordBatch>>>,
    child: Option<Plan>,
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

/// The row error isolation of one partition; `None` if its source has none.
fn row_error_filter(
    epoch_context: &EpochContext,
    plan: &Plan,
    partition: usize,
    context: &Arc<TaskContext>,
) -> Option<RowErrorFilter> {
    let (leaf, at) = leaf(plan, partition)?;
    let NodeKind::DeltaScan { input, slots: Some(slots), .. } = &leaf.kind else { return None };
    let failed = epoch_context.failed_of(*input)?;
    let rows = epoch_context.rows(*input, at, leaf.schema(), context.clone()).map_err(Error::from).boxed();
    let (plan, context, slots, runs) = (plan.clone(), context.clone(), slots.clone(), epoch_context.runs.clone());
    Some(RowErrorFilter { steps: Steps { plan, partition, context, slots, at, runs }, rows, todo: Vec::new(), failed })
}

/// The source leaf that a partition's rows come from, and their partition in that leaf, through stateless nodes only;
/// `None` if there is no such leaf or it has no row error isolation.
fn leaf(plan: &Plan, mut partition: usize) -> Option<(&EpochExec, usize)> {
    if let Some(node) = plan.downcast_ref::<EpochExec>() {
        return match node.passes_on() {
            true => node.children().into_iter().find_map(|child| leaf(child, partition)),
            false => node.slots().map(|_| (node, partition)),
        };
    }
    if plan.downcast_ref::<UnionExec>().is_none() {
        // One side of a join is static: the other one leads to the source.
        return plan.children().into_iter().find_map(|child| leaf(child, partition));
    }
    for child in plan.children() {
        let own = child.properties().partitioning.partition_count();
        if partition < own {
            return leaf(child, partition);
        }
        partition -= own;
    }
    None
}

/// One epoch of one operator: every partition of each input collected, then the step.
async fn step(
    epoch_context: Arc<EpochContext>,
    operator: SharedOperator,
    children: Vec<Plan>,
    context: Arc<TaskContext>,
    schema: SchemaRef,
) -> DfResult<RecordBatch> {
    let tick = epoch_context.tick();
    let parallel = epoch_context.is_parallel();
    let mut parts = Vec::new();
    for (input, child) in children.iter().enumerate() {
        for partition in 0..child.properties().partitioning.partition_count() {
            let collector = locked(&operator).collector(input, &tick)?;
            let rows = match row_error_filter(&epoch_context, child, partition, &context) {
                Some(row_error_filter) => CollectorInput::Isolated(row_error_filter),
                None => CollectorInput::Rows(child.execute(partition, context.clone())?),
            };
            parts.push(collect(collector, rows));
        }
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
    let step = offload(move || locked(&operator).step(collected, &tick)).await?;
    epoch_context.add_late(step.late);
    Ok(step.changes.into_batch(has_diff(&schema))?)
}

/// The input of a collector.
enum CollectorInput {
    Rows(SendableRecordBatchStream),
    /// With row error isolation, which covers the operator's expressions and the nodes below it.
    Isolated(RowErrorFilter),
}

async fn collect(mut collector: Box<dyn Collector>, rows: CollectorInput) -> DfResult<Box<dyn Collector>> {
    match rows {
        CollectorInput::Rows(mut rows) => {
            while let Some(batch) = rows.try_next().await? {
                if batch.num_rows() > 0 {
                    let rows = collector.evaluate(batch)?;
                    collector.push(rows)?;
                }
            }
        }
        CollectorInput::Isolated(mut row_error_filter) => {
            while let Some(made) = row_error_filter.next(&mut |batch| collector.evaluate(batch)).await? {
                made.into_iter().try_for_each(|rows| collector.push(rows))?;
            }
        }
    }
    Ok(collector)
}

/// Runs all partitions of a plan and concatenates their output as the changes of an epoch.
pub async fn run(plan: &Plan, epoch_context: &EpochContext, context: Arc<TaskContext>) -> Result<Changes> {
    let plan = reset_for_rerun(plan)?;
    let schema = crate::changes::without_diff(&plan.schema());
    let partitions = plan.properties().partitioning.partition_count();
    let parallel = epoch_context.is_parallel() && partitions > 1;
    let held = Arc::new(ChangesMemory::within(&context));
    let mut streams = Vec::new();
    for partition in 0..partitions {
        let held = held.clone();
        let batches = plan.execute(partition, context.clone())?;
        streams.push(batches.and_then(move |batch| std::future::ready(held.ask(&batch).map(|()| batch))));
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
