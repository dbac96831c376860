//! The reading of a script on a storage that fails now and then, and works again.

use std::sync::{Arc, Mutex};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use tidemark::{
    error::{ErrorKind, Result},
    storage::{Fault, MemoryStorage, Operation},
};

use super::{
    play::{Play, options, patiently, was_done},
    script::{Script, Step, What},
};
use crate::harness::{Rig, eventually};

/// Of so many operations one fails, while faults are on.
const RATE: f64 = 0.08;

/// What fails, and whether anything does at the moment.
struct Faults {
    rng: SmallRng,
    on: bool,
    /// Those that were met.
    met: usize,
}

/// Whether an error passes once the storage works.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Io | ErrorKind::DiskFull | ErrorKind::CannotConnectNow)
}

impl Faults {
    fn next(&mut self, operation: Operation) -> Option<Fault> {
        if !self.on || !self.rng.random_bool(RATE) {
            return None;
        }
        self.met += 1;
        let kind = *[ErrorKind::Io, ErrorKind::DiskFull].choose(&mut self.rng).unwrap();
        let length = self.rng.random_range(0..200);
        Some(match operation {
            Operation::Append => {
                let faults = [Fault::Refused(kind), Fault::Short(length), Fault::Hole(length), Fault::Unsynced];
                *faults.choose(&mut self.rng).unwrap()
            }
            // A file that is created is whole, or is not there.
            _ => Fault::Refused(kind),
        })
    }
}

impl Play {
    /// Faults begin before a step and end after it. Then the server has gone on by itself, or is killed; the client asks
    /// again for what it was not told to be done.
    pub async fn with_faults(&mut self, script: &Script, seed: u64) {
        let rng = SmallRng::seed_from_u64(seed);
        let faults = Arc::new(Mutex::new(Faults { rng, on: false, met: 0 }));
        let mut rig = Rig::on(MemoryStorage::default(), options());
        let plan = faults.clone();
        rig.plan = Some(Arc::new(move |operation, _| plan.lock().unwrap().next(operation)));
        rig.open().await.unwrap();
        for step in &script.steps {
            if let What::Restart = step.what {
                rig.restart().await;
                continue;
            }
            let before = self.tables(&rig, step).await;
            self.switch(&faults, true);
            let mut outcome = patiently(self.step(&rig, step, false)).await;
            self.fail_a_restart(&mut rig, &faults).await;
            self.switch(&faults, false);
            let tried_again = outcome.is_err();
            if tried_again {
                // Unacknowledged is not undone: it may have become durable before the server was killed.
                let now = self.tables(&rig, step).await;
                let done = before.is_some() && before != now;
                outcome = if done { Ok(None) } else { self.again(&rig, step).await };
            }
            match outcome {
                Err(error) if tried_again && was_done(step, error.kind()) => {}
                Err(error) => self.fail(step, format!("{error} ({})", error.kind().sqlstate())),
                Ok(_) => {}
            }
            // No row waits for a later epoch, nor for a later time of the clock.
            if script.cuts_fixed && matches!(step.what, What::Insert { .. } | What::Statement(_)) {
                self.flushed(&rig, step).await;
            }
        }
        assert!(faults.lock().unwrap().met > 0, "{}: nothing failed", script.name);
        // Whatever failed, the server that comes next has all of it.
        rig.crash().await;
        if let Some(step) = script.steps.iter().rev().find(|step| matches!(step.what, What::Expect { .. })) {
            let clean = script.steps.iter().rev().take_while(|other| other.line != step.line);
            if clean.into_iter().all(|step| matches!(step.what, What::Changes { .. } | What::Fails { .. })) {
                let outcome = self.again(&rig, step).await;
                outcome.map_or_else(|error| self.fail(step, format!("after a restart: {error}")), drop);
            }
        }
    }

    /// Nine of ten steps meet faults.
    fn switch(&self, faults: &Mutex<Faults>, on: bool) {
        let mut faults = faults.lock().unwrap();
        faults.on = on && faults.rng.random_bool(0.9);
    }

    /// Sometimes the server is killed, and its storage fails while it starts; then it starts once more.
    async fn fail_a_restart(&self, rig: &mut Rig, faults: &Mutex<Faults>) {
        if !faults.lock().unwrap().rng.random_bool(0.2) {
            return;
        }
        rig.die();
        // It may come up, or not; what it does meanwhile is all its own.
        let _ = patiently(rig.open()).await;
        faults.lock().unwrap().on = false;
        rig.die();
        if let Err(error) = patiently(rig.open()).await {
            panic!("{}: the server does not start after faults: {error}", self.name);
        }
    }

    async fn flushed(&mut self, rig: &Rig, step: &Step) {
        let flushed = async || match rig.sql("FLUSH").await {
            Err(error) if is_passing(error.kind()) => None,
            done => Some(done),
        };
        if let Err(error) = patiently(eventually("FLUSH comes through", flushed)).await {
            self.fail(step, format!("FLUSH: {error}"));
        }
    }

    /// A step on a storage that works. What had failed is still to be tried again, which takes a moment.
    async fn again(&mut self, rig: &Rig, step: &Step) -> Result<Option<Vec<String>>> {
        let failures = self.failures.len();
        let done = async || match self.step(rig, step, false).await {
            Err(error) if is_passing(error.kind()) => {
                self.failures.truncate(failures);
                None
            }
            done => Some(done),
        };
        patiently(eventually("the step comes through", done)).await
    }
}
