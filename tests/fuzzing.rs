//! What the fuzzers call, over a corpus that is kept and random mutations of it: nothing may panic or hang.
//!
//! `MUTATIONS=n` tries as many for each target, `MINUTES=n` goes on for as long, `TARGET=name` runs one alone.

use std::{
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use tidemark::fuzzing::{FuzzTarget, TARGETS, corpus};

/// Mutations of a run that says nothing else.
const MUTATIONS: u64 = 400;

/// What is not done by then hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What formats and protocols treat in a way of its own.
const TOKENS: [&[u8]; 22] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"'",
    b"$1",
    b"null",
    b"NaN",
    b"-0",
    b"1e999",
    b"9223372036854775807",
    b"\xff\xff\xff\xff",
    b"\xef\xbb\xbf",
    b"\xf0\x9f\x98\x80",
    b"\x80",
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap())
}

/// The files that are kept for a target, and those of other tests in its format.
fn seeds(target: &FuzzTarget) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = files(&corpus(target.name));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let ending = match target.name {
        "csv" | "json" | "avro" => target.name,
        "messages" => "json",
        _ => "none",
    };
    paths.extend(files(&golden).into_iter().filter(|path| path.extension().is_some_and(|e| e == ending)));
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Some of the mutations that fuzzers begin with.
fn mutate(rng: &mut SmallRng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut data = seeds.choose(rng).unwrap().clone();
    for _ in 0..1 << rng.random_range(0..5) {
        let at = rng.random_range(0..=data.len());
        let to = rng.random_range(at..=data.len().min(at + 64));
        match rng.random_range(0..8) {
            0 if at < data.len() => data[at] ^= 1 << rng.random_range(0..8),
            1 if at < data.len() => data[at] = rng.random(),
            2 => data.truncate(at),
            3 => drop(data.drain(at..to)),
            4 => {
                let copy = data[at..to].to_vec();
                data.splice(at..at, copy);
            }
            5 => drop(data.splice(at..to, TOKENS.choose(rng).unwrap().iter().copied())),
            6 => {
                let other = seeds.choose(rng).unwrap();
                let from = rng.random_range(0..=other.len());
                data.splice(at..to, other[from..other.len().min(from + 256)].iter().copied());
            }
            _ => {
                // A length, as many formats have it in front.
                let length: u32 = *[0, 1, 0x7f, 0xff, 0xffff, i32::MAX as u32, u32::MAX].choose(rng).unwrap();
                data.splice(at..to, length.to_be_bytes());
            }
        }
    }
    data
}

/// Runs a target over its corpus and mutations of it. The input that fails is kept in the corpus.
fn explore(target: &'static FuzzTarget) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "target {} has no corpus", target.name);
    let (said, says) = mpsc::channel();
    let until = Instant::now() + Duration::from_secs(60 * number("MINUTES").unwrap_or(0));
    let mutations = number("MUTATIONS").unwrap_or(MUTATIONS);
    let worker = std::thread::Builder::new().stack_size(16 << 20).spawn(move || {
        let rng = &mut SmallRng::seed_from_u64(number("SEED").unwrap_or(0));
        let mut inputs = 0;
        while inputs < seeds.len() as u64 + mutations || Instant::now() < until {
            let data = seeds.get(inputs as usize).cloned().unwrap_or_else(|| mutate(rng, &seeds));
            let _ = said.send(data.clone());
            (target.run)(&data);
            inputs += 1;
        }
    });
    let mut last = Vec::new();
    let fault = loop {
        match says.recv_timeout(PATIENCE) {
            Ok(data) => last = data,
            Err(RecvTimeoutError::Timeout) => break "hangs",
            // The worker is done, or its input was its end.
            Err(RecvTimeoutError::Disconnected) => match worker.unwrap().join() {
                Ok(()) => return,
                Err(_) => break "panics",
            },
        }
    };
    let name = format!("{:08x}", crc32fast::hash(&last));
    let path = corpus(target.name).join(&name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, last).unwrap();
    panic!("target {} {fault} on tests/corpus/{}/{name}", target.name, target.name);
}

/// `fuzz/` runs each of them under its name.
#[test]
fn fuzz_targets_match_the_entry_points() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let manifest = std::fs::read_to_string(folder.with_file_name("Cargo.toml")).unwrap();
    let mut names: Vec<_> = TARGETS.iter().map(|target| format!("{}.rs", target.name)).collect();
    names.sort();
    let found = files(&folder).into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_string());
    assert_eq!(found.collect::<Vec<_>>(), names);
    for target in &TARGETS {
        let text = std::fs::read_to_string(folder.join(format!("{}.rs", target.name))).unwrap();
        assert!(text.contains(&format!("run(\"{}\", data)", target.name)), "{text}");
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
    }
}

#[test]
fn decoders_mutated_corpus_neither_panics_nor_hangs() {
    let only = std::env::var("TARGET").ok();
    let targets = TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| target.name == only));
    targets.for_each(explore);
}
