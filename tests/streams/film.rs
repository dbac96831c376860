//! A script that is crashed at each of its writes: it is run once and filmed, and goes on from each picture.

use std::sync::{Arc, Mutex};

use tidemark::{storage::MemoryStorage, time::Clock};

use super::{
    play::{Faults, Play, options, patiently},
    script::{Script, Step, What},
};
use crate::harness::{Files, Rig};

/// What a server leaves that dies at a write, and where the script is then.
struct Picture {
    files: Files,
    moment: Shot,
    landed: usize,
}

#[derive(Debug, Clone, Copy)]
struct Shot {
    /// The step that is being done.
    step: usize,
    /// Whether the client was told that it is done.
    acknowledged: bool,
    now: i64,
}

/// A script as it was written, with a picture of each write.
pub struct Film {
    play: Play,
    pictures: Vec<Picture>,
    /// What the table that a step writes to holds before it.
    before: Vec<Option<Vec<String>>>,
    /// The files that landed.
    landed: usize,
}

impl Film {
    pub async fn of(script: &Script) -> Film {
        let mut play = Play::new(script);
        let mut rig = Rig::on(MemoryStorage::default(), options());
        let moment = Arc::new(Mutex::new(Shot { step: 0, acknowledged: false, now: rig.clock.now() }));
        let pictures = Arc::new(Mutex::new(Vec::new()));
        let (at, roll, folder) = (moment.clone(), pictures.clone(), play.folder.clone());
        rig.camera = Some(Arc::new(Mutex::new(move |files| {
            let (moment, landed) = (*at.lock().unwrap(), folder.landed());
            roll.lock().unwrap().push(Picture { files, moment, landed });
        })));
        rig.open().await.unwrap();
        let mut before = Vec::new();
        for (n, step) in script.steps.iter().enumerate() {
            *moment.lock().unwrap() = Shot { step: n, acknowledged: false, now: rig.clock.now() };
            before.push(play.tables(&rig, step).await);
            if let What::Restart = step.what {
                rig.restart().await;
                continue;
            }
            let mut outcome = patiently(play.step(&rig, step, false)).await;
            *moment.lock().unwrap() = Shot { step: n, acknowledged: true, now: rig.clock.now() };
            if outcome.is_ok() {
                outcome = patiently(rig.sql("FLUSH")).await.map(|_| None);
            }
            if let Err(error) = outcome {
                play.fail(step, error.to_string());
            }
        }
        *moment.lock().unwrap() = Shot { step: script.steps.len(), acknowledged: true, now: rig.clock.now() };
        rig.engine().shutdown().await;
        drop(rig);
        let pictures = std::mem::take(&mut *pictures.lock().unwrap());
        assert!(!pictures.is_empty(), "{} writes nothing", script.name);
        Film { landed: play.folder.landed(), play, pictures, before }
    }

    pub fn writes(&self) -> usize {
        self.pictures.len()
    }

    /// What failed as the script is written.
    pub fn failures(&self) -> &[String] {
        &self.play.failures
    }

    /// The server comes back on what it left at a write, and the client asks again for what it was not told to be done.
    /// Every other time the server dies once more while it recovers, or soon after. Gives what fails.
    pub async fn crashed_at(&self, script: &Script, write: usize) -> Vec<String> {
        let Picture { files, moment, landed } = &self.pictures[write];
        self.play.folder.back_to(*landed, self.landed);
        let mut play = Play::beside(&self.play);
        let mut rig = Rig::on(MemoryStorage::from(files.clone()), options());
        rig.clock.set(moment.now);
        let mut faults = Faults { at: write.is_multiple_of(2).then_some(1 + write as u64 % 7) };
        faults.start(&mut rig).await;
        // A file may be found and written of before whoever put it there is back; once more, it would be another file.
        let files = script.steps.iter().take(moment.step + 1).filter(|step| step.is_file()).count();
        let is_there = script.steps.get(moment.step).is_some_and(Step::is_file) && files <= *landed;
        let (mut acknowledged, mut down) = (moment.acknowledged || is_there, true);
        for (step, before) in script.steps.iter().zip(&self.before).skip(moment.step) {
            if !down {
                acknowledged = play.try_step(&mut rig, step, &faults).await;
            }
            while down || faults.struck(&rig) {
                if !std::mem::take(&mut down) {
                    rig.die();
                    faults.at = None;
                    faults.start(&mut rig).await;
                }
                // Unacknowledged is not undone: it may have become durable with the last breath.
                let done = acknowledged || *before != play.tables(&rig, step).await;
                if !done {
                    acknowledged = play.try_step(&mut rig, step, &faults).await;
                }
            }
            if faults.at.is_none() && matches!(step.what, What::Restart) {
                rig.restart().await;
            }
        }
        patiently(rig.engine().shutdown()).await;
        if faults.struck(&rig) {
            rig.crash().await;
        }
        let failures = play.failures.iter();
        failures.map(|f| format!("crashed at write {} of {}: {f}", write + 1, self.pictures.len())).collect()
    }
}
