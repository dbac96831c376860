//! `TUMBLE(…)` and `HOP(…)` in FROM: a subquery that adds `window_start` and `window_end` to every row.

use datafusion::sql::sqlparser::{
    ast::{
        Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, TableAlias,
        TableFactor,
    },
    tokenizer::Location,
};

use super::{
    ast::{bare_name, placed, select_all},
    fixed::{Windows, length, unsupported},
    session::{self, SessionWindows},
};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{
        names::fold,
        nodes::{alias_of, derived, named, table},
    },
};

pub(super) const START: &str = "window_start";
pub(super) const END: &str = "window_end";

/// The functions, with the names of their arguments in order; the last is optional, of a session the last two.
const TUMBLE: (&str, &[&str]) = ("TUMBLE(t, ts, INTERVAL '10 minutes')", &["data", "timecol", "size", "offset"]);
const HOP: (&str, &[&str]) =
    ("HOP(t, ts, INTERVAL '5 minutes', INTERVAL '10 minutes')", &["data", "timecol", "slide", "size", "offset"]);
const SESSION: (&str, &[&str]) = (
    "SESSION(t PARTITION BY key, ts, INTERVAL '5 minutes', max => INTERVAL '1 hour', timeout => INTERVAL '2 hours')",
    &["data", "timecol", "gap", "max", "timeout"],
);

/// Lowers one FROM item, if it is a window function call, bare or within `TABLE(…)`.
pub(super) fn lower(factor: &mut TableFactor, locate: &dyn Fn(Location) -> usize) -> Result<()> {
    let (name, args, alias) = match factor {
        TableFactor::Table { name, args: Some(args), alias, .. } => (&*name, &args.args, alias.clone()),
        TableFactor::TableFunction {
            expr: Expr::Function(Function { name, args: FunctionArguments::List(list), .. }),
            alias,
        } => (&*name, &list.args, alias.clone()),
        TableFactor::Function { name, args, alias, .. } => (&*name, &*args, alias.clone()),
        _ => return Ok(()),
    };
    let (usage, parameters) = match bare_name(name).as_deref() {
        Some("tumble") => TUMBLE,
        Some("hop") => HOP,
        Some("session") => {
            let (name, args) = (name.clone(), args.clone());
            let lowered = sessions(args, alias, locate).map_err(|e| placed(e, &name, locate))?;
            *factor = lowered;
            return Ok(());
        }
        Some(other @ "cumulate") => return Err(placed(unsupported(other), name, locate)),
        _ => return Ok(()),
    };
    let given = arguments(args, parameters, 1, usage, locate).map_err(|e| placed(e, name, locate))?;
    let windows = Windows {
        time: column(required(given[1], usage)?, locate)?,
        size: length(required(given[parameters.len() - 2], usage).map_err(|e| placed(e, name, locate))?, locate)?,
        slide: match parameters.len() {
            5 => Some(length(required(given[2], usage)?, locate)?),
            _ => None,
        },
        offset: given[parameters.len() - 1].map(|offset| length(offset, locate)).transpose()?,
    };
    let windows = windows.check().map_err(|e| placed(e, name, locate))?;
    let (relation, own_name) = relation(required(given[0], usage)?).map_err(|e| placed(e, name, locate))?;
    *factor = derived(with_windows(&windows, relation, own_name.clone())?, alias.or(own_name.map(alias_of)));
    Ok(())
}

/// A relation with the sessions of its rows.
fn sessions(
    mut args: Vec<FunctionArg>,
    alias: Option<TableAlias>,
    locate: &dyn Fn(Location) -> usize,
) -> Result<TableFactor> {
    let (usage, parameters) = SESSION;
    let keys = session::take_keys(&mut args);
    let given = arguments(&args, parameters, 2, usage, locate)?;
    let (time, gap) = (column(required(given[1], usage)?, locate)?, required(given[2], usage)?.clone());
    let sessions = SessionWindows { keys, time, gap, max: given[3].cloned(), timeout: given[4].cloned() }.check()?;
    let (relation, own_name) = relation(required(given[0], usage)?)?;
    Ok(derived(sessions.over(relation, [START, END]), alias.or(own_name.map(alias_of))))
}

/// The arguments in the order of `parameters`, positional or named; the last `optional` may be omitted.
fn arguments<'a>(
    args: &'a [FunctionArg],
    parameters: &[&str],
    optional: usize,
    usage: &str,
    locate: &dyn Fn(Location) -> usize,
) -> Result<Vec<Option<&'a Expr>>> {
    let wrong = || {
        Error::new(ErrorKind::UndefinedFunction, "wrong arguments of a window function").hint(format!("Write {usage}."))
    };
    let mut given = vec![None; parameters.len()];
    for (n, arg) in args.iter().enumerate() {
        let (slot, arg) = match arg {
            FunctionArg::Unnamed(arg) => (Some(n), arg),
            FunctionArg::Named { name, arg, .. } => (parameters.iter().position(|p| *p == fold(name)), arg),
            FunctionArg::ExprNamed { name: Expr::Identifier(name), arg, .. } => {
                (parameters.iter().position(|p| *p == fold(name)), arg)
            }
            FunctionArg::ExprNamed { .. } => return Err(wrong()),
        };
        let FunctionArgExpr::Expr(expr) = arg else { return Err(wrong()) };
        match slot.and_then(|slot| given.get_mut(slot)) {
            Some(slot @ None) => *slot = Some(expr),
            _ => return Err(placed(wrong(), expr, locate)),
        }
    }
    match given[..parameters.len() - optional].iter().all(Option::is_some) {
        true => Ok(given),
        false => Err(wrong()),
    }
}

fn required<'a>(arg: Option<&'a Expr>, usage: &str) -> Result<&'a Expr> {
    arg.ok_or_else(|| Error::new(ErrorKind::UndefinedFunction, "wrong arguments of a window function").hint(usage))
}

/// The event time column, as a name or `DESCRIPTOR(column)`.
fn column(expr: &Expr, locate: &dyn Fn(Location) -> usize) -> Result<Expr> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => return Ok(expr.clone()),
        Expr::Function(Function { name, args: FunctionArguments::List(list), .. })
            if bare_name(name).as_deref() == Some("descriptor") =>
        {
            if let [FunctionArg::Unnamed(FunctionArgExpr::Expr(column @ Expr::Identifier(_)))] = list.args.as_slice() {
                return Ok(column.clone());
            }
        }
        _ => {}
    }
    let error = Error::unsupported(format!("event time {expr} of a window function"))
        .hint("It is a column: compute it in a subquery, as in TUMBLE((SELECT …, … AS ts FROM t), ts, …).");
    Err(placed(error, expr, locate))
}

/// The relation that the windows apply to, and its name.
fn relation(expr: &Expr) -> Result<(TableFactor, Option<Ident>)> {
    let parts = match expr {
        Expr::Identifier(name) => vec![name.clone()],
        Expr::CompoundIdentifier(parts) => parts.clone(),
        Expr::Subquery(query) => return Ok((derived(*query.clone(), None), None)),
        other => {
            return Err(Error::unsupported(format!("window function over {other}"))
                .hint("Its first argument is the name of a relation, or a subquery in parentheses."));
        }
    };
    let own_name = parts.last().cloned();
    Ok((table(ObjectName::from(parts)), own_name))
}

/// `SELECT *, … AS window_start, … AS window_end FROM relation`
fn with_windows(windows: &Windows, relation: TableFactor, name: Option<Ident>) -> Result<Query> {
    let start = |expr| named(expr, START);
    if let Some(first) = windows.tumbling_start() {
        return Ok(select_all(vec![start(first.clone()), named(windows.end(first), END)], relation));
    }
    let starts = windows.sliding_starts().ok_or_else(|| Error::internal("windows neither tumble nor slide"))?;
    let inner = derived(select_all(vec![start(starts)], relation), name.map(alias_of));
    Ok(select_all(vec![named(windows.end(Expr::Identifier(Ident::new(START))), END)], inner))
}
