//! Joins take turns with whatever else runs on their threads.
//!
//! A join makes many rows of few, and DataFusion counts only what is read from the leaves: a join of two small tables
//! that gives billions of rows, or compares billions of pairs and gives none, never lets go of its thread. It could not
//! be cancelled, as a task ends only where it waits, and no other session would be served meanwhile. So what a join
//! gives is handed on by [`TurnsExec`], which waits a moment now and then; and a nested loop join, which does not look
//! up before it has compared a whole batch with everything on its other side, is fed in small pieces.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use datafusion::{
    common::{
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_optimizer::{PhysicalOptimizerRule, optimizer::PhysicalOptimizer},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, RecordBatchStream,
        filter_pushdown::{ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation},
        joins::NestedLoopJoinExec,
        replace_children_if_necessary,
    },
};
use futures::{Stream, StreamExt};
use tokio::time::Instant;

/// How long a query may hold a thread before it lets others have it: short for a person, long for a computer.
const TURN: Duration = Duration::from_millis(20);
/// The first piece that a nested loop join gets. It grows and shrinks until one takes about a turn.
const FIRST_PIECE_ROWS: usize = 16;

/// DataFusion's rules, and ours where the plan has its shape but its filters are not linked yet.
pub(super) fn rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let at = rules.iter().position(|rule| rule.name() == "EnsureCooperative").unwrap_or(rules.len());
    rules.insert(at, Arc::new(TakeTurns));
    rules
}

/// Puts a [`TurnsExec`] around whatever makes many rows of few.
#[derive(Debug)]
struct TakeTurns;

impl PhysicalOptimizerRule for TakeTurns {
    fn name(&self) -> &str {
        "take_turns"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            if !plan.name().contains("Join") && plan.name() != "UnnestExec" {
                return Ok(Transformed::no(plan));
            }
            let plan = match plan.name() == NestedLoopJoinExec::static_name() {
                true => fed_in_pieces(plan)?,
                false => plan,
            };
            Ok(Transformed::yes(TurnsExec::around(plan, false)))
        })
        .data()
    }
}

/// The right side of a nested loop join is the one that it reads batch by batch.
fn fed_in_pieces(join: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    let mut children: Vec<_> = join.children().into_iter().cloned().collect();
    if let Some(right) = children.pop() {
        children.push(TurnsExec::around(right, true));
    }
    replace_children_if_necessary(join, children)
}

/// Hands on what its input gives, and lets others have the thread between.
#[derive(Debug)]
struct TurnsExec {
    input: Arc<dyn ExecutionPlan>,
    /// Whether batches go on in pieces, each as large as the reader is quick.
    pieces: bool,
}

impl TurnsExec {
    fn around(input: Arc<dyn ExecutionPlan>, pieces: bool) -> Arc<dyn ExecutionPlan> {
        Arc::new(TurnsExec { input, pieces })
    }
}

impl DisplayAs for TurnsExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.pieces { "TurnsExec: in pieces" } else { "TurnsExec" })
    }
}

impl ExecutionPlan for TurnsExec {
    fn name(&self) -> &str {
        "TurnsExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(TurnsExec::around(children.pop().unwrap_or_else(|| self.input.clone()), self.pieces))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let pieces = self.pieces.then(|| Pieces { rows: FIRST_PIECE_ROWS, rest: None, given: None });
        Ok(Box::pin(Turns { input, pieces, since: Instant::now() }))
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> DfResult<FilterDescription> {
        FilterDescription::from_children(filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> DfResult<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }
}

struct Turns {
    input: SendableRecordBatchStream,
    pieces: Option<Pieces>,
    /// When it last let others have the thread.
    since: Instant,
}

/// A batch on its way in pieces.
struct Pieces {
    rows: usize,
    rest: Option<RecordBatch>,
    /// When the last piece was given: the reader comes back when it is done with it.
    given: Option<Instant>,
}

impl Pieces {
    /// Towards pieces that take half a turn to a turn.
    fn learn(&mut self, now: Instant) {
        match self.given.take().map(|given| now - given) {
            Some(took) if took > TURN => self.rows = (self.rows / 2).max(1),
            Some(took) if took < TURN / 2 => self.rows = self.rows.saturating_mul(2),
            _ => {}
        }
    }

    fn cut(&mut self, batch: RecordBatch) -> RecordBatch {
        if batch.num_rows() <= self.rows {
            return batch;
        }
        self.rest = Some(batch.slice(self.rows, batch.num_rows() - self.rows));
        batch.slice(0, self.rows)
    }
}

impl Stream for Turns {
    type Item = DfResult<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let now = Instant::now();
        if let Some(pieces) = &mut this.pieces {
            pieces.learn(now);
        }
        if now - this.since > TURN {
            this.since = now;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let rest = this.pieces.as_mut().and_then(|pieces| pieces.rest.take());
        let batch = match rest {
            Some(rest) => rest,
            None => match ready!(this.input.poll_next_unpin(context)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            },
        };
        let Some(pieces) = &mut this.pieces else { return Poll::Ready(Some(Ok(batch))) };
        let piece = pieces.cut(batch);
        pieces.given = Some(Instant::now());
        Poll::Ready(Some(Ok(piece)))
    }
}

impl RecordBatchStream for Turns {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    fn context() -> SessionContext {
        let config = SessionConfig::new().with_target_partitions(2);
        let state = SessionStateBuilder::new_with_default_features().with_config(config);
        SessionContext::new_with_state(state.with_physical_optimizer_rules(rules()).build())
    }

    /// On one thread: whoever does not let go of it is seen by the other, which would not run at all.
    #[tokio::test]
    async fn a_join_lets_others_have_the_thread() {
        for condition in ["a.value * b.value % 7 = 3", "a.value * b.value < 0", "a.value % 2 = b.value % 2", "true"] {
            let sql = format!(
                "SELECT count(*) FROM generate_series(1, 200000) a JOIN generate_series(1, 200000) b ON {condition}"
            );
            let query = tokio::spawn(async move { context().sql(&sql).await.expect("planned").collect().await });
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            query.abort();
            let ended = tokio::time::timeout(Duration::from_secs(20), query).await.expect("it ends");
            assert!(ended.is_err_and(|e| e.is_cancelled()), "{condition}");
        }
    }

    #[tokio::test]
    async fn pieces_are_the_whole() {
        for (kind, rows) in [("JOIN", 990), ("LEFT JOIN", 991), ("RIGHT JOIN", 991), ("FULL JOIN", 992)] {
            let sql = format!(
                "SELECT a.value, b.value FROM generate_series(10, 20) a {kind} generate_series(1, 100) b \
                 ON a.value < b.value + 1000 AND a.value <> 20 AND b.value <> 100",
            );
            let batches = context().sql(&sql).await.expect("planned").collect().await.expect("joined");
            let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(found, rows, "{kind}");
        }
    }
}
