//! The pipeline of a query: its incremental plan, the state of the plan's operators, and the relation with its answer.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use super::{
    checkpoints::Checkpoints, dead_letters::dead_letters, input_cursor::OpenedInput, late_rows::late_rows,
    setup::QueryEnv, sink_driver::SinkDriver,
};
use crate::{
    changes::{Changes, ChangesHash, batch_of},
    checkpoint::{Commit, Intent},
    error::{Error, Result},
    exec::{self, Operator},
    memory::BudgetShare,
    relations::{Draft as RelationDraft, Relation, SharedRelation, Store},
    sql::{
        incremental::{PlannedInput, Rewritten},
        plan::ContinuousPlan,
    },
    state::StateId,
    time::{Epoch, Micros, Tick},
};

/// Runs the plan of a query epoch by epoch. Invariants:
///
/// - State and relation are as of the same epoch, the last one that was run or loaded. The changes that
///   [`QueryPipeline::run`] returns are in the relation, once (of a sink as its `Retention` says).
/// - Readers see the relation as of the last [`QueryPipeline::publish`].
/// - Once an epoch or a drain did not complete, the pipeline is poisoned for good: what its state and relation hold is
///   undefined, and the query has to be rebuilt. One whose load failed is not used either.
/// - An epoch is run only while it has room in `EpochMemory`.
#[derive(Debug)]
pub(super) struct QueryPipeline {
    /// The query's name, in its dead letters and late rows.
    name: String,
    planned: ContinuousPlan,
    relation: Arc<SharedRelation>,
    /// Share of the memory budget for state and relation.
    share: BudgetShare,
    /// Whether an epoch or a drain was begun and did not complete.
    poisoned: bool,
}

/// The rows of one epoch, or of one piece of it.
#[derive(Debug)]
pub(super) struct PipelineInput {
    pub(super) opened: Vec<OpenedInput>,
    /// Estimate of their size.
    pub(super) bytes: usize,
    /// Whether they are of a snapshot of a relation.
    pub(super) is_snapshot: bool,
}

impl QueryPipeline {
    /// With empty state. `relation` is what clients read, `share` what state and relation are charged to.
    pub(super) fn new(
        env: &QueryEnv,
        name: String,
        planned: ContinuousPlan,
        relation: Arc<SharedRelation>,
        share: BudgetShare,
    ) -> Self {
        planned.epoch_context.set_compaction(env.thresholds.compaction);
        QueryPipeline { name, planned, relation, share, poisoned: false }
    }

    pub(super) fn rewritten(&self) -> &Rewritten {
        &self.planned.rewritten
    }

    pub(super) fn inputs(&self) -> &[PlannedInput] {
        &self.planned.rewritten.inputs
    }

    /// The ids of the inputs, in the order of the plan.
    pub(super) fn input_ids(&self) -> Vec<u64> {
        self.inputs().iter().map(|input| input.table.id).collect()
    }

    pub(super) fn relation(&self) -> &Arc<SharedRelation> {
        &self.relation
    }

    /// Sets the relation that epochs are applied to; returns the one before.
    pub(super) fn replace_relation(&mut self, relation: Arc<SharedRelation>) -> Arc<SharedRelation> {
        std::mem::replace(&mut self.relation, relation)
    }

    /// Shows readers and followers the relation as of the last epoch.
    pub(super) fn publish(&self) {
        self.relation.publish();
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// Whether an operator has a window or timer due.
    pub(super) fn is_due(&self, watermark: Option<Micros>, now: Micros) -> Result<bool> {
        let due = self.planned.epoch_context.each_operator(|_, operator| Ok(operator.is_due(watermark, now)))?;
        Ok(due.contains(&true))
    }

    /// Whether other views follow the event times of its answer.
    pub(super) fn has_timed_followers(&self) -> bool {
        self.rewritten().times.iter().any(Option::is_some) && self.relation.lock().follows_from().is_some()
    }

    /// Rows read of one input in the last epoch.
    pub(super) fn rows_of(&self, input: usize) -> u64 {
        self.planned.epoch_context.rows_of(input)
    }
}

/// Running an epoch.
impl QueryPipeline {
    /// Runs the plan over the rows of an epoch and applies its changes to state and relation, in memory; waits first
    /// for room in `EpochMemory`. `before` is the watermark before the epoch. Returns what its commit is to tell, and
    /// its changes. Fails before anything is changed if its state and relation would not fit a snapshot that is read.
    pub(super) async fn run(
        &mut self,
        env: &QueryEnv,
        intent: &Intent,
        before: Option<Micros>,
        input: PipelineInput,
        sink_driver: Option<&SinkDriver>,
    ) -> Result<(Commit, Changes)> {
        let PipelineInput { opened, bytes, is_snapshot } = input;
        if is_snapshot {
            // Estimate of state plus relation after this epoch, in bytes.
            self.share.ask(self.bytes()?.saturating_add(2 * bytes))?;
        }
        let _room = env.epochs.enter(bytes).await;
        let was_poisoned = std::mem::replace(&mut self.poisoned, true);
        let done = self.run_plan(env, intent, before, opened, sink_driver).await?;
        self.poisoned = was_poisoned;
        Ok(done)
    }

    async fn run_plan(
        &mut self,
        env: &QueryEnv,
        intent: &Intent,
        before: Option<Micros>,
        opened: Vec<OpenedInput>,
        sink_driver: Option<&SinkDriver>,
    ) -> Result<(Commit, Changes)> {
        if self.planned.epoch_context.runs_exceed(env.thresholds.plan_runs_max) {
            self.planned.plan = exec::rebuild(&self.planned.plan)?;
        }
        let (streams, bad): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        let ContinuousPlan { plan, epoch_context, rewritten, .. } = &self.planned;
        let parallel = streams.iter().any(|input| input.len() > 1);
        let tick = Tick { epoch: intent.epoch, watermark: intent.watermark, before, now: intent.now };
        let failed = streams.iter().map(|_| env.dead_letters.collector()).collect();
        epoch_context.fill(tick, streams, failed, parallel);
        let changes = exec::run(plan, epoch_context, env.context.clone()).await?;
        let changes = self.apply(intent, changes, sink_driver)?;
        let late = epoch_context.take_late();
        let (dead_letters, bad) = dead_letters(&self.name, &rewritten.inputs, intent, &bad, &epoch_context.failed());
        let commit = Commit {
            query: intent.query,
            epoch: intent.epoch,
            rows_in: epoch_context.rows_in(),
            rows_out: changes.num_rows() as u64,
            hash: if rewritten.reproducible { ChangesHash::of(&changes) } else { None },
            late: late.behind,
            untimed: late.untimed,
            bad,
            observed: epoch_context.observed(),
            late_rows: late_rows(&self.name, intent, &late.kept)?,
            dead_letters,
        };
        Ok((commit, changes))
    }

    /// Applies the changes of an epoch to the relation; returns them as they were applied.
    fn apply(&self, intent: &Intent, changes: Changes, sink_driver: Option<&SinkDriver>) -> Result<Changes> {
        let mut relation = self.relation.lock();
        let changes = retyped(changes, relation.schema())?;
        if let Some(sink_driver) = sink_driver {
            return sink_driver.apply(intent.epoch, changes, &mut relation);
        }
        relation.apply(intent.epoch, &changes)?;
        relation.note_watermark(intent.watermark);
        Ok(changes)
    }
}

/// The memory of state and relation.
impl QueryPipeline {
    /// Bytes of operator state and relation in memory.
    fn bytes(&self) -> Result<usize> {
        Ok(self.state_bytes()? + self.relation.lock().bytes())
    }

    /// Bytes of operator state in memory.
    pub(super) fn state_bytes(&self) -> Result<usize> {
        Ok(self.state_sizes()?.iter().map(|(_, bytes)| bytes).sum())
    }

    /// Per operator: rows and bytes of its state.
    pub(super) fn state_sizes(&self) -> Result<Vec<(usize, usize)>> {
        self.planned.epoch_context.each_operator(|_, operator| {
            let state = operator.state();
            Ok((state.len(), state.bytes()))
        })
    }

    /// Charges state and relation to the budget. Fails if they do not fit.
    pub(super) fn charge(&self) -> Result<()> {
        self.share.ask(self.bytes()?)
    }

    /// Charges state and relation to the budget, even beyond its limit: they were loaded and cannot be given up.
    pub(super) fn charge_loaded(&self) -> Result<()> {
        self.share.hold(self.bytes()?);
        Ok(())
    }
}

/// Saving and loading.
impl QueryPipeline {
    /// The operators, as checkpoints know them.
    pub(super) fn state_ids(&self) -> Vec<StateId> {
        self.planned.epoch_context.state_ids()
    }

    /// The same operators with empty state.
    pub(super) fn fresh_operators(&self) -> Result<Vec<Box<dyn Operator>>> {
        self.planned.epoch_context.each_operator(|_, operator| operator.fresh())
    }

    /// The changes of the relation since its last draft.
    pub(super) fn draft_relation(&self, store: &Store) -> Result<Option<RelationDraft>> {
        store.draft(&mut self.relation.lock())
    }

    /// Drains the changes since the last drain from the state: per operator, a section of a checkpoint. What is
    /// returned is then nowhere else.
    pub(super) fn drain(&mut self) -> Result<Vec<Vec<RecordBatch>>> {
        let was_poisoned = std::mem::replace(&mut self.poisoned, true);
        let sections =
            self.planned.epoch_context.each_operator(|_, operator| Ok(operator.state().save(false)?.rows))?;
        self.poisoned = was_poisoned;
        Ok(sections)
    }

    /// Loads the operators' state from a chain of checkpoints; `watermark` is that of the newest one. Blocking.
    pub(super) fn load_state(&self, checkpoints: &Checkpoints, watermark: Option<Micros>) -> Result<()> {
        let epoch_context = &self.planned.epoch_context;
        checkpoints.each(|operator, batch| {
            // A batch of a later checkpoint replaces all or part of what was loaded before.
            self.share.load(self.state_bytes()?.max(batch.get_array_memory_size()))?;
            let load = epoch_context.with_operator(operator, |operator| operator.state().load(batch));
            load.unwrap_or_else(|| Err(Error::internal("a checkpoint of another plan was loaded")))
        })?;
        epoch_context.each_operator(|_, operator| {
            operator.restored(watermark);
            Ok(())
        })?;
        Ok(())
    }

    /// Loads a relation as of the checkpoint of epoch `at`, with what the followers of the present one need. Blocking.
    pub(super) fn load_relation(&self, env: &QueryEnv, store: &Store, at: Epoch) -> Result<Relation> {
        let (mut relation, followed) = {
            let old = self.relation.lock();
            let mut relation = Relation::new(old.schema().clone(), old.identity().clone())?.of_a_query();
            relation.serve_as(&old);
            (relation, old.follows_from())
        };
        relation.limit_changelog(&env.changelog);
        relation.set_thresholds(env.thresholds.unsaved_rows_min, env.thresholds.compaction);
        let state = self.state_bytes()?;
        store.load(&mut relation, Some(at), followed, &|bytes| self.share.load(state + bytes))?;
        Ok(relation)
    }
}

/// `changes` with the field names and nullability of `schema`.
fn retyped(changes: Changes, schema: &SchemaRef) -> Result<Changes> {
    let rows = changes.rows();
    let rows = batch_of(schema, rows.columns().to_vec(), rows.num_rows())?;
    Ok(match changes.diffs() {
        Some(diffs) => Changes::new(rows, diffs.clone()),
        None => Changes::insert(rows),
    })
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ArrayRef, Int64Array},
        datatypes::{DataType, Field, Schema},
    };
    use datafusion::{
        error::DataFusionError,
        execution::{SendableRecordBatchStream, TaskContext},
        logical_expr::LogicalPlan,
        physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
    };
    use futures::stream;

    use super::*;
    use crate::{
        changes::with_diff,
        checkpoint::Log,
        connectors::{BadRecords, SourceStream},
        dead_letters::{CommitRecorder, DeadLetterQueue, LateRowLog, QueueLimit},
        error::ErrorKind,
        exec::{EpochContext, EpochExec},
        memory::Budget,
        metrics::Registry,
        operators::Emission,
        options::SecretRedactor,
        query::{EpochMemory, Thresholds},
        relations::{ChangelogLimit, Identity},
        storage::{MemoryStorage, Storage},
        time::ManualClock,
    };

    const BUDGET_BYTES: u64 = 1 << 20;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
    }

    fn env(plan_runs_max: u64) -> QueryEnv {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
        let limit = QueueLimit { rows: 10, bytes: 1 << 10 };
        let (log, _) = Log::open(storage.clone(), 1).unwrap();
        let (log, dead_letters, late_rows) =
            (Arc::new(log), Arc::new(DeadLetterQueue::new(limit, limit)), Arc::new(LateRowLog::new(limit)));
        QueryEnv {
            storage,
            clock: Arc::new(ManualClock::default()),
            commits: Arc::new(CommitRecorder::new(log.clone(), dead_letters.clone(), late_rows.clone())),
            log,
            dead_letters,
            late_rows,
            context: Arc::new(TaskContext::default()),
            budget: Arc::new(Budget::new(BUDGET_BYTES)),
            hidden: Arc::new(SecretRedactor::default()),
            metrics: Arc::new(Registry::default()),
            changelog: ChangelogLimit::new(1, 1, 1),
            epochs: EpochMemory::new(1 << 20),
            thresholds: Thresholds { plan_runs_max, ..Thresholds::default() },
        }
    }

    /// The pipeline of `SELECT n FROM t`, where rows of `t` may also go.
    fn pipeline(env: &QueryEnv) -> QueryPipeline {
        let epoch_context = EpochContext::new(1);
        let plan = EpochExec::delta_scan(&epoch_context, 0, "t".to_string(), with_diff(&schema()), false);
        let rewritten = Rewritten {
            plan: LogicalPlan::default(),
            diff: true,
            key: None,
            inputs: Vec::new(),
            watermarks: Vec::new(),
            followed: Vec::new(),
            uses_clock: false,
            times: Vec::new(),
            reproducible: true,
            remembers: Vec::new(),
            unbounded: Vec::new(),
        };
        let emission = Emission::OnUpdate;
        let planned = ContinuousPlan { plan: Arc::new(plan), epoch_context, rewritten, schema: schema(), emission };
        let relation = Relation::new(schema(), Identity::Row).unwrap();
        let relation = SharedRelation::new(7, "v", relation, Default::default());
        QueryPipeline::new(env, "v".to_string(), planned, relation, env.budget.share("view \"v\""))
    }

    /// Rows with their diffs; none: reading them fails.
    #[derive(Debug)]
    struct Rows(SchemaRef, Option<RecordBatch>);

    impl PartitionStream for Rows {
        fn schema(&self) -> &SchemaRef {
            &self.0
        }

        fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
            let rows = self.1.clone().ok_or_else(|| DataFusionError::Execution("the input is away".to_string()));
            Box::pin(RecordBatchStreamAdapter::new(self.0.clone(), stream::iter([rows])))
        }
    }

    fn input(rows: Option<&[(i64, i64)]>) -> PipelineInput {
        let schema = with_diff(&schema());
        let batch = rows.map(|rows| {
            let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
            let (ns, diffs) = rows.iter().copied().unzip();
            RecordBatch::try_new(schema.clone(), vec![column(ns), column(diffs)]).unwrap()
        });
        let stream = SourceStream::only(Arc::new(Rows(schema, batch)));
        PipelineInput { opened: vec![(vec![stream], BadRecords::default())], bytes: 100, is_snapshot: false }
    }

    async fn run(
        pipeline: &mut QueryPipeline,
        env: &QueryEnv,
        epoch: u64,
        input: PipelineInput,
    ) -> Result<(Commit, Changes)> {
        let (epoch, spans) = (Epoch(epoch), Vec::new());
        let intent = Intent { query: 7, epoch, spans, watermark: None, now: 0, partitions: 1 };
        pipeline.run(env, &intent, None, input, None).await
    }

    /// Rows of the relation, and of what is published of it.
    fn rows(pipeline: &QueryPipeline) -> (usize, usize) {
        (pipeline.relation.lock().rows(), pipeline.relation.snapshot().rows())
    }

    #[tokio::test]
    async fn pipeline_applies_the_changes_of_an_epoch_once_and_publishes_them_when_told() {
        let env = env(1_000);
        let mut pipeline = pipeline(&env);
        let (commit, changes) = run(&mut pipeline, &env, 1, input(Some(&[(1, 1), (1, 1), (2, 1)]))).await.unwrap();
        assert_eq!((commit.epoch, commit.rows_in, commit.rows_out), (Epoch(1), 3, 3));
        assert_eq!(changes.num_rows(), 3);
        assert_eq!((rows(&pipeline), pipeline.relation.lock().epoch()), ((3, 0), Epoch(1)));
        pipeline.publish();
        assert_eq!(rows(&pipeline), (3, 3));
        let (commit, _) = run(&mut pipeline, &env, 2, input(Some(&[(1, -1), (3, 1), (4, 1)]))).await.unwrap();
        assert_eq!((commit.rows_in, commit.rows_out), (3, 3), "of this epoch only");
        assert_eq!((rows(&pipeline), pipeline.relation.lock().epoch()), ((4, 3), Epoch(2)));
        assert!(!pipeline.is_poisoned());
    }

    #[tokio::test]
    async fn pipeline_is_poisoned_for_good_by_an_epoch_that_failed() {
        let env = env(1_000);
        for (failing, applied) in [(None, 1), (Some([(5, -1)].as_slice()), 1)] {
            let mut pipeline = pipeline(&env);
            run(&mut pipeline, &env, 1, input(Some(&[(1, 1)]))).await.unwrap();
            assert!(run(&mut pipeline, &env, 2, input(failing)).await.is_err(), "no input, or a row that is not there");
            assert!(pipeline.is_poisoned());
            assert_eq!(rows(&pipeline), (applied, 0));
            assert!(pipeline.drain().unwrap().is_empty());
            assert!(pipeline.is_poisoned(), "a drain that completes does not make it whole");
            run(&mut pipeline, &env, 3, input(Some(&[(2, 1)]))).await.unwrap();
            assert!(pipeline.is_poisoned(), "nor does another epoch");
        }
    }

    #[tokio::test]
    async fn pipeline_refuses_a_snapshot_that_would_not_fit_before_it_is_read() {
        let env = env(1_000);
        let mut pipeline = pipeline(&env);
        let snapshot = |bytes| PipelineInput { bytes, is_snapshot: true, ..input(Some(&[(1, 1)])) };
        let error = run(&mut pipeline, &env, 1, snapshot(BUDGET_BYTES as usize)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConfigurationLimit);
        assert_eq!((rows(&pipeline), pipeline.is_poisoned()), ((0, 0), false));
        run(&mut pipeline, &env, 1, snapshot(100)).await.unwrap();
        let others = PipelineInput { bytes: BUDGET_BYTES as usize, ..input(Some(&[(2, 1)])) };
        run(&mut pipeline, &env, 2, others).await.unwrap();
        assert_eq!(rows(&pipeline), (2, 0));
    }

    #[tokio::test]
    async fn pipeline_runs_a_plan_built_anew_after_so_many_runs() {
        let env = env(2);
        let mut pipeline = pipeline(&env);
        let mut built = Vec::new();
        for epoch in 1..=4 {
            let before = pipeline.planned.plan.clone();
            run(&mut pipeline, &env, epoch, input(Some(&[(1, 1)]))).await.unwrap();
            built.push(!Arc::ptr_eq(&before, &pipeline.planned.plan));
        }
        assert_eq!(built, [false, false, true, false]);
        assert_eq!(rows(&pipeline), (4, 0));
    }

    #[tokio::test]
    async fn pipeline_applies_to_the_replaced_relation_and_readers_of_the_first_see_nothing() {
        let env = env(1_000);
        let mut pipeline = pipeline(&env);
        let rebuilt = Relation::new(schema(), Identity::Row).unwrap();
        let first = pipeline.replace_relation(SharedRelation::new(7, "v", rebuilt, Default::default()));
        run(&mut pipeline, &env, 1, input(Some(&[(1, 1)]))).await.unwrap();
        assert_eq!((first.lock().rows(), rows(&pipeline)), (0, (1, 0)));
        let rebuilt = pipeline.replace_relation(first);
        pipeline.relation().take_over(&rebuilt);
        assert_eq!(rows(&pipeline), (1, 0));
    }
}
