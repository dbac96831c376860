//! A topic as a sink: an epoch is a transaction, so that who reads what is committed sees each row once.

use std::{
    any::Any,
    fmt,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use super::{
    connection::{BrokerConnection, config_error_message},
    message_builder::MessageBuilder,
    producer::{OpenProducer, PATIENCE, PATIENCE_MAX},
};
use crate::{
    connectors::{
        Delivery, Outgoing, Sink, SinkDef,
        sink::{Mode, SinkConfig},
    },
    error::{Error, ErrorKind, Result},
    formats::MessageFormat,
    options::Taker,
    time::Epoch,
};

/// Properties that the sink sets itself.
const OWN: &[(&str, &str)] = &[
    ("transactional.id", "It names the sink, for ever."),
    ("enable.idempotence", "It is on: transactions need it."),
    ("transaction.timeout.ms", "It follows from how long an epoch takes."),
    ("group.id", "It names the sink, for ever."),
    ("enable.auto.commit", "Nothing is consumed."),
    ("isolation.level", "Whoever reads the topic chooses it."),
];

/// `WITH (connector = 'kafka', …)` of a sink.
#[derive(Debug, Clone)]
pub struct KafkaSinkOptions {
    connection: BrokerConnection,
    topic: String,
    format: MessageFormat,
    key_format: MessageFormat,
}

impl KafkaSinkOptions {
    pub fn from_options(options: &mut Taker) -> Result<KafkaSinkOptions> {
        let connection = BrokerConnection::from_options(options, OWN)?;
        let topic = options.required("topic")?;
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if topic.is_empty() || topic.len() > 249 || !topic.chars().all(legal) {
            let message = format!("option \"topic\": '{topic}' cannot be the name of a topic");
            return Err(Error::new(ErrorKind::InvalidParameterValue, message));
        }
        let key_format = match options.one_of("key_format", &[("json", true), ("text", false)])? {
            Some(false) => MessageFormat::Text,
            _ => MessageFormat::Json,
        };
        let format = MessageFormat::from_options(options)?;
        let checked = connection.config(&[], &[]).create_native_config();
        checked.map_err(|e| Error::new(ErrorKind::InvalidParameterValue, config_error_message(&e)))?;
        Ok(KafkaSinkOptions { connection, topic, format, key_format })
    }
}

impl SinkConfig for KafkaSinkOptions {
    fn modes(&self) -> &'static [Mode] {
        &[Mode::Append, Mode::Upsert, Mode::Debezium]
    }

    fn continues(&self, other: &dyn Any) -> bool {
        let Some(other) = other.downcast_ref::<KafkaSinkOptions>() else { return false };
        let form = |options: &KafkaSinkOptions| format!("{:?} {:?}", options.format, options.key_format);
        (&self.connection.brokers, &self.topic) == (&other.connection.brokers, &other.topic)
            && form(self) == form(other)
    }

    fn create(&self, def: SinkDef) -> Result<Box<dyn Sink>> {
        Ok(Box::new(KafkaSink::new(def, self)?))
    }
}

struct KafkaSink {
    def: SinkDef,
    options: KafkaSinkOptions,
    messages: MessageBuilder,
    /// `None` before it is opened, and after a write that failed.
    held: Option<OpenProducer>,
    /// How long an epoch may take: more, once one has taken too long.
    batching: Duration,
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("def", &self.def).field("options", &self.options).finish_non_exhaustive()
    }
}

impl KafkaSink {
    fn new(def: SinkDef, options: &KafkaSinkOptions) -> Result<KafkaSink> {
        let (options, key) = (options.clone(), def.key.clone());
        let messages = MessageBuilder::new(def.mode, &def.schema, key, &options.format, &options.key_format)?;
        Ok(KafkaSink { def, options, messages, held: None, batching: PATIENCE })
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }

    async fn open(&mut self) -> Result<Epoch> {
        let (old, options, identity) = (self.held.take(), self.options.clone(), self.def.identity.clone());
        let batching = self.batching;
        let take = move || {
            drop(old);
            OpenProducer::open(&options.connection, &options.topic, &identity, batching)
        };
        let (held, last) = blocking(take).await?;
        self.held = Some(held);
        Ok(last)
    }

    async fn write(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()> {
        let messages = self.messages.of(rows)?;
        let held =
            self.held.take().ok_or_else(|| Error::internal("a kafka sink was written to before it was opened"))?;
        let started = Instant::now();
        let written = blocking(move || held.write(epoch, &messages)).await;
        self.batching = match &written {
            Ok(_) => PATIENCE,
            Err(_) if started.elapsed() >= self.batching => (self.batching * 2).min(PATIENCE_MAX),
            Err(_) => self.batching,
        };
        self.held = Some(written?);
        Ok(())
    }
}

/// Runs work that blocks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(format!("a kafka sink died: {e}")))?
}
