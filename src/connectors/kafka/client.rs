//! The librdkafka calls of a source, safely wrapped. All block, at most for [`ANSWER`].

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    fmt,
    ptr::null_mut,
    sync::OnceLock,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList, bindings as sys,
    client::{Client as Native, DefaultClientContext},
    config::RDKafkaLogLevel,
    types::{RDKafkaErrorCode, RDKafkaRespErr, RDKafkaType},
};

use super::{options::KafkaOptions, place::TopicPartition};
use crate::error::{Error, ErrorKind, Result};

/// How long a broker may take to answer a question.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// One set of connections to the brokers.
pub(super) struct Client {
    native: Native<DefaultClientContext>,
    brokers: String,
    /// Whether the brokers support DescribeTopics; imitations of Kafka may not. `None` is unknown.
    describes: OnceLock<bool>,
}

/// A topic as described by brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topic {
    /// Differs each time the topic is created; `None` if the broker has no topic ids.
    pub id: Option<String>,
    pub partitions: Vec<i32>,
}

/// What an offset is looked up for (ListOffsets).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClientPhase {
    /// The first record that is still there.
    First,
    /// After the last readable record.
    End,
    /// The first record at or after this time, in milliseconds.
    Time(i64),
}

/// The id of a topic that has none.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("brokers", &self.brokers).finish()
    }
}

impl Client {
    /// Connects when it is first asked. `more` are settings of this client alone.
    pub fn new(options: &KafkaOptions, more: &[(&str, String)]) -> Result<Client> {
        let mut config: ClientConfig = options.config();
        config.set_log_level(RDKafkaLogLevel::Warning);
        for (key, value) in more {
            config.set(*key, value);
        }
        let made = config
            .create_native_config()
            .and_then(|native| Native::new(&config, native, RDKafkaType::RD_KAFKA_CONSUMER, DefaultClientContext));
        let native =
            made.map_err(|e| Error::new(ErrorKind::InvalidParameterValue, options.config_error_message(&e)))?;
        Ok(Client { native, brokers: options.brokers.clone(), describes: OnceLock::new() })
    }

    pub fn ptr(&self) -> *mut sys::rd_kafka_t {
        self.native.native_ptr()
    }

    /// The names of all topics but those that are Kafka's own.
    pub fn topics(&self) -> Result<Vec<String>> {
        let metadata = self.native.fetch_metadata(None, ANSWER).map_err(|e| self.away(&e))?;
        let names = metadata.topics().iter().map(|topic| topic.name());
        Ok(names.filter(|name| !name.starts_with("__")).map(str::to_string).collect())
    }

    /// Describes topics; those that do not exist are left out.
    pub fn describe(&self, names: &[String]) -> Result<BTreeMap<String, Topic>> {
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        if self.describes.get() == Some(&false) {
            return self.list(names);
        }
        match self.ask_description(names) {
            Ok(found) => {
                let _ = self.describes.set(true);
                Ok(found)
            }
            Err(error) if self.describes.get().is_some() => Err(error),
            Err(error) => {
                let found = self.list(names)?;
                tracing::warn!(brokers = self.brokers, %error, "topics have no id: one that is made again may not be told");
                let _ = self.describes.set(false);
                Ok(found)
            }
        }
    }

    /// Describes topics without ids, by their metadata.
    fn list(&self, names: &[String]) -> Result<BTreeMap<String, Topic>> {
        let mut found = BTreeMap::new();
        for name in names {
            let metadata = self.native.fetch_metadata(Some(name), ANSWER).map_err(|e| self.away(&e))?;
            let Some(topic) = metadata.topics().first() else { continue };
            match check(topic.error().unwrap_or(NONE)) {
                Ok(()) => {}
                Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => continue,
                Err(e) => return Err(self.away(&e).context(format!("topic \"{name}\""))),
            }
            let mut partitions: Vec<i32> = topic.partitions().iter().map(|partition| partition.id()).collect();
            partitions.sort_unstable();
            found.insert(name.clone(), Topic { id: None, partitions });
        }
        Ok(found)
    }

    fn ask_description(&self, names: &[String]) -> Result<BTreeMap<String, Topic>> {
        let owned: Vec<CString> = names.iter().filter_map(|name| CString::new(name.as_str()).ok()).collect();
        let mut pointers: Vec<_> = owned.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: each object is made here, used while it lives, and destroyed once; the collection copies the names.
        unsafe {
            let queue = sys::rd_kafka_queue_new(self.ptr());
            let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = sys::rd_kafka_AdminOptions_new(self.ptr(), operation);
            let timeout = ANSWER.as_millis() as i32;
            sys::rd_kafka_AdminOptions_set_request_timeout(options, timeout, null_mut(), 0);
            let topics = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            sys::rd_kafka_DescribeTopics(self.ptr(), topics, options, queue);
            let event = sys::rd_kafka_queue_poll(queue, 2 * timeout);
            let described = if event.is_null() {
                Err(self.away(&RDKafkaErrorCode::OperationTimedOut))
            } else {
                self.described(event)
            };
            if !event.is_null() {
                sys::rd_kafka_event_destroy(event);
            }
            sys::rd_kafka_TopicCollection_destroy(topics);
            sys::rd_kafka_AdminOptions_destroy(options);
            sys::rd_kafka_queue_destroy(queue);
            described
        }
    }

    /// # Safety
    ///
    /// `event` is one that a call of `DescribeTopics` ended with, and lives.
    unsafe fn described(&self, event: *mut sys::rd_kafka_event_t) -> Result<BTreeMap<String, Topic>> {
        // SAFETY: what the event holds lives as long as it does, and everything is copied.
        unsafe {
            check(sys::rd_kafka_event_error(event)).map_err(|e| self.away(&e))?;
            let result = sys::rd_kafka_event_DescribeTopics_result(event);
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            let mut found = BTreeMap::new();
            for n in 0..count {
                let topic = *topics.add(n);
                let name = text(sys::rd_kafka_TopicDescription_name(topic));
                let error = sys::rd_kafka_TopicDescription_error(topic);
                match check(if error.is_null() { NONE } else { sys::rd_kafka_error_code(error) }) {
                    Ok(()) => {}
                    Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => continue,
                    Err(e) => return Err(self.away(&e).context(format!("topic \"{name}\""))),
                }
                let id = sys::rd_kafka_TopicDescription_topic_id(topic);
                let id = if id.is_null() { String::new() } else { text(sys::rd_kafka_Uuid_base64str(id)) };
                let mut count = 0;
                let partitions = sys::rd_kafka_TopicDescription_partitions(topic, &mut count);
                let number = |n| sys::rd_kafka_TopicPartitionInfo_partition(*partitions.add(n));
                let mut partitions: Vec<i32> = (0..count).map(number).collect();
                partitions.sort_unstable();
                let id = Some(id).filter(|id| !id.is_empty() && id != NO_ID);
                found.insert(name, Topic { id, partitions });
            }
            Ok(found)
        }
    }

    /// Looks up offsets in partitions, with one request per broker. If no record is at or after the time, it is the
    /// end.
    pub fn offsets(&self, partitions: &[TopicPartition], moment: ClientPhase) -> Result<Vec<u64>> {
        let raw = match moment {
            ClientPhase::First => Offset::Beginning,
            ClientPhase::End => Offset::End,
            ClientPhase::Time(millis) => Offset::Offset(millis.max(0)),
        };
        let offsets = self.ask(partitions, raw)?;
        if offsets.iter().all(|offset| *offset >= 0) {
            return Ok(offsets.into_iter().map(|offset| offset as u64).collect());
        }
        let ends = self.ask(partitions, Offset::End)?;
        Ok(offsets
            .into_iter()
            .zip(ends)
            .map(|(offset, end)| if offset < 0 { end } else { offset }.max(0) as u64)
            .collect())
    }

    fn ask(&self, partitions: &[TopicPartition], offset: Offset) -> Result<Vec<i64>> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for TopicPartition { topic, number } in partitions {
            list.add_partition_offset(topic, *number, offset).map_err(|e| self.away(&e))?;
        }
        // SAFETY: the list lives through the call, which fills it in.
        check(unsafe { sys::rd_kafka_offsets_for_times(self.ptr(), list.ptr(), ANSWER.as_millis() as i32) })
            .map_err(|e| self.away(&e))?;
        let mut answers: BTreeMap<(String, i32), i64> = BTreeMap::new();
        for answer in list.elements() {
            answer.error().map_err(|e| {
                self.away(&e).context(format!("topic \"{}\" partition {}", answer.topic(), answer.partition()))
            })?;
            // What librdkafka tells as `End` is -1: there is none.
            let offset = match answer.offset() {
                Offset::Offset(offset) => offset,
                _ => -1,
            };
            answers.insert((answer.topic().to_string(), answer.partition()), offset);
        }
        let of = |p: &TopicPartition| answers.get(&(p.topic.to_string(), p.number)).copied().unwrap_or(-1);
        Ok(partitions.iter().map(of).collect())
    }

    /// Drains librdkafka's log queue into our log.
    pub fn tell(&self) {
        // SAFETY: the queue and each event are destroyed once, and the strings live as long as their event.
        unsafe {
            let queue = sys::rd_kafka_queue_get_main(self.ptr());
            loop {
                let event = sys::rd_kafka_queue_poll(queue, 0);
                if event.is_null() {
                    break;
                }
                let (mut facility, mut message, mut level) = (std::ptr::null(), std::ptr::null(), 0);
                if sys::rd_kafka_event_log(event, &mut facility, &mut message, &mut level) == 0 {
                    tracing::debug!(brokers = self.brokers, facility = text(facility), "{}", text(message));
                }
                sys::rd_kafka_event_destroy(event);
            }
            sys::rd_kafka_queue_destroy(queue);
        }
    }

    /// A transient error that the brokers cannot be reached.
    pub fn away(&self, why: &dyn fmt::Display) -> Error {
        let why = why.to_string();
        let message = format!("kafka broker \"{}\" cannot be read: {}", self.brokers, plain(&why));
        Error::new(ErrorKind::CannotConnectNow, message)
            .hint("It is tried again. Check that the broker is up and reachable.")
    }
}

const NONE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR;

/// An error code as a result.
pub(super) fn check(code: RDKafkaRespErr) -> Result<(), RDKafkaErrorCode> {
    if code == NONE { Ok(()) } else { Err(code.into()) }
}

/// # Safety
///
/// `text` is null or a C string that lives through the call.
pub(super) unsafe fn text(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as this function's own.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_string()
}

/// The words of librdkafka in `OperationTimedOut (Local: Timed out)`; other text as it is.
fn plain(text: &str) -> String {
    let inside = text
        .rsplit_once(": ")
        .and_then(|(before, rest)| before.contains('(').then(|| rest.strip_suffix(')')).flatten());
    let text = inside.unwrap_or(text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kafka_error_text_is_plain_lowercase() {
        assert_eq!(plain(&RDKafkaErrorCode::OperationTimedOut.to_string()), "timed out");
        assert_eq!(plain("It gives nothing"), "it gives nothing");
        assert_eq!(plain(""), "");
    }
}
