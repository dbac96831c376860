//! Rewrites joins: with a static side to DataFusion's own join, run each epoch; otherwise to a join operator that
//! stores both sides.

use std::{collections::HashMap, sync::Arc};

use datafusion::{
    catalog::default_table_source::source_as_provider,
    common::{
        Column, DFSchema, JoinType, NullEquality,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, Join, LogicalPlan, Projection},
};

use super::{
    bounds::{Bounds, Times, bounds},
    carried::Carried,
    refuse::refused,
    rewrite::{Node, Rewriter, once},
    step::{JoinStep, Step, StepNode},
    time_bounds::{TimeBound, TimeBounds},
};
use crate::{
    error::{Error, ErrorKind, Result},
    operators::{Emission, TimeColumn},
    sql::table::InputTable,
};

impl Rewriter {
    pub(super) fn join(&mut self, join: &Join) -> Result<Node> {
        let both = moves(&join.left)? && moves(&join.right)?;
        let mut side = |plan| if both { self.operator_input(plan) } else { self.node(plan) };
        let (left, right) = (side(&join.left)?, side(&join.right)?);
        match (left.dynamic && left.as_of_now, right.dynamic && right.as_of_now) {
            (false, true) if left.dynamic => return self.lookup(join, left, right),
            (false, false) => {}
            _ => {
                return Err(refused("FOR SYSTEM_TIME AS OF PROCTIME() on the left side of a join")
                    .hint("Put the rows that come on the left: FROM orders JOIN rates FOR SYSTEM_TIME AS OF PROCTIME() AS r ON …."));
            }
        }
        match (left.dynamic, right.dynamic) {
            (false, false) => Ok(Node::fixed(LogicalPlan::Join(join.clone()))),
            (true, true) => self.moving_join(join, left, right, [true, true]),
            (true, false) => match of_fixed(join, join.join_type) {
                Some(kind) => fixed_join(join, left, right, kind, true),
                None => self.moving_join(join, left, once(right), [true, false]),
            },
            (false, true) => match of_fixed(join, join.join_type.swap()) {
                Some(kind) => fixed_join(join, right, left, kind, false),
                None => self.moving_join(join, once(left), right, [false, true]),
            },
        }
    }

    /// A join of two changing inputs; `grows` says which of them change after the first epoch.
    fn moving_join(&mut self, join: &Join, left: Node, right: Node, grows: [bool; 2]) -> Result<Node> {
        use JoinType::*;
        self.refuse_timed_out()?;
        let (on, filter) = condition(join);
        let sides = [left.own_schema()?, right.own_schema()?];
        let bounds = match self.emission {
            // No row is ever dropped or late.
            Emission::Complete => Bounds::default(),
            _ => {
                let times = [
                    Times { schema: &sides[0], time_bounds: &left.bounds },
                    Times { schema: &sides[1], time_bounds: &right.bounds },
                ];
                bounds(times, &on, filter.as_ref())
            }
        };
        let waits: &[usize] = match join.join_type {
            Inner | LeftSemi | RightSemi => &[],
            Left | LeftAnti | LeftMark => &[0],
            Right | RightAnti | RightMark => &[1],
            Full => &[0, 1],
        };
        let withdraws = left.carried.diff || right.carried.diff;
        let bounded = waits.iter().all(|n| bounds.close[*n].is_some());
        let marks = matches!(join.join_type, LeftMark | RightMark);
        let deferred = self.emission == Emission::OnClose && !withdraws && bounded && !marks;
        if self.emission == Emission::OnClose && !withdraws && !bounded {
            self.unproven = Some(unproven(join, &left, &right));
        }
        let carried = Carried { partition: false, diff: withdraws || (!waits.is_empty() && !deferred) };
        let time_bounds = time_bounds(join, &bounds, [&left.bounds, &right.bounds]);
        self.remember_join(join, &on, &bounds, &sides);
        let sides = [(&left, 0, "left"), (&right, 1, "right")].into_iter();
        let grows = sides.filter(|(node, n, _)| grows[*n] && !node.carried.diff && bounds.close[*n].is_none());
        let grows: Vec<&str> = grows.map(|(.., side)| side).collect();
        if !grows.is_empty() {
            self.unbounded.push(format!("the {} side of a join, whose rows only come", grows.join(" and the ")));
        }
        let step = JoinStep {
            on,
            filter,
            join_type: join.join_type,
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            deferred,
            as_of_now: false,
            close: bounds.close,
            late: bounds.late,
            timed: match self.emission {
                Emission::OnClose => [0, 1].map(|n| bounds.close[n].or(bounds.late[n]).map(TimeColumn::of)),
                _ => [None; 2],
            },
            derived: [left.fed_by_operator, right.fed_by_operator],
        };
        let schema = carried.schema(&join.schema)?;
        let plan = StepNode::plan(Step::Join(step), vec![left.plan, right.plan], schema);
        Ok(Node {
            plan,
            carried,
            dynamic: true,
            fed_by_operator: true,
            as_of_now: false,
            bounds: time_bounds,
            key: None,
        })
    }

    /// A lookup join of append-only rows.
    fn lookup(&mut self, join: &Join, left: Node, right: Node) -> Result<Node> {
        use JoinType::*;
        if !matches!(join.join_type, Inner | Left | LeftSemi | LeftAnti | LeftMark) {
            return Err(refused(&format!("a {} join FOR SYSTEM_TIME AS OF PROCTIME()", join.join_type))
                .hint("Use JOIN or LEFT JOIN: a row meets what is there when it comes."));
        }
        if left.carried.diff {
            return Err(refused("FOR SYSTEM_TIME AS OF PROCTIME() joined to rows that can be withdrawn")
                .detail("What a row met is not remembered, so it could not be taken back with it.")
                .hint("Join an append-only table, a source or a stream; or join without FOR SYSTEM_TIME."));
        }
        let (on, filter) = condition(join);
        let mut time_bounds = left.bounds.clone();
        time_bounds.resize(join.schema.fields().len(), None);
        let line = "Join as of now: the rows of the right side by key; each row of the left side meets them once";
        self.remembers.push(line.to_string());
        let step = JoinStep {
            on,
            filter,
            join_type: join.join_type,
            null_equals_null: join.null_equality == NullEquality::NullEqualsNull,
            deferred: false,
            as_of_now: true,
            close: [None; 2],
            late: [None; 2],
            timed: [None; 2],
            derived: [left.fed_by_operator, right.fed_by_operator],
        };
        let derived = left.fed_by_operator;
        let schema = Carried::default().schema(&join.schema)?;
        let plan = StepNode::plan(Step::Join(step), vec![left.plan, right.plan], schema);
        Ok(Node {
            plan,
            carried: Carried::default(),
            dynamic: true,
            fed_by_operator: derived,
            as_of_now: false,
            bounds: time_bounds,
            key: None,
        })
    }

    fn remember_join(&mut self, join: &Join, on: &[(Expr, Expr)], bounds: &Bounds, sides: &[DFSchema; 2]) {
        let keys: Vec<String> = on.iter().map(|(l, r)| format!("{l} = {r}")).collect();
        let keyed = if keys.is_empty() { "without keys".to_string() } else { format!("by {}", keys.join(", ")) };
        let evicted = |n: usize| match &bounds.close[n] {
            Some(close) => {
                let (column, offset) = (sides[n].field(close.column).name(), close.offset_us as f64 / 1e6);
                format!("evicted when the watermark reaches {column} + {offset} s")
            }
            None => "never evicted: no time bound that a watermark completes".to_string(),
        };
        let (left, right) = (evicted(0), evicted(1));
        let line = format!(
            "{} Join {keyed}: the rows of the left side, {left}; those of the right side, {right}",
            join.join_type
        );
        self.remembers.push(line);
    }
}

/// Whether a plan has a non-static input.
fn moves(plan: &LogicalPlan) -> Result<bool> {
    let mut moves = false;
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            moves |= InputTable::of(source_as_provider(&scan.source)?.as_ref()).is_some_and(|table| !table.fixed);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(moves)
}

/// The equi-keys and the filter of a join. `NOT IN` also matches on NULLs: its condition becomes a filter without keys.
fn condition(join: &Join) -> (Vec<(Expr, Expr)>, Option<Expr>) {
    let (mut on, mut filter) = (join.on.clone(), join.filter.clone());
    if join.null_aware && !on.is_empty() {
        let (left, right) = on.remove(0);
        let unknown = left.clone().is_null().or(right.clone().is_null());
        let equal = left.eq(right).or(unknown);
        filter = Some(match filter {
            Some(filter) => filter.and(equal),
            None => equal,
        });
    }
    (on, filter)
}

/// The time bounds of the output columns.
fn time_bounds(join: &Join, bounds: &Bounds, sides: [&TimeBounds; 2]) -> TimeBounds {
    use JoinType::*;
    let of = |n: usize| bounds.time_bounds(n, sides[n]);
    let mut time_bounds = match join.join_type {
        Inner | Left | Right | Full => [of(0), of(1)].concat(),
        LeftSemi | LeftAnti | LeftMark => of(0),
        RightSemi | RightAnti | RightMark => of(1),
    };
    time_bounds.resize(join.schema.fields().len(), None);
    time_bounds
}

/// The error that rows without a match cannot be emitted append-only.
fn unproven(join: &Join, left: &Node, right: &Node) -> Error {
    let timed = |node: &Node| node.bounds.iter().any(|time_bound| matches!(time_bound, Some(TimeBound::Offset(..))));
    let (detail, hint) = match timed(left) && timed(right) {
        false => (
            "That a row meets nothing is certain only once the other side is complete, and a side has no watermark.",
            "Add WATERMARK FOR column AS column - INTERVAL '…' to both sources or streams, or use EMIT ON UPDATE.",
        ),
        true => (
            "That a row meets nothing is certain only where the join says how far apart in time rows may be.",
            "Add a bound such as a.ts BETWEEN b.ts - INTERVAL '5 minutes' AND b.ts + INTERVAL '5 minutes', or use EMIT \
             ON UPDATE.",
        ),
    };
    let message = format!("EMIT ON WINDOW CLOSE is not possible for a {} join without a time bound", join.join_type);
    Error::new(ErrorKind::Unsupported, message.to_lowercase().replace("emit on window close", "EMIT ON WINDOW CLOSE"))
        .detail(detail)
        .hint(hint)
}

/// The join type for DataFusion with the static side on the left; `None` if it emits unmatched static rows. `kept` is
/// the type with the changing side on the left.
fn of_fixed(join: &Join, kept: JoinType) -> Option<JoinType> {
    use JoinType::*;
    match kept {
        Inner => Some(Inner),
        Left => Some(Right),
        LeftSemi if !join.null_aware => Some(RightSemi),
        LeftAnti if !join.null_aware => Some(RightAnti),
        LeftMark => Some(RightMark),
        _ => None,
    }
}

/// Joins a changing with a static input, which becomes the left (build) side.
fn fixed_join(join: &Join, moving: Node, fixed: Node, kind: JoinType, moving_left: bool) -> Result<Node> {
    let on = join.on.iter().map(|(l, r)| match moving_left {
        true => (r.clone(), l.clone()),
        false => (l.clone(), r.clone()),
    });
    let carried = moving.carried;
    let carried_exprs = carried.exprs(&moving.plan)?;
    let facts_of: HashMap<Column, Option<TimeBound>> =
        moving.plan.schema().columns().into_iter().zip(moving.bounds.iter().cloned()).collect();
    let schema = fixed.plan.schema().clone();
    let fixed = StepNode::plan(Step::StaticInput, vec![fixed.plan], schema);
    let plan = LogicalPlan::Join(Join::try_new(
        Arc::new(fixed),
        Arc::new(moving.plan),
        on.collect(),
        join.filter.clone(),
        kind,
        join.join_constraint,
        join.null_equality,
        false,
    )?);
    let columns = join.schema.columns();
    let time_bounds = columns.iter().map(|c| facts_of.get(c).cloned().flatten()).collect();
    let mut exprs: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
    exprs.extend(carried_exprs);
    let schema = carried.schema(&join.schema)?;
    let plan = Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?;
    let plan = LogicalPlan::Projection(plan);
    Ok(Node {
        plan,
        carried,
        dynamic: true,
        fed_by_operator: moving.fed_by_operator,
        as_of_now: false,
        bounds: time_bounds,
        key: None,
    })
}
