//! Orders that DataFusion takes rows to have, and that they do not have. What is constant in the rows of one side of a join
//! is not where an outer join has NULLs in place of them, and of the other side, a sort below the join relies on what is not
//! known above it any more; rows of GROUPING SETS have NULLs in place of the keys that their input was sorted by; the parts
//! of a UNION may each have one value in a column, but not the same one, which a sort with a LIMIT compares nevertheless;
//! rows in the order of arrays in arrays cannot be compared as far as an aggregation along that order needs it; and where
//! `abs(a) = a` holds, what is sorted by the one is not found to be sorted by the other. Of these rows nobody is told their
//! order.

use std::{fmt, sync::Arc};

use datafusion::{
    common::{
        config::ConfigOptions,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{JoinType, Operator},
    physical_expr::{
        AcrossPartitions, EquivalenceProperties, PhysicalExpr,
        expressions::{BinaryExpr, Column, Literal},
        split_conjunction,
    },
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputOrderMode, PlanProperties,
        Statistics,
        aggregates::AggregateExec,
        filter::FilterExec,
        joins::{HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec, SymmetricHashJoinExec},
        replace_children_if_necessary,
        statistics::{ChildStats, StatisticsArgs},
        windows::{BoundedWindowAggExec, WindowAggExec},
    },
};

/// Has to come before all rules that rely on an order.
#[derive(Debug, Default)]
pub struct Distrust {
    /// Also below inner joins, where rules differ about what is constant: of `SELECT 5 AS o`, joined and then put in order by
    /// `o`, one takes out the sort, and the next one finds that it is needed.
    pub inner_joins: bool,
}

impl PhysicalOptimizerRule for Distrust {
    fn name(&self) -> &str {
        "distrust"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let mut children: Vec<_> = plan.children().into_iter().cloned().collect();
            let mut changed = false;
            for (child, distrusted) in children.iter_mut().zip(self.distrusted(&plan)?) {
                if distrusted || is_of_sets(child) || differs_by_part(child) || equates_expressions(child) {
                    *child = UnorderedExec::over(child.clone());
                    changed = true;
                }
            }
            Ok(match changed {
                true => Transformed::yes(replace_children_if_necessary(plan, children)?),
                false => Transformed::no(plan),
            })
        })
        .data()
    }
}

impl Distrust {
    /// Of which inputs of a node the order is not to be relied on.
    fn distrusted(&self, plan: &Arc<dyn ExecutionPlan>) -> DfResult<Vec<bool>> {
        if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
            return Ok(vec![compares_arrays(aggregate)?]);
        }
        let of_join = join_type(plan)
            .is_some_and(|join| self.inner_joins || matches!(join, JoinType::Left | JoinType::Right | JoinType::Full));
        let constant =
            |child: &Arc<dyn ExecutionPlan>| of_join && !child.equivalence_properties().constants().is_empty();
        Ok(plan.children().into_iter().map(constant).collect())
    }
}

/// Fails for a plan with a window function that would not run: it looks for the order of its partitions once more when it
/// begins, and may see that of a sort which was not made for it. Has to come after all rules that change an order.
#[derive(Debug)]
pub struct CheckWindows;

impl PhysicalOptimizerRule for CheckWindows {
    fn name(&self) -> &str {
        "check_windows"
    }

    fn schema_check(&self) -> bool {
        true
    }

    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        plan.apply(|node| {
            if let Some(window) = node.downcast_ref::<WindowAggExec>() {
                window.partition_by_sort_keys()?;
            }
            if let Some(window) = node.downcast_ref::<BoundedWindowAggExec>() {
                window.partition_by_sort_keys()?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(plan)
    }
}

fn join_type(plan: &Arc<dyn ExecutionPlan>) -> Option<JoinType> {
    let hash = plan.downcast_ref::<HashJoinExec>().map(|join| *join.join_type());
    let merge = plan.downcast_ref::<SortMergeJoinExec>().map(|join| join.join_type());
    let looped = plan.downcast_ref::<NestedLoopJoinExec>().map(|join| *join.join_type());
    let symmetric = plan.downcast_ref::<SymmetricHashJoinExec>().map(|join| *join.join_type());
    hash.or(merge).or(looped).or(symmetric)
}

/// Whether rows are those of GROUPING SETS, ROLLUP or CUBE, as an aggregation gives them first.
fn is_of_sets(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<AggregateExec>().is_some_and(|aggregate| !aggregate.group_expr().is_single())
}

/// Whether a column has one value in each partition, but not the same in all.
fn differs_by_part(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let constants = plan.equivalence_properties().constants();
    constants.iter().any(|constant| matches!(constant.across_partitions, AcrossPartitions::Heterogeneous))
}

/// Whether a filter lets only those rows through for which some expression equals another, or a column.
fn equates_expressions(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(filter) = plan.downcast_ref::<FilterExec>() else { return false };
    let equates = |condition: &Arc<dyn PhysicalExpr>| {
        let Some(binary) = condition.downcast_ref::<BinaryExpr>().filter(|b| *b.op() == Operator::Eq) else {
            return false;
        };
        let sides = [binary.left(), binary.right()];
        let constant = sides.iter().any(|side| side.downcast_ref::<Literal>().is_some());
        !constant && sides.iter().any(|side| side.downcast_ref::<Column>().is_none())
    };
    split_conjunction(filter.predicate()).into_iter().any(equates)
}

/// Whether an aggregation would go along an order of arrays. Where functions have an order of their own, they need it.
fn compares_arrays(aggregate: &AggregateExec) -> DfResult<bool> {
    let in_order = aggregate.aggr_expr().iter().any(|function| !function.order_bys().is_empty());
    if *aggregate.input_order_mode() == InputOrderMode::Linear || in_order {
        return Ok(false);
    }
    let schema = aggregate.input().schema();
    for (key, _) in aggregate.group_expr().expr() {
        if key.data_type(&schema)?.is_nested() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rows of its input, of which nobody is told in what order they come, nor what is the same in all of them. Schema and
/// partitions are its input's.
#[derive(Debug)]
struct UnorderedExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl UnorderedExec {
    fn over(input: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let PlanProperties { partitioning, emission_type, boundedness, .. } = input.properties().as_ref();
        let unknown = EquivalenceProperties::new(input.schema());
        let properties = PlanProperties::new(unknown, partitioning.clone(), *emission_type, *boundedness);
        Arc::new(UnorderedExec { properties: Arc::new(properties), input })
    }
}

impl DisplayAs for UnorderedExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnorderedExec")
    }
}

impl ExecutionPlan for UnorderedExec {
    fn name(&self) -> &str {
        "UnorderedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![false]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> DfResult<Arc<Statistics>> {
        Ok(inputs.first().cloned().unwrap_or_else(|| Arc::new(Statistics::new_unknown(&self.input.schema()))))
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(UnorderedExec::over(children.pop().unwrap_or_else(|| self.input.clone())))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }
}
