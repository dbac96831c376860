//! The rewrite itself: one function a kind of node, each from rewritten inputs to a rewritten output.

use std::{any::Any, collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field};
use datafusion::{
    catalog::default_table_source::source_as_provider,
    common::{Column, DFSchema, DFSchemaRef, TableReference},
    functions_table::generate_series::GenerateSeriesTable,
    logical_expr::{Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableScan, Union, Unnest, lit},
};

use super::{
    closes::{EVENT, Fact, Facts, of_projection},
    refuse::refused,
    step::{Step, StepNode},
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
    /// Columns that tell the rows of the answer apart, where some are known to.
    pub key: Option<Vec<usize>>,
    pub inputs: Vec<PlannedInput>,
    pub watermarks: Vec<WatermarkSpec>,
    /// A line for each thing that is remembered, for EXPLAIN.
    pub remembers: Vec<String>,
}

/// Rewrites an optimized batch plan. A construct that cannot be kept up to date is refused by name.
pub fn rewrite(plan: &LogicalPlan, emission: Emission) -> Result<Rewritten> {
    let mut rewriter =
        Rewriter { emission, inputs: Vec::new(), watermarks: Vec::new(), remembers: Vec::new(), aggregates: 0 };
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
    Ok(Rewritten { plan: node.plan, diff: node.diff, key: node.key, inputs, watermarks, remembers })
}

/// A rewrite under way.
pub(super) struct Rewriter {
    pub emission: Emission,
    pub inputs: Vec<PlannedInput>,
    pub watermarks: Vec<WatermarkSpec>,
    /// See [`Rewritten::remembers`].
    pub remembers: Vec<String>,
    pub aggregates: usize,
}

/// A rewritten part of the plan.
pub(super) struct Node {
    pub plan: LogicalPlan,
    /// Whether its last column is the diff.
    pub diff: bool,
    /// Whether it has new rows each epoch; else it is the same each time.
    pub moving: bool,
    pub facts: Facts,
    /// Columns that tell its rows apart: in one epoch a value of them is withdrawn once and comes once at the most.
    pub key: Option<Vec<usize>>,
}

impl Node {
    /// A part that is the same each time.
    pub fn fixed(plan: LogicalPlan) -> Node {
        let facts = vec![None; plan.schema().fields().len()];
        Node { plan, diff: false, moving: false, facts, key: None }
    }
}

fn once(node: Node) -> Node {
    let schema = node.plan.schema().clone();
    Node { plan: StepNode::plan(Step::Once, Some(node.plan), schema), moving: true, ..node }
}

/// The diff column of a plan that has one.
pub(super) fn diff_column(plan: &LogicalPlan) -> Result<Column> {
    let last = plan.schema().iter().last().filter(|(_, field)| field.name() == DIFF);
    let (qualifier, field) = last.ok_or_else(|| Error::internal("a plan lost its diff column"))?;
    Ok(Column::new(qualifier.cloned(), field.name()))
}

pub(super) fn diff_field() -> (Option<TableReference>, Arc<Field>) {
    (None, Arc::new(Field::new(DIFF, DataType::Int64, false)))
}

/// A schema with the diff at its end.
pub(super) fn schema_with_diff(schema: &DFSchema) -> Result<DFSchemaRef> {
    let mut fields: Vec<_> = schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
    fields.push(diff_field());
    Ok(Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?))
}

impl Rewriter {
    pub fn node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        if let Some(watermark) = WatermarkNode::of(plan) {
            return self.watermark(watermark);
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Values(_) | LogicalPlan::EmptyRelation(_) => Ok(Node::fixed(plan.clone())),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => self.filter(filter),
            LogicalPlan::SubqueryAlias(alias) => self.alias(alias),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Join(join) => self.join(join),
            // The order of a kept answer is that of the query that reads it.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.node(&sort.input),
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
        Ok(Node::fixed(plan.clone()))
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Node> {
        let provider = source_as_provider(&scan.source)?;
        let table = match InputTable::of(provider.as_ref()) {
            Some(table) if !table.fixed => table.clone(),
            Some(_) => return Ok(Node::fixed(LogicalPlan::TableScan(scan.clone()))),
            None if (provider.as_ref() as &dyn Any).is::<GenerateSeriesTable>() => {
                return Ok(Node::fixed(LogicalPlan::TableScan(scan.clone())));
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
        Ok(Node { diff, moving: true, ..Node::fixed(plan) })
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
        let key = input.key.and_then(|key| projected_key(&key, projection));
        let mut exprs = projection.expr.clone();
        let schema = match input.diff {
            true => {
                exprs.push(Expr::Column(diff_column(&input.plan)?).alias(DIFF));
                schema_with_diff(&projection.schema)?
            }
            false => projection.schema.clone(),
        };
        let plan = Projection::try_new_with_schema(exprs, Arc::new(input.plan), schema)?;
        Ok(Node { plan: LogicalPlan::Projection(plan), facts, diff: input.diff, moving: input.moving, key })
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
        let (diff, moving) = (input.diff, input.moving);
        let plan = Unnest::try_new(Arc::new(input.plan), unnest.exec_columns.clone(), unnest.options.clone())?;
        Ok(Node { plan: LogicalPlan::Unnest(plan), facts, diff, moving, key: None })
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
        Ok(Node { plan: LogicalPlan::Union(Union { inputs, schema }), diff, moving, facts, key: None })
    }
}

/// Where the columns of a key are after a projection, if all of them are still there as they were.
fn projected_key(key: &[usize], projection: &Projection) -> Option<Vec<usize>> {
    let input = projection.input.schema();
    let place = |column: &usize| {
        let column = Column::from(input.qualified_field(*column));
        projection.expr.iter().position(|expr| expr.clone().unalias() == Expr::Column(column.clone()))
    };
    key.iter().map(place).collect()
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
