//! The files of a span as streams of rows that run in parallel.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::datatypes::SchemaRef;
use datafusion::{
    arrow::array::RecordBatch,
    error::Result as DataFusionResult,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter},
        streaming::PartitionStream,
    },
};
use futures::StreamExt;
use tokio::sync::mpsc::Sender;

use super::{
    files::FolderEntry,
    folder::{Folder, OpenedFile},
    hive::Hive,
    retained::Retained,
};
use crate::{
    connectors::{BadRecord, BadRecords, OriginSender},
    error::{Error, Result},
    formats::{Bad, ByteInput, Damage, DecodedRows, FileInput, Format, Request},
};

/// Minimum bytes of a part of a file.
const PART_BYTES_MIN: u64 = 128 << 10;

/// Batches decoded ahead of the query.
const BATCHES_AHEAD: usize = 8;

/// A part of a file.
#[derive(Debug, Clone)]
pub(super) struct FilePart {
    pub number: u64,
    pub file: Arc<FolderEntry>,
    pub bytes: Range<u64>,
    /// What was reported already of the whole file, by any of its parts.
    reported: Arc<Reported>,
}

#[derive(Debug, Default)]
struct Reported {
    /// That it had changed when it was opened.
    found: AtomicBool,
    /// That it is damaged.
    damage: AtomicBool,
}

/// Distributes files over at most `partitions` streams, in order and evenly by bytes; cuts those that can be split.
pub(super) fn share(
    files: Vec<(u64, FolderEntry)>,
    partitions: usize,
    splits: impl Fn(&str) -> bool,
) -> Vec<Vec<FilePart>> {
    let total: u64 = files.iter().map(|(_, f)| f.size).sum();
    let share = total.div_ceil(partitions.max(1) as u64).max(PART_BYTES_MIN);
    let mut shares = vec![Vec::new()];
    let mut room = share;
    for (number, file) in files {
        let (splits, size) = (splits(&file.path), file.size);
        let (file, reported) = (Arc::new(file), Arc::new(Reported::default()));
        let mut from = 0;
        loop {
            let left = size - from;
            let last = shares.len() >= partitions;
            // Not cut if only a small rest would remain.
            let cut = splits && !last && left > room && left - room >= PART_BYTES_MIN / 2;
            let to = if cut { from + room } else { size };
            let part = FilePart { number, file: file.clone(), bytes: from..to, reported: reported.clone() };
            if let Some(current) = shares.last_mut() {
                current.push(part);
            }
            room = room.saturating_sub(to - from);
            if room == 0 && !last {
                shares.push(Vec::new());
                room = share;
            }
            from = to;
            if from >= size {
                break;
            }
        }
    }
    if shares.len() > 1 && shares.last().is_some_and(Vec::is_empty) {
        shares.pop();
    }
    shares
}

/// Shared by all streams of a scan.
#[derive(Debug)]
pub(super) struct DirectoryScan {
    pub folder: Arc<Folder>,
    pub format: Format,
    pub request: Request,
    pub output: SchemaRef,
    pub bad: BadRecords,
    /// Where files are retained for a replay; `None` for a single read.
    pub retained: Option<Arc<Retained>>,
}

/// The rows of parts of files, one after the other.
pub(super) struct FilePartition {
    pub scan: Arc<DirectoryScan>,
    pub parts: Vec<FilePart>,
    pub teller: OriginSender,
}

impl fmt::Debug for FilePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.parts.iter().map(|p| p.file.path.as_str()).collect();
        f.debug_struct("Partition").field("files", &names).finish()
    }
}

impl PartitionStream for FilePartition {
    fn schema(&self) -> &SchemaRef {
        &self.scan.output
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (scan, parts, teller) = (self.scan.clone(), self.parts.clone(), self.teller.clone());
        // The reading task starts at the first poll and ends when the stream is dropped.
        let stream = futures::stream::once(async move {
            let mut builder = RecordBatchReceiverStream::builder(scan.output.clone(), BATCHES_AHEAD);
            let rows = builder.tx();
            builder.spawn(async move {
                for part in parts {
                    if !read(&scan, part, &rows, &teller).await? {
                        break;
                    }
                }
                Ok(())
            });
            builder.build()
        });
        Box::pin(RecordBatchStreamAdapter::new(self.scan.output.clone(), stream.flatten()))
    }
}

/// Reads one part; gives whether the receiver still exists.
async fn read(
    scan: &Arc<DirectoryScan>,
    part: FilePart,
    rows: &Sender<DataFusionResult<RecordBatch>>,
    teller: &OriginSender,
) -> Result<bool> {
    let (input, new): (Arc<dyn ByteInput>, _) = match scan.folder.open(&part.file).await? {
        OpenedFile::Whole(input) => (input.clone(), Some(input)),
        OpenedFile::Grown(input, size) => {
            let reason = format!(
                "the file has grown from {} to {size} bytes since it was found; what was added is not read",
                part.file.size
            );
            scan.report(&part, &part.reported.found, reason);
            (input.clone(), Some(input))
        }
        OpenedFile::Lost(reason) => match scan.held(&part).await? {
            Some(input) => (input, None),
            None => {
                scan.report(&part, &part.reported.found, reason);
                return Ok(true);
            }
        },
    };
    let (scan, rows, teller) = (scan.clone(), rows.clone(), teller.clone());
    let done = tokio::task::spawn_blocking(move || {
        new.iter().for_each(|input| scan.hold(&part, input));
        scan.decode(&part, input, &rows, &teller)
    });
    done.await.map_err(|e| Error::internal(format!("reading a file: {e}")))
}

impl DirectoryScan {
    /// Retains an opened file. Blocks.
    fn hold(&self, part: &FilePart, input: &FileInput) {
        if let Some(retained) = &self.retained {
            retained.hold(part.number, &self.folder.root.join(&part.file.path), &input.file, input.size);
        }
    }

    /// The retained copy of a file that is no longer in the folder.
    async fn held(&self, part: &FilePart) -> Result<Option<Arc<dyn ByteInput>>> {
        let Some(retained) = self.retained.clone() else { return Ok(None) };
        let (number, file) = (part.number, part.file.clone());
        let held = tokio::task::spawn_blocking(move || retained.get(number, &file)).await;
        held.map_err(|e| Error::internal(format!("reading a file that is held: {e}")))?
    }

    /// Decodes a part on a blocking thread; gives whether the receiver still exists.
    fn decode(
        &self,
        part: &FilePart,
        input: Arc<dyn ByteInput>,
        rows: &Sender<DataFusionResult<RecordBatch>>,
        teller: &OriginSender,
    ) -> bool {
        let (origin, sink) = (self.folder.origin(&part.file.path), self.bad.clone());
        let name: Arc<str> = origin.as_str().into();
        let bad = Box::new(move |Bad { position, raw, reason }| {
            sink.push(BadRecord { origin: origin.clone(), position: Some(position), raw, reason });
        });
        let hive = Hive::of(&part.file.path, &self.request);
        let request = hive.as_ref().map_or(&self.request, |hive| &hive.stored);
        let read = self.format.read(&part.file.path, input, part.bytes.clone(), request, bad);
        let damage = match read {
            Err(damage) => Some(damage),
            Ok(batches) => {
                let mut damage = None;
                for stored in batches {
                    let whole = stored.and_then(|DecodedRows { batch, positions }| match &hive {
                        None => Ok((batch, positions)),
                        Some(hive) => Ok((hive.complete(&batch, &self.output)?, positions)),
                    });
                    match whole {
                        Err(e) => damage = Some(e),
                        Ok((batch, _)) if batch.num_rows() == 0 => {
                            if rows.is_closed() {
                                return false;
                            }
                        }
                        Ok((batch, positions)) => {
                            teller.send(&name, || positions);
                            if rows.blocking_send(Ok(batch)).is_err() {
                                return false;
                            }
                        }
                    }
                }
                damage
            }
        };
        if let Some(Damage(reason)) = damage {
            self.report(part, &part.reported.damage, format!("the file cannot be read: {reason}"));
        }
        true
    }

    /// Reports a bad record for the whole file, once.
    fn report(&self, part: &FilePart, once: &AtomicBool, reason: String) {
        if !once.swap(true, Ordering::AcqRel) {
            let origin = self.folder.origin(&part.file.path);
            self.bad.push(BadRecord { origin, position: None, raw: Vec::new(), reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(sizes: &[u64], partitions: usize, splits: bool) -> Vec<Vec<(usize, Range<u64>)>> {
        let file = |(i, size): (usize, &u64)| {
            (i as u64, FolderEntry { path: i.to_string(), size: *size, modified: 0, id: None })
        };
        let files = sizes.iter().enumerate().map(file).collect();
        let part = |p: &FilePart| (p.file.path.parse().unwrap(), p.bytes.clone());
        share(files, partitions, |_| splits).iter().map(|s| s.iter().map(part).collect()).collect()
    }

    #[test]
    fn shares_cover_all_bytes_once_in_at_most_the_asked_partitions() {
        let mb = 1 << 20;
        assert_eq!(shares(&[mb], 2, true), [vec![(0, 0..mb / 2)], vec![(0, mb / 2..mb)]]);
        assert_eq!(shares(&[mb], 2, false), [vec![(0, 0..mb)]]);
        assert_eq!(shares(&[mb, mb], 2, false), [vec![(0, 0..mb)], vec![(1, 0..mb)]]);
        assert_eq!(shares(&[1000; 3], 4, true), [vec![(0, 0..1000), (1, 0..1000), (2, 0..1000)]]);
        assert_eq!(shares(&[], 4, true), [vec![]]);
        for partitions in 1..7 {
            for splits in [false, true] {
                let sizes = [3 * mb, 5, 0, 700_000, 2 * mb + 1];
                let all = shares(&sizes, partitions, splits);
                assert!((1..=partitions).contains(&all.len()));
                let mut at = (0, 0);
                for (file, bytes) in all.concat() {
                    if at.1 == sizes[at.0] && file != at.0 {
                        at = (at.0 + 1, 0);
                    }
                    assert_eq!((file, bytes.start), at);
                    at.1 = bytes.end;
                }
                assert_eq!(at, (4, sizes[4]));
            }
        }
    }
}
