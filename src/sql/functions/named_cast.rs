//! Gives a cast a name of its own during planning: DataFusion leaves casts out of the names of expressions, so that
//! `max(ts::date)` and `max(ts)`, or `GROUP BY ts::date, ts`, would be duplicate columns.

use datafusion::{
    arrow::datatypes::DataType,
    common::Result,
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};

pub const NAMED_CAST: &str = "cast";

/// `cast(x::type, 'type')` is its first argument. The optimizer removes the call.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct NamedCast(Signature);

impl Default for NamedCast {
    fn default() -> Self {
        NamedCast(Signature::any(2, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for NamedCast {
    fn name(&self) -> &str {
        NAMED_CAST
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Null))
    }

    fn simplify(&self, mut args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        args.truncate(1);
        Ok(match args.pop() {
            Some(value) => ExprSimplifyResult::Simplified(value),
            None => ExprSimplifyResult::Original(args),
        })
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(args.args.swap_remove(0))
    }
}
