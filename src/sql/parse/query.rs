//! Queries and DML, parsed by sqlparser and normalized.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{self, VisitMut, VisitorMut},
    dialect::Precedence,
    tokenizer::Location,
};

use super::{cursor::TokenCursor, depth, foreign, numbers, row_in, spellings, width};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{names, statement::Body, windows},
    time::with_seconds,
};

/// A query, with windows lowered.
pub(super) fn query(c: &mut TokenCursor) -> Result<Box<ast::Query>> {
    let position = c.here();
    let mut query = c.sql(|p| p.parse_query())?;
    transform_queries(c, &mut *query).map_err(|e| e.at(position))?;
    Ok(query)
}

/// An expression outside of queries, normalized as those in queries.
pub(super) fn expression(c: &mut TokenCursor, precedence: Option<Precedence>) -> Result<ast::Expr> {
    let position = c.here();
    let mut expr = c.expr(precedence)?;
    transform_queries(c, &mut expr).map_err(|e| e.at(position))?;
    Ok(expr)
}

/// `INSERT`, `UPDATE`, `DELETE`.
pub(super) fn change(c: &mut TokenCursor) -> Result<Body> {
    let position = c.here();
    let body = match c.sql(|p| p.parse_statement())? {
        ast::Statement::Insert(mut insert) => check_insert(&insert)
            .and_then(|()| transform_queries(c, &mut insert))
            .map(|()| Body::Insert(Box::new(insert))),
        ast::Statement::Update(mut update) => {
            transform_queries(c, &mut update).map(|()| Body::Update(Box::new(update)))
        }
        ast::Statement::Delete(mut delete) => {
            transform_queries(c, &mut delete).map(|()| Body::Delete(Box::new(delete)))
        }
        _ => Err(Error::unsupported("this statement")),
    };
    body.map_err(|e| e.at(position))
}

/// Refuses clauses of other databases between INSERT and its rows.
fn check_insert(insert: &ast::Insert) -> Result<()> {
    let what = if insert.or.is_some() || insert.ignore || insert.replace_into {
        "INSERT OR …"
    } else if insert.overwrite {
        "INSERT OVERWRITE"
    } else if insert.partitioned.is_some() || !insert.after_columns.is_empty() {
        "INSERT … PARTITION"
    } else if matches!(insert.on, Some(ast::OnInsert::DuplicateKeyUpdate(_))) {
        "INSERT … ON DUPLICATE KEY UPDATE"
    } else if !insert.assignments.is_empty() {
        "INSERT … SET"
    } else if matches!(insert.table, ast::TableObject::TableFunction(_)) {
        "INSERT INTO a function"
    } else {
        return Ok(());
    };
    Err(Error::unsupported(what).hint("Write INSERT INTO t (…) VALUES (…) [ON CONFLICT …]."))
}

/// Normalizes all queries within `node`, and refuses clauses that later stages would ignore.
pub(super) fn transform_queries<V: VisitMut>(c: &TokenCursor, node: &mut V) -> Result<()> {
    depth::limit(node)?;
    width::limit(node)?;
    if let ControlFlow::Break(error) = node.visit(&mut QueryTransformer { locate: &|at| c.text.position(at) }) {
        return Err(error);
    }
    windows::lower(node, &|at| c.text.position(at))
}

struct QueryTransformer<'a> {
    locate: &'a dyn Fn(Location) -> usize,
}

impl VisitorMut for QueryTransformer<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Error> {
        let what = if !query.locks.is_empty() {
            Some("SELECT … FOR UPDATE")
        } else if query.for_clause.is_some() {
            Some("SELECT … FOR")
        } else if query.settings.is_some() {
            Some("SELECT … SETTINGS")
        } else if query.format_clause.is_some() {
            Some("SELECT … FORMAT")
        } else {
            match query.body.as_ref() {
                ast::SetExpr::Insert(_) => Some("WITH … INSERT"),
                ast::SetExpr::Update(_) => Some("WITH … UPDATE"),
                ast::SetExpr::Delete(_) => Some("WITH … DELETE"),
                ast::SetExpr::Merge(_) => Some("WITH … MERGE"),
                _ => None,
            }
        };
        if let Some(what) = what {
            return ControlFlow::Break(Error::unsupported(what));
        }
        if let Some(error) = foreign::of_query(query) {
            return ControlFlow::Break(error);
        }
        match fetch_to_limit(query) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &mut ast::TableFactor) -> ControlFlow<Error> {
        if let Some(error) = foreign::of_factor(factor) {
            return ControlFlow::Break(error);
        }
        let ast::TableFactor::Table { name, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let reserved = |i: &&ast::Ident| i.quote_style.is_none() && names::is_reserved(&i.value);
        match name.0.iter().filter_map(|p| p.as_ident()).find(reserved) {
            Some(name) => ControlFlow::Break(
                Error::new(ErrorKind::Syntax, format!("syntax error at or near \"{name}\""))
                    .detail("Expected the name of a relation.")
                    .hint(names::reserved_hint(&name.value))
                    .at((self.locate)(name.span.start)),
            ),
            None => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut ast::Expr) -> ControlFlow<Error> {
        let checked = numbers::written_out(expr).and_then(|()| row_in::check(expr));
        if let Err(error) = checked {
            return ControlFlow::Break(error);
        }
        spellings::as_calls(expr);
        let (value, data_type) = match expr {
            ast::Expr::TypedString(typed) => (Some(&mut typed.value.value), &mut typed.data_type),
            ast::Expr::Cast { expr, data_type, .. } => match expr.as_mut() {
                ast::Expr::Value(value) => (Some(&mut value.value), data_type),
                _ => (None, data_type),
            },
            _ => return ControlFlow::Continue(()),
        };
        match (value, data_type) {
            (value, ast::DataType::Timestamp(precision, _)) => {
                // Postgres' own resolution, and the range of its years.
                precision.get_or_insert(6);
                if let Some(ast::Value::SingleQuotedString(text)) = value {
                    *text = with_seconds(text).into_owned();
                }
            }
            (Some(value @ ast::Value::SingleQuotedString(_)), ast::DataType::Bytea) => {
                if let Err(error) = as_bytes(value) {
                    return ControlFlow::Break(error);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut ast::Select) -> ControlFlow<Error> {
        if let Some(into) = &select.into {
            let at = into.name.0.first().and_then(|p| p.as_ident()).map(|i| i.span.start);
            let error = Error::unsupported("SELECT INTO").hint("Write CREATE TABLE … AS SELECT ….");
            return ControlFlow::Break(match at {
                Some(at) if at.line > 0 => error.at((self.locate)(at)),
                _ => error,
            });
        }
        if let Some(condition) = &mut select.selection
            && let Err(error) = row_in::as_exists(condition)
        {
            return ControlFlow::Break(error);
        }
        foreign::of_select(select).map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }
}

/// Replaces the text of a `bytea` literal by the hexadecimal digits of its bytes.
pub fn as_bytes(value: &mut ast::Value) -> Result<()> {
    if let ast::Value::SingleQuotedString(text) = value {
        *value = ast::Value::HexStringLiteral(hex_of_bytea(text)?);
    }
    Ok(())
}

/// Postgres' two spellings of bytes, `\\x6162` and `a\\142\\\\`, as hexadecimal digits.
fn hex_of_bytea(text: &str) -> Result<String> {
    let bad = |what: &str| Error::new(ErrorKind::InvalidText, format!("invalid {what} for type bytea"));
    if let Some(digits) = text.strip_prefix("\\x") {
        let digits: String = digits.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        return match digits.len().is_multiple_of(2) && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => Ok(digits),
            false => Err(bad("hexadecimal data")),
        };
    }
    let mut hex = String::with_capacity(text.len() * 2);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => match bytes.next().ok_or_else(|| bad("input syntax"))? {
                b'\\' => b'\\',
                first => {
                    let octal = [Some(first), bytes.next(), bytes.next()];
                    let digits: String = octal.into_iter().flatten().map(char::from).collect();
                    match digits.len() {
                        3 => u8::from_str_radix(&digits, 8).map_err(|_| bad("input syntax"))?,
                        _ => return Err(bad("input syntax")),
                    }
                }
            },
            byte => byte,
        };
        hex.push_str(&format!("{byte:02x}"));
    }
    Ok(hex)
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`.
fn fetch_to_limit(query: &mut ast::Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else { return Ok(()) };
    if fetch.with_ties || fetch.percent {
        return Err(Error::unsupported("FETCH FIRST … WITH TIES or PERCENT").hint("Write LIMIT n."));
    }
    let one = || ast::Expr::Value(ast::Value::Number("1".to_string(), false).with_empty_span());
    let rows = fetch.quantity.unwrap_or_else(one);
    match &mut query.limit_clause {
        None => {
            query.limit_clause =
                Some(ast::LimitClause::LimitOffset { limit: Some(rows), offset: None, limit_by: vec![] });
            Ok(())
        }
        Some(ast::LimitClause::LimitOffset { limit: limit @ None, .. }) => {
            *limit = Some(rows);
            Ok(())
        }
        Some(_) => Err(Error::unsupported("LIMIT together with FETCH FIRST").hint("Keep one of them.")),
    }
}
