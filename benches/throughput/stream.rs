//! The first part: files through a tumbling count per key, one file an epoch, beside the batch answer.

use std::time::Instant;

use datafusion::{
    arrow::{
        array::{AsArray, RecordBatch},
        datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType},
    },
    prelude::{CsvReadOptions, JsonReadOptions, ParquetReadOptions, SessionConfig, SessionContext},
};

use crate::{
    Arguments, Outcome,
    data::{DISORDER_US, Data, FORMATS},
    median,
    server::Server,
};

/// A window's start, a key, a count.
type Row = (i64, i64, i64);

pub async fn run(arguments: &Arguments) -> Outcome<()> {
    if !FORMATS.iter().any(|format| arguments.wants(format)) {
        return Ok(());
    }
    println!(
        "{} rows in {} files, one file an epoch, through a tumbling count per key; {} threads; medians of {} runs",
        arguments.rows, arguments.files, arguments.threads, arguments.runs
    );
    println!("million rows a second, and in brackets the part of batch; a target is 0.5 for Parquet and JSON");
    println!("| format  | keys    | batch | EMIT ON WINDOW CLOSE | EMIT ON UPDATE |");
    println!("| ------- | ------- | ----- | -------------------- | -------------- |");
    for keys in &arguments.keys {
        let data = Data::make(arguments, *keys)?;
        for format in FORMATS.into_iter().filter(|format| arguments.wants(format)) {
            line(arguments, &data, format, *keys).await?;
        }
    }
    Ok(())
}

/// Runs batch and both kinds of view in turn.
async fn line(arguments: &Arguments, data: &Data, format: &str, keys: i64) -> Outcome<()> {
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..arguments.runs {
        let (batch, answer) = batch(arguments, data, format).await?;
        let (closing, closed) = standing(arguments, data, format, "ON WINDOW CLOSE").await?;
        let (updating, updated) = standing(arguments, data, format, "ON UPDATE").await?;
        if updated != answer {
            return Err(format!("{format}: the view has {} rows, not the batch answer", updated.len()).into());
        }
        // The windows that the watermark has not reached are not shown yet.
        let open = closed.last().map_or(0, |row| row.0);
        let is_closed = |row: &&Row| row.0 <= open;
        if closed.is_empty() || !answer.iter().take_while(is_closed).eq(&closed) {
            return Err(format!("{format}: the closed windows are not those of the batch answer").into());
        }
        for (all, one) in seconds.iter_mut().zip([batch, closing, updating]) {
            all.push(one);
        }
    }
    let rate = seconds.map(|seconds| arguments.rows as f64 / median(seconds) / 1e6);
    let [batch, closing, updating] = rate;
    let part = |rate: f64| format!("{rate:.2} ({:.2})", rate / batch);
    println!("| {format:7} | {keys:7} | {batch:5.2} | {:20} | {:14} |", part(closing), part(updating));
    Ok(())
}

/// DataFusion's own answer: seconds, and the rows in order.
async fn batch(arguments: &Arguments, data: &Data, format: &str) -> Outcome<(f64, Vec<Row>)> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(arguments.threads));
    let folder = data.of(format).display().to_string();
    let time = DataType::Timestamp(TimeUnit::Microsecond, None);
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let schema = Schema::new(vec![field("key", DataType::Int64), field("value", DataType::Float64), field("ts", time)]);
    let started = Instant::now();
    match format {
        "csv" => context.register_csv("s", &folder, CsvReadOptions::new().schema(&schema)).await?,
        "json" => {
            let options = JsonReadOptions { schema: Some(&schema), ..JsonReadOptions::default() };
            context.register_json("s", &folder, options).await?;
        }
        _ => context.register_parquet("s", &folder, ParquetReadOptions::new().schema(&schema)).await?,
    }
    let sql = "SELECT date_bin(INTERVAL '10 minutes', ts) AS window_start, key, count(*) FROM s GROUP BY 1, 2";
    let batches = context.sql(sql).await?.collect().await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok((seconds, rows(&batches)?))
}

/// The same by a view: seconds until all files are read, committed, saved and visible.
async fn standing(arguments: &Arguments, data: &Data, format: &str, emit: &str) -> Outcome<(f64, Vec<Row>)> {
    let server = Server::start(arguments.threads).await?;
    let folder = data.of(format).display().to_string();
    let header = if format == "csv" { ", header = true" } else { "" };
    let delay = DISORDER_US / 1_000_000;
    let source = format!(
        "CREATE SOURCE s (key BIGINT, value DOUBLE PRECISION, ts TIMESTAMP,
             WATERMARK FOR ts AS ts - INTERVAL '{delay} seconds')
         WITH (connector = 'directory', path = '{folder}', format = '{format}'{header}, max_files_per_trigger = 1)"
    );
    server.run(&source).await?;
    let view = format!(
        "CREATE MATERIALIZED VIEW v WITH (trigger = 'available_now') AS
         SELECT window_start, key, count(*) AS n FROM TUMBLE(s, ts, INTERVAL '10 minutes')
         GROUP BY window_start, key EMIT {emit}"
    );
    let started = Instant::now();
    server.run(&view).await?;
    server.run("FLUSH").await?;
    let seconds = started.elapsed().as_secs_f64();
    let progress = server.run("SELECT epoch, rows_in, late + dead_letters FROM tidemark.queries").await?;
    let number = |column| progress[0].column(column).as_primitive::<Int64Type>().value(0);
    let expected = (arguments.files as i64, (arguments.rows / arguments.files * arguments.files) as i64, 0);
    let found = (number(0), number(1), number(2));
    // A last epoch without rows may close what the last file has completed.
    if (found.1, found.2) != (expected.1, expected.2) || !(expected.0..=expected.0 + 1).contains(&found.0) {
        return Err(format!("epochs, rows, rows left out: {found:?} instead of {expected:?}").into());
    }
    let answer = rows(&server.run("SELECT window_start, key, n FROM v").await?)?;
    server.stop().await;
    Ok((seconds, answer))
}

fn rows(batches: &[RecordBatch]) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for batch in batches {
        let start =
            datafusion::arrow::compute::cast(batch.column(0), &DataType::Timestamp(TimeUnit::Microsecond, None))?;
        let (start, key) = (start.as_primitive::<TimestampMicrosecondType>(), batch.column(1));
        let (key, count) = (key.as_primitive::<Int64Type>(), batch.column(2).as_primitive::<Int64Type>());
        rows.extend((0..batch.num_rows()).map(|row| (start.value(row), key.value(row), count.value(row))));
    }
    rows.sort_unstable();
    Ok(rows)
}
