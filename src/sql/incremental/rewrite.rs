//! The rewrite itself: one function a kind of node, each from rewritten inputs to a rewritten output.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field};
use datafusion::{
    catalog::default_table_source::source_as_provider,
    common::{Column, DFSchema, DFSchemaRef, JoinType, TableReference},
    logical_expr::{
        Aggregate, Expr, Filter, Join, LogicalPlan, Projection, SubqueryAlias, TableScan, Union, Unnest, lit,
    },
};

use super::{
    closes::{EVENT, Fact, Facts, close, of_projection},
    linear::{Linear, linear},
    refuse::refused,
    step::{AggregateStep, Step, StepNode},
};
use crate::{
    changes::DIFF,
    error::{Error, Kind, Result},
    operators::Emission,
    sql::{
        table::InputTable,
        watermark::{WatermarkNode, WatermarkSpec},
    },
};

/// One input of a standing query.
#[derive(Debug, Clone)]
pub struct PlannedInput {
    pub table: InputTable,
    /// The columns that the plan reads, by index; `None` is all.
    pub projection: Option<Vec<usize>>,
}

/// A plan for epochs.
#[derive(Debug)]
pub struct Rewritten {
    pub plan: LogicalPlan,
    /// Whether rows of the answer can be withdrawn.
    pub diff: bool,
    pub inputs: Vec<PlannedInput>,
    pub watermarks: Vec<WatermarkSpec>,
    /// A line for each thing that is remembered, for EXPLAIN.
    pub remembers: Vec<String>,
}

/// Rewrites an optimized batch plan. A construct that cannot be kept up to date is refused by name.
pub fn rewrite(plan: &LogicalPlan, emission: Emission) -> Result<Rewritten> {
    let mut rewriter =
        Rewriter { emission, inputs: Vec::new(), watermarks: Vec::new(), remembers: Vec::new(), aggregates: 0 };
    // The order of a kept answer is that of the query that reads it.
    let plan = match plan {
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => &sort.input,
        plan => plan,
    };
    let node = rewriter.node(plan)?;
    let node = if node.moving { node } else { once(node) };
    if emission == Emission::OnClose && node.diff {
        return Err(Error::new(
            Kind::Unsupported,
            "EMIT ON WINDOW CLOSE is not possible: rows of this query can be withdrawn and no window makes them final",
        )
        .hint("Use EMIT ON UPDATE, or group by a window over an event time with a watermark."));
    }
    let Rewriter { inputs, watermarks, remembers, .. } = rewriter;
    Ok(Rewritten { plan: node.plan, diff: node.diff, inputs, watermarks, remembers })
}

struct Rewriter {
    emission: Emission,
    inputs: Vec<PlannedInput>,
    watermarks: Vec<WatermarkSpec>,
    remembers: Vec<String>,
    aggregates: usize,
}

/// A rewritten part of the plan.
struct Node {
    plan: LogicalPlan,
    /// Whether its last column is the diff.
    diff: bool,
    /// Whether it has new rows each epoch; else it is the same each time.
    moving: bool,
    facts: Facts,
}

fn once(node: Node) -> Node {
    let schema = node.plan.schema().clone();
    Node { plan: StepNode::plan(Step::Once, Some(node.plan), schema), moving: true, ..node }
}

/// The diff column of a plan that has one.
fn diff_column(plan: &LogicalPlan) -> Result<Column> {
    let last = plan.schema().iter().last().filter(|(_, field)| field.name() == DIFF);
    let (qualifier, field) = last.ok_or_else(|| Error::internal("a plan lost its diff column"))?;
    Ok(Column::new(qualifier.cloned(), field.name()))
}

fn diff_field() -> (Option<TableReference>, Arc<Field>) {
    (None, Arc::new(Field::new(DIFF, DataType::Int64, false)))
}

/// A schema with the diff at its end.
fn schema_with_diff(schema: &DFSchema) -> Result<DFSchemaRef> {
    let mut fields: Vec<_> = schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
    fields.push(diff_field());
    Ok(Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?))
}

impl Rewriter {
    fn node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        if let Some(watermark) = WatermarkNode::of(plan) {
            return self.watermark(watermark);
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => {
                let facts = vec![None; plan.schema().fields().len()];
                Ok(Node { plan: plan.clone(), diff: false, moving: false, facts })
            }
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::SubqueryAlias(alias) => self.alias(alias),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            other => self.fixed_or_refused(other),
        }
    }

    /// Any plan over fixed inputs may stand as it is; over moving ones it is refused.
    fn fixed_or_refused(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let mut moving = false;
        for input in plan.inputs() {
            moving |= self.node(input)?.moving;
        }
        if moving {
            return Err(refused_node(plan));
        }
        let facts = vec![None; plan.schema().fields().len()];
        Ok(Node { plan: plan.clone(), diff: false, moving: false, facts })
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Node> {
        let provider = source_as_provider(&scan.source)?;
        let facts = vec![None; scan.projected_schema.fields().len()];
        let table = match InputTable::of(provider.as_ref()) {
            Some(table) if !table.fixed => table.clone(),
            Some(_) => {
                return Ok(Node { plan: LogicalPlan::TableScan(scan.clone()), diff: false, moving: false, facts });
            }
            None => {
                return Err(refused(&format!("reading system table \"{}\"", scan.table_name.table()))
                    .hint("Select from it in an ordinary query."));
            }
        };
        let diff = table.withdraws();
        let schema = match diff {
            true => schema_with_diff(&scan.projected_schema)?,
            false => scan.projected_schema.clone(),
        };
        let step = Step::Delta { input: self.inputs.len(), name: table.name.clone() };
        self.inputs.push(PlannedInput { table, projection: scan.projection.clone() });
        let mut plan = StepNode::plan(step, None, schema);
        for filter in &scan.filters {
            plan = LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(plan))?);
        }
        Ok(Node { plan, diff, moving: true, facts })
    }

    fn watermark(&mut self, node: &WatermarkNode) -> Result<Node> {
        let mut input = self.node(&node.input)?;
        if !input.moving {
            return Ok(input);
        }
        let column = node.column()?;
        input.facts[column] = Some(EVENT);
        self.watermarks.push(node.spec.clone());
        let schema = input.plan.schema().clone();
        let step = Step::Watermark { column, spec: node.spec.clone() };
        Ok(Node { plan: StepNode::plan(step, Some(input.plan), schema), ..input })
    }

    fn projection(&mut self, projection: &Projection) -> Result<Node> {
        let input = self.node(&projection.input)?;
        let facts = of_projection(&projection.expr, &projection.input, &input.facts);
        let mut exprs = projection.expr.clone();
        let schema = match input.diff {
            true => {
                exprs.push(Expr::Column(diff_column(&input.plan)?).alias(DIFF));
                schema_with_diff(&projection.schema)?
            }
            false => projection.schema.clone(),
        };
        let plan = Projection::try_new_with_schema(exprs, Arc::new(input.plan), schema)?;
        Ok(Node { plan: LogicalPlan::Projection(plan), facts, diff: input.diff, moving: input.moving })
    }

    fn filter(&mut self, filter: &Filter) -> Result<Node> {
        let input = self.node(&filter.input)?;
        let plan = LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input.plan))?);
        Ok(Node { plan, ..input })
    }

    fn alias(&mut self, alias: &SubqueryAlias) -> Result<Node> {
        let input = self.node(&alias.input)?;
        let plan = SubqueryAlias::try_new(Arc::new(input.plan), alias.alias.clone())?;
        Ok(Node { plan: LogicalPlan::SubqueryAlias(plan), ..input })
    }

    fn unnest(&mut self, unnest: &Unnest) -> Result<Node> {
        let input = self.node(&unnest.input)?;
        let facts = unnest.dependency_indices.iter().map(|n| input.facts.get(*n).cloned().flatten()).collect();
        let plan = Unnest::try_new(Arc::new(input.plan), unnest.exec_columns.clone(), unnest.options.clone())?;
        Ok(Node { plan: LogicalPlan::Unnest(plan), facts, diff: input.diff, moving: input.moving })
    }

    fn union(&mut self, union: &Union) -> Result<Node> {
        let parts = union.inputs.iter().map(|input| self.node(input)).collect::<Result<Vec<_>>>()?;
        let moving = parts.iter().any(|part| part.moving);
        let diff = parts.iter().any(|part| part.diff);
        let facts = common_facts(&parts);
        let mut inputs = Vec::new();
        for part in parts {
            let part = if moving && !part.moving { once(part) } else { part };
            let plan = if diff && !part.diff { with_unit_diff(part.plan)? } else { part.plan };
            inputs.push(Arc::new(plan));
        }
        let schema = if diff { schema_with_diff(&union.schema)? } else { union.schema.clone() };
        Ok(Node { plan: LogicalPlan::Union(Union { inputs, schema }), diff, moving, facts })
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Result<Node> {
        let input = self.node(&aggregate.input)?;
        if !input.moving {
            let facts = vec![None; aggregate.schema.fields().len()];
            return Ok(Node { plan: LogicalPlan::Aggregate(aggregate.clone()), diff: false, moving: false, facts });
        }
        let keys = of_projection(&aggregate.group_expr, &aggregate.input, &input.facts);
        let close = close(&keys).filter(|_| !self.watermarks.is_empty());
        self.check_emission(close.is_some())?;
        let diff = self.emission != Emission::OnClose;
        let step = AggregateStep {
            group: aggregate.group_expr.clone(),
            functions: aggregate.aggr_expr.clone(),
            close,
            emission: self.emission,
            presence: None,
            recompute: false,
        };
        let sums = match input.diff {
            true => linear(&aggregate.aggr_expr, aggregate.input.schema(), &diff_column(&input.plan)?)?,
            false => None,
        };
        self.remember(aggregate, &step, input.diff, sums.is_some());
        let plan = match sums {
            Some(sums) => by_diff(aggregate, step, sums, input.plan, diff)?,
            None => {
                let recompute = input.diff || aggregate.aggr_expr.iter().any(is_ordered);
                let schema = if diff { schema_with_diff(&aggregate.schema)? } else { aggregate.schema.clone() };
                StepNode::plan(Step::Aggregate(AggregateStep { recompute, ..step }), Some(input.plan), schema)
            }
        };
        let mut facts = keys;
        facts.resize(aggregate.schema.fields().len(), None);
        Ok(Node { plan, diff, moving: true, facts })
    }

    fn check_emission(&mut self, closes: bool) -> Result<()> {
        self.aggregates += 1;
        if self.emission != Emission::OnClose {
            return Ok(());
        }
        if self.aggregates > 1 {
            return Err(refused("an aggregate of an aggregate with EMIT ON WINDOW CLOSE")
                .hint("Use EMIT ON UPDATE, or make a view of the inner aggregate and one over it."));
        }
        if closes {
            return Ok(());
        }
        let (detail, hint) = match self.watermarks.is_empty() {
            true => (
                "Its input has no watermark, so nothing says when a group is complete.",
                "Add WATERMARK FOR column AS column - INTERVAL '…' to the source or stream, or use EMIT ON UPDATE.",
            ),
            false => (
                "It groups by nothing that the watermark could close.",
                "Group by window_start of TUMBLE or HOP over the event time, or use EMIT ON UPDATE.",
            ),
        };
        Err(Error::new(Kind::Unsupported, "EMIT ON WINDOW CLOSE needs a window that the watermark closes")
            .detail(detail)
            .hint(hint))
    }

    fn remember(&mut self, aggregate: &Aggregate, step: &AggregateStep, diff: bool, linear: bool) {
        let list = |exprs: &[Expr]| exprs.iter().map(|e| e.schema_name().to_string()).collect::<Vec<_>>().join(", ");
        let how = match (diff, linear) {
            (false, _) if aggregate.aggr_expr.iter().any(is_ordered) => {
                "the rows of each group, recomputed when touched"
            }
            (false, _) => "one row of partial state a group",
            (true, true) => "one row of sums a group, changed by diff",
            (true, false) => "the rows of each group, recomputed when touched",
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

    fn join(&mut self, join: &Join) -> Result<Node> {
        let (left, right) = (self.node(&join.left)?, self.node(&join.right)?);
        match (left.moving, right.moving) {
            (false, false) => {
                let facts = vec![None; join.schema.fields().len()];
                Ok(Node { plan: LogicalPlan::Join(join.clone()), diff: false, moving: false, facts })
            }
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
        let diff = moving.diff;
        let diff_expr = diff.then(|| diff_column(&moving.plan)).transpose()?;
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
        let schema = if diff { schema_with_diff(&join.schema)? } else { join.schema.clone() };
        exprs.extend(diff_expr.map(|column| Expr::Column(column).alias(DIFF)));
        let plan = Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?;
        Ok(Node { plan: LogicalPlan::Projection(plan), diff, moving: true, facts })
    }
}

/// Whether a function needs its rows in an order of its own.
fn is_ordered(function: &Expr) -> bool {
    match function {
        Expr::Alias(alias) => is_ordered(&alias.expr),
        Expr::AggregateFunction(call) => !call.params.order_by.is_empty(),
        _ => false,
    }
}

/// The aggregate as sums over the changes, and a projection that makes its answers of them.
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
    let plan = StepNode::plan(Step::Aggregate(step), Some(input), schema);
    let mut fields: Vec<_> = aggregate.schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
    // `count` is never NULL, but this expression might be for all that the planner knows.
    fields.iter_mut().skip(groups).for_each(|(_, f)| *f = Arc::new(f.as_ref().clone().with_nullable(true)));
    if diff {
        exprs.push(Expr::Column(diff_column(&plan)?));
        fields.push(diff_field());
    }
    let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?))
}

fn with_unit_diff(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().map(Expr::Column).collect();
    exprs.push(lit(1i64).alias(DIFF));
    let schema = schema_with_diff(plan.schema())?;
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?))
}

/// What all parts of a union know of a column.
fn common_facts(parts: &[Node]) -> Facts {
    let Some((first, rest)) = parts.split_first() else { return Vec::new() };
    let common = |(n, fact): (usize, &Option<Fact>)| {
        rest.iter().all(|part| !part.moving || part.facts.get(n) == Some(fact)).then(|| fact.clone()).flatten()
    };
    first.facts.iter().enumerate().map(common).collect()
}

fn refused_node(plan: &LogicalPlan) -> Error {
    match plan {
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => refused("ORDER BY … LIMIT")
            .hint("Keep all rows in the view and put ORDER BY and LIMIT into the query that reads it."),
        LogicalPlan::Window(_) => refused("a window function (OVER)")
            .hint("Keep the rows in a view and put the window function into the query that reads it."),
        LogicalPlan::Distinct(_) => refused("DISTINCT ON").hint("Use GROUP BY with first_value(… ORDER BY …)."),
        LogicalPlan::RecursiveQuery(_) => refused("WITH RECURSIVE"),
        LogicalPlan::Subquery(_) => refused("a correlated subquery"),
        other => refused(&format!("{} over an input that grows", other.display())),
    }
}
