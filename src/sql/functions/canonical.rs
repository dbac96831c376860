//! The canonical form of floats (one zero, one NaN), by which plans compare. Internal: not callable from SQL.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    common::ScalarValue,
    error::Result as DfResult,
    logical_expr::{
        ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
    },
};

use crate::{changes::canonical, error::Error};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Canonical {
    signature: Signature,
}

static CANONICAL: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(Canonical { signature: Signature::any(1, Volatility::Immutable) })));

/// The canonical form of an expression.
pub fn canonical_of(expr: Expr) -> Expr {
    Expr::ScalarFunction(ScalarFunction::new_udf(CANONICAL.clone(), vec![expr]))
}

pub fn is_canonical(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.inner().downcast_ref::<Canonical>().is_some())
}

/// The canonical form of a value.
pub fn canonical_value(value: &ScalarValue) -> DfResult<ScalarValue> {
    ScalarValue::try_from_array(&canonical(&value.to_array()?)?, 0)
}

/// Whether a value is canonical.
pub fn is_canonical_value(value: &ScalarValue) -> DfResult<bool> {
    let array = value.to_array()?;
    Ok(Arc::ptr_eq(&canonical(&array)?, &array))
}

impl ScalarUDFImpl for Canonical {
    fn name(&self) -> &str {
        "canonical"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        arguments.first().cloned().ok_or_else(|| Error::internal("canonical has no argument").into())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        args.arg_fields.first().cloned().ok_or_else(|| Error::internal("canonical has no argument").into())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(canonical(&array)?)),
            Some(ColumnarValue::Scalar(value)) => Ok(ColumnarValue::Scalar(canonical_value(&value)?)),
            None => Err(Error::internal("canonical has no argument").into()),
        }
    }
}
