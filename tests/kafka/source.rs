//! What a Kafka source gives: rows, what comes beside them, and the same again.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tidemark::engine::EngineOptions;

use super::broker::{Broker, Record};
use crate::{
    harness::{Rig, run},
    server::harness::{PATIENCE, eventually},
};

/// An engine and a topic, and the words to make a source of it.
pub(super) struct Stage {
    pub rig: Rig,
    pub broker: &'static Broker,
    pub topic: String,
    /// How often its source looks for new partitions.
    pub discovery: &'static str,
}

impl Stage {
    pub async fn new(topic: &str, partitions: i32) -> Stage {
        let broker = Broker::shared().await;
        let topic = broker.topic(topic, partitions).await;
        let options = EngineOptions { checkpoint_interval: Duration::from_millis(50), ..EngineOptions::default() };
        Stage { rig: Rig::new(options).await, broker, topic, discovery: "100 ms" }
    }

    /// `CREATE SOURCE s` over the topic; `more` are clauses before `WITH`, `with` more options.
    pub async fn source(&self, columns: &str, more: &str, with: &str) {
        let (bootstrap, topic, every) = (self.broker.bootstrap(), &self.topic, self.discovery);
        self.sql(&format!(
            "CREATE SOURCE s ({columns}) {more} WITH (connector = 'kafka', bootstrap_servers = '{bootstrap}',
             topic = '{topic}', format = 'json', discovery_interval = '{every}' {with})"
        ))
        .await;
    }

    /// The rows of statements that must succeed, each as `a|b|c`.
    #[track_caller]
    pub fn sql(&self, text: &str) -> impl Future<Output = Vec<String>> {
        let at = std::panic::Location::caller();
        async move {
            let rows = tokio::time::timeout(PATIENCE, self.rig.sql(text)).await;
            let rows = rows.unwrap_or_else(|_| panic!("it hangs (at {at}): {text}"));
            let rows = rows.unwrap_or_else(|e| panic!("{e} {:?} (at {at}): {text}", e.hint_text()));
            rows.0.iter().map(|row| row.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")).collect()
        }
    }

    pub async fn produce(&self, partition: i32, values: impl IntoIterator<Item = String>) {
        self.broker.produce(&self.topic, partition, values).await;
    }
}

/// `{"id": 1}` and so on.
pub(super) fn ids(range: std::ops::Range<i64>) -> impl Iterator<Item = String> {
    range.map(|id| format!(r#"{{"id": {id}}}"#))
}

#[test]
fn source_messages_become_rows_with_included_metadata() {
    run(2, async || {
        let mut stage = Stage::new("beside", 2).await;
        let record = Record {
            key: Some(b"k".to_vec()),
            timestamp: Some(4_102_444_800_000),
            headers: vec![("h".into(), b"1".to_vec()), ("h".into(), b"2".to_vec()), ("g".into(), b"3".to_vec())],
            ..Record::new(1, r#"{"id": 7, "at": {"x": 1}}"#)
        };
        stage.broker.send(&stage.topic, vec![record]).await;
        stage.produce(0, ids(8..9)).await;
        let include = r#"INCLUDE key TEXT AS k, header 'h' TEXT AS last INCLUDE headers
                         INCLUDE partition AS p, offset AS o, timestamp AS at, topic"#;
        stage.source("id BIGINT", include, "").await;
        let topic = stage.topic.clone();
        let rows = stage.sql("SELECT id, k, last, p, o, at, topic FROM s WHERE id = 7").await;
        assert_eq!(rows, [format!("7|k|2|1|0|2100-01-01T00:00:00Z|{topic}")]);
        assert_eq!(stage.sql("SELECT id, k, last, p, o FROM s WHERE id = 8").await, ["8|NULL|NULL|0|0"]);
        let headers = "SELECT headers[1]['key'], CAST(headers[3]['value'] AS TEXT) FROM s WHERE id = 7";
        assert_eq!(stage.sql(headers).await, ["h|3"]);
        // Only what comes beside is asked for, or nothing at all.
        assert_eq!(stage.sql("SELECT sum(p + o) FROM s").await, ["1"]);
        assert_eq!(stage.sql("SELECT count(*) FROM s").await, ["2"]);
        // The columns are the same after a restart.
        stage.rig.crash().await;
        assert_eq!(stage.sql("SELECT id, k FROM s ORDER BY id").await, ["7|k", "8|NULL"]);
    });
}

#[test]
fn source_compacted_topic_is_a_table_by_key() {
    run(2, async || {
        let mut stage = Stage::new("by-key", 2).await;
        let record = |partition: i32, key: &str, value: Option<&str>| Record {
            key: Some(key.as_bytes().to_vec()),
            value: value.map(|value| value.as_bytes().to_vec()),
            ..Record::new(partition, "")
        };
        let first = [record(0, "1", Some(r#"{"v": "a"}"#)), record(1, "2", Some(r#"{"v": "b"}"#))];
        stage.broker.send(&stage.topic, first.to_vec()).await;
        let (bootstrap, topic) = (stage.broker.bootstrap(), &stage.topic);
        stage
            .sql(&format!(
                "CREATE SOURCE s (id BIGINT PRIMARY KEY, v TEXT) INCLUDE offset AS o WITH (connector = 'kafka',
                 bootstrap_servers = '{bootstrap}', topic = '{topic}') FORMAT UPSERT ENCODE JSON"
            ))
            .await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT id, v, o FROM s").await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT * FROM v").await, ["1|a|0", "2|b|0"]);
        stage.rig.crash().await;
        let then = [record(0, "1", Some(r#"{"v": "c"}"#)), record(1, "2", None)];
        stage.broker.send(&stage.topic, then.to_vec()).await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT * FROM v").await, ["1|c|1"]);
        assert_eq!(stage.sql("SELECT id, v, o FROM s").await, ["1|c|1"]);
    });
}

#[test]
fn views_at_different_rates_end_as_the_batch_answer() {
    run(2, async || {
        let stage = Stage::new("paces", 3).await;
        stage.produce(0, ids(0..3_000)).await;
        stage.source("id BIGINT", "INCLUDE partition", ", max_rows_per_trigger = 700").await;
        let count = "SELECT partition, count(*) AS c, sum(id) AS total FROM s GROUP BY partition";
        stage.sql(&format!("CREATE MATERIALIZED VIEW a AS {count}")).await;
        stage.produce(1, ids(0..2_000)).await;
        stage.sql(&format!("CREATE MATERIALIZED VIEW b AS {count}")).await;
        stage.sql(&format!("CREATE MATERIALIZED VIEW c WITH (trigger = '300 ms') AS {count}")).await;
        stage.produce(2, ids(0..1_000)).await;
        stage.sql("FLUSH").await;
        let expected = ["0|3000|4498500", "1|2000|1999000", "2|1000|499500"];
        for what in ["a", "b", "c", &format!("({count}) AS batch")] {
            assert_eq!(stage.sql(&format!("SELECT * FROM {what} ORDER BY 1")).await, expected, "{what}");
        }
        assert_eq!(stage.sql("SELECT DISTINCT backlog_rows FROM tidemark.inputs").await, ["0"]);
    });
}

#[test]
fn source_message_reaches_the_view_without_polling() {
    run(2, async || {
        // Nobody looks by chance.
        let stage = Stage { discovery: "1 hour", ..Stage::new("seen", 2).await };
        stage.source("id BIGINT", "", "").await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c FROM s").await;
        for n in 1..=20 {
            stage.produce(n % 2, ids(0..1)).await;
            let seen = async || (stage.sql("SELECT c FROM v").await == [n.to_string()]).then_some(());
            eventually("the message is counted", seen).await;
        }
    });
}

#[test]
fn source_poison_message_is_one_dead_letter_with_topic_partition_offset() {
    run(2, async || {
        let stage = Stage::new("poison", 2).await;
        stage.source("id BIGINT", "", "").await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c, sum(id) AS total FROM s").await;
        stage.produce(0, ids(0..5_000)).await;
        stage.produce(0, ["{\"id\": ".to_string()]).await;
        stage.produce(0, ids(5_000..10_000)).await;
        stage.produce(1, ids(0..10)).await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT * FROM v").await, ["10010|49995045"]);
        let letters = stage.sql("SELECT file, line, CAST(raw AS TEXT) FROM tidemark.dead_letters").await;
        assert_eq!(letters, [format!("{}/0|5000|{{\"id\": ", stage.topic)]);
        // So has a row that an expression fails on.
        stage.sql("CREATE MATERIALIZED VIEW w AS SELECT sum(1 / (id - 7000)) AS total FROM s; FLUSH").await;
        let letters = "SELECT file, line, CAST(raw AS TEXT) FROM tidemark.dead_letters WHERE epoch IS NOT NULL";
        assert_eq!(stage.sql(letters).await, [format!("{}/0|7001|{{\"id\":7000}}", stage.topic)]);
    });
}

#[test]
fn watermark_ignores_an_idle_partition_and_a_lagging_one_loses_no_rows() {
    run(2, async || {
        let stage = Stage::new("lag", 3).await;
        let at = |hour: u32, minute: u32| format!(r#"{{"at": "2024-05-01 {hour:02}:{minute:02}:30"}}"#);
        // Partition 2 stays empty; 1 is an hour behind 0, and both are read a little at a time.
        stage.produce(0, (0..2_000).map(|n| at(10, n % 60))).await;
        stage.produce(1, (0..2_000).map(|n| at(9, n * 60 / 2_000))).await;
        stage
            .source("at TIMESTAMP", "WATERMARK FOR at AS at - INTERVAL '1 hour'", ", max_rows_per_trigger = 100")
            .await;
        let query = "SELECT window_start, count(*) AS c FROM TUMBLE(s, at, INTERVAL '1 minute') GROUP BY window_start";
        stage.sql(&format!("CREATE MATERIALIZED VIEW closed AS {query} EMIT ON WINDOW CLOSE")).await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT late FROM tidemark.queries").await, ["0"]);
        // All that is before the watermark, which the greatest event time leads, is closed: the silent one is no hindrance.
        stage.produce(0, [at(13, 0)]).await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT sum(c), count(*) FROM closed").await, ["4000|120"]);
        assert_eq!(stage.sql("SELECT late FROM tidemark.queries").await, ["0"]);
    });
}

#[test]
fn source_added_partitions_are_read_from_the_start() {
    run(2, async || {
        let stage = Stage::new("grows", 1).await;
        if !stage.broker.is_real_for("partitions that are added") {
            return;
        }
        stage.produce(0, ids(0..10)).await;
        stage.source("id BIGINT", "INCLUDE partition", ", start_offset = 'latest'").await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT partition, count(*) AS c FROM s GROUP BY partition").await;
        stage.broker.grow_topic(&stage.topic, 3).await;
        stage.produce(2, ids(0..7)).await;
        let seen = async || (stage.sql("SELECT * FROM v").await == ["2|7"]).then_some(());
        eventually("the new partition is read", seen).await;
    });
}

#[test]
fn source_start_offset_is_decided_once() {
    run(2, async || {
        let mut stage = Stage::new("begins", 2).await;
        stage.produce(0, ids(0..10)).await;
        stage.produce(1, ids(0..10)).await;
        stage.source("id BIGINT", "", ", start_offset = 'latest'").await;
        stage.produce(0, ids(100..105)).await;
        stage.rig.crash().await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c, min(id) AS first FROM s").await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT * FROM v").await, ["5|100"]);
        assert_eq!(stage.sql("SELECT count(*), min(id) FROM s").await, ["5|100"]);
        stage.sql("DROP SOURCE s CASCADE").await;
        stage.source("id BIGINT", "INCLUDE partition", ", start_offset = '0:12,1:9'").await;
        assert_eq!(
            stage.sql("SELECT partition, min(id), count(*) FROM s GROUP BY 1 ORDER BY 1").await,
            ["0|102|3", "1|9|1"]
        );
        if !stage.broker.is_real_for("offsets by time") {
            return;
        }
        stage.sql("DROP SOURCE s").await;
        let timed = |id: i64| Record {
            timestamp: Some(4_000_000_000_000 + id),
            ..Record::new(0, format!(r#"{{"id": {id}}}"#))
        };
        stage.broker.send(&stage.topic, (1_000..1_010).map(timed).collect()).await;
        stage.source("id BIGINT", "", ", start_offset = 4000000001004").await;
        assert_eq!(stage.sql("SELECT count(*), min(id) FROM s").await, ["6|1004"]);
    });
}

#[test]
fn source_reads_topics_by_pattern_and_by_list() {
    run(2, async || {
        let stage = Stage::new("by-list", 1).await;
        let broker = stage.broker;
        let other = broker.topic("by-list", 1).await;
        stage.produce(0, ids(0..3)).await;
        broker.produce(&other, 0, ids(3..7)).await;
        let bootstrap = broker.bootstrap();
        let source = |name: &str, topics: &str| {
            format!(
                "CREATE SOURCE {name} (id BIGINT) INCLUDE topic WITH (connector = 'kafka', brokers = '{bootstrap}',
                 {topics}, format = 'json', discovery_interval = '100 ms')"
            )
        };
        stage.sql(&source("listed", &format!("topic = '{}, {other}'", stage.topic))).await;
        assert_eq!(stage.sql("SELECT count(DISTINCT topic), count(*) FROM listed").await, ["2|7"]);
        stage.sql(&source("matched", "topic_pattern = 'by-list-.*'")).await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT topic, count(*) AS c FROM matched GROUP BY topic").await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT sum(c), count(*) FROM v").await, ["7|2"]);
        let third = broker.topic("by-list", 2).await;
        broker.produce(&third, 1, ids(0..5)).await;
        let seen = async || (stage.sql("SELECT sum(c), count(*) FROM v").await == ["12|3"]).then_some(());
        eventually("the new topic is read", seen).await;
    });
}

#[test]
fn source_below_min_rows_per_trigger_waits_until_flush_or_max_delay() {
    run(2, async || {
        let stage = Stage::new("least", 2).await;
        stage.source("id BIGINT", "", ", min_rows_per_trigger = 10, max_trigger_delay = '1 hour'").await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c FROM s").await;
        stage.produce(0, ids(0..6)).await;
        let waits = "SELECT backlog_rows FROM tidemark.inputs";
        eventually("they are seen", async || (stage.sql(waits).await == ["6"]).then_some(())).await;
        assert_eq!(stage.sql("SELECT c FROM v").await, ["0"]);
        stage.produce(1, ids(0..6)).await;
        eventually("they are enough", async || (stage.sql("SELECT c FROM v").await == ["12"]).then_some(())).await;
        stage.produce(1, ids(0..1)).await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT c FROM v").await, ["13"]);
        stage.sql("DROP SOURCE s CASCADE").await;
        stage.source("id BIGINT", "", ", min_rows_per_trigger = 100, max_trigger_delay = '10 ms'").await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c FROM s").await;
        eventually("they waited enough", async || (stage.sql("SELECT c FROM v").await == ["13"]).then_some(())).await;
    });
}

#[test]
fn source_span_has_the_same_rows_however_it_is_cut_into_epochs() {
    run(2, async || {
        let mut stage = Stage::new("cut", 4).await;
        stage.source("id BIGINT", "INCLUDE partition AS p, offset AS o", ", max_rows_per_trigger = 97").await;
        let query =
            "SELECT p, count(*) AS c, count(DISTINCT o) AS d, max(o) AS last, sum(id) AS total FROM s GROUP BY p";
        for n in 0..3 {
            // Views that begin at different times read the same offsets, in other epochs, side by side.
            stage.sql(&format!("CREATE MATERIALIZED VIEW v{n} AS {query}")).await;
            for partition in 0..4 {
                let from = i64::from(partition) * 10_000 + n * 1_000;
                stage.produce(partition, ids(from..from + 200 + 50 * i64::from(partition))).await;
            }
            if n == 1 {
                stage.rig.crash().await;
            }
        }
        stage.sql("FLUSH").await;
        let batch = stage.sql(&format!("SELECT * FROM ({query})")).await;
        assert_eq!(batch.len(), 4);
        for n in 0..3 {
            assert_eq!(stage.sql(&format!("SELECT * FROM v{n}")).await, batch, "v{n}");
        }
    });
}

#[test]
fn create_source_of_a_missing_topic_or_broker_is_refused() {
    run(2, async || {
        let stage = Stage::new("missing", 1).await;
        let create = |brokers: &str, topic: &str| {
            format!(
                "CREATE SOURCE s (id BIGINT) WITH (connector = 'kafka', bootstrap_servers = '{brokers}',
                 topic = '{topic}', format = 'json', properties.sasl.password = 'hunter2')"
            )
        };
        let broker = stage.broker.bootstrap();
        if stage.broker.is_real_for("a topic that does not exist") {
            let error = stage.rig.sql(&create(broker, "nowhere")).await.unwrap_err();
            let expected = format!("source \"s\": topic \"nowhere\" does not exist on kafka broker \"{broker}\"");
            assert_eq!(error.message(), expected);
        }
        let error = stage.rig.sql(&create("127.0.0.1:9", "t")).await.unwrap_err();
        assert!(error.message().starts_with("source \"s\": kafka broker \"127.0.0.1:9\" cannot be read: "), "{error}");
        // Nothing is left of them.
        stage.sql(&create(broker, &stage.topic)).await;
        for ask in ["SHOW CREATE SOURCE s", "SELECT * FROM tidemark.inputs", "EXPLAIN SELECT * FROM s"] {
            assert!(!stage.sql(ask).await.concat().contains("hunter2"), "{ask}");
        }
        let shown = stage.sql("SHOW CREATE SOURCE s").await.concat();
        assert!(shown.contains("properties.sasl.password = '***'"), "{shown}");
    });
}

#[test]
fn source_under_repeated_crashes_counts_each_message_once() {
    run(2, async || {
        let mut stage = Stage::new("dies", 3).await;
        stage.source("id BIGINT", "INCLUDE offset AS o", ", max_rows_per_trigger = 500").await;
        let query = "SELECT id % 5 AS class, count(*) AS c, sum(id) AS total, max(o) AS last FROM s GROUP BY id % 5";
        stage.sql(&format!("CREATE MATERIALIZED VIEW v AS {query}")).await;
        for round in 0..6 {
            for partition in 0..3 {
                stage.produce(partition, ids(round * 1_000..(round + 1) * 1_000 - i64::from(partition) * 100)).await;
            }
            // It dies with less and more of it read, and in the middle of what is there.
            let read = async || stage.sql("SELECT coalesce(sum(c), 0) FROM v").await[0].parse::<i64>().unwrap();
            eventually("some of it is read", async || (read().await >= round * 1_500).then_some(())).await;
            stage.rig.crash().await;
        }
        stage.sql("FLUSH").await;
        let view = stage.sql("SELECT * FROM v ORDER BY 1").await;
        assert_eq!(view, stage.sql(&format!("SELECT * FROM ({query}) ORDER BY 1")).await);
        assert_eq!(stage.sql("SELECT sum(c) FROM v").await, ["16200"]);
    });
}

#[test]
fn source_skips_aborted_transactions_and_passes_control_records() {
    run(2, async || {
        let stage = Stage::new("transactions", 1).await;
        if !stage.broker.is_real_for("transactions") {
            return;
        }
        stage.source("id BIGINT", "INCLUDE offset AS o", "").await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c, max(o) AS last FROM s").await;
        let mut config = stage.broker.config();
        let producer: BaseProducer = config.set("transactional.id", &stage.topic).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        let write = |from: i64| {
            producer.begin_transaction().unwrap();
            for value in ids(from..from + 10) {
                producer.send(BaseRecord::<(), _>::to(&stage.topic).payload(&value)).unwrap();
            }
            producer.flush(PATIENCE).unwrap();
        };
        write(0);
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT * FROM v").await, ["0|NULL"]);
        producer.commit_transaction(PATIENCE).unwrap();
        // Whoever commits is answered before the markers are in the topic, which let a reader pass.
        let seen = async |row: &str| (stage.sql("SELECT * FROM v").await == [row]).then_some(());
        eventually("what was committed is read", async || seen("10|9").await).await;
        write(10);
        producer.abort_transaction(PATIENCE).unwrap();
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT * FROM v").await, ["10|9"]);
        write(20);
        producer.commit_transaction(PATIENCE).unwrap();
        eventually("what was committed after what was not is read", async || seen("20|31").await).await;
        assert_eq!(stage.sql("SELECT count(*) FROM s").await, ["20"]);
    });
}

#[test]
fn source_commits_its_offsets_to_the_consumer_group() {
    run(2, async || {
        let stage = Stage::new("group", 2).await;
        let group = format!("group-of-{}", stage.topic);
        stage.source("id BIGINT", "", &format!(", group_id = '{group}'")).await;
        stage.sql("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c FROM s").await;
        stage.produce(0, ids(0..30)).await;
        stage.produce(1, ids(0..20)).await;
        stage.sql("FLUSH").await;
        let consumer: BaseConsumer = stage.broker.config().set("group.id", &group).create().unwrap();
        let shown = async || {
            let mut list = TopicPartitionList::new();
            list.add_partition_range(&stage.topic, 0, 1);
            let committed = consumer.committed_offsets(list, PATIENCE).ok()?;
            let offsets: Vec<_> = committed.elements().iter().map(|e| e.offset()).collect();
            (offsets == [Offset::Offset(30), Offset::Offset(20)]).then_some(())
        };
        eventually("the group shows what was read", shown).await;
    });
}
