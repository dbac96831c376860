//! The third part: what messages cost, and how soon they are seen.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use datafusion::arrow::{array::AsArray, datatypes::Int64Type};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer, ThreadedProducer},
};

use crate::{Arguments, Outcome, epochs::percentile, median, server::Server};

const PARTITIONS: i32 = 4;

/// Messages a second while latency is measured, for so long.
const RATE: usize = 20_000;
const STEADY: Duration = Duration::from_secs(20);

/// How often somebody looks: a part of what is measured, and of what the machine does.
const LOOK_EVERY: Duration = Duration::from_millis(2);

const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(arguments: &Arguments) -> Outcome<()> {
    if !arguments.wants("kafka") {
        return Ok(());
    }
    println!();
    let folder = tempfile::tempdir()?;
    let Some(broker) = Broker::start(folder.path())? else {
        println!("Java or Maven is missing: nothing is measured of Kafka");
        return Ok(());
    };
    broker.topic("messages").await?;
    broker.produce("messages", arguments.rows)?;
    let (mut bare, mut counted) = (Vec::new(), Vec::new());
    for _ in 0..arguments.runs {
        bare.push(arguments.rows as f64 / broker.consume("messages", arguments.rows)? / 1e6);
        counted.push(arguments.rows as f64 / count(arguments, &broker).await? / 1e6);
    }
    let (bare, counted) = (median(bare), median(counted));
    println!("{} messages of some 200 bytes JSON in {PARTITIONS} partitions, million a second", arguments.rows);
    println!("| bare consumer | tumbling count | part of it, a target is 0.5 |");
    println!("| ------------- | -------------- | --------------------------- |");
    println!("| {bare:13.2} | {counted:14.2} | {:27.2} |", counted / bare);
    broker.topic("steady").await?;
    println!();
    println!(
        "at a steady {RATE} messages a second, from produce to seen by SELECT, milliseconds; a target is 50 at p99"
    );
    println!("| backlog before | p50   | p99   |");
    println!("| -------------- | ----- | ----- |");
    for (topic, backlog) in [("steady", 0), ("messages", arguments.rows)] {
        let [p50, p99] = latency(arguments, &broker, topic, backlog).await?;
        println!("| {backlog:14} | {p50:5.1} | {p99:5.1} |");
    }
    Ok(())
}

/// The seconds that a view takes for all messages, from its creation.
async fn count(arguments: &Arguments, broker: &Broker) -> Outcome<f64> {
    let server = Server::start(arguments.threads).await?;
    server.run(&source("messages", broker)).await?;
    let started = Instant::now();
    server
        .run(
            "CREATE MATERIALIZED VIEW v AS SELECT window_start, key, count(*) AS n
             FROM TUMBLE(s, at, INTERVAL '1 minute') GROUP BY window_start, key",
        )
        .await?;
    server.run("FLUSH").await?;
    let seconds = started.elapsed().as_secs_f64();
    let sums = server.run("SELECT sum(n) FROM v").await?;
    let sum = sums[0].column(0).as_primitive::<Int64Type>().value(0);
    if sum != arguments.rows as i64 {
        return Err(format!("the view counts {sum} messages, not {}", arguments.rows).into());
    }
    server.stop().await;
    Ok(seconds)
}

/// From being produced to being seen by a SELECT, at a steady rate, once a view has worked off what was there: the median
/// and the 99th percentile, in milliseconds.
async fn latency(arguments: &Arguments, broker: &Broker, topic: &'static str, backlog: usize) -> Outcome<[f64; 2]> {
    let server = Server::start(arguments.threads).await?;
    server.run(&source(topic, broker)).await?;
    server.run("CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, max(id) AS last FROM s").await?;
    server.run("FLUSH").await?;
    // One that is polled in short turns spins, on one of the cores that all share.
    let producer: ThreadedProducer<DefaultProducerContext> = broker.config().set("linger.ms", "1").create()?;
    let began = Instant::now();
    let due = |id: usize| Duration::from_secs_f64(id as f64 / RATE as f64);
    let total = (STEADY.as_secs_f64() * RATE as f64) as usize;
    let runtime = tokio::runtime::Handle::current();
    let producing = tokio::task::spawn_blocking(move || {
        for id in 0..total {
            let due = Duration::from_secs_f64(id as f64 / RATE as f64);
            while began.elapsed() < due {
                runtime.block_on(tokio::time::sleep(Duration::from_millis(1)));
            }
            let message = message(id);
            let record = BaseRecord::<(), str>::to(topic).partition(id as i32 % PARTITIONS).payload(&message);
            producer.send(record).map_err(|(error, _)| error)?;
        }
        producer.flush(PATIENCE)
    });
    // The messages of a partition come in order, so that the count tells which are seen, but for an epoch's cut.
    let (mut seen, mut all) = (0, Vec::with_capacity(total));
    while seen < total {
        let rows = server.run("SELECT n FROM v").await?;
        let now = began.elapsed();
        let count = rows.iter().find(|batch| batch.num_rows() > 0);
        let count = count.map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0) as usize);
        let count = count.saturating_sub(backlog);
        all.extend((seen..count).map(|id| (now.saturating_sub(due(id))).as_secs_f64() * 1e3));
        if count == seen && producing.is_finished() && now > STEADY + PATIENCE {
            producing.await??;
            return Err(format!("only {seen} of {total} messages were seen").into());
        }
        seen = count.max(seen);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    producing.await??;
    // The first second is the plan's and the connections'.
    let mut steady = all.split_off(RATE.min(all.len() - 1));
    server.stop().await;
    Ok([50, 99].map(|p| percentile(&mut steady, p)))
}

fn source(topic: &str, broker: &Broker) -> String {
    format!(
        "CREATE SOURCE s (id BIGINT, key BIGINT, at TIMESTAMP) WITH (connector = 'kafka', topic = '{topic}',
         bootstrap_servers = '{}', format = 'json')",
        broker.bootstrap
    )
}

/// Some 200 bytes of JSON; a thousand of them are a second.
fn message(id: usize) -> String {
    let (minute, second, milli) = (id / 60_000 % 60, id / 1_000 % 60, id % 1_000);
    format!(
        r#"{{"id":{id},"key":{},"at":"2024-05-01T10:{minute:02}:{second:02}.{milli:03}Z","who":"somebody with a name","what":"{:0>60}","where":"https://example.com/a/path"}}"#,
        id % 1_000,
        id * 31
    )
}

/// A broker of this benchmark's own, which ends with it.
struct Broker {
    bootstrap: String,
    _script: Child,
}

impl Broker {
    /// `None` where there is no Java.
    fn start(folder: &std::path::Path) -> Outcome<Option<Broker>> {
        let java = Command::new("java").arg("-version").output().is_ok();
        let maven = Command::new("mvn").arg("-v").output().is_ok();
        if !java || !maven {
            return Ok(None);
        }
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/start"))
            .arg(folder.join("kafka"))
            .arg("--leash")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(script.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        if line.is_empty() {
            return Err("the broker did not start".into());
        }
        Ok(Some(Broker { bootstrap: line.trim().to_string(), _script: script }))
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    async fn topic(&self, name: &str) -> Outcome<()> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        for made in admin.create_topics([&topic], &options).await? {
            made.map_err(|(name, code)| format!("topic {name}: {code}"))?;
        }
        Ok(())
    }

    fn produce(&self, topic: &str, count: usize) -> Outcome<()> {
        let producer: BaseProducer = self.config().set("linger.ms", "20").set("compression.type", "lz4").create()?;
        for id in 0..count {
            let message = message(id);
            let mut record = BaseRecord::<(), str>::to(topic).partition(id as i32 % PARTITIONS).payload(&message);
            while let Err((_, back)) = producer.send(record) {
                producer.poll(Duration::from_millis(5));
                record = back;
            }
        }
        Ok(producer.flush(PATIENCE)?)
    }

    /// The seconds that a bare consumer takes for all messages.
    fn consume(&self, topic: &str, count: usize) -> Outcome<f64> {
        let mut config = self.config();
        config.set("group.id", "bench").set("enable.auto.commit", "false").set("fetch.queue.backoff.ms", "5");
        let consumer: BaseConsumer = config.create()?;
        let mut all = TopicPartitionList::new();
        all.add_partition_range(topic, 0, PARTITIONS - 1);
        all.set_all_offsets(Offset::Beginning)?;
        let started = Instant::now();
        consumer.assign(&all)?;
        for _ in 0..count {
            consumer.poll(PATIENCE).ok_or("the broker is silent")??;
        }
        Ok(started.elapsed().as_secs_f64())
    }
}
