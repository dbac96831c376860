//! Spark's `window(ts, size [, slide [, offset]])` and `session_window(ts, gap)`: a group key with a `start` and an
//! `end`.
//!
//! Tumbling windows are plain expressions, so they replace the call in place, over joins too. A sliding window
//! multiplies rows, which only FROM can do: the relation of the event time column gets the window starts as one more
//! column. So do sessions, which are partitioned by the other group keys.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::{
    ast::{
        AccessExpr, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, JoinOperator,
        OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, Value, VisitMut, VisitorMut,
    },
    tokenizer::Location,
};

use super::{
    ast::{bare_name, call, name_of, placed, quoted, select_all},
    fixed::{Windows, length, unsupported},
    session::SessionWindows,
};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::{
        names::fold,
        nodes::{alias_of, derived},
    },
};

/// The column with the starts of sliding windows: a name that no client would use.
const START: &str = "__window_start";
const END: &str = "__window_end";
const WINDOW: &str = "window";
const SESSION_WINDOW: &str = "session_window";

/// The windows of one call.
#[derive(Debug, PartialEq)]
enum WindowCall {
    Windows(Box<Windows>),
    /// The event time and the gap.
    Sessions(Box<(Expr, Expr)>),
}

impl WindowCall {
    /// The name of the function, which is the name of its column.
    fn name(&self) -> &'static str {
        match self {
            WindowCall::Windows(_) => WINDOW,
            WindowCall::Sessions(..) => SESSION_WINDOW,
        }
    }
}

/// Lowers the calls in each SELECT of a query; those in subqueries are lowered already.
pub(super) fn lower(query: &mut Query, locate: &dyn Fn(Location) -> usize) -> Result<()> {
    lower_body(&mut query.body, query.order_by.as_mut(), locate)
}

fn lower_body(body: &mut SetExpr, order_by: Option<&mut OrderBy>, locate: &dyn Fn(Location) -> usize) -> Result<()> {
    match body {
        SetExpr::Select(select) => lower_select(select, order_by, locate),
        SetExpr::SetOperation { left, right, .. } => {
            lower_body(left, None, locate)?;
            lower_body(right, None, locate)
        }
        _ => Ok(()),
    }
}

fn lower_select(
    select: &mut Select,
    mut order_by: Option<&mut OrderBy>,
    locate: &dyn Fn(Location) -> usize,
) -> Result<()> {
    let mut finder = WindowCallFinder { locate, depth: 0, found: None };
    let broken = visit(select, order_by.as_deref_mut(), &mut finder);
    if let ControlFlow::Break(error) = broken {
        return Err(error);
    }
    let Some(found) = finder.found else { return Ok(()) };
    let name = found.name();
    let column = |name: &str| Expr::Identifier(Ident::with_quote('"', name));
    let (start, end) = match &found {
        WindowCall::Windows(windows) => {
            let start = match windows.tumbling_start() {
                Some(start) => start,
                None => {
                    add_starts(select, windows).map_err(|e| placed(e, &windows.time, locate))?;
                    column(START)
                }
            };
            let end = windows.end(start.clone());
            (start, end)
        }
        WindowCall::Sessions(of) => {
            let (time, gap) = of.as_ref();
            add_sessions(select, time, gap).map_err(|e| placed(e, time, locate))?;
            (column(START), column(END))
        }
    };
    group_by_start(select, &start, name);
    if let (WindowCall::Sessions(..), GroupByExpr::Expressions(groups, _)) = (&found, &mut select.group_by) {
        groups.push(end.clone());
    }
    name_items(&mut select.projection, name);
    let mut replacer = Replacer { name, depth: 0, whole: structure(&start, &end), start, end };
    let _ = select.projection.visit(&mut replacer);
    let _ = select.selection.visit(&mut replacer);
    let _ = select.having.visit(&mut replacer);
    let _ = select.qualify.visit(&mut replacer);
    // The starts have the order of the windows, and timestamps compare faster than structs.
    replacer.whole = replacer.start.clone();
    let _ = select.group_by.visit(&mut replacer);
    if let Some(OrderBy { kind: OrderByKind::Expressions(exprs), .. }) = order_by {
        let _ = exprs.visit(&mut replacer);
    }
    Ok(())
}

/// Visits all clauses of a SELECT where a window may occur.
fn visit(select: &mut Select, order_by: Option<&mut OrderBy>, visitor: &mut WindowCallFinder) -> ControlFlow<Error> {
    select.projection.visit(visitor)?;
    select.selection.visit(visitor)?;
    select.group_by.visit(visitor)?;
    select.having.visit(visitor)?;
    select.qualify.visit(visitor)?;
    match order_by {
        Some(order_by) => order_by.visit(visitor),
        None => ControlFlow::Continue(()),
    }
}

/// Finds the window call of a SELECT; it may have only one.
struct WindowCallFinder<'a> {
    locate: &'a dyn Fn(Location) -> usize,
    /// Depth of nested subqueries, whose calls are ignored.
    depth: usize,
    found: Option<WindowCall>,
}

impl VisitorMut for WindowCallFinder<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        let Expr::Function(function) = expr else { return ControlFlow::Continue(()) };
        if self.depth > 0 || function.over.is_some() {
            return ControlFlow::Continue(());
        }
        match self.see(function) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(placed(error, &function.name, self.locate)),
        }
    }
}

impl WindowCallFinder<'_> {
    fn see(&mut self, function: &Function) -> Result<()> {
        match bare_name(&function.name).as_deref() {
            Some(WINDOW | SESSION_WINDOW) => {}
            Some(other @ "cumulate") => return Err(unsupported(other)),
            Some(other @ ("tumble" | "hop" | "session")) => {
                let what = format!("{} outside FROM", other.to_uppercase());
                return Err(Error::unsupported(what).hint("Write FROM TUMBLE(t, ts, INTERVAL '10 minutes')."));
            }
            _ => return Ok(()),
        }
        let seen = match bare_name(&function.name).as_deref() {
            Some(SESSION_WINDOW) => read_sessions(function)?,
            _ => WindowCall::Windows(Box::new(read(function, self.locate)?)),
        };
        match &self.found {
            Some(found) if *found != seen => {
                Err(Error::unsupported("more than one window in a SELECT").hint("Join two queries with one each."))
            }
            _ => {
                self.found = Some(seen);
                Ok(())
            }
        }
    }
}

/// The arguments of a call, if all of them are positional expressions.
fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let args = match &function.args {
        FunctionArguments::List(list) => list.args.as_slice(),
        _ => &[],
    };
    let plain = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    args.iter().map(plain).collect()
}

/// `session_window(ts, gap)`
fn read_sessions(function: &Function) -> Result<WindowCall> {
    let exprs = arguments(function);
    let Some([time, gap]) = exprs.as_deref() else {
        return Err(Error::new(ErrorKind::UndefinedFunction, "wrong arguments of session_window()")
            .hint("Write session_window(ts, '5 minutes')."));
    };
    Ok(WindowCall::Sessions(Box::new(((*time).clone(), (*gap).clone()))))
}

/// `window(ts, size [, slide [, offset]])`: a slide equal to the size makes it tumbling.
fn read(function: &Function, locate: &dyn Fn(Location) -> usize) -> Result<Windows> {
    let exprs = arguments(function);
    let Some([time, size, rest @ ..]) = exprs.as_deref().filter(|e| e.len() <= 4) else {
        return Err(Error::new(ErrorKind::UndefinedFunction, "wrong arguments of window()")
            .hint("Write window(ts, '10 minutes') or window(ts, '10 minutes', '5 minutes')."));
    };
    let size = length(size, locate)?;
    let slide = rest.first().map(|slide| length(slide, locate)).transpose()?.filter(|slide| *slide != size);
    let offset = rest.get(1).map(|offset| length(offset, locate)).transpose()?;
    Windows { time: (*time).clone(), size, slide, offset }.check()
}

/// `GROUP BY 1` and `GROUP BY w`, if they refer to the window in the SELECT list, group by its start: a timestamp is a
/// cheaper key than a struct of two.
fn group_by_start(select: &mut Select, start: &Expr, name: &str) {
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return };
    for group in groups {
        let item = match group {
            Expr::Value(value) => match &value.value {
                Value::Number(n, _) => n.parse::<usize>().ok().and_then(|n| select.projection.get(n.checked_sub(1)?)),
                _ => None,
            },
            Expr::Identifier(name) => select
                .projection
                .iter()
                .find(|item| matches!(item, SelectItem::ExprWithAlias { alias, .. } if fold(alias) == fold(name))),
            _ => None,
        };
        let Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { continue };
        if matches!(part(expr, name), Some(WindowBound::Whole | WindowBound::Start)) {
            *group = start.clone();
        }
    }
}

/// Gives columns the names that they have in Spark: `window`, `start`, `end`.
fn name_items(items: &mut [SelectItem], window: &str) {
    for item in items {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let name = match part(expr, window) {
            Some(WindowBound::Whole) => window,
            Some(WindowBound::Start) => "start",
            Some(WindowBound::End) => "end",
            None => continue,
        };
        *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias: Ident::with_quote('"', name) };
    }
}

#[derive(Clone, Copy)]
enum WindowBound {
    Whole,
    Start,
    End,
}

/// Which bound of the named window an expression is; `None` for other expressions.
fn part(expr: &Expr, window: &str) -> Option<WindowBound> {
    let field = |name: &Ident| match fold(name).as_str() {
        "start" => Some(WindowBound::Start),
        "end" => Some(WindowBound::End),
        _ => None,
    };
    match expr {
        Expr::Nested(inner) => part(inner, window),
        Expr::Function(function) if function.over.is_none() => {
            (bare_name(&function.name).as_deref() == Some(window)).then_some(WindowBound::Whole)
        }
        Expr::Identifier(name) => (fold(name) == window).then_some(WindowBound::Whole),
        Expr::CompoundIdentifier(names) => match names.as_slice() {
            [first, name] if fold(first) == window => field(name),
            _ => None,
        },
        Expr::CompoundFieldAccess { root, access_chain } => match access_chain.as_slice() {
            [AccessExpr::Dot(Expr::Identifier(name))] if matches!(part(root, window), Some(WindowBound::Whole)) => {
                field(name)
            }
            _ => None,
        },
        _ => None,
    }
}

/// `named_struct('start', start, 'end', end)`
fn structure(start: &Expr, end: &Expr) -> Expr {
    let text = |t: &str| Expr::Value(Value::SingleQuotedString(t.to_string()).with_empty_span());
    call("named_struct", vec![text("start"), start.clone(), text("end"), end.clone()])
}

/// Replaces the window call and its fields by expressions.
struct Replacer {
    name: &'static str,
    depth: usize,
    whole: Expr,
    start: Expr,
    end: Expr,
}

impl VisitorMut for Replacer {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth > 0 {
            return ControlFlow::Continue(());
        }
        // The root of `window(…).start` was visited before it, and so is replaced already.
        if let Expr::CompoundFieldAccess { root, access_chain } = expr {
            if let ([AccessExpr::Dot(Expr::Identifier(name))], true) = (access_chain.as_slice(), **root == self.whole) {
                match fold(name).as_str() {
                    "start" => *expr = self.start.clone(),
                    "end" => *expr = self.end.clone(),
                    _ => {}
                }
            }
            return ControlFlow::Continue(());
        }
        match part(expr, self.name) {
            Some(WindowBound::Whole) => *expr = self.whole.clone(),
            Some(WindowBound::Start) => *expr = self.start.clone(),
            Some(WindowBound::End) => *expr = self.end.clone(),
            None => {}
        }
        ControlFlow::Continue(())
    }
}

/// Adds the starts of sliding windows to the relation of the event time column.
fn add_starts(select: &mut Select, windows: &Windows) -> Result<()> {
    let wildcard = |i: &SelectItem| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if select.projection.iter().any(wildcard) {
        return Err(Error::unsupported("SELECT * beside a sliding window").hint("Write FROM HOP(t, ts, slide, size)."));
    }
    let starts = windows.sliding_starts().ok_or_else(|| Error::internal("windows neither tumble nor slide"))?;
    let factor = relation_of(select, &windows.time)?;
    let name = name_of(factor);
    let inner = std::mem::replace(factor, TableFactor::TableFunction { expr: starts.clone(), alias: None });
    *factor = derived(select_all(vec![quoted(starts, START)], inner), name.map(alias_of));
    Ok(())
}

/// Adds the sessions, partitioned by the other group keys, to the only relation.
fn add_sessions(select: &mut Select, time: &Expr, gap: &Expr) -> Result<()> {
    let wildcard = |i: &SelectItem| matches!(i, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
    if select.projection.iter().any(wildcard) {
        return Err(Error::unsupported("SELECT * beside a session").hint("Write FROM SESSION(t, ts, gap)."));
    }
    if !matches!(select.from.as_slice(), [only] if only.joins.is_empty()) {
        return Err(Error::unsupported("session_window over a join")
            .hint("Write FROM SESSION((SELECT … FROM a JOIN b ON …) PARTITION BY key, ts, gap)."));
    }
    let GroupByExpr::Expressions(groups, _) = &select.group_by else { return Ok(()) };
    let item = |group: &Expr| match group {
        Expr::Value(value) => match &value.value {
            Value::Number(n, _) => n.parse::<usize>().ok().and_then(|n| select.projection.get(n.checked_sub(1)?)),
            _ => None,
        },
        _ => None,
    };
    let shown = |group: &Expr| match item(group) {
        Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => expr.clone(),
        _ => group.clone(),
    };
    let keys = groups.iter().map(shown).filter(|group| part(group, SESSION_WINDOW).is_none()).collect();
    let sessions = SessionWindows { keys, time: time.clone(), gap: gap.clone(), max: None, timeout: None }.check()?;
    let factor = &mut select.from[0].relation;
    let name = name_of(factor);
    let inner = std::mem::replace(factor, TableFactor::TableFunction { expr: time.clone(), alias: None });
    *factor = derived(sessions.over(inner, [START, END]), name.map(alias_of));
    Ok(())
}

/// The FROM item that has the column `time`. Multiplying its rows before the join is equal to multiplying them after
/// it, unless the join pads unmatched rows of the other side.
fn relation_of<'a>(select: &'a mut Select, time: &Expr) -> Result<&'a mut TableFactor> {
    let refuse =
        |what: &str| Error::unsupported(what).hint("Write FROM HOP(t, ts, slide, size) in place of that relation.");
    if matches!(select.from.as_slice(), [only] if only.joins.is_empty()) {
        return Ok(&mut select.from[0].relation);
    }
    let owner = match time {
        Expr::CompoundIdentifier(parts) if parts.len() == 2 => fold(&parts[0]),
        _ => {
            return Err(refuse("a sliding window over a join whose event time is not named with its relation"));
        }
    };
    for from in &mut select.from {
        let outer = from.joins.iter().any(|join| !keeps_rows_together(&join.join_operator));
        let left = from.joins.iter().all(|join| {
            keeps_rows_together(&join.join_operator)
                || matches!(join.join_operator, JoinOperator::Left(_) | JoinOperator::LeftOuter(_))
        });
        if name_of(&from.relation).is_some_and(|name| fold(&name) == owner) {
            return if left { Ok(&mut from.relation) } else { Err(refuse("a sliding window over an outer join")) };
        }
        if let Some(join) = from.joins.iter_mut().find(|j| name_of(&j.relation).is_some_and(|n| fold(&n) == owner)) {
            return if outer { Err(refuse("a sliding window over an outer join")) } else { Ok(&mut join.relation) };
        }
    }
    Err(refuse(&format!("a sliding window over relation \"{owner}\", which is not in FROM by that name,")))
}

fn keeps_rows_together(operator: &JoinOperator) -> bool {
    matches!(operator, JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_))
}
