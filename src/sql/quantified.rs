//! `x op ANY (array)` and `x op ALL (array)` over an array with a NULL element: NULL unless another element decides
//! (three-valued logic). DataFusion returns false, or true.
//!
//! ```text
//! x = ANY (a)   ─▶   CASE WHEN x = ANY (a) THEN true WHEN array_has_nulls(a) THEN NULL ELSE x = ANY (a) END
//! ```
//!
//! `ARRAY[…]` of columns becomes the equivalent function call: DataFusion resolves columns in its elements only in the
//! nearest FROM, not in outer queries.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    CaseWhen, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName,
    UnaryOperator, Value, VisitMut, VisitorMut, helpers::attached_token::AttachedToken, visit_expressions,
};

use super::functions::HAS_NULLS;

/// Rewrites all such comparisons of a statement.
pub(super) fn with_nulls(node: &mut impl VisitMut) {
    let _ = node.visit(&mut Quantified);
}

struct Quantified;

impl VisitorMut for Quantified {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let (array, decided) = match &*expr {
            Expr::AnyOp { right, .. } if is_array(right) => (right, true),
            Expr::AllOp { right, .. } if is_array(right) => (right, false),
            Expr::Array(array) if array.elem.iter().any(has_column) => {
                *expr = calls(MAKE_ARRAY, array.elem.clone());
                return ControlFlow::Continue(());
            }
            _ => return ControlFlow::Continue(()),
        };
        let nulls = call(HAS_NULLS, array.as_ref().clone());
        let condition = match decided {
            true => expr.clone(),
            false => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(Expr::Nested(Box::new(expr.clone()))) },
        };
        let when = |condition, result| CaseWhen { condition, result: Expr::value(result) };
        *expr = Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![when(condition, Value::Boolean(decided)), when(nulls, Value::Null)],
            else_result: Some(Box::new(expr.clone())),
        };
        ControlFlow::Continue(())
    }
}

const MAKE_ARRAY: &str = "make_array";

fn has_column(expr: &Expr) -> bool {
    let is_column = |part: &Expr| matches!(part, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    visit_expressions(expr, |part| if is_column(part) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        .is_break()
}

/// A subquery operand has rows instead of elements, and is not rewritten.
fn is_array(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_array(inner),
        Expr::Subquery(_) => false,
        _ => true,
    }
}

/// A call of a function of one argument.
pub(super) fn call(name: &str, argument: Expr) -> Expr {
    calls(name, vec![argument])
}

pub(super) fn calls(name: &str, arguments: Vec<Expr>) -> Expr {
    let args = arguments.into_iter().map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg))).collect();
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList { duplicate_treatment: None, args, clauses: Vec::new() }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}
