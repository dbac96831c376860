//! Aggregates over diffs: a retracted row has weight -1.
//!
//! `count`, `sum` and `avg` are sums of values times diff, so that their new value follows from the old one and the
//! changes (for floats too, since those sums are exact, see [`sums`](crate::sql::functions)). A group exists while its
//! own row count is not zero.

use std::sync::Arc;

use datafusion::{
    common::{Column, DFSchema},
    functions_aggregate::sum::sum_udaf,
    logical_expr::{AggregateUDF, Expr, ExprSchemable, expr::AggregateFunction, lit, when},
    prelude::cast,
};

use crate::{
    error::Result,
    sql::functions::{is_exact, sum_by_diff},
};

/// The replacement of an aggregate's functions.
#[derive(Debug)]
pub struct Linear {
    /// Sums over the changes, each with an alias; the first counts the rows of the group.
    pub sums: Vec<Expr>,
    /// For each function, its result as an expression over these sums.
    pub answers: Vec<Expr>,
}

/// The linear form of the functions, if each of them has one. `diff` is the diff column of their input.
pub fn linear(functions: &[Expr], input: &DFSchema, diff: &Column) -> Result<Option<Linear>> {
    let mut linear = Linear { sums: Vec::new(), answers: Vec::new() };
    linear.sum(Expr::Column(diff.clone()), None);
    for function in functions {
        let Some(answer) = linear.add(function, input, diff)? else { return Ok(None) };
        linear.answers.push(answer);
    }
    Ok(Some(linear))
}

/// The functions without a linear form.
pub fn not_linear<'a>(functions: &'a [Expr], input: &DFSchema, diff: &Column) -> Result<Vec<&'a Expr>> {
    let mut others = Vec::new();
    for function in functions {
        if linear(std::slice::from_ref(function), input, diff)?.is_none() {
            others.push(function);
        }
    }
    Ok(others)
}

impl Linear {
    /// Adds a sum and returns its column.
    fn sum(&mut self, of: Expr, filter: Option<Box<Expr>>) -> Expr {
        self.call(sum_udaf(), vec![of], filter)
    }

    fn call(&mut self, function: Arc<AggregateUDF>, of: Vec<Expr>, filter: Option<Box<Expr>>) -> Expr {
        let name = format!("__sum{}", self.sums.len());
        let call = AggregateFunction::new_udf(function, of, false, filter, vec![], None);
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
        Ok(match call.func.name() {
            "count" => {
                let rows = self.sum(rows()?, params.filter.clone());
                Some(when(rows.clone().is_not_null(), rows).otherwise(lit(0i64))?)
            }
            "sum" | "avg" if is_exact(&argument_type) => {
                let by_diff = sum_by_diff(call.func.name() == "avg");
                Some(self.call(by_diff, vec![argument.clone(), came], params.filter.clone()))
            }
            "sum" if argument_type.is_signed_integer() => {
                let rows = self.sum(rows()?, params.filter.clone());
                let sum = self.sum(values(argument.clone())?, params.filter.clone());
                let sum = cast(sum, output);
                Some(when(rows.not_eq(lit(0i64)), sum).end()?)
            }
            _ => None,
        })
    }
}
