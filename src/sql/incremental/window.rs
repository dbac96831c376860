//! Properties of a window node, by its functions.

use datafusion::logical_expr::{
    Expr, Window,
    expr::{WindowFunction, WindowFunctionDefinition},
};

use crate::{
    error::{Error, Result},
    sql::functions::{self, SESSION_END, SESSION_START},
};

/// The function of an expression of a window.
pub(super) fn window_function(expr: &Expr) -> Result<&WindowFunction> {
    match expr {
        Expr::Alias(alias) => window_function(&alias.expr),
        Expr::WindowFunction(function) => Ok(function),
        other => Err(Error::internal(format!("{other} is no window function"))),
    }
}

/// The session end function of a window, if it is one of sessions.
pub(super) fn session(window: &Window) -> Result<Option<WindowFunction>> {
    let mut found = None;
    for expr in &window.window_expr {
        let function = window_function(expr)?;
        if ![SESSION_START, SESSION_END].contains(&function.fun.name()) {
            return Ok(None);
        }
        found = Some(function.clone());
    }
    let end = functions::windows().into_iter().find(|function| function.name() == SESSION_END);
    Ok(found.zip(end).map(|(found, end)| WindowFunction { fun: WindowFunctionDefinition::WindowUDF(end), ..found }))
}

/// The PARTITION BY keys common to all functions of a window.
pub(super) fn common_keys(window: &Window) -> Result<Vec<Expr>> {
    let mut functions = window.window_expr.iter().map(window_function);
    let Some(first) = functions.next() else { return Ok(Vec::new()) };
    let mut keys = first?.params.partition_by.clone();
    keys.dedup();
    for function in functions {
        let theirs = &function?.params.partition_by;
        keys.retain(|key| theirs.contains(key));
    }
    Ok(keys)
}
