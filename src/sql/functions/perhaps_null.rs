//! Makes a value nullable, whatever its expression is: a scalar subquery over constants may have no row.

use arrow::datatypes::DataType;
use datafusion::{
    error::Result as DfResult,
    logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility},
};

use crate::error::Error;

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct PerhapsNull(Signature);

impl Default for PerhapsNull {
    fn default() -> Self {
        PerhapsNull(Signature::any(1, Volatility::Immutable))
    }
}

/// The same value, declared nullable.
pub fn perhaps_null(value: Expr) -> Expr {
    ScalarUDF::from(PerhapsNull::default()).call(vec![value])
}

impl ScalarUDFImpl for PerhapsNull {
    fn name(&self) -> &str {
        "perhaps_null"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let value = args.args.into_iter().next();
        value.ok_or_else(|| Error::internal("perhaps_null has no argument").into())
    }
}
