//! The second part: what one new row costs, however much is remembered.

use std::time::Instant;

use datafusion::arrow::{array::AsArray, datatypes::Int64Type};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::{Arguments, Outcome, server::Server};

pub async fn run(arguments: &Arguments) -> Outcome<()> {
    if !arguments.wants("epochs") {
        return Ok(());
    }
    println!();
    println!(
        "one new row an epoch, {} of them, milliseconds; a target is 5, whatever the number of groups",
        arguments.epochs
    );
    println!("| groups  | epoch p50 | epoch p99 | INSERT to visible p50 | p99   |");
    println!("| ------- | --------- | --------- | --------------------- | ----- |");
    for groups in &arguments.states {
        line(arguments, *groups).await?;
    }
    Ok(())
}

async fn line(arguments: &Arguments, groups: i64) -> Outcome<()> {
    let server = Server::start(arguments.threads).await?;
    server.run("CREATE TABLE t (key BIGINT, value BIGINT) APPEND ONLY").await?;
    server.run(&format!("INSERT INTO t SELECT value, 1 FROM generate_series(1, {groups})")).await?;
    server
        .run("CREATE MATERIALIZED VIEW v AS SELECT key, count(*) AS n, sum(value) AS total FROM t GROUP BY key")
        .await?;
    server.run("FLUSH").await?;
    let mut chance = SmallRng::seed_from_u64(7);
    let (mut epochs, mut visible) = (Vec::new(), Vec::new());
    for _ in 0..arguments.epochs {
        let key = chance.random_range(1..=groups);
        let insert = format!("INSERT INTO t VALUES ({key}, 1)");
        let started = Instant::now();
        server.run(&insert).await?;
        server.run("FLUSH").await?;
        visible.push(started.elapsed().as_secs_f64() * 1e3);
        let progress = server.run("SELECT epoch_us FROM tidemark.queries").await?;
        epochs.push(progress[0].column(0).as_primitive::<Int64Type>().value(0) as f64 / 1e3);
    }
    let sums = server.run("SELECT sum(n), sum(total) FROM v").await?;
    let sum = sums[0].column(0).as_primitive::<Int64Type>().value(0);
    if sum != groups + arguments.epochs as i64 {
        return Err(format!("the view counts {sum} rows, not {}", groups + arguments.epochs as i64).into());
    }
    let [e50, e99] = [50, 99].map(|p| percentile(&mut epochs, p));
    let [v50, v99] = [50, 99].map(|p| percentile(&mut visible, p));
    println!("| {groups:7} | {e50:9.2} | {e99:9.2} | {v50:21.2} | {v99:5.2} |");
    server.stop().await;
    Ok(())
}

pub fn percentile(numbers: &mut [f64], percent: usize) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[(numbers.len() * percent / 100).min(numbers.len() - 1)]
}
