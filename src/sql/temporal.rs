//! Temporal filters, `WHERE ts > now() - INTERVAL '1 hour'` in a standing query: rows are inserted and retracted as
//! time passes.
//!
//! A predicate that compares an expression of a row with `now()` gives the time range in which the row is in the
//! result. It becomes a node above the rest of its filter, before the optimizer folds `now()` to a constant. (As
//! temporal filters in Materialize.)

use std::{collections::HashSet, fmt, sync::Arc};

use datafusion::{
    common::{
        DFSchemaRef, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{
        Between, BinaryExpr, Expr, Extension, Filter, LogicalPlan, Operator, UserDefinedLogicalNodeCore,
        utils::{conjunction, split_conjunction_owned},
    },
};

use super::{functions::INTERVAL_MICROS, incremental::micros_of};
use crate::{
    error::{Error, Result},
    time::Micros,
};

/// A time per row: an expression, plus an offset in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct Bound {
    pub time: Expr,
    pub plus_us: Micros,
}

/// Emits each row from the maximum of `from` until before the minimum of `until`; never, if one of them is NULL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct TemporalNode {
    pub from: Vec<Bound>,
    pub until: Vec<Bound>,
    pub input: Arc<LogicalPlan>,
}

impl TemporalNode {
    pub fn of(plan: &LogicalPlan) -> Option<&TemporalNode> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }
}

/// Turns predicates on `now()` in filters into temporal nodes; other uses of `now()` are unchanged.
pub fn lift(plan: LogicalPlan) -> Result<LogicalPlan> {
    Ok(plan.transform_up_with_subqueries(|plan| Ok(lift_filter(plan)?)).map(|lifted| lifted.data)?)
}

fn lift_filter(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
    let (mut rest, mut from, mut until) = (Vec::new(), Vec::new(), Vec::new());
    for part in split_conjunction_owned(filter.predicate.clone()).into_iter().flat_map(halves) {
        match condition(&part) {
            Some(TimeCondition::From(bound)) => from.push(bound),
            Some(TimeCondition::Until(bound)) => until.push(bound),
            None => rest.push(part),
        }
    }
    if from.is_empty() && until.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    }
    let input = match conjunction(rest) {
        Some(rest) => Arc::new(LogicalPlan::Filter(Filter::try_new(rest, filter.input)?)),
        None => filter.input,
    };
    let node = TemporalNode { from, until, input };
    Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
}

/// Splits `a BETWEEN b AND c` into its two comparisons.
fn halves(part: Expr) -> Vec<Expr> {
    match part {
        Expr::Between(Between { expr, negated: false, low, high }) => {
            vec![expr.as_ref().clone().gt_eq(*low), expr.lt_eq(*high)]
        }
        other => vec![other],
    }
}

enum TimeCondition {
    From(Bound),
    Until(Bound),
}

/// The time condition of a comparison with `now()`; `None` for other predicates.
fn condition(part: &Expr) -> Option<TimeCondition> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = part else { return None };
    if let Some(found) = compared(left, *op, right) {
        return Some(found);
    }
    compared(right, op.swap()?, left)
}

/// `time OP now() + shift`, or `now() - time OP length`.
fn compared(left: &Expr, op: Operator, right: &Expr) -> Option<TimeCondition> {
    let (time, shift, op) = match now_plus(right) {
        Some(shift) if !says_now(left) => (left.clone(), shift.checked_neg()?, op),
        _ => {
            let Expr::BinaryExpr(BinaryExpr { left: now, op: Operator::Minus, right: time }) = uncast(left) else {
                return None;
            };
            let (shift, length) = (now_plus(now)?, micros(right)?);
            if says_now(time) {
                return None;
            }
            // now + shift - time OP length, which is time + length - shift OP' now.
            (time.as_ref().clone(), length.checked_sub(shift)?, op.swap()?)
        }
    };
    let bound = |plus: Micros| Some(Bound { time, plus_us: shift.checked_add(plus)? });
    Some(match op {
        Operator::Gt => TimeCondition::Until(bound(0)?),
        Operator::GtEq => TimeCondition::Until(bound(1)?),
        Operator::Lt => TimeCondition::From(bound(1)?),
        Operator::LtEq => TimeCondition::From(bound(0)?),
        _ => return None,
    })
}

fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(cast) => uncast(&cast.expr),
        Expr::ScalarFunction(call) if call.name() == INTERVAL_MICROS && call.args.len() == 1 => uncast(&call.args[0]),
        other => other,
    }
}

/// The offset of an expression `now() + constant`; `None` for others.
fn now_plus(expr: &Expr) -> Option<Micros> {
    match expr {
        Expr::Alias(alias) => now_plus(&alias.expr),
        Expr::Cast(cast) if cast.field.data_type().is_temporal() => match cast.field.data_type() {
            arrow::datatypes::DataType::Timestamp(..) => now_plus(&cast.expr),
            _ => None,
        },
        Expr::ScalarFunction(call) if call.func.name() == "now" => Some(0),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Plus, right }) => now_plus(left)?.checked_add(micros(right)?),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) => {
            now_plus(left)?.checked_sub(micros(right)?)
        }
        _ => None,
    }
}

fn says_now(expr: &Expr) -> bool {
    expr.exists(|e| Ok(matches!(e, Expr::ScalarFunction(call) if call.func.name() == "now"))).unwrap_or(true)
}

/// A constant duration without months, in microseconds.
fn micros(expr: &Expr) -> Option<Micros> {
    match expr {
        Expr::Literal(ScalarValue::DurationNanosecond(Some(length)), _) => Some(length / 1_000),
        Expr::Literal(ScalarValue::DurationMicrosecond(Some(length)), _) => Some(*length),
        Expr::Cast(cast) => micros(&cast.expr),
        Expr::ScalarFunction(call) if call.name() == INTERVAL_MICROS => micros(call.args.first()?),
        Expr::Negative(inner) => micros(inner)?.checked_neg(),
        other => micros_of(other),
    }
}

impl UserDefinedLogicalNodeCore for TemporalNode {
    fn name(&self) -> &str {
        "Temporal"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        self.from.iter().chain(&self.until).map(|bound| bound.time.clone()).collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // All may be pushed down: rows that a filter below drops need no state here.
        HashSet::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Temporal: from {} moments, until {}", self.from.len(), self.until.len())
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| Error::internal("a temporal filter has no input"))?;
        let mut exprs = exprs.into_iter();
        let mut again = |bounds: &[Bound]| -> Vec<Bound> {
            bounds.iter().zip(&mut exprs).map(|(bound, time)| Bound { time, ..*bound }).collect()
        };
        let (from, until) = (again(&self.from), again(&self.until));
        Ok(TemporalNode { from, until, input: Arc::new(input) })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = output_columns.to_vec();
        for bound in self.from.iter().chain(&self.until) {
            for column in bound.time.column_refs() {
                needed.push(self.input.schema().index_of_column(column).ok()?);
            }
        }
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}
