//! How brokers are reached: their addresses, the settings of a client, and what it says of them.

use rdkafka::{ClientConfig, error::KafkaError};

use super::{
    allowed,
    properties::{PREFIX, Properties},
};
use crate::{
    error::{Error, ErrorKind, Result},
    options::{Taker, is_secret},
};

/// Addresses, and what is passed on to librdkafka.
#[derive(Debug, Clone)]
pub struct BrokerConnection {
    /// `host:port`, with commas between.
    pub brokers: String,
    pub properties: Properties,
}

impl BrokerConnection {
    /// Takes the addresses and all `properties.…` but those in `own`, each with what says the same.
    pub fn from_options(options: &mut Taker, own: &[(&str, &str)]) -> Result<BrokerConnection> {
        let brokers = brokers(options)?;
        let properties = options.prefixed(PREFIX);
        if let Some((key, why)) = own.iter().find(|(key, _)| properties.contains_key(*key)) {
            let message = format!("option \"{PREFIX}{key}\" cannot be set");
            return Err(Error::new(ErrorKind::InvalidParameterValue, message).hint(*why));
        }
        allowed::check(&properties)?;
        Ok(BrokerConnection { brokers, properties: Properties(properties) })
    }

    /// The settings of a client: `defaults`, over them the user's own, over them `fixed`.
    pub fn config(&self, defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "tidemark");
        let own = self.properties.0.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in defaults.iter().copied().chain(own).chain(fixed.iter().copied()) {
            config.set(key, value);
        }
        config
    }
}

/// The addresses, by any of their names.
pub(super) fn brokers(options: &mut Taker) -> Result<String> {
    const NAMES: [&str; 5] = [
        "bootstrap_servers",
        "bootstrap.servers",
        "brokers",
        "properties.bootstrap.server",
        "properties.bootstrap.servers",
    ];
    match options.first(&NAMES)? {
        Some(brokers) if brokers.trim().is_empty() => {
            Err(Error::new(ErrorKind::InvalidParameterValue, "option \"bootstrap_servers\" is empty"))
        }
        Some(brokers) => Ok(brokers),
        None => options.required(NAMES[0]),
    }
}

/// What librdkafka says of its settings, less the values that are secret.
pub fn config_error_message(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) if is_secret(key) => {
            format!("option \"{PREFIX}{key}\" cannot be what it is")
        }
        KafkaError::ClientConfig(_, text, key, _) => format!("option \"{PREFIX}{key}\": {text}"),
        other => format!("the kafka client cannot be made: {other}"),
    }
}
