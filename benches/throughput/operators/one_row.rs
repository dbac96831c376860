//! One changed row over much state.

use std::time::{Duration, Instant};

use datafusion::arrow::{array::AsArray, datatypes::Int64Type};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{Kind, Operator, rows};
use crate::{Arguments, Outcome, epochs::percentile, server::Server};

/// A number that takes longer is of fewer epochs.
const PATIENCE: Duration = Duration::from_secs(15);

/// Most state may cost so many times what least state does: 100 times the rows are many more misses of the caches. Judged by
/// the tenth percentile, which a machine that does other things disturbs least.
const FLAT: f64 = 2.0;

pub async fn run(arguments: &Arguments, operators: &[&Operator]) -> Outcome<()> {
    println!();
    println!(
        "one changed row an epoch, up to {} of them: the median epoch in milliseconds, and in brackets the tenth percentile, by \
         rows of each input",
        arguments.epochs
    );
    let columns: Vec<String> = arguments.states.iter().map(|state| format!("{state:>13}")).collect();
    println!("| operator                | {} | flat?     |", columns.join(" | "));
    println!("| ----------------------- |{} --------- |", " ------------- |".repeat(columns.len()));
    for operator in operators {
        let (mut columns, mut quick) = (Vec::new(), Vec::new());
        for state in &arguments.states {
            let epochs = epochs(arguments, operator, *state).await;
            let mut epochs = epochs.map_err(|error| format!("{}: {error}", operator.name))?;
            let [p10, p50] = [10, 50].map(|p| percentile(&mut epochs, p));
            columns.push(format!("{:>13}", format!("{p50:.2} ({p10:.2})")));
            quick.push(p10);
        }
        let times = quick[quick.len() - 1] / quick[0];
        let flat = if times <= FLAT { "yes" } else { "no" };
        println!("| {:23} | {} | {flat:3} {times:5.1} |", operator.what, columns.join(" | "));
    }
    Ok(())
}

/// Milliseconds of the epochs of one changed row each.
async fn epochs(arguments: &Arguments, operator: &Operator, state: i64) -> Outcome<Vec<f64>> {
    let server = Server::start(arguments.threads).await?;
    let keys = (state / operator.each).max(1);
    for table in operator.tables {
        server.run(&create(operator, table)).await?;
        server.run(&format!("INSERT INTO {table} {}", rows::select(1, state, keys))).await?;
    }
    server.run(&format!("CREATE MATERIALIZED VIEW answer AS {}", operator.query)).await?;
    server.run("FLUSH").await?;
    let mut chance = SmallRng::seed_from_u64(7);
    let (mut epochs, began) = (Vec::new(), Instant::now());
    for (epoch, table) in (0..arguments.epochs).zip(operator.tables.iter().cycle()) {
        let (row, v) = (chance.random_range(1..=state), chance.random_range(0..1_000_003));
        let change = match operator.kind {
            Kind::Keyed => format!("UPDATE {table} SET v = {v} WHERE id = {row}"),
            _ => format!("INSERT INTO {table} VALUES {}", rows::again(row, keys, v)),
        };
        server.run(&change).await?;
        server.run("FLUSH").await?;
        let progress = server.run("SELECT epoch_us, rows_in, late FROM tidemark.queries").await?;
        let number = |column: usize| progress[0].column(column).as_primitive::<Int64Type>().value(0);
        let least = state * operator.tables.len() as i64 + epoch as i64;
        if number(1) < least || number(2) > 0 {
            return Err(format!("of {least} rows and more {} were read, and {} were late", number(1), number(2)).into());
        }
        epochs.push(number(0) as f64 / 1e3);
        if began.elapsed() > PATIENCE {
            break;
        }
    }
    server.stop().await;
    Ok(epochs)
}

/// A table of which nothing is ever over.
fn create(operator: &Operator, table: &str) -> String {
    let columns = rows::COLUMNS;
    match operator.kind {
        Kind::Append => format!("CREATE TABLE {table} ({columns}) APPEND ONLY"),
        Kind::Timed => {
            format!("CREATE TABLE {table} ({columns}, WATERMARK FOR ts AS ts - INTERVAL '10 days') APPEND ONLY")
        }
        Kind::Keyed => format!("CREATE TABLE {table} ({columns}, PRIMARY KEY (id))"),
    }
}
