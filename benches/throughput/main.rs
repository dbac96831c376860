//! `cargo bench`: what keeping an answer up to date costs, beside what the answer costs once.
//!
//! 1. Ten million rows in 100 files, one file an epoch, through a tumbling count per key; beside it DataFusion's batch
//!    answer over the same files with as many threads. The two take turns, medians count, and the answers must agree.
//! 2. One new row at a time, over views that hold 10 thousand to a million groups.
//! 3. Messages from Kafka through a tumbling count, beside a bare consumer of the same topic; and how long one takes from
//!    being produced to being seen, at a steady rate. Needs Java and Maven.
//! 4. Each operator that stands: what one changed row costs over 10 thousand to a million rows of input; and how many rows a
//!    second go through it, beside DataFusion's batch operator.
//!
//! `cargo bench -- --rows 1000000 --runs 1 --only parquet` is a quick look; `--only epochs` runs the second part alone, `--only
//! kafka` the third, `--only operators` the fourth, and `--only join` one operator of it. `--states 10000,100000 --epochs 100`
//! makes the second and the fourth smaller.

mod data;
mod epochs;
mod kafka;
mod operators;
mod server;
mod stream;

use std::process::ExitCode;

/// A benchmark may fail in any way; it says how and ends.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What is run, and how often.
#[derive(Debug, Clone)]
pub struct Arguments {
    pub rows: usize,
    pub files: usize,
    pub runs: usize,
    pub keys: Vec<i64>,
    /// How much is remembered while one row changes.
    pub states: Vec<i64>,
    /// How often one row changes.
    pub epochs: usize,
    /// A format, `epochs`, `kafka`, `operators` or one of them; `None` is all.
    pub only: Option<String>,
    pub threads: usize,
}

impl Arguments {
    fn parse() -> Outcome<Self> {
        let threads = std::thread::available_parallelism()?.get();
        let mut all = Arguments {
            rows: 10_000_000,
            files: 100,
            runs: 3,
            keys: vec![1_000, 100_000],
            states: vec![10_000, 100_000, 1_000_000],
            epochs: 500,
            only: None,
            threads,
        };
        let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} takes a value"))?;
            match word.as_str() {
                "--rows" => all.rows = value.parse()?,
                "--files" => all.files = value.parse()?,
                "--runs" => all.runs = value.parse()?,
                "--keys" => all.keys = vec![value.parse()?],
                "--states" => all.states = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
                "--epochs" => all.epochs = value.parse()?,
                "--threads" => all.threads = value.parse()?,
                "--only" => all.only = Some(value),
                _ => return Err(format!("{word} is unknown").into()),
            }
        }
        match &all.only {
            Some(only) if !is_part(only) => Err(format!("--only {only} is nothing that is measured").into()),
            _ => Ok(all),
        }
    }

    pub fn wants(&self, what: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only == what)
    }
}

/// Whether something can be run alone.
fn is_part(name: &str) -> bool {
    data::FORMATS.contains(&name) || ["epochs", "kafka"].contains(&name) || operators::knows(name)
}

fn main() -> ExitCode {
    let run = || {
        let arguments = Arguments::parse()?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.threads).enable_all().build()?;
        runtime.block_on(async {
            stream::run(&arguments).await?;
            epochs::run(&arguments).await?;
            kafka::run(&arguments).await?;
            operators::run(&arguments).await
        })
    };
    let outcome: Outcome<()> = run();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The middle of some numbers.
pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
