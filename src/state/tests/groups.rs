//! Groups of rows with counts, alone and by window.

use std::collections::BTreeMap;

use arrow::{
    array::{Int64Array, TimestampMicrosecondArray, UInt32Array},
    compute::SortOptions,
    datatypes::{DataType, Field, Fields, TimeUnit},
};
use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};

use super::{Checkpoints, STEPS, column, fields, numbers, pairs, rngs, some};
use crate::{
    error::ErrorKind,
    state::{Close, Durable, Multiset, NEVER, RankKind, StateShape, TopN, Windowed},
};

/// Per group and row: its count.
type Groups = BTreeMap<i64, BTreeMap<(i64, i64), i64>>;

const DESCENDING: SortOptions = SortOptions { descending: true, nulls_first: false };

fn shape(order: Vec<SortOptions>) -> StateShape {
    StateShape { keys: fields(&["k"]), values: fields(&["a", "b"]), order }
}

/// The rows of a group in the order of the structure, each repeated by its count.
fn ordered(group: &BTreeMap<(i64, i64), i64>, descending: bool) -> Vec<(i64, i64)> {
    let mut rows: Vec<_> = group.iter().flat_map(|(row, count)| std::iter::repeat_n(*row, *count as usize)).collect();
    rows.sort_by_key(|(a, b)| (if descending { -a } else { *a }, *b));
    rows
}

/// The first of some rows in order: by number, place and step of each.
fn first(rows: &[(i64, i64)], first: TopN) -> Vec<(i64, i64)> {
    let (mut shown, mut rank, mut dense) = (Vec::new(), 0, 0);
    for (n, row) in rows.iter().enumerate() {
        if n == 0 || rows[n - 1].0 != row.0 {
            (rank, dense) = (n as i64 + 1, dense + 1);
        }
        let number = match first.counted {
            RankKind::RowNumber => n as i64 + 1,
            RankKind::Rank => rank,
            RankKind::DenseRank => dense,
        };
        if number <= first.most {
            shown.push(*row);
        }
    }
    shown
}

fn gathered(set: &Multiset, of: Option<TopN>) -> BTreeMap<i64, Vec<(i64, i64)>> {
    let keys: Vec<i64> = (0..4).collect();
    let (rows, groups) = set.gather(&[column(keys)], of).unwrap();
    let mut all: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
    if !groups.is_empty() {
        for (row, group) in pairs(&rows[0], &rows[1]).into_iter().zip(groups) {
            all.entry(group as i64).or_default().push(row);
        }
    }
    all
}

/// Random changes to rows of a few groups: groups, rows and diffs. No count becomes negative.
fn changes(rng: &mut SmallRng, model: &mut Groups) -> (Vec<i64>, Vec<(i64, i64)>, Vec<i64>) {
    let (mut groups, mut rows, mut diffs) = (Vec::new(), Vec::new(), Vec::new());
    for n in some(rng, 48) {
        let (group, row) = (n % 4, (n / 4 % 4, n / 16));
        let there = model.get(&group).and_then(|rows| rows.get(&row)).copied().unwrap_or(0);
        let diff =
            if rng.random_bool(0.4) && there > 0 { -rng.random_range(1..=there) } else { rng.random_range(1..3) };
        groups.push(group);
        rows.push(row);
        diffs.push(diff);
        count(model, group, row, diff);
    }
    (groups, rows, diffs)
}

fn count(model: &mut Groups, group: i64, row: (i64, i64), diff: i64) {
    let rows = model.entry(group).or_default();
    *rows.entry(row).or_default() += diff;
    rows.retain(|_, count| *count != 0);
    model.retain(|_, rows| !rows.is_empty());
}

fn columns(rows: &[(i64, i64)]) -> [arrow::array::ArrayRef; 2] {
    [column(rows.iter().map(|row| row.0)), column(rows.iter().map(|row| row.1))]
}

/// Replaces the rows of some groups; checks that the multiset returns the difference.
fn replace(rng: &mut SmallRng, set: &mut Multiset, model: &mut Groups) {
    let (mut keys, mut rows, mut groups) = (some(rng, 4), Vec::new(), Vec::new());
    keys.truncate(2);
    for n in some(rng, 12) {
        rows.push((n % 4, n / 4));
        groups.push(rng.random_range(0..keys.len()) as u32);
    }
    let at = UInt32Array::from(groups.clone());
    let (changed, diffs) = set.replace(&[column(keys.clone())], &columns(&rows), &at).unwrap();
    let total = |groups: &Groups| {
        let mut all: BTreeMap<(i64, i64), i64> = BTreeMap::new();
        groups.values().flatten().for_each(|(row, count)| *all.entry(*row).or_default() += count);
        all
    };
    let mut sums = total(model);
    keys.iter().for_each(|key| drop(model.remove(key)));
    rows.iter().zip(groups).for_each(|(row, group)| count(model, keys[group as usize], *row, 1));
    if !diffs.is_empty() {
        let changed = pairs(&changed[0], &changed[1]);
        changed.iter().zip(diffs.values()).for_each(|(row, diff)| *sums.entry(*row).or_default() += diff);
    }
    sums.retain(|_, count| *count != 0);
    assert_eq!(sums, total(model));
}

#[test]
fn multiset_equals_model_before_and_after_restart() {
    for (seed, mut rng) in rngs().enumerate() {
        let order = [vec![], vec![SortOptions::default()], vec![DESCENDING]][seed % 3].clone();
        let (is_ordered, descending) = (!order.is_empty(), order.contains(&DESCENDING));
        let shape = shape(order);
        let mut set = Multiset::new(&shape).unwrap();
        let (mut model, mut saved) = (Groups::new(), Checkpoints::default());
        saved.save(&mut set, true);
        for _ in 0..STEPS {
            let some_first = TopN {
                most: rng.random_range(1..4),
                counted: *[RankKind::RowNumber, RankKind::Rank, RankKind::DenseRank].choose(&mut rng).unwrap(),
            };
            match rng.random_range(0..9) {
                0 => saved.save(&mut set, rng.random_bool(0.2)),
                1 => {
                    saved.save(&mut set, false);
                    set = Multiset::new(&shape).unwrap();
                    saved.load(&mut set);
                }
                2 => {
                    let keys: Vec<i64> = some(&mut rng, 4).into_iter().take(1).collect();
                    set.remove(&[column(keys.clone())]).unwrap();
                    model.remove(&keys[0]);
                }
                3 if is_ordered => {
                    let keys = some(&mut rng, 4);
                    set.keep_first(&[column(keys.clone())], some_first).unwrap();
                    for key in keys {
                        let Some(group) = model.get(&key) else { continue };
                        let kept = first(&ordered(group, descending), some_first);
                        model.remove(&key);
                        kept.into_iter().for_each(|row| count(&mut model, key, row, 1));
                    }
                }
                4 => replace(&mut rng, &mut set, &mut model),
                _ => {
                    let (groups, rows, diffs) = changes(&mut rng, &mut model);
                    set.apply(&[column(groups)], &columns(&rows), &Int64Array::from(diffs)).unwrap();
                }
            }
            let all: BTreeMap<i64, Vec<(i64, i64)>> =
                model.iter().map(|(key, group)| (*key, ordered(group, descending))).collect();
            assert_eq!(gathered(&set, None), all);
            if is_ordered {
                let firsts = all.into_iter().map(|(key, rows)| (key, first(&rows, some_first))).collect();
                assert_eq!(gathered(&set, Some(some_first)), firsts);
            }
            assert_eq!(numbers(&set.all_keys().unwrap()[0]), model.keys().copied().collect::<Vec<_>>());
            assert_eq!(set.len(), model.values().map(BTreeMap::len).sum::<usize>());
        }
        let keys: Vec<i64> = model.keys().copied().collect();
        set.remove(&[column(keys)]).unwrap();
        assert_eq!((set.len(), set.bytes()), (0, 0), "what is gone is not counted");
    }
}

#[test]
fn windowed_state_closes_windows_like_model_before_and_after_restart() {
    let at = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    let shape = StateShape { keys: Fields::from(vec![at]), values: fields(&["a", "b"]), order: Vec::new() };
    let close = Close { column: 0, field: None, offset_us: 5 };
    // The last of the groups has no event time: it never closes.
    let time = |group: i64| (group != 3).then_some(group * 10);
    for mut rng in rngs() {
        let made = || Windowed::new(Some(close), shape.clone(), Multiset::new);
        let (mut windows, mut model, mut saved) = (made(), Groups::new(), Checkpoints::default());
        saved.save(&mut windows, true);
        // Closed groups may get rows again: here no row is late.
        for _ in 0..STEPS {
            let mut watermark = None;
            match rng.random_range(0..6) {
                0 => saved.save(&mut windows, true),
                1 => {
                    saved.save(&mut windows, true);
                    windows = made();
                    saved.load(&mut windows);
                }
                2 => watermark = Some(rng.random_range(0..30)),
                _ => {
                    let (groups, rows, diffs) = changes(&mut rng, &mut model);
                    let keys = TimestampMicrosecondArray::from_iter(groups.iter().map(|group| time(*group)));
                    let keys: arrow::array::ArrayRef = std::sync::Arc::new(keys);
                    for (moment, part) in windows.split(std::slice::from_ref(&keys)).unwrap() {
                        let at = |column: &arrow::array::ArrayRef| arrow::compute::take(column, &part, None).unwrap();
                        let rows: Vec<_> = columns(&rows).iter().map(at).collect();
                        let diffs = Int64Array::from(numbers(&at(&column(diffs.clone()))));
                        windows.window(moment).unwrap().apply(&[at(&keys)], &rows, &diffs).unwrap();
                    }
                }
            }
            let is_closed = |group: i64| time(group).zip(watermark).is_some_and(|(time, mark)| time + 5 <= mark);
            let due: Vec<i64> = model.keys().copied().filter(|group| is_closed(*group)).collect();
            let closed = windows.close(watermark);
            let mut found = Vec::new();
            for window in closed.iter().filter(|window| !window.is_empty()) {
                let keys = window.all_keys().unwrap();
                let (rows, _) = window.gather(&keys, None).unwrap();
                found.push(pairs(&rows[0], &rows[1]));
            }
            let expected: Vec<_> = due.iter().map(|group| ordered(&model[group], false)).collect();
            assert_eq!(found, expected);
            due.iter().for_each(|group| drop(model.remove(group)));
            assert_eq!(windows.len(), model.values().map(BTreeMap::len).sum::<usize>());
        }
    }
}

#[test]
fn windowed_rows_saved_for_columns_in_another_order_are_refused() {
    let made = |values: [&str; 2]| {
        let shape = StateShape { keys: fields(&["k"]), values: fields(&values), order: Vec::new() };
        Windowed::new(None, shape, Multiset::new)
    };
    let mut saved = made(["a", "b"]);
    let rows = [column([1]), column([2])];
    saved.window(NEVER).unwrap().apply(&[column([0])], &rows, &Int64Array::from(vec![1])).unwrap();
    let saved = saved.save(true).unwrap().rows;
    made(["a", "b"]).load(&saved[0]).unwrap();
    let error = made(["b", "a"]).load(&saved[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ObjectNotInState);
}
