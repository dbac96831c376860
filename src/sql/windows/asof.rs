//! `a ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k`: joins each row of `a` with the latest row of `b` that
//! is not later.
//!
//! A row of `b` is valid from its time until the next row of its key, so this is an ordinary join with the rows of `b`,
//! each extended by the time of the next one:
//!
//! ```text
//! a LEFT JOIN (SELECT *, lead(ts) OVER (PARTITION BY k ORDER BY ts) AS __next FROM b) AS b
//!   ON a.k = b.k AND a.ts >= b.ts AND (a.ts < b.__next OR b.__next IS NULL)
//! ```

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, OrderByExpr, OrderByOptions, Select, SelectItem,
    TableFactor, WindowSpec, WindowType,
};

use super::ast::{call, name_of, quoted, select_all};
use crate::{
    error::{Error, Result},
    sql::{
        names::fold,
        nodes::{alias_of, derived},
    },
};

/// The column with the time of the next row of the same key.
const NEXT: &str = "__next";

/// Rewrites the ASOF joins of a SELECT to ordinary joins.
pub(super) fn lower(select: &mut Select) -> Result<()> {
    let wildcard = |i: &SelectItem| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    let shows_all = select.projection.iter().any(wildcard);
    for from in &mut select.from {
        for join in &mut from.joins {
            if !matches!(join.join_operator, JoinOperator::AsOf { .. }) {
                continue;
            }
            if shows_all {
                return Err(Error::unsupported("SELECT * beside ASOF JOIN").hint("Name the columns."));
            }
            lower_join(join)?;
        }
    }
    Ok(())
}

fn lower_join(join: &mut Join) -> Result<()> {
    let JoinOperator::AsOf { match_condition, constraint: JoinConstraint::On(on) } = &join.join_operator else {
        return Err(Error::unsupported("ASOF JOIN without ON")
            .hint("Write ASOF JOIN b MATCH_CONDITION (a.ts >= b.ts) ON a.k = b.k."));
    };
    let (on, condition) = (on.clone(), match_condition.clone());
    let name = name_of(&join.relation).ok_or_else(|| Error::unsupported("ASOF JOIN with a relation without a name"))?;
    let own = |expr: &Expr| matches!(expr, Expr::CompoundIdentifier(parts) if parts.len() == 2 && fold(&parts[0]) == fold(&name));
    let usage = || {
        Error::unsupported(format!("MATCH_CONDITION ({condition})"))
            .hint(format!("Compare the times of both sides: MATCH_CONDITION (a.ts >= {name}.ts)."))
    };
    let Expr::BinaryOp { left, op, right } = &condition else { return Err(usage()) };
    let (theirs, op, ours) = match (own(left), own(right)) {
        (false, true) => (left.as_ref().clone(), op.clone(), right.as_ref().clone()),
        (true, false) => (right.as_ref().clone(), swapped(op).ok_or_else(usage)?, left.as_ref().clone()),
        _ => return Err(usage()),
    };
    // The validity interval excludes the time of the next row.
    let until = match op {
        BinaryOperator::GtEq => BinaryOperator::Lt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        _ => return Err(usage()),
    };
    let keys: Vec<Expr> = equal(&on).into_iter().filter(own).map(|key| bare(&key)).collect();
    if keys.is_empty() {
        return Err(Error::unsupported(format!("ASOF JOIN ON {on}")).hint(format!("Join by a key: ON a.k = {name}.k.")));
    }
    let next = Expr::CompoundIdentifier(vec![name.clone(), Ident::with_quote('"', NEXT)]);
    let newest = or(binary(theirs.clone(), until, next.clone()), Expr::IsNull(Box::new(next)));
    let all = and(and(Expr::Nested(Box::new(on)), binary(theirs, op, ours.clone())), newest);
    let inner = std::mem::replace(&mut join.relation, TableFactor::TableFunction { expr: ours.clone(), alias: None });
    join.relation = derived(select_all(vec![quoted(lead(bare(&ours), keys), NEXT)], inner), Some(alias_of(name)));
    join.join_operator = JoinOperator::LeftOuter(JoinConstraint::On(all));
    Ok(())
}

/// `lead(time) OVER (PARTITION BY keys ORDER BY time)`
fn lead(time: Expr, keys: Vec<Expr>) -> Expr {
    let mut call = call("lead", vec![time.clone()]);
    if let Expr::Function(function) = &mut call {
        function.over = Some(WindowType::WindowSpec(WindowSpec {
            window_name: None,
            partition_by: keys,
            order_by: vec![OrderByExpr {
                expr: time,
                options: OrderByOptions { asc: None, nulls_first: None },
                with_fill: None,
            }],
            window_frame: None,
        }));
    }
    call
}

/// Both sides of each equality in a conjunction.
fn equal(on: &Expr) -> Vec<Expr> {
    match on {
        Expr::Nested(inner) => equal(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => [equal(left), equal(right)].concat(),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => vec![left.as_ref().clone(), right.as_ref().clone()],
        _ => Vec::new(),
    }
}

/// A column without its qualifier: within the subquery the relation may have another name.
fn bare(column: &Expr) -> Expr {
    match column {
        Expr::CompoundIdentifier(parts) => parts.last().cloned().map_or_else(|| column.clone(), Expr::Identifier),
        other => other.clone(),
    }
}

fn swapped(op: &BinaryOperator) -> Option<BinaryOperator> {
    match op {
        BinaryOperator::LtEq => Some(BinaryOperator::GtEq),
        BinaryOperator::Lt => Some(BinaryOperator::Gt),
        _ => None,
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op, right: Box::new(right) }
}

fn and(left: Expr, right: Expr) -> Expr {
    binary(left, BinaryOperator::And, right)
}

fn or(left: Expr, right: Expr) -> Expr {
    Expr::Nested(Box::new(binary(left, BinaryOperator::Or, right)))
}
