//! How much memory all tables and views may hold together, so that one that grows without end fails alone.

use std::{fmt, sync::Arc};

use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation};

use crate::{
    error::{Error, ErrorKind, Result},
    metrics::{Family, MetricProducer, MetricsSnapshot},
};

/// What is loaded at a start was within the limit once. It may take this part of the limit more than that: memory is laid
/// out anew, and a table must not be gone for a few bytes.
const LOADED_MORE_PART: u64 = 8;

/// Up to this part of what all may hold is little.
const LITTLE_PART: u64 = 8;

/// What all hold together, and at the most.
pub struct Budget {
    pool: Arc<dyn MemoryPool>,
    bytes_max: u64,
}

/// What one table or view holds of it. Given back when it is dropped.
pub struct BudgetShare {
    reservation: MemoryReservation,
    pool: Arc<dyn MemoryPool>,
    /// Whose it is, as messages name it.
    of: String,
    bytes_max: u64,
}

impl Budget {
    pub fn new(bytes_max: u64) -> Self {
        Budget::of(Arc::new(GreedyMemoryPool::new(usize::try_from(bytes_max).unwrap_or(usize::MAX))), bytes_max)
    }

    /// Of a pool of so many bytes.
    pub fn of(pool: Arc<dyn MemoryPool>, bytes_max: u64) -> Self {
        Budget { pool, bytes_max }
    }

    pub fn share(&self, of: impl Into<String>) -> BudgetShare {
        let of = of.into();
        let reservation = MemoryConsumer::new(of.clone()).register(&self.pool);
        BudgetShare { reservation, pool: self.pool.clone(), of, bytes_max: self.bytes_max }
    }
}

const HELD: Family = Family::new("tidemark_state_memory_bytes", "What tables and views hold in memory together.");
const HELD_MAX: Family = Family::new("tidemark_state_memory_limit_bytes", "What they may hold: state.memory_limit.");

impl MetricProducer for Budget {
    fn produce(&self, snapshot: &mut MetricsSnapshot) {
        snapshot.gauge(HELD, Some(self.pool.reserved() as f64));
        snapshot.gauge(HELD_MAX, Some(self.bytes_max as f64));
    }
}

impl BudgetShare {
    /// Asks to hold `bytes` in all. Fails, and holds what it held, where all together would hold too much; to hold less
    /// is always granted. Who asks for little fails because of others, which may pass; who asks for much has to change.
    pub fn ask(&self, bytes: usize) -> Result<()> {
        self.reservation.try_resize(bytes).map_err(|_| {
            self.refused(bytes).hint(
                "Raise state.memory_limit, or keep less: a watermark with windows, fewer columns. A view that \
                 failed goes on with ALTER MATERIALIZED VIEW … RESUME.",
            )
        })
    }

    /// The same of what is being loaded from the data directory, which loses nothing where it is refused.
    pub fn load(&self, bytes: usize) -> Result<()> {
        let before = self.bytes();
        let max = self.bytes_max.saturating_add(self.bytes_max / LOADED_MORE_PART);
        // First held, then looked at: others load at the same time.
        self.hold(bytes);
        if bytes > before && self.pool.reserved() as u64 > max {
            self.hold(before);
            return Err(self
                .refused(bytes)
                .hint("Raise state.memory_limit and restart the server: what is on disk is whole."));
        }
        Ok(())
    }

    fn refused(&self, bytes: usize) -> Error {
        let max = self.bytes_max;
        let kind =
            if bytes as u64 <= max / LITTLE_PART { ErrorKind::OutOfMemory } else { ErrorKind::ConfigurationLimit };
        Error::new(kind, format!("{} would hold {bytes} bytes, and all tables and views at most {max}", self.of))
    }

    /// Holds `bytes`, however much that is: they are there already.
    pub fn hold(&self, bytes: usize) {
        self.reservation.resize(bytes);
    }

    pub fn bytes(&self) -> usize {
        self.reservation.size()
    }

    /// What all together may hold.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("held", &self.pool.reserved()).field("bytes_max", &self.bytes_max).finish()
    }
}

impl fmt::Debug for BudgetShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Share").field("of", &self.of).field("bytes", &self.bytes()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_together_stay_within() {
        let budget = Budget::new(100);
        let (a, b) = (budget.share("table \"a\""), budget.share("table \"b\""));
        a.ask(60).unwrap();
        let error = b.ask(60).unwrap_err();
        assert_eq!(error.kind().sqlstate(), "53400");
        assert_eq!((a.bytes(), b.bytes()), (60, 0));
        b.hold(60);
        assert!(a.ask(61).is_err(), "what is there already counts");
        let little = budget.share("view \"c\"").ask(12).unwrap_err();
        assert_eq!(little.kind().sqlstate(), "53200", "others hold too much");
        a.ask(10).unwrap();
        drop(b);
        a.ask(100).unwrap();
    }

    #[test]
    fn what_is_loaded_may_be_an_eighth_more() {
        let budget = Budget::new(800);
        let (a, b) = (budget.share("table \"a\""), budget.share("table \"b\""));
        a.load(600).unwrap();
        assert_eq!(b.load(301).unwrap_err().kind().sqlstate(), "53400");
        assert_eq!((a.bytes(), b.bytes()), (600, 0));
        b.load(300).unwrap();
        a.load(500).unwrap();
        assert!(b.ask(301).is_err(), "what is not loaded may not");
    }
}
