//! Calls of PostgreSQL's functions, with their arguments cast to the parameters of the signature that is meant: an
//! analyzer rule, before DataFusion coerces types, while literals can be told from columns.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        DFSchema, ScalarValue,
        config::ConfigOptions,
        internal_err,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, ScalarUDF, cast, expr::ScalarFunction},
    optimizer::AnalyzerRule,
};

use super::{builtin::Builtin, pg_type::Pg, resolve::ArgumentType};
use crate::sql::{
    functions::{rechecked, unchecked},
    normalize::{input_schema, named_expressions},
};

/// The analyzer rule.
#[derive(Debug)]
pub struct ResolvedCalls {
    functions: Vec<Arc<ScalarUDF>>,
}

impl ResolvedCalls {
    pub fn new(functions: Vec<Arc<ScalarUDF>>) -> Self {
        ResolvedCalls { functions }
    }

    fn node(&self, plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
        let schema = input_schema(&plan);
        let resolve = |expr| resolved(self.with_like(expr)?, &schema);
        let plan = named_expressions(plan, |expr| expr.transform_up(resolve))?;
        match plan.transformed {
            true => plan.map_data(LogicalPlan::recompute_schema),
            false => Ok(plan),
        }
    }

    /// `LIKE` as a call. That of a constant pattern without a backslash is DataFusion's too, whose optimizer knows it.
    fn with_like(&self, expr: Expr) -> DfResult<Expr> {
        let Expr::Like(like) = expr else { return Ok(expr) };
        let is_plain =
            matches!(&*like.pattern, Expr::Literal(ScalarValue::Utf8(Some(text)), _) if !text.contains('\\'));
        if is_plain && !like.case_insensitive {
            return Ok(Expr::Like(like));
        }
        let sign = match (like.negated, like.case_insensitive) {
            (false, false) => "~~",
            (true, false) => "!~~",
            (false, true) => "~~*",
            (true, true) => "!~~*",
        };
        match self.functions.iter().find(|function| function.name() == sign) {
            Some(function) => {
                let call = ScalarFunction::new_udf(function.clone(), vec![*like.expr, *like.pattern]);
                Ok(Expr::ScalarFunction(call))
            }
            None => internal_err!("there is no function {sign}"),
        }
    }
}

impl AnalyzerRule for ResolvedCalls {
    fn name(&self) -> &str {
        "resolved_calls"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(|plan| self.node(plan))?.data)
    }
}

fn resolved(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let Expr::ScalarFunction(call) = expr else { return Ok(Transformed::no(expr)) };
    let function = unchecked(&call.func).clone();
    let Some(builtin) = function.inner().downcast_ref::<Builtin>() else {
        return Ok(Transformed::no(Expr::ScalarFunction(call)));
    };
    let types = call.args.iter().map(|arg| arg.get_type(schema)).collect::<DfResult<Vec<_>>>()?;
    if let Some(shared) = builtin.shared(&types) {
        return Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction {
            func: rechecked(&call.func, shared),
            args: call.args,
        })));
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
