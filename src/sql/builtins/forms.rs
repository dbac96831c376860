//! Other spellings of calls: `SUBSTRING(s FROM 2)`, `POSITION(p IN s)`, `OVERLAY(s PLACING t FROM 2)`, and operators.

use std::sync::Arc;

use datafusion::{
    common::{DFSchema, Result, internal_err},
    logical_expr::{
        Expr, ScalarUDF,
        expr::ScalarFunction,
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
    },
    sql::sqlparser::ast::BinaryOperator,
};

/// Plans them as calls of our functions. Must be registered before DataFusion's planners.
#[derive(Debug)]
pub struct SpecialForms {
    functions: Vec<Arc<ScalarUDF>>,
}

impl SpecialForms {
    pub fn new(functions: Vec<Arc<ScalarUDF>>) -> Self {
        SpecialForms { functions }
    }

    fn call<T>(&self, name: &str, args: Vec<Expr>) -> Result<PlannerResult<T>> {
        match self.functions.iter().find(|function| function.name() == name) {
            Some(function) => {
                let call = ScalarFunction::new_udf(function.clone(), args);
                Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
            }
            None => internal_err!("there is no function {name}"),
        }
    }
}

impl ExprPlanner for SpecialForms {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let sign = match expr.op {
            BinaryOperator::PGStartsWith => "starts_with",
            BinaryOperator::PGExp => "^",
            BinaryOperator::BitwiseAnd => "&",
            BinaryOperator::BitwiseOr => "|",
            BinaryOperator::PGBitwiseXor => "#",
            BinaryOperator::PGBitwiseShiftLeft => "<<",
            BinaryOperator::PGBitwiseShiftRight => ">>",
            BinaryOperator::PGRegexMatch => "~",
            BinaryOperator::PGRegexIMatch => "~*",
            BinaryOperator::PGRegexNotMatch => "!~",
            BinaryOperator::PGRegexNotIMatch => "!~*",
            BinaryOperator::PGLikeMatch => "~~",
            BinaryOperator::PGILikeMatch => "~~*",
            BinaryOperator::PGNotLikeMatch => "!~~",
            BinaryOperator::PGNotILikeMatch => "!~~*",
            _ => return Ok(PlannerResult::Original(expr)),
        };
        self.call(sign, vec![expr.left, expr.right])
    }

    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("substring", args)
    }

    fn plan_position(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("position", args)
    }

    fn plan_overlay(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        self.call("overlay", args)
    }
}
