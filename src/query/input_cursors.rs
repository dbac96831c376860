//! All inputs of a query: their offsets, the spans of the next epoch, and their backlogs.

use std::{collections::BTreeSet, time::Duration};

use super::{
    input_cursor::{InputCursor, OpenedInput, PlannedRead},
    pieces::Pieces,
    setup::QueryEnv,
};
use crate::{
    checkpoint::Intent,
    connectors::{Backlog, BadRecords, Offsets, ReadLimit, Span},
    error::Result,
    relations::SnapshotChunk,
    sql::incremental::Rewritten,
    time::Micros,
};

/// The cursors of the inputs, in the order of the plan. Invariants:
///
/// - All of them are at the end of the same epoch: only `advance` and `restore` move them, together.
/// - Inputs that are the same relation or source at the same offset (twins) get the same span: otherwise the answer of
///   a query that reads something twice would mix two of its states.
/// - `followed` belongs to the spans planned last.
#[derive(Debug)]
pub(super) struct InputCursors {
    cursors: Vec<InputCursor>,
    /// The inputs that are views, by index, whose watermarks the query follows.
    views: Vec<usize>,
    /// Per such view: its watermark at the end of the span planned last.
    followed: Vec<Option<Micros>>,
}

/// What the next epoch is to read.
#[derive(Debug)]
pub(super) struct ReadPlan {
    pub(super) spans: Vec<Span>,
    /// There are no unread rows.
    pub(super) idle: bool,
    /// Some input has its minimum batch, or has none to wait for.
    pub(super) enough: bool,
    /// The shortest wait for a minimum batch that some input falls short of.
    pub(super) delay: Option<Duration>,
}

impl InputCursors {
    pub(super) fn new(rewritten: &Rewritten, epoch_target: Option<Duration>) -> Self {
        let cursor = |input: &_| InputCursor::new(Clone::clone(input), epoch_target);
        let cursors = rewritten.inputs.iter().map(cursor).collect();
        InputCursors { cursors, views: rewritten.followed.clone(), followed: Vec::new() }
    }

    pub(super) fn offsets(&self) -> Vec<Offsets> {
        self.cursors.iter().map(|cursor| cursor.offsets().clone()).collect()
    }

    /// The most that the next epoch may take of input `n`.
    pub(super) fn limit(&self, n: usize) -> ReadLimit {
        self.cursors[n].limit()
    }

    /// The watermarks of the input views at the ends of the spans planned last.
    pub(super) fn followed(&self) -> &[Option<Micros>] {
        &self.followed
    }

    /// Plans what the next epoch is to read. After an error the reads before it are planned, see
    /// [`InputCursors::backlogs`].
    pub(super) async fn plan(&mut self) -> Result<ReadPlan> {
        self.cursors.iter_mut().for_each(InputCursor::forget_plan);
        let mut plan = ReadPlan { spans: Vec::new(), idle: true, enough: false, delay: None };
        for n in 0..self.cursors.len() {
            let Some((cursor, twin)) = self.with_twin(n) else { continue };
            cursor.plan(twin).await?;
            let Some(PlannedRead { span, backlog, is_ready, .. }) = cursor.planned() else { continue };
            plan.enough |= is_ready;
            plan.idle &= span.is_empty();
            if !span.is_empty() {
                let batching = cursor.short_of(*backlog);
                plan.enough |= batching.is_none();
                plan.delay = plan.delay.into_iter().chain(batching.map(|policy| policy.delay)).min();
            }
            plan.spans.push(span.clone());
        }
        let watermark = |n: &usize| self.cursors[*n].watermark(&plan.spans[*n]);
        self.followed = self.views.iter().map(watermark).collect();
        Ok(plan)
    }

    /// A cursor, and its twin among the ones before it.
    fn with_twin(&mut self, n: usize) -> Option<(&mut InputCursor, Option<&InputCursor>)> {
        let (before, rest) = self.cursors.split_at_mut(n);
        let cursor = rest.first_mut()?;
        let twin = before.iter().find(|other| cursor.is_twin_of(other));
        Some((cursor, twin))
    }

    /// The backlogs seen by the last plan, with the inputs' numbers and offsets.
    pub(super) fn backlogs(&self) -> impl Iterator<Item = (usize, Backlog, &Offsets)> {
        let cursors = self.cursors.iter().enumerate();
        cursors.filter_map(|(n, cursor)| Some((n, cursor.planned()?.backlog, cursor.offsets())))
    }

    /// Feeds the duration of the planned epoch to the admission of each input. Returns the inputs that it was planned
    /// for: none for a replayed epoch.
    pub(super) fn observe(&mut self, took: Duration) -> Vec<usize> {
        let observed = self.cursors.iter_mut().map(|cursor| cursor.observe(took)).enumerate();
        observed.filter(|(_, was_planned)| *was_planned).map(|(n, _)| n).collect()
    }

    /// Partitions with unread rows, by the ends seen last.
    pub(super) fn unread(&self) -> BTreeSet<String> {
        self.cursors.iter().enumerate().flat_map(|(n, cursor)| cursor.unread(n)).collect()
    }

    /// The offsets that everything available now ends at, per input.
    pub(super) async fn target(&mut self) -> Result<Vec<Offsets>> {
        let mut target = Vec::new();
        for cursor in &mut self.cursors {
            target.push(cursor.ahead(&ReadLimit::default()).await?.to);
        }
        Ok(target)
    }

    pub(super) fn has_reached(&self, target: &[Offsets]) -> bool {
        self.cursors.iter().zip(target).all(|(cursor, target)| cursor.offsets().reaches(target))
    }

    /// Moves all cursors to the ends of the spans that an epoch has read.
    pub(super) fn advance(&mut self, spans: &[Span]) {
        self.cursors.iter_mut().zip(spans).for_each(|(cursor, span)| cursor.advance(&span.to));
    }

    /// Moves all cursors to the offsets of a checkpoint.
    pub(super) fn restore(&mut self, offsets: &[Offsets]) {
        self.cursors.iter_mut().zip(offsets).for_each(|(cursor, offsets)| cursor.advance(offsets));
    }

    /// Whether an epoch reads a snapshot of a relation, which cannot be read again after a crash.
    pub(super) fn reads_snapshots(&self, intent: &Intent) -> bool {
        self.cursors.iter().zip(&intent.spans).any(|(cursor, span)| cursor.reads_snapshot(span))
    }

    /// Drops the snapshots, once the epoch planned with them was run.
    pub(super) fn forget_snapshots(&mut self) {
        self.cursors.iter_mut().for_each(InputCursor::forget_snapshot);
    }

    /// The snapshots that an intent reads, in pieces of about `bytes`; `None` if they are no larger.
    pub(super) fn pieces(&self, intent: &Intent, bytes: usize) -> Option<Pieces> {
        let cursors = self.cursors.iter().zip(&intent.spans);
        Pieces::new(cursors.map(|(cursor, span)| cursor.pieces(span, bytes)).collect())
    }

    /// Opens one piece of the snapshots, per input; inputs that are not read in pieces come with the last one.
    pub(super) fn open_piece(
        &mut self,
        env: &QueryEnv,
        intent: &Intent,
        pieces: &Pieces,
        piece: usize,
    ) -> Result<Vec<OpenedInput>> {
        let open = |(n, of): (usize, &[SnapshotChunk])| match of.get(piece) {
            Some(chunk) => self.cursors[n].open_piece(chunk),
            None if pieces.is_last(piece) && of.is_empty() => self.open_input(env, n, intent),
            None => Ok((Vec::new(), BadRecords::default())),
        };
        pieces.inputs().enumerate().map(open).collect()
    }

    /// Opens the spans of an intent, per input.
    pub(super) fn open(&mut self, env: &QueryEnv, intent: &Intent) -> Result<Vec<OpenedInput>> {
        (0..intent.spans.len()).map(|n| self.open_input(env, n, intent)).collect()
    }

    fn open_input(&mut self, env: &QueryEnv, n: usize, intent: &Intent) -> Result<OpenedInput> {
        self.cursors[n].open(env, &intent.spans[n], intent.partitions)
    }

    /// Estimated bytes that an intent reads.
    pub(super) fn bytes_to_read(&self, intent: &Intent) -> usize {
        self.cursors.iter().zip(&intent.spans).map(|(cursor, span)| cursor.bytes_to_read(span)).sum()
    }

    /// Starts scans after an intent's spans, for sources with more rows.
    pub(super) async fn prefetch(&mut self, env: &QueryEnv, intent: &Intent) {
        for (n, span) in intent.spans.iter().enumerate() {
            let Some((cursor, twin)) = self.with_twin(n) else { continue };
            cursor.prefetch(env, span, twin).await;
        }
    }

    /// Drops the prefetched spans.
    pub(super) fn end_prefetch(&mut self) {
        self.cursors.iter_mut().for_each(InputCursor::end_prefetch);
    }

    /// Lets the inputs release, as far as query `id` is concerned, what is before `offsets`.
    pub(super) async fn release(&self, id: u64, offsets: &[Offsets]) -> Result<()> {
        for (cursor, offsets) in self.cursors.iter().zip(offsets) {
            cursor.release(id, offsets).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema, SchemaRef},
    };

    use super::*;
    use crate::{
        changes::Changes,
        relations::{Identity, Relation, SharedRelation},
        sql::{
            incremental::PlannedInput,
            table::{InputTable, TableInput},
        },
        time::Epoch,
    };

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
    }

    /// A relation at epoch 1.
    fn relation() -> Arc<SharedRelation> {
        let relation = Relation::new(schema(), Identity::AppendOnly).unwrap();
        let shared = SharedRelation::new(1, "t", relation, Default::default());
        grow(&shared, 1);
        shared
    }

    /// Publishes an epoch with one row.
    fn grow(shared: &SharedRelation, epoch: u64) {
        let column = Arc::new(Int64Array::from(vec![epoch as i64])) as ArrayRef;
        let rows = Changes::insert(RecordBatch::try_new(schema(), vec![column]).unwrap());
        shared.lock().apply(Epoch(epoch), &rows).unwrap();
        shared.publish();
    }

    /// The cursors of a query that reads the relation twice.
    fn cursors(shared: &Arc<SharedRelation>) -> InputCursors {
        let table = InputTable {
            id: shared.id,
            name: shared.name.clone(),
            input: TableInput::Relation(shared.clone()),
            fixed: false,
            snapshot: None,
            limit: ReadLimit::default(),
            batching: None,
            readers: Arc::default(),
            defaults: Arc::default(),
            upsert_key: Arc::new([]),
            times: Arc::default(),
            reproducible: true,
        };
        let cursor = |_| InputCursor::new(PlannedInput { table: table.clone(), projection: None }, None);
        InputCursors { cursors: (0..2).map(cursor).collect(), views: Vec::new(), followed: Vec::new() }
    }

    #[tokio::test]
    async fn input_cursors_move_when_an_epoch_was_applied_and_not_when_it_is_planned() {
        let mut cursors = cursors(&relation());
        let plan = cursors.plan().await.unwrap();
        let span = Span { from: Offsets::default(), to: Offsets::single(1) };
        assert_eq!(plan.spans, [span.clone(), span]);
        assert!(plan.enough && !plan.idle);
        assert_eq!(cursors.offsets(), [Offsets::default(), Offsets::default()]);
        assert_eq!(cursors.unread().len(), 2);
        cursors.advance(&plan.spans);
        assert!(cursors.has_reached(&[Offsets::single(1), Offsets::single(1)]));
        assert!(cursors.unread().is_empty());
        assert!(cursors.plan().await.unwrap().idle);
    }

    #[tokio::test]
    async fn input_cursors_give_twins_one_span_though_the_relation_has_grown() {
        let shared = relation();
        let mut cursors = cursors(&shared);
        cursors.cursors[0].plan(None).await.unwrap();
        grow(&shared, 2);
        let (cursor, twin) = cursors.with_twin(1).unwrap();
        cursor.plan(twin).await.unwrap();
        assert_eq!(cursor.planned().unwrap().span.to, Offsets::single(1));
        cursors.cursors[1].advance(&Offsets::single(1));
        assert!(cursors.with_twin(1).unwrap().1.is_none(), "at another offset it is another moment anyway");
    }

    #[tokio::test]
    async fn input_cursors_observe_a_planned_epoch_once() {
        let mut cursors = cursors(&relation());
        assert!(cursors.observe(Duration::from_millis(1)).is_empty(), "an epoch that is replayed was not planned");
        cursors.plan().await.unwrap();
        assert_eq!(cursors.observe(Duration::from_millis(1)), [0, 1]);
        assert!(cursors.observe(Duration::from_millis(1)).is_empty());
    }
}
