//! Arithmetic of integers and floats as PostgreSQL does it: a result out of range is an error (22003), and so is a
//! division by zero (22012). DataFusion's operators wrap around, and give infinities.
//!
//! Each is a function whose column is named as that of the operator it stands for, so that operator uids stay.

mod floats;
mod integers;
mod operands;

use std::sync::Arc;

use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use datafusion::{
    common::{Result, ScalarValue, internal_err},
    logical_expr::{
        ColumnarValue, Expr, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::{ScalarFunction, schema_name_from_exprs},
    },
};

use self::operands::Operands;

/// An operator over two operands of one type, or unary minus.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Arithmetic {
    operator: Operator,
    is_unary: bool,
    signature: Signature,
}

/// Whether operands of this type have these operators.
pub(super) fn is_checked(operator: Operator, data_type: &DataType) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    match data_type {
        of if of.is_integer() => matches!(operator, Plus | Minus | Multiply | Divide | Modulo),
        DataType::Float32 | DataType::Float64 => matches!(operator, Plus | Minus | Multiply | Divide),
        _ => false,
    }
}

/// An operation on two operands of one type, for which it [`is_checked`].
pub(super) fn binary(left: Expr, operator: Operator, right: Expr) -> Expr {
    call(operator, vec![left, right])
}

/// Unary minus of an integer.
pub(super) fn negative(of: Expr) -> Expr {
    call(Operator::Minus, vec![of])
}

fn call(operator: Operator, args: Vec<Expr>) -> Expr {
    let signature = Signature::user_defined(Volatility::Immutable);
    let function = Arithmetic { operator, is_unary: args.len() == 1, signature };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), args))
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        match (self.operator, self.is_unary) {
            (_, true) => "negative",
            (Operator::Plus, _) => "plus",
            (Operator::Minus, _) => "minus",
            (Operator::Multiply, _) => "multiply",
            (Operator::Divide, _) => "divide",
            _ => "modulo",
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(match args {
            [of] => format!("(- {})", schema_name_from_exprs(std::slice::from_ref(of))?),
            [left, right] => {
                let name = |of: &Expr| schema_name_from_exprs(std::slice::from_ref(of));
                format!("{} {} {}", name(left)?, self.operator, name(right)?)
            }
            _ => return internal_err!("{} of {} operands", self.name(), args.len()),
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.iter().find(|data_type| **data_type != DataType::Null).or(types.first()) {
            Some(data_type) => Ok(data_type.clone()),
            None => internal_err!("{} of no operands", self.name()),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let operands = match args.args.as_slice() {
            [of] => Operands::negated(of),
            [left, right] => Operands::of(left, right),
            _ => return internal_err!("{} of {} operands", self.name(), args.args.len()),
        }?;
        match operands.data_type() {
            DataType::Null => Ok(ColumnarValue::Scalar(ScalarValue::Null)),
            DataType::Int8 => integers::compute::<Int8Type>(self.operator, &operands, rows),
            DataType::Int16 => integers::compute::<Int16Type>(self.operator, &operands, rows),
            DataType::Int32 => integers::compute::<Int32Type>(self.operator, &operands, rows),
            DataType::Int64 => integers::compute::<Int64Type>(self.operator, &operands, rows),
            DataType::UInt8 => integers::compute::<UInt8Type>(self.operator, &operands, rows),
            DataType::UInt16 => integers::compute::<UInt16Type>(self.operator, &operands, rows),
            DataType::UInt32 => integers::compute::<UInt32Type>(self.operator, &operands, rows),
            DataType::UInt64 => integers::compute::<UInt64Type>(self.operator, &operands, rows),
            DataType::Float32 => floats::compute::<Float32Type>(self.operator, &operands, rows),
            DataType::Float64 => floats::compute::<Float64Type>(self.operator, &operands, rows),
            other => internal_err!("{} of {other}", self.name()),
        }
    }
}

#[cfg(test)]
mod tests;
