//! The consumer group to which a source commits its offsets, for Kafka's own tools only; it is never read.

use std::sync::{Mutex, PoisonError};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
};

use super::{ledger::LedgerEntry, options::KafkaOptions, place::PartitionOffset};
use crate::{
    connectors::Offsets,
    error::{Error, ErrorKind, Result},
};

/// Commits offsets under a group's name.
pub(super) struct ConsumerGroup {
    name: String,
    /// Made when there is something to commit.
    consumer: Mutex<Option<BaseConsumer>>,
}

impl std::fmt::Debug for ConsumerGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("name", &self.name).finish()
    }
}

impl ConsumerGroup {
    pub fn new(name: String) -> ConsumerGroup {
        ConsumerGroup { name, consumer: Mutex::default() }
    }

    /// Commits these offsets.
    pub fn commit(&self, options: &KafkaOptions, known: &LedgerEntry, before: &Offsets) -> Result<()> {
        let mut list = TopicPartitionList::new();
        let failed = |e: &dyn std::fmt::Display| {
            Error::new(ErrorKind::Io, format!("offsets of group \"{}\" cannot be committed: {e}", self.name))
        };
        for (name, at) in &before.0 {
            let Some(place) = PartitionOffset::parse(name).filter(|place| !known.is_over(place)) else { continue };
            let offset = Offset::Offset(i64::try_from(*at).unwrap_or(i64::MAX));
            list.add_partition_offset(&place.partition.topic, place.partition.number, offset)
                .map_err(|e| failed(&e))?;
        }
        if list.count() == 0 {
            return Ok(());
        }
        let mut consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner);
        if consumer.is_none() {
            *consumer = Some(options.config().set("group.id", &self.name).create().map_err(|e| failed(&e))?);
        }
        consumer.as_ref().map_or(Ok(()), |consumer| consumer.commit(&list, CommitMode::Sync)).map_err(|e| failed(&e))
    }
}
