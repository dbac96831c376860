//! Every script of `tests/streams` runs four ways: as written; crashed at every write of the storage and resumed; on a
//! storage that fails now and then; with its epochs cut anew. `UPDATE=1` writes what came out into the scripts.

mod faults;
mod film;
mod folder;
mod play;
mod script;

use std::{
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use self::{
    film::Film,
    play::Play,
    script::{Script, What},
};
use crate::harness::run;

fn scripts() -> Vec<(PathBuf, Script)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/streams");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "st"));
    // `SCRIPT=name` runs one alone.
    if let Ok(only) = std::env::var("SCRIPT") {
        paths.retain(|path| path.to_str().unwrap().contains(&only));
    }
    paths.sort();
    assert!(!paths.is_empty(), "no scripts");
    paths.into_iter().map(|path| (path.clone(), Script::read(&path))).collect()
}

/// Fails with all that went wrong, so that one run shows everything.
#[track_caller]
fn all_well(failures: Vec<String>) {
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn stream_scripts_give_their_recorded_changes() {
    let update = std::env::var("UPDATE").is_ok_and(|v| v == "1");
    let mut failures = Vec::new();
    for (path, script) in scripts() {
        let play = run(2, async || {
            let mut play = Play::new(&script);
            play.as_written(&script).await;
            play
        });
        if update {
            std::fs::write(path, rewritten(&script, &play.seen)).unwrap();
        } else {
            failures.extend(play.failures);
        }
    }
    all_well(failures);
}

#[test]
fn stream_scripts_crashed_at_every_write_end_alike() {
    let scripts: Vec<_> = scripts().into_iter().map(|(_, script)| (script, AtomicUsize::new(0))).collect();
    let failures = Mutex::new(Vec::new());
    // Each has films of its own, whose folders are its own, and both go on from the pictures of one script.
    let worker = || {
        for (script, next) in &scripts {
            let found = run(1, async || crashed(script, next).await);
            failures.lock().unwrap().extend(found);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
    all_well(failures.into_inner().unwrap());
}

/// The failures of all scripts, two of them at a time.
fn each_script(reading: impl Fn(&Script) -> Vec<String> + Sync) -> Vec<String> {
    let (scripts, next, failures) = (scripts(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some((_, script)) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = reading(script);
            failures.lock().unwrap().extend(found);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(worker);
        scope.spawn(worker);
    });
    failures.into_inner().unwrap()
}

#[test]
fn stream_scripts_on_a_faulty_storage_end_alike() {
    let seeds = std::env::var("SEEDS").map_or(2, |text| text.parse().unwrap());
    all_well(each_script(|script| {
        let with = |seed| {
            let play = run(1, async || {
                let mut play = Play::new(script);
                play.with_faults(script, seed).await;
                play
            });
            play.failures.into_iter().map(move |failure| format!("faults with seed {seed}: {failure}"))
        };
        (0..seeds).flat_map(with).collect()
    }));
}

/// What fails where a script is crashed at its writes, of which the next is to be had of a counter.
async fn crashed(script: &Script, next: &AtomicUsize) -> Vec<String> {
    let film = Film::of(script).await;
    let mut failures = film.failures().to_vec();
    loop {
        let write = next.fetch_add(1, Ordering::Relaxed);
        if write >= film.writes() {
            return failures;
        }
        failures.extend(film.crashed_at(script, write).await);
    }
}

#[test]
fn stream_scripts_with_other_epoch_cuts_end_alike() {
    let mut failures = Vec::new();
    for (_, script) in scripts().into_iter().filter(|(_, script)| !script.cuts_fixed) {
        for seed in 0..6 {
            let play = run(2, async || {
                let mut play = Play::new(&script);
                play.cut_anew(&script, seed).await;
                play
            });
            failures.extend(play.failures.iter().map(|f| format!("cut with seed {seed}: {f}")));
        }
    }
    all_well(failures);
}

/// The script with what came out in place of what was expected.
fn rewritten(script: &Script, seen: &[Option<Vec<String>>]) -> String {
    let mut out = Vec::new();
    let mut at = 0;
    for (step, seen) in script.steps.iter().zip(seen) {
        if let (What::Changes { .. } | What::Expect { .. }, Some(seen)) = (&step.what, seen) {
            out.extend(script.lines[at..step.body.start].iter().cloned());
            out.extend(seen.iter().map(|line| format!("  {line}")));
            at = step.body.end;
        }
    }
    out.extend(script.lines[at..].iter().cloned());
    out.join("\n") + "\n"
}
