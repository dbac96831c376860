//! A consumer of one partition, and how far it was read.

use std::{
    collections::VecDeque,
    ffi::{CString, c_void},
    fmt,
    ptr::null_mut,
    slice,
    sync::Arc,
    time::Duration,
};

use rdkafka::{TopicPartitionList, bindings as sys, types::RDKafkaErrorCode};
use tokio::sync::watch;

use super::{
    client::{Client, check, text},
    place::PartitionOffset,
};
use crate::error::{Error, Result};

/// The most messages that are taken from librdkafka at once.
const TAKE_MAX: usize = 2_000;

/// Reads one partition from a position on. While it exists, librdkafka fetches ahead, up to a limit.
pub(super) struct PartitionConsumer {
    pub place: PartitionOffset,
    /// The next offset to hand out.
    position: u64,
    /// The offset of the last end-of-partition event.
    end: u64,
    /// Taken from librdkafka, not handed out yet.
    pending: VecDeque<ConsumedMessage>,
    topic: *mut sys::rd_kafka_topic_t,
    queue: *mut sys::rd_kafka_queue_t,
    /// What the queue's callback rings; the box must not move while the queue lives.
    _bell: Box<Bell>,
    pub client: Arc<Client>,
}

type Bell = Arc<watch::Sender<u64>>;

// SAFETY: librdkafka's handles may be used from any thread; nothing here is shared.
unsafe impl Send for PartitionConsumer {}

impl fmt::Debug for PartitionConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("place", &self.place).field("position", &self.position).finish()
    }
}

/// Why a cursor cannot continue at its position.
#[derive(Debug)]
pub(super) enum Halt {
    /// The next offset does not exist: deleted, or not written.
    OutOfRange,
    Failed(Error),
}

/// Called by librdkafka when something is put into an empty queue.
unsafe extern "C" fn ring(_: *mut sys::rd_kafka_t, bell: *mut c_void) {
    // SAFETY: the cursor keeps the bell until its queue is gone.
    let bell = unsafe { &*bell.cast::<Bell>() };
    bell.send_modify(|n| *n += 1);
}

impl PartitionConsumer {
    /// Begins to fetch. A client can have one cursor for each partition. `bell` rings when records come.
    pub fn new(client: Arc<Client>, place: PartitionOffset, position: u64, bell: Bell) -> Result<PartitionConsumer> {
        let internal = |what: &str| Error::internal(format!("{what} of topic \"{}\"", place.partition.topic));
        let name = CString::new(place.partition.topic.as_bytes()).map_err(|_| internal("the name"))?;
        let offset = i64::try_from(position).map_err(|_| internal("an offset"))?;
        let bell = Box::new(bell);
        // SAFETY: the client outlives the handles, which `drop` destroys; the bell outlives the queue.
        unsafe {
            let topic = sys::rd_kafka_topic_new(client.ptr(), name.as_ptr(), null_mut());
            if topic.is_null() {
                return Err(client.away(&RDKafkaErrorCode::from(sys::rd_kafka_last_error())));
            }
            let queue = sys::rd_kafka_queue_new(client.ptr());
            let opaque = std::ptr::from_ref::<Bell>(&bell).cast_mut().cast();
            sys::rd_kafka_queue_cb_event_enable(queue, Some(ring), opaque);
            if sys::rd_kafka_consume_start_queue(topic, place.partition.number, offset, queue) != 0 {
                let error = client.away(&RDKafkaErrorCode::from(sys::rd_kafka_last_error()));
                sys::rd_kafka_queue_destroy(queue);
                sys::rd_kafka_topic_destroy(topic);
                return Err(error);
            }
            Ok(PartitionConsumer {
                place,
                position,
                end: 0,
                pending: VecDeque::new(),
                topic,
                queue,
                _bell: bell,
                client,
            })
        }
    }

    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether fetched records are unread.
    pub fn holds_records(&self) -> bool {
        // SAFETY: the queue lives.
        !self.pending.is_empty() || unsafe { sys::rd_kafka_queue_length(self.queue) } > 0
    }

    /// Drains the queue into `pending`, so that its bell rings for new records; gives whether there were any.
    pub fn look(&mut self) -> bool {
        if !self.pending.is_empty() {
            return false;
        }
        self.poll(Duration::ZERO);
        while let Some(message) = self.pending.front()
            && check(message.raw().err) == Err(RDKafkaErrorCode::PartitionEOF)
        {
            self.end = message.offset();
            self.pending.pop_front();
        }
        !self.pending.is_empty()
    }

    /// Hands out some fetched records before `to`; waits a moment if there are none. The span is complete once
    /// `position` is `to`: the last offsets may be transaction markers, or compacted away.
    pub fn read(&mut self, to: u64, wait: Duration, mut each: impl FnMut(&ConsumedMessage)) -> Result<(), Halt> {
        if self.pending.is_empty() && self.position < to {
            self.poll(Duration::ZERO);
            if self.pending.is_empty() {
                self.poll(wait);
            }
            if self.pending.is_empty() {
                self.position = self.position.max(self.passed().max(self.end).min(to));
            }
        }
        while let Some(message) = self.pending.front() {
            match check(message.raw().err) {
                Ok(()) if message.offset() >= to => {
                    self.position = self.position.max(to);
                    break;
                }
                Ok(()) => {
                    // Records fetched before a seek may still arrive.
                    if message.offset() >= self.position {
                        each(message);
                        self.position = message.offset() + 1;
                    }
                }
                Err(RDKafkaErrorCode::PartitionEOF) => {
                    self.end = message.offset();
                    self.position = self.position.max(message.offset().min(to));
                }
                Err(RDKafkaErrorCode::OffsetOutOfRange | RDKafkaErrorCode::AutoOffsetReset) => {
                    return Err(Halt::OutOfRange);
                }
                Err(code) => {
                    let error = self.client.away(&code);
                    return Err(Halt::Failed(error.context(format!("partition {}", self.place.partition))));
                }
            }
            self.pending.pop_front();
        }
        Ok(())
    }

    /// Takes fetched records; waits for the first if there is none.
    fn poll(&mut self, wait: Duration) {
        let mut taken: [*mut sys::rd_kafka_message_t; TAKE_MAX] = [null_mut(); TAKE_MAX];
        // It waits until it has as many as it was asked for.
        let most = if wait.is_zero() { TAKE_MAX } else { 1 };
        // SAFETY: there is room for as many; each message is destroyed once, by `Message`.
        let count =
            unsafe { sys::rd_kafka_consume_batch_queue(self.queue, wait.as_millis() as i32, taken.as_mut_ptr(), most) };
        self.pending.extend(taken.iter().take(count.max(0) as usize).map(|message| ConsumedMessage(*message)));
    }

    /// The offset librdkafka has passed, including markers.
    fn passed(&self) -> u64 {
        let mut list = TopicPartitionList::with_capacity(1);
        list.add_partition(&self.place.partition.topic, self.place.partition.number);
        // SAFETY: the list lives through the call, which fills it in.
        let asked = check(unsafe { sys::rd_kafka_position(self.client.ptr(), list.ptr()) });
        let position = list.elements().first().and_then(|element| element.offset().to_raw());
        match (asked, position) {
            // It counts the word that there is no more as if it were a record.
            (Ok(()), Some(position)) if position == self.end as i64 + 1 => 0,
            (Ok(()), Some(position)) => position.max(0) as u64,
            _ => 0,
        }
    }
}

impl Drop for PartitionConsumer {
    fn drop(&mut self) {
        self.pending.clear();
        // SAFETY: made in `new`, and used by nobody after this; the client is still there.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue, None, null_mut());
            sys::rd_kafka_consume_stop(self.topic, self.place.partition.number);
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_topic_destroy(self.topic);
        }
    }
}

/// A record as it was fetched; its bytes are read in place.
pub(super) struct ConsumedMessage(*mut sys::rd_kafka_message_t);

// SAFETY: a message belongs to whoever has it, on whatever thread.
unsafe impl Send for ConsumedMessage {}

impl Drop for ConsumedMessage {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { sys::rd_kafka_message_destroy(self.0) }
    }
}

impl ConsumedMessage {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: it lives until it is dropped, and nobody changes it.
        unsafe { &*self.0 }
    }

    pub fn offset(&self) -> u64 {
        self.raw().offset.max(0) as u64
    }

    pub fn key(&self) -> Option<&[u8]> {
        // SAFETY: the message holds so many bytes there.
        unsafe { bytes(self.raw().key, self.raw().key_len) }
    }

    /// `None` is a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        // SAFETY: the message holds so many bytes there.
        unsafe { bytes(self.raw().payload, self.raw().len) }
    }

    /// In milliseconds.
    pub fn timestamp(&self) -> Option<i64> {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives.
        let time = unsafe { sys::rd_kafka_message_timestamp(self.0, &mut kind) };
        (kind != sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && time >= 0).then_some(time)
    }

    /// Each header with its value, in order.
    pub fn headers(&self, mut each: impl FnMut(&str, Option<&[u8]>)) {
        let mut headers = null_mut();
        // SAFETY: headers, names and values live as long as the message.
        unsafe {
            if check(sys::rd_kafka_message_headers(self.0, &mut headers)).is_err() {
                return;
            }
            for n in 0.. {
                let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
                if check(sys::rd_kafka_header_get_all(headers, n, &mut name, &mut value, &mut length)).is_err() {
                    break;
                }
                each(&text(name), bytes(value, length));
            }
        }
    }
}

/// # Safety
///
/// `at` is null, or has `length` bytes that live as long as the answer is used.
unsafe fn bytes<'a>(at: *const c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as this function's own.
    (!at.is_null()).then(|| unsafe { slice::from_raw_parts(at.cast(), length) })
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Halt::Failed(error)
    }
}
