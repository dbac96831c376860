//! How a join is rewritten. So far one side must be fixed: then it is DataFusion's own join, once an epoch.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    common::{Column, JoinType},
    logical_expr::{Expr, Join, LogicalPlan, Projection},
};

use super::{
    closes::Fact,
    refuse::refused,
    rewrite::{Node, Rewriter},
    step::{Step, StepNode},
};
use crate::error::Result;

impl Rewriter {
    pub(super) fn join(&mut self, join: &Join) -> Result<Node> {
        let (left, right) = (self.node(&join.left)?, self.node(&join.right)?);
        match (left.moving, right.moving) {
            (false, false) => Ok(Node::fixed(LogicalPlan::Join(join.clone()))),
            (true, true) => Err(refused("a join of two inputs that both grow")
                .hint("Join with a fixed table: VALUES, or CREATE EXTERNAL TABLE.")),
            (true, false) => self.fixed_join(join, left, right, true),
            (false, true) => self.fixed_join(join, right, left, false),
        }
    }

    /// A join of moving rows with fixed ones. The fixed side becomes the left one, which is DataFusion's build side.
    fn fixed_join(&mut self, join: &Join, moving: Node, fixed: Node, moving_left: bool) -> Result<Node> {
        use JoinType::*;
        let kept = if moving_left { join.join_type } else { join.join_type.swap() };
        // As seen from the moving side on the right.
        let join_type = match kept {
            Inner => Inner,
            Left => Right,
            LeftSemi if !join.null_aware => RightSemi,
            LeftAnti if !join.null_aware => RightAnti,
            LeftMark => RightMark,
            _ => {
                return Err(refused(&format!("a {} join that keeps rows of the fixed side", join.join_type))
                    .hint("Swap the sides, so that the rows kept are those of the input that grows."));
            }
        };
        let on = join.on.iter().map(|(l, r)| match moving_left {
            true => (r.clone(), l.clone()),
            false => (l.clone(), r.clone()),
        });
        let carried = moving.carried;
        let carried_exprs = carried.exprs(&moving.plan)?;
        let facts_of: HashMap<Column, Option<Fact>> =
            moving.plan.schema().columns().into_iter().zip(moving.facts.iter().cloned()).collect();
        let schema = fixed.plan.schema().clone();
        let fixed = StepNode::plan(Step::Fixed, Some(fixed.plan), schema);
        let plan = LogicalPlan::Join(Join::try_new(
            Arc::new(fixed),
            Arc::new(moving.plan),
            on.collect(),
            join.filter.clone(),
            join_type,
            join.join_constraint,
            join.null_equality,
            false,
        )?);
        let columns = join.schema.columns();
        let facts = columns.iter().map(|c| facts_of.get(c).cloned().flatten()).collect();
        let mut exprs: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
        exprs.extend(carried_exprs);
        let schema = carried.schema(&join.schema)?;
        let plan = Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?;
        Ok(Node { plan: LogicalPlan::Projection(plan), carried, moving: true, facts, key: None })
    }
}
