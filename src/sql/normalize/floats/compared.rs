//! Operands of comparisons in canonical form.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{
        AggregateUDF, BinaryExpr, Expr, Operator, Subquery, WindowFunctionDefinition, expr::ScalarFunction, when,
    },
};

use super::forms::{Forms, in_one_form};
use crate::sql::functions::{
    extreme_of_arrays, extreme_of_floats, is_array, is_extreme_of_arrays, needs_sort_key, sort_key_of,
};

/// Scalar functions that compare their arguments, or the elements of them.
const COMPARE: [&str; 19] = [
    "array_distinct",
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_max",
    "array_min",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_replace",
    "array_replace_all",
    "array_replace_n",
    "array_sort",
    "array_union",
    "greatest",
];

/// Aggregate functions that compare their arguments.
const AGGREGATES: [&str; 9] = [
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "max",
    "median",
    "min",
    "mode",
    "percentile_cont",
];

/// The expression with all operands of comparisons in canonical form.
pub(in crate::sql) fn compared(expr: Expr, forms: &Forms) -> DfResult<Transformed<Expr>> {
    expr.transform_up(|mut expr| {
        let changed = match &mut expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(*op) => {
                let plain = is_equality(*op) && (is_plain(left) || is_plain(right));
                let formed = !plain && forms.keys([left.as_mut(), right.as_mut()])?;
                formed | (!is_equality(*op) && sort_keys([left.as_mut(), right.as_mut()], forms))
            }
            Expr::Between(between) => {
                let mut sides = [between.expr.as_mut(), between.low.as_mut(), between.high.as_mut()];
                forms.keys(sides.iter_mut().map(|side| &mut **side))? | sort_keys(sides, forms)
            }
            Expr::InList(within) => {
                let plain = within.list.iter().all(is_plain);
                !plain && forms.keys(std::iter::once(within.expr.as_mut()).chain(&mut within.list))?
            }
            Expr::InSubquery(within) => forms.key(&mut within.expr)? | answers(&mut within.subquery)?,
            Expr::SetComparison(compared) => forms.key(&mut compared.expr)? | answers(&mut compared.subquery)?,
            Expr::Case(case) => match &mut case.expr {
                Some(base) => {
                    let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                    forms.keys(std::iter::once(base.as_mut()).chain(whens))?
                }
                None => false,
            },
            Expr::ScalarFunction(call) if call.name() == "nullif" => match nulled(call, forms)? {
                Some(nulled) => {
                    expr = nulled;
                    true
                }
                None => false,
            },
            Expr::ScalarFunction(call) if COMPARE.contains(&call.name()) || call.name() == "least" => {
                let formed = forms.keys(&mut call.args)?;
                let of_arrays = has_arrays(&call.args, forms) && !is_extreme_of_arrays(&call.func);
                match call.name() {
                    name @ ("greatest" | "least") if of_arrays => {
                        expr = extreme_of_arrays(name, call.args.clone());
                        true
                    }
                    _ => formed,
                }
            }
            Expr::AggregateFunction(call) => {
                let mut changed = forms.keys(call.params.order_by.iter_mut().map(|by| &mut by.expr))?;
                if call.params.distinct || AGGREGATES.contains(&call.func.name()) {
                    changed |= forms.keys(&mut call.params.args)?;
                }
                changed | extreme(&mut call.func, &call.params.args, forms)
            }
            Expr::WindowFunction(call) => {
                let params = &mut call.params;
                let mut changed = forms.keys(&mut params.partition_by)?;
                changed |= forms.keys(params.order_by.iter_mut().map(|by| &mut by.expr))?;
                if params.distinct || AGGREGATES.contains(&call.fun.name()) {
                    changed |= forms.keys(&mut params.args)?;
                }
                match &mut call.fun {
                    WindowFunctionDefinition::AggregateUDF(function) => {
                        changed | extreme(function, &params.args, forms)
                    }
                    WindowFunctionDefinition::WindowUDF(_) => changed,
                }
            }
            _ => false,
        };
        Ok(Transformed::new(expr, changed, TreeNodeRecursion::Continue))
    })
}

/// Replaces arrays by their sort keys.
fn sort_keys<const N: usize>(sides: [&mut Expr; N], forms: &Forms) -> bool {
    let changed = sides.iter().all(|side| has_arrays(std::slice::from_ref(&**side), forms));
    if changed {
        sides.into_iter().for_each(|side| *side = sort_key_of(std::mem::take(side)));
    }
    changed
}

/// Whether some expressions are all arrays.
fn has_arrays(exprs: &[Expr], forms: &Forms) -> bool {
    exprs.iter().all(|expr| forms.type_of(expr).is_ok_and(|of| is_array(&of) && needs_sort_key(&of)))
}

/// Whether an operator compares its sides.
pub(in crate::sql::normalize) fn compares(op: Operator) -> bool {
    is_equality(op) || matches!(op, Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

fn is_equality(op: Operator) -> bool {
    use Operator::*;
    matches!(op, Eq | NotEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Whether an expression is a float literal that only equals itself: neither zero nor NaN.
fn is_plain(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => *value != 0.0 && !value.is_nan(),
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => *value != 0.0 && !value.is_nan(),
        _ => false,
    }
}

/// Brings the rows of a subquery to canonical form.
fn answers(subquery: &mut Subquery) -> DfResult<bool> {
    let plan = in_one_form(subquery.subquery.clone())?;
    if plan.transformed {
        subquery.subquery = plan.data;
    }
    Ok(plan.transformed)
}

/// `nullif`, which compares canonical forms and returns the original value.
fn nulled(call: &ScalarFunction, forms: &Forms) -> DfResult<Option<Expr>> {
    let [shown, other] = call.args.as_slice() else { return Ok(None) };
    let (mut left, mut right) = (shown.clone(), other.clone());
    if !forms.keys([&mut left, &mut right])? {
        return Ok(None);
    }
    let null = Expr::Literal(ScalarValue::try_from(forms.type_of(shown)?)?, None);
    Ok(Some(when(left.eq(right), null).otherwise(shown.clone())?))
}

/// Replaces DataFusion's `min` and `max` of floats by ours.
fn extreme(function: &mut Arc<AggregateUDF>, args: &[Expr], forms: &Forms) -> bool {
    let of = args.first().and_then(|arg| forms.type_of(arg).ok()).unwrap_or(DataType::Null);
    match extreme_of_floats(function, &of) {
        Some(ours) => {
            *function = ours;
            true
        }
        None => false,
    }
}
