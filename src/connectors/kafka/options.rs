//! The options of a Kafka source.

use std::time::Duration;

use arrow::{array::StringArray, compute::regexp_is_match_scalar};
use rdkafka::{ClientConfig, error::KafkaError};

use super::{
    allowed,
    connection::{brokers, config_error_message},
    include::Include,
    properties::{PREFIX, Properties},
    start::StartOffset,
};
use crate::{
    error::{Error, ErrorKind, Result},
    formats::Format,
    options::Taker,
};

/// `WITH (connector = 'kafka', …)`.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port`, with commas between.
    pub brokers: String,
    pub topics: Topics,
    pub start: StartOffset,
    /// Where it commits how far all queries have read, for the eyes of Kafka's own tools.
    pub group: Option<String>,
    /// Whether records that are gone before they were read are passed over.
    pub skips_loss: bool,
    /// How often it looks for new partitions.
    pub discovery: Duration,
    pub properties: Properties,
    pub include: Vec<Include>,
    pub format: Format,
}

/// Which topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Topics {
    Named(Vec<String>),
    /// Those whose whole name matches a regular expression.
    Pattern(String),
}

/// New partitions are found so soon: a question to one broker each time.
const DISCOVERY: Duration = Duration::from_secs(5);

/// Properties that the source sets itself, and what says the same.
const OWN: &[(&str, &str)] = &[
    ("enable.auto.commit", "A query's offsets are committed with its epochs."),
    ("auto.commit.enable", "A query's offsets are committed with its epochs."),
    ("enable.auto.offset.store", "A query's offsets are committed with its epochs."),
    ("enable.partition.eof", "It is needed to know where a partition ends."),
    ("auto.offset.reset", "Use start_offset = 'earliest' or 'latest'."),
];

impl KafkaOptions {
    /// Takes them, and those of the format.
    pub fn from_options(options: &mut Taker) -> Result<KafkaOptions> {
        let brokers = brokers(options)?;
        let topics = match (options.text("topic"), options.first(&["topic_pattern", "topic.pattern"])?) {
            (Some(_), Some(_)) => return Err(invalid("options \"topic\" and \"topic_pattern\" exclude each other")),
            (None, Some(pattern)) => Topics::pattern(pattern)?,
            (None, None) => Topics::named(&options.required("topic")?)?,
            (Some(names), None) => Topics::named(&names)?,
        };
        let start = StartOffset::from_options(options)?;
        let group = options.first(&["group_id", "group.id", "properties.group.id"])?;
        let loss = options.one_of("on_data_loss", &[("fail", false), ("skip", true)])?;
        let discovery = options.duration("discovery_interval")?.unwrap_or(DISCOVERY);
        if discovery < Duration::from_millis(10) {
            return Err(invalid("option \"discovery_interval\" takes 10 ms at least"));
        }
        let levels = [("read_committed", "read_committed"), ("read_uncommitted", "read_uncommitted")];
        let isolation = options.one_of("isolation.level", &levels)?;
        let mut properties = options.prefixed(PREFIX);
        if let Some(level) = isolation {
            properties.insert("isolation.level".to_string(), level.to_string());
        }
        for (key, why) in OWN {
            if properties.contains_key(*key) {
                return Err(invalid(format!("option \"{PREFIX}{key}\" is the source's own")).hint(*why));
            }
        }
        allowed::check(&properties)?;
        let include = include(options)?;
        let options = KafkaOptions {
            brokers,
            topics,
            start,
            group,
            skips_loss: loss.unwrap_or(false),
            discovery,
            properties: Properties(properties),
            include,
            format: Format::from_options(options)?,
        };
        options.format.check_messages()?;
        options.config().create_native_config().map_err(|e| invalid(options.config_error_message(&e)))?;
        Ok(options)
    }

    /// The settings of every client. The user's own come last, and win.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "tidemark")
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            // The answer to a fetch that finds nothing: a partition that joins in waits for it.
            .set("fetch.wait.max.ms", "20")
            .set("fetch.queue.backoff.ms", "5")
            .set("fetch.error.backoff.ms", "100")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000");
        for (key, value) in &self.properties.0 {
            config.set(key, value);
        }
        config
    }

    /// What librdkafka says of its settings, less their values.
    pub(super) fn config_error_message(&self, error: &KafkaError) -> String {
        config_error_message(error)
    }
}

impl Topics {
    fn named(names: &str) -> Result<Topics> {
        let mut all: Vec<String> = names.split(',').map(|name| name.trim().to_string()).collect();
        all.sort();
        all.dedup();
        let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        match all.iter().find(|name| name.is_empty() || name.len() > 249 || !name.chars().all(legal)) {
            None => Ok(Topics::Named(all)),
            Some(name) => Err(invalid(format!("option \"topic\": '{name}' cannot be the name of a topic"))
                .hint("topic_pattern takes a regular expression.")),
        }
    }

    fn pattern(pattern: String) -> Result<Topics> {
        match Topics::Pattern(pattern.clone()).choose(vec![String::new()]) {
            Ok(_) => Ok(Topics::Pattern(pattern)),
            Err(_) => Err(invalid(format!("option \"topic_pattern\" is no regular expression: '{pattern}'"))),
        }
    }

    /// Those of some topics that are meant.
    pub fn choose(&self, names: Vec<String>) -> Result<Vec<String>> {
        match self {
            Topics::Named(named) => Ok(names.into_iter().filter(|name| named.contains(name)).collect()),
            Topics::Pattern(pattern) => {
                let column = StringArray::from_iter_values(&names);
                let matches = regexp_is_match_scalar(&column, &format!("^(?:{pattern})$"), None)?;
                Ok(names.into_iter().zip(matches.iter()).filter(|(_, is)| *is == Some(true)).map(|(n, _)| n).collect())
            }
        }
    }
}

/// `include = 'key TEXT AS k, offset'`, which is what the clause of that name is, or `include.offset = 'o'`.
fn include(options: &mut Taker) -> Result<Vec<Include>> {
    let mut items: Vec<String> = options.text("include").into_iter().collect();
    for (what, name) in options.prefixed("include.") {
        if what.contains(['\'', '"', ',']) {
            return Err(invalid(format!("option \"include.{what}\" cannot be told from another"))
                .hint("Write option \"include\" as one text: 'header ''x'' AS y, offset AS o'."));
        }
        items.push(format!("{what} AS \"{}\"", name.replace('"', "\"\"")));
    }
    Include::parse(&items.join(", "))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidParameterValue, message)
}
