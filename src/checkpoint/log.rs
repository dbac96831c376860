//! The one log of a server. Appends of many queries that come together share one sync.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Record;
use crate::{
    error::{Error, Kind, Result},
    storage::{Journal, Storage},
};

/// The folder of the log within the storage.
const FOLDER: &str = "log";

/// Appends waiting for the disk, at most; then those who append wait too.
const WAITING_MAX: usize = 1024;

/// An append-only log with a thread of its own, which alone waits for the disk.
#[derive(Debug)]
pub struct Log {
    journal: Arc<Journal>,
    queue: mpsc::SyncSender<Append>,
    /// Bytes since the log was last cut: those that were found at the start count too.
    bytes: Arc<AtomicU64>,
    /// The first failed write. Nothing is acknowledged after it: what the disk holds is not known any more.
    broken: Arc<Mutex<Option<Error>>>,
}

/// A record of the log, as it is read back.
#[derive(Debug)]
pub struct Logged {
    /// The number of the file that it stands in.
    pub file: u64,
    pub record: Record,
    pub bytes: Bytes,
}

struct Append {
    records: Vec<Bytes>,
    /// `None` where nobody waits: then it is written with what comes next.
    done: Option<oneshot::Sender<Result<()>>>,
}

impl Log {
    /// Opens the log; hands back its records, each with the number of its file.
    pub fn open(storage: Arc<dyn Storage>, first: u64) -> Result<(Log, Vec<Logged>)> {
        let (journal, payloads) = Journal::open(storage, FOLDER)?;
        journal.begin_at(first);
        let found: usize = payloads.iter().map(|(_, payload)| payload.len()).sum();
        let mut records = Vec::with_capacity(payloads.len());
        for (file, payload) in payloads {
            let (record, bytes) = Record::decode(&payload)?;
            records.push(Logged { file, record, bytes });
        }
        let (queue, waiting) = mpsc::sync_channel(WAITING_MAX);
        let journal = Arc::new(journal);
        let (bytes, broken) = (Arc::new(AtomicU64::new(found as u64)), Arc::new(Mutex::new(None)));
        let writer = Writer { journal: journal.clone(), bytes: bytes.clone(), broken: broken.clone() };
        std::thread::Builder::new().name("log".into()).spawn(move || writer.run(&waiting))?;
        Ok((Log { journal, queue, bytes, broken }, records))
    }

    /// Queues records, in order, and returns a wait for their being durable. What is queued earlier is durable earlier.
    /// Records of one call are durable together or, after a crash, a prefix of them is.
    pub fn append(&self, records: Vec<Bytes>) -> impl Future<Output = Result<()>> + Send + use<> {
        let (done, wait) = oneshot::channel();
        let queued = self.queue.send(Append { records, done: Some(done) });
        async move {
            queued.map_err(|_| closed())?;
            wait.await.map_err(|_| closed())?
        }
    }

    /// Queues a record that is durable once anything queued after it is. Costs no sync of its own.
    pub fn note(&self, record: Bytes) {
        // A log that is closed says so to whoever waits for it.
        let _ = self.queue.send(Append { records: vec![record], done: None });
    }

    /// The file that new records go to.
    pub fn file(&self) -> u64 {
        self.journal.file()
    }

    /// Bytes since the log was last cut.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Goes on in a new file.
    pub fn rotate(&self) -> u64 {
        self.bytes.store(0, Ordering::Relaxed);
        self.journal.rotate()
    }

    /// Drops the files below a number: everything in them is in checkpoints.
    pub fn forget(&self, before: u64) -> Result<()> {
        self.journal.forget(before)
    }

    /// Why nothing can be written any more, if so.
    pub fn failure(&self) -> Option<Error> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn closed() -> Error {
    Error::new(Kind::AdminShutdown, "the log is closed")
}

struct Writer {
    journal: Arc<Journal>,
    bytes: Arc<AtomicU64>,
    broken: Arc<Mutex<Option<Error>>>,
}

impl Writer {
    fn run(&self, waiting: &mpsc::Receiver<Append>) {
        let mut group = Vec::new();
        while let Ok(first) = waiting.recv() {
            group.push(first);
            group.extend(waiting.try_iter().take(WAITING_MAX));
            if group.iter().all(|append| append.done.is_none()) && group.len() < WAITING_MAX {
                continue;
            }
            let outcome = self.write(&group);
            for done in group.drain(..).filter_map(|append| append.done) {
                // Whoever waited may be gone.
                let _ = done.send(outcome.clone());
            }
        }
    }

    fn write(&self, group: &[Append]) -> Result<()> {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = broken.as_ref() {
            return Err(error.clone());
        }
        let records: Vec<Bytes> = group.iter().flat_map(|a| a.records.iter().cloned()).collect();
        let size: usize = records.iter().map(Bytes::len).sum();
        let written = self.journal.append(&records);
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        if let Err(error) = &written {
            tracing::error!(%error, "the log cannot be written: nothing is acknowledged until a restart");
            *broken = Some(error.clone());
        }
        written
    }
}
