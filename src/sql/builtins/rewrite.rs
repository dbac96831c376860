//! PostgreSQL's arithmetic and casts in place of DataFusion's: an analyzer rule, once types are known.

use datafusion::{
    common::{
        DFSchema,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan},
    optimizer::AnalyzerRule,
};

use super::{
    arithmetic::{self, is_checked},
    cast_numbers, cast_texts,
};
use crate::sql::normalize::{input_schema, named_expressions};

/// The analyzer rule.
#[derive(Debug)]
pub struct CheckedNumbers;

impl AnalyzerRule for CheckedNumbers {
    fn name(&self) -> &str {
        "checked_numbers"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let schema = input_schema(&plan);
    let plan = named_expressions(plan, |expr| checked(expr, &schema))?;
    match plan.transformed {
        true => plan.map_data(LogicalPlan::recompute_schema),
        false => Ok(plan),
    }
}

/// An expression over rows of `schema`.
fn checked(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.is_numerical_operators() => {
            let types = (left.get_type(schema)?, right.get_type(schema)?);
            Ok(match types.0 == types.1 && is_checked(op, &types.0) {
                true => Transformed::yes(arithmetic::binary(*left, op, *right)),
                false => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
            })
        }
        Expr::Negative(of) => Ok(match of.get_type(schema)? {
            data_type if data_type.is_signed_integer() && !matches!(*of, Expr::Literal(..)) => {
                Transformed::yes(arithmetic::negative(*of))
            }
            _ => Transformed::no(Expr::Negative(of)),
        }),
        Expr::Cast(Cast { expr: inner, field }) => {
            let (from, to) = (inner.get_type(schema)?, field.data_type());
            Ok(if cast_numbers::is_ours(&from, to) {
                Transformed::yes(cast_numbers::cast(*inner, to.clone()))
            } else if cast_texts::is_ours(&from, to) {
                Transformed::yes(cast_texts::cast(*inner, to.clone()))
            } else {
                Transformed::no(Expr::Cast(Cast::new_from_field(inner, field)))
            })
        }
        other => Ok(Transformed::no(other)),
    })
}
