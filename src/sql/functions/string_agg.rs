//! `string_agg` with a limit: as in Postgres a text has at most a gigabyte, and a longer one is an error. DataFusion's
//! own panics once Arrow's byte offsets overflow. The optimizer does not reverse it, as for `array_agg`.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    common::{Result, ScalarValue},
    functions_aggregate::string_agg::StringAgg,
    logical_expr::{
        Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
    physical_expr::expressions::Literal,
};

use crate::error::{Error, ErrorKind};

/// Postgres' limit.
const TEXT_BYTES_MAX: usize = (1 << 30) - 1;

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LimitedStringAgg {
    inner: StringAgg,
    bytes_max: usize,
}

impl Default for LimitedStringAgg {
    fn default() -> Self {
        LimitedStringAgg { inner: StringAgg::new(), bytes_max: TEXT_BYTES_MAX }
    }
}

impl AggregateUDFImpl for LimitedStringAgg {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let limit = ValueLimit::of(&args, self.bytes_max);
        Ok(Box::new(Limited { inner: self.inner.accumulator(args)?, limit, bytes: vec![0] }))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let limit = ValueLimit::of(&args, self.bytes_max);
        Ok(Box::new(Limited { inner: self.inner.create_groups_accumulator(args)?, limit, bytes: Vec::new() }))
    }

    /// Sorts its input itself if needed: other functions may have another order.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::SoftRequirement
    }

    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }
}

/// The maximum length of a text, and the length of the delimiter.
#[derive(Debug, Clone, Copy)]
struct ValueLimit {
    bytes_max: usize,
    delimiter: usize,
}

impl ValueLimit {
    fn of(args: &AccumulatorArgs, bytes_max: usize) -> Self {
        let delimiter = args.exprs.get(1).and_then(|delimiter| delimiter.downcast_ref::<Literal>());
        let delimiter = delimiter.and_then(|delimiter| delimiter.value().try_as_str().flatten());
        ValueLimit { bytes_max, delimiter: delimiter.map_or(0, str::len) }
    }

    /// Adds the lengths of values to those of their texts.
    fn add(self, values: &ArrayRef, text: impl Fn(usize) -> usize, bytes: &mut [usize]) -> Result<()> {
        for row in 0..values.len() {
            let Some(more) = length(values, row, self.delimiter) else { continue };
            let (held, more) = (&mut bytes[text(row)], more + self.delimiter);
            if held.saturating_add(more) > self.bytes_max.saturating_add(self.delimiter) {
                let detail = format!("Cannot enlarge a text containing {held} bytes by {more} more bytes.");
                return Err(Error::new(ErrorKind::LimitExceeded, "a text of string_agg is too long")
                    .detail(detail)
                    .into());
            }
            *held += more;
        }
        Ok(())
    }
}

/// The length of a value in bytes: a text, or all texts in a list.
fn length(values: &ArrayRef, row: usize, delimiter: usize) -> Option<usize> {
    if values.is_null(row) {
        return None;
    }
    Some(match values.data_type() {
        DataType::Utf8 => values.as_string::<i32>().value_length(row) as usize,
        DataType::LargeUtf8 => values.as_string::<i64>().value_length(row) as usize,
        DataType::Utf8View => values.as_string_view().value(row).len(),
        DataType::List(_) => {
            let items = values.as_list::<i32>().value(row);
            let lengths = (0..items.len()).filter_map(|item| length(&items, item, delimiter));
            lengths.reduce(|all, more| all + delimiter + more)?
        }
        _ => 0,
    })
}

/// An accumulator, with the length of each text so far.
#[derive(Debug)]
struct Limited<T> {
    inner: T,
    limit: ValueLimit,
    bytes: Vec<usize>,
}

impl Accumulator for Limited<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.limit.add(&values[0], |_| 0, &mut self.bytes)?;
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.limit.add(&states[0], |_| 0, &mut self.bytes)?;
        self.inner.merge_batch(states)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.inner.evaluate()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn size(&self) -> usize {
        self.inner.size() + size_of::<Self>()
    }
}

impl Limited<Box<dyn GroupsAccumulator>> {
    fn add(&mut self, values: &ArrayRef, groups: &[usize], total: usize) -> Result<()> {
        self.bytes.resize(total.max(self.bytes.len()), 0);
        self.limit.add(values, |row| groups[row], &mut self.bytes)
    }

    fn emitted(&mut self, emit_to: EmitTo) {
        match emit_to {
            EmitTo::All => self.bytes.clear(),
            EmitTo::First(n) => drop(self.bytes.drain(..n.min(self.bytes.len()))),
        }
    }
}

impl GroupsAccumulator for Limited<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        let counted = match filter {
            Some(filter) => arrow::compute::nullif(&values[0], &arrow::compute::not(filter)?)?,
            None => values[0].clone(),
        };
        self.add(&counted, groups, total)?;
        self.inner.update_batch(values, groups, filter, total)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.add(&states[0], groups, total)?;
        self.inner.merge_batch(states, groups, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        self.emitted(emit_to);
        self.inner.evaluate(emit_to)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.emitted(emit_to);
        self.inner.state(emit_to)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size() + self.bytes.capacity() * size_of::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::{logical_expr::AggregateUDF, prelude::SessionContext};

    use super::*;

    async fn error_of(bytes_max: usize, select: &str) -> Option<(&'static str, String)> {
        let context = SessionContext::new();
        let function = LimitedStringAgg { inner: StringAgg::new(), bytes_max };
        context.register_udaf(AggregateUDF::from(function));
        let values = "(VALUES (1, 'abc', 2), (1, 'de', 1), (2, 'f', 1), (1, NULL, 3)) AS t (k, v, o)";
        let frame = context.sql(&format!("SELECT {select} FROM {values} GROUP BY k")).await.expect("planned");
        let error = Error::from(frame.collect().await.err()?);
        Some((error.kind().sqlstate(), error.to_string()))
    }

    #[tokio::test]
    async fn string_agg_beyond_its_byte_limit_is_an_error() {
        for select in ["string_agg(v, '--')", "string_agg(v, '--' ORDER BY o)", "string_agg(DISTINCT v, '--')"] {
            assert_eq!(error_of(7, select).await, None, "{select}");
            let error = Some(("54000", "a text of string_agg is too long".to_string()));
            assert_eq!(error_of(6, select).await, error, "{select}");
        }
        assert_eq!(error_of(3, "string_agg(v, '--') FILTER (WHERE o <> 1)").await, None);
    }
}
