//! Kafka to Kafka while the server is killed with -9 and the broker restarts: what a reader of committed messages has in
//! the end is the batch answer, each row once.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::sleep;
use tokio_postgres::Client;

use super::broker::{Broker, Record};
use crate::server::harness::{Home, PATIENCE, eventually, rows, run, seed, try_rows};

const MESSAGES: u64 = 200_000;
const CHUNK: u64 = 2_000;
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
async fn kills_and_restarts_lose_nothing_and_double_nothing() {
    let broker = Arc::new(Broker::own().await);
    if !broker.is_real_for("Kafka to Kafka under kill -9, exactly once") {
        return;
    }
    let (from, closed, totals) =
        (broker.topic("from", PARTITIONS).await, broker.topic("closed", 3).await, broker.topic("totals", 2).await);
    let home = Home::new();
    let mut server = home.start();
    let client = server.connect().await;
    set_up(&client, broker.bootstrap(), &from, &closed, &totals).await;
    let load = tokio::spawn(produce(broker.clone(), from.clone()));
    let mut rng = SmallRng::seed_from_u64(seed());
    for kill in 1..=KILLS {
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
    check(&broker.read(&from).await, &closed, &totals);
    assert_eq!(rows(&client, "SELECT sum(late) FROM tidemark.queries").await, ["0"]);
}

async fn set_up(client: &Client, bootstrap: &str, from: &str, closed: &str, totals: &str) {
    let kafka = format!("connector = 'kafka', bootstrap_servers = '{bootstrap}', format = 'json'");
    run(
        client,
        &format!(
            "CREATE SOURCE s (k BIGINT, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '10 seconds')
               WITH ({kafka}, topic = '{from}', max_rows_per_trigger = 3000);
             CREATE SINK closed AS SELECT window_start, k, count(*) AS n
               FROM TUMBLE(s, at, INTERVAL '10 seconds') GROUP BY window_start, k EMIT ON WINDOW CLOSE
               WITH ({kafka}, topic = '{closed}', checkpoint_interval = '300 ms');
             CREATE SINK totals AS SELECT k, count(*) AS n FROM s GROUP BY k
               WITH ({kafka}, topic = '{totals}', type = 'upsert');"
        ),
    )
    .await;
}

/// Chunk after chunk, and one message for each partition that closes all windows.
async fn produce(broker: Arc<Broker>, topic: String) {
    for chunk in 0..MESSAGES / CHUNK {
        broker.send(&topic, (chunk * CHUNK..(chunk + 1) * CHUNK).map(message).collect()).await;
        sleep(Duration::from_millis(100)).await;
    }
    let last = |partition| Record::new(partition, format!(r#"{{"k":-1,"at":"{}"}}"#, time(20 * 3600)));
    broker.send(&topic, (0..PARTITIONS).map(last).collect()).await;
}

async fn caught_up(client: &Client) {
    eventually("both sinks are caught up", async || try_rows(client, "FLUSH").await.ok()).await;
}

/// All that is committed, once nothing stands open before it: which is soon, and not when a transaction times out.
async fn no_transaction_is_open(broker: &Broker, topic: &str) -> Vec<Record> {
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

/// The batch answer, of what the topic has: who wrote it tried again when the broker was away, and may have doubled some.
fn check(from: &[Record], closed: &[Record], totals: &[Record]) {
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
    let row =
        |((start, k), n): (&(u64, i64), &u64)| format!(r#"{{"window_start":"{}","k":{k},"n":{n}}}"#, time(*start));
    let mut expected: Vec<String> = windows.iter().map(row).collect();
    let mut found: Vec<String> = closed.iter().map(Record::text).collect();
    expected.sort();
    found.sort();
    assert_eq!(found.len(), expected.len(), "each window once");
    assert_eq!(found, expected);
    let mut newest = BTreeMap::new();
    for record in totals {
        newest.insert(record.key.clone(), record.text());
    }
    let mut newest: Vec<String> = newest.into_values().collect();
    let mut expected: Vec<String> = sums.iter().map(|(k, n)| format!(r#"{{"k":{k},"n":{n}}}"#)).collect();
    newest.sort();
    expected.sort();
    assert_eq!(newest, expected);
}
