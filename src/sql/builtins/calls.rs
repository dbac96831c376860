//! Calls of PostgreSQL's functions, with their arguments cast to the parameters of the signature that is meant: an
//! analyzer rule, before DataFusion coerces types, while literals can be told from columns.

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        DFSchema, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, cast, expr::ScalarFunction},
    optimizer::AnalyzerRule,
};

use super::{builtin::Builtin, pg_type::Pg, resolve::ArgumentType};
use crate::sql::normalize::{input_schema, named_expressions};

/// The analyzer rule.
#[derive(Debug)]
pub struct ResolvedCalls;

impl AnalyzerRule for ResolvedCalls {
    fn name(&self) -> &str {
        "resolved_calls"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let schema = input_schema(&plan);
    let plan = named_expressions(plan, |expr| expr.transform_up(|expr| resolved(expr, &schema)))?;
    match plan.transformed {
        true => plan.map_data(LogicalPlan::recompute_schema),
        false => Ok(plan),
    }
}

fn resolved(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = expr else { return Ok(Transformed::no(expr)) };
    let function = call.func.clone();
    let Some(builtin) = function.inner().downcast_ref::<Builtin>() else {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    };
    let types = call.args.iter().map(|arg| arg.get_type(schema)).collect::<DfResult<Vec<_>>>()?;
    if let Some(shared) = builtin.shared(&types) {
        return Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: shared.clone(), args: call.args })));
    }
    let known: Vec<ArgumentType> = call.args.iter().zip(&types).map(|(arg, of)| argument_type(arg, of)).collect();
    let overload = builtin.resolve(&known)?;
    let taken = |(n, (arg, from)): (usize, (Expr, &DataType))| match overload.taken(n, from) {
        to if to == *from => arg,
        to => cast(arg, to),
    };
    let args = call.args.into_iter().zip(&types).enumerate().map(taken).collect();
    Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func: call.func, args })))
}

/// The type that PostgreSQL sees: of a literal in quotes none, of an integer literal the least that holds it.
fn argument_type(arg: &Expr, of: &DataType) -> ArgumentType {
    match arg {
        Expr::Literal(ScalarValue::Utf8(_), _) | Expr::Placeholder(_) => ArgumentType::Unknown,
        arg if *of == DataType::Int64 && is_small(arg) => ArgumentType::Known(Pg::Int4),
        _ => ArgumentType::of(of),
    }
}

/// Whether an expression of type bigint is made of literals that are integers in PostgreSQL.
fn is_small(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Int64(Some(number)), _) => i32::try_from(*number).is_ok(),
        Expr::Negative(of) => is_small(of),
        Expr::Alias(alias) => is_small(&alias.expr),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            op.is_numerical_operators() && is_small(left) && is_small(right)
        }
        _ => false,
    }
}
