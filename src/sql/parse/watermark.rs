//! Watermarks: all notations are reduced to a column and a delay.

use datafusion::sql::sqlparser::{
    ast::{BinaryOperator, Expr},
    tokenizer::Token,
};

use super::cursor::TokenCursor;
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{interval, names, statement::WatermarkDef},
};

const HINT: &str = "Write WATERMARK FOR ts AS ts - INTERVAL '5 seconds'.";

/// Whether a watermark clause comes next, and not a column of that name.
pub(super) fn is_next(c: &TokenCursor) -> bool {
    c.is("WATERMARK")
        && (c.are("WATERMARK FOR") || *c.peek(1) == Token::LParen || c.word(2).as_deref() == Some("DELAY"))
}

/// `WATERMARK FOR ts AS ts - INTERVAL '…'`, `WATERMARK (ts, INTERVAL '…')`, `WATERMARK ts DELAY OF INTERVAL '…'`.
pub(super) fn watermark(c: &mut TokenCursor) -> Result<WatermarkDef> {
    c.expect("WATERMARK")?;
    if c.eat("FOR") {
        let (column, position) = c.ident("the name of the event time's column")?;
        c.expect("AS")?;
        let at = c.here();
        let expr = c.expr(None)?;
        let delay_us = behind(&column, &expr).map_err(|e| e.at(at))?;
        return Ok(WatermarkDef { column, delay_us, position });
    }
    let parenthesised = c.eat_token(&Token::LParen);
    let (column, position) = c.ident("the name of the event time's column")?;
    if parenthesised {
        c.expect_token(&Token::Comma)?;
    } else {
        c.expect("DELAY OF")?;
    }
    let at = c.here();
    let expr = c.expr(None)?;
    let delay_us = delay(&expr).map_err(|e| e.at(at))?;
    if parenthesised {
        c.expect_token(&Token::RParen)?;
    }
    Ok(WatermarkDef { column, delay_us, position })
}

/// The delay, in microseconds, of `expr`: the column itself, or the column minus a constant.
fn behind(column: &str, expr: &Expr) -> Result<i64> {
    let is_column = |e: &Expr| matches!(unwrap(e), Expr::Identifier(i) if names::fold(i) == column);
    match unwrap(expr) {
        e if is_column(e) => Ok(0),
        Expr::BinaryOp { left, op: BinaryOperator::Minus, right } if is_column(left) => delay(right),
        e => Err(Error::unsupported(format!("watermark {e}"))
            .detail(format!("A watermark is column \"{column}\" less a constant interval."))
            .hint(HINT)),
    }
}

fn unwrap(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => unwrap(inner),
        expr => expr,
    }
}

fn delay(expr: &Expr) -> Result<i64> {
    let interval = interval::constant(expr)?;
    let Some(delay) = interval.fixed_us() else {
        return Err(Error::unsupported("a watermark delay of months or years")
            .detail("Months differ in length.")
            .hint("Say it in days."));
    };
    if delay < 0 {
        let message = format!("watermark delay must not be negative: {expr}");
        return Err(Error::new(ErrorKind::InvalidParameterValue, message).hint(HINT));
    }
    Ok(delay)
}
