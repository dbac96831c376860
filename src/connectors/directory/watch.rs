//! Watches a folder by file system events, and polls in case some are missed.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode},
};
use tokio::{sync::mpsc, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    discovery::{Discovery, Hint},
    folder::Folder,
};
use crate::error::{Error, Result};

/// Polling interval with file system events, and without.
const POLL: Duration = Duration::from_secs(1);
const FAST_POLL: Duration = Duration::from_millis(50);
/// How often pending files are looked at.
const TICK: Duration = Duration::from_millis(25);
/// A burst of hints is handled together: this long after the last, and no longer than that after the first.
const QUIET: Duration = Duration::from_millis(4);
const BURST: Duration = Duration::from_millis(20);
/// Capacity of the hint queue; beyond it, all names are listed.
const HINTS_MAX: usize = 4_096;

/// Runs discovery, on events and on request.
#[derive(Debug)]
pub(super) struct Lookout {
    discovery: Mutex<Discovery>,
    /// Whether hints were lost.
    missed: AtomicBool,
    /// Whether file system events are received.
    watched: AtomicBool,
    opened: Instant,
    changed: watch::Sender<u64>,
}

impl Lookout {
    pub fn new(discovery: Discovery) -> Self {
        Lookout {
            discovery: Mutex::new(discovery),
            missed: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            opened: Instant::now(),
            changed: watch::Sender::new(0),
        }
    }

    /// Notified when files were discovered.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Looks once; afterwards all files that were complete before are numbered, except those of the last moments.
    async fn look(self: &Arc<Self>, hints: Vec<Hint>, list: bool) -> Result<WatchState> {
        let this = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let mut discovery = this.discovery.lock().unwrap_or_else(PoisonError::into_inner);
            let missed = this.missed.swap(false, Ordering::AcqRel);
            discovery.watched = this.watched.load(Ordering::Acquire);
            if missed {
                discovery.look_everywhere();
            }
            let took = discovery.look(hints, list || missed, this.opened.elapsed());
            if matches!(took, Ok(true)) {
                this.changed.send_modify(|n| *n += 1);
            }
            let now = this.opened.elapsed();
            took.map(|_| WatchState { restless: discovery.is_restless(now), expecting: discovery.is_expecting(now) })
        });
        looked.await.map_err(|e| Error::internal(format!("looking for files: {e}")))?
    }

    /// Looks until no file is about to be complete, some 60 ms at most.
    pub async fn look_well(self: &Arc<Self>) -> Result<()> {
        let mut changed = self.changed();
        while self.look(Vec::new(), true).await?.expecting {
            let _ = tokio::time::timeout(Duration::from_millis(10), changed.changed()).await;
        }
        Ok(())
    }

    /// Looks at every event or poll, until `stop`.
    pub async fn run(self: Arc<Self>, folder: Arc<Folder>, stop: CancellationToken) {
        let (sender, mut hints) = mpsc::channel(HINTS_MAX);
        let mut watcher = None;
        let mut next_poll = Instant::now();
        let mut restless = false;
        loop {
            let wake = if restless { next_poll.min(Instant::now() + TICK) } else { next_poll };
            let burst = tokio::select! {
                () = stop.cancelled() => return,
                burst = gather(&mut hints) => burst,
                () = tokio::time::sleep_until(wake) => Vec::new(),
            };
            let poll = Instant::now() >= next_poll;
            if poll && watcher.is_none() {
                watcher = self.watch(&folder, sender.clone()).await;
                if watcher.is_some() {
                    // Earlier changes have no events.
                    self.missed.store(true, Ordering::Release);
                    self.watched.store(true, Ordering::Release);
                }
            }
            match self.look(burst, poll || restless).await {
                Ok(state) => restless = state.restless,
                Err(e) => {
                    // A look ahead gives the error. The watch may be gone with its folder: start anew.
                    tracing::debug!(path = folder.options.path, error = %e, "cannot look for files");
                    watcher = None;
                    self.watched.store(false, Ordering::Release);
                    restless = false;
                }
            }
            if poll {
                next_poll = Instant::now() + if watcher.is_some() { POLL } else { FAST_POLL };
            }
        }
    }

    /// Starts watching; `None` if the file system cannot.
    async fn watch(self: &Arc<Self>, folder: &Arc<Folder>, hints: mpsc::Sender<Hint>) -> Option<RecommendedWatcher> {
        let (this, folder) = (self.clone(), folder.clone());
        let watching = tokio::task::spawn_blocking(move || {
            let mode = if folder.options.recursive { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            let mut last_written = None;
            let handler = move |event: notify::Result<Event>| {
                let Ok(event) = event else { return this.missed.store(true, Ordering::Release) };
                if event.need_rescan() {
                    this.missed.store(true, Ordering::Release);
                }
                for hint in translate(&event) {
                    // A writer makes many of these in a row; one says it all.
                    let repeated = matches!(hint, Hint::Written(_)) && last_written.as_ref() == Some(&hint);
                    if !repeated && hints.try_send(hint.clone()).is_err() {
                        this.missed.store(true, Ordering::Release);
                    }
                    last_written = Some(hint);
                }
            };
            let mut watcher = notify::recommended_watcher(handler)?;
            watcher.watch(&folder.root, mode)?;
            notify::Result::Ok(watcher)
        });
        match watching.await {
            Ok(Ok(watcher)) => Some(watcher),
            Ok(Err(e)) => {
                tracing::debug!(error = %e, "cannot watch a folder; it is polled instead");
                None
            }
            Err(_) => None,
        }
    }
}

/// The result of a look.
struct WatchState {
    restless: bool,
    expecting: bool,
}

/// The next burst of hints.
async fn gather(hints: &mut mpsc::Receiver<Hint>) -> Vec<Hint> {
    let Some(first) = hints.recv().await else { return Vec::new() };
    let mut burst = vec![first];
    let end = Instant::now() + BURST;
    while burst.len() < HINTS_MAX {
        let quiet = (Instant::now() + QUIET).min(end);
        match tokio::time::timeout_at(quiet, hints.recv()).await {
            Ok(Some(hint)) => burst.push(hint),
            _ => break,
        }
    }
    burst
}

fn translate(event: &Event) -> Vec<Hint> {
    let make = |hint: fn(std::path::PathBuf) -> Hint| {
        event.paths.iter().map(|p: &std::path::PathBuf| hint(Path::to_path_buf(p))).collect()
    };
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => make(Hint::Closed),
        EventKind::Modify(ModifyKind::Name(RenameMode::From)) | EventKind::Remove(_) => make(Hint::Gone),
        EventKind::Modify(ModifyKind::Data(_)) => make(Hint::Written),
        EventKind::Create(CreateKind::File | CreateKind::Folder | CreateKind::Any | CreateKind::Other)
        | EventKind::Modify(ModifyKind::Name(RenameMode::Any))
        | EventKind::Any => make(Hint::Created),
        _ => Vec::new(),
    }
}
