//! Cooperative scheduling of joins: they yield their thread to other tasks.
//!
//! A join may output many rows per input row, and DataFusion yields only when reading from the leaves: a join of two
//! small tables that outputs billions of rows, or compares billions of pairs and outputs none, never yields. It could
//! not be cancelled, as a task is cancelled only where it awaits, and no other session would run meanwhile. So the
//! output of a join passes through [`Split`], which yields now and then; and a nested loop join, which does not yield
//! before it has compared a whole batch with all rows of its other side, gets its input in small pieces.
//!
//! A single slow function call cannot yield: `aside.rs` moves it to where it may block, and another thread takes over
//! the tasks of the worker.
//!
//! The same pieces bound the memory of wide rows: a batch is limited by rows, not bytes, and a single batch of long
//! texts made by a projection could fill the memory.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::tree_node::Transformed,
    error::Result as DfResult,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::expressions::Column,
    physical_plan::{ExecutionPlan, RecordBatchStream, joins::NestedLoopJoinExec, projection::ProjectionExec},
};
use futures::{Stream, StreamExt};
use tokio::time::Instant;

use super::{
    Plan,
    aside::{Aside, is_slow},
    node_rule::{Rule, node_rule, with_inputs},
    pass_through::{PassThrough, around},
};
use crate::changes::bytes_of;

/// How long a query may hold a thread before it yields: short for a person, long for a computer.
const TURN: Duration = Duration::from_millis(20);
/// Target size of a batch that a projection with wide values makes.
const PIECE_BYTES: usize = 1 << 20;
/// The first piece for a join. Later ones double or halve until one takes about a turn, or [`PIECE_BYTES`].
const FIRST_PIECE_ROWS: usize = 16;

/// A plan all of whose batches have at most `rows` rows.
pub fn in_batches(plan: Plan, rows: usize) -> Plan {
    around(plan, Split::Rows(rows))
}

/// Puts a [`Split`] around each node that may output many rows per input row.
pub(super) fn insert_yields() -> Rule {
    node_rule("insert_yields", |plan| {
        let slow = is_slow(&plan)?;
        let aside = |plan| if slow { around(plan, Split::Aside) } else { plan };
        if plan.downcast_ref::<ProjectionExec>().is_some_and(produces_wide_values) {
            // The width of the first rows is unknown: one row at first.
            let rows = Arc::new(AtomicUsize::new(1));
            let plan = fed(plan, Split::Sized(rows.clone()))?;
            return Ok(Transformed::yes(around(aside(plan), Split::Measured(rows))));
        }
        if !plan.name().contains("Join") && plan.name() != "UnnestExec" {
            return Ok(if slow { Transformed::yes(aside(plan)) } else { Transformed::no(plan) });
        }
        let plan = match plan.downcast_ref::<NestedLoopJoinExec>().is_some() {
            true => fed(plan, Split::Timed)?,
            false => plan,
        };
        Ok(Transformed::yes(around(aside(plan), Split::Whole)))
    })
}

/// A plan whose last input is split into pieces: for a nested loop join its probe side, which is read batch by batch.
fn fed(plan: Plan, split: Split) -> DfResult<Plan> {
    let last = plan.children().len().saturating_sub(1);
    with_inputs(plan, |n, input| if n == last { around(input, split.clone()) } else { input })
}

/// Whether a projection makes a column of unbounded width: computed values, or a long literal in every row.
fn produces_wide_values(projection: &ProjectionExec) -> bool {
    let schema = projection.schema();
    projection.expr().iter().zip(schema.fields()).any(|(column, field)| {
        let made = column.expr.downcast_ref::<Column>().is_none();
        made && field.data_type().primitive_width().is_none() && *field.data_type() != DataType::Boolean
    })
}

/// Passes its input's rows on and yields in between; the variants say how batches are split.
#[derive(Debug, Clone)]
enum Split {
    /// Unchanged.
    Whole,
    /// In pieces, sized by the time the reader takes for one.
    Timed,
    /// In pieces of the number of rows that [`Split::Measured`] computed.
    Sized(Arc<AtomicUsize>),
    /// Unchanged; computes how many rows make [`PIECE_BYTES`].
    Measured(Arc<AtomicUsize>),
    /// Unchanged; the plan below makes batches of at most so many rows.
    Rows(usize),
    /// Unchanged; the input is polled where it may block, see `aside.rs`.
    Aside,
}

impl PassThrough for Split {
    const NAME: &'static str = "YieldExec";

    fn label(&self) -> &'static str {
        match self {
            Split::Whole | Split::Measured(_) => "YieldExec",
            Split::Rows(_) => "YieldExec: in small batches",
            Split::Aside => "YieldExec: aside",
            Split::Timed | Split::Sized(_) => "YieldExec: in pieces",
        }
    }

    fn stream(&self, input: &Plan, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let context = match self {
            Split::Rows(rows) => with_batch_rows(&context, *rows),
            _ => context,
        };
        let aside = Aside::of(context.session_config());
        let input = input.execute(partition, context)?;
        let (split, rows) = (self.clone(), FIRST_PIECE_ROWS);
        Ok(Box::pin(YieldStream { input, split, aside, rows, rest: None, given: None, since: Instant::now() }))
    }
}

/// The context of a query with a batch size of `rows`.
fn with_batch_rows(context: &TaskContext, rows: usize) -> Arc<TaskContext> {
    Arc::new(TaskContext::new(
        context.task_id(),
        context.session_id(),
        context.session_config().clone().with_batch_size(rows),
        context.scalar_functions().clone(),
        context.higher_order_functions().clone(),
        context.aggregate_functions().clone(),
        context.window_functions().clone(),
        context.runtime_env(),
    ))
}

struct YieldStream {
    input: SendableRecordBatchStream,
    split: Split,
    aside: Aside,
    /// Rows of the next piece.
    rows: usize,
    rest: Option<RecordBatch>,
    /// When the last piece was returned: the reader polls again when it is done with it.
    given: Option<Instant>,
    /// When it last yielded.
    since: Instant,
}

impl YieldStream {
    fn poll_input(&mut self, context: &mut Context<'_>) -> Poll<Option<DfResult<RecordBatch>>> {
        match self.split {
            Split::Aside => self.aside.poll(context, |context| self.input.poll_next_unpin(context)),
            _ => self.input.poll_next_unpin(context),
        }
    }

    /// Adjusts the size of the next piece: a timed one towards half a turn to one turn.
    fn learn(&mut self, now: Instant) {
        match (&self.split, self.given.take().map(|given| now - given)) {
            (Split::Sized(rows), _) => self.rows = rows.load(Ordering::Relaxed),
            (Split::Timed, Some(took)) if took > TURN => self.rows = (self.rows / 2).max(1),
            (Split::Timed, Some(took)) if took < TURN / 2 => self.rows = self.rows.saturating_mul(2),
            _ => {}
        }
    }

    fn handed_on(&mut self, batch: RecordBatch) -> RecordBatch {
        match &self.split {
            Split::Whole | Split::Aside | Split::Rows(_) => batch,
            Split::Measured(rows) => {
                if let Some(each) = bytes_of(&batch).checked_div(batch.num_rows()) {
                    // At most doubled: later rows may be wider than those measured.
                    let most = rows.load(Ordering::Relaxed).max(2 * batch.num_rows());
                    rows.store((PIECE_BYTES / each.max(1)).clamp(1, most), Ordering::Relaxed);
                }
                batch
            }
            Split::Timed | Split::Sized(_) => {
                self.given = Some(Instant::now());
                if batch.num_rows() <= self.rows {
                    return batch;
                }
                self.rest = Some(batch.slice(self.rows, batch.num_rows() - self.rows));
                batch.slice(0, self.rows)
            }
        }
    }
}

impl Stream for YieldStream {
    type Item = DfResult<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let now = Instant::now();
        this.learn(now);
        if now - this.since > TURN {
            this.since = now;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let batch = match this.rest.take() {
            Some(rest) => rest,
            None => match ready!(this.poll_input(context)) {
                Some(Ok(batch)) => batch,
                end => return Poll::Ready(end),
            },
        };
        Poll::Ready(Some(Ok(this.handed_on(batch))))
    }
}

impl RecordBatchStream for YieldStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionStateBuilder;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;
    use crate::exec::query_rules;

    fn context() -> SessionContext {
        let config = SessionConfig::new().with_target_partitions(2);
        let state = SessionStateBuilder::new_with_default_features().with_config(config);
        SessionContext::new_with_state(state.with_physical_optimizer_rules(query_rules()).build())
    }

    /// On one thread: a task that does not yield starves the other one, which the test would notice.
    #[tokio::test]
    async fn yield_nested_loop_join_can_be_cancelled_on_one_thread() {
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
    async fn yield_wide_rows_are_split_into_small_batches() {
        for text in ["repeat('x', 10000)", "repeat('x', value % 10000)"] {
            let sql = format!("SELECT value, {text} FROM generate_series(1, 20000)");
            let mut rows = context().sql(&sql).await.expect("planned").execute_stream().await.expect("begun");
            let mut count = 0;
            while let Some(batch) = rows.next().await {
                let batch = batch.expect("rows");
                assert!(bytes_of(&batch) <= 8 * PIECE_BYTES, "{} rows", batch.num_rows());
                count += batch.num_rows();
            }
            assert_eq!(count, 20000);
        }
    }

    #[tokio::test]
    async fn yield_slow_nodes_are_wrapped_aside_and_split() {
        let join = "SELECT 1 FROM generate_series(1, 9) a JOIN generate_series(1, 9) b \
                    ON CAST(a.value AS VARCHAR) ~ CAST(b.value AS VARCHAR)";
        let projection = "SELECT regexp_replace(CAST(value AS VARCHAR), '1', 'x') FROM generate_series(1, 9)";
        for (sql, node) in [(join, "NestedLoopJoinExec"), (projection, "ProjectionExec: expr=[regexp_replace")] {
            let plan = context().sql(sql).await.expect("planned").create_physical_plan().await.expect("planned");
            let text = datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string();
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let at = lines.iter().position(|line| line.starts_with(node)).expect(&text);
            assert_eq!(lines[at - 2..at], ["YieldExec", "YieldExec: aside"], "{text}");
            assert!(lines[at..].contains(&"YieldExec: in pieces"), "{text}");
        }
    }

    #[tokio::test]
    async fn yield_split_join_gives_all_rows() {
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
