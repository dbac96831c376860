//! Arrays and rows as bytes in PostgreSQL's order: of values with a common prefix, a NULL element is the greatest.
//! Arrow's comparison, which puts NULL elements first, is that of `<` and of the filter that a sort with a LIMIT pushes
//! to its input. These functions are not callable from SQL.

use std::{
    cmp::Ordering,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{Array, ArrayRef, BinaryArray},
    compute::{SortOptions, interleave},
    datatypes::{DataType, FieldRef},
    row::{RowConverter, Rows, SortField},
};
use datafusion::{
    common::Result,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
    },
};

use crate::error::Error;

/// The sort key of a value; NULL for NULL. Encoded by `arrow-row`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SortKey(Signature);

static SORT_KEY: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(SortKey(Signature::any(1, Volatility::Immutable)))));

/// The sort key of an expression whose type [`needs_sort_key`].
pub fn sort_key_of(expr: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(SORT_KEY.clone(), vec![expr]))
}

/// Whether Arrow's order of a type differs from PostgreSQL's.
pub fn needs_sort_key(of: &DataType) -> bool {
    let has_parts = matches!(of, DataType::Struct(_)) || is_array(of);
    has_parts && RowConverter::supports_fields(&[SortField::new(of.clone())])
}

/// Whether a type is one of arrays.
pub fn is_array(of: &DataType) -> bool {
    matches!(of, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..))
}

/// `greatest` or `least` of arrays; NULL arguments are ignored.
pub fn extreme_of_arrays(name: &str, args: Vec<Expr>) -> Expr {
    let wanted = if name == "least" { Ordering::Less } else { Ordering::Greater };
    let function = ExtremeOfArrays { wanted, signature: Signature::variadic_any(Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), args))
}

/// Whether [`extreme_of_arrays`] made a function.
pub fn is_extreme_of_arrays(function: &ScalarUDF) -> bool {
    function.inner().downcast_ref::<ExtremeOfArrays>().is_some()
}

/// The sort keys of arrays of one type.
fn keys(arrays: &[ArrayRef]) -> Result<Vec<Rows>> {
    let Some(first) = arrays.first() else { return Ok(Vec::new()) };
    let options = SortOptions { descending: false, nulls_first: false };
    let converter = RowConverter::new(vec![SortField::new_with_options(first.data_type().clone(), options)])?;
    arrays.iter().map(|array| Ok(converter.convert_columns(std::slice::from_ref(array))?)).collect()
}

impl ScalarUDFImpl for SortKey {
    fn name(&self) -> &str {
        "sort_key"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (array, keys) = match (arrays.first(), keys(&arrays)?.pop()) {
            (Some(array), Some(keys)) => (array, keys),
            _ => return Err(Error::internal("sort_key has no argument").into()),
        };
        let key = |row: usize| array.is_valid(row).then(|| keys.row(row).data());
        let made: ArrayRef = Arc::new((0..array.len()).map(key).collect::<BinaryArray>());
        match is_scalar {
            true => Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&made, 0)?)),
            false => Ok(ColumnarValue::Array(made)),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExtremeOfArrays {
    wanted: Ordering,
    signature: Signature,
}

impl ScalarUDFImpl for ExtremeOfArrays {
    fn name(&self) -> &str {
        if self.wanted == Ordering::Less { "least" } else { "greatest" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.first().cloned().ok_or_else(|| Error::internal("an extreme of nothing").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let first = args.arg_fields.first().ok_or_else(|| Error::internal("an extreme of nothing"))?;
        Ok(Arc::new(first.as_ref().clone().with_name(self.name()).with_nullable(true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = args.args.iter().map(|arg| arg.to_array(args.number_rows)).collect::<Result<Vec<_>>>()?;
        let keys = keys(&arrays)?;
        let best = |row: usize| {
            let better = |best: usize, other: usize| match keys[other].row(row).cmp(&keys[best].row(row)) {
                order if order == self.wanted => other,
                _ => best,
            };
            let known = (0..arrays.len()).filter(|n| arrays[*n].is_valid(row)).reduce(better);
            (known.unwrap_or(0), row)
        };
        let places: Vec<(usize, usize)> = (0..args.number_rows).map(best).collect();
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(interleave(&arrays, &places)?))
    }
}
