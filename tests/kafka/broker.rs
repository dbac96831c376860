//! A broker for tests: `Broker::shared()` is one for all of them, `Broker::own()` one that a test may break.
//!
//! It is Apache Kafka, run by `tests/kafka/start`. Where Java or Maven is missing it is librdkafka's mock cluster, which
//! knows neither transactions nor the lives of topics: what needs those asks [`Broker::is_real_for`] first.
//! `TIDEMARK_KAFKA=required` makes a missing broker a failure.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
    message::{Header, Headers, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext},
    types::RDKafkaErrorCode,
};
use tokio::{sync::OnceCell, task::spawn_blocking};

use crate::server::harness::{PATIENCE, eventually};

/// A broker. One that is dropped, or whose process ends, takes its data along.
pub struct Broker {
    bootstrap: String,
    runs: Runs,
}

enum Runs {
    Real {
        folder: PathBuf,
        script: Mutex<Script>,
    },
    /// The mock lives on a thread of its own, which makes topics as it is told.
    Mock(Mutex<mpsc::Sender<(String, i32)>>),
}

/// The running `tests/kafka/start`, and the leash that it is on.
struct Script {
    child: Child,
    _leash: ChildStdin,
}

/// A message to be written, or as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// In milliseconds; `None` is now.
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Record {
    pub fn new(partition: i32, value: impl AsRef<[u8]>) -> Record {
        Record { partition, value: Some(value.as_ref().to_vec()), ..Record::default() }
    }

    /// The value as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.value.as_deref().unwrap_or_default()).into_owned()
    }
}

/// Counts the messages that the broker did not take.
#[derive(Default)]
struct Refused(AtomicU64);

impl ClientContext for Refused {}

impl ProducerContext for Refused {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }
}

static SHARED: OnceCell<Broker> = OnceCell::const_new();

impl Broker {
    /// The one that all tests of this process share. Nobody may restart it.
    pub async fn shared() -> &'static Broker {
        SHARED.get_or_init(Broker::own).await
    }

    /// One of a test's own.
    pub async fn own() -> Broker {
        spawn_blocking(|| if has_java() { Broker::real() } else { Broker::mock() }).await.unwrap()
    }

    fn real() -> Broker {
        let folder = tempfile::Builder::new().prefix("tidemark-kafka-").tempdir().unwrap().keep();
        let (script, bootstrap) = Script::start(&folder);
        Broker { bootstrap, runs: Runs::Real { folder, script: Mutex::new(script) } }
    }

    fn mock() -> Broker {
        let (topics, orders) = mpsc::channel::<(String, i32)>();
        let (said, says) = mpsc::channel();
        std::thread::spawn(move || {
            let mock = MockCluster::new(1).unwrap();
            said.send(mock.bootstrap_servers()).unwrap();
            for (topic, partitions) in orders {
                mock.create_topic(&topic, partitions, 1).unwrap();
            }
        });
        Broker { bootstrap: says.recv().unwrap(), runs: Runs::Mock(Mutex::new(topics)) }
    }

    /// Its address, for `bootstrap.servers`.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Whether it is Apache Kafka. Where it is not, says that `what` is left out.
    pub fn is_real_for(&self, what: &str) -> bool {
        let real = matches!(self.runs, Runs::Real { .. });
        if !real {
            eprintln!("left out, as it needs a real Kafka broker (Java and Maven): {what}");
        }
        real
    }

    /// Ends it, and starts it again with what was there, at the same address. Only of a real one.
    pub fn restart(&self) {
        self.stop();
        self.go_on();
    }

    /// Ends the process; the data stay. Only of a real one.
    pub fn stop(&self) {
        let Runs::Real { script, .. } = &self.runs else { panic!("a mock cannot be stopped") };
        script.lock().unwrap_or_else(PoisonError::into_inner).stop();
    }

    /// Starts it again after [`Broker::stop`].
    pub fn go_on(&self) {
        let Runs::Real { folder, script } = &self.runs else { panic!("a mock cannot be restarted") };
        let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
        let (again, bootstrap) = Script::start(folder);
        assert_eq!(bootstrap, self.bootstrap);
        *script = again;
    }

    /// A new topic whose name begins with `prefix`.
    pub async fn topic(&self, prefix: &str, partitions: i32) -> String {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let name = format!("{prefix}-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.create_topic(&name, partitions, &[]).await;
        name
    }

    /// Makes a topic with settings such as `("cleanup.policy", "compact")`, which a mock does not heed.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        if let Runs::Mock(topics) = &self.runs {
            topics.lock().unwrap().send((name.to_string(), partitions)).unwrap();
        } else {
            let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
            for (key, value) in settings {
                topic = topic.set(key, value);
            }
            let made = self.admin().create_topics([&topic], &options()).await.unwrap();
            made.into_iter().for_each(|topic| drop(topic.unwrap()));
        }
        self.wait_for(name, partitions as usize).await;
    }

    pub async fn delete_topic(&self, name: &str) {
        let gone = self.admin().delete_topics(&[name], &options()).await.unwrap();
        gone.into_iter().for_each(|topic| drop(topic.unwrap()));
        self.wait_for(name, 0).await;
    }

    /// Lets a topic have `partitions` of them.
    pub async fn grow_topic(&self, name: &str, partitions: i32) {
        let more = NewPartitions::new(name, partitions as usize);
        let grown = self.admin().create_partitions([&more], &options()).await.unwrap();
        grown.into_iter().for_each(|topic| drop(topic.unwrap()));
        self.wait_for(name, partitions as usize).await;
    }

    /// Deletes a partition's records before an offset, as its retention does.
    pub async fn delete_before(&self, name: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(name, partition, Offset::Offset(offset)).unwrap();
        let deleted = self.admin().delete_records(&before, &options()).await.unwrap();
        deleted.elements().iter().for_each(|partition| partition.error().unwrap());
    }

    /// Waits until the topic is known to have so many partitions.
    async fn wait_for(&self, name: &str, partitions: usize) {
        let consumer = Arc::new(self.consumer());
        let known = async || {
            let (consumer, name) = (consumer.clone(), name.to_string());
            let ask = move || consumer.fetch_metadata(Some(&name), PATIENCE).unwrap();
            let metadata = spawn_blocking(ask).await.unwrap();
            let all = metadata.topics()[0].partitions();
            let ready = all.iter().all(|partition| partition.leader() >= 0 && partition.error().is_none());
            (all.len() == partitions && ready).then_some(())
        };
        eventually("the topic is as it should be", known).await;
    }

    /// Writes records, in order, and waits until the broker has them.
    pub async fn send(&self, topic: &str, records: Vec<Record>) {
        let producer: BaseProducer<Refused> =
            self.config().set("linger.ms", "1").create_with_context(Refused::default()).unwrap();
        let topic = topic.to_string();
        let send = move || {
            for record in &records {
                let mut headers = OwnedHeaders::new();
                for (key, value) in &record.headers {
                    headers = headers.insert(Header { key, value: Some(value) });
                }
                let mut message = BaseRecord::<[u8], [u8]>::to(&topic).partition(record.partition).headers(headers);
                message.key = record.key.as_deref();
                message.payload = record.value.as_deref();
                message.timestamp = record.timestamp;
                while let Err((error, back)) = producer.send(message) {
                    assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                    producer.poll(Duration::from_millis(10));
                    message = back;
                }
            }
            producer.flush(PATIENCE).unwrap();
            assert_eq!(producer.context().0.load(Ordering::Acquire), 0, "the broker refused messages");
        };
        spawn_blocking(send).await.unwrap();
    }

    /// Writes values to one partition.
    pub async fn produce<V: AsRef<[u8]>>(&self, topic: &str, partition: i32, values: impl IntoIterator<Item = V>) {
        let records = values.into_iter().map(|value| Record::new(partition, value)).collect();
        self.send(topic, records).await;
    }

    /// All that a reader of committed messages finds in a topic now, partition by partition.
    pub async fn read(&self, topic: &str) -> Vec<Record> {
        let (consumer, topic) = (self.consumer(), topic.to_string());
        spawn_blocking(move || read(&consumer, &topic)).await.unwrap()
    }

    /// A consumer that reads what is committed and commits nothing.
    pub fn consumer(&self) -> BaseConsumer {
        let mut config = self.config();
        config.set("group.id", "tests").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        config.set("isolation.level", "read_committed").set("fetch.wait.max.ms", "20").create().unwrap()
    }

    /// The settings that every client of it needs.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

fn read(consumer: &BaseConsumer, topic: &str) -> Vec<Record> {
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics()[0].partitions().len() as i32;
    let mut all = TopicPartitionList::new();
    all.add_partition_range(topic, 0, partitions - 1);
    all.set_all_offsets(Offset::Beginning).unwrap();
    consumer.assign(&all).unwrap();
    let (mut records, mut ends) = (Vec::new(), 0);
    while ends < partitions {
        match consumer.poll(PATIENCE).expect("the broker answers") {
            Err(KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
            Ok(message) => {
                let header =
                    |header: Header<'_, &[u8]>| (header.key.to_string(), header.value.unwrap_or_default().to_vec());
                records.push(Record {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    timestamp: message.timestamp().to_millis(),
                    headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
                });
            }
        }
    }
    records.sort();
    records
}

fn has_java() -> bool {
    let runs = |program: &str, argument: &str| {
        let ran = Command::new(program).arg(argument).stdin(Stdio::null()).output();
        ran.is_ok_and(|output| output.status.success())
    };
    let there = runs("java", "-version") && runs("mvn", "-v");
    let required = env::var("TIDEMARK_KAFKA").is_ok_and(|value| value == "required");
    assert!(there || !required, "TIDEMARK_KAFKA=required, but java or mvn is missing");
    there
}

impl Script {
    fn start(folder: &PathBuf) -> (Script, String) {
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(&cache).unwrap();
        let mut child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/start"))
            .arg(folder)
            .arg("--leash")
            .env("KAFKA_CLASSPATH_FILE", cache.join("kafka.classpath"))
            .env("KAFKA_HEAP_OPTS", "-Xmx512m")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let leash = child.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let log = || fs::read_to_string(folder.join("broker.log")).unwrap_or_default();
        assert!(!line.is_empty(), "the broker did not start:\n{}", log());
        (Script { child, _leash: leash }, line.trim().to_string())
    }

    fn stop(&mut self) {
        crate::server::harness::signal("-TERM", self.child.id());
        self.child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_messages_survive_its_restart() {
    let broker = Broker::own().await;
    let topic = broker.topic("there", 2).await;
    broker.produce(&topic, 1, ["a", "b"]).await;
    if broker.is_real_for("what was written is there after a restart") {
        broker.restart();
    }
    broker.send(&topic, vec![Record { headers: vec![("h".into(), b"x".into())], ..Record::new(0, "c") }]).await;
    let read = broker.read(&topic).await;
    let all: Vec<_> = read.iter().map(|r| (r.partition, r.offset, r.text(), r.headers.len())).collect();
    assert_eq!(all, [(0, 0, "c".to_string(), 1), (1, 0, "a".to_string(), 0), (1, 1, "b".to_string(), 0)]);
}
