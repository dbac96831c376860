//! Rewrites `GROUP BY` to an aggregate operator, fed by rows, by sums over diffs, or by group recompute.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    common::DFSchema,
    logical_expr::{Aggregate, Expr, LogicalPlan, Projection, expr::NullTreatment},
};

use super::{
    carried::{Carried, diff_column, diff_field},
    linear::{Linear, linear, not_linear},
    rewrite::{Node, Rewriter},
    sets::without_sets,
    step::{AggregateStep, Step, StepNode},
    time_bounds::{TimeBound, TimeBounds, close, of_projection},
    untimed::with_untimed,
};
use crate::{
    error::{Error, ErrorKind, Result},
    operators::{Emission, is_in_order, is_of_one_row, is_settled},
};

impl Rewriter {
    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Node> {
        if let Some(plan) = without_sets(aggregate)? {
            return self.node(&plan);
        }
        let untimed =
            (self.emission == Emission::OnClose).then(|| with_untimed(&aggregate.input, &aggregate.group_expr));
        let input = self.operator_input(untimed.flatten().as_ref().unwrap_or(&aggregate.input))?;
        if !input.dynamic {
            return Ok(Node::fixed(LogicalPlan::Aggregate(aggregate.clone())));
        }
        self.refuse_timed_out()?;
        let keys = of_projection(&aggregate.group_expr, &aggregate.input, &input.bounds);
        let close = close(&keys).filter(|_| self.is_timed());
        self.check_emission(close.is_some(), &keys)?;
        let diff = self.emission != Emission::OnClose;
        let step = AggregateStep {
            group: aggregate.group_expr.clone(),
            functions: aggregate.aggr_expr.clone(),
            close,
            timed: self.timed(&keys),
            emission: self.emission,
            presence: None,
            recompute: false,
            derived: input.fed_by_operator,
        };
        let (sums, keep_rows) = match input.carried.diff {
            true => {
                let (input, diff) = (aggregate.input.schema(), diff_column(&input.plan)?);
                let sums = linear(&aggregate.aggr_expr, input, &diff)?;
                (sums, not_linear(&aggregate.aggr_expr, input, &diff)?)
            }
            false => (None, aggregate.aggr_expr.iter().filter(|function| needs_rows(function)).collect()),
        };
        self.remember(aggregate, &step, input.carried.diff, &keep_rows);
        let plan = match sums {
            Some(sums) => by_diff(aggregate, step, sums, input.plan, diff)?,
            None => {
                let recompute = input.carried.diff || !keep_rows.is_empty();
                let schema = Carried { diff, ..Carried::default() }.schema(&aggregate.schema)?;
                StepNode::plan(Step::Aggregate(AggregateStep { recompute, ..step }), vec![input.plan], schema)
            }
        };
        let mut time_bounds = keys;
        time_bounds.resize(aggregate.schema.fields().len(), None);
        // A group has one row.
        let groups = aggregate.group_expr.len();
        let key = (groups > 0).then(|| (0..groups).collect());
        let carried = Carried { diff, ..Carried::default() };
        Ok(Node { plan, carried, dynamic: true, fed_by_operator: true, as_of_now: false, bounds: time_bounds, key })
    }

    fn check_emission(&mut self, closes: bool, keys: &TimeBounds) -> Result<()> {
        if self.emission != Emission::OnClose || closes {
            return Ok(());
        }
        let months = keys.iter().any(|time_bound| matches!(time_bound, Some(TimeBound::Months(_))));
        let (detail, hint) = match !self.is_timed() {
            _ if months => {
                ("The start of a window of months does not tell when it ends.", "Group by window_start and window_end.")
            }
            true => (
                "Its input has no watermark, so nothing says when a group is complete.",
                "Add WATERMARK FOR column AS column - INTERVAL '…' to the source or stream, or use EMIT ON UPDATE. A view \
                 of DISTINCT ON (id) keeps the event time with EMIT ON WINDOW CLOSE.",
            ),
            false => (
                "It groups by nothing that the watermark could close.",
                "Group by window_start of TUMBLE or HOP over the event time, or use EMIT ON UPDATE.",
            ),
        };
        Err(Error::new(ErrorKind::Unsupported, "EMIT ON WINDOW CLOSE needs a window that the watermark closes")
            .detail(detail)
            .hint(hint))
    }

    /// Describes the state for EXPLAIN; `keep_rows` are the functions that need all rows of a group.
    fn remember(&mut self, aggregate: &Aggregate, step: &AggregateStep, diff: bool, keep_rows: &[&Expr]) {
        let names = |exprs: &[&Expr]| exprs.iter().map(|e| e.schema_name().to_string()).collect::<Vec<_>>().join(", ");
        let list = |exprs: &[Expr]| names(&exprs.iter().collect::<Vec<_>>());
        let first = !aggregate.aggr_expr.is_empty() && aggregate.aggr_expr.iter().all(is_first);
        let how = match (diff, keep_rows) {
            (false, []) => "one row of partial state a group".to_string(),
            (true, []) => "one row of sums a group, changed by diff".to_string(),
            (false, _) if first => "the first row of each group".to_string(),
            (true, _) if first => "the rows of each group in order, of which the first are looked at".to_string(),
            _ => format!("the rows of each group, recomputed when touched, for {}", names(keep_rows)),
        };
        let keyed = match aggregate.group_expr.is_empty() {
            true => "one group in all".to_string(),
            false => format!("keyed by {}", list(&aggregate.group_expr)),
        };
        let evicted = match (&step.close, step.emission) {
            (_, Emission::Complete) => "never evicted: EMIT COMPLETE".to_string(),
            (None, _) => "never evicted: no window with a watermark".to_string(),
            (Some(close), _) => {
                let offset = close.offset_us as f64 / 1e6;
                let column = aggregate.schema.field(close.column).name();
                format!("evicted when the watermark reaches {column} + {offset} s")
            }
        };
        let shown = match step.emission {
            Emission::OnClose => "each row appears once, then",
            Emission::OnUpdate | Emission::Complete => "rows appear and change in every epoch that touches them",
        };
        let functions = list(&aggregate.aggr_expr);
        self.remembers.push(format!("Aggregate [{functions}]: {how}, {keyed}; {evicted}; {shown}"));
    }
}

/// Whether a function has an ORDER BY that matters.
fn is_ordered(function: &Expr) -> bool {
    match function {
        Expr::Alias(alias) => is_ordered(&alias.expr),
        Expr::AggregateFunction(call) => !call.params.order_by.is_empty(),
        _ => false,
    }
}

/// Whether a function needs all rows even for append-only input.
fn needs_rows(function: &Expr) -> bool {
    match function {
        Expr::Alias(alias) => needs_rows(&alias.expr),
        Expr::AggregateFunction(call) => {
            let has_order = !call.params.order_by.is_empty();
            has_order || (call.params.distinct && !is_settled(&call.func, has_order))
        }
        _ => false,
    }
}

/// Whether a function depends only on the first row of its group.
fn is_first(function: &Expr) -> bool {
    match function {
        Expr::Alias(alias) => is_first(&alias.expr),
        Expr::AggregateFunction(call) => {
            let all_nulls = call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
            is_of_one_row(&call.func) && !all_nulls && (!is_in_order(&call.func) || is_ordered(function))
        }
        _ => false,
    }
}

/// The aggregate as sums over diffs, and a projection from those to its answers.
fn by_diff(
    aggregate: &Aggregate,
    step: AggregateStep,
    sums: Linear,
    input: LogicalPlan,
    diff: bool,
) -> Result<LogicalPlan> {
    use datafusion::logical_expr::ExprSchemable;
    let groups = aggregate.group_expr.len();
    let mut fields: Vec<_> = aggregate.schema.iter().take(groups).map(|(q, f)| (q.cloned(), f.clone())).collect();
    for sum in &sums.sums {
        let (_, field) = sum.to_field(input.schema())?;
        fields.push((None, Arc::new(field.as_ref().clone().with_nullable(true))));
    }
    if diff {
        fields.push(diff_field());
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
    let mut exprs: Vec<Expr> = schema.columns().into_iter().take(groups).map(Expr::Column).collect();
    for ((_, field), answer) in aggregate.schema.iter().skip(groups).zip(sums.answers) {
        exprs.push(answer.alias(field.name()));
    }
    let step = AggregateStep { functions: sums.sums, presence: Some(0), ..step };
    let plan = StepNode::plan(Step::Aggregate(step), vec![input], schema);
    let mut fields: Vec<_> = aggregate.schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
    // `count` is never NULL, but the planner takes this expression for nullable.
    fields.iter_mut().skip(groups).for_each(|(_, f)| *f = Arc::new(f.as_ref().clone().with_nullable(true)));
    if diff {
        exprs.push(Expr::Column(diff_column(&plan)?));
        fields.push(diff_field());
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?))
}
