//! All rows through an operator, some files an epoch each, beside DataFusion's answer over the same files. Where rows are
//! updated, it is a table of which each row is updated, beside the answer over that table.

use std::{path::Path, time::Instant};

use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        compute::cast,
        datatypes::{DataType, Int64Type},
    },
    prelude::{ParquetReadOptions, SessionConfig, SessionContext},
};

use super::{Kind, Operator, rows};
use crate::{Arguments, Outcome, median, server::Server};

/// How many rows share a key.
const EACH: i64 = 10;

/// How many rows, and the sum of all whole numbers in them: what two right answers share.
type Answer = (usize, i64);

pub async fn run(arguments: &Arguments, operators: &[&Operator]) -> Outcome<()> {
    let (count, files) = size(arguments);
    println!();
    println!(
        "{count} rows of each input in {files} Parquet files, one an epoch, or updated in a table; {} threads; medians of {} runs",
        arguments.threads, arguments.runs
    );
    println!("million rows a second");
    println!("| operator                | batch | standing | ratio |");
    println!("| ----------------------- | ----- | -------- | ----- |");
    let folder = tempfile::tempdir()?;
    write(folder.path(), count, files).await?;
    for operator in operators {
        let (mut batch, mut standing) = (Vec::new(), Vec::new());
        for _ in 0..arguments.runs {
            let both = match operator.kind {
                Kind::Keyed => updated(arguments, operator, count).await,
                _ => both(arguments, operator, folder.path()).await,
            };
            let (once, kept) = both.map_err(|error| format!("{}: {error}", operator.name))?;
            batch.push(once);
            standing.push(kept);
        }
        let rows = count as f64 * operator.tables.len() as f64;
        let [batch, standing] = [batch, standing].map(|seconds| rows / median(seconds) / 1e6);
        println!("| {:23} | {batch:5.2} | {standing:8.2} | {:5.2} |", operator.what, standing / batch);
    }
    Ok(())
}

/// Rows and files: a tenth of what the first part reads, for there are many operators.
fn size(arguments: &Arguments) -> (i64, i64) {
    let files = (arguments.files / 10).max(1) as i64;
    let keys = arguments.rows as i64 / 10 / (files * EACH);
    (keys.max(1) * files * EACH, files)
}

/// The files, which each table reads.
async fn write(folder: &Path, count: i64, files: i64) -> Outcome<()> {
    let context = SessionContext::new();
    for file in 0..files {
        let (from, to) = (file * count / files + 1, (file + 1) * count / files);
        let path = folder.join(format!("{file:04}.parquet"));
        let select = rows::select(from, to, count / EACH);
        let copy = format!("COPY ({select}) TO '{}' STORED AS PARQUET", path.display());
        context.sql(&copy).await?.collect().await?;
    }
    Ok(())
}

/// Seconds of DataFusion's answer, and seconds until all files are read, committed, saved and visible.
async fn both(arguments: &Arguments, operator: &Operator, folder: &Path) -> Outcome<(f64, f64)> {
    let path = folder.display().to_string();
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(arguments.threads));
    let started = Instant::now();
    for table in operator.tables {
        context.register_parquet(*table, &path, ParquetReadOptions::new()).await?;
    }
    let answer = context.sql(operator.batch.unwrap_or(operator.query)).await?.collect().await?;
    let once = started.elapsed().as_secs_f64();
    let server = Server::start(arguments.threads).await?;
    let watermark = match operator.kind {
        Kind::Timed => ", WATERMARK FOR ts AS ts - INTERVAL '5 seconds'",
        _ => "",
    };
    for table in operator.tables {
        let source = format!(
            "CREATE SOURCE {table} ({}{watermark})
             WITH (connector = 'directory', path = '{path}', format = 'parquet', max_files_per_trigger = 1)",
            rows::COLUMNS
        );
        server.run(&source).await?;
    }
    let started = Instant::now();
    server
        .run(&format!("CREATE MATERIALIZED VIEW answer WITH (trigger = 'available_now') AS {}", operator.query))
        .await?;
    server.run("FLUSH").await?;
    let kept = started.elapsed().as_secs_f64();
    same(&server.run("SELECT * FROM answer").await?, &answer)?;
    server.stop().await;
    Ok((once, kept))
}

/// Seconds of an ordinary SELECT over a table, and seconds until a view has followed the update of each of its rows.
async fn updated(arguments: &Arguments, operator: &Operator, count: i64) -> Outcome<(f64, f64)> {
    let server = Server::start(arguments.threads).await?;
    server.run(&format!("CREATE TABLE a ({}, PRIMARY KEY (id))", rows::COLUMNS)).await?;
    server.run(&format!("INSERT INTO a {}", rows::select(1, count, count / EACH))).await?;
    server.run(&format!("CREATE MATERIALIZED VIEW answer AS {}", operator.query)).await?;
    server.run("FLUSH").await?;
    server.run("ALTER MATERIALIZED VIEW answer PAUSE").await?;
    server.run("UPDATE a SET v = v * 31 % 1000003").await?;
    let started = Instant::now();
    let answer = server.run(operator.query).await?;
    let once = started.elapsed().as_secs_f64();
    let before = rows_in(&server).await?;
    let started = Instant::now();
    server.run("ALTER MATERIALIZED VIEW answer RESUME").await?;
    server.run("FLUSH").await?;
    let kept = started.elapsed().as_secs_f64();
    let read = rows_in(&server).await? - before;
    if read < count {
        return Err(format!("the view read {read} changes once it went on, not those of {count} rows").into());
    }
    same(&server.run("SELECT * FROM answer").await?, &answer)?;
    server.stop().await;
    Ok((once, kept))
}

async fn rows_in(server: &Server) -> Outcome<i64> {
    let progress = server.run("SELECT rows_in FROM tidemark.queries").await?;
    Ok(progress[0].column(0).as_primitive::<Int64Type>().value(0))
}

fn same(kept: &[RecordBatch], answer: &[RecordBatch]) -> Outcome<()> {
    let (kept, answer) = (summed(kept)?, summed(answer)?);
    if kept != answer {
        return Err(format!("the view has {kept:?} (rows, sum), the batch answer {answer:?}").into());
    }
    Ok(())
}

fn summed(batches: &[RecordBatch]) -> Outcome<Answer> {
    let mut answer = (0, 0_i64);
    for batch in batches {
        answer.0 += batch.num_rows();
        for column in batch.columns().iter().filter(|column| column.data_type().is_integer()) {
            let numbers = cast(column, &DataType::Int64)?;
            let numbers = numbers.as_primitive::<Int64Type>().iter().flatten();
            answer.1 = numbers.fold(answer.1, |sum, number| sum.wrapping_add(number));
        }
    }
    Ok(answer)
}
