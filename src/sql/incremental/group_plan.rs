//! Rewrites window functions and ORDER BY … LIMIT to a group plan: the batch plan runs over the rows of each touched
//! group.
//!
//! ```text
//! Filter n <= 3                        GroupPlan by k        over the rows of a group, numbered:
//!   Projection k, n          ─▶          │                   Filter n <= 3
//!     Window row_number(PARTITION BY k)  │                     Projection k, n, group
//!       input                            input'                  Window row_number(PARTITION BY group)
//!                                                                  Given k, …, group
//! ```
//!
//! Nodes between a filter and the window below it become part of the plan, so that rows excluded by the filter are
//! never emitted. If the filter allows only the first rows, the plan runs over those only.

use std::sync::Arc;

use datafusion::{
    common::Column,
    logical_expr::{
        Expr, Filter, Limit, LogicalPlan, Projection, Sort, Window,
        expr::{WindowFunction, WindowFunctionParams},
    },
};

use super::{
    carried::{Carried, column},
    first::{Firsts, of_filters, of_limit},
    rewrite::{Node, Rewriter, aliased, filtered_by, projected},
    step::{GroupPlanStep, Step, StepNode},
    time_bounds::{EVENT, TimeBound, close, micros_of, of_projection},
    untimed::with_untimed,
    window::{common_keys, session, window_function},
};
use crate::{
    changes::PARTITION,
    error::{Error, ErrorKind, Result},
    exec::GroupInput,
    operators::{Emission, SessionSpec, TimeColumn},
    sql::{functions::SESSION_END, normalize::by_order},
    state::Close,
    time::Micros,
};

/// The name of the session end column.
const END: &str = "__end";

/// Within a group plan, the partition column carries the group number.
const NUMBERED: Carried = Carried { partition: true, diff: false };

impl Rewriter {
    pub(super) fn window(&mut self, window: &Window) -> Result<Node> {
        self.plan_by_group(window, &[])
    }

    /// Rewrites a filter over a window (with projections in between); `None` if there is no window below.
    pub(super) fn over_window(&mut self, filter: &Filter) -> Result<Option<Node>> {
        let top = LogicalPlan::Filter(filter.clone());
        let (mut above, mut at) = (Vec::new(), &top);
        loop {
            let next = match at {
                LogicalPlan::Filter(filter) => &filter.input,
                LogicalPlan::Projection(projection) => &projection.input,
                LogicalPlan::SubqueryAlias(alias) => &alias.input,
                LogicalPlan::Window(window) if session(window)?.is_none() => {
                    return self.plan_by_group(window, &above).map(Some);
                }
                _ => return Ok(None),
            };
            above.push(at);
            at = next;
        }
    }

    /// `above` are the nodes over the window, the outermost first.
    fn plan_by_group(&mut self, window: &Window, above: &[&LogicalPlan]) -> Result<Node> {
        let keys = common_keys(window)?;
        let untimed = (self.emission == Emission::OnClose).then(|| with_untimed(&window.input, &keys));
        let input = self.operator_input(untimed.flatten().as_ref().unwrap_or(&window.input))?;
        if !input.dynamic {
            let top = above.first().map_or_else(|| LogicalPlan::Window(window.clone()), |top| (*top).clone());
            return Ok(Node::fixed(top));
        }
        if let Some(end) = session(window)? {
            return self.sessions(window, end, input);
        }
        self.refuse_timed_out()?;
        let time_bounds = of_projection(&keys, &window.input, &input.bounds);
        let close = close(&time_bounds).filter(|_| self.is_timed());
        if self.emission == Emission::OnClose && close.is_none() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "EMIT ON WINDOW CLOSE is not possible for a window function whose partitions the watermark cannot close",
            )
            .hint("Add window_start of TUMBLE or HOP over the event time to its PARTITION BY, or use EMIT ON UPDATE."));
        }
        let (leaf, given) = leaf(&input)?;
        let mut plan = numbered_window(window, &keys, leaf)?;
        // Only keys have time bounds: other columns may change until the group closes.
        for (key, time_bound) in keys.iter().zip(&time_bounds) {
            if let Expr::Column(column) = key {
                plan.bounds[window.input.schema().index_of_column(column)?] = time_bound.clone();
            }
        }
        plan.key = input.key.clone();
        for node in above.iter().rev() {
            plan = match node {
                LogicalPlan::Filter(filter) => filtered_by(filter, plan)?,
                LogicalPlan::Projection(projection) => projected(projection, plan)?,
                LogicalPlan::SubqueryAlias(alias) => aliased(alias, plan)?,
                _ => return Err(Error::internal("a group plan stands over another node")),
            };
        }
        let what: Vec<String> = window.window_expr.iter().map(|e| e.schema_name().to_string()).collect();
        let first = of_filters(window, &keys, above)?;
        self.remembers.push(format!(
            "GroupPlan [{}]: {} and its answer, recomputed when touched; {}",
            what.join(", "),
            remembered(first.as_ref(), &input, "the rows of each group"),
            if close.is_some() { "evicted with its window" } else { "never evicted: no window with a watermark" }
        ));
        let step = GroupPlanStep {
            keys,
            given,
            plan: plan.plan.clone(),
            sessions: None,
            first,
            close,
            timed: self.timed(&time_bounds),
            emission: self.emission,
            derived: input.fed_by_operator,
        };
        group_plan_node(step, plan, input)
    }

    /// Rewrites session windows, whose end is the function `end`.
    fn sessions(&mut self, window: &Window, end: WindowFunction, input: Node) -> Result<Node> {
        let keys = common_keys(window)?;
        let late = match session_time(&end, window, &input) {
            Some((column, TimeBound::Offset(offset_us, _))) if self.emission != Emission::Complete => {
                Some(Close { column, field: None, offset_us })
            }
            _ => None,
        };
        let timeout_us = timeout(&end);
        let timed = match end.params.args.first() {
            Some(Expr::Column(time)) if self.emission == Emission::OnClose => {
                let column = window.input.schema().index_of_column(time)?;
                Some(TimeColumn { column, field: None })
            }
            _ => None,
        };
        if timeout_us.is_some() && (input.carried.diff || self.emission == Emission::Complete) {
            let why = match input.carried.diff {
                true => "Rows of its input can be withdrawn, and a session that is over is not remembered.",
                false => "With EMIT COMPLETE no session is ever over.",
            };
            return Err(Error::unsupported("the timeout of this SESSION")
                .detail(why)
                .hint("Leave timeout out, or use rows that only come, with EMIT ON UPDATE or ON WINDOW CLOSE."));
        }
        self.refuse_timed_out()?;
        self.uses_clock |= timeout_us.is_some();
        self.timed_out |= timeout_us.is_some();
        if self.emission == Emission::OnClose && late.is_none() && timeout_us.is_none() {
            return Err(Error::new(ErrorKind::Unsupported, "EMIT ON WINDOW CLOSE needs sessions over an event time")
                .detail("Its input has no watermark on that column, so nothing says when a session is complete.")
                .hint(
                    "Add WATERMARK FOR column AS column - INTERVAL '…' to the source or stream, or use EMIT ON UPDATE.",
                ));
        }
        let evicted = match (late, timeout_us) {
            (Some(_), None) => "evicted when the watermark is past its end".to_string(),
            (None, None) => "never evicted: no watermark".to_string(),
            (late, Some(us)) => {
                let or = if late.is_some() { "when the watermark is past its end, or " } else { "" };
                format!("evicted {or}{} s by the clock after its last row came", us as f64 / 1e6)
            }
        };
        self.remembers.push(format!(
            "Sessions by [{}]: the rows of each session, recomputed when touched; {evicted}",
            keys.iter().map(|key| key.schema_name().to_string()).collect::<Vec<_>>().join(", "),
        ));
        let ends = |expr: &Expr| window_function(expr).is_ok_and(|f| f.fun.name() == SESSION_END);
        let mut time_bounds = vec![None; window.schema.fields().len()];
        for (time_bound, expr) in time_bounds.iter_mut().rev().zip(window.window_expr.iter().rev()) {
            *time_bound = late.filter(|_| ends(expr)).map(|_| EVENT);
        }
        // The session end comes last, and is not emitted.
        let mut exprs = window.window_expr.clone();
        exprs.push(Expr::WindowFunction(Box::new(end)).alias(END));
        let ended = Window::try_new(exprs, window.input.clone())?;
        let (leaf, given) = leaf(&input)?;
        let plan = numbered_window(&ended, &keys, leaf)?.plan;
        let end = ended.schema.fields().last().ok_or_else(|| Error::internal("a session has no end"))?.clone();
        let (emission, derived) = (self.emission, input.fed_by_operator);
        let sessions = Some(SessionSpec { end, late, timed, timeout_us });
        let timed = Vec::new();
        let step = GroupPlanStep { keys, given, plan, sessions, first: None, close: None, timed, emission, derived };
        let carried = Carried { partition: false, diff: emission != Emission::OnClose };
        let plan = StepNode::plan(Step::GroupPlan(step), vec![input.plan], carried.schema(&window.schema)?);
        Ok(Node {
            plan,
            carried,
            dynamic: true,
            fed_by_operator: true,
            as_of_now: false,
            bounds: time_bounds,
            key: input.key,
        })
    }

    /// `ORDER BY … LIMIT n OFFSET m`: all rows are one group.
    pub(super) fn limit(&mut self, limit: &Limit) -> Result<Node> {
        let sort = match limit.input.as_ref() {
            LogicalPlan::Sort(sort) => Some(sort),
            _ => None,
        };
        let below = sort.map_or(&limit.input, |sort| &sort.input);
        let input = self.operator_input(below)?;
        if !input.dynamic {
            return Ok(Node::fixed(LogicalPlan::Limit(limit.clone())));
        }
        if self.emission == Emission::OnClose {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "EMIT ON WINDOW CLOSE is not possible for ORDER BY … LIMIT",
            )
            .detail("A later row may always take the place of one of the first.")
            .hint("Rank within a window, by ROW_NUMBER() OVER (PARTITION BY window_start …), or use EMIT ON UPDATE."));
        }
        let (mut plan, given) = leaf(&input)?;
        if let Some(Sort { expr, fetch, .. }) = sort {
            let sorted = Sort { expr: expr.clone(), input: Arc::new(plan.plan), fetch: *fetch };
            plan = Node { plan: LogicalPlan::Sort(sorted), ..plan };
        }
        let (skip, fetch) = (limit.skip.clone(), limit.fetch.clone());
        plan.plan = LogicalPlan::Limit(Limit { skip, fetch, input: Arc::new(plan.plan) });
        plan.key = input.key.clone();
        let first = of_limit(limit, sort)?;
        let remembered = remembered(first.as_ref(), &input, "all rows");
        self.remembers.push(format!("GroupPlan [ORDER BY … LIMIT]: {remembered} and the answer; never evicted"));
        let step = GroupPlanStep {
            keys: Vec::new(),
            given,
            plan: plan.plan.clone(),
            sessions: None,
            first,
            close: None,
            timed: Vec::new(),
            emission: self.emission,
            derived: input.fed_by_operator,
        };
        group_plan_node(step, plan, input)
    }
}

/// The node of a group plan step.
fn group_plan_node(step: GroupPlanStep, plan: Node, input: Node) -> Result<Node> {
    let carried = Carried { partition: false, diff: step.emission != Emission::OnClose };
    let schema = carried.schema(&plan.own_schema()?)?;
    let node = StepNode::plan(Step::GroupPlan(step), vec![input.plan], schema);
    Ok(Node {
        plan: node,
        carried,
        dynamic: true,
        fed_by_operator: true,
        as_of_now: false,
        bounds: plan.bounds,
        key: plan.key,
    })
}

/// Describes the stored rows for EXPLAIN.
fn remembered(first: Option<&Firsts>, input: &Node, rows: &str) -> String {
    match first {
        Some(_) if !input.carried.diff => format!("the first of {rows}"),
        Some(_) => format!("{rows} in order, of which the first are looked at,"),
        None => rows.to_string(),
    }
}

/// A leaf with the columns of an input and the number of a row's group.
fn leaf(input: &Node) -> Result<(Node, GroupInput)> {
    let schema = NUMBERED.schema(&input.own_schema()?)?;
    let given = GroupInput::default();
    let plan = StepNode::plan(Step::GroupInput(given.clone()), vec![], schema);
    Ok((Node { carried: NUMBERED, bounds: vec![None; input.bounds.len()], ..Node::fixed(plan) }, given))
}

/// The processing-time timeout of a session.
fn timeout(end: &WindowFunction) -> Option<Micros> {
    micros_of(end.params.args.get(3)?)
}

/// The event time column of sessions, and its bound.
fn session_time(end: &WindowFunction, window: &Window, input: &Node) -> Option<(usize, TimeBound)> {
    let Expr::Column(column) = end.params.args.first()? else { return None };
    let column = window.input.schema().index_of_column(column).ok()?;
    Some((column, input.bounds.get(column)?.clone()?))
}

/// The window partitioned by group number instead of the keys.
fn numbered_window(window: &Window, keys: &[Expr], leaf: Node) -> Result<Node> {
    let number = Expr::Column(column(&leaf.plan, PARTITION)?);
    let renumbered = |(n, expr): (usize, &Expr)| -> Result<Expr> {
        let function = window_function(expr)?;
        let rest = function.params.partition_by.iter().filter(|key| !keys.contains(key)).cloned();
        let partition_by = std::iter::once(number.clone()).chain(rest).collect();
        let params = WindowFunctionParams { partition_by, ..function.params.clone() };
        let function = WindowFunction { fun: function.fun.clone(), params };
        Ok(Expr::WindowFunction(Box::new(function)).alias(format!("__window{n}")))
    };
    let exprs = window.window_expr.iter().enumerate().map(renumbered).collect::<Result<Vec<_>>>()?;
    let (own, time_bounds) = (leaf.bounds.len(), window.schema.fields().len());
    let columns = leaf.plan.schema().columns();
    // An ORDER BY of a key is constant within the group now.
    let plan = by_order(Window::try_new(exprs, Arc::new(leaf.plan))?)?.data;
    // The columns in their previous order and under their previous names.
    let made: Vec<Column> = plan.schema().columns().into_iter().skip(own + 1).collect();
    let mut exprs: Vec<Expr> = columns.into_iter().take(own).map(Expr::Column).collect();
    for (column, (qualifier, field)) in made.into_iter().zip(window.schema.iter().skip(own)) {
        exprs.push(Expr::Column(column).alias_qualified(qualifier.cloned(), field.name()));
    }
    exprs.push(number);
    let schema = NUMBERED.schema(&window.schema)?;
    let plan = LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?);
    Ok(Node { plan, carried: NUMBERED, bounds: vec![None; time_bounds], ..Node::fixed(LogicalPlan::default()) })
}
