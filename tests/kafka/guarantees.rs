//! What README promises of each source with each sink, EXPLAIN says too, and it holds while the server is killed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    io::AsyncWriteExt,
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_postgres::Client;

use super::{
    broker::{Broker, Record},
    exactly_once::{caught_up, no_transaction_is_open},
};
use crate::server::{
    harness::{Home, PATIENCE, eventually, rows, run, seed},
    postgres::{self, Postgres},
};

/// What a row of README's table is about, and the name of one here.
const FROM: [(&str, &str); 6] = [
    ("a `kafka` source", "messages"),
    ("a `directory` source", "files"),
    ("a `datagen` source", "made"),
    ("a `socket` source", "lines"),
    ("a table", "stored"),
    ("a view", "doubled"),
];

const TO: [&str; 5] = ["kafka", "postgres", "directory", "console", "blackhole"];

const KILLS: i64 = 6;
/// For each kill, of each source that is fed.
const ROWS: i64 = 400;

/// The table of README: of each row its cells by the words above them.
fn promised() -> BTreeMap<String, Vec<String>> {
    let readme = include_str!("../../README.md");
    let cells =
        |line: &str| -> Vec<String> { line.trim_matches('|').split('|').map(|c| c.trim().to_string()).collect() };
    let table: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("| from |"))
        .take_while(|line| line.starts_with('|'))
        .collect();
    let head: Vec<String> = TO.iter().map(|to| format!("to `{to}`")).collect();
    assert_eq!(cells(table[0])[1..], head);
    table[2..].iter().map(|line| (cells(line)[0].clone(), cells(line)[1..].to_vec())).collect()
}

async fn set_up(client: &Client, broker: &Broker, postgres: &Postgres, topics: &BTreeMap<String, String>, port: u16) {
    let kafka = format!("connector = 'kafka', bootstrap_servers = '{}', format = 'json'", broker.bootstrap());
    let sources = format!(
        "CREATE SOURCE messages (id BIGINT) WITH ({kafka}, topic = '{}');
         CREATE SOURCE files (id BIGINT) WITH (connector = 'directory', path = 'in', format = 'csv');
         CREATE SOURCE made (id BIGINT) WITH (connector = 'datagen', rows_per_second = 300, fields.id.kind = 'sequence',
           number_of_rows = {});
         CREATE SOURCE lines (id BIGINT) WITH (connector = 'socket', host = '127.0.0.1', port = {port}, format = 'csv');
         CREATE TABLE stored (id BIGINT) APPEND ONLY;
         CREATE MATERIALIZED VIEW doubled AS SELECT id * 2 AS id FROM stored;",
        topics["in"],
        KILLS * ROWS,
    );
    run(client, &sources).await;
    for (_, from) in FROM {
        run(client, &format!("CREATE MATERIALIZED VIEW seen_{from} AS SELECT id FROM {from}")).await;
        for to in TO {
            let name = format!("{from}_{to}");
            let with = match to {
                "kafka" => format!("WITH ({kafka}, topic = '{}', checkpoint_interval = '200 ms')", topics[from]),
                "postgres" => postgres::to(postgres, from),
                "directory" => format!("WITH (connector = 'directory', path = 'out_{from}', format = 'parquet')"),
                to => format!("WITH (connector = '{to}')"),
            };
            run(client, &format!("CREATE SINK {name} FROM {from} {with}")).await;
        }
    }
}

/// One line a number to whoever connects; what is under way when it dies is lost, and comes with no line again.
async fn talk(listener: TcpListener) {
    let mut next = 0;
    loop {
        let (mut peer, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        while peer.write_all(format!("{next}\n").as_bytes()).await.is_ok() {
            next += 1;
            sleep(Duration::from_millis(2)).await;
        }
    }
}

/// What EXPLAIN says of a sink from one of these to one of those.
async fn explained(client: &Client, from: &str, to: &str) -> String {
    let lines = rows(client, &format!("EXPLAIN SINK {from}_{to}")).await;
    let line = lines.iter().find(|line| line.starts_with("Guarantee: ")).unwrap();
    let (way, promise) = line.rsplit_once(": ").unwrap();
    assert!(way.contains(&format!("\"{from}\"")) && way.ends_with(&format!(" to {to}")), "{line}");
    promise.to_string()
}

fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

fn numbers(rows: Vec<String>) -> Vec<i64> {
    sorted(rows.iter().map(|row| row.parse().unwrap()).collect())
}

/// What a sink has written, for those of which it can be asked.
async fn written(client: &Client, broker: &Broker, postgres: &Postgres, topic: &str, from: &str, to: &str) -> Vec<i64> {
    match to {
        "kafka" => {
            let id =
                |record: &Record| serde_json::from_str::<serde_json::Value>(&record.text()).unwrap()["id"].as_i64();
            sorted(no_transaction_is_open(broker, topic).await.iter().map(|record| id(record).unwrap()).collect())
        }
        "postgres" => numbers(postgres.rows(&format!("SELECT id FROM {from}")).await),
        _ => {
            let lake = format!("CREATE SOURCE lake_{from} WITH (connector = 'directory', path = 'out_{from}',");
            run(client, &format!("{lake} format = 'parquet')")).await;
            numbers(rows(client, &format!("SELECT id FROM lake_{from}")).await)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_source_with_each_sink_keeps_the_guarantee_of_the_readme() {
    let broker = Arc::new(Broker::own().await);
    if !broker.is_real_for("each source with each sink under kill -9") {
        return;
    }
    let Some(postgres) = Postgres::start() else { return };
    let mut topics = BTreeMap::from([("in".to_string(), broker.topic("in", 2).await)]);
    for (_, from) in FROM {
        topics.insert(from.to_string(), broker.topic(from, 2).await);
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let home = Home::new();
    home.folder("in");
    FROM.iter().for_each(|(_, from)| drop(home.folder(&format!("out_{from}"))));
    let mut server = home.start();
    let client = server.connect().await;
    set_up(&client, &broker, &postgres, &topics, listener.local_addr().unwrap().port()).await;
    let talking = tokio::spawn(talk(listener));
    let mut rng = SmallRng::seed_from_u64(seed());
    for kill in 0..KILLS {
        let ids = kill * ROWS..(kill + 1) * ROWS;
        let client = server.connect().await;
        let values: Vec<String> = ids.clone().map(|id| format!("({id})")).collect();
        home.put(&format!("in/{kill}.csv"), ids.clone().map(|id| format!("{id}\n")).collect::<String>());
        broker
            .send(&topics["in"], ids.map(|id| Record::new((id % 2) as i32, format!(r#"{{"id":{id}}}"#))).collect())
            .await;
        run(&client, &format!("INSERT INTO stored VALUES {}", values.join(","))).await;
        sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
        server.kill();
        server = home.start();
    }
    let client = server.connect().await;
    let made = format!("{}", KILLS * ROWS);
    let all_made = async || (rows(&client, "SELECT count(*) FROM seen_made").await == [made.as_str()]).then_some(());
    eventually("all rows are made", all_made).await;
    let before = rows(&client, "SELECT count(*) FROM seen_lines").await;
    let heard = async || (rows(&client, "SELECT count(*) FROM seen_lines").await != before).then_some(());
    eventually("lines come again", heard).await;
    talking.abort();
    let _ = talking.await;
    let quiet = async || {
        let state = rows(&client, "SELECT DISTINCT state FROM tidemark.inputs WHERE input = 'lines'").await;
        state.iter().all(|state| state.starts_with("not connected")).then_some(())
    };
    eventually("nobody talks any more", quiet).await;
    caught_up(&client).await;

    let promised = promised();
    assert_eq!(promised.len(), FROM.len());
    for (called, from) in FROM {
        let seen = numbers(rows(&client, &format!("SELECT id FROM seen_{from}")).await);
        match from {
            "lines" => assert!(seen.len() as i64 > KILLS && seen.windows(2).all(|two| two[0] < two[1]), "{seen:?}"),
            _ => {
                let factor = if from == "doubled" { 2 } else { 1 };
                let first = if from == "made" { seen[0] } else { 0 };
                let all: Vec<i64> = (0..KILLS * ROWS).map(|id| first + id * factor).collect();
                assert_eq!(seen, all, "{from}");
            }
        }
        for (to, promise) in TO.into_iter().zip(&promised[called]) {
            assert_eq!(explained(&client, from, to).await, *promise, "{from} to {to}");
            if promise.starts_with("exactly once") {
                let written = written(&client, &broker, &postgres, &topics[from], from, to).await;
                assert_eq!(written, seen, "{from} to {to}");
            }
        }
    }
    let failed = "SELECT name, state, last_error FROM tidemark.queries WHERE state NOT IN ('running', 'finished')";
    assert_eq!(rows(&client, failed).await, [""; 0]);
}
