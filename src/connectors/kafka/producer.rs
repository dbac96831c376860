//! A transactional producer: an epoch is one transaction, and its number is committed with it.
//!
//! The epoch number is the committed offset of a partition in a consumer group of its own: offsets sent to a
//! transaction are committed if, and only if, its messages are.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientContext, Offset, TopicPartitionList,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::{BaseConsumer, Consumer, ConsumerContext, ConsumerGroupMetadata},
    error::{KafkaError, RDKafkaErrorCode as Code},
    message::DeliveryResult,
    producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer},
};

use super::{
    connection::{self, BrokerConnection},
    message_builder::OutgoingMessage,
};
use crate::{
    error::{Error, ErrorKind, Result},
    time::Epoch,
};

/// A producer for a topic under a transactional id. All calls block.
pub struct OpenProducer {
    topic: String,
    producer: ThreadedProducer<Quiet>,
    consumer: BaseConsumer<Quiet>,
    group: ConsumerGroupMetadata,
    batching: Duration,
}

/// Drops librdkafka's connection messages: the waiting call reports them.
#[derive(Debug, Clone, Copy)]
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        tracing::debug!(facility, message, "librdkafka");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka");
    }
}

impl ConsumerContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    /// A message that does not arrive fails its transaction.
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// Initial and maximum time to write an epoch; each timeout is retried with more. An abandoned transaction stays open
/// half as long again and blocks readers, unless the sink is reopened, which aborts it.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const PATIENCE_MAX: Duration = Duration::from_secs(600);

/// How long a broker may take to answer a question, to make a topic, and to end what another had begun.
const ANSWER: Duration = Duration::from_secs(10);

const DEFAULTS: &[(&str, &str)] = &[
    // As Java's clients choose, so that a key is in one partition whoever writes it.
    ("partitioner", "murmur2_random"),
    // What waits to be sent; who makes more waits. librdkafka's own limit is a gigabyte.
    ("queue.buffering.max.kbytes", "65536"),
    ("linger.ms", "5"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
];

/// Of them those that are a consumer's, too.
const OF_CONSUMERS: &[(&str, &str)] = &[("reconnect.backoff.ms", "50"), ("reconnect.backoff.max.ms", "1000")];

#[expect(clippy::disallowed_methods, reason = "a thread that blocking calls have to themselves")]
fn pause(time: Duration) {
    std::thread::sleep(time);
}

impl OpenProducer {
    /// Opens the producer: fences the former one and aborts its transaction. Gives the last committed epoch.
    pub fn open(
        connection: &BrokerConnection,
        topic: &str,
        identity: &str,
        batching: Duration,
    ) -> Result<(OpenProducer, Epoch)> {
        let invalid =
            |e: KafkaError| Error::new(ErrorKind::InvalidParameterValue, connection::config_error_message(&e));
        let open_max = (batching + batching / 2).as_millis().to_string();
        let fixed =
            [("transactional.id", identity), ("enable.idempotence", "true"), ("transaction.timeout.ms", &open_max)];
        let config = connection.config(DEFAULTS, &fixed);
        let producer = ThreadedProducer::from_config_and_context(&config, Quiet).map_err(invalid)?;
        let fixed = [("group.id", identity), ("enable.auto.commit", "false"), ("isolation.level", "read_committed")];
        let config = connection.config(OF_CONSUMERS, &fixed);
        let consumer = BaseConsumer::from_config_and_context(&config, Quiet).map_err(invalid)?;
        let group = consumer.group_metadata().ok_or_else(|| Error::internal("a kafka group without metadata"))?;
        let held = OpenProducer { topic: topic.to_string(), producer, consumer, group, batching };
        held.check_topic(&connection.brokers)?;
        held.producer.init_transactions(ANSWER).map_err(|e| producer_error("take hold of the topic", &e))?;
        let last = held.last()?;
        Ok((held, last))
    }

    /// Fails if the topic does not exist; a broker that creates topics by itself is given time.
    fn check_topic(&self, brokers: &str) -> Result<()> {
        let until = Instant::now() + ANSWER;
        loop {
            let metadata = self.producer.client().fetch_metadata(Some(&self.topic), ANSWER);
            let metadata = metadata.map_err(|e| {
                Error::new(ErrorKind::CannotConnectNow, format!("kafka at \"{brokers}\" does not answer: {e}"))
            })?;
            let is_there =
                |topic: &rdkafka::metadata::MetadataTopic| topic.error().is_none() && !topic.partitions().is_empty();
            if metadata.topics().iter().any(is_there) {
                return Ok(());
            }
            if Instant::now() > until {
                let message = format!("topic \"{}\" does not exist", self.topic);
                // A broker that has just started does not know its topics yet, and somebody may make this one.
                return Err(Error::new(ErrorKind::CannotConnectNow, message).hint("Create it with Kafka's own tools."));
            }
            pause(Duration::from_millis(50));
        }
    }

    /// The last committed epoch; waits for a transaction that is being ended.
    fn last(&self) -> Result<Epoch> {
        let mut at = TopicPartitionList::new();
        at.add_partition(&self.topic, 0);
        let found =
            self.consumer.committed_offsets(at, ANSWER).map_err(|e| producer_error("read the last epoch", &e))?;
        match found.elements().first().map(|element| element.offset()) {
            Some(Offset::Offset(epoch)) => Ok(Epoch(epoch.unsigned_abs())),
            _ => Ok(Epoch(0)),
        }
    }

    /// Writes messages and their epoch number in one transaction. After an error the producer must be reopened.
    pub fn write(self, epoch: Epoch, messages: &[OutgoingMessage]) -> Result<OpenProducer> {
        self.producer.begin_transaction().map_err(|e| producer_error("begin a transaction", &e))?;
        let until = Instant::now() + self.batching;
        let written = self.fill(epoch, messages, until).and_then(|()| {
            self.producer.commit_transaction(left(until)).map_err(|e| producer_error("commit a transaction", &e))
        });
        match written {
            // A commit is acknowledged once it is decided. A broker that stops before it has written the markers may
            // never write the group's, and the number could not be read again: only after reading it back is it
            // committed.
            Ok(()) => match self.last()? {
                there if there == epoch => Ok(self),
                there => {
                    Err(Error::new(ErrorKind::CannotConnectNow, format!("kafka holds epoch {there}, not yet {epoch}")))
                }
            },
            Err(error) => {
                // Where this fails too, whoever takes hold next does it.
                let _ = self.producer.abort_transaction(Duration::from_secs(2));
                Err(error)
            }
        }
    }

    fn fill(&self, epoch: Epoch, messages: &[OutgoingMessage], until: Instant) -> Result<()> {
        for message in messages {
            let mut record = BaseRecord::<[u8], [u8]>::to(&self.topic);
            record.key = message.key.as_deref();
            record.payload = message.value.as_deref();
            while let Err((error, back)) = self.producer.send(record) {
                if error.rdkafka_error_code() != Some(Code::QueueFull) || Instant::now() > until {
                    return Err(producer_error("send a message", &error));
                }
                pause(Duration::from_millis(2));
                record = back;
            }
        }
        let mut at = TopicPartitionList::new();
        let number = i64::try_from(epoch.0).map_err(|_| Error::internal("there are no more epochs"))?;
        at.add_partition_offset(&self.topic, 0, Offset::Offset(number))
            .map_err(|e| producer_error("number the epoch", &e))?;
        self.producer
            .send_offsets_to_transaction(&at, &self.group, left(until))
            .map_err(|e| producer_error("number the epoch", &e))
    }
}

/// The time up to a moment; a little where it has passed, so that what is done already is told so.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))
}

/// What an error means: most pass, some stop the sink until somebody sees to it.
fn producer_error(what: &str, error: &KafkaError) -> Error {
    let message = format!("kafka: cannot {what}: {error}");
    let code = error.rdkafka_error_code();
    match code {
        Some(Code::Fenced | Code::ProducerFenced) => {
            Error::new(ErrorKind::ObjectInUse, "kafka: another server writes in the name of this sink")
                .detail(error.to_string())
                .hint(
                    "Stop one of two servers that run on copies of one data directory; ALTER SINK … RESUME takes over.",
                )
        }
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => Error::new(ErrorKind::LimitExceeded, message)
            .hint("Raise properties.message.max.bytes, and max.message.bytes of the topic, or write fewer columns."),
        Some(
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed,
        ) => Error::new(ErrorKind::InvalidAuthorization, message).hint(
            "A sink writes to its topic, and uses a transactional id and a consumer group of the name that it has.",
        ),
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
            Error::new(ErrorKind::CannotConnectNow, message).hint("Where the topic is gone, create it again.")
        }
        _ => Error::new(ErrorKind::CannotConnectNow, message),
    }
}
