//! Chunks and the index, compared with models.

use std::collections::BTreeMap;

use rand::Rng;

use super::{SMALL, STEPS, batch, column, fields, numbers, rngs, some};
use crate::state::{Chunks, Id, Index, LiveRows};

fn rows(live: &[LiveRows]) -> Vec<i64> {
    let mut rows: Vec<i64> = live.iter().flat_map(|live| numbers(live.project(None).unwrap().column(0))).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn chunks_equal_model_and_snapshots_are_immutable() {
    let schema = batch(&fields(&["v"]), vec![column([])]).schema();
    for mut rng in rngs() {
        let mut chunks = Chunks::new(schema.clone());
        chunks.set_compaction(SMALL);
        let mut model: BTreeMap<Id, i64> = BTreeMap::new();
        let mut taken: Vec<(Vec<LiveRows>, Vec<i64>)> = Vec::new();
        for step in 0..STEPS as i64 {
            let ids = some(&mut rng, 12);
            match rng.random_range(0..4) {
                0 => ids.iter().for_each(|id| {
                    chunks.kill(*id as Id);
                    model.remove(&(*id as Id));
                }),
                1 => taken.push((chunks.snapshot(), rows(&chunks.snapshot()))),
                _ => {
                    let values = ids.iter().map(|id| step * 100 + id);
                    model.extend(ids.iter().map(|id| *id as Id).zip(values.clone()));
                    let ids: Vec<Id> = ids.iter().map(|id| *id as Id).collect();
                    chunks.append(&batch(&fields(&["v"]), vec![column(values)]), &ids).unwrap();
                }
            }
            assert_eq!(chunks.rows(), model.len());
            (0..12).for_each(|id| assert_eq!(chunks.contains(id), model.contains_key(&id)));
            let ids: Vec<Id> = model.keys().rev().copied().collect();
            let values: Vec<i64> = model.values().rev().copied().collect();
            assert_eq!(numbers(chunks.gather(&ids).unwrap().column(0)), values);
            let mut sorted = values;
            sorted.sort_unstable();
            assert_eq!(rows(&chunks.snapshot()), sorted);
        }
        taken.iter().for_each(|(live, then)| assert_eq!(rows(live), *then));
    }
}

#[test]
fn index_equals_model_under_random_inserts_and_removals() {
    for mut rng in rngs() {
        let mut index = Index::default();
        index.set_compaction(SMALL);
        let mut model: BTreeMap<Id, Vec<u8>> = BTreeMap::new();
        for _ in 0..STEPS {
            let bytes = vec![b'k'; rng.random_range(0..6)];
            let hash = Index::hash(&bytes);
            match model.keys().nth(rng.random_range(0..6)).copied().filter(|_| rng.random_bool(0.5)) {
                Some(id) => {
                    index.remove(id);
                    model.remove(&id);
                }
                None => assert_eq!(model.insert(index.insert(hash, &bytes), bytes.clone()), None, "an id is taken"),
            }
            assert_eq!(index.len(), model.len());
            let mut equal: Vec<Id> = model.iter().filter(|(_, other)| **other == bytes).map(|(id, _)| *id).collect();
            let mut found: Vec<Id> = index.find_all(hash, &bytes).collect();
            equal.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, equal);
            assert_eq!(index.find(hash, &bytes).is_some(), !equal.is_empty());
            assert!(index.find(hash, &bytes).is_none_or(|id| model[&id] == bytes));
            let mut ids: Vec<Id> = index.ids().collect();
            ids.sort_unstable();
            assert_eq!(ids, model.keys().copied().collect::<Vec<_>>());
            model.iter().for_each(|(id, bytes)| assert_eq!(index.bytes_of(*id), bytes));
        }
    }
}
