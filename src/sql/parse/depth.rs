//! Limits the depth of syntax trees: they are cloned, compared and freed by recursion, here and in all later stages.
//!
//! Chains of AND, OR and UNION ALL, which generated queries have with thousands of operands, become balanced trees of
//! the same meaning; trees that are still deeper than a worker's stack allows are refused.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, SetExpr, SetOperator, SetQuantifier, Value, VisitMut, VisitorMut,
};

use crate::error::{Error, ErrorKind, Result};

/// Levels of one expression, including subqueries. A clone takes about 4 KiB of stack per level in a debug build.
const EXPRESSION_DEPTH_MAX: usize = 250;
/// Levels of UNION, INTERSECT and EXCEPT: 20 KiB of stack each.
const SET_DEPTH_MAX: usize = 100;
/// Chains up to this length are not rebalanced.
const CHAIN_MAX: usize = 16;

/// Balances the long chains within `node`, and refuses trees that are still too deep.
pub(super) fn limit<V: VisitMut>(node: &mut V) -> Result<()> {
    match node.visit(&mut DepthLimit { depth: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct DepthLimit {
    depth: usize,
}

impl VisitorMut for DepthLimit {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        balance_unions(&mut query.body);
        refuse_beyond(set_depth(&query.body), SET_DEPTH_MAX)
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        balance_conditions(expr);
        self.depth += 1;
        refuse_beyond(self.depth, EXPRESSION_DEPTH_MAX)
    }

    fn post_visit_expr(&mut self, _: &mut Expr) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn refuse_beyond(depth: usize, max: usize) -> ControlFlow<Error> {
    if depth <= max {
        return ControlFlow::Continue(());
    }
    ControlFlow::Break(
        Error::new(ErrorKind::LimitExceeded, "statement is nested too deeply")
            .detail(format!("At most {max} operators of one kind can follow on each other."))
            .hint("Break it into several common table expressions."),
    )
}

/// The depth of left-nested set operations; right-nested ones need parentheses, whose nesting is limited.
fn set_depth(mut body: &SetExpr) -> usize {
    let mut depth = 0;
    while let SetExpr::SetOperation { left, right, .. } = body {
        depth += 1;
        body = if matches!(**left, SetExpr::SetOperation { .. }) { left } else { right };
    }
    depth
}

fn balance_conditions(expr: &mut Expr) {
    let Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } = expr else { return };
    let op = op.clone();
    if !is_longer(expr, |e| match e {
        Expr::BinaryOp { left, op: other, .. } if *other == op => Some(&**left),
        _ => None,
    }) {
        return;
    }
    let mut operands = vec![];
    let mut rest = std::mem::replace(expr, Expr::Value(Value::Null.with_empty_span()));
    loop {
        match rest {
            Expr::BinaryOp { left, op: other, right } if other == op => {
                operands.push(*right);
                rest = *left;
            }
            first => {
                operands.push(first);
                break;
            }
        }
    }
    operands.reverse();
    let join = |left, right| Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) };
    if let Some(balanced) = balance(operands, &join) {
        *expr = balanced;
    }
}

fn balance_unions(body: &mut SetExpr) {
    const UNION_ALL: (SetOperator, SetQuantifier) = (SetOperator::Union, SetQuantifier::All);
    if !is_longer(body, |b| match b {
        SetExpr::SetOperation { left, op, set_quantifier, .. } if (*op, *set_quantifier) == UNION_ALL => Some(&**left),
        _ => None,
    }) {
        return;
    }
    let mut operands = vec![];
    let nothing = SetExpr::Values(datafusion::sql::sqlparser::ast::Values {
        explicit_row: false,
        value_keyword: false,
        rows: vec![],
    });
    let mut rest = std::mem::replace(body, nothing);
    loop {
        match rest {
            SetExpr::SetOperation { left, op, set_quantifier, right } if (op, set_quantifier) == UNION_ALL => {
                operands.push(*right);
                rest = *left;
            }
            first => {
                operands.push(first);
                break;
            }
        }
    }
    operands.reverse();
    let (op, set_quantifier) = UNION_ALL;
    let join = |left, right| SetExpr::SetOperation { op, set_quantifier, left: Box::new(left), right: Box::new(right) };
    if let Some(balanced) = balance(operands, &join) {
        *body = balanced;
    }
}

/// Whether the chain that `left` descends has more than `CHAIN_MAX` links.
fn is_longer<T>(first: &T, left: impl Fn(&T) -> Option<&T>) -> bool {
    std::iter::successors(Some(first), |link| left(link)).nth(CHAIN_MAX).is_some()
}

/// Joins adjacent operands pairwise until one tree is left; keeps their order.
fn balance<T>(mut operands: Vec<T>, join: &impl Fn(T, T) -> T) -> Option<T> {
    while operands.len() > 1 {
        let mut joined = Vec::with_capacity(operands.len().div_ceil(2));
        let mut rest = operands.into_iter();
        while let Some(left) = rest.next() {
            joined.push(match rest.next() {
                Some(right) => join(left, right),
                None => left,
            });
        }
        operands = joined;
    }
    operands.pop()
}
