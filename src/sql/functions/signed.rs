//! Functions that are unsigned in DataFusion and signed in PostgreSQL, which has no unsigned types: `row_number()` is a
//! bigint and `cardinality(a)` an integer, so that they can be negated, subtracted and compared.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::ArrayRef,
    compute::cast,
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    common::{Result, ScalarValue},
    functions_nested::{
        cardinality::cardinality_udf,
        dimension::array_ndims_udf,
        length::array_length_udf,
        position::{array_position_udf, array_positions_udf},
    },
    functions_window::{
        ntile::ntile_udwf,
        rank::{dense_rank_udwf, rank_udwf},
        row_number::row_number_udwf,
    },
    logical_expr::{
        ColumnarValue, LimitEffect, PartitionEvaluator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, WindowUDF, WindowUDFImpl,
        function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
        window_state::WindowAggState,
    },
    physical_expr::PhysicalExpr,
};

/// Scalar functions; they return integer.
pub fn scalars() -> Vec<Arc<ScalarUDF>> {
    [cardinality_udf(), array_length_udf(), array_ndims_udf(), array_position_udf(), array_positions_udf()]
        .map(|inner| Arc::new(ScalarUDF::from(SignedScalar { inner })))
        .into()
}

/// Window functions: row counts are bigint, bucket numbers integer.
pub fn windows() -> Vec<Arc<WindowUDF>> {
    let counts = [row_number_udwf(), rank_udwf(), dense_rank_udwf()].map(|inner| (inner, DataType::Int64));
    let functions = counts.into_iter().chain([(ntile_udwf(), DataType::Int32)]);
    functions.map(|(inner, data_type)| Arc::new(WindowUDF::from(SignedWindow { inner, data_type }))).collect()
}

/// A function with its result cast to integer, or to an array of it.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SignedScalar {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for SignedScalar {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(signed(&self.inner.return_type(types)?))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        let data_type = signed(field.data_type());
        Ok(Arc::new(field.as_ref().clone().with_data_type(data_type)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let data_type = args.return_type().clone();
        // Not by the function itself, which would look up the type of its unsigned result.
        self.inner.inner().invoke_with_args(args)?.cast_to(&data_type, None)
    }
}

fn signed(data_type: &DataType) -> DataType {
    match data_type {
        DataType::UInt64 => DataType::Int32,
        DataType::List(item) => {
            let data_type = signed(item.data_type());
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(data_type)))
        }
        other => other.clone(),
    }
}

/// A window function with its result cast to another integer type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SignedWindow {
    inner: Arc<WindowUDF>,
    data_type: DataType,
}

impl WindowUDFImpl for SignedWindow {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn partition_evaluator(&self, args: PartitionEvaluatorArgs) -> Result<Box<dyn PartitionEvaluator>> {
        let inner = self.inner.partition_evaluator_factory(args)?;
        Ok(Box::new(SignedEvaluator { inner, data_type: self.data_type.clone() }))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let field = self.inner.field(args)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(self.data_type.clone())))
    }

    fn sort_options(&self) -> Option<arrow::compute::SortOptions> {
        self.inner.sort_options()
    }

    fn limit_effect(&self, args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        self.inner.inner().limit_effect(args)
    }
}

#[derive(Debug)]
struct SignedEvaluator {
    inner: Box<dyn PartitionEvaluator>,
    data_type: DataType,
}

impl PartitionEvaluator for SignedEvaluator {
    fn memoize(&mut self, state: &mut WindowAggState) -> Result<()> {
        self.inner.memoize(state)
    }

    fn get_range(&self, index: usize, rows: usize) -> Result<Range<usize>> {
        self.inner.get_range(index, rows)
    }

    fn is_causal(&self) -> bool {
        self.inner.is_causal()
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
        Ok(cast(&self.inner.evaluate_all(values, rows)?, &self.data_type)?)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        self.inner.evaluate(values, range)?.cast_to(&self.data_type)
    }

    fn evaluate_all_with_rank(&self, rows: usize, ranks: &[Range<usize>]) -> Result<ArrayRef> {
        Ok(cast(&self.inner.evaluate_all_with_rank(rows, ranks)?, &self.data_type)?)
    }

    fn supports_bounded_execution(&self) -> bool {
        self.inner.supports_bounded_execution()
    }

    fn uses_window_frame(&self) -> bool {
        self.inner.uses_window_frame()
    }

    fn include_rank(&self) -> bool {
        self.inner.include_rank()
    }
}
