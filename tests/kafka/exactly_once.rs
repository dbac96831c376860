//! Kafka to Kafka, to a folder of Parquet and to PostgreSQL, while the server is killed with -9 and the broker restarts:
//! what a reader has in the end is the batch answer, each row once.

use std::{collections::BTreeMap, fmt::Display, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::{sync::Semaphore, time::sleep};
use tokio_postgres::Client;

use super::broker::{Broker, Record};
use crate::server::{
    harness::{Home, PATIENCE, eventually, rows, run, seed, try_rows},
    postgres::{self, Postgres},
};

const MESSAGES: u64 = 1_000_000;
const CHUNK: u64 = 10_000;
const PARTITIONS: i32 = 4;
const KEYS: u64 = 50;
const KILLS: usize = 10;

/// Message `n` is so late in seconds: a chunk is five of them, within what the watermark waits for.
fn moment(n: u64) -> u64 {
    n * 5 / CHUNK
}

fn key(n: u64) -> u64 {
    n * n % KEYS
}

fn time(seconds: u64) -> String {
    format!("2026-01-01T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn message(n: u64) -> Record {
    Record::new((n % PARTITIONS as u64) as i32, format!(r#"{{"n":{n},"k":{},"at":"{}"}}"#, key(n), time(moment(n))))
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_to_each_sink_under_kill_9_is_exactly_once() {
    let broker = Arc::new(Broker::own().await);
    if !broker.is_real_for("from Kafka to each sink under kill -9, exactly once") {
        return;
    }
    let postgres = Postgres::start();
    let (from, closed, totals) =
        (broker.topic("from", PARTITIONS).await, broker.topic("closed", 3).await, broker.topic("totals", 2).await);
    let home = Home::new();
    let mut server = home.start();
    let client = server.connect().await;
    home.folder("files");
    set_up(&client, broker.bootstrap(), &from, &closed, &totals).await;
    if let Some(postgres) = &postgres {
        run(&client, &format!("CREATE SINK counted {COUNTS} {}", postgres::to(postgres, "counted"))).await;
    }
    // Of the load, there is a part before each kill.
    let may = Arc::new(Semaphore::new(0));
    let load = tokio::spawn(produce(broker.clone(), from.clone(), may.clone()));
    let mut rng = SmallRng::seed_from_u64(seed());
    for kill in 1..=KILLS {
        may.add_permits(MESSAGES as usize / CHUNK as usize / KILLS);
        sleep(Duration::from_millis(rng.random_range(200..1_200))).await;
        if kill % 4 == 0 {
            // Now and then the broker goes first, and comes back while nobody is there, or while somebody waits for it.
            let broker = broker.clone();
            let restarted = tokio::task::spawn_blocking(move || broker.restart());
            sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
            server.kill();
            server = home.start();
            restarted.await.unwrap();
        } else {
            server.kill();
            server = home.start();
        }
    }
    load.await.unwrap();
    let client = server.connect().await;
    caught_up(&client).await;
    let closed = no_transaction_is_open(&broker, &closed).await;
    let totals = no_transaction_is_open(&broker, &totals).await;
    let answer = Answer::of(&broker.read(&from).await);
    answer.check_closed("Kafka", closed.iter().map(Record::text).collect());
    answer.check_totals(&totals);
    let as_json = |row: &String| {
        let cells: Vec<&str> = row.split('|').collect();
        line(&cells[0].replace(' ', "T"), cells[1], cells[2])
    };
    let reader = "CREATE SOURCE files WITH (connector = 'directory', path = 'files', format = 'parquet')";
    run(&client, reader).await;
    let files = rows(&client, "SELECT window_start, k, n FROM files").await;
    answer.check_closed("files", files.iter().map(as_json).collect());
    if let Some(postgres) = &postgres {
        let counted = postgres.rows("SELECT window_start, k, n FROM counted").await;
        answer.check_closed("PostgreSQL", counted.iter().map(as_json).collect());
    }
    assert_eq!(rows(&client, "SELECT sum(late) FROM tidemark.queries").await, ["0"]);
}

const COUNTS: &str = "AS SELECT window_start, k, count(*) AS n
    FROM TUMBLE(s, at, INTERVAL '10 seconds') GROUP BY window_start, k EMIT ON WINDOW CLOSE";

async fn set_up(client: &Client, bootstrap: &str, from: &str, closed: &str, totals: &str) {
    let kafka = format!("connector = 'kafka', bootstrap_servers = '{bootstrap}', format = 'json'");
    run(
        client,
        &format!(
            "CREATE SOURCE s (k BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '10 seconds')
               WITH ({kafka}, topic = '{from}', max_rows_per_trigger = 15000);
             CREATE SINK closed {COUNTS} WITH ({kafka}, topic = '{closed}', checkpoint_interval = '300 ms');
             CREATE SINK totals AS SELECT k, count(*) AS n FROM s GROUP BY k
               WITH ({kafka}, topic = '{totals}', type = 'upsert');
             CREATE SINK written {COUNTS} WITH (connector = 'directory', path = 'files', format = 'parquet');"
        ),
    )
    .await;
}

/// Chunk after chunk, as soon as it may, and one message for each partition that closes all windows.
async fn produce(broker: Arc<Broker>, topic: String, may: Arc<Semaphore>) {
    for chunk in 0..MESSAGES / CHUNK {
        may.acquire().await.unwrap().forget();
        broker.send(&topic, (chunk * CHUNK..(chunk + 1) * CHUNK).map(message).collect()).await;
    }
    let last = |partition| Record::new(partition, format!(r#"{{"k":-1,"at":"{}"}}"#, time(20 * 3600)));
    broker.send(&topic, (0..PARTITIONS).map(last).collect()).await;
}

pub(super) async fn caught_up(client: &Client) {
    let sinks = rows(client, "SHOW SINKS").await;
    let all: Vec<String> = sinks.iter().map(|sink| format!("FLUSH {sink};")).collect();
    eventually("all sinks are caught up", async || try_rows(client, &all.concat()).await.ok()).await;
}

/// All that is committed, once nothing stands open before it: which is soon, and not when a transaction times out.
pub(super) async fn no_transaction_is_open(broker: &Broker, topic: &str) -> Vec<Record> {
    let ends = |level: &str| {
        let consumer: BaseConsumer =
            broker.config().set("group.id", "ends").set("isolation.level", level).create().unwrap();
        let topic = topic.to_string();
        tokio::task::spawn_blocking(move || {
            let partitions = consumer.fetch_metadata(Some(&topic), PATIENCE).unwrap().topics()[0].partitions().len();
            (0..partitions as i32)
                .map(|partition| consumer.fetch_watermarks(&topic, partition, PATIENCE).unwrap().1)
                .collect::<Vec<_>>()
        })
    };
    eventually("nothing is open", async || {
        let (stable, all) = (ends("read_committed").await.unwrap(), ends("read_uncommitted").await.unwrap());
        (stable == all).then_some(())
    })
    .await;
    broker.read(topic).await
}

fn line(start: &str, k: impl Display, n: impl Display) -> String {
    format!(r#"{{"window_start":"{start}","k":{k},"n":{n}}}"#)
}

/// The batch answer, of what the topic has: who wrote it tried again when the broker was away, and may have doubled some.
struct Answer {
    closed: Vec<String>,
    totals: Vec<String>,
}

impl Answer {
    fn of(from: &[Record]) -> Answer {
        let mut windows: BTreeMap<(u64, i64), u64> = BTreeMap::new();
        let mut sums: BTreeMap<i64, u64> = BTreeMap::new();
        assert!(from.len() as u64 >= MESSAGES);
        for record in from {
            let message: serde_json::Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            let (k, n) = (message["k"].as_i64().unwrap(), message["n"].as_u64());
            *sums.entry(k).or_default() += 1;
            // The last ones stand in a window that nothing closes.
            n.into_iter().for_each(|n| *windows.entry((moment(n) / 10 * 10, k)).or_default() += 1);
        }
        let closed = windows.iter().map(|((start, k), n)| line(&time(*start), k, n));
        let totals = sums.iter().map(|(k, n)| format!(r#"{{"k":{k},"n":{n}}}"#));
        Answer { closed: sorted(closed.collect()), totals: sorted(totals.collect()) }
    }

    fn check_closed(&self, place: &str, found: Vec<String>) {
        assert_eq!(found.len(), self.closed.len(), "{place}: each window once");
        assert_eq!(sorted(found), self.closed, "{place}");
    }

    fn check_totals(&self, found: &[Record]) {
        let mut newest = BTreeMap::new();
        for record in found {
            newest.insert(record.key.clone(), record.text());
        }
        assert_eq!(sorted(newest.into_values().collect()), self.totals);
    }
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}
