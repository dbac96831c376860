//! The one log of a server. Concurrent appends of many queries share one sync (group commit).

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    Journal, LogRecord,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};
use crate::{
    error::{Error, ErrorKind, Result},
    metrics::{Family, MetricProducer, MetricsSnapshot},
    storage::Storage,
};

/// The version of the journal's record format: raised when an older release would misread it.
const RECORD_VERSION: u16 = 1;

/// The folder of the log within the storage.
const FOLDER: &str = "log";

/// Maximum of queued appends; further callers block.
const WAITING_MAX: usize = 1024;

/// The shortest and the longest pause before a failed write is retried.
const RETRY_MIN: Duration = Duration::from_millis(10);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// An append-only log with a writer thread, so that only that thread waits for the disk.
#[derive(Debug)]
pub struct Log {
    journal: Arc<Journal>,
    queue: mpsc::SyncSender<Append>,
    /// Bytes since the log was last truncated, including those found at the start.
    bytes: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<Failure>>>,
    /// The number of the newest transaction.
    transactions: AtomicU64,
}

/// The last write, if it failed. Its records are not acknowledged and do not count; later ones are written after a
/// pause, to another file.
#[derive(Debug)]
struct Failure {
    error: Error,
    until: Instant,
    pause: Duration,
}

/// A record read back from the log.
#[derive(Debug)]
pub struct Logged {
    /// The number of its log file.
    pub file: u64,
    pub record: LogRecord,
    pub bytes: Bytes,
}

impl Logged {
    fn decode(file: u64, payload: &Bytes) -> Result<Logged> {
        let (record, bytes) = LogRecord::decode(payload)?;
        Ok(Logged { file, record, bytes })
    }
}

#[derive(Debug)]
struct Append {
    records: Vec<Bytes>,
    /// `None` if no caller waits: it is written together with the next append that is waited for.
    done: Option<oneshot::Sender<Result<()>>>,
}

impl Log {
    /// Opens the log; returns its records, each with the number of its file.
    pub fn open(storage: Arc<dyn Storage>, first: u64) -> Result<(Log, Vec<Logged>)> {
        let (journal, payloads) = Journal::open(storage, FOLDER, RECORD_VERSION)?;
        journal.begin_at(first);
        let found: usize = payloads.iter().map(|(_, payload)| payload.len()).sum();
        let (mut records, mut newest) = (Vec::with_capacity(payloads.len()), 0);
        for (file, payload) in payloads {
            let logged = Logged::decode(file, &payload)?;
            if let LogRecord::Rows(rows) = &logged.record {
                newest = newest.max(rows.transaction);
            }
            records.push(logged);
        }
        let transactions = AtomicU64::new(newest);
        let (queue, waiting) = mpsc::sync_channel(WAITING_MAX);
        let journal = Arc::new(journal);
        let (bytes, failed) = (Arc::new(AtomicU64::new(found as u64)), Arc::new(Mutex::new(None)));
        let (journal_, bytes_, failed_) = (journal.clone(), bytes.clone(), failed.clone());
        let writer = LogWriter { journal: journal_, bytes: bytes_, failed: failed_, notes: Vec::new() };
        thread::Builder::new().name("log".into()).spawn(move || writer.run(&waiting))?;
        Ok((Log { journal, queue, bytes, failed, transactions }, records))
    }

    /// Whether no record was ever written.
    pub fn is_new(&self) -> bool {
        self.journal.is_new()
    }

    /// Whether it was certain when the log was opened that no acknowledged record is missing.
    pub fn is_certain(&self) -> bool {
        self.journal.is_certain()
    }

    /// Queues records, in order, and returns a wait for their being durable. What is queued earlier is durable earlier.
    /// Records of one call are durable together or, after a crash, a prefix of them is.
    pub fn append(&self, records: Vec<Bytes>) -> impl Future<Output = Result<()>> + Send + use<> {
        let (done, wait) = oneshot::channel();
        // A record too large for any file fails here: it is not a failure of the disk.
        let sized = records.iter().try_for_each(check_size);
        let queued = match sized.is_ok() {
            true => self.queue.send(Append { records, done: Some(done) }),
            false => Ok(()),
        };
        async move {
            sized?;
            queued.map_err(|_| closed())?;
            wait.await.map_err(|_| closed())?
        }
    }

    /// Queues a record that is durable once anything queued after it is. Costs no sync of its own.
    pub fn enqueue(&self, record: Bytes) {
        // If the log is closed, the next append that is waited for fails.
        let _ = self.queue.send(Append { records: vec![record], done: None });
    }

    /// A number for a new transaction.
    pub fn begin_transaction(&self) -> u64 {
        self.transactions.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The number of the newest transaction.
    pub fn newest_transaction(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }

    /// Skips transaction numbers up to `newest`: they were used, though the log may no longer have their records.
    pub fn skip_transactions(&self, newest: u64) {
        self.transactions.fetch_max(newest, Ordering::Relaxed);
    }

    /// The file that new records go to.
    pub fn file(&self) -> u64 {
        self.journal.file()
    }

    /// Bytes since the log was last truncated.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Starts a new file; returns its number.
    pub fn rotate(&self) -> u64 {
        self.bytes.store(0, Ordering::Relaxed);
        self.journal.rotate()
    }

    /// The records of the files before number `before`. Reads the disk.
    pub fn records_before(&self, before: u64) -> impl Iterator<Item = Result<Logged>> {
        let files = self.journal.files().into_iter().filter(move |file| *file < before);
        let of = |file: u64| match self.journal.read(file) {
            Ok(payloads) => payloads.into_iter().map(|payload| Logged::decode(file, &payload)).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        };
        files.flat_map(of)
    }

    /// Removes the files before number `before`: everything in them is in checkpoints.
    pub fn forget(&self, before: u64) -> Result<()> {
        self.journal.forget(before)
    }

    /// The error of the last write, while the log cannot be written.
    pub fn failure(&self) -> Option<Error> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.as_ref().map(|failure| failure.error.clone())
    }
}

const LENGTH: Family = Family::new("tidemark_log_bytes", "The log since it was last cut.");

impl MetricProducer for Log {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        snapshot.gauge(LENGTH, Some(self.bytes() as f64));
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::AdminShutdown, "the log is closed")
}

fn check_size(record: &Bytes) -> Result<()> {
    match u32::try_from(record.len()) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::new(
            ErrorKind::LimitExceeded,
            format!("a record of {} bytes is larger than the log can hold", record.len()),
        )
        .detail("The limit of one record is 4 GiB.")
        .hint("Write the rows with several statements.")),
    }
}

struct LogWriter {
    journal: Arc<Journal>,
    bytes: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<Failure>>>,
    /// Records of a failed write that no caller waited for: they are written with the next ones.
    notes: Vec<Bytes>,
}

impl LogWriter {
    fn run(mut self, waiting: &mpsc::Receiver<Append>) {
        let mut group = Vec::new();
        while let Ok(first) = waiting.recv() {
            group.push(first);
            group.extend(waiting.try_iter().take(WAITING_MAX));
            if group.iter().all(|append| append.done.is_none()) && group.len() < WAITING_MAX {
                continue;
            }
            let outcome = self.write(&group);
            for done in group.drain(..).filter_map(|append| append.done) {
                // The caller may have been cancelled.
                let _ = done.send(outcome.clone());
            }
        }
    }

    fn write(&mut self, group: &[Append]) -> Result<()> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = failed.as_ref().filter(|failure| Instant::now() < failure.until);
        let records = self.notes.iter().chain(group.iter().flat_map(|append| &append.records));
        let written = match paused {
            Some(failure) => Err(failure.error.clone()),
            None => {
                let records: Vec<Bytes> = records.cloned().collect();
                let size: usize = records.iter().map(Bytes::len).sum();
                self.bytes.fetch_add(size as u64, Ordering::Relaxed);
                let written = self.journal.append(&records);
                match &written {
                    Ok(()) if failed.take().is_some() => tracing::info!("the log can be written again"),
                    Ok(()) => {}
                    Err(error) => {
                        let pause = failed.as_ref().map_or(RETRY_MIN, |failure| (failure.pause * 2).min(RETRY_MAX));
                        if failed.is_none() {
                            tracing::error!(%error, "the log cannot be written: nothing is acknowledged until it can");
                        }
                        *failed = Some(Failure { error: error.clone(), until: Instant::now() + pause, pause });
                    }
                }
                written
            }
        };
        match &written {
            Ok(()) => self.notes.clear(),
            Err(_) => {
                let notes = group.iter().filter(|append| append.done.is_none());
                self.notes.extend(notes.flat_map(|append| append.records.iter().cloned()));
            }
        }
        written
    }
}
