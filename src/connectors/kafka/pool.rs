//! The partition consumers of a source, by position: a reader that continues at a position needs no seek.
//!
//! A lent cursor is registered under the position it will come back with: the next read waits for it, as a prefetching
//! query does.
//!
//! Several queries read a source at different positions, and a span does not say whose it is. A client can read a
//! partition at one position only, so there are several clients, up to a limit.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use super::{
    client::Client,
    cursor::PartitionConsumer,
    options::KafkaOptions,
    place::{PartitionOffset, TopicPartition},
};
use crate::error::Result;

/// Idle clients kept. More are created for concurrent readers and removed afterwards.
const CLIENTS_MAX: usize = 6;

/// What a client fetches ahead, over all its partitions: some epochs' worth, and little beside what state may take.
const AHEAD_KILOBYTES: usize = 48 << 10;

/// The least for one partition, so that a fetch is worth it.
const PARTITION_KILOBYTES_MIN: usize = 256;

/// Fetched records not taken for this long are dropped.
const STALE: Duration = Duration::from_secs(30);

/// How long a reader waits for a lent cursor that will reach its position.
const WAIT: Duration = Duration::from_secs(5);

/// Lends cursors.
#[derive(Debug)]
pub(super) struct Pool {
    options: KafkaOptions,
    changed: Arc<watch::Sender<u64>>,
    readers: Mutex<Vec<PooledClient>>,
    /// Notified when a cursor is returned or lost.
    back: Condvar,
}

/// A client and its partitions.
#[derive(Debug)]
struct PooledClient {
    client: Arc<Client>,
    cursors: HashMap<TopicPartition, PooledCursor>,
}

#[derive(Debug)]
enum PooledCursor {
    Idle {
        cursor: PartitionConsumer,
        /// Its position before its last read.
        from: u64,
        since: Instant,
    },
    /// Lent for these offsets; it will return at the last.
    Lent(PartitionOffset, RangeInclusive<u64>),
}

impl PooledCursor {
    fn stands(&self, at: &PartitionOffset, position: u64) -> bool {
        matches!(self, PooledCursor::Idle { cursor, .. } if cursor.place == *at && cursor.position() == position)
    }

    fn will_stand(&self, at: &PartitionOffset, position: u64) -> bool {
        matches!(self, PooledCursor::Lent(place, way) if place == at && *way.end() == position)
    }

    /// Whether it is at `position`, or passed it in its last read.
    fn passed(&self, at: &PartitionOffset, position: u64) -> bool {
        let (place, way) = match self {
            PooledCursor::Idle { cursor, from, .. } => (&cursor.place, *from..=cursor.position()),
            PooledCursor::Lent(place, way) => (place, way.clone()),
        };
        place == at && way.contains(&position)
    }
}

impl Pool {
    pub fn new(options: KafkaOptions, changed: Arc<watch::Sender<u64>>) -> Pool {
        Pool { options, changed, readers: Mutex::default(), back: Condvar::new() }
    }

    fn readers(&self) -> MutexGuard<'_, Vec<PooledClient>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the cursor at `position`, if there is one, for reading up to `to`. Does not block.
    pub fn try_acquire(&self, place: &PartitionOffset, position: u64, to: u64) -> Option<PartitionConsumer> {
        standing(&mut self.readers(), place, position, to)
    }

    /// Takes a cursor at `position`: one already there, or about to be, or a repositioned one. It must be given back,
    /// or dropped and reported to [`Pool::lose`]. `partitions` is the source's number of partitions.
    pub fn acquire(
        &self,
        place: &PartitionOffset,
        position: u64,
        to: u64,
        partitions: usize,
    ) -> Result<PartitionConsumer> {
        let until = Instant::now() + WAIT;
        let mut readers = self.readers();
        loop {
            if let Some(cursor) = standing(&mut readers, place, position, to) {
                return Ok(cursor);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !has_slot(&readers, place, |slot| slot.will_stand(place, position)) {
                break;
            }
            readers = self.back.wait_timeout(readers, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let free = readers.iter().position(|reader| !reader.cursors.contains_key(&place.partition));
        let n = match free {
            Some(n) => n,
            None if readers.len() < CLIENTS_MAX => self.more(&mut readers, partitions)?,
            None => match least_used(&readers, &place.partition) {
                Some(n) => n,
                None => self.more(&mut readers, partitions)?,
            },
        };
        let reader = &mut readers[n];
        let client = reader.client.clone();
        // One that stood elsewhere ends before the other begins.
        drop(reader.cursors.insert(place.partition.clone(), PooledCursor::Lent(place.clone(), position..=to)));
        drop(readers);
        let made = PartitionConsumer::new(client.clone(), place.clone(), position, self.changed.clone());
        if made.is_err() {
            self.lose(&client, &place.partition);
        }
        made
    }

    fn more(&self, readers: &mut Vec<PooledClient>, partitions: usize) -> Result<usize> {
        let ahead = (AHEAD_KILOBYTES / partitions.max(1)).max(PARTITION_KILOBYTES_MIN);
        let client = Client::new(&self.options, &[("queued.max.messages.kbytes", ahead.to_string())])?;
        readers.push(PooledClient { client: Arc::new(client), cursors: HashMap::new() });
        Ok(readers.len() - 1)
    }

    /// Returns a cursor, for readers that continue at its position.
    pub fn give_back(&self, cursor: PartitionConsumer) {
        let mut readers = self.readers();
        let many = readers.len() > CLIENTS_MAX;
        if let Some(n) = readers.iter().position(|reader| Arc::ptr_eq(&reader.client, &cursor.client)) {
            let partition = cursor.place.partition.clone();
            if many {
                readers[n].cursors.remove(&partition);
                if readers[n].cursors.is_empty() {
                    readers.swap_remove(n);
                }
            } else {
                let from = match readers[n].cursors.get(&partition) {
                    Some(PooledCursor::Lent(_, way)) => *way.start(),
                    _ => cursor.position(),
                };
                readers[n].cursors.insert(partition, PooledCursor::Idle { cursor, from, since: Instant::now() });
            }
        }
        drop(readers);
        self.back.notify_all();
    }

    /// Notes that a lent cursor was dropped.
    pub fn lose(&self, client: &Arc<Client>, partition: &TopicPartition) {
        let mut readers = self.readers();
        if let Some(reader) = readers.iter_mut().find(|reader| Arc::ptr_eq(&reader.client, client)) {
            reader.cursors.remove(partition);
        }
        drop(readers);
        self.back.notify_all();
    }

    /// Places a cursor at or just beyond each position, so that it fetches and notifies of new records.
    pub fn stand(&self, places: &[(PartitionOffset, u64)], partitions: usize) -> Result<()> {
        let mut found = false;
        for (place, position) in places {
            let mut cursor = match self.try_acquire(place, *position, *position) {
                Some(cursor) => cursor,
                // A prefetching cursor is beyond its query's position, and notifies as well.
                None if has_slot(&self.readers(), place, |slot| slot.passed(place, *position)) => continue,
                None => self.acquire(place, *position, *position, partitions)?,
            };
            found |= cursor.look();
            self.give_back(cursor);
        }
        if found {
            // Records may have arrived after the caller's look ahead.
            self.changed.send_modify(|n| *n += 1);
        }
        Ok(())
    }

    /// Drains the clients' logs, and drops stale cursors and idle clients.
    pub fn tend(&self) {
        let mut gone = Vec::new();
        let mut readers = self.readers();
        for reader in readers.iter_mut() {
            reader.client.tell();
            // A cursor at the end of its partition costs nothing, and notifies of new records.
            let stale = |slot: &mut PooledCursor| matches!(slot, PooledCursor::Idle { cursor, since, .. } if since.elapsed() > STALE && cursor.holds_records());
            gone.extend(reader.cursors.extract_if(|_, slot| stale(slot)));
        }
        readers.retain(|reader| !reader.cursors.is_empty());
        drop(readers);
        // Which takes a moment, for which nobody waits.
        drop(gone);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let readers = std::mem::take(&mut *self.readers());
        // The last one to let go of a client waits for its threads: not one of the runtime.
        drop(std::thread::spawn(move || drop(readers)));
    }
}

fn standing(
    readers: &mut [PooledClient],
    place: &PartitionOffset,
    position: u64,
    to: u64,
) -> Option<PartitionConsumer> {
    for reader in readers {
        let Some(slot) = reader.cursors.get_mut(&place.partition).filter(|slot| slot.stands(place, position)) else {
            continue;
        };
        if let PooledCursor::Idle { cursor, .. } =
            std::mem::replace(slot, PooledCursor::Lent(place.clone(), position..=to))
        {
            return Some(cursor);
        }
    }
    None
}

/// Whether one of a partition's cursors is such.
fn has_slot(readers: &[PooledClient], place: &PartitionOffset, such: impl Fn(&PooledCursor) -> bool) -> bool {
    readers.iter().any(|reader| reader.cursors.get(&place.partition).is_some_and(&such))
}

/// The reader whose cursor of a partition was given back first, and is not lent.
fn least_used(readers: &[PooledClient], partition: &TopicPartition) -> Option<usize> {
    let since = |reader: &PooledClient| match reader.cursors.get(partition)? {
        PooledCursor::Idle { since, .. } => Some(*since),
        PooledCursor::Lent(..) => None,
    };
    readers.iter().enumerate().filter_map(|(n, reader)| Some((since(reader)?, n))).min().map(|(_, n)| n)
}
