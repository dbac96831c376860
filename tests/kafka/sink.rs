//! What a sink writes to a topic: each row once for whoever reads what is committed, whatever dies on the way.

use std::{collections::BTreeMap, time::Duration};

use tidemark::{engine::EngineOptions, error::ErrorKind};

use super::broker::{Broker, Record};
use crate::{
    harness::{Rig, run},
    server::harness::{PATIENCE, eventually},
};

fn options() -> EngineOptions {
    EngineOptions { checkpoint_interval: Duration::from_millis(50), partitions: 2, ..EngineOptions::default() }
}

/// `CREATE SINK name … WITH (connector = 'kafka', …)`, with more options.
fn create(name: &str, from: &str, broker: &Broker, topic: &str, more: &str) -> String {
    let bootstrap = broker.bootstrap();
    format!(
        "CREATE SINK {name} {from} WITH (connector = 'kafka', bootstrap_servers = '{bootstrap}', topic = '{topic}',
         format = 'json' {more})"
    )
}

async fn sql(rig: &Rig, text: &str) -> Vec<String> {
    let rows = tokio::time::timeout(PATIENCE, rig.sql(text)).await;
    let rows = rows.unwrap_or_else(|_| panic!("it hangs: {text}"));
    let rows = rows.unwrap_or_else(|e| panic!("{e} {:?}: {text}", e.hint_text()));
    rows.0.iter().map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")).collect()
}

fn texts(records: &[Record]) -> Vec<String> {
    let mut texts: Vec<String> = records.iter().map(Record::text).collect();
    texts.sort();
    texts
}

/// What a table of the newest values holds: a message without a value deletes its key.
fn newest(records: &[Record]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for record in records {
        let key = String::from_utf8_lossy(record.key.as_deref().unwrap()).into_owned();
        match &record.value {
            Some(_) => drop(all.insert(key, record.text())),
            None => drop(all.remove(&key).expect("what is deleted was there")),
        }
    }
    all
}

#[test]
fn sink_rows_become_messages_in_each_format() {
    run(2, async || {
        let broker = Broker::shared().await;
        if !broker.is_real_for("rows become messages of a topic") {
            return;
        }
        let rig = Rig::new(options()).await;
        sql(&rig, "CREATE TABLE t (id BIGINT, name TEXT) APPEND ONLY").await;
        sql(&rig, "INSERT INTO t VALUES (1, 'a'), (2, NULL)").await;
        let plain = broker.topic("plain", 3).await;
        sql(&rig, &create("plain", "FROM t", broker, &plain, "")).await;
        let lines = broker.topic("lines", 1).await;
        let csv = create("lines", "AS SELECT id, name FROM t", broker, &lines, "").replace("'json'", "'csv'");
        sql(&rig, &csv).await;
        let keyed = broker.topic("keyed", 3).await;
        sql(&rig, &create("keyed", "FROM t", broker, &keyed, ", primary_key = 'name', key_format = 'text'")).await;
        sql(&rig, "FLUSH; INSERT INTO t VALUES (3, 'a'); FLUSH").await;
        let json = [r#"{"id":1,"name":"a"}"#, r#"{"id":2,"name":null}"#, r#"{"id":3,"name":"a"}"#];
        assert_eq!(texts(&broker.read(&plain).await), json);
        assert_eq!(texts(&broker.read(&lines).await), ["1,a", "2,", "3,a"]);
        let records = broker.read(&keyed).await;
        assert_eq!(texts(&records), json);
        let of_a: Vec<_> = records.iter().filter(|record| record.key.as_deref() == Some(b"a")).collect();
        assert_eq!((of_a.len(), of_a[0].partition), (2, of_a[1].partition), "a key is in one partition");
        let plan = sql(&rig, "EXPLAIN SINK plain").await;
        let guarantee = "Guarantee: table \"t\" to kafka: exactly once";
        assert!(plan.iter().any(|line| line == guarantee), "{plan:?}");
    });
}

#[test]
fn sink_changes_become_upserts_and_tombstones_or_envelopes() {
    run(2, async || {
        let broker = Broker::shared().await;
        if !broker.is_real_for("changes become upserts, tombstones and envelopes") {
            return;
        }
        let rig = Rig::new(options()).await;
        sql(&rig, "CREATE TABLE t (id BIGINT PRIMARY KEY, k TEXT)").await;
        sql(&rig, "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM t GROUP BY k").await;
        let (upserts, changes) = (broker.topic("upserts", 4).await, broker.topic("changes", 1).await);
        sql(&rig, &create("u", "FROM v", broker, &upserts, ", type = 'upsert'")).await;
        sql(&rig, &create("d", "FROM v", broker, &changes, ", type = 'debezium'")).await;
        for statement in [
            "INSERT INTO t SELECT value, 'k' || (value % 10) FROM generate_series(1, 1000) AS g (value)",
            "DELETE FROM t WHERE k IN ('k1', 'k2')",
            "INSERT INTO t VALUES (2001, 'k1')",
            "UPDATE t SET k = 'k4' WHERE k = 'k3'",
        ] {
            sql(&rig, &format!("{statement}; FLUSH")).await;
        }
        let expected: BTreeMap<String, String> =
            sql(&rig, "SELECT k, n FROM v").await.iter().fold(BTreeMap::new(), |mut all, row| {
                let (k, n) = row.split_once('|').unwrap();
                all.insert(format!(r#"{{"k":"{k}"}}"#), format!(r#"{{"k":"{k}","n":{n}}}"#));
                all
            });
        assert_eq!(newest(&broker.read(&upserts).await), expected);
        let envelopes: Vec<String> = broker.read(&changes).await.iter().map(Record::text).collect();
        assert_eq!(envelopes.len(), 10 + 2 + 1 + 2);
        let count = |op: &str| envelopes.iter().filter(|text| text.contains(&format!(r#""op":"{op}""#))).count();
        assert_eq!((count("c"), count("u"), count("d")), (11, 1, 3));
        let last = r#"{"before":{"k":"k4","n":100},"after":{"k":"k4","n":200},"op":"u"}"#;
        assert!(envelopes.iter().any(|text| text == last), "{envelopes:?}");
    });
}

/// `sql/examples/alerts.sql`, which README shows.
#[test]
fn alerts_sql_example_writes_its_topics() {
    run(2, async || {
        let broker = Broker::shared().await;
        if !broker.is_real_for("alerts.sql") {
            return;
        }
        let rig = Rig::new(options()).await;
        for topic in ["alerts", "balances"] {
            broker.create_topic(topic, 2, &[]).await;
        }
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/sql/examples/alerts.sql")).unwrap();
        sql(&rig, &text.replace("localhost:9092", broker.bootstrap())).await;
        let alerts = [r#"{"card":"4712","amount":2400.00,"at":"2026-01-01T10:01:00"}"#];
        assert_eq!(texts(&broker.read("alerts").await), alerts);
        let balances: Vec<String> = newest(&broker.read("balances").await).into_values().collect();
        let of = |card: &str, payments: u8, spent: &str| {
            format!(r#"{{"card":"{card}","payments":{payments},"spent":{spent}}}"#)
        };
        assert_eq!(balances, [of("4711", 2, "20.00"), of("4712", 1, "2400.00")]);
    });
}

#[test]
fn sink_crash_at_any_storage_write_doubles_no_message() {
    run(2, async || {
        let broker = Broker::shared().await;
        if !broker.is_real_for("a crash at any write of the storage doubles no message") {
            return;
        }
        let steps = ["INSERT INTO t VALUES (2), (3)", "INSERT INTO t VALUES (4)", "INSERT INTO t VALUES (5), (6), (7)"];
        for write in 1..=12 {
            let topic = broker.topic("crash", 2).await;
            let mut rig = Rig::new(options()).await;
            sql(&rig, "CREATE TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t VALUES (1)").await;
            sql(&rig, &create("s", "FROM t", broker, &topic, ", type = 'upsert'")).await;
            let start = rig.storage.writes();
            let struck = start + write;
            rig.storage.fail_at(struck);
            for step in steps {
                let done = rig.sql(step).await;
                // What the sink writes of it is a part of the step.
                let _ = rig.unless_struck(struck, rig.sql("FLUSH")).await;
                if rig.storage.writes() >= struck && done.is_err() {
                    rig.crash().await;
                    // It may have become durable with the last breath.
                    if let Err(error) = rig.sql(step).await {
                        assert_eq!(error.kind(), ErrorKind::UniqueViolation, "{error}");
                    }
                }
            }
            rig.crash().await;
            sql(&rig, "FLUSH").await;
            let ids: Vec<String> = (1..=7).map(|id| format!(r#"{{"id":{id}}}"#)).collect();
            assert_eq!(texts(&broker.read(&topic).await), ids, "crashed at write {write}");
        }
    });
}

#[test]
fn sink_of_a_replaced_server_is_fenced() {
    run(2, async || {
        let broker = Broker::shared().await;
        if !broker.is_real_for("a server that was replaced writes no more") {
            return;
        }
        let topic = broker.topic("zombie", 1).await;
        let old = Rig::new(options()).await;
        sql(&old, "CREATE TABLE t (id BIGINT) APPEND ONLY").await;
        sql(&old, &create("s", "FROM t", broker, &topic, "")).await;
        sql(&old, "INSERT INTO t VALUES (1); FLUSH").await;
        let mut new = Rig::new(options()).await;
        new.storage = old.storage.survivor().into();
        new.open().await.unwrap();
        sql(&new, "INSERT INTO t VALUES (2); FLUSH").await;
        sql(&old, "INSERT INTO t VALUES (3)").await;
        let error = old.sql("FLUSH s").await.unwrap_err();
        assert_eq!(error.message(), "sink \"s\": kafka: another server writes in the name of this sink");
        assert_eq!(sql(&old, "SELECT state FROM tidemark.queries").await, ["failed"]);
        sql(&new, "INSERT INTO t VALUES (4); FLUSH").await;
        assert_eq!(texts(&broker.read(&topic).await), [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":4}"#]);
    });
}

#[test]
fn sink_unreachable_broker_is_retried() {
    run(2, async || {
        let broker = Broker::own().await;
        if !broker.is_real_for("a broker that is away is waited for") {
            return;
        }
        let topic = broker.topic("away", 2).await;
        let rig = Rig::new(options()).await;
        sql(&rig, "CREATE TABLE t (id BIGINT) APPEND ONLY").await;
        sql(&rig, &create("s", "FROM t", &broker, &topic, "")).await;
        sql(&rig, "INSERT INTO t VALUES (1); FLUSH").await;
        broker.stop();
        sql(&rig, "INSERT INTO t VALUES (2)").await;
        let state = async || Some(sql(&rig, "SELECT state FROM tidemark.queries").await).filter(|s| s == &["retrying"]);
        eventually("the sink waits", state).await;
        sql(&rig, "INSERT INTO t VALUES (3)").await;
        broker.go_on();
        let caught_up = async || rig.sql("FLUSH").await.ok();
        eventually("the sink goes on", caught_up).await;
        assert_eq!(texts(&broker.read(&topic).await), [r#"{"id":1}"#, r#"{"id":2}"#, r#"{"id":3}"#]);
    });
}

#[test]
fn create_sink_that_cannot_be_written_is_refused() {
    run(2, async || {
        let broker = Broker::shared().await;
        let rig = Rig::new(options()).await;
        sql(&rig, "CREATE TABLE t (id BIGINT PRIMARY KEY, b BYTEA)").await;
        let refused = async |text: &str| rig.sql(text).await.unwrap_err().message().to_string();
        let nowhere = create("s", "FROM t", broker, "x", "").replace(broker.bootstrap(), "127.0.0.1:1");
        assert_eq!(
            refused(&create("s", "FROM t", broker, "x", ", type = 'append'")).await,
            "rows of sink \"s\" can be withdrawn, and type = 'append' has no word for it"
        );
        assert_eq!(
            refused(&create("s", "FROM t", broker, "x", ", type = 'complete'")).await,
            "kafka of sink \"s\" has no type 'complete'"
        );
        assert_eq!(
            refused(&create("s", "FROM t", broker, "x", ", properties.transactional.id = 'y'")).await,
            "option \"properties.transactional.id\" cannot be set"
        );
        let secret = create("s", "FROM t", broker, "x", ", properties.sasl.passwort = 'hush'");
        assert!(!refused(&secret).await.contains("hush"));
        if broker.is_real_for("a topic that is not there, and a broker that is not there") {
            assert!(refused(&create("s", "FROM t", broker, "a b", "")).await.contains("cannot be the name of a topic"));
            let error = rig.sql(&nowhere).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::CannotConnectNow, "{error}");
        }
        assert_eq!(sql(&rig, "SHOW SINKS").await, Vec::<String>::new());
    });
}
