//! What readers see while others publish.

use std::sync::Arc;

use shuttle::{
    future::block_on,
    rand::{Rng, thread_rng},
    thread,
};

use super::{
    changes, in_drawn_orders, relation,
    relations::{SharedRelation, SnapshotBarrier, at_one_moment},
    rows_at,
};
use crate::{
    error::{Error, ErrorKind},
    time::Epoch,
};

const EPOCHS: u64 = 3;

/// Applies an epoch, and shows it.
fn publish(shared: &SharedRelation, epoch: u64) {
    shared.lock().apply(Epoch(epoch), &changes(epoch)).unwrap();
    shared.publish();
}

#[test]
fn snapshot_barrier_never_shows_a_view_ahead_of_its_input_or_going_back() {
    in_drawn_orders(|| {
        let moment = SnapshotBarrier::default();
        let relations: Vec<Arc<SharedRelation>> =
            (0..3).map(|id| SharedRelation::new(id, format!("view{id}"), relation(), moment.clone())).collect();
        let mut threads = Vec::new();
        for n in 0..relations.len() {
            let relations = relations.clone();
            threads.push(thread::spawn(move || {
                for epoch in 1..=EPOCHS {
                    // Each but the first makes an epoch of what the one before it has published.
                    if let Some(input) = n.checked_sub(1) {
                        block_on(relations[input].changed().wait_for(|at| *at >= epoch)).unwrap();
                    }
                    publish(&relations[n], epoch);
                }
            }));
        }
        for _ in 0..2 {
            let (relations, moment) = (relations.clone(), moment.clone());
            threads.push(thread::spawn(move || {
                let mut before = vec![0; relations.len()];
                for _ in 0..3 {
                    let seen = at_one_moment(&moment, relations.iter());
                    let epochs: Vec<u64> = seen.values().map(|snapshot| snapshot.epoch().0).collect();
                    assert!(epochs.is_sorted_by(|input, view| input >= view), "a view is before its input: {epochs:?}");
                    assert!(
                        epochs.iter().zip(&before).all(|(now, before)| now >= before),
                        "{before:?}, then {epochs:?}"
                    );
                    for snapshot in seen.values() {
                        assert_eq!(snapshot.rows(), rows_at(snapshot.epoch().0).len(), "all of an epoch, or nothing");
                    }
                    before = epochs;
                }
            }));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn shared_relation_readers_wait_only_for_recovery_and_keep_their_snapshot() {
    in_drawn_orders(|| {
        let shared = SharedRelation::new(1, "view", relation(), SnapshotBarrier::default());
        let reason = Error::new(ErrorKind::Recovering, "its rows are brought back");
        shared.begin_recovery(&reason);
        let mut threads = Vec::new();
        for _ in 0..2 {
            let shared = shared.clone();
            threads.push(thread::spawn(move || {
                block_on(shared.recovered());
                let seen = shared.snapshot();
                assert!(seen.refusal().is_some() || seen.epoch() == Epoch(1));
                let later = shared.snapshot();
                assert!(seen.refusal().is_some() || later.refusal().is_none(), "what was read is taken back");
            }));
        }
        let (publisher, refuser) = (shared.clone(), shared.clone());
        let (publishes, drops) = (thread_rng().gen_bool(0.5), thread_rng().gen_bool(0.5));
        threads.push(thread::spawn(move || match publishes {
            true => publish(&publisher, 1),
            false if drops => publisher.set_dropped(),
            false => publisher.refuse(&reason),
        }));
        threads.push(thread::spawn(move || refuser.refuse(&Error::new(ErrorKind::Io, "they cannot be for now"))));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!shared.is_recovering());
        assert!(!publishes || shared.snapshot().refusal().is_none(), "who has an answer keeps it");
    });
}
