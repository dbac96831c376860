//! `||` of texts and bytes as a function, under its name in Postgres.

use arrow::{compute::kernels::concat_elements::concat_elements_dyn, datatypes::DataType};
use datafusion::{
    error::Result as DfResult,
    logical_expr::{
        ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        type_coercion::binary::BinaryTypeCoercer,
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TextCat {
    signature: Signature,
}

impl Default for TextCat {
    fn default() -> Self {
        TextCat { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// Whether `||` of these types concatenates texts or bytes, and not lists.
pub fn joins(left: &DataType, right: &DataType) -> bool {
    use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
    let types = BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_input_types();
    let joined = |of: &DataType| matches!(of, Binary | BinaryView | LargeBinary | LargeUtf8 | Utf8 | Utf8View);
    types.is_ok_and(|(left, right)| left == right && joined(&left))
}

impl ScalarUDFImpl for TextCat {
    fn name(&self) -> &str {
        "textcat"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        let [left, right] = datafusion::common::utils::take_function_args(self.name(), types)?;
        let (left, right) = BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        Ok(types.first().cloned().unwrap_or(DataType::Utf8))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let [left, right] = datafusion::common::utils::take_function_args(self.name(), args.args)?;
        let joined = concat_elements_dyn(left.into_array(rows)?.as_ref(), right.into_array(rows)?.as_ref())?;
        Ok(match constant {
            true => ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(&joined, 0)?),
            false => ColumnarValue::Array(joined),
        })
    }
}
