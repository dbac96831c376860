//! Recovery to the last committed epoch: load the newest checkpoint, replay the epochs committed after it.

use std::{collections::BTreeMap, sync::Arc};

use super::{Worker, checkpoints::CheckpointHeader};
use crate::{
    checkpoint::{Commit, Intent, LogRecord, resume},
    error::{Error, ErrorKind, Result},
    exec::in_place,
    relations::{Relation, SharedRelation},
    sql::table::TableInput,
    time::Epoch,
};

impl Worker {
    /// Loads the newest checkpoint and replays the epochs committed after it. Afterwards all readers see the last
    /// committed epoch, even if the pending one fails again. If recovery fails, readers get its error.
    pub async fn recover(&mut self, intents: &[Intent], commits: &[Commit]) -> Result<()> {
        // Even if this fails, the next try needs all that was committed. Of several intents of one epoch the last one
        // counts.
        let last: BTreeMap<Epoch, &Intent> = intents.iter().map(|intent| (intent.epoch, intent)).collect();
        let whole = |commit: &Commit| Some(((*last.get(&commit.epoch)?).clone(), commit.clone()));
        let since = commits.iter().filter_map(whole).collect();
        let committed = commits.iter().map(|commit| commit.epoch).max().unwrap_or_default();
        let begun = last.last_key_value().filter(|(epoch, _)| self.setup.sink_driver.is_some() && **epoch > committed);
        self.durability.note_log(since, begun.map(|(_, intent)| (*intent).clone()));
        let pending = match self.restore(intents, commits).await {
            Ok(pending) => pending,
            Err(error) => {
                self.setup.relation.refuse(&error);
                return Err(error);
            }
        };
        self.durability.note_recovered();
        self.share.hold(self.bytes()?);
        self.setup.relation.publish();
        self.show(|_| {});
        // A pending epoch that reads a snapshot cannot be replayed: the relation's rows at that time are lost.
        match pending.filter(|intent| !self.cursors.reads_snapshots(intent)) {
            Some(intent) => {
                // Earlier epochs were delivered before this one began.
                if self.setup.sink_driver.is_some() {
                    self.discard_pending()?;
                }
                self.run(intent).await
            }
            None if self.setup.sink_driver.is_some() => {
                self.durability.end_begun();
                self.restore_pending(commits)
            }
            None => Ok(()),
        }
    }

    /// Restores the last committed epoch; returns the intent of the epoch that was begun after it.
    async fn restore(&mut self, intents: &[Intent], commits: &[Commit]) -> Result<Option<Intent>> {
        let room = match self.bytes_to_load()? {
            0 => None,
            bytes => self.env.epochs.enter_recovery(bytes).await,
        };
        let mut loaded = in_place(|| self.durability.open())?;
        let at = loaded.as_ref().map_or(Epoch(0), |header| header.epoch);
        if let Some(header) = &mut loaded {
            // The checkpoint may have been written before its commit.
            let commit = header.commit.take().filter(|commit| !commits.iter().any(|other| other.epoch == commit.epoch));
            if let Some(commit) = commit {
                // The next checkpoint will not have it.
                let record = LogRecord::Commit(commit.clone()).encode(&[])?;
                self.env.commits.append(vec![record], &commit).await?;
            }
        }
        let mut relation = in_place(|| self.load_all(loaded))?;
        drop(room);
        self.durability.note_loaded(at, self.cursors.offsets());
        relation.note_watermark(self.totals.watermark);
        let plan = resume(at, intents, commits)?;
        if !plan.redo.is_empty() || plan.pending.is_some() {
            // Replayed epochs read the inputs as they were then.
            self.inputs_recovered().await;
        }
        self.durability.note_redo(&plan.redo);
        // Until everything is restored, followers read the old relation: they would lose rows to an incomplete
        // changelog.
        let shared = self.setup.relation.clone();
        self.setup.relation = SharedRelation::new(shared.id, shared.name.clone(), relation, Default::default());
        let redone = self.redo_all(plan.redo).await;
        let rebuilt = std::mem::replace(&mut self.setup.relation, shared);
        redone?;
        self.setup.relation.take_over(&rebuilt);
        Ok(plan.pending)
    }

    /// Loads everything from a checkpoint; returns the relation as of then. Blocking.
    fn load_all(&mut self, loaded: Option<CheckpointHeader>) -> Result<Relation> {
        let at = loaded.as_ref().map_or(Epoch(0), |header| header.epoch);
        if let Some(header) = loaded {
            header.relation.iter().try_for_each(|file| self.durability.store().expect(file))?;
            self.load(header)?;
        }
        let (mut relation, followed) = {
            let old = self.setup.relation.lock();
            let mut relation = Relation::new(old.schema().clone(), old.identity().clone())?.of_a_query();
            relation.serve_as(&old);
            (relation, old.follows_from())
        };
        let thresholds = &self.env.thresholds;
        relation.limit_changelog(&self.env.changelog);
        relation.set_thresholds(thresholds.unsaved_rows_min, thresholds.compaction);
        let state = self.state_bytes()?;
        self.durability.store().load(&mut relation, Some(at), followed, &|bytes| self.share.load(state + bytes))?;
        Ok(relation)
    }

    /// Bytes of the files to load: an upper bound.
    fn bytes_to_load(&self) -> Result<usize> {
        let (storage, id) = (&self.env.storage, self.setup.id);
        let mut bytes = 0;
        for folder in ["state", "relations"] {
            for path in storage.list(&format!("{folder}/{id}"))? {
                bytes += storage.length(&path)?.unwrap_or(0);
            }
        }
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// An input relation that is still recovering.
    pub fn recovering_input(&self) -> Option<Arc<SharedRelation>> {
        let relations = self.inputs().iter().filter_map(|input| match &input.table.input {
            TableInput::Relation(shared) => Some(shared),
            TableInput::Source(..) => None,
        });
        relations.into_iter().find(|shared| shared.is_recovering()).cloned()
    }

    async fn inputs_recovered(&self) {
        while let Some(input) = self.recovering_input() {
            input.recovered().await;
        }
    }

    fn load(&mut self, header: CheckpointHeader) -> Result<()> {
        let epoch_context = &self.setup.standing.epoch_context;
        self.durability.checkpoints().each(|operator, batch| {
            // A batch of a later checkpoint replaces all or part of what was loaded before.
            self.share.load(self.state_bytes()?.max(batch.get_array_memory_size()))?;
            let load = epoch_context.with_operator(operator, |operator| operator.state().load(batch));
            load.unwrap_or_else(|| Err(Error::internal("a checkpoint of another plan was loaded")))
        })?;
        self.setup.standing.epoch_context.each_operator(|_, operator| {
            operator.restored(header.watermark);
            Ok(())
        })?;
        self.cursors.restore(&header.offsets);
        self.epoch = header.epoch;
        self.watermarks = header.watermarks.clone();
        self.totals = header;
        Ok(())
    }

    async fn redo_all(&mut self, epochs: Vec<(Intent, Commit)>) -> Result<()> {
        for (intent, commit) in epochs {
            self.redo(intent, commit).await?;
        }
        Ok(())
    }

    async fn redo(&mut self, intent: Intent, commit: Commit) -> Result<()> {
        let opened = self.cursors.open(&self.env, &intent)?;
        let (again, _) = self.execute(&intent, opened).await?;
        if (again.rows_in, again.rows_out) != (commit.rows_in, commit.rows_out) {
            return Err(changed_input(format!(
                "epoch {} of \"{}\" read {} rows and gave {}, but now reads {} and gives {}",
                intent.epoch, self.setup.name, commit.rows_in, commit.rows_out, again.rows_in, again.rows_out
            )));
        }
        if commit.hash.zip(again.hash).is_some_and(|(was, is)| was.contradicts(is)) {
            let (epoch, name, count) = (intent.epoch, &self.setup.name, commit.rows_out);
            return Err(changed_input(format!("epoch {epoch} of \"{name}\" gave {count} rows, but now gives others")));
        }
        self.advance(&intent, &commit);
        Ok(())
    }
}

/// The error for a replayed epoch whose changes differ from those committed.
fn changed_input(message: String) -> Error {
    Error::new(ErrorKind::DataCorrupted, message)
        .detail("What the epoch had read has changed or is gone.")
        .hint("Put the input back as it was, then ALTER … RESUME; or create another view of the same query beside it.")
}
