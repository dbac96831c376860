//! Discovery of topics and partitions, and of recreated topics and lost records.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

use super::{
    client::{Client, ClientPhase, Topic},
    ledger::{Entry, SinkLedger},
    options::{KafkaOptions, Topics},
    place::{PartitionOffset, TopicPartition},
    start::StartOffset,
};
use crate::error::{Error, ErrorKind, Result};

/// Queries the brokers and maintains the ledger. All methods block.
#[derive(Debug)]
pub(super) struct TopicWatch {
    /// The source's, for errors.
    pub name: String,
    pub options: KafkaOptions,
    pub client: Client,
    pub ledger: SinkLedger,
    looked: Mutex<Option<Instant>>,
}

/// How to handle records that were deleted before they were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    Fail,
    Skip,
}

impl TopicWatch {
    pub fn new(name: &str, options: KafkaOptions, ledger: SinkLedger) -> Result<TopicWatch> {
        let client = Client::new(&options, &[])?;
        Ok(TopicWatch { name: name.to_string(), options, client, ledger, looked: Mutex::default() })
    }

    /// As option `on_data_loss` says.
    pub fn loss(&self) -> Loss {
        if self.options.skips_loss { Loss::Skip } else { Loss::Fail }
    }

    /// The first look of a new source: fails without topics, and fixes the start offsets.
    pub fn begin(&self) -> Result<()> {
        let found = self.found()?;
        if let Topics::Named(names) = &self.options.topics
            && let Some(missing) = names.iter().find(|name| !found.contains_key(*name))
        {
            let message = format!("topic \"{missing}\" does not exist on kafka broker \"{}\"", self.options.brokers);
            return Err(Error::new(ErrorKind::UndefinedObject, message).hint("Create the topic first."));
        }
        let partitions: Vec<TopicPartition> = found
            .iter()
            .flat_map(|(name, topic)| {
                let topic_name: Arc<str> = name.as_str().into();
                topic.partitions.iter().map(move |number| TopicPartition { topic: topic_name.clone(), number: *number })
            })
            .collect();
        let starts = self.starts(&partitions)?;
        let mut began: BTreeMap<&str, BTreeMap<i32, u64>> = BTreeMap::new();
        for (partition, start) in partitions.iter().zip(starts) {
            began.entry(&partition.topic).or_default().insert(partition.number, start);
        }
        let mut entries = Vec::new();
        for (name, topic) in &found {
            entries.push(Entry::Life { topic: name.clone(), id: topic.id.clone() });
            let starts = began.remove(name.as_str()).unwrap_or_default();
            entries.push(Entry::Began { topic: name.clone(), starts });
        }
        self.ledger.add(entries)?;
        self.mark(Some(Instant::now()));
        Ok(())
    }

    fn starts(&self, partitions: &[TopicPartition]) -> Result<Vec<u64>> {
        match &self.options.start {
            StartOffset::Earliest => self.client.offsets(partitions, ClientPhase::First),
            StartOffset::Latest => self.client.offsets(partitions, ClientPhase::End),
            StartOffset::Time(millis) => self.client.offsets(partitions, ClientPhase::Time(*millis)),
            StartOffset::Partitions(offsets) => {
                let first = self.client.offsets(partitions, ClientPhase::First)?;
                Ok(partitions.iter().zip(first).map(|(p, first)| *offsets.get(&p.number).unwrap_or(&first)).collect())
            }
        }
    }

    /// Looks again if `discovery_interval` has passed; gives whether it did.
    pub fn look_if_due(&self) -> Result<bool> {
        let looked = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.is_some_and(|at| at.elapsed() < self.options.discovery) {
            return Ok(false);
        }
        self.look(self.loss()).map(|()| true)
    }

    /// Looks for new topics and partitions, and for recreated topics.
    pub fn look(&self, loss: Loss) -> Result<()> {
        let found = self.found()?;
        let known = self.ledger.known();
        let mut entries = Vec::new();
        for (name, lives) in &known.lives {
            let Some(life) = lives.last() else { continue };
            let Some(topic) = found.get(name) else {
                if loss == Loss::Skip {
                    tracing::debug!(source = self.name, topic = name, "a topic is gone");
                    continue;
                }
                let message = format!("source \"{}\": topic \"{name}\" does not exist any more", self.name);
                return Err(Error::new(ErrorKind::CannotConnectNow, message)
                    .hint("It is looked for again. With on_data_loss = 'skip' the other topics are read meanwhile."));
            };
            if life.id.is_some() && topic.id.is_some() && life.id != topic.id {
                self.lost(loss, || format!("topic \"{name}\" was deleted and made again"))?;
                entries.push(Entry::Life { topic: name.clone(), id: topic.id.clone() });
                entries.push(self.first(name, &topic.partitions)?);
                continue;
            }
            let new: Vec<i32> = topic.partitions.iter().copied().filter(|n| !life.starts.contains_key(n)).collect();
            if !new.is_empty() {
                entries.push(self.first(name, &new)?);
            }
        }
        for (name, topic) in &found {
            if !known.lives.contains_key(name) {
                entries.push(Entry::Life { topic: name.clone(), id: topic.id.clone() });
                entries.push(self.first(name, &topic.partitions)?);
            }
        }
        if !entries.is_empty() {
            self.ledger.add(entries)?;
        }
        self.mark(Some(Instant::now()));
        Ok(())
    }

    /// Makes the next look due.
    pub fn look_soon(&self) {
        self.mark(None);
    }

    fn mark(&self, at: Option<Instant>) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    fn found(&self) -> Result<BTreeMap<String, Topic>> {
        let names = match &self.options.topics {
            Topics::Named(names) => names.clone(),
            Topics::Pattern(_) => self.options.topics.choose(self.client.topics()?)?,
        };
        self.client.describe(&names)
    }

    /// Partitions that begin with the first of what they have.
    fn first(&self, topic: &str, numbers: &[i32]) -> Result<Entry> {
        let name: Arc<str> = topic.into();
        let partitions: Vec<_> = numbers.iter().map(|n| TopicPartition { topic: name.clone(), number: *n }).collect();
        let starts = self.client.offsets(&partitions, ClientPhase::First)?;
        Ok(Entry::Began { topic: topic.to_string(), starts: numbers.iter().copied().zip(starts).collect() })
    }

    /// Handles a partition whose end is before the offset read: it was recreated.
    pub fn went_back(&self, loss: Loss, place: &PartitionOffset, end: u64, read: u64) -> Result<()> {
        self.look(loss)?;
        if self.ledger.ask(|known| known.is_over(place)) {
            return Ok(());
        }
        let given_up = self.ledger.ask(|known| known.may_begin_anew(place, read));
        let loss = if given_up { Loss::Skip } else { loss };
        let partition = &place.partition;
        self.lost(loss, || {
            format!(
                "topic \"{}\" partition {} ends at {end}, but was read up to {read}",
                partition.topic, partition.number
            )
        })?;
        let lives = self.ledger.known().lives;
        let life = lives.get(partition.topic.as_ref()).and_then(|lives| lives.last()).cloned().unwrap_or_default();
        let numbers: Vec<i32> = life.starts.keys().copied().collect();
        let name = partition.topic.to_string();
        let began = self.first(&name, &numbers)?;
        self.ledger.add(vec![Entry::Life { topic: name, id: life.id }, began])
    }

    /// Handles a partition whose next offset was deleted: its first record is at `low`.
    pub fn passed_by(&self, loss: Loss, place: &PartitionOffset, position: u64, low: u64) -> Result<()> {
        let partition = &place.partition;
        let last = low.saturating_sub(1);
        self.lost(loss, || {
            format!(
                "topic \"{}\" partition {}: offsets {position} to {last} were deleted before they were read",
                partition.topic, partition.number
            )
        })
    }

    fn lost(&self, loss: Loss, what: impl FnOnce() -> String) -> Result<()> {
        let what = what();
        if loss == Loss::Skip {
            tracing::warn!(source = self.name, "{what}");
            return Ok(());
        }
        let message = format!("source \"{}\" has lost records: {what}", self.name);
        Err(Error::new(ErrorKind::DataCorrupted, message).hint(format!(
            "ALTER SOURCE {} RESET OFFSETS goes on with what there is; then resume what reads it. on_data_loss = 'skip' \
             does so by itself.",
            self.name
        )))
    }

    /// Gives up lost records, so that readers continue with the existing ones.
    pub fn reset(&self) -> Result<()> {
        self.look(Loss::Skip)?;
        let places = self.ledger.known().partition_starts();
        let partitions: Vec<TopicPartition> = places.iter().map(|(place, _)| place.partition.clone()).collect();
        let first = self.client.offsets(&partitions, ClientPhase::First)?;
        let ends = self.client.offsets(&partitions, ClientPhase::End)?;
        let given_up = |((place, _), (before, end)): (&(PartitionOffset, u64), (u64, u64))| Entry::GivenUp {
            place: place.to_string(),
            before,
            end,
        };
        self.ledger.add(places.iter().zip(first.into_iter().zip(ends)).map(given_up).collect())
    }
}
