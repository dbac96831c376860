//! The handle of a running query: its commands, and its end.

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

/// A command to a runner.
pub enum Command {
    Pause(oneshot::Sender<()>),
    Resume,
    /// For a new query, once its definition is durable. Answers once the query runs.
    Begin(oneshot::Sender<()>),
    /// Look at the inputs again, without a notification of theirs.
    Wake,
    /// All readers have registered again after a start: inputs may release what everyone has consumed.
    Release,
    /// Continues with a new rebuild function and options; a failed query tries again.
    Refit {
        rebuild: Rebuild,
        trigger: Trigger,
        checkpoint_interval: Duration,
    },
    /// For a sink: numbers new epochs after the sink's last one, once (`RESET OFFSETS`); a failed query tries again.
    GoOn,
    /// Answers once everything available at its arrival is committed and visible.
    Flush(oneshot::Sender<Result<()>>),
    /// Ends the task after the running epoch, with a last checkpoint.
    Stop,
}

/// Capacity of the command channel.
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

    /// Sends a command; does nothing if the runner has ended.
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

    /// Waits for the running epoch and a last checkpoint.
    pub async fn stop(&self) {
        self.tell(Command::Stop).await;
        self.ended().await;
    }

    /// Cancels the query at its next await point, without a checkpoint, as if the server had crashed.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Cancels the query and waits until its last write has ended.
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

/// Builds a new worker, plan and all: after an error the old one's memory is discarded.
pub type Rebuild = Box<dyn Fn() -> BoxFuture<'static, Result<Worker>> + Send + Sync>;

/// Makes durable that a query with an ending trigger is finished.
pub type Finished = Box<dyn Fn() -> BoxFuture<'static, Result<()>> + Send + Sync>;
