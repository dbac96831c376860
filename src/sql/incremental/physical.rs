//! The physical plan of a rewritten query.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    compute::SortOptions,
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::{DFSchema, JoinType},
    error::Result as DfResult,
    execution::{SessionState, SessionStateBuilder, TaskContext, memory_pool::MemoryLimit, runtime_env::RuntimeEnv},
    logical_expr::{
        Expr, LogicalPlan, SortExpr, UserDefinedLogicalNode, physical_planning_context::PhysicalPlanningContext,
    },
    physical_expr::{PhysicalExpr, PhysicalSortExpr, aggregate::LoweredAggregateBuilder},
    physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner},
};

use super::{
    Rewritten,
    step::{AggregateStep, GroupPlanStep, JoinStep, Step, StepNode},
};
use crate::{
    changes::{DIFF, PARTITION, has_diff, without_diff},
    error::{Error, Result},
    exec::{EpochContext, EpochExec, EventTime, Operator, Plan, RerunnablePlan, epoch_rules},
    operators::{
        Aggregate, AggregateByRecompute, AggregateCall, Dedup, DedupSpec, GroupPlan, GroupPlanSpec, Grouping, Join,
        JoinSpec, LookupJoin, Presence, PresenceBounds, SideOutput, SideSpec, Temporal, TopNSpec, Upsert,
    },
    sql::{
        batch_rows::batch_rows,
        normalize::{constants_as_calls, keys_as_columns},
        temporal::Bound,
    },
};

/// Plans a rewritten query. The nodes of the plan share `epoch_context`, which is filled before each run.
///
/// The plan has one partition, so that DataFusion inserts no exchange: an input has as many streams as the context has
/// partitions, stateless steps keep them apart, and an operator reads all of them. Group plans run in the runtime
/// environment `epochs`, as the plan does.
pub async fn plan_epoch(
    rewritten: &Rewritten,
    state: &SessionState,
    epoch_context: &Arc<EpochContext>,
    epochs: &Arc<RuntimeEnv>,
) -> Result<Plan> {
    epoch_context.set_batch_rows(batch_rows(&rewritten.plan, usize::MAX)?);
    let config = state.config().clone().with_target_partitions(1);
    let state = SessionStateBuilder::new_from_existing(state.clone())
        .with_config(config)
        .with_physical_optimizer_rules(epoch_rules())
        .build();
    let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(StepPlanner {
        epoch_context: epoch_context.clone(),
        epochs: epochs.clone(),
    })]);
    let plan = constants_as_calls(keys_as_columns(rewritten.plan.clone())?)?;
    Ok(EpochExec::isolating_row_errors(epoch_context, planner.create_physical_plan(&plan, &state).await?))
}

struct StepPlanner {
    epoch_context: Arc<EpochContext>,
    epochs: Arc<RuntimeEnv>,
}

#[async_trait]
impl ExtensionPlanner for StepPlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Plan],
        session: &dyn Session,
        context: &PhysicalPlanningContext,
    ) -> DfResult<Option<Plan>> {
        let Some(node) = node.as_any().downcast_ref::<StepNode>() else { return Ok(None) };
        let schema: SchemaRef = node.schema.inner().clone();
        let child = || inputs.first().cloned().ok_or_else(|| Error::internal("a step has no input"));
        let remembering = |children: Vec<Plan>, operator: Box<dyn Operator>, label: String, schema: SchemaRef| {
            EpochExec::operator(&self.epoch_context, children, operator, (&node.uid, label), schema)
        };
        let exec = match &node.step {
            Step::DeltaScan { input, name, isolates_row_errors } => {
                EpochExec::delta_scan(&self.epoch_context, *input, name.clone(), schema, *isolates_row_errors)
            }
            Step::FirstEpochOnly => EpochExec::first_epoch_only(&self.epoch_context, child()?),
            Step::StaticInput => EpochExec::static_input(&self.epoch_context, child()?),
            Step::Watermark { column, spec, partition } => {
                let partition = partition.then(|| schema.index_of(PARTITION)).transpose()?;
                EpochExec::watermark(
                    &self.epoch_context,
                    child()?,
                    EventTime { column: *column, partition },
                    spec.ahead_us_max,
                )
            }
            Step::Aggregate(step) => {
                let operator = operator(step, node, planner, session, context)?;
                let label =
                    format!("{}: {}", if step.recompute { "AggregateByRecompute" } else { "Aggregate" }, label(step));
                remembering(vec![child()?], operator, label, schema)
            }
            Step::Join(step) => {
                let spec = Arc::new(join(step, node, planner, session, context)?);
                let on = step.on.iter().map(|(l, r)| format!("{l} = {r}")).collect::<Vec<_>>().join(", ");
                let label = format!("Join: {} on [{on}]", step.join_type);
                let operator: Box<dyn Operator> = match step.as_of_now {
                    true => Box::new(LookupJoin::new(spec)?),
                    false => Box::new(Join::new(spec)?),
                };
                remembering(inputs.to_vec(), operator, label, schema)
            }
            Step::Temporal { from, until } => {
                let operator = temporal(from, until, node, planner, session, context)?;
                remembering(vec![child()?], operator, "Temporal".to_string(), schema)
            }
            Step::GroupInput(given) => EpochExec::group_input(&self.epoch_context, given.clone(), schema),
            Step::GroupPlan(step) => {
                let plan = constants_as_calls(keys_as_columns(step.plan.clone())?)?;
                let plan = planner.create_physical_plan(&plan, session).await?;
                let epochs = Arc::new(TaskContext::from(session).with_runtime(self.epochs.clone()));
                let operator = group_plan(step, node, (plan, epochs), planner, session, context)?;
                let label = format!("GroupPlan: by [{}]", list(&step.keys));
                remembering(vec![child()?], operator, label, schema)
            }
            Step::Dedup(step) => {
                let child = child()?;
                let input = node.inputs.first().ok_or_else(|| Error::internal("a dedup has no input"))?.schema();
                let keys = step.keys.iter().map(|key| planner.create_physical_expr(key, input, session, context));
                let (late, forget, derived) = (step.late, step.forget, step.derived);
                let spec =
                    DedupSpec { keys: keys.collect::<DfResult<_>>()?, late, forget, derived, rows: schema.clone() };
                let label = format!("Dedup: by [{}]", list(&step.keys));
                remembering(vec![child], Box::new(Dedup::new(spec)?), label, schema)
            }
            Step::Upsert { key } => {
                let child = child()?;
                let input = child.schema();
                let names: Vec<_> = key.iter().map(|i| input.field(*i).name().as_str()).collect();
                let label = format!("Upsert: by [{}]", names.join(", "));
                let operator = Box::new(Upsert::new(&input, without_diff(&schema), key.clone())?);
                remembering(vec![child], operator, label, schema)
            }
        };
        Ok(Some(Arc::new(exec)))
    }
}

fn list(exprs: &[Expr]) -> String {
    exprs.iter().map(|e| e.schema_name().to_string()).collect::<Vec<_>>().join(", ")
}

fn label(step: &AggregateStep) -> String {
    format!("by [{}] of [{}]", list(&step.group), list(&step.functions))
}

fn operator(
    step: &AggregateStep,
    node: &StepNode,
    planner: &dyn PhysicalPlanner,
    session: &dyn Session,
    context: &PhysicalPlanningContext,
) -> Result<Box<dyn Operator>> {
    let input = node.inputs.first().ok_or_else(|| Error::internal("an aggregate has no input"))?.schema();
    let input_schema = input.inner();
    let keys = step.group.iter().map(|e| planner.create_physical_expr(e, input, session, context));
    let mut functions = Vec::new();
    for function in &step.functions {
        let props = session.execution_props();
        let lowered = LoweredAggregateBuilder::new(function, input, input_schema, props, context).build()?;
        let (aggregate, filter, order_by) = (lowered.aggregate, lowered.filter, lowered.order_bys);
        functions.push(AggregateCall { aggregate, filter, order_by });
    }
    let output = without_diff(node.schema.inner());
    let grouping = Grouping {
        keys: keys.collect::<DfResult<_>>()?,
        key_fields: output.fields().iter().take(step.group.len()).cloned().collect(),
        close: step.close,
        timed: step.timed.clone(),
        derived: step.derived,
        emission: step.emission,
        output,
    };
    Ok(match step.recompute {
        true => Box::new(AggregateByRecompute::new(grouping, functions, input_schema)?),
        false => Box::new(Aggregate::new(grouping, functions.into(), step.presence, input_schema)?),
    })
}

fn group_plan(
    step: &GroupPlanStep,
    node: &StepNode,
    (plan, epochs): (Plan, Arc<TaskContext>),
    planner: &dyn PhysicalPlanner,
    session: &dyn Session,
    context: &PhysicalPlanningContext,
) -> Result<Box<dyn Operator>> {
    let input = node.inputs.first().ok_or_else(|| Error::internal("a group plan has no input"))?.schema();
    let keys = step.keys.iter().map(|e| planner.create_physical_expr(e, input, session, context));
    let keys: Vec<_> = keys.collect::<DfResult<_>>()?;
    let field = |key: &Arc<dyn PhysicalExpr>| Ok(Field::new("key", key.data_type(input.inner())?, true));
    let grouping = Grouping {
        key_fields: keys.iter().map(field).collect::<DfResult<_>>()?,
        keys,
        close: step.close,
        timed: step.timed.clone(),
        derived: step.derived,
        emission: step.emission,
        output: without_diff(node.schema.inner()),
    };
    let first = step.first.as_ref().map(|(first, order)| {
        let by = |by: &SortExpr| -> DfResult<PhysicalSortExpr> {
            let expr = planner.create_physical_expr(&by.expr, input, session, context)?;
            Ok(PhysicalSortExpr::new(expr, SortOptions::new(!by.asc, by.nulls_first)))
        };
        let order = order.iter().map(by).collect::<DfResult<_>>()?;
        Ok::<_, Error>(TopNSpec { order, first: *first, appends: !has_diff(input.inner()) })
    });
    let first = first.transpose()?;
    let input = without_diff(input.inner());
    let mut leaf: Vec<FieldRef> = input.fields().iter().cloned().collect();
    leaf.push(Arc::new(Field::new(PARTITION, DataType::Int64, false)));
    let plan = GroupPlanSpec {
        plan: RerunnablePlan::new(plan, step.given.clone(), epochs),
        leaf: Arc::new(Schema::new(leaf)),
        input,
        sessions: step.sessions.clone(),
        first,
    };
    Ok(Box::new(GroupPlan::new(grouping, plan)?))
}

fn temporal(
    from: &[Bound],
    until: &[Bound],
    node: &StepNode,
    planner: &dyn PhysicalPlanner,
    session: &dyn Session,
    context: &PhysicalPlanningContext,
) -> Result<Box<dyn Operator>> {
    let input = node.inputs.first().ok_or_else(|| Error::internal("a temporal filter has no input"))?.schema();
    let moments = |bounds: &[Bound]| -> DfResult<PresenceBounds> {
        let moment =
            |bound: &Bound| Ok((planner.create_physical_expr(&bound.time, input, session, context)?, bound.plus_us));
        bounds.iter().map(moment).collect()
    };
    let (withdraws, input) = (has_diff(input.inner()), without_diff(input.inner()));
    let presence = Presence { from: moments(from)?, until: moments(until)?, input, withdraws };
    Ok(Box::new(Temporal::new(presence)?))
}

/// A join in the form of its operator.
fn join(
    step: &JoinStep,
    node: &StepNode,
    planner: &dyn PhysicalPlanner,
    session: &dyn Session,
    context: &PhysicalPlanningContext,
) -> Result<JoinSpec> {
    use JoinType::*;
    let [left, right] = node.inputs.as_slice() else { return Err(Error::internal("a join has two inputs")) };
    let own = [own_columns(left)?, own_columns(right)?];
    let shows = match step.join_type {
        Inner => [SideOutput::None; 2],
        Left | LeftAnti => [SideOutput::Anti, SideOutput::None],
        Right | RightAnti => [SideOutput::None, SideOutput::Anti],
        Full => [SideOutput::Anti; 2],
        LeftSemi => [SideOutput::Semi, SideOutput::None],
        RightSemi => [SideOutput::None, SideOutput::Semi],
        LeftMark => [SideOutput::Mark, SideOutput::None],
        RightMark => [SideOutput::None, SideOutput::Mark],
    };
    let side = |n: usize, input: &LogicalPlan| -> Result<SideSpec> {
        let keys = step.on.iter().map(|(l, r)| if n == 0 { l } else { r });
        let keys = keys.map(|key| planner.create_physical_expr(key, &own[n], session, context));
        Ok(SideSpec {
            schema: own[n].inner().clone(),
            keys: keys.collect::<DfResult<_>>()?,
            withdraws: has_diff(input.schema().inner()),
            output: shows[n],
            close: step.close[n],
            late: step.late[n],
            timed: step.timed[n],
            fed_by_operator: step.derived[n],
        })
    };
    let fields: Vec<_> = own.iter().flat_map(|schema| schema.fields().iter().cloned()).collect();
    let filter = step.filter.as_ref().map(|filter| {
        let combined = own[0].join(&own[1])?;
        planner.create_physical_expr(filter, &combined, session, context)
    });
    Ok(JoinSpec {
        sides: [side(0, left)?, side(1, right)?],
        filter: filter.transpose()?,
        combined: Arc::new(Schema::new(fields)),
        pairs: matches!(step.join_type, Inner | Left | Right | Full),
        null_equals_null: step.null_equals_null,
        deferred: step.deferred,
        output: without_diff(node.schema.inner()),
        pairs_max: 8 * session.config().batch_size(),
        // The whole pool, regardless of client queries: a view must not fail because of others.
        pairs_bytes_max: match session.runtime_env().memory_pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            MemoryLimit::Infinite | MemoryLimit::Unknown => usize::MAX,
        },
    })
}

/// The columns of an input without the diff.
fn own_columns(input: &LogicalPlan) -> Result<DFSchema> {
    let own = input.schema().iter().filter(|(_, field)| field.name() != DIFF);
    let own = own.map(|(qualifier, field)| (qualifier.cloned(), field.clone())).collect();
    Ok(DFSchema::new_with_metadata(own, HashMap::new())?)
}
