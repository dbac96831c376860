//! What all may hold: never more is given than there is, all of it comes back, and nobody waits for ever.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use datafusion::{
    error::Result as DfResult,
    execution::memory_pool::{GreedyMemoryPool, MemoryPool, MemoryReservation},
};
use shuttle::{
    future::block_on,
    rand::{Rng, thread_rng},
    thread,
};

use super::in_drawn_orders;
use crate::{
    error::Result,
    memory::{Budget, BudgetShare},
    query::EpochMemory,
};

const BYTES_MAX: usize = 100;

/// A pool in which others go on before and after each change.
#[derive(Debug)]
struct SlowPool(GreedyMemoryPool);

impl SlowPool {
    fn slowly<T>(&self, work: impl FnOnce(&GreedyMemoryPool) -> T) -> T {
        thread::yield_now();
        let done = work(&self.0);
        thread::yield_now();
        done
    }
}

impl fmt::Display for SlowPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl MemoryPool for SlowPool {
    fn name(&self) -> &str {
        "slow"
    }
    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.slowly(|pool| pool.grow(reservation, additional));
    }
    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.slowly(|pool| pool.shrink(reservation, shrink));
    }
    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        self.slowly(|pool| pool.try_grow(reservation, additional))
    }
    fn reserved(&self) -> usize {
        self.slowly(|pool| pool.reserved())
    }
}

/// What is granted to all, as those know it to whom it is granted.
#[derive(Default)]
struct Granted(AtomicUsize);

impl Granted {
    /// Somebody holds other bytes than before.
    fn record(&self, before: usize, now: usize, max: usize) {
        self.0.fetch_add(now, Ordering::Relaxed);
        let all = self.0.fetch_sub(before, Ordering::Relaxed) - before;
        assert!(now < before || all <= max, "{all} of {max} bytes are given");
    }
}

/// Some who ask for more and less, again and again, each with a share of its own; `ask` is granted up to `max` in all.
fn ask_in_turns(ask: fn(&BudgetShare, usize) -> Result<()>, max: usize) {
    let budget = Arc::new(Budget::of(Arc::new(SlowPool(GreedyMemoryPool::new(BYTES_MAX))), BYTES_MAX as u64));
    let granted = Arc::new(Granted::default());
    let threads = ["a", "b", "c"].map(|of| {
        let (budget, granted) = (budget.clone(), granted.clone());
        thread::spawn(move || {
            let share = budget.share(of);
            for _ in 0..4 {
                let (before, wanted) = (share.bytes(), thread_rng().gen_range(0..80));
                // Less is noted before it is given back, or another could have it already.
                if wanted <= before {
                    granted.record(before, wanted, max);
                    ask(&share, wanted).expect("to hold less is always granted");
                } else if ask(&share, wanted).is_ok() {
                    granted.record(before, wanted, max);
                } else {
                    assert_eq!(share.bytes(), before, "who fails holds what it held");
                }
            }
            granted.record(share.bytes(), 0, max);
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    budget.share("d").ask(BYTES_MAX).expect("all of it is there again");
}

#[test]
fn budget_concurrent_asks_stay_within_the_limit_and_return_all() {
    in_drawn_orders(|| ask_in_turns(BudgetShare::ask, BYTES_MAX));
}

#[test]
fn budget_concurrent_loads_stay_within_the_limit_plus_an_eighth() {
    in_drawn_orders(|| ask_in_turns(BudgetShare::load, BYTES_MAX + BYTES_MAX / 8));
}

#[test]
fn epoch_memory_concurrent_epochs_all_run_within_it_and_a_cancelled_wait_frees_all() {
    const ALL: usize = 1 << 20;
    in_drawn_orders(|| {
        let memory = EpochMemory::new(ALL as u64);
        let used = Arc::new(AtomicUsize::new(0));
        // Some that are small, and one that is larger than all there is.
        let epochs = [ALL / 16, ALL / 10, ALL / 8, 2 * ALL].map(|bytes| {
            let (memory, used) = (memory.clone(), used.clone());
            shuttle::future::spawn(async move {
                for _ in 0..2 {
                    let room = memory.enter(bytes).await.unwrap();
                    let own = (4 * bytes).min(ALL);
                    let all = used.fetch_add(own, Ordering::Relaxed) + own;
                    assert!(all <= ALL, "{all} of {ALL} bytes are used");
                    shuttle::future::yield_now().await;
                    used.fetch_sub(own, Ordering::Relaxed);
                    drop(room);
                }
            })
        });
        let leaving = {
            let memory = memory.clone();
            shuttle::future::spawn(async move {
                let _room = memory.enter(ALL / 5).await;
                shuttle::future::yield_now().await;
            })
        };
        leaving.abort();
        block_on(async {
            for epoch in epochs {
                epoch.await.unwrap();
            }
            let _ = leaving.await;
            assert!(memory.enter(ALL).await.is_some(), "all of it is there again");
        });
    });
}
