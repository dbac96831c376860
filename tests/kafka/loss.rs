//! What becomes of a source when Kafka loses what was not read yet, or is away.

use std::time::Duration;

use tidemark::engine::EngineOptions;

use super::{
    broker::Broker,
    source::{Stage, ids},
};
use crate::{
    harness::{Rig, run},
    server::harness::eventually,
};

const VIEW: &str = "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS c, sum(id) AS total FROM s";

async fn state(stage: &Stage) -> String {
    stage.sql("SELECT state FROM tidemark.queries").await.concat()
}

async fn last_error(stage: &Stage) -> String {
    eventually("the query fails", async || (state(stage).await == "failed").then_some(())).await;
    stage.sql("SELECT last_error FROM tidemark.queries").await.concat()
}

/// Waits until what was read is in a checkpoint: what came after one is read again after a crash.
async fn flush_and_checkpoint(stage: &Stage) {
    stage.sql("FLUSH").await;
    let query = "SELECT checkpoint = epoch FROM tidemark.queries";
    eventually("there is a checkpoint", async || (stage.sql(query).await == ["true"]).then_some(())).await;
}

#[test]
fn offsets_deleted_by_retention_fail_the_query_until_resumed() {
    run(2, async || {
        let mut stage = Stage::new("retention", 2).await;
        if !stage.broker.is_real_for("retention") {
            return;
        }
        stage.source("id BIGINT", "", "").await;
        stage.sql(VIEW).await;
        stage.produce(0, ids(0..10)).await;
        flush_and_checkpoint(&stage).await;
        stage.rig.die();
        stage.produce(0, ids(10..100)).await;
        stage.broker.delete_before(&stage.topic, 0, 50).await;
        stage.rig.open().await.unwrap();
        let error = last_error(&stage).await;
        let expected =
            format!("topic \"{}\" partition 0: offsets 10 to 49 were deleted before they were read", stage.topic);
        assert_eq!(error, format!("source \"s\" has lost records: {expected}"));
        assert_eq!(stage.sql("SELECT c FROM v").await, ["10"]);
        stage.sql("ALTER SOURCE s RESET OFFSETS; ALTER MATERIALIZED VIEW v RESUME; FLUSH").await;
        assert_eq!(stage.sql("SELECT c FROM v").await, ["60"]);
        stage.produce(1, ids(0..5)).await;
        stage.rig.crash().await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT c FROM v").await, ["65"]);
    });
}

#[test]
fn offsets_deleted_by_retention_are_a_dead_letter_with_on_data_loss_skip() {
    run(2, async || {
        let mut stage = Stage::new("skipped", 1).await;
        if !stage.broker.is_real_for("retention that is skipped") {
            return;
        }
        stage.source("id BIGINT", "", ", on_data_loss = 'skip'").await;
        stage.sql(VIEW).await;
        stage.produce(0, ids(0..10)).await;
        flush_and_checkpoint(&stage).await;
        stage.rig.die();
        stage.produce(0, ids(10..100)).await;
        stage.broker.delete_before(&stage.topic, 0, 50).await;
        stage.rig.open().await.unwrap();
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT c FROM v").await, ["60"]);
        let letters = stage.sql("SELECT file, line, reason FROM tidemark.dead_letters").await;
        let reason = "offsets 10 to 49 were deleted before they were read";
        assert_eq!(letters, [format!("{}/0|10|{reason}", stage.topic)]);
    });
}

#[test]
fn recreated_topic_is_not_taken_for_the_old_one() {
    run(2, async || {
        let mut stage = Stage::new("again", 1).await;
        if !stage.broker.is_real_for("a topic that is made again") {
            return;
        }
        stage.source("id BIGINT", "", "").await;
        stage.sql(VIEW).await;
        stage.produce(0, ids(0..10)).await;
        flush_and_checkpoint(&stage).await;
        stage.rig.die();
        stage.broker.delete_topic(&stage.topic).await;
        stage.broker.create_topic(&stage.topic, 2, &[]).await;
        // As long as the old one, so that offsets alone would not tell.
        stage.produce(0, ids(100..120)).await;
        stage.produce(1, ids(200..201)).await;
        stage.rig.open().await.unwrap();
        let error = last_error(&stage).await;
        let expected = format!("topic \"{}\" was deleted and made again", stage.topic);
        assert_eq!(error, format!("source \"s\" has lost records: {expected}"));
        stage.sql("ALTER SOURCE s RESET OFFSETS; ALTER MATERIALIZED VIEW v RESUME; FLUSH").await;
        assert_eq!(stage.sql("SELECT c, total FROM v").await, [format!("31|{}", 45 + 2_190 + 200)]);
        assert_eq!(stage.sql("SELECT count(*) FROM s").await, ["21"]);
        stage.rig.crash().await;
        stage.produce(0, ids(0..1)).await;
        stage.sql("FLUSH").await;
        assert_eq!(stage.sql("SELECT c FROM v").await, ["32"]);
    });
}

#[test]
fn recreated_topic_is_read_from_the_start_with_on_data_loss_skip() {
    run(2, async || {
        let stage = Stage::new("anew", 1).await;
        if !stage.broker.is_real_for("a topic that is made again, and skipped") {
            return;
        }
        stage.source("id BIGINT", "", ", on_data_loss = 'skip'").await;
        stage.sql(VIEW).await;
        stage.produce(0, ids(0..10)).await;
        stage.sql("FLUSH").await;
        stage.broker.delete_topic(&stage.topic).await;
        stage.broker.create_topic(&stage.topic, 1, &[]).await;
        stage.produce(0, ids(0..5)).await;
        let seen = async || (stage.sql("SELECT c FROM v").await == ["15"]).then_some(());
        eventually("the new topic is read from its beginning", seen).await;
    });
}

#[test]
fn source_unreachable_broker_is_retried() {
    run(2, async || {
        let broker: &'static Broker = Box::leak(Box::new(Broker::own().await));
        if !broker.is_real_for("a broker that is away") {
            return;
        }
        let topic = broker.topic("away", 2).await;
        let options = EngineOptions { checkpoint_interval: Duration::from_millis(50), ..EngineOptions::default() };
        let mut stage = Stage { rig: Rig::new(options).await, broker, topic, discovery: "100 ms" };
        stage.source("id BIGINT", "", "").await;
        stage.sql(VIEW).await;
        stage.produce(0, ids(0..10)).await;
        stage.sql("FLUSH").await;
        broker.stop();
        eventually("the query says so", async || (state(&stage).await == "retrying").then_some(())).await;
        let error = stage.sql("SELECT last_error FROM tidemark.queries").await.concat();
        let expected = format!("source \"s\": kafka broker \"{}\" cannot be read: ", broker.bootstrap());
        assert!(error.starts_with(&expected), "{error}");
        // It opens without its broker, too.
        stage.rig.crash().await;
        assert_eq!(stage.sql("SELECT c FROM v").await, ["10"]);
        broker.go_on();
        stage.produce(1, ids(10..30)).await;
        let seen = async || (stage.sql("SELECT c FROM v").await == ["30"]).then_some(());
        eventually("what came meanwhile is read", seen).await;
        stage.rig.die();
        broker.stop();
    });
}
