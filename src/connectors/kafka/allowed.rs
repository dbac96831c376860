//! Which `properties.…` are passed on to librdkafka: those that say how to talk to a broker. Others load code into the
//! server, run commands, read its files or belong to the connector itself, and new ones appear with each release, so that
//! only what is known to be harmless is let through.

use std::collections::BTreeMap;

use super::properties::PREFIX;
use crate::{
    error::{Error, ErrorKind, Result},
    options::nearest,
};

/// By the names of librdkafka's CONFIGURATION.md. The values of those that end in `.location` are files, which may be read
/// only where connectors may read.
const ALLOWED: &[&str] = &[
    // How a connection is made and kept.
    "allow.auto.create.topics",
    "api.version.fallback.ms",
    "api.version.request",
    "api.version.request.timeout.ms",
    "broker.address.family",
    "broker.address.ttl",
    "broker.version.fallback",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "enable.metrics.push",
    "log.connection.close",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.copy.max.bytes",
    "message.max.bytes",
    "metadata.max.age.ms",
    "metadata.request.timeout.ms",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "topic.metadata.propagation.max.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.sparse",
    // Who the server is, and who the broker is.
    "enable.sasl.oauthbearer.unsecure.jwt",
    "enable.ssl.certificate.verification",
    "https.ca.location",
    "https.ca.pem",
    "sasl.kerberos.principal",
    "sasl.kerberos.service.name",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.oauthbearer.client.id",
    "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.extensions",
    "sasl.oauthbearer.method",
    "sasl.oauthbearer.scope",
    "sasl.oauthbearer.token.endpoint.url",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.sigalgs.list",
    // What is fetched at a time.
    "check.crcs",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "heartbeat.interval.ms",
    "isolation.level",
    "max.partition.fetch.bytes",
    "max.poll.interval.ms",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "session.timeout.ms",
    // How it is written.
    "acks",
    "batch.num.messages",
    "batch.size",
    "compression.codec",
    "compression.level",
    "compression.type",
    "delivery.timeout.ms",
    "linger.ms",
    "message.send.max.retries",
    "message.timeout.ms",
    "partitioner",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.ms",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "sticky.partitioning.linger.ms",
];

/// Fails on the first that is not on the list, before librdkafka sees any of them: some take effect by being set.
pub fn check(properties: &BTreeMap<String, String>) -> Result<()> {
    let Some(key) = properties.keys().find(|key| !ALLOWED.contains(&key.as_str())) else { return Ok(()) };
    let message = format!("option \"{PREFIX}{key}\" is not passed on to kafka");
    let known: Vec<String> = ALLOWED.iter().map(|key| key.to_string()).collect();
    let error = Error::new(ErrorKind::InvalidParameterValue, message);
    Err(match nearest(key, &known) {
        Some(near) => error.hint(format!("Perhaps you meant \"{PREFIX}{near}\".")),
        None => error.detail("Only what says how to talk to a broker is: connection, TLS, SASL, sizes and times."),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(key: &str) -> Result<()> {
        check(&BTreeMap::from([(key.to_string(), "1".to_string())]))
    }

    #[test]
    fn kafka_properties_that_load_or_run_code_are_refused() {
        for key in [
            "plugin.library.paths",
            "ssl.engine.location",
            "ssl.engine.id",
            "sasl.kerberos.kinit.cmd",
            "sasl.kerberos.keytab",
            "sasl.oauthbearer.assertion.private.key.file",
            "ssl.providers",
            "open_cb",
            "interceptors",
            "opaque",
            "debug",
            "no.such.property",
            "",
        ] {
            assert_eq!(checked(key).unwrap_err().kind(), ErrorKind::InvalidParameterValue, "{key}");
        }
    }

    #[test]
    fn kafka_allowed_properties_are_known_to_librdkafka() {
        for key in ALLOWED {
            checked(key).unwrap();
            // One that librdkafka does not know is an error of its configuration, whatever the value.
            let known = rdkafka::ClientConfig::new().set(*key, "").create_native_config().map(|_| ());
            let unknown = matches!(
                &known,
                Err(rdkafka::error::KafkaError::ClientConfig(
                    rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN,
                    ..
                ))
            );
            assert!(!unknown, "{key}: {known:?}");
        }
        assert_eq!(
            checked("ssl.ca.locatoin").unwrap_err().hint_text(),
            Some("Perhaps you meant \"properties.ssl.ca.location\".")
        );
    }
}
