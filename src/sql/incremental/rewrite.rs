//! The rewrite: one function per kind of node, from rewritten inputs to a rewritten output.

use std::{any::Any, collections::HashMap, sync::Arc};

use arrow::datatypes::FieldRef;
use datafusion::{
    catalog::default_table_source::source_as_provider,
    common::{
        Column, DFSchema,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    functions_table::generate_series::GenerateSeriesTable,
    logical_expr::{Expr, Filter, LogicalPlan, Projection, SubqueryAlias, TableScan, Union, Unnest},
};

use super::{
    carried::Carried,
    refuse::refused,
    reproducible::is_reproducible,
    step::{Step, StepNode},
    time_bounds::{EVENT, TimeBound, TimeBounds, of_projection},
    uid::with_uids,
};
use crate::{
    error::{Error, ErrorKind, Result},
    operators::{Emission, TimeColumn},
    sql::{
        distinct_on::DistinctOnNode,
        table::{InputTable, ScanSpec},
        temporal::TemporalNode,
        watermark::{WatermarkNode, WatermarkSpec},
    },
};

/// The alias that a relation gets where it is read `FOR SYSTEM_TIME AS OF PROCTIME()`.
pub const AS_OF_NOW: &str = "__as_of_now";

/// One input of a standing query.
#[derive(Debug, Clone)]
pub struct PlannedInput {
    pub table: InputTable,
    /// The columns that the plan reads, by index; `None` is all.
    pub projection: Option<Vec<usize>>,
}

/// One watermark of a standing query.
#[derive(Debug, Clone)]
pub struct PlannedWatermark {
    pub spec: WatermarkSpec,
    /// The inputs whose partitions it tracks; empty if all rows count as one partition.
    pub partitioned: Vec<usize>,
}

/// A plan for epochs.
#[derive(Debug)]
pub struct Rewritten {
    pub plan: LogicalPlan,
    /// Whether the answer has retractions.
    pub diff: bool,
    /// Unique key columns of the answer, if known.
    pub key: Option<Vec<usize>>,
    pub inputs: Vec<PlannedInput>,
    pub watermarks: Vec<PlannedWatermark>,
    /// The inputs that have a watermark of their own: views.
    pub followed: Vec<usize>,
    /// Whether rows are inserted or retracted by the clock (`now()`, timeouts).
    pub uses_clock: bool,
    /// The time bounds of its answer, relative to its own watermark.
    pub times: TimeBounds,
    /// Whether its epochs give the same rows, bit by bit, when they are run again from another checkpoint.
    pub reproducible: bool,
    /// A line for each thing that is remembered, for EXPLAIN.
    pub remembers: Vec<String>,
    /// State that is unbounded even for append-only inputs, for warnings.
    pub unbounded: Vec<String>,
}

/// Rewrites an optimized batch plan. A construct that cannot be kept up to date is refused by name.
pub fn rewrite(plan: &LogicalPlan, emission: Emission) -> Result<Rewritten> {
    let mut rewriter = Rewriter {
        emission,
        inputs: Vec::new(),
        watermarks: Vec::new(),
        followed: Vec::new(),
        uses_clock: false,
        remembers: Vec::new(),
        unbounded: Vec::new(),
        tells_partitions: false,
        timed_out: false,
        unproven: None,
    };
    let node = rewriter.node(plan)?;
    let node = if node.dynamic { node } else { once(node) };
    if emission == Emission::OnClose && node.carried.diff {
        if let Some(error) = rewriter.unproven {
            return Err(error);
        }
        return Err(Error::new(
            ErrorKind::Unsupported,
            "EMIT ON WINDOW CLOSE is not possible: rows of this query can be withdrawn and no window makes them final",
        )
        .hint("Use EMIT ON UPDATE, or group by a window over an event time with a watermark."));
    }
    // Without closing there are no time bounds.
    let times = if emission == Emission::Complete { vec![None; node.bounds.len()] } else { node.bounds };
    let Rewriter { inputs, watermarks, followed, uses_clock: clocked, remembers, unbounded, .. } = rewriter;
    let reproducible = is_reproducible(plan)? && inputs.iter().all(|input| input.table.reproducible);
    let (plan, diff, key) = (with_uids(node.plan)?, node.carried.diff, node.key);
    Ok(Rewritten {
        plan,
        diff,
        key,
        inputs,
        watermarks,
        followed,
        uses_clock: clocked,
        times,
        reproducible,
        remembers,
        unbounded,
    })
}

/// The state of a rewrite.
pub(super) struct Rewriter {
    pub emission: Emission,
    pub inputs: Vec<PlannedInput>,
    pub watermarks: Vec<PlannedWatermark>,
    /// See [`Rewritten::followed`].
    pub followed: Vec<usize>,
    /// See [`Rewritten::uses_clock`].
    pub uses_clock: bool,
    /// See [`Rewritten::remembers`].
    pub remembers: Vec<String>,
    /// See [`Rewritten::unbounded`].
    pub unbounded: Vec<String>,
    /// Why a join below cannot be append-only.
    pub unproven: Option<Error>,
    /// Whether a watermark above tracks partitions.
    pub tells_partitions: bool,
    /// Whether there are sessions with a processing-time timeout.
    pub timed_out: bool,
}

/// A rewritten part of the plan.
pub(super) struct Node {
    pub plan: LogicalPlan,
    /// Its hidden columns.
    pub carried: Carried,
    /// Whether it changes; otherwise it is static.
    pub dynamic: bool,
    /// Whether its input is an operator: rows are complete at *this* epoch's watermark.
    pub fed_by_operator: bool,
    /// Whether it is read `FOR SYSTEM_TIME AS OF PROCTIME()`.
    pub as_of_now: bool,
    /// The time bounds of its own columns.
    pub bounds: TimeBounds,
    /// Key columns: in one epoch each key has at most one retraction and one insertion.
    pub key: Option<Vec<usize>>,
}

impl Node {
    /// Its schema without hidden columns.
    pub fn own_schema(&self) -> Result<DFSchema> {
        let own = self.plan.schema().iter().take(self.bounds.len());
        Ok(DFSchema::new_with_metadata(own.map(|(q, f)| (q.cloned(), f.clone())).collect(), HashMap::new())?)
    }

    /// A changing node without time bounds.
    fn changing(plan: LogicalPlan, carried: Carried, columns: usize, key: Option<Vec<usize>>) -> Node {
        Node {
            plan,
            carried,
            dynamic: true,
            fed_by_operator: false,
            as_of_now: false,
            bounds: vec![None; columns],
            key,
        }
    }

    /// A static node.
    pub fn fixed(plan: LogicalPlan) -> Node {
        let time_bounds = vec![None; plan.schema().fields().len()];
        Node {
            plan,
            carried: Carried::default(),
            dynamic: false,
            fed_by_operator: false,
            as_of_now: false,
            bounds: time_bounds,
            key: None,
        }
    }
}

/// A static node as changes: inserted in the first epoch.
pub(super) fn once(node: Node) -> Node {
    let schema = node.plan.schema().clone();
    Node { plan: StepNode::plan(Step::FirstEpochOnly, vec![node.plan], schema), dynamic: true, ..node }
}

impl Rewriter {
    /// Keys whose event time may not be NULL: emitted on close, such a group would be stored for ever.
    pub fn timed(&self, keys: &TimeBounds) -> Vec<TimeColumn> {
        if self.emission != Emission::OnClose || !self.is_timed() {
            return Vec::new();
        }
        let of = |(column, time_bound): (usize, &Option<TimeBound>)| match time_bound {
            Some(TimeBound::Fields(fields)) => {
                let timed = (0..fields.len()).filter(|field| fields[*field].is_some());
                timed.map(|field| TimeColumn { column, field: Some(field) }).collect()
            }
            Some(_) => vec![TimeColumn { column, field: None }],
            None => Vec::new(),
        };
        keys.iter().enumerate().flat_map(of).collect()
    }

    /// Refuses windows over sessions with a timeout: those are complete without the watermark.
    pub fn refuse_timed_out(&self) -> Result<()> {
        if !self.timed_out || self.emission != Emission::OnClose {
            return Ok(());
        }
        Err(Error::unsupported("GROUP BY, OVER or JOIN above SESSION with a timeout, EMIT ON WINDOW CLOSE")
            .hint("Make a view of the sessions with EMIT ON WINDOW CLOSE, and another with EMIT ON UPDATE over it."))
    }

    /// Whether there is a watermark below.
    pub fn is_timed(&self) -> bool {
        !self.watermarks.is_empty() || !self.followed.is_empty()
    }

    pub fn node(&mut self, plan: &LogicalPlan) -> Result<Node> {
        if let Some(watermark) = WatermarkNode::of(plan) {
            return self.watermark(watermark);
        }
        if let Some(temporal) = TemporalNode::of(plan) {
            return self.temporal(temporal);
        }
        if let Some(clause) = DistinctOnNode::of(plan) {
            return self.distinct_on(clause);
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
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Limit(limit) => self.limit(limit),
            other => self.fixed_or_refused(other),
        }
    }

    /// A plan over static inputs is kept; over changing ones it is refused.
    fn fixed_or_refused(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let mut moving = false;
        for input in plan.inputs() {
            moving |= self.node(input)?.dynamic;
        }
        if moving {
            return Err(refused_node(plan));
        }
        Ok(Node::fixed(plan.clone()))
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Node> {
        if scan.fetch.is_some() {
            return Err(Error::internal("a scan of changes leaves rows out"));
        }
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
        if let Some(reading) = table.reading(scan.projection.as_deref())? {
            return self.upserts(scan, table, reading);
        }
        let carried = Carried { partition: self.tells_partitions, diff: table.withdraws() };
        let place = |column: &usize| match &scan.projection {
            Some(read) => read.iter().position(|other| other == column),
            None => Some(*column),
        };
        let key = table.key().and_then(|key| key.iter().map(place).collect());
        let schema = carried.schema(&scan.projected_schema)?;
        let step = Step::DeltaScan {
            input: self.inputs.len(),
            name: table.name.clone(),
            isolates_row_errors: table.isolates_row_errors(),
        };
        let time_bound = |field: usize| {
            let column = scan.projection.as_ref().map_or(field, |read| read[field]);
            table.times.get(column).cloned().flatten()
        };
        let time_bounds: TimeBounds = (0..scan.projected_schema.fields().len()).map(time_bound).collect();
        let timed = time_bounds.iter().any(Option::is_some);
        if timed {
            self.followed.push(self.inputs.len());
        }
        self.inputs.push(PlannedInput { table, projection: scan.projection.clone() });
        let plan = filtered(StepNode::plan(step, vec![], schema), scan)?;
        // The rows of a view are complete at this epoch's watermark.
        Ok(Node {
            fed_by_operator: timed,
            bounds: time_bounds,
            ..Node::changing(plan, carried, scan.projected_schema.fields().len(), key)
        })
    }

    /// An upsert source: an operator turns its rows into changes first.
    fn upserts(&mut self, scan: &TableScan, table: InputTable, reading: ScanSpec) -> Result<Node> {
        let qualified = |field: &FieldRef| (Some(scan.table_name.clone()), field.clone());
        let read = reading.input.fields().iter().map(qualified).collect();
        let read = Arc::new(DFSchema::new_with_metadata(read, HashMap::new())?);
        let step = Step::DeltaScan {
            input: self.inputs.len(),
            name: table.name.clone(),
            isolates_row_errors: table.isolates_row_errors(),
        };
        self.remembers.push(format!("the current row of each key of \"{}\"", table.name));
        self.inputs.push(PlannedInput { table, projection: Some(reading.columns) });
        let delta = StepNode::plan(step, vec![], read);
        let carried = Carried { partition: false, diff: true };
        let schema = carried.schema(&scan.projected_schema)?;
        let own = scan.projected_schema.fields().len();
        let key = reading.key.iter().all(|i| *i < own).then(|| reading.key.clone());
        let plan = filtered(StepNode::plan(Step::Upsert { key: reading.key }, vec![delta], schema), scan)?;
        Ok(Node::changing(plan, carried, own, key))
    }

    fn watermark(&mut self, node: &WatermarkNode) -> Result<Node> {
        let (first, above) = (self.inputs.len(), self.tells_partitions);
        self.tells_partitions = above || tells_partitions(&node.input)?;
        let input = self.node(&node.input);
        let below = std::mem::replace(&mut self.tells_partitions, above);
        let mut input = input?;
        if !input.dynamic {
            return Ok(input);
        }
        let column = node.column()?;
        input.bounds[column] = Some(EVENT);
        let partitioned = if below && input.carried.partition { (first..self.inputs.len()).collect() } else { vec![] };
        self.watermarks.push(PlannedWatermark { spec: node.spec.clone(), partitioned });
        // Nodes above keep its hidden columns.
        let schema = input.plan.schema().clone();
        let step = Step::Watermark { column, spec: node.spec.clone(), partition: input.carried.partition };
        let plan = StepNode::plan(step, vec![input.plan], schema);
        let carried = Carried { partition: input.carried.partition && above, ..input.carried };
        let plan = carried.reshape(input.carried, plan)?;
        Ok(Node { plan, carried, ..input })
    }

    /// A temporal filter.
    fn temporal(&mut self, node: &TemporalNode) -> Result<Node> {
        let input = self.operator_input(&node.input)?;
        let input = if input.dynamic { input } else { once(input) };
        self.uses_clock = true;
        self.remembers.push("Temporal: the rows that are there or still to come, until their time is over".to_string());
        // There are no retractions only without an end.
        let carried = Carried { partition: false, diff: input.carried.diff || !node.until.is_empty() };
        let schema = carried.schema(&input.own_schema()?)?;
        let step = Step::Temporal { from: node.from.clone(), until: node.until.clone() };
        let plan = StepNode::plan(step, vec![input.plan], schema);
        Ok(Node { fed_by_operator: true, ..Node::changing(plan, carried, input.bounds.len(), None) })
    }

    /// Rewrites an input of a stateful node or join: to a watermark above, its rows are of one partition.
    pub(super) fn operator_input(&mut self, plan: &LogicalPlan) -> Result<Node> {
        let above = std::mem::take(&mut self.tells_partitions);
        let node = self.node(plan);
        self.tells_partitions = above;
        node
    }

    fn projection(&mut self, projection: &Projection) -> Result<Node> {
        projected(projection, self.node(&projection.input)?)
    }

    fn filter(&mut self, filter: &Filter) -> Result<Node> {
        if let Some(node) = self.over_window(filter)? {
            return Ok(node);
        }
        filtered_by(filter, self.node(&filter.input)?)
    }

    fn alias(&mut self, alias: &SubqueryAlias) -> Result<Node> {
        let input = self.node(&alias.input)?;
        let as_of_now = input.as_of_now || alias.alias.table() == AS_OF_NOW;
        Ok(Node { as_of_now, ..aliased(alias, input)? })
    }

    fn unnest(&mut self, unnest: &Unnest) -> Result<Node> {
        let input = self.node(&unnest.input)?;
        let time_bounds = unnest.dependency_indices.iter().map(|n| input.bounds.get(*n).cloned().flatten()).collect();
        let plan = Unnest::try_new(Arc::new(input.plan), unnest.exec_columns.clone(), unnest.options.clone())?;
        Ok(Node { plan: LogicalPlan::Unnest(plan), bounds: time_bounds, key: None, ..input })
    }

    fn union(&mut self, union: &Union) -> Result<Node> {
        let parts = union.inputs.iter().map(|input| self.node(input)).collect::<Result<Vec<_>>>()?;
        let moving = parts.iter().any(|part| part.dynamic);
        let carried = Carried {
            partition: parts.iter().any(|part| part.carried.partition),
            diff: parts.iter().any(|part| part.carried.diff),
        };
        let time_bounds = common_facts(&parts);
        let derived = parts.iter().any(|part| part.fed_by_operator);
        let mut inputs = Vec::new();
        for part in parts {
            let part = if moving && !part.dynamic { once(part) } else { part };
            inputs.push(Arc::new(carried.reshape(part.carried, part.plan)?));
        }
        let schema = carried.schema(&union.schema)?;
        Ok(Node {
            plan: LogicalPlan::Union(Union { inputs, schema }),
            carried,
            dynamic: moving,
            fed_by_operator: derived,
            as_of_now: false,
            bounds: time_bounds,
            key: None,
        })
    }
}

/// A projection over a rewritten input.
pub(super) fn projected(projection: &Projection, input: Node) -> Result<Node> {
    let time_bounds = of_projection(&projection.expr, &projection.input, &input.bounds);
    let key = input.key.and_then(|key| projected_key(&key, projection));
    let mut exprs = projection.expr.clone();
    exprs.extend(input.carried.exprs(&input.plan)?);
    let schema = input.carried.schema(&projection.schema)?;
    let plan = LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(input.plan), schema)?);
    Ok(Node { plan, bounds: time_bounds, key, ..input })
}

/// A filter over a rewritten input.
pub(super) fn filtered_by(filter: &Filter, input: Node) -> Result<Node> {
    let plan = LogicalPlan::Filter(Filter::try_new(filter.predicate.clone(), Arc::new(input.plan))?);
    Ok(Node { plan, ..input })
}

/// An alias over a rewritten input.
pub(super) fn aliased(alias: &SubqueryAlias, input: Node) -> Result<Node> {
    let plan = SubqueryAlias::try_new(Arc::new(input.plan), alias.alias.clone())?;
    Ok(Node { plan: LogicalPlan::SubqueryAlias(plan), ..input })
}

/// A leaf with the filters of its scan.
fn filtered(mut plan: LogicalPlan, scan: &TableScan) -> Result<LogicalPlan> {
    for filter in &scan.filters {
        plan = LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(plan))?);
    }
    Ok(plan)
}

/// Whether rows below a watermark come in several partitions: those of one source, or of several inputs of a union.
fn tells_partitions(plan: &LogicalPlan) -> Result<bool> {
    let (mut inputs, mut partitioned) = (0, false);
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = InputTable::of(source_as_provider(&scan.source)?.as_ref())
            && !table.fixed
        {
            inputs += 1;
            partitioned |= table.is_partitioned();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(partitioned || inputs > 1)
}

/// The key columns after a projection, if all are still there unchanged.
fn projected_key(key: &[usize], projection: &Projection) -> Option<Vec<usize>> {
    let input = projection.input.schema();
    let place = |column: &usize| {
        let column = Column::from(input.qualified_field(*column));
        projection.expr.iter().position(|expr| expr.clone().unalias() == Expr::Column(column.clone()))
    };
    key.iter().map(place).collect()
}

/// The time bounds common to all parts of a union.
fn common_facts(parts: &[Node]) -> TimeBounds {
    let Some((first, rest)) = parts.split_first() else { return Vec::new() };
    let common = |(n, time_bound): (usize, &Option<TimeBound>)| {
        rest.iter()
            .all(|part| !part.dynamic || part.bounds.get(n) == Some(time_bound))
            .then(|| time_bound.clone())
            .flatten()
    };
    first.bounds.iter().enumerate().map(common).collect()
}

fn refused_node(plan: &LogicalPlan) -> Error {
    match plan {
        LogicalPlan::Distinct(_) => refused("DISTINCT ON").hint("Use GROUP BY with first_value(… ORDER BY …)."),
        LogicalPlan::Subquery(_) => refused("a correlated subquery"),
        // Nodes that depend on the order have a Sort of their own by now.
        LogicalPlan::Sort(_) => refused("ORDER BY in this place").hint("Put it beside LIMIT, or into the function."),
        other => refused(&format!("{} over an input that grows", other.display())),
    }
}
