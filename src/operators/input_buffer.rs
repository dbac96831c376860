//! The collector of most operators: buffers the rows of an epoch until the step, partition by partition.

use std::any::Any;

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    compute::concat,
};

use crate::{
    error::{Error, Result},
    exec::{Collector, Evaluated, Late},
    time::Tick,
};

/// Which form of an input's rows is buffered.
pub(super) trait Buffered: Send + 'static {
    type Rows: Send;

    /// See [`Collector::evaluate`].
    fn evaluate(&self, batch: RecordBatch, tick: &Tick) -> Result<Evaluated>;

    /// Converts rows that are not late, at least one, to the buffered form.
    fn keep(&self, rows: Evaluated) -> Result<Self::Rows>;
}

/// Rows of one partition of an input.
pub(super) struct InputBuffer<B: Buffered> {
    pub input: B,
    tick: Tick,
    /// In order of arrival.
    pub batches: Vec<B::Rows>,
    pub late: Late,
}

impl<B: Buffered> InputBuffer<B> {
    pub fn collector(input: B, tick: &Tick) -> Box<dyn Collector> {
        Box::new(InputBuffer { input, tick: *tick, batches: Vec::new(), late: Late::default() })
    }

    /// The buffered rows and late rows of all partitions, in partition order.
    pub fn drain(collected: Vec<Box<dyn Collector>>) -> Result<(Vec<B::Rows>, Late)> {
        let (mut batches, mut late) = (Vec::new(), Late::default());
        for part in collected {
            let part: Self = taken(part)?;
            batches.extend(part.batches);
            late.merge(part.late);
        }
        Ok((batches, late))
    }
}

impl<B: Buffered> Collector for InputBuffer<B> {
    fn evaluate(&mut self, batch: RecordBatch) -> Result<Evaluated> {
        self.input.evaluate(batch, &self.tick)
    }

    fn push(&mut self, mut rows: Evaluated) -> Result<()> {
        self.late.add(std::mem::take(&mut rows.late));
        if rows.batch.num_rows() > 0 {
            self.batches.push(self.input.keep(rows)?);
        }
        Ok(())
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        self
    }
}

/// Downcasts a collector to the operator's own type.
pub(super) fn taken<T: 'static>(collector: Box<dyn Collector>) -> Result<T> {
    let own = collector.into_any().downcast::<T>();
    own.map(|own| *own).map_err(|_| Error::internal("an operator was given another one's rows"))
}

/// Concatenates batches of columns, column by column; no columns if there are no batches.
pub(super) fn concat_columns<'a>(batches: impl Iterator<Item = &'a [ArrayRef]>) -> Result<Vec<ArrayRef>> {
    let batches: Vec<&[ArrayRef]> = batches.collect();
    let whole = |column: usize| {
        let parts: Vec<&dyn Array> = batches.iter().map(|columns| columns[column].as_ref()).collect();
        Ok(concat(&parts)?)
    };
    (0..batches.first().map_or(0, |columns| columns.len())).map(whole).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array};

    use super::*;
    use crate::{
        checkpoint::LateCause,
        time::{Epoch, Tick},
    };

    /// Buffers the sum of each batch; odd numbers are late.
    struct Sums;

    impl Buffered for Sums {
        type Rows = i64;

        fn evaluate(&self, batch: RecordBatch, _: &Tick) -> Result<Evaluated> {
            let numbers = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            let (odd, even): (Vec<i64>, Vec<i64>) = numbers.values().iter().partition(|number| **number % 2 != 0);
            let late = if odd.is_empty() { Vec::new() } else { vec![(LateCause::NoEventTime, batch_of(odd))] };
            Ok(Evaluated { late, ..Evaluated::plain(batch_of(even)) })
        }

        fn keep(&self, rows: Evaluated) -> Result<i64> {
            Ok(arrow::compute::sum(rows.batch.column(0).as_primitive::<arrow::datatypes::Int64Type>()).unwrap_or(-1))
        }
    }

    fn batch_of(numbers: Vec<i64>) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from(numbers));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn input_buffer_keeps_the_rows_in_time_and_counts_the_late_ones() {
        let tick = Tick { epoch: Epoch(1), watermark: None, before: None, now: 0 };
        let mut parts = vec![InputBuffer::collector(Sums, &tick), InputBuffer::collector(Sums, &tick)];
        for (part, numbers) in [(0, vec![2, 4]), (1, vec![1, 3]), (0, vec![6, 7])] {
            let rows = parts[part].evaluate(batch_of(numbers)).unwrap();
            parts[part].push(rows).unwrap();
        }
        let (batches, late) = InputBuffer::<Sums>::drain(parts).unwrap();
        assert_eq!(batches, [6, 6]);
        assert_eq!((late.untimed, late.behind), (3, 0));
    }

    #[test]
    fn concat_columns_of_no_batch_is_no_column() {
        assert!(concat_columns(std::iter::empty()).unwrap().is_empty());
        let (a, b) = (batch_of(vec![1]), batch_of(vec![2, 3]));
        let whole = concat_columns([a.columns(), b.columns()].into_iter()).unwrap();
        assert_eq!(whole[0].as_ref(), &Int64Array::from(vec![1, 2, 3]) as &dyn Array);
    }
}
