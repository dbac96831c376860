//! Connections in startup. Their number is limited, in all and by address: another one evicts the oldest. An honest
//! client completes its startup at once, so that it gets a slot, and is done before it is evicted, however many sockets
//! are stalled.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The slots of connections in startup.
#[derive(Debug)]
pub(super) struct Starting {
    max: usize,
    address_max: usize,
    open: Mutex<OpenStarts>,
}

#[derive(Debug, Default)]
struct OpenStarts {
    /// The slots by age.
    places: BTreeMap<u64, (IpAddr, CancellationToken)>,
    last: u64,
}

/// The slot of one connection; released on drop.
#[derive(Debug)]
pub(super) struct StartingSlot {
    starting: Arc<Starting>,
    number: u64,
    /// Cancelled when another connection takes the slot.
    pub lost: CancellationToken,
}

impl Starting {
    pub fn new(max: usize, address_max: usize) -> Arc<Starting> {
        Arc::new(Starting { max: max.max(1), address_max: address_max.max(1), open: Mutex::default() })
    }

    /// Takes a slot, evicting another if necessary.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> StartingSlot {
        let mut open = self.lock();
        let from = |open: &OpenStarts, of: IpAddr| open.places.values().filter(|(address, _)| *address == of).count();
        if from(&open, address) >= self.address_max {
            open.drop_oldest(address);
        } else if open.places.len() >= self.max {
            let busiest = open.busiest().unwrap_or(address);
            open.drop_oldest(busiest);
        }
        open.last += 1;
        let (number, lost) = (open.last, CancellationToken::new());
        open.places.insert(number, (address, lost.clone()));
        StartingSlot { starting: self.clone(), number, lost }
    }

    fn lock(&self) -> MutexGuard<'_, OpenStarts> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenStarts {
    fn drop_oldest(&mut self, of: IpAddr) {
        let oldest = self.places.iter().find(|(_, (address, _))| *address == of).map(|(number, _)| *number);
        if let Some((_, lost)) = oldest.and_then(|number| self.places.remove(&number)) {
            lost.cancel();
        }
    }

    /// The address with the most slots; among several, the oldest.
    fn busiest(&self) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, (usize, u64)> = HashMap::new();
        for (number, (address, _)) in &self.places {
            counts.entry(*address).or_insert((0, u64::MAX - number)).0 += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(address, _)| address)
    }
}

impl Drop for StartingSlot {
    fn drop(&mut self) {
        self.starting.lock().places.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn lost(places: &[StartingSlot]) -> Vec<usize> {
        (0..places.len()).filter(|n| places[*n].lost.is_cancelled()).collect()
    }

    #[test]
    fn starting_limit_per_address_evicts_its_oldest_connection() {
        let starting = Starting::new(10, 3);
        let others = starting.enter(address(2));
        let places: Vec<StartingSlot> = (0..5).map(|_| starting.enter(address(1))).collect();
        assert_eq!(lost(&places), [0, 1]);
        assert!(!others.lost.is_cancelled());
    }

    #[test]
    fn starting_total_limit_evicts_the_oldest_of_the_busiest_address() {
        let starting = Starting::new(4, 3);
        let places: Vec<StartingSlot> = [1, 2, 2, 3, 4, 5].map(|n| starting.enter(address(n))).into();
        assert_eq!(lost(&places), [0, 1]);
    }

    #[test]
    fn starting_slot_is_free_after_drop() {
        let starting = Starting::new(2, 2);
        let one = starting.enter(address(1));
        drop(starting.enter(address(1)));
        let _two = starting.enter(address(1));
        assert!(!one.lost.is_cancelled());
    }
}
