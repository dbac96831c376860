//! `min` and `max` of floats in PostgreSQL's order. DataFusion's grouped ones use `<`, which is false for NaN on either
//! side; its others use IEEE's total order. Here floats are mapped to integers of the same order, on which the two
//! agree.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray},
    datatypes::{
        ArrowPrimitiveType, DataType, Field, FieldRef, Float16Type, Float32Type, Float64Type, Int16Type, Int32Type,
        Int64Type,
    },
};
use datafusion::{
    common::ScalarValue,
    error::Result as DfResult,
    functions_aggregate::min_max::{Max, Min},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
        Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
};

use crate::error::Error;

/// DataFusion's function on floats mapped to integers. Its arguments are in canonical form.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: Arc<AggregateUDF>,
    signature: Signature,
}

/// The replacement for `min` or `max` of values of a type; `None` for other functions, or where DataFusion's is right.
pub fn extreme_of_floats(function: &Arc<AggregateUDF>, of: &DataType) -> Option<Arc<AggregateUDF>> {
    let inner = function.inner();
    let is_extreme = inner.downcast_ref::<Min>().is_some() || inner.downcast_ref::<Max>().is_some();
    whole(of).filter(|_| is_extreme)?;
    let signature = Signature::user_defined(Volatility::Immutable);
    Some(Arc::new(AggregateUDF::from(Extreme { inner: function.clone(), signature })))
}

/// Whether a function is one of these, whose results are in canonical form.
pub fn is_extreme(function: &AggregateUDF) -> bool {
    function.inner().downcast_ref::<Extreme>().is_some()
}

/// The integer type with the same number of bits.
fn whole(of: &DataType) -> Option<DataType> {
    match of {
        DataType::Float16 => Some(DataType::Int16),
        DataType::Float32 => Some(DataType::Int32),
        DataType::Float64 => Some(DataType::Int64),
        _ => None,
    }
}

/// Maps floats to integers of the same order, and back. In negative floats all bits except the sign are inverted, as a
/// larger magnitude is a smaller float.
fn turned(array: &ArrayRef) -> DfResult<ArrayRef> {
    let (turn64, turn32) = (|bits: i64| bits ^ ((bits >> 63) & i64::MAX), |bits: i32| bits ^ ((bits >> 31) & i32::MAX));
    let turn16 = |bits: i16| bits ^ ((bits >> 15) & i16::MAX);
    type F16 = <Float16Type as ArrowPrimitiveType>::Native;
    fn to<F: ArrowPrimitiveType, T: ArrowPrimitiveType>(
        array: &ArrayRef,
        turn: impl Fn(F::Native) -> T::Native,
    ) -> ArrayRef {
        let turned: PrimitiveArray<T> = array.as_primitive::<F>().unary(turn);
        Arc::new(turned)
    }
    Ok(match array.data_type() {
        DataType::Float64 => to::<Float64Type, Int64Type>(array, |v| turn64(v.to_bits() as i64)),
        DataType::Float32 => to::<Float32Type, Int32Type>(array, |v| turn32(v.to_bits() as i32)),
        DataType::Float16 => to::<Float16Type, Int16Type>(array, |v| turn16(v.to_bits() as i16)),
        DataType::Int64 => to::<Int64Type, Float64Type>(array, |v| f64::from_bits(turn64(v) as u64)),
        DataType::Int32 => to::<Int32Type, Float32Type>(array, |v| f32::from_bits(turn32(v) as u32)),
        DataType::Int16 => to::<Int16Type, Float16Type>(array, |v| F16::from_bits(turn16(v) as u16)),
        other => return Err(Error::internal(format!("{other} is taken for floats")).into()),
    })
}

fn all_turned(arrays: &[ArrayRef]) -> DfResult<Vec<ArrayRef>> {
    arrays.iter().map(turned).collect()
}

fn whole_field(field: &FieldRef) -> DfResult<FieldRef> {
    let of = whole(field.data_type()).ok_or_else(|| Error::internal(format!("{} is no float", field.data_type())))?;
    Ok(Arc::new(Field::new(field.name(), of, field.is_nullable())))
}

impl Extreme {
    fn of_whole<T>(&self, args: AccumulatorArgs, make: impl FnOnce(AccumulatorArgs) -> DfResult<T>) -> DfResult<T> {
        let fields = args.expr_fields.iter().map(whole_field).collect::<DfResult<Vec<_>>>()?;
        make(AccumulatorArgs { return_field: whole_field(&args.return_field)?, expr_fields: &fields, ..args })
    }
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arguments: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(arguments.to_vec())
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arguments)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(StateFieldsArgs { return_field: whole_field(&args.return_field)?, ..args })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(OfFloats(self.of_whole(args, |args| self.inner.accumulator(args))?)))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(OfFloats(self.of_whole(args, |args| self.inner.create_sliding_accumulator(args))?)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.of_whole(args, |args| Ok(self.inner.groups_accumulator_supported(args))).unwrap_or(false)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(OfFloats(self.of_whole(args, |args| self.inner.create_groups_accumulator(args))?)))
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn set_monotonicity(&self, of: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(of)
    }
}

/// An accumulator of integers with floats as input and output.
#[derive(Debug)]
struct OfFloats<T>(T);

impl Accumulator for OfFloats<Box<dyn Accumulator>> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.0.update_batch(&all_turned(values)?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.0.retract_batch(&all_turned(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.0.supports_retract_batch()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.0.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.0.merge_batch(states)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        ScalarValue::try_from_array(&turned(&self.0.evaluate()?.to_array()?)?, 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

impl GroupsAccumulator for OfFloats<Box<dyn GroupsAccumulator>> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> DfResult<()> {
        self.0.update_batch(&all_turned(values)?, groups, filter, total)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        turned(&self.0.evaluate(emit_to)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        self.0.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> DfResult<()> {
        self.0.merge_batch(states, groups, total)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        self.0.convert_to_state(&all_turned(values)?, filter)
    }

    fn size(&self) -> usize {
        self.0.size()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;

    use super::*;

    #[test]
    fn float_to_integer_mapping_preserves_order() {
        let floats = [f64::NEG_INFINITY, -2.5, -f64::MIN_POSITIVE, 0.0, 5e-324, 1.0, f64::MAX, f64::INFINITY, f64::NAN];
        let floats: ArrayRef = Arc::new(Float64Array::from(floats.to_vec()));
        let whole = turned(&floats).unwrap();
        assert!(whole.as_primitive::<Int64Type>().values().is_sorted());
        let back = turned(&whole).unwrap();
        let bits = |array: &ArrayRef| -> Vec<u64> {
            array.as_primitive::<Float64Type>().values().iter().map(|v| v.to_bits()).collect()
        };
        assert_eq!(bits(&back), bits(&floats));
    }
}
