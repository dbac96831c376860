//! The value of a correlated scalar subquery with at most one row for each outer row. More rows are an error, as in
//! PostgreSQL, and only if the value is evaluated.

use arrow::{
    array::{Array, AsArray, BooleanArray},
    datatypes::{DataType, Int64Type},
};
use datafusion::{
    error::Result as DfResult,
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

use crate::error::{Error, ErrorKind};

const ONLY_ROW: &str = "only_row";

/// `only_row(r)` for a struct of a value and a row count: the value, NULL for 0 rows, an error (21000) for several.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct OnlyRow(Signature);

impl Default for OnlyRow {
    fn default() -> Self {
        OnlyRow(Signature::any(1, Volatility::Immutable))
    }
}

/// A call of it on such a struct.
pub fn only_row(of: Expr) -> Expr {
    ScalarUDF::from(OnlyRow::default()).call(vec![of])
}

impl ScalarUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        ONLY_ROW
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        match types {
            [DataType::Struct(fields)] if fields.len() == 2 => Ok(fields[0].data_type().clone()),
            _ => Err(Error::internal("only_row is of a value and a number").into()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(rows) = arrays.first() else { return Err(Error::internal("only_row has no argument").into()) };
        let (values, nulls) = (rows.as_struct().column(0), rows.logical_nulls());
        let counts = rows.as_struct().column(1).as_primitive::<Int64Type>();
        if (0..rows.len()).any(|row| rows.is_valid(row) && counts.is_valid(row) && counts.value(row) > 1) {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(Error::new(ErrorKind::CardinalityViolation, message).into());
        }
        match nulls {
            None => Ok(ColumnarValue::Array(values.clone())),
            Some(nulls) => {
                let missing = BooleanArray::new(!nulls.inner(), None);
                Ok(ColumnarValue::Array(arrow::compute::nullif(values, &missing)?))
            }
        }
    }
}
