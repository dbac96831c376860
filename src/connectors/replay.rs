//! Replayed dead letters: corrected rows that are given back to their source.
//!
//! Every source has an additional partition, `replay`. Its journal, in folder `replays/<id>`, has per statement the
//! rows and the ids of their dead letters. One write has both, so that a letter is marked as replayed exactly if its
//! row counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use async_trait::async_trait;
use bytes::Bytes;
use datafusion::{
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Ahead, Irreplaceable, Offsets, ReadLimit, ScanHints, Source, SourceStream, Span};
use crate::{
    error::{Error, ErrorKind, Result},
    storage::{Journal, Storage, framed},
    time::Micros,
};

/// The version of the form of the journal's records: raised where an older release would misread them.
const RECORD_VERSION: u16 = 1;

/// The name of the partition. An offset in it is a number of statements.
const PARTITION: &str = "replay";

/// Limit of a source's replayed rows: they stay in memory while the source exists.
const BYTES_MAX: usize = 64 << 20;

/// Identifies a dead letter of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeadLetterKey {
    pub origin: String,
    pub position: Option<i64>,
    /// Of its bytes.
    pub crc32: u32,
}

/// Dead letters that were replayed together, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayMarks {
    #[serde(rename = "letters")]
    pub dead_letters: Vec<DeadLetterKey>,
    pub at: Micros,
}

/// A source with its replayed rows.
#[derive(Debug)]
pub struct Replayed {
    inner: Arc<dyn Source>,
    kept: Mutex<ReplayState>,
}

#[derive(Debug)]
struct ReplayState {
    journal: Journal,
    /// The rows of each statement.
    rows: Vec<RecordBatch>,
    marks: Vec<ReplayMarks>,
    bytes: usize,
}

fn folder(id: u64) -> String {
    format!("replays/{id}")
}

/// Deletes the replayed rows of a dropped source.
pub(super) fn remove(id: u64, storage: &dyn Storage) -> Result<()> {
    Journal::remove(storage, &folder(id))
}

impl Replayed {
    pub(super) fn open(id: u64, inner: Arc<dyn Source>, storage: &Arc<dyn Storage>) -> Result<Self> {
        let (journal, records) = Journal::open(storage.clone(), folder(id), RECORD_VERSION)?;
        let mut kept = ReplayState { journal, rows: Vec::new(), marks: Vec::new(), bytes: 0 };
        for (_, record) in &records {
            let (ReplayHeader { number, marks }, rows) = decode(record)?;
            kept.put(number, marks, rows);
        }
        Ok(Replayed { inner, kept: Mutex::new(kept) })
    }

    fn state_guard(&self) -> MutexGuard<'_, ReplayState> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All dead letters that were replayed, statement by statement.
    pub fn marks(&self) -> Vec<ReplayMarks> {
        self.state_guard().marks.clone()
    }

    /// Adds rows in the source's schema in place of their dead letters. Durable on return. May block.
    pub fn replay(&self, rows: RecordBatch, marks: ReplayMarks) -> Result<()> {
        let mut kept = self.state_guard();
        if kept.bytes + rows.get_array_memory_size() > BYTES_MAX {
            let message = format!("the source would hold more than {BYTES_MAX} bytes of replayed rows");
            return Err(Error::new(ErrorKind::LimitExceeded, message)
                .hint("Put what is to be corrected into a table, and read source and table with UNION ALL."));
        }
        let header = ReplayHeader { number: kept.rows.len(), marks };
        kept.journal.append(&[encode(&header, &rows)?])?;
        kept.put(header.number, header.marks, rows);
        Ok(())
    }
}

impl ReplayState {
    /// Stores a statement at its number. An existing one had a failed write that became durable: it was never read, and
    /// readers continue with the one that took its number.
    fn put(&mut self, number: usize, marks: ReplayMarks, rows: RecordBatch) {
        self.bytes += rows.get_array_memory_size();
        for failed in self.rows.drain(number.min(self.rows.len())..) {
            self.bytes -= failed.get_array_memory_size();
        }
        self.marks.truncate(number);
        self.rows.push(rows);
        self.marks.push(marks);
    }
}

/// The header of a statement's rows.
#[derive(Debug, Serialize, Deserialize)]
struct ReplayHeader {
    number: usize,
    #[serde(flatten)]
    marks: ReplayMarks,
}

/// What the record is of, for errors.
const RECORD: &str = "a record of replayed rows";

fn encode(header: &ReplayHeader, rows: &RecordBatch) -> Result<Bytes> {
    let mut writer = StreamWriter::try_new(Vec::new(), &rows.schema())?;
    writer.write(rows)?;
    framed::encode(RECORD, header, &writer.into_inner()?)
}

fn decode(record: &Bytes) -> Result<(ReplayHeader, RecordBatch)> {
    let (header, bytes) = framed::decode(RECORD, record)?;
    let rows = StreamReader::try_new(&bytes[..], None)?.next();
    let nothing = || Error::new(ErrorKind::DataCorrupted, format!("{RECORD} has none"));
    Ok((header, rows.ok_or_else(nothing)??))
}

/// Offsets in the source alone.
fn outside(offsets: &Offsets) -> Offsets {
    let mut outside = offsets.clone();
    outside.0.remove(PARTITION);
    outside
}

/// Offsets with those of the partition, once it holds anything.
fn with_replays(mut offsets: Offsets, replays: u64) -> Offsets {
    if replays > 0 {
        offsets.0.insert(PARTITION.to_string(), replays);
    }
    offsets
}

#[async_trait]
impl Source for Replayed {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn is_partitioned(&self) -> bool {
        self.inner.is_partitioned()
    }

    async fn ahead(&self, of: &Offsets, limit: &ReadLimit) -> Result<Ahead> {
        let replays = self.state_guard().rows.len() as u64;
        let Ahead { to, end, backlog } = self.inner.ahead(&outside(of), limit).await?;
        Ok(Ahead { to: with_replays(to, replays), end: with_replays(end, replays), backlog })
    }

    fn scan(&self, span: &Span, hints: &ScanHints) -> Result<Vec<SourceStream>> {
        let own = Span { from: outside(&span.from), to: outside(&span.to) };
        let replays = span.from.get(PARTITION) as usize..span.to.get(PARTITION) as usize;
        if replays.is_empty() {
            return self.inner.scan(&own, hints);
        }
        let mut streams = match own.is_empty() {
            true => Vec::new(),
            false => self.inner.scan(&own, hints)?,
        };
        let schema = self.schema();
        let columns = hints.columns(schema.fields().len())?;
        let lost = || Error::new(ErrorKind::DataCorrupted, "replayed rows of the source are gone");
        let rows = self.state_guard().rows.get(replays).ok_or_else(lost)?.to_vec();
        let rows = rows.iter().map(|rows| rows.project(&columns)).collect::<Result<_, _>>()?;
        let rows = Arc::new(ReplayedRows { schema: Arc::new(schema.project(&columns)?), rows });
        streams.push(SourceStream { partition: PARTITION.to_string(), rows, origins: None });
        Ok(streams)
    }

    async fn forget(&self, before: &Offsets) -> Result<()> {
        self.inner.forget(&outside(before)).await
    }

    async fn reset(&self) -> Result<()> {
        self.inner.reset().await
    }

    async fn irreplaceable(&self) -> Result<Irreplaceable> {
        let replays: usize = self.state_guard().rows.iter().map(RecordBatch::num_rows).sum();
        let inner = self.inner.irreplaceable().await?;
        Ok(Irreplaceable { records: inner.records + replays as u64, ..inner })
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.inner.changed()
    }

    fn state(&self) -> Option<String> {
        self.inner.state()
    }
}

/// Rows in memory.
#[derive(Debug)]
struct ReplayedRows {
    schema: SchemaRef,
    rows: Vec<RecordBatch>,
}

impl PartitionStream for ReplayedRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.clone().into_iter().map(Ok);
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(rows)))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::{
        connectors::{self, SourceEnv},
        options::Options,
        storage::MemoryStorage,
        time::ManualClock,
    };

    async fn source(env: &SourceEnv) -> Arc<Replayed> {
        let mut options = Options::default();
        options.insert("connector", "datagen");
        let schema = rows(0).schema();
        connectors::open(1, "s", Some(schema), &options, env).await.unwrap()
    }

    fn rows(value: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("a", Arc::new(Int64Array::from(vec![value])) as ArrayRef)]).unwrap()
    }

    fn marks(position: i64) -> ReplayMarks {
        ReplayMarks {
            dead_letters: vec![DeadLetterKey { origin: "f".to_string(), position: Some(position), crc32: 0 }],
            at: 0,
        }
    }

    #[test]
    fn replay_header_on_disk_is_that_of_earlier_releases() {
        let json = r#"{"number":1,"letters":[{"origin":"f","position":2,"crc32":0}],"at":0}"#;
        let header = ReplayHeader { number: 1, marks: marks(2) };
        assert_eq!(serde_json::to_string(&header).unwrap(), json);
        assert_eq!(serde_json::from_str::<ReplayHeader>(json).unwrap().marks, header.marks);
    }

    #[tokio::test]
    async fn replay_write_reported_failed_but_durable_does_not_shift_numbers() {
        let storage = Arc::new(MemoryStorage::default());
        let env = SourceEnv::new(storage, Arc::new(ManualClock::new(0)));
        let before = source(&env).await;
        before.replay(rows(1), marks(1)).unwrap();
        // What the server was told had failed is in the journal all the same.
        let failed = encode(&ReplayHeader { number: 1, marks: marks(2) }, &rows(2)).unwrap();
        before.state_guard().journal.append(&[failed]).unwrap();
        before.replay(rows(3), marks(3)).unwrap();
        before.replay(rows(4), marks(4)).unwrap();
        let again = source(&env).await;
        assert_eq!(again.marks(), before.marks());
        let values = |source: &Replayed| -> Vec<i64> {
            source.state_guard().rows.iter().map(|rows| rows.column(0).as_primitive::<Int64Type>().value(0)).collect()
        };
        assert_eq!(values(&again), [1, 3, 4]);
        assert_eq!(values(&before), [1, 3, 4]);
    }
}
