//! A constant that DataFusion does not fold.

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::ScalarValue,
    error::Result as DfResult,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

use crate::error::Error;

const CONSTANT: &str = "constant";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Constant {
    value: ScalarValue,
    signature: Signature,
}

/// `value` as a function call that is not folded to a literal: it is declared volatile, but is constant.
pub fn constant(value: ScalarValue) -> Expr {
    ScalarUDF::from(Constant { value, signature: Signature::nullary(Volatility::Volatile) }).call(Vec::new())
}

impl ScalarUDFImpl for Constant {
    fn name(&self) -> &str {
        CONSTANT
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Err(Error::internal("what a constant returns is a field").into())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(Field::new(CONSTANT, self.value.data_type(), self.value.is_null()).into())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }
}
