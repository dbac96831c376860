//! `SESSION(t [PARTITION BY key], ts, gap [, max => …] [, timeout => …])` in FROM: two window functions compute each
//! row's session.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, OrderByExpr, OrderByOptions, Query,
    SelectItem, TableFactor, Value, WindowSpec, WindowType,
};

use super::ast::{bare_name, call, quoted, select_all};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{functions, interval},
};

/// The marker function that holds the `PARTITION BY` keys as one more argument, inserted before parsing.
pub(crate) const PARTITION_BY: &str = "partition_by";

/// Sessions over the rows of a relation.
#[derive(Debug)]
pub(super) struct SessionWindows {
    pub keys: Vec<Expr>,
    pub time: Expr,
    /// The maximum distance to the next row of a session: a constant interval, or an expression over the row.
    pub gap: Expr,
    /// The maximum length of a session.
    pub max: Option<Expr>,
    /// The wall-clock time after its last row at which a session is closed.
    pub timeout: Option<Expr>,
}

/// Removes the PARTITION BY keys from the arguments of a call and returns them.
pub(super) fn take_keys(args: &mut Vec<FunctionArg>) -> Vec<Expr> {
    let keys = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(function)))
            if bare_name(&function.name).as_deref() == Some(PARTITION_BY) =>
        {
            arguments(&function.args)
        }
        _ => None,
    };
    let Some(at) = args.iter().position(|arg| keys(arg).is_some()) else { return by_descriptor(args) };
    let found = keys(&args[at]).unwrap_or_default();
    args.remove(at);
    found
}

/// `SESSION(TABLE t, DESCRIPTOR(ts), DESCRIPTOR(key), gap)`: the notation of another system.
fn by_descriptor(args: &mut Vec<FunctionArg>) -> Vec<Expr> {
    let descriptor = match args.get(2) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Function(function))))
            if bare_name(&function.name).as_deref() == Some("descriptor") =>
        {
            arguments(&function.args)
        }
        _ => None,
    };
    match descriptor {
        Some(keys) => {
            args.remove(2);
            keys
        }
        None => Vec::new(),
    }
}

fn arguments(args: &FunctionArguments) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = args else { return None };
    let expr = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(expr).collect()
}

impl SessionWindows {
    /// Refuses gaps and limits that are not positive.
    pub fn check(mut self) -> Result<Self> {
        let positive = |what: &str, expr: &Expr| -> Result<Expr> {
            let length = interval::constant(expr)?;
            match (length.is_positive(), length.months) {
                (true, 0) => Ok(length.literal()),
                (true, _) => {
                    Err(Error::unsupported(format!("the {what} of a session of {length}")).hint("Say it in days."))
                }
                (false, _) => {
                    let message = format!("the {what} of a session must be positive, not {length}");
                    Err(Error::new(ErrorKind::InvalidParameterValue, message))
                }
            }
        };
        // Any other gap is evaluated per row.
        if matches!(self.gap, Expr::Value(_) | Expr::Interval(_)) {
            self.gap = positive("gap", &self.gap)?;
        }
        self.max = self.max.map(|max| positive("longest duration", &max)).transpose()?;
        self.timeout = self.timeout.map(|timeout| positive("timeout", &timeout)).transpose()?;
        Ok(self)
    }

    /// `SELECT *, session_start(…) OVER (…) AS start, session_end(…) OVER (…) AS end FROM relation`
    pub fn over(&self, relation: TableFactor, [start, end]: [&str; 2]) -> Query {
        select_all(vec![self.bound(functions::SESSION_START, start), self.bound(functions::SESSION_END, end)], relation)
    }

    fn bound(&self, function: &str, name: &str) -> SelectItem {
        let end = Expr::BinaryOp {
            left: Box::new(self.time.clone()),
            op: BinaryOperator::Plus,
            right: Box::new(Expr::Nested(Box::new(self.gap.clone()))),
        };
        let mut args = vec![self.time.clone(), end];
        let unlimited = || self.timeout.as_ref().map(|_| Expr::Value(Value::Null.with_empty_span()));
        args.extend(self.max.clone().or_else(unlimited));
        args.extend(self.timeout.clone());
        let mut call = call(function, args);
        if let Expr::Function(function) = &mut call {
            function.over = Some(WindowType::WindowSpec(WindowSpec {
                window_name: None,
                partition_by: self.keys.clone(),
                order_by: vec![OrderByExpr {
                    expr: self.time.clone(),
                    options: OrderByOptions { asc: None, nulls_first: None },
                    with_fill: None,
                }],
                window_frame: None,
            }));
        }
        quoted(call, name)
    }
}
