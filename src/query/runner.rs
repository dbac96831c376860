//! The loop of one standing query.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::{FutureExt, future::select_all};
use tokio::{
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot, watch,
    },
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{Command, Finished, Handle, QueryState, Rebuild, Trigger, Worker, handle::COMMANDS_MAX, worker::NextEpoch};
use crate::{
    checkpoint::{Commit, Intent},
    connectors::Offsets,
    error::{Error, ErrorKind, Result},
    sql::table::TableInput,
};

/// A query's intents and commits in the log.
pub type Recovery = (Vec<Intent>, Vec<Commit>);

/// Spawns the loop of a worker on the current runtime; it first recovers, if `recovery` is given.
pub fn start(
    worker: Worker,
    trigger: Trigger,
    paused: bool,
    recovery: Option<Recovery>,
    rebuild: Rebuild,
    finished: Finished,
) -> Handle {
    let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
    let progress = worker.progress.clone();
    let checkpoint_interval = worker.checkpoint_interval;
    let runner = Runner {
        worker,
        trigger,
        paused,
        inbox,
        rebuild,
        finished,
        flushes: Vec::new(),
        last_epoch: None,
        last_checkpoint: Instant::now(),
        checkpoint_interval,
        final_target: None,
        finishing: false,
        retry: Duration::ZERO,
        unwritten: None,
        failed: None,
        state_poisoned: false,
        behind_outside: false,
    };
    let cancelled = CancellationToken::new();
    let task = tokio::spawn(runner.run(recovery, cancelled.clone()));
    Handle::new(commands, progress, cancelled, task)
}

struct Runner {
    worker: Worker,
    trigger: Trigger,
    paused: bool,
    inbox: mpsc::Receiver<Command>,
    rebuild: Rebuild,
    finished: Finished,
    flushes: Vec<(Vec<Offsets>, oneshot::Sender<Result<()>>)>,
    last_epoch: Option<Instant>,
    last_checkpoint: Instant,
    checkpoint_interval: Duration,
    /// The offsets at which an ending trigger (once, available now) stops.
    final_target: Option<Vec<Offsets>>,
    /// Whether they are reached, and only `Finished` is still to be made durable.
    finishing: bool,
    retry: Duration,
    /// Time of the next attempt of a checkpoint whose write failed, and the pause before it.
    unwritten: Option<(Instant, Duration)>,
    failed: Option<Error>,
    /// Whether the worker's state cannot be trusted, since an epoch or checkpoint did not complete: it is rebuilt
    /// before the next epoch.
    state_poisoned: bool,
    /// Whether the next epoch of a sink may be numbered after the sink's last one.
    behind_outside: bool,
}

/// Shortest and longest backoff after a transient error.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Interval at which a query with idle timeouts or `now()` checks whether time alone has closed a window.
const WAKE_EVERY: Duration = Duration::from_millis(200);

/// How the loop continues after a turn.
enum LoopControl {
    Again,
    Stop,
}

impl Runner {
    async fn run(mut self, recovery: Option<Recovery>, cancelled: CancellationToken) {
        tokio::select! {
            biased;
            () = cancelled.cancelled() => {
                // What is being written must not outlive the query.
                if let Err(error) = self.worker.end_checkpoint().await {
                    tracing::debug!(query = self.worker.name, %error, "no last checkpoint");
                }
            }
            () = self.live(recovery) => {}
        }
        for (_, done) in self.flushes.drain(..) {
            let _ = done.send(Err(Error::new(ErrorKind::AdminShutdown, "the query was stopped")));
        }
    }

    /// Recovers, then runs turns until stopped.
    async fn live(&mut self, recovery: Option<Recovery>) {
        if let Some((intents, commits)) = recovery {
            self.recover(&intents, &commits).await;
        }
        match (&self.failed, self.paused) {
            (Some(_), _) => {}
            (None, true) => self.worker.set_state(QueryState::Paused, None),
            (None, false) if self.state_poisoned => {}
            (None, false) => self.worker.set_state(QueryState::Running, None),
        }
        loop {
            // A panic fails this query only; its state in memory is discarded.
            let turn = match AssertUnwindSafe(self.turn()).catch_unwind().await {
                Ok(Ok(turn)) => turn,
                Ok(Err(error)) => self.after_error(error).await,
                Err(panic) => self.after_error(panicked(panic.as_ref())).await,
            };
            if matches!(turn, LoopControl::Stop) {
                break;
            }
        }
    }

    /// Recovers state and relation up to the last committed epoch; until then readers of the relation wait.
    async fn recover(&mut self, intents: &[Intent], commits: &[Commit]) {
        let relation = self.worker.pipeline.relation().clone();
        // A panic fails this query only.
        let recovered = AssertUnwindSafe(self.worker.recover(intents, commits)).catch_unwind().await;
        let recovered = recovered.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        if self.worker.needs_checkpoint() {
            // Replayed epochs are checkpointed at once: otherwise a server that crashes more often than checkpoints are
            // due would replay more each time.
            let overdue = Instant::now().checked_sub(self.checkpoint_interval);
            self.last_checkpoint = overdue.unwrap_or(self.last_checkpoint);
        }
        let Err(error) = recovered else { return };
        let error = self.worker.env.hidden.mask(error);
        if relation.is_recovering() {
            relation.refuse(&error);
        }
        if is_transient(&error) {
            tracing::warn!(query = self.worker.name, %error, "query will try again to recover");
            (self.state_poisoned, self.retry) = (true, RETRY_MIN);
            self.worker.set_state(QueryState::Retrying, Some(error));
        } else {
            tracing::error!(query = self.worker.name, %error, "query cannot be recovered");
            self.stop_failed(error);
        }
    }

    async fn turn(&mut self) -> Result<LoopControl> {
        loop {
            match self.inbox.try_recv() {
                Ok(command) => match self.handle(command).await? {
                    LoopControl::Again => {}
                    LoopControl::Stop => return Ok(LoopControl::Stop),
                },
                Err(TryRecvError::Empty) => break,
                // The handle is gone: a query that always has rows would never notice otherwise.
                Err(TryRecvError::Disconnected) => return Ok(LoopControl::Stop),
            }
        }
        if self.paused {
            return self.sleep(None).await;
        }
        if self.state_poisoned {
            self.rebuild().await?;
        }
        if self.worker.has_pending() {
            // A pending epoch comes before new ones.
            self.worker.deliver().await?;
            self.goes_on();
            self.behind_outside = false;
            return self.after_epoch().await;
        }
        if self.finishing {
            return self.finish().await;
        }
        if let Some(input) = self.worker.recovering_input() {
            // A recovering input shows less than it has.
            return tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.handle(command).await,
                    None => Ok(LoopControl::Stop),
                },
                () = input.recovered() => Ok(LoopControl::Again),
            };
        }
        if self.trigger.ends() && self.final_target.is_none() {
            self.final_target = Some(self.worker.cursors.target().await?);
        }
        let changed = self.changes();
        let hurry = !self.flushes.is_empty() || self.trigger.ends();
        match self.worker.next(hurry).await? {
            NextEpoch::Epoch(intent) => {
                let wait = self.trigger.wait(self.last_epoch.map(|at| at.elapsed()));
                if !wait.is_zero() && self.flushes.is_empty() {
                    return self.sleep(Some(Instant::now() + wait)).await;
                }
                self.last_epoch = Some(Instant::now());
                self.state_poisoned = true;
                let ran = self.worker.run(intent).await;
                // An epoch whose commit alone failed stays pending and its state valid.
                self.state_poisoned = !self.worker.is_sound() || (ran.is_err() && !self.worker.has_pending());
                ran?;
                self.worker.deliver().await?;
                self.goes_on();
                self.behind_outside = false;
                self.after_epoch().await
            }
            NextEpoch::Wait(until) => {
                self.goes_on();
                self.checkpoint_if_due().await?;
                self.wait(changed, Some(until)).await
            }
            NextEpoch::Idle => {
                self.answer_flushes();
                let caught_up = |target: &Vec<Offsets>| self.worker.cursors.has_reached(target);
                if self.trigger.ends() && self.final_target.as_ref().is_some_and(caught_up) {
                    self.goes_on();
                    return self.finish().await;
                }
                self.checkpoint_if_due().await?;
                // After reading and answering flushes, since it may take long or fail.
                let behind = self.worker.ask_outside().await?;
                self.goes_on();
                if behind { Ok(LoopControl::Again) } else { self.wait(changed, None).await }
            }
        }
    }

    /// Ends the retrying state after success.
    fn goes_on(&mut self) {
        if !self.retry.is_zero() {
            self.retry = Duration::ZERO;
            self.worker.set_state(QueryState::Running, None);
        }
    }

    async fn after_epoch(&mut self) -> Result<LoopControl> {
        self.checkpoint_if_due().await?;
        self.answer_flushes();
        if self.trigger == Trigger::Once {
            return self.finish().await;
        }
        tokio::task::yield_now().await;
        Ok(LoopControl::Again)
    }

    /// Change notifications of all inputs. Subscribed before [`Worker::next`] looks, so that no change is missed.
    fn changes(&self) -> Vec<watch::Receiver<u64>> {
        let inputs = self.worker.pipeline.inputs();
        let mut receivers: Vec<_> = inputs
            .iter()
            .map(|input| match &input.table.input {
                TableInput::Source(source, _) => source.changed(),
                TableInput::Relation(shared) => shared.changed(),
            })
            .collect();
        receivers.iter_mut().for_each(|receiver| receiver.mark_unchanged());
        receivers
    }

    /// Waits for a command, a change of an input, a written checkpoint, or `until`.
    async fn wait(
        &mut self,
        mut changed: Vec<watch::Receiver<u64>>,
        mut until: Option<Instant>,
    ) -> Result<LoopControl> {
        let rewritten = self.worker.pipeline.rewritten();
        let timed = rewritten.uses_clock || rewritten.watermarks.iter().any(|w| w.spec.idle_timeout.is_some());
        if timed {
            let look = Instant::now() + WAKE_EVERY;
            until = Some(until.map_or(look, |at: Instant| at.min(look)));
        }
        if self.worker.needs_checkpoint() && !self.worker.is_writing() {
            let due = self.checkpoint_due();
            until = Some(until.map_or(due, |at: Instant| at.min(due)));
        }
        if changed.is_empty() {
            return self.sleep(until).await;
        }
        let any = select_all(changed.iter_mut().map(|receiver| Box::pin(receiver.changed())));
        let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
        tokio::select! {
            command = self.inbox.recv() => match command {
                Some(command) => self.handle(command).await,
                None => Ok(LoopControl::Stop),
            },
            (closed, ..) = any => {
                if closed.is_err() {
                    return Err(Error::new(ErrorKind::ObjectNotInState, "an input of the query is gone"));
                }
                Ok(LoopControl::Again)
            }
            () = self.worker.written() => Ok(LoopControl::Again),
            () = sleep_until(until) => Ok(LoopControl::Again),
        }
    }

    /// Waits for a command, at most `until`.
    async fn sleep(&mut self, until: Option<Instant>) -> Result<LoopControl> {
        let command = match until {
            Some(until) => match timeout_at(until, self.inbox.recv()).await {
                Ok(command) => command,
                Err(_) => return Ok(LoopControl::Again),
            },
            None => self.inbox.recv().await,
        };
        match command {
            Some(command) => self.handle(command).await,
            None => Ok(LoopControl::Stop),
        }
    }

    async fn handle(&mut self, command: Command) -> Result<LoopControl> {
        match command {
            Command::Pause(done) => {
                // A checkpoint, so that a paused query does not retain log files.
                if !self.paused
                    && !self.state_poisoned
                    && let Err(error) = self.checkpoint().await
                {
                    tracing::warn!(query = self.worker.name, %error, "no checkpoint of the paused query");
                }
                self.paused = true;
                self.worker.cursors.end_prefetch();
                self.worker.set_state(QueryState::Paused, None);
                self.flushes.drain(..).for_each(|(_, done)| drop(done.send(Ok(()))));
                let _ = done.send(());
            }
            Command::Wake => {}
            Command::Release => self.worker.release().await?,
            Command::Begin(begun) => {
                self.resume();
                let _ = begun.send(());
            }
            Command::Resume => self.resume(),
            Command::GoOn => {
                (self.behind_outside, self.state_poisoned) = (true, true);
                self.try_again();
            }
            Command::Refit { rebuild, trigger, checkpoint_interval } => {
                (self.rebuild, self.trigger, self.checkpoint_interval) = (rebuild, trigger, checkpoint_interval);
                (self.state_poisoned, self.final_target) = (true, None);
                self.try_again();
            }
            Command::Flush(done) if self.paused => {
                let _ = done.send(self.failed.clone().map_or(Ok(()), Err));
            }
            Command::Flush(done) => match self.worker.cursors.target().await {
                Ok(target) => self.flushes.push((target, done)),
                Err(error) => {
                    let _ = done.send(Err(error));
                }
            },
            Command::Stop => {
                // What is being written must not outlive the query.
                let last = match self.failed.is_none() && !self.state_poisoned {
                    true => self.worker.checkpoint().await,
                    false => self.worker.end_checkpoint().await,
                };
                // Without it the next start replays more epochs.
                if let Err(error) = last {
                    tracing::warn!(query = self.worker.name, %error, "no last checkpoint");
                }
                return Ok(LoopControl::Stop);
            }
        }
        Ok(LoopControl::Again)
    }

    fn resume(&mut self) {
        self.paused = false;
        self.final_target = None;
        self.finishing = false;
        if self.failed.take().is_some() {
            self.state_poisoned = true;
        }
        self.worker.show(|status| status.last_error = None);
        self.worker.set_state(QueryState::Running, None);
    }

    /// Restarts a failed query; a paused one stays paused.
    fn try_again(&mut self) {
        if self.failed.take().is_some() {
            self.paused = false;
            self.worker.show(|status| status.last_error = None);
            self.worker.set_state(QueryState::Running, None);
        }
    }

    fn answer_flushes(&mut self) {
        let waiting = std::mem::take(&mut self.flushes);
        for (target, done) in waiting {
            if self.worker.cursors.has_reached(&target) && !self.worker.closes_next() {
                let _ = done.send(Ok(()));
            } else {
                self.flushes.push((target, done));
            }
        }
    }

    fn checkpoint_due(&self) -> Instant {
        self.unwritten.map_or(self.last_checkpoint + self.checkpoint_interval, |(at, _)| at)
    }

    async fn checkpoint_if_due(&mut self) -> Result<()> {
        if self.worker.written().now_or_never().is_some() {
            match self.worker.end_checkpoint().await {
                Ok(()) => self.unwritten = None,
                Err(error) => self.checkpoint_failed(error)?,
            }
            self.worker.show(|_| {});
        }
        let due = self.checkpoint_due() <= Instant::now();
        if due && self.worker.needs_checkpoint() && !self.worker.is_writing() {
            let begun = self.worker.begin_checkpoint();
            self.state_poisoned |= !self.worker.is_sound();
            match begun {
                Err(error) if self.state_poisoned || !is_transient(&error) => return Err(error),
                Err(error) => self.checkpoint_failed(error)?,
                Ok(()) => self.last_checkpoint = Instant::now(),
            }
        }
        Ok(())
    }

    /// Schedules the retry of a checkpoint whose write failed for a transient reason; the query runs on.
    fn checkpoint_failed(&mut self, error: Error) -> Result<()> {
        if !self.worker.is_sound() || !is_transient(&error) {
            self.state_poisoned |= !self.worker.is_sound();
            return Err(error);
        }
        let pause = self.unwritten.map_or(RETRY_MIN, |(_, pause)| (pause * 2).min(RETRY_MAX));
        tracing::warn!(query = self.worker.name, %error, wait = ?pause, "a checkpoint will be tried again");
        self.unwritten = Some((Instant::now() + pause, pause));
        Ok(())
    }

    async fn checkpoint(&mut self) -> Result<()> {
        self.state_poisoned = true;
        let saved = self.worker.checkpoint().await;
        self.state_poisoned = !self.worker.is_sound();
        saved?;
        self.unwritten = None;
        Ok(())
    }

    async fn finish(&mut self) -> Result<LoopControl> {
        self.finishing = true;
        self.checkpoint().await?;
        let marked = (self.finished)();
        tokio::select! {
            biased;
            marked = marked => marked?,
            // The sender may hold what marking waits for. It is marked again next time.
            command = self.inbox.recv() => return match command {
                Some(command) => self.handle(command).await,
                None => Ok(LoopControl::Stop),
            },
        }
        self.finishing = false;
        self.paused = true;
        self.worker.cursors.end_prefetch();
        self.worker.set_state(QueryState::Finished, None);
        self.flushes.drain(..).for_each(|(_, done)| drop(done.send(Ok(()))));
        Ok(LoopControl::Again)
    }

    async fn rebuild(&mut self) -> Result<()> {
        // No write may be under way where the new worker reads. Whether the old one's last checkpoint is complete,
        // recovery will see.
        let _ = self.worker.end_checkpoint().await;
        let (intents, commits) = self.worker.since();
        // One that failed and goes back stays failed.
        if self.failed.is_none() {
            self.worker.set_state(QueryState::Recovering, None);
        }
        let mut worker = (self.rebuild)().await?;
        if self.behind_outside {
            worker.go_on();
        }
        worker.recover(&intents, &commits).await?;
        self.worker = worker;
        self.state_poisoned = false;
        self.unwritten = None;
        // Still retrying until an epoch succeeds.
        let state = if self.retry.is_zero() { QueryState::Running } else { QueryState::Retrying };
        if self.failed.is_none() {
            self.worker.set_state(state, None);
        }
        Ok(())
    }

    /// Retries after a transient error with backoff; any other fails this query only.
    async fn after_error(&mut self, error: Error) -> LoopControl {
        let name = self.worker.name.clone();
        let error = self.worker.env.hidden.mask(error);
        self.state_poisoned |= !self.worker.is_sound();
        if !self.state_poisoned && self.worker.has_pending() {
            if let Err(error) = self.worker.save_pending().await {
                tracing::warn!(query = name, %error, "the pending epoch is not in the outbox yet");
            }
            self.state_poisoned = !self.worker.is_sound();
        }
        if !is_transient(&error) {
            tracing::error!(query = name, %error, "query failed");
            self.stop_failed(error);
            self.wait_for_writes().await;
            return LoopControl::Again;
        }
        self.retry = (self.retry * 2).clamp(RETRY_MIN, RETRY_MAX);
        tracing::warn!(query = name, %error, wait = ?self.retry, "query will try again");
        self.worker.set_state(QueryState::Retrying, Some(error.clone()));
        self.refuse_flushes(&error);
        match self.sleep(Some(Instant::now() + self.retry)).await {
            Ok(turn) => turn,
            Err(_) => LoopControl::Again,
        }
    }

    /// Rebuilds a failed query at its last committed epoch and checkpoints it, so that it retains neither log files nor
    /// the memory of the failed epoch. If that fails too, it is retried when the query is resumed.
    async fn wait_for_writes(&mut self) {
        if !self.state_poisoned {
            return;
        }
        let settled = AssertUnwindSafe(async {
            self.rebuild().await?;
            self.checkpoint().await
        });
        let outcome = settled.catch_unwind().await.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
        if let Err(error) = outcome {
            self.state_poisoned = true;
            tracing::warn!(query = self.worker.name, %error, "the failed query cannot go back yet");
        }
        self.worker.set_state(QueryState::Failed, self.failed.clone());
    }

    /// Fails all waiting flushes with `error`.
    fn refuse_flushes(&mut self, error: &Error) {
        for (_, done) in self.flushes.drain(..) {
            let _ = done.send(Err(error.clone()));
        }
    }

    fn stop_failed(&mut self, error: Error) {
        self.paused = true;
        self.failed = Some(error.clone());
        self.worker.set_state(QueryState::Failed, Some(error.clone()));
        self.refuse_flushes(&error);
    }
}

/// A panic payload as an error of the query.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let what = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let what = what.unwrap_or("no message");
    Error::of_panic(what).unwrap_or_else(|| Error::internal(format!("the query panicked: {what}")))
}

/// Whether an error is transient: I/O, a full disk, an unreachable system, lack of memory.
fn is_transient(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io
            | ErrorKind::DiskFull
            | ErrorKind::UndefinedFile
            | ErrorKind::OutOfMemory
            | ErrorKind::CannotConnectNow
    )
}
