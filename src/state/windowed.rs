//! State kept per window, so that closing a window drops it whole.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array},
    compute::take_record_batch,
};

use super::{Compaction, Durable, Saved, expect_columns};
use crate::{
    error::{Error, Result},
    time::{Micros, event_times},
};

/// The window of groups that no watermark closes.
pub const NEVER: Micros = Micros::MAX;

/// When a group closes: the event time in one key column plus an offset. A group is closed once the watermark is at or
/// past that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Close {
    /// The key column.
    pub column: usize,
    /// The field, if that column is a struct.
    pub field: Option<usize>,
    pub offset_us: Micros,
}

impl Close {
    /// When each group closes; [`NEVER`] where its event time is NULL.
    pub fn moments(&self, keys: &[ArrayRef]) -> Result<Int64Array> {
        let column = match self.field {
            Some(field) => keys[self.column].as_struct().column(field).clone(),
            None => keys[self.column].clone(),
        };
        let times = event_times(&column)
            .ok_or_else(|| Error::internal(format!("a window of type {} has no end", column.data_type())))?;
        let offset = self.offset_us;
        if times.null_count() == 0 {
            return Ok(times.unary(|t| t.saturating_add(offset)));
        }
        Ok(times.iter().map(|t| t.map_or(NEVER, |t| t.saturating_add(offset))).collect())
    }
}

/// One `T` per window end, and one under [`NEVER`] for groups without.
#[derive(Debug)]
pub struct Windowed<T> {
    close: Option<Close>,
    key_columns: usize,
    windows: BTreeMap<Micros, Window<T>>,
    /// Windows accessed since they were last measured.
    used: Vec<Micros>,
    /// Rows of all windows at the end of the last step.
    rows: usize,
    bytes: usize,
    make: fn(&StateShape) -> Result<T>,
    shape: StateShape,
    compaction: Compaction,
}

/// One window's state, and its share of the totals.
#[derive(Debug)]
struct Window<T> {
    state: T,
    rows: usize,
    bytes: usize,
}

/// The key and value columns of a state structure.
#[derive(Debug, Clone)]
pub struct StateShape {
    pub keys: arrow::datatypes::Fields,
    pub values: arrow::datatypes::Fields,
    /// The ORDER BY directions of the first value columns, if rows of a key are stored in order.
    pub order: Vec<arrow::compute::SortOptions>,
}

impl<T: Durable> Windowed<T> {
    pub fn new(close: Option<Close>, shape: StateShape, make: fn(&StateShape) -> Result<T>) -> Self {
        let (key_columns, windows, used) = (shape.keys.len(), BTreeMap::new(), Vec::new());
        let compaction = Compaction::default();
        Windowed { close, key_columns, windows, used, rows: 0, bytes: 0, make, shape, compaction }
    }

    /// Splits key rows by window: window end, and positions of its rows. Usually there is one.
    pub fn split(&self, keys: &[ArrayRef]) -> Result<Vec<(Micros, UInt32Array)>> {
        let rows = keys.first().map_or(0, |k| k.len());
        let Some(close) = &self.close else {
            return Ok(vec![(NEVER, (0..rows as u32).collect())]);
        };
        // The keys of an epoch have few windows, and consecutive keys mostly the same one.
        let mut parts: Vec<(Micros, Vec<u32>)> = Vec::new();
        let mut last = 0;
        for (row, moment) in close.moments(keys)?.values().iter().enumerate() {
            if parts.get(last).is_none_or(|(known, _)| known != moment) {
                last = parts.binary_search_by_key(moment, |(known, _)| *known).unwrap_or_else(|place| {
                    parts.insert(place, (*moment, Vec::new()));
                    place
                });
            }
            parts[last].1.push(row as u32);
        }
        Ok(parts.into_iter().map(|(moment, rows)| (moment, rows.into())).collect())
    }

    pub fn window(&mut self, moment: Micros) -> Result<&mut T> {
        use std::collections::btree_map::Entry;
        if self.used.last() != Some(&moment) {
            self.used.push(moment);
        }
        let window = match self.windows.entry(moment) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(free) => {
                let mut state = (self.make)(&self.shape)?;
                state.set_compaction(self.compaction);
                free.insert(Window { state, rows: 0, bytes: 0 })
            }
        };
        Ok(&mut window.state)
    }

    /// Updates the totals, reading only the windows accessed.
    fn measure(&mut self) {
        for moment in self.used.drain(..) {
            let Some(window) = self.windows.get_mut(&moment) else { continue };
            let (rows, bytes) = (window.state.len(), window.state.bytes());
            self.rows = self.rows + rows - window.rows;
            self.bytes = self.bytes + bytes - window.bytes;
            (window.rows, window.bytes) = (rows, bytes);
        }
    }

    /// Removes the windows that the watermark closes, oldest first. Every step ends with this.
    pub fn close(&mut self, watermark: Option<Micros>) -> Vec<T> {
        self.measure();
        let Some(watermark) = watermark else { return Vec::new() };
        let mut closed = Vec::new();
        while let Some(first) = self.windows.first_entry()
            && *first.key() <= watermark
        {
            let window = first.remove();
            self.rows -= window.rows;
            self.bytes -= window.bytes;
            closed.push(window.state);
        }
        closed
    }

    /// Whether [`Windowed::close`] would give anything.
    pub fn is_due(&self, watermark: Option<Micros>) -> bool {
        watermark.is_some_and(|w| self.windows.first_key_value().is_some_and(|(moment, _)| *moment <= w))
    }
}

impl<T: Durable> Durable for Windowed<T> {
    fn save(&mut self, full: bool) -> Result<Saved> {
        let mut rows = Vec::new();
        for window in self.windows.values_mut() {
            rows.extend(window.state.save(full)?.rows);
        }
        Ok(Saved { rows })
    }

    fn load(&mut self, rows: &RecordBatch) -> Result<()> {
        let schema = rows.schema();
        // The last field is the operation on the row (set or removed).
        let saved = schema.fields().split_last().map_or(&[][..], |(_, saved)| saved);
        expect_columns(saved, self.shape.keys.iter().chain(&self.shape.values))?;
        let parts = self.split(&rows.columns()[..self.key_columns])?;
        for (moment, part) in parts {
            let part = if part.len() == rows.num_rows() { rows.clone() } else { take_record_batch(rows, &part)? };
            self.window(moment)?.load(&part)?;
        }
        self.measure();
        Ok(())
    }

    fn set_compaction(&mut self, to: Compaction) {
        self.compaction = to;
        self.windows.values_mut().for_each(|window| window.state.set_compaction(to));
    }

    fn len(&self) -> usize {
        self.rows
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}
