//! The memory limit of all tables and views together, so that one that grows without end fails alone.

use std::{fmt, sync::Arc};

use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryConsumer, MemoryPool, MemoryReservation};

use crate::{
    error::{Error, ErrorKind, Result},
    metrics::{Family, MetricProducer, MetricsSnapshot},
};

/// What is loaded at a start may exceed the limit by this fraction: it was within the limit once, but memory is laid
/// out anew.
const LOADED_MORE_PART: u64 = 8;

/// A share up to this fraction of the limit counts as small.
const LITTLE_PART: u64 = 8;

/// The bytes held by all shares, and their limit.
pub struct Budget {
    pool: Arc<dyn MemoryPool>,
    bytes_max: u64,
}

/// The bytes held by one table or view; released on drop.
pub struct BudgetShare {
    reservation: MemoryReservation,
    pool: Arc<dyn MemoryPool>,
    /// Its owner, for messages.
    of: String,
    bytes_max: u64,
}

impl Budget {
    pub fn new(bytes_max: u64) -> Self {
        Budget::of(Arc::new(GreedyMemoryPool::new(usize::try_from(bytes_max).unwrap_or(usize::MAX))), bytes_max)
    }

    /// A budget of `bytes_max` from a DataFusion memory pool.
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
    /// Sets the share to `bytes` in all. If the total would exceed the limit it fails and keeps the old size; shrinking
    /// always succeeds. A small share fails with `OutOfMemory` (transient, others hold too much), a large one with
    /// `ConfigurationLimit`.
    pub fn ask(&self, bytes: usize) -> Result<()> {
        self.reservation.try_resize(bytes).map_err(|_| {
            self.refused(bytes).hint(
                "Raise state.memory_limit, or keep less: a watermark with windows, fewer columns. A view that \
                 failed goes on with ALTER MATERIALIZED VIEW … RESUME.",
            )
        })
    }

    /// As [`BudgetShare::ask`] while loading from the data directory, with a higher limit.
    pub fn load(&self, bytes: usize) -> Result<()> {
        let before = self.bytes();
        let max = self.bytes_max.saturating_add(self.bytes_max / LOADED_MORE_PART);
        // Held before it is checked, since others load concurrently.
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

    /// Sets the share to `bytes` unconditionally: they are allocated already.
    pub fn hold(&self, bytes: usize) {
        self.reservation.resize(bytes);
    }

    pub fn bytes(&self) -> usize {
        self.reservation.size()
    }

    /// The limit of all shares together.
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
    fn budget_shares_together_stay_within_the_limit() {
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
    fn budget_load_may_exceed_the_limit_by_an_eighth() {
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
