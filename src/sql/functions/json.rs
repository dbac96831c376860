//! `json_get(text, key…)` and `json_get_text(text, key…)`: access to a JSON text by member names and array indexes; and
//! the operators `->` and `->>`, which call them, also for fields of structs and elements of lists.
//!
//! As in Postgres an index counts from 0, or from the end if negative; a missing element is NULL. So is the result for
//! invalid JSON.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray, StringBuilder},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use datafusion::{
    common::{DFSchema, Result, ScalarValue, exec_err, plan_err},
    functions::core::expr_fn::get_field,
    functions_nested::expr_fn::array_element,
    logical_expr::{
        ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        expr::ScalarFunction,
        lit,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
    },
    sql::sqlparser::ast::BinaryOperator,
};
use serde_json::Value;

const JSON_GET: &str = "json_get";
const JSON_GET_TEXT: &str = "json_get_text";

/// The function, with its result as JSON or as text.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct JsonGet {
    signature: Signature,
    /// Result as text: strings without quotes, and NULL for `null`.
    text: bool,
}

impl JsonGet {
    pub fn new(text: bool) -> Self {
        JsonGet { signature: Signature::user_defined(Volatility::Immutable), text }
    }
}

/// A path step: member or index.
enum PathKey {
    Member(StringArray),
    Place(arrow::array::Int64Array),
}

impl PathKey {
    fn of(array: &ArrayRef) -> Result<PathKey> {
        Ok(match array.data_type() {
            DataType::Int64 => PathKey::Place(array.as_primitive::<Int64Type>().clone()),
            _ => PathKey::Member(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    fn get<'v>(&self, value: &'v Value, row: usize) -> Option<&'v Value> {
        match (self, value) {
            (PathKey::Member(names), Value::Object(members)) if names.is_valid(row) => members.get(names.value(row)),
            (PathKey::Place(places), Value::Array(items)) if places.is_valid(row) => {
                let place = places.value(row);
                let place = if place < 0 { place.checked_add_unsigned(items.len() as u64)? } else { place };
                items.get(usize::try_from(place).ok()?)
            }
            _ => None,
        }
    }
}

impl ScalarUDFImpl for JsonGet {
    fn name(&self) -> &str {
        if self.text { JSON_GET_TEXT } else { JSON_GET }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [_, keys @ ..] = types else { return plan_err!("{} takes a JSON text and keys", self.name()) };
        if keys.is_empty() {
            return plan_err!("{} takes a JSON text and keys", self.name());
        }
        let key = |key: &DataType| if key.is_integer() { DataType::Int64 } else { DataType::Utf8 };
        Ok(std::iter::once(DataType::Utf8).chain(keys.iter().map(key)).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let [texts, keys @ ..] = arrays.as_slice() else { return exec_err!("{} takes a JSON text", self.name()) };
        let texts = cast(texts, &DataType::Utf8)?;
        let keys = keys.iter().map(PathKey::of).collect::<Result<Vec<_>>>()?;
        let mut found = StringBuilder::new();
        for (row, text) in texts.as_string::<i32>().iter().enumerate() {
            let value = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
            let value = value.as_ref().and_then(|value| keys.iter().try_fold(value, |value, key| key.get(value, row)));
            match value {
                None => found.append_null(),
                Some(Value::Null) if self.text => found.append_null(),
                Some(Value::String(text)) if self.text => found.append_value(text),
                Some(value) => found.append_value(value.to_string()),
            }
        }
        let found: ArrayRef = Arc::new(found.finish());
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?)),
            false => Ok(ColumnarValue::Array(found)),
        }
    }
}

/// Plans the operators.
#[derive(Debug)]
pub struct Arrows;

impl ExprPlanner for Arrows {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let text = match expr.op {
            BinaryOperator::Arrow => false,
            BinaryOperator::LongArrow => true,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let inner = match expr.left.get_type(schema)? {
            DataType::Struct(_) => field(expr)?,
            DataType::List(_) | DataType::LargeList(_) => item(expr)?,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                return Ok(PlannerResult::Planned(json(expr, text)));
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let nested = inner.get_type(schema)?.is_nested();
        match text {
            true if nested => plan_err!("operator ->> does not give a struct or an array as text; use ->"),
            true => Ok(PlannerResult::Planned(datafusion::logical_expr::cast(inner, DataType::Utf8))),
            false => Ok(PlannerResult::Planned(inner)),
        }
    }
}

/// Successive steps become one call, so that the text is parsed once.
fn json(expr: RawBinaryExpr, text: bool) -> Expr {
    let (mut args, key) = match expr.left {
        Expr::ScalarFunction(call) if call.func.name() == JSON_GET => (call.args, expr.right),
        other => (vec![other], expr.right),
    };
    args.push(key);
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(JsonGet::new(text))), args))
}

fn field(expr: RawBinaryExpr) -> Result<Expr> {
    match &expr.right {
        Expr::Literal(ScalarValue::Utf8(Some(name)), _) => Ok(get_field(expr.left, name.as_str())),
        _ => plan_err!("the right side of -> names a field of a struct, in quotes"),
    }
}

fn item(expr: RawBinaryExpr) -> Result<Expr> {
    match &expr.right {
        // SQL arrays count from 1.
        Expr::Literal(ScalarValue::Int64(Some(place)), _) => {
            let place = if *place < 0 { *place } else { place.saturating_add(1) };
            Ok(array_element(expr.left, lit(place)))
        }
        _ => plan_err!("the right side of -> is a place in an array, as a number"),
    }
}
