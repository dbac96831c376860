//! Casts from text and to text as PostgreSQL's input and output functions do them: which spellings a type has, the
//! shortest digits of a float, and what is no value at all (22P02, 22003).

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryBuilder, BooleanBuilder, PrimitiveArray, StringArray,
        StringBuilder, new_null_array,
    },
    compute,
    datatypes::{DataType, Float32Type, Float64Type, Int16Type, Int32Type, Int64Type},
};
use datafusion::{
    common::{Result, ScalarValue, internal_err},
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::{ScalarFunction, schema_name_from_exprs},
    },
};

use crate::{
    error,
    functions::{
        bytea::bytea_in,
        numbers::{self, EXTRA_FLOAT_DIGITS},
    },
};

/// Whether a cast is one of these.
pub(super) fn is_ours(from: &DataType, to: &DataType) -> bool {
    use DataType::{Binary, Boolean, Float32, Float64, Int16, Int32, Int64, LargeUtf8, Utf8, Utf8View};
    match from {
        Utf8 | LargeUtf8 | Utf8View => matches!(to, Boolean | Int16 | Int32 | Int64 | Float32 | Float64 | Binary),
        Float32 | Float64 => *to == Utf8,
        _ => false,
    }
}

/// A cast that [`is_ours`].
pub(super) fn cast(of: Expr, to: DataType) -> Expr {
    let function = CastText { to, signature: Signature::user_defined(Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(function)), vec![of]))
}

/// Whether a function is such a cast.
pub(super) fn is_cast(function: &ScalarUDF) -> bool {
    function.inner().is::<CastText>()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CastText {
    to: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for CastText {
    fn name(&self) -> &str {
        "cast_text"
    }

    /// Not that of its argument: a join may have both as columns.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("CAST({} AS {})", schema_name_from_exprs(args)?, self.to))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(types.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(converted(values, &self.to)?)),
            [ColumnarValue::Scalar(value)] => {
                let value = converted(&value.to_array()?, &self.to)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?))
            }
            _ => internal_err!("a cast of {} values", args.args.len()),
        }
    }
}

fn converted(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    match values.data_type() {
        // As the optimizer puts one in place of a column.
        DataType::Null => Ok(new_null_array(to, values.len())),
        DataType::Float32 => Ok(printed(values.as_primitive::<Float32Type>(), |value, out| {
            numbers::write_float4(value, EXTRA_FLOAT_DIGITS, out);
        })),
        DataType::Float64 => Ok(printed(values.as_primitive::<Float64Type>(), |value, out| {
            numbers::write_float8(value, EXTRA_FLOAT_DIGITS, out);
        })),
        _ => read(compute::cast(values, &DataType::Utf8)?.as_string(), to),
    }
}

/// Numbers as texts.
fn printed<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>, write: impl Fn(T::Native, &mut String)) -> ArrayRef {
    let mut texts = StringBuilder::with_capacity(values.len(), values.len() * 8);
    let mut text = String::new();
    for value in values {
        match value {
            Some(value) => {
                text.clear();
                write(value, &mut text);
                texts.append_value(&text);
            }
            None => texts.append_null(),
        }
    }
    Arc::new(texts.finish())
}

fn read(texts: &StringArray, to: &DataType) -> Result<ArrayRef> {
    Ok(match to {
        DataType::Int16 => Arc::new(primitives::<Int16Type>(texts, numbers::integer)?),
        DataType::Int32 => Arc::new(primitives::<Int32Type>(texts, numbers::integer)?),
        DataType::Int64 => Arc::new(primitives::<Int64Type>(texts, numbers::integer)?),
        DataType::Float32 => Arc::new(primitives::<Float32Type>(texts, numbers::float4in)?),
        DataType::Float64 => Arc::new(primitives::<Float64Type>(texts, numbers::float8in)?),
        DataType::Boolean => {
            let mut column = BooleanBuilder::with_capacity(texts.len());
            for text in texts {
                column.append_option(text.map(numbers::boolin).transpose()?);
            }
            Arc::new(column.finish())
        }
        DataType::Binary => {
            let mut column = BinaryBuilder::with_capacity(texts.len(), 0);
            for text in texts {
                column.append_option(text.map(bytea_in).transpose()?);
            }
            Arc::new(column.finish())
        }
        other => return internal_err!("a cast of texts to {other}"),
    })
}

fn primitives<T: ArrowPrimitiveType>(
    texts: &StringArray,
    read: impl Fn(&str) -> error::Result<T::Native>,
) -> error::Result<PrimitiveArray<T>> {
    texts.iter().map(|text| text.map(&read).transpose()).collect()
}
