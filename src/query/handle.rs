//! A running query, as whoever does not run it sees it: what it can be told, and how it ends.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Progress, QueryProgress, Trigger, Worker};
use crate::error::Result;

/// What a runner can be told.
pub enum Command {
    Pause(oneshot::Sender<()>),
    Resume,
    /// Of a new query: it is durable that it is there. Answers once it runs.
    Begin(oneshot::Sender<()>),
    /// There may be more to read, whatever the inputs say.
    Wake,
    /// Everybody is there who may still ask for what was read: what nobody needs may be freed.
    Release,
    /// Goes on with what is made in another way from now on; one that failed tries again.
    Refit {
        rebuild: Rebuild,
        trigger: Trigger,
        checkpoint_interval: Duration,
    },
    /// Of a sink: new epochs come after whatever is outside, once; one that failed tries again.
    GoOn,
    /// Answers once all that was available when it came is committed and visible.
    Flush(oneshot::Sender<Result<()>>),
    /// Ends the task after the epoch that is being run, with a last checkpoint.
    Stop,
}

/// The commands that may wait.
pub(super) const COMMANDS_MAX: usize = 64;

/// A running query, as the engine holds it.
#[derive(Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    progress: Arc<Progress>,
    cancelled: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        progress: Arc<Progress>,
        cancelled: CancellationToken,
        task: JoinHandle<()>,
    ) -> Handle {
        Handle { commands, progress, cancelled, task: Mutex::new(Some(task)) }
    }

    pub fn progress(&self) -> QueryProgress {
        self.progress.read()
    }

    /// Tells the runner something. A runner that has ended takes nothing, and needs to be told nothing.
    pub async fn tell(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }

    pub async fn flush(&self) -> Result<()> {
        let (done, wait) = oneshot::channel();
        self.tell(Command::Flush(done)).await;
        wait.await.unwrap_or(Ok(()))
    }

    /// Lets a new query begin.
    pub async fn begin(&self) {
        let (begun, wait) = oneshot::channel();
        self.tell(Command::Begin(begun)).await;
        let _ = wait.await;
    }

    /// Waits for the end of the epoch that is being run, and for a last checkpoint.
    pub async fn stop(&self) {
        self.tell(Command::Stop).await;
        self.ended().await;
    }

    /// Nobody wants the query any more: it ends at its next wait, wherever that is, as if the server had died.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Cancels the query and waits until it writes nothing more.
    pub async fn end(&self) {
        self.cancel();
        self.ended().await;
    }

    async fn ended(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }
}

/// Makes a worker anew: after an error its memory is thrown away, plan and all.
pub type Rebuild = Box<dyn Fn() -> BoxFuture<'static, Result<Worker>> + Send + Sync>;

/// Makes it durable that a query has done all that its trigger asks for.
pub type Finished = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;
