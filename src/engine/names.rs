//! Name reservations: statements that create, drop or alter the same name run one after the other, and block no others.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use tokio::sync::OwnedMutexGuard;

use crate::sync::locked;

/// A mutex per name that is reserved.
#[derive(Debug, Default)]
pub struct Names(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// Reserved names, until it is dropped.
#[derive(Debug)]
pub struct Reserved(#[expect(dead_code, reason = "they are free once it is dropped")] Vec<OwnedMutexGuard<()>>);

impl Names {
    /// Reserves names; waits while another statement has one of them.
    pub async fn reserve(&self, names: impl IntoIterator<Item = &str>) -> Reserved {
        let mut held = Vec::new();
        // In sorted order, to avoid deadlocks.
        for name in names.into_iter().collect::<BTreeSet<_>>() {
            let name = {
                let mut known = locked(&self.0);
                known.retain(|_, name| Arc::strong_count(name) > 1);
                known.entry(name.to_string()).or_default().clone()
            };
            held.push(name.lock_owned().await);
        }
        Reserved(held)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn reserve_of_a_reserved_name_waits_until_it_is_released() {
        let names = Names::default();
        let first = names.reserve(["b", "a", "b"]).now_or_never().expect("both are free");
        assert!(names.reserve(["c"]).now_or_never().is_some());
        let mut second = Box::pin(names.reserve(["a", "c"]));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(names.reserve(["c"]).now_or_never().is_some(), "who waits for one name does not hold the next one");
        drop(first);
        let second = second.now_or_never().expect("it is free");
        assert!(names.reserve(["c"]).now_or_never().is_none());
        drop(second);
        drop(names.reserve([]).now_or_never());
        assert!(names.reserve(["a", "b", "c"]).now_or_never().is_some());
        names.reserve(["d"]).now_or_never();
        assert_eq!(locked(&names.0).len(), 1, "names are forgotten");
    }
}
