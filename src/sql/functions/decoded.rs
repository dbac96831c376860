//! Dictionaries are a storage encoding, and not an SQL type: the result of a function such as `arrow_cast` is decoded
//! to its values, so that aggregates, keys and state never see one. Columns read from files have none: see
//! [`formats`](crate::formats).

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{DFSchema, config::ConfigOptions, tree_node::Transformed},
    error::Result,
    logical_expr::{Cast, Expr, ExprSchemable, expr_rewriter::FunctionRewrite},
};

/// Decodes dictionaries in the results of functions.
#[derive(Debug)]
pub struct DictionaryValues;

impl FunctionRewrite for DictionaryValues {
    fn name(&self) -> &str {
        "decoded"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let encoded = match &expr {
            Expr::ScalarFunction(_) => expr.get_type(schema).ok(),
            _ => None,
        };
        Ok(match encoded.and_then(|of| values(&of)) {
            Some(to) => Transformed::yes(Expr::Cast(Cast::new(Box::new(expr), to))),
            None => Transformed::no(expr),
        })
    }
}

/// A type with dictionaries replaced by their values; `None` if it has none.
fn values(of: &DataType) -> Option<DataType> {
    let within = |field: &FieldRef| -> Option<FieldRef> {
        Some(Field::new(field.name(), values(field.data_type())?, field.is_nullable()).into())
    };
    match of {
        DataType::Dictionary(_, of) => Some(values(of).unwrap_or_else(|| of.as_ref().clone())),
        DataType::List(item) => within(item).map(DataType::List),
        DataType::LargeList(item) => within(item).map(DataType::LargeList),
        DataType::FixedSizeList(item, size) => within(item).map(|item| DataType::FixedSizeList(item, *size)),
        DataType::Struct(fields) if fields.iter().any(|field| values(field.data_type()).is_some()) => {
            Some(DataType::Struct(fields.iter().map(|field| within(field).unwrap_or_else(|| field.clone())).collect()))
        }
        _ => None,
    }
}
