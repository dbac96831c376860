//! Aggregates by diff: a withdrawn row is a row that counts minus one.
//!
//! `count`, `sum` of whole numbers and decimals, and `avg` of whole numbers are sums of something times the diff, so
//! their new value follows from the old one and the changes alone. Sums of floats are not: what was added could not be
//! taken away again exactly. A group is there as long as its own count of rows is not zero.

use arrow::datatypes::DataType;
use datafusion::{
    common::{Column, DFSchema},
    functions_aggregate::sum::sum_udaf,
    logical_expr::{Expr, ExprSchemable, expr::AggregateFunction, lit, when},
    prelude::cast,
};

use crate::error::Result;

/// What replaces the functions of an aggregate.
#[derive(Debug)]
pub struct Linear {
    /// Sums over the changes, each with an alias; the first counts the rows of the group.
    pub sums: Vec<Expr>,
    /// For each function of the aggregate its answer from these sums.
    pub answers: Vec<Expr>,
}

/// The linear form of some aggregate functions, if each of them has one. `diff` is the diff column of their input.
pub fn linear(functions: &[Expr], input: &DFSchema, diff: &Column) -> Result<Option<Linear>> {
    let mut linear = Linear { sums: Vec::new(), answers: Vec::new() };
    linear.sum(Expr::Column(diff.clone()), None);
    for function in functions {
        let Some(answer) = linear.add(function, input, diff)? else { return Ok(None) };
        linear.answers.push(answer);
    }
    Ok(Some(linear))
}

impl Linear {
    /// Adds a sum and gives the column that it will be.
    fn sum(&mut self, of: Expr, filter: Option<Box<Expr>>) -> Expr {
        let name = format!("__sum{}", self.sums.len());
        let call = AggregateFunction::new_udf(sum_udaf(), vec![of], false, filter, vec![], None);
        self.sums.push(Expr::AggregateFunction(call).alias(&name));
        Expr::Column(Column::from_name(name))
    }

    fn add(&mut self, function: &Expr, input: &DFSchema, diff: &Column) -> Result<Option<Expr>> {
        let call = match function {
            Expr::Alias(alias) => return self.add(&alias.expr, input, diff),
            Expr::AggregateFunction(call) => call,
            _ => return Ok(None),
        };
        let params = &call.params;
        let [argument] = params.args.as_slice() else { return Ok(None) };
        if params.distinct || !params.order_by.is_empty() {
            return Ok(None);
        }
        let output = function.get_type(input)?;
        let argument_type = argument.get_type(input)?;
        let came = Expr::Column(diff.clone());
        let rows = || when(argument.clone().is_not_null(), came.clone()).otherwise(lit(0i64));
        let values = |value: Expr| -> Result<Expr> {
            // Diffs are one or minus one here, and negation keeps the type where a product would widen it.
            Ok(when(came.clone().gt(lit(0i64)), value.clone()).otherwise(Expr::Negative(Box::new(value)))?)
        };
        let summable = matches!(argument_type, DataType::Decimal128(..)) || argument_type.is_signed_integer();
        Ok(match call.func.name() {
            "count" => {
                let rows = self.sum(rows()?, params.filter.clone());
                Some(when(rows.clone().is_not_null(), rows).otherwise(lit(0i64))?)
            }
            "sum" if summable => {
                let rows = self.sum(rows()?, params.filter.clone());
                let sum = self.sum(values(argument.clone())?, params.filter.clone());
                let sum = cast(sum, output);
                Some(when(rows.not_eq(lit(0i64)), sum).end()?)
            }
            "avg" if let Some(whole) = whole(argument, input) => {
                let rows = self.sum(rows()?, params.filter.clone());
                let sum = self.sum(values(whole)?, params.filter.clone());
                let average = cast(sum, DataType::Float64) / cast(rows.clone(), DataType::Float64);
                Some(when(rows.not_eq(lit(0i64)), average).end()?)
            }
            _ => None,
        })
    }
}

/// The whole number behind an average's argument, if the planner made a float of one; in a type whose sums are exact.
fn whole(argument: &Expr, input: &DFSchema) -> Option<Expr> {
    let Expr::Cast(to_float) = argument else { return None };
    let exact = match to_float.expr.get_type(input).ok()? {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => DataType::Int64,
        DataType::Int64 => DataType::Decimal128(20, 0),
        _ => return None,
    };
    (to_float.field.data_type() == &DataType::Float64).then(|| cast(to_float.expr.as_ref().clone(), exact))
}
