//! Much at once: a backlog of millions within the memory that there is, and one bad message among a million.

use super::broker::{Broker, Record};
use crate::server::harness::{Home, Server, eventually, rows, run};

const PARTITIONS: u64 = 4;

/// Each goes to the partition of its number.
fn records(numbers: std::ops::Range<u64>, message: impl Fn(u64) -> String) -> Vec<Record> {
    numbers.map(|n| Record::new((n % PARTITIONS) as i32, message(n))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_message_among_a_million_is_one_dead_letter_and_counts_after_replay() {
    const MESSAGES: u64 = 1_000_000;
    const POISON: u64 = 500_001;
    let broker = Broker::shared().await;
    let topic = broker.topic("poison", PARTITIONS as i32).await;
    let poison = format!(r#"{{"n": {POISON}, "amount": "#);
    let message = |n| if n == POISON { poison.clone() } else { format!(r#"{{"n": {n}, "amount": {}}}"#, n % 7) };
    broker.send(&topic, records(0..MESSAGES, message)).await;
    let home = Home::new();
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        &format!(
            "CREATE SOURCE s (n BIGINT, amount BIGINT) WITH (connector = 'kafka', format = 'json', topic = '{topic}',
               bootstrap_servers = '{}');
             CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c, sum(n) AS n, sum(amount) AS amount FROM s;
             FLUSH",
            broker.bootstrap()
        ),
    )
    .await;
    let (all, amounts) = ((0..MESSAGES).sum::<u64>(), (0..MESSAGES).map(|n| n % 7).sum::<u64>());
    let without = format!("{}|{}|{}", MESSAGES - 1, all - POISON, amounts - POISON % 7);
    assert_eq!(rows(&client, "SELECT * FROM v").await, [without]);
    let letters = "SELECT source, file, line, CAST(raw AS TEXT) FROM tidemark.dead_letters";
    let (partition, offset) = (POISON % PARTITIONS, POISON / PARTITIONS);
    assert_eq!(rows(&client, letters).await, [format!("s|{topic}/{partition}|{offset}|{poison}")]);

    // Put right as an operator would, and then the server dies.
    let number = "CAST(regexp_replace(CAST(raw AS TEXT), '[^0-9]', '', 'g') AS BIGINT)";
    run(&client, &format!("INSERT INTO s SELECT {number}, 5 FROM tidemark.dead_letters WHERE source = 's'")).await;
    server.kill();
    let server = home.start();
    let client = server.connect().await;
    run(&client, "FLUSH").await;
    let with = format!("{MESSAGES}|{all}|{}", amounts - POISON % 7 + 5);
    assert_eq!(rows(&client, "SELECT * FROM v").await, [with]);
    assert_eq!(rows(&client, "SELECT count(*) FROM tidemark.dead_letters WHERE replayed_at IS NULL").await, ["0"]);
}

/// In MiB, the most that the process ever had in memory, where the system tells.
fn most_memory(server: &Server) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().unwrap() / 1024)
}

#[tokio::test(flavor = "multi_thread")]
async fn backlog_of_ten_million_is_read_within_memory_then_rows_arrive_at_once() {
    const ROUNDS: u64 = 100;
    const ROUND: u64 = 100_000;
    const KEYS: u64 = 1_000;
    const AFTER: u64 = 20;
    /// In MiB, for all of the process: its code, what librdkafka holds, and what is in the configuration.
    const MEMORY: u64 = 512;
    let broker = Broker::shared().await;
    if !broker.is_real_for("a backlog of ten million messages") {
        return;
    }
    let topic = broker.topic("backlog", PARTITIONS as i32).await;
    let message = |n: u64| {
        let (second, key, what) = (n / 1_000, n % KEYS, n * 31);
        format!(
            r#"{{"id":{n},"key":{key},"at":"2026-05-01T10:{:02}:{:02}Z","what":"{what:0>100}","where":"https://example.com/a/path"}}"#,
            second / 60,
            second % 60
        )
    };
    let round = records(0..ROUND, message);
    for _ in 0..ROUNDS {
        broker.send(&topic, round.clone()).await;
    }
    let home = Home::new();
    std::fs::write(home.path("tidemark.yaml"), "state: { memory_limit: 128 MB }\nquery: { memory_limit: 64 MB }\n")
        .unwrap();
    let server = home.start();
    let client = server.connect().await;
    run(
        &client,
        &format!(
            "CREATE SOURCE s (id BIGINT, key BIGINT, at TIMESTAMP) WITH (connector = 'kafka', format = 'json',
               topic = '{topic}', bootstrap_servers = '{}');
             CREATE MATERIALIZED VIEW v AS SELECT window_start, key, count(*) AS n
               FROM TUMBLE(s, at, INTERVAL '1 minute') GROUP BY window_start, key;
             FLUSH",
            broker.bootstrap()
        ),
    )
    .await;
    let (windows, all) = (ROUND.div_ceil(60_000) * KEYS, ROUND * ROUNDS);
    assert_eq!(rows(&client, "SELECT count(*), sum(n) FROM v").await, [format!("{windows}|{all}")]);
    // What comes now waits for nothing else: each row is an epoch of its own, and seen before the next is sent.
    let epoch = async || -> u64 { rows(&client, "SELECT epoch FROM tidemark.queries").await[0].parse().unwrap() };
    let before = epoch().await;
    for n in 0..AFTER {
        broker.send(&topic, records(n..n + 1, message)).await;
        let expected = [(all + n + 1).to_string()];
        let seen = async || (rows(&client, "SELECT sum(n) FROM v").await == expected).then_some(());
        eventually("a new row is seen", seen).await;
    }
    assert_eq!(epoch().await, before + AFTER);
    assert_eq!(rows(&client, "SELECT backlog_rows FROM tidemark.inputs").await, ["0"]);
    match most_memory(&server) {
        Some(memory) => assert!(memory < MEMORY, "{memory} MiB"),
        None => assert_ne!(std::env::consts::OS, "linux", "/proc tells no memory"),
    }
    broker.delete_topic(&topic).await;
}
