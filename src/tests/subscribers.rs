//! Who reads a relation's changes has each epoch once, whoever comes, goes, is slow or saves meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use shuttle::{
    future::block_on,
    rand::{Rng, thread_rng},
    thread,
};

use super::{
    SlowDisk, changes, in_drawn_orders, relation,
    relations::{SharedRelation, SnapshotBarrier, Subscriber},
    rows_at,
};
use crate::{
    changes::Changes,
    error::{Error, ErrorKind, Result},
    relations::{ChangelogLimit, Draft, Snapshot, Store},
    time::Epoch,
};

const EPOCHS: u64 = 5;

/// In memory are the changes of two epochs.
const ROWS_MAX: usize = 10;

struct Setup {
    shared: Arc<SharedRelation>,
    store: Store,
    limit: ChangelogLimit,
}

fn setup(disk_max: u64) -> Arc<Setup> {
    let store = Store::new(Arc::new(SlowDisk(Arc::default())), 1);
    let limit = ChangelogLimit::new(ROWS_MAX, 1 << 20, disk_max);
    let mut relation = relation();
    relation.limit_changelog(&limit);
    store.load(&mut relation, None, None, &|_| Ok(())).unwrap();
    Arc::new(Setup { shared: SharedRelation::new(1, "view", relation, SnapshotBarrier::default()), store, limit })
}

/// Makes all epochs, and saves every second one beside those that follow; then it is dropped.
fn keep(setup: &Setup) {
    let mut writing: Option<thread::JoinHandle<Draft>> = None;
    for epoch in 1..=EPOCHS {
        setup.shared.lock().apply(Epoch(epoch), &changes(epoch)).unwrap();
        setup.shared.publish();
        if epoch % 2 == 0 {
            writing.take().into_iter().for_each(|writing| end_save(setup, writing));
            let draft = setup.store.draft(&mut setup.shared.lock()).unwrap();
            writing = draft.map(|draft| {
                thread::spawn(move || {
                    draft.write().unwrap();
                    draft
                })
            });
        }
    }
    writing.into_iter().for_each(|writing| end_save(setup, writing));
    setup.shared.set_dropped();
}

fn end_save(setup: &Setup, writing: thread::JoinHandle<Draft>) {
    let written = writing.join().unwrap();
    let read_to = {
        let mut relation = setup.shared.lock();
        written.note_written(&mut relation);
        relation.follows_from()
    };
    setup.store.prune(read_to).unwrap();
}

/// What somebody has read: each row as often as it counts.
struct Reader {
    at: Epoch,
    rows: BTreeMap<i64, i64>,
}

impl Reader {
    fn new(snapshot: &Snapshot) -> Reader {
        let mut reader = Reader { at: snapshot.epoch(), rows: BTreeMap::new() };
        let rows: Vec<Changes> = snapshot.batches(None).unwrap().into_iter().map(Changes::insert).collect();
        reader.apply(snapshot.epoch(), &rows);
        reader
    }

    /// Reads on to an epoch. What was missed, or read twice, shows: each epoch withdraws what the one before it brought.
    fn apply(&mut self, to: Epoch, changes: &[Changes]) {
        for changes in changes {
            for row in 0..changes.num_rows() {
                *self.rows.entry(super::number(changes.rows(), row)).or_default() += changes.diff(row);
            }
        }
        self.rows.retain(|_, count| *count != 0);
        self.at = to;
        let expected: Vec<(i64, i64)> = rows_at(to.0).into_iter().map(|row| (row, 1)).collect();
        assert_eq!(self.rows.clone().into_iter().collect::<Vec<_>>(), expected, "at epoch {to}");
    }
}

/// Subscribes, leaves and comes back until the relation is dropped; begins anew when it was too slow.
fn subscribe(setup: &Setup) {
    let mut known: Option<Reader> = None;
    loop {
        let after = known.as_ref().map(|reader| reader.at);
        let (mut subscriber, snapshot) = match Subscriber::begin(&setup.shared, after) {
            Ok(begun) => begun,
            Err(error) => {
                assert!(after.is_some() && error.kind() == ErrorKind::ObjectNotInState, "{error}");
                known = None;
                continue;
            }
        };
        let mut reader = known.take().unwrap_or_else(|| Reader::new(&snapshot));
        match listen(&mut subscriber, &mut reader) {
            Ok(()) => known = Some(reader),
            Err(error) if error.kind() == ErrorKind::UndefinedTable => {
                assert_eq!(reader.at, Epoch(EPOCHS), "it was dropped after its last epoch");
                return;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::ObjectNotInState, "{error}"),
        }
    }
}

/// Until it leaves, or cannot stay.
fn listen(subscriber: &mut Subscriber, reader: &mut Reader) -> Result<()> {
    while thread_rng().gen_bool(0.8) {
        let epochs = subscriber.read(ROWS_MAX)?;
        if epochs.is_empty() {
            block_on(subscriber.wait())?;
        }
        for (epoch, changes) in epochs {
            assert_eq!(epoch, reader.at.next(), "epoch by epoch");
            reader.apply(epoch, &[changes]);
        }
    }
    Ok(())
}

/// Reads as a view does: in memory or in files, and lets go of it now and then.
fn follow(setup: &Setup) -> std::result::Result<(), (Epoch, Error)> {
    let shared = &setup.shared;
    let mut changed = shared.changed();
    let mut reader = {
        let mut relation = shared.lock();
        let snapshot = shared.snapshot();
        relation.follow(snapshot.epoch());
        Reader::new(&snapshot)
    };
    loop {
        changed.mark_unchanged();
        let dropped = shared.is_dropped();
        let (to, slice) = {
            let relation = shared.lock();
            let (to, _) = relation.ahead(reader.at, shared.snapshot().epoch(), Some(1));
            (to, relation.changes(reader.at, to))
        };
        if to > reader.at {
            let changes = slice.and_then(|slice| slice.read(&setup.store)).map_err(|error| (reader.at, error))?;
            reader.apply(to, &changes);
            if thread_rng().gen_bool(0.5) {
                shared.lock().forget(to);
            }
        } else if dropped {
            assert_eq!(to, Epoch(EPOCHS), "it was dropped after its last epoch");
            return Ok(());
        } else {
            block_on(changed.changed()).unwrap();
        }
    }
}

/// Runs them all, and looks that the memory of the changelog comes back.
fn together(disk_max: u64, view: fn(&Setup)) {
    let setup = setup(disk_max);
    let threads = [keep, subscribe, subscribe, view].map(|work: fn(&Setup)| {
        let setup = setup.clone();
        thread::spawn(move || work(&setup))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let limit = setup.limit.clone();
    drop(setup);
    assert_eq!(format!("{:?}", limit.budget), format!("Budget {{ held: 0, bytes_max: {} }}", 1 << 20));
}

#[test]
fn subscribers_and_views_get_each_epoch_once_during_publishes_and_saves() {
    in_drawn_orders(|| {
        together(u64::MAX, |setup| {
            // What a view has not read, files keep for it.
            follow(setup).unwrap_or_else(|(at, error)| panic!("at epoch {at}: {error}"));
        });
    });
}

#[test]
fn view_too_far_behind_for_the_files_gets_an_error_and_never_skips_an_epoch() {
    in_drawn_orders(|| {
        together(1, |setup| {
            if let Err((at, error)) = follow(setup) {
                assert_eq!(error.kind(), ErrorKind::ObjectNotInState, "at epoch {at}: {error}");
            }
        });
    });
}
