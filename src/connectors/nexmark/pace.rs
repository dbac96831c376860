//! How many events there are by now.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::{
    connectors::SourceEnv,
    error::{Error, Kind, Result},
    storage::{Journal, Storage},
    time::{Clock, Micros},
};

/// Identifiers are BIGINT and event times end: at the benchmark's rate this is 14 million years away.
const EVENTS_MAX: u64 = i64::MAX as u64 / 2;

/// Lets events come at a steady rate, up to the last one.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the first event was due.
    begun: Micros,
    /// 0: all are there at once.
    per_second: u64,
    most: u64,
    endless: bool,
}

/// Durable: when the first event was due.
#[derive(Debug, Serialize, Deserialize)]
struct Beginning {
    begun: Micros,
}

impl Pace {
    /// The pace of a source, new or again: it goes on from where it would be by now. `None` for `most` is no end.
    pub async fn open(env: &SourceEnv, folder: String, per_second: u64, most: Option<u64>) -> Result<Pace> {
        let (storage, now) = (env.storage.clone(), env.clock.now());
        let begun = tokio::task::spawn_blocking(move || beginning(storage, &folder, now)).await;
        let begun = begun.map_err(|e| Error::internal(format!("opening a generator: {e}")))??;
        let endless = per_second == 0 && most.is_none();
        Ok(Pace { begun, per_second, most: most.unwrap_or(EVENTS_MAX).min(EVENTS_MAX), endless })
    }

    /// Whether there is always more, so that nobody can say how much.
    pub fn is_endless(&self) -> bool {
        self.endless
    }

    /// How many events there are by a moment.
    pub fn due(&self, now: Micros) -> u64 {
        if self.per_second == 0 {
            return self.most;
        }
        let since = u128::try_from(now.saturating_sub(self.begun)).unwrap_or(0);
        let events = since * u128::from(self.per_second) / 1_000_000;
        // The first event is there at once, the next when its time has come.
        u64::try_from(events).unwrap_or(u64::MAX).saturating_add(1).min(self.most)
    }
}

/// The moment of the beginning, kept from the first time on.
fn beginning(storage: Arc<dyn Storage>, folder: &str, now: Micros) -> Result<Micros> {
    let (journal, records) = Journal::open(storage, folder)?;
    if let Some((_, bytes)) = records.first() {
        let beginning: Beginning = serde_json::from_slice(bytes)
            .map_err(|e| Error::new(Kind::DataCorrupted, format!("journal \"{folder}\": {e}")))?;
        return Ok(beginning.begun);
    }
    let bytes = serde_json::to_vec(&Beginning { begun: now }).map_err(|e| Error::internal(e.to_string()))?;
    journal.append(&[Bytes::from(bytes)])?;
    Ok(now)
}

/// Says that there is more, as often as there is, but not more than a hundred times a second.
pub(super) async fn tick(pace: Arc<Pace>, clock: Arc<dyn Clock>, changed: watch::Sender<u64>, stop: CancellationToken) {
    let every = Duration::from_micros(1_000_000_u64.checked_div(pace.per_second).unwrap_or(0));
    let every = every.clamp(Duration::from_millis(10), Duration::from_secs(1));
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        let due = pace.due(clock.now());
        if told != Some(due) || pace.endless {
            told = Some(due);
            changed.send_modify(|n| *n += 1);
        }
        // The last event came, and no other will.
        if due == pace.most && !pace.endless {
            return;
        }
    }
}
