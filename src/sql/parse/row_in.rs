//! `(a, b) IN (SELECT c, d FROM u)` as a conjunct of a WHERE becomes an EXISTS. Elsewhere NULL and false differ
//! (three-valued logic), so it is refused by name.
//!
//! ```text
//! WHERE (a, b) IN (SELECT c, d FROM u)
//!                    ─▶  WHERE EXISTS (SELECT * FROM (SELECT c, d FROM u) AS __rows (__row_0, __row_1)
//!                                      WHERE __row_0 = a AND __row_1 = b)
//! ```

use std::cmp::Ordering;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Query, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, TableWithJoins,
};

use crate::{
    error::{Error, ErrorKind, Result},
    sql::{naming, using::all_of},
};

/// Rewrites all such conjuncts of a WHERE.
pub(super) fn as_exists(condition: &mut Expr) -> Result<()> {
    match condition {
        Expr::Nested(inner) => as_exists(inner)?,
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            as_exists(left)?;
            as_exists(right)?;
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } if is_row(left) => {
            if let Expr::Subquery(subquery) = right.as_ref() {
                let (expr, subquery) = (left.clone(), subquery.clone());
                *condition = Expr::InSubquery { expr, subquery, negated: false };
                as_exists(condition)?;
            }
        }
        Expr::InSubquery { expr, subquery, negated: false } => {
            if let Expr::Tuple(row) = expr.as_ref()
                && row.len() > 1
            {
                check_columns(row, subquery)?;
                *condition = exists(row, naming::with_unique_names(subquery));
            }
        }
        _ => {}
    }
    Ok(())
}

fn is_row(expr: &Expr) -> bool {
    matches!(expr, Expr::Tuple(row) if row.len() > 1)
}

/// Fails if the two sides visibly have different numbers of columns.
fn check_columns(row: &[Expr], subquery: &Query) -> Result<()> {
    let Some(columns) = naming::names(subquery).map(|names| names.len()) else { return Ok(()) };
    match columns.cmp(&row.len()) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(Error::new(ErrorKind::Syntax, "subquery has too few columns")),
        Ordering::Greater => Err(Error::new(ErrorKind::Syntax, "subquery has too many columns")),
    }
}

/// Fails on a row IN (subquery) anywhere else.
pub(super) fn check(expr: &Expr) -> Result<()> {
    match expr {
        Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. }
            if is_row(left) && matches!(right.as_ref(), Expr::Subquery(_)) =>
        {
            Err(Error::unsupported("a row compared with ANY or ALL (subquery) in this place")
                .hint("Write EXISTS (SELECT 1 FROM u WHERE u.c = t.a AND u.d = t.b)."))
        }
        Expr::InSubquery { expr, negated, .. } if is_row(expr) => {
            let (what, exists) = if *negated { ("NOT IN", "NOT EXISTS") } else { ("IN", "EXISTS") };
            Err(Error::unsupported(format!("a row {what} (subquery) in this place"))
                .hint(format!("Write {exists} (SELECT 1 FROM u WHERE u.c = t.a AND u.d = t.b).")))
        }
        _ => Ok(()),
    }
}

fn exists(row: &[Expr], subquery: Query) -> Expr {
    let name = |place: usize| Ident::new(format!("__row_{place}"));
    let columns = (0..row.len()).map(|place| TableAliasColumnDef::from_name(name(place).value));
    let alias = TableAlias { explicit: true, name: Ident::new("__rows"), columns: columns.collect(), at: None };
    let rows = TableFactor::Derived { lateral: false, subquery: Box::new(subquery), alias: Some(alias), sample: None };
    let equal = row.iter().enumerate().map(|(place, value)| Expr::BinaryOp {
        left: Box::new(Expr::Identifier(name(place))),
        op: BinaryOperator::Eq,
        right: Box::new(Expr::Nested(Box::new(value.clone()))),
    });
    let all = equal.reduce(|all, next| Expr::BinaryOp {
        left: Box::new(all),
        op: BinaryOperator::And,
        right: Box::new(next),
    });
    let mut query = all_of(TableWithJoins { relation: rows, joins: Vec::new() }, None);
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.selection = all;
    }
    Expr::Exists { subquery: Box::new(query), negated: false }
}
