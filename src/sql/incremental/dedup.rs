//! Rewrites `DISTINCT ON (id) … EMIT ON WINDOW CLOSE` to a deduplication operator that remembers ids for the
//! watermark's delay.
//!
//! (As Spark's `dropDuplicatesWithinWatermark`.)

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

use super::{
    rewrite::{Node, Rewriter},
    step::{DedupStep, Step, StepNode},
    time_bounds::{EVENT, TimeBound, of_projection},
};
use crate::{
    error::{Error, ErrorKind, Result},
    sql::distinct_on::DistinctOnNode,
    state::Close,
};

impl Rewriter {
    pub(super) fn distinct_on(&mut self, clause: &DistinctOnNode) -> Result<Node> {
        let refused = |detail: &str, hint: &str| {
            Error::new(ErrorKind::Unsupported, "EMIT ON WINDOW CLOSE is not possible for this DISTINCT ON")
                .detail(detail)
                .hint(hint)
        };
        if clause.is_ordered() {
            return Err(refused(
                "A row of it shows at once, so that of each id the first to come counts, not the first by ORDER BY.",
                "Leave ORDER BY out, or put window_start of TUMBLE or HOP into DISTINCT ON and PARTITION BY.",
            ));
        }
        let before = self.watermarks.len();
        let input = self.operator_input(clause.input())?;
        if input.carried.diff {
            return Err(refused(
                "Rows of its input can be withdrawn, and what was left out for one of them is not remembered.",
                "Use EMIT ON UPDATE, or an input whose rows only come.",
            ));
        }
        let by_window = of_projection(clause.on(), clause.input(), &input.bounds);
        if by_window.iter().any(|time_bound| time_bound.as_ref().is_some_and(|time_bound| *time_bound != EVENT)) {
            return Err(refused(
                "It is by a window, and stands beside one that is not.",
                "Make a materialized view of the inner one.",
            ));
        }
        let timed = input.bounds.iter().enumerate().find_map(|(column, time_bound)| match time_bound {
            Some(TimeBound::Offset(offset_us, _)) => Some(Close { column, field: None, offset_us: *offset_us }),
            _ => None,
        });
        let Some(late) = timed.filter(|_| input.dynamic) else {
            return Err(refused(
                "Its input has no watermark, so nothing says when an id can be forgotten.",
                "Add WATERMARK FOR column AS column - INTERVAL '…' to the source or stream, or use EMIT ON UPDATE.",
            ));
        };
        // Rows of an id within the watermark delay are duplicates.
        let delay_us = self.watermarks[before..].iter().map(|watermark| watermark.spec.delay_us).max().unwrap_or(0);
        let forget = Close { offset_us: late.offset_us.saturating_add(delay_us), ..late };
        self.remembers.push(format!(
            "Dedup: the first row of each id, keyed by {}; evicted when the watermark reaches {} + {} s",
            clause.on().iter().map(|e| e.schema_name().to_string()).collect::<Vec<_>>().join(", "),
            clause.input().schema().field(late.column).name(),
            forget.offset_us as f64 / 1e6,
        ));
        let schema = input.plan.schema().clone();
        let step = DedupStep { keys: clause.on().to_vec(), late, forget, derived: input.fed_by_operator };
        let plan = StepNode::plan(Step::Dedup(step), vec![input.plan], schema);
        let time_bounds = of_projection(clause.shown(), clause.input(), &input.bounds);
        let exprs: Vec<Expr> = clause.shown().to_vec();
        let schema = input.carried.schema(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(clause))?;
        let plan = Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?;
        Ok(Node { plan: LogicalPlan::Projection(plan), fed_by_operator: true, bounds: time_bounds, key: None, ..input })
    }
}
