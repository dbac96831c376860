//! Keyed rows: one row per key, and the rows of one side of a join.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, Int8Array, Int64Array, RecordBatch, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Fields, Schema, TimeUnit},
};
use rand::Rng;

use super::{Checkpoints, SMALL, STEPS, batch, column, fields, numbers, pairs, rngs, some};
use crate::{
    changes::rows_at,
    error::ErrorKind,
    state::{Chunks, Close, Durable, Id, JoinState, KeyedLog},
};

fn keyed() -> KeyedLog {
    let mut log = KeyedLog::new(&fields(&["k"]), &fields(&["v"])).unwrap();
    log.set_compaction(SMALL);
    log
}

#[test]
fn keyed_log_equals_model_before_and_after_restart() {
    for mut rng in rngs() {
        let (mut log, mut model, mut saved) = (keyed(), BTreeMap::new(), Checkpoints::default());
        saved.save(&mut log, true);
        for step in 0..STEPS as i64 {
            let keys = some(&mut rng, 12);
            let encoded = log.encode(&[column(keys.clone())]).unwrap();
            let found = log.find(&encoded);
            match rng.random_range(0..6) {
                0 | 1 => {
                    found.into_iter().flatten().for_each(|id| log.remove(id));
                    model.retain(|key, _| !keys.contains(key));
                }
                2 => saved.save(&mut log, rng.random_bool(0.2)),
                3 => {
                    saved.save(&mut log, false);
                    log = keyed();
                    saved.load(&mut log);
                }
                _ => {
                    let values: Vec<i64> = keys.iter().map(|key| step * 100 + key).collect();
                    log.upsert(&encoded, &found, &batch(&fields(&["v"]), vec![column(values.clone())])).unwrap();
                    model.extend(keys.iter().copied().zip(values));
                }
            }
            let (keys, values) = log.all().unwrap();
            let held: Vec<(i64, i64)> = pairs(&keys[0], values.column(0));
            assert_eq!(held, model.clone().into_iter().collect::<Vec<_>>());
            assert_eq!(log.len(), model.len());
        }
    }
}

fn row_fields() -> Fields {
    let at = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    fields(&["k", "v"]).iter().cloned().chain([at.into()]).collect()
}

/// Rows of key, value and optional time, each computed from one number, which identifies the row.
fn of_numbers(of: &[i64]) -> RecordBatch {
    let times = of.iter().map(|n| (n % 4 != 3).then_some(n * 10));
    let times = TimestampMicrosecondArray::from_iter(times);
    let columns = vec![column(of.iter().map(|n| n % 3)), column(of.to_vec()), std::sync::Arc::new(times)];
    batch(&row_fields(), columns)
}

fn side() -> JoinState {
    let close = Close { column: 2, field: None, offset_us: 5 };
    let schema = of_numbers(&[]).schema();
    let mut side = JoinState::new(&schema, &fields(&["k"]), true, Some(close)).unwrap();
    side.set_compaction(SMALL);
    side
}

/// Per row: its count and its number of matches.
type ModelRows = BTreeMap<i64, (i64, i64)>;

fn held(side: &JoinState) -> Vec<(i64, i64, i64)> {
    let mut rows = Vec::new();
    for key in 0..3 {
        let encoded = side.encode(&[column([key])]).unwrap();
        let ids = side.members(encoded.row(0).as_ref());
        assert!(ids.is_sorted(), "a group lists its rows by id");
        let of = numbers(side.gather(ids).unwrap().column(1));
        rows.extend(of.iter().zip(ids).map(|(of, id)| (*of, side.meta(*id).count, side.meta(*id).matches)));
    }
    rows.sort_unstable();
    rows
}

fn add(side: &mut JoinState, model: &mut ModelRows, of: &[i64], diffs: &[i64]) -> Vec<Id> {
    let rows = of_numbers(of);
    let (first, diffs) = side.net(&rows, &Int64Array::from(diffs.to_vec())).unwrap().unwrap();
    let rows = rows_at(&rows, &first).unwrap();
    let keys = side.encode(&rows.columns()[..1]).unwrap();
    let matches: Vec<i64> = numbers(rows.column(1)).iter().map(|of| of % 5).collect();
    let ids = side.add(&rows, &keys, |_| false, &diffs, &matches).unwrap();
    let ids: Vec<Id> = ids.into_iter().map(|(id, _)| id).collect();
    side.purge_deleted(&ids);
    for (of, diff) in numbers(rows.column(1)).into_iter().zip(diffs) {
        let (count, _) = model.entry(of).or_insert((0, of % 5));
        *count += diff;
        if *count == 0 {
            model.remove(&of);
        }
    }
    ids
}

#[test]
fn join_state_equals_model_with_the_same_ids_before_and_after_restart() {
    for mut rng in rngs() {
        // `other` is reloaded from checkpoints repeatedly; both must allocate the same ids.
        let (mut side, mut other, mut model) = (self::side(), self::side(), ModelRows::new());
        let mut saved: Vec<RecordBatch> = Vec::new();
        for _ in 0..STEPS {
            match rng.random_range(0..8) {
                0 => {
                    let full = rng.random_bool(0.2);
                    if full {
                        saved.clear();
                    }
                    saved.extend(other.save("id", full).unwrap());
                }
                1 => {
                    saved.extend(other.save("id", false).unwrap());
                    other = self::side();
                    for part in &saved {
                        match other.saved_rows(part).unwrap() {
                            Some(rows) => {
                                let keys = other.encode(&rows.columns()[..1]).unwrap();
                                other.load_rows(part, &rows, &keys, |_| false).unwrap();
                            }
                            None => other.load_removed(part),
                        }
                    }
                }
                2 => {
                    let moment = rng.random_range(0..120);
                    let gone = side.expired(Some(moment));
                    assert_eq!(other.expired(Some(moment)), gone);
                    assert_eq!(side.is_due(Some(moment)), !gone.is_empty());
                    let is_gone = |of: &i64| of % 4 != 3 && of * 10 + 5 <= moment;
                    assert_eq!(gone.len(), model.keys().filter(|of| is_gone(of)).count());
                    // Expired rows are removed only now and then, or few rows would be left.
                    if rng.random_bool(0.2) {
                        [&mut side, &mut other].into_iter().for_each(|side| side.forget(&gone));
                        model.retain(|of, _| !is_gone(of));
                    }
                }
                3 => {
                    let Some(of) = model.keys().nth(rng.random_range(0..4)).copied() else { continue };
                    for side in [&mut side, &mut other] {
                        let encoded = side.encode(&[column([of % 3])]).unwrap();
                        let ids = side.members(encoded.row(0).as_ref()).to_vec();
                        let place = numbers(side.gather(&ids).unwrap().column(1)).iter().position(|n| *n == of);
                        side.add_matches(ids[place.unwrap()], 2);
                    }
                    model.get_mut(&of).unwrap().1 += 2;
                }
                _ => {
                    // A row may occur several times in a batch, inserted and retracted; no count becomes negative.
                    let (mut of, mut diffs) = (Vec::new(), Vec::new());
                    for n in some(&mut rng, 12) {
                        let there = model.get(&n).map_or(0, |(count, _)| *count);
                        let diff = if rng.random_bool(0.5) { -there.min(1) } else { 1 };
                        let (more, less) = ([diff, 1], [diff, 1, -1]);
                        let pushed = if rng.random_bool(0.7) { &[diff][..] } else { &more[..] };
                        let pushed = if rng.random_bool(0.2) { &less[..] } else { pushed };
                        pushed.iter().filter(|diff| **diff != 0).for_each(|diff| {
                            of.push(n);
                            diffs.push(*diff);
                        });
                    }
                    let mut copy = model.clone();
                    let ids = add(&mut side, &mut model, &of, &diffs);
                    assert_eq!(add(&mut other, &mut copy, &of, &diffs), ids);
                }
            }
            let expected: Vec<_> = model.iter().map(|(of, (count, matches))| (*of, *count, *matches)).collect();
            assert_eq!(held(&side), expected);
            assert_eq!(held(&other), expected);
            assert_eq!((side.len(), other.len()), (model.len(), model.len()));
        }
    }
}

#[test]
fn chunks_held_bytes_include_deleted_rows_until_no_snapshot_holds_them() {
    let mut chunks = Chunks::new(Arc::new(Schema::new(fields(&["v"]))));
    let rows = batch(&fields(&["v"]), vec![column((0..1000).collect::<Vec<i64>>())]);
    chunks.append(&rows, &(0..1000).collect::<Vec<_>>()).unwrap();
    drop(rows);
    let (empty, snapshot) = (Chunks::new(chunks.schema().clone()).bytes(), chunks.snapshot());
    let read = snapshot[0].project(None).unwrap();
    (0..1000).for_each(|id| chunks.kill(id));
    assert_eq!(chunks.rows(), 0);
    assert!((8000..16_000).contains(&chunks.held_bytes()), "{}", chunks.held_bytes());
    assert!(chunks.bytes() >= empty + chunks.held_bytes());
    drop(snapshot);
    assert!(chunks.held_bytes() >= 8000, "a reader has them still");
    drop(read);
    assert_eq!(chunks.held_bytes(), 0);
}

#[test]
fn join_state_rows_saved_for_columns_in_another_order_are_refused() {
    let state = |columns: &[&str]| {
        JoinState::new(&Arc::new(Schema::new(fields(columns))), &fields(&["k"]), true, None).unwrap()
    };
    let mut saved = state(&["a", "b"]);
    let rows = batch(&fields(&["a", "b"]), vec![column([1]), column([2])]);
    let keys = saved.encode(&[column([0])]).unwrap();
    saved.add(&rows, &keys, |_| false, &[1], &[0]).unwrap();
    let saved = saved.save("left", true).unwrap();
    assert!(state(&["a", "b"]).saved_rows(&saved[0]).unwrap().is_some());
    let error = state(&["b", "a"]).saved_rows(&saved[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ObjectNotInState);
}

#[test]
fn join_state_column_saved_under_its_former_name_is_read() {
    let state = |name: &str, data_type: &DataType| {
        let schema = Schema::new(vec![Field::new(name, data_type.clone(), false)]);
        JoinState::new(&Arc::new(schema), &fields(&["k"]), true, None).unwrap()
    };
    let saved = |name: &str, values: ArrayRef| {
        let mut saved = state(name, values.data_type());
        let keys = saved.encode(&[column([0])]).unwrap();
        let rows = RecordBatch::try_new(saved.schema().clone(), vec![values]).unwrap();
        saved.add(&rows, &keys, |_| false, &[1], &[0]).unwrap();
        saved.save("id", true).unwrap().remove(0)
    };
    let flag: ArrayRef = Arc::new(Int8Array::from(vec![1]));
    let (old, new) = (saved("there", flag.clone()), saved("present", flag));
    let today = state("present", &DataType::Int8);
    for saved in [&old, &new] {
        let rows = today.saved_rows(saved).unwrap().unwrap();
        assert_eq!((rows.schema(), rows.num_rows()), (today.schema().clone(), 1));
    }
    // Only this way round, and only of its type: a column of the query may have that name.
    assert!(state("there", &DataType::Int8).saved_rows(&new).is_err());
    assert!(state("present", &DataType::Int64).saved_rows(&saved("there", column([1]))).is_err());
}
