//! Array functions that DataFusion lacks.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray},
    datatypes::DataType,
};
use datafusion::{
    error::Result as DfResult,
    logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use crate::error::Error;

pub const HAS_NULLS: &str = "array_has_nulls";

/// Whether an array contains a NULL; NULL for a NULL array.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HasNulls {
    signature: Signature,
}

impl Default for HasNulls {
    fn default() -> Self {
        HasNulls { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for HasNulls {
    fn name(&self) -> &str {
        HAS_NULLS
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let lists = arrays.first().ok_or_else(|| Error::internal("array_has_nulls has no argument"))?;
        let has = |row: usize| (!lists.is_null(row)).then(|| elements(lists, row).map(|e| e.logical_null_count() > 0));
        let has = (0..lists.len()).map(|row| has(row).transpose()).collect::<DfResult<BooleanArray>>()?;
        Ok(ColumnarValue::Array(Arc::new(has)))
    }
}

fn elements(lists: &ArrayRef, row: usize) -> DfResult<ArrayRef> {
    Ok(match lists.data_type() {
        DataType::List(_) => lists.as_list::<i32>().value(row),
        DataType::LargeList(_) => lists.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => lists.as_fixed_size_list().value(row),
        other => return Err(Error::internal(format!("array_has_nulls of {other}")).into()),
    })
}
