//! `SUBSCRIBE`: the changes of a table or view, as they are published.

use std::{collections::VecDeque, sync::Arc};

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, RecordBatch},
    compute::filter_record_batch,
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::physical_plan::{SendableRecordBatchStream, stream::RecordBatchStreamAdapter};
use futures::stream;

use super::{
    live_catalog::LiveCatalog,
    objects::{Object, ObjectState},
};
use crate::{
    changes::Changes,
    error::{Error, ErrorKind, Result},
    relations::{SharedRelation, Snapshot, Store, Subscriber},
    sql::statement::{Name, Subscribe},
    storage::Storage,
    time::Epoch,
};

/// Approximate rows per batch.
const ROWS: usize = 8192;

/// The rows of a subscription; endless but for an error.
pub async fn subscribe(
    catalog: &LiveCatalog,
    storage: &Arc<dyn Storage>,
    subscribe: &Subscribe,
) -> Result<SendableRecordBatchStream> {
    let object = subscribed(catalog, &subscribe.relation)?;
    let shared = subscribable(&object).map_err(|error| error.at(subscribe.relation.position.max(1)))?;
    // Durable before the first row, so that a reconnect after a crash finds the changes in between.
    let store = Store::new(storage.clone(), object.id);
    let kept = tokio::task::spawn_blocking(move || store.keep_history()).await;
    kept.map_err(|e| Error::internal(format!("a subscription died: {e}")))??;
    let (subscriber, snapshot) = Subscriber::begin(shared, subscribe.after.map(Epoch))?;
    let begins_with_rows = subscribe.snapshot && subscribe.after.is_none();
    let subscription = Subscription {
        schema: columns(snapshot.columns()),
        subscriber,
        snapshot: begins_with_rows.then_some((snapshot, 0)),
        ready: VecDeque::new(),
        failed: None,
    };
    let schema = subscription.schema.clone();
    let rows = stream::unfold(subscription, async |mut subscription| {
        let next = subscription.next().await;
        Some((next.map_err(Into::into), subscription))
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// The columns of a subscription.
pub fn subscribe_columns(catalog: &LiveCatalog, subscribe: &Subscribe) -> Result<SchemaRef> {
    let object = subscribed(catalog, &subscribe.relation)?;
    let shared = subscribable(&object).map_err(|error| error.at(subscribe.relation.position.max(1)))?;
    Ok(columns(shared.snapshot().columns()))
}

/// The object that a subscription names.
fn subscribed(catalog: &LiveCatalog, name: &Name) -> Result<Arc<Object>> {
    match name.schema.as_deref() {
        Some(schema @ ("tidemark" | "pg_catalog" | "information_schema")) => {
            let message = format!("cannot subscribe to \"{schema}.{}\": it has no changes", name.name);
            Err(Error::new(ErrorKind::WrongObjectType, message)
                .hint("SELECT reads what it is now.")
                .at(name.position.max(1)))
        }
        _ => catalog.objects().find(name).cloned(),
    }
}

fn subscribable(object: &Object) -> Result<&Arc<SharedRelation>> {
    if let ObjectState::Broken(error) = &object.what {
        return Err(error.clone().context(object.label()));
    }
    if let Some(error) = object.unreadable() {
        return Err(error);
    }
    object.shared().ok_or_else(|| {
        let message = format!("cannot subscribe to {}: its rows are not kept", object.label());
        Error::new(ErrorKind::WrongObjectType, message).hint(format!(
            "CREATE MATERIALIZED VIEW … AS SELECT … FROM {}, and SUBSCRIBE to that.",
            crate::sql::names::quote(&object.name)
        ))
    })
}

/// The columns of a subscription: epoch, diff, and those of the relation.
fn columns(relation: &Schema) -> SchemaRef {
    let mut fields: Vec<Arc<Field>> =
        ["epoch", "diff"].map(|name| Arc::new(Field::new(name, DataType::Int64, false))).into();
    fields.extend(relation.fields().iter().cloned());
    Arc::new(Schema::new(fields))
}

/// The position of a subscription, and its pending rows.
struct Subscription {
    schema: SchemaRef,
    subscriber: Subscriber,
    /// The initial snapshot, and the number of its chunks already given.
    snapshot: Option<(Arc<Snapshot>, usize)>,
    ready: VecDeque<ChangelogPart>,
    failed: Option<Error>,
}

/// Retractions or insertions of one epoch.
struct ChangelogPart {
    epoch: Epoch,
    changes: Changes,
    came: bool,
}

impl Subscription {
    /// Waits for the next rows. After an error every call returns that error.
    async fn next(&mut self) -> Result<RecordBatch> {
        loop {
            if let Some(error) = &self.failed {
                return Err(error.clone());
            }
            match self.at_hand() {
                Ok(Some(rows)) if rows.num_rows() > 0 => return Ok(rows),
                Ok(Some(_)) => {}
                Ok(None) => self.failed = self.subscriber.wait().await.err(),
                Err(error) => self.failed = Some(error),
            }
        }
    }

    /// The next batch without waiting (possibly empty); `None` if there is none.
    fn at_hand(&mut self) -> Result<Option<RecordBatch>> {
        if let Some((snapshot, given)) = &mut self.snapshot {
            let (epoch, piece) = (snapshot.epoch(), snapshot.piece(*given));
            *given += 1;
            match piece {
                Some(rows) => return self.with_epoch_and_diff(epoch, 1, &rows?).map(Some),
                None => self.snapshot = None,
            }
        }
        if self.ready.is_empty() {
            for (epoch, changes) in self.subscriber.read(ROWS)? {
                self.ready.extend(parts(epoch, &changes));
            }
        }
        let Some(ChangelogPart { epoch, changes, came }) = self.ready.pop_front() else { return Ok(None) };
        let Some(diffs) = changes.diffs() else { return self.with_epoch_and_diff(epoch, 1, changes.rows()).map(Some) };
        let these: BooleanArray = diffs.values().iter().map(|diff| Some((*diff > 0) == came)).collect();
        let rows = filter_record_batch(changes.rows(), &these)?;
        self.with_epoch_and_diff(epoch, if came { 1 } else { -1 }, &rows).map(Some)
    }

    /// Rows with epoch and diff columns.
    fn with_epoch_and_diff(&self, epoch: Epoch, diff: i64, rows: &RecordBatch) -> Result<RecordBatch> {
        let whole = |value| Arc::new(Int64Array::from_value(value, rows.num_rows())) as ArrayRef;
        let mut columns = vec![whole(epoch.0 as i64), whole(diff)];
        columns.extend(rows.columns().iter().cloned());
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}

/// Splits an epoch: retractions before insertions, so that a key never exists twice.
fn parts(epoch: Epoch, changes: &Changes) -> Vec<ChangelogPart> {
    let pieces = |came| {
        (0..changes.num_rows()).step_by(ROWS).map(move |from| {
            let length = ROWS.min(changes.num_rows() - from);
            let rows = changes.rows().slice(from, length);
            let changes = match changes.diffs() {
                Some(diffs) => Changes::new(rows, diffs.slice(from, length)),
                None => Changes::insert(rows),
            };
            ChangelogPart { epoch, changes, came }
        })
    };
    let went: Vec<ChangelogPart> = if changes.is_insert_only() { Vec::new() } else { pieces(false).collect() };
    went.into_iter().chain(pieces(true)).collect()
}
