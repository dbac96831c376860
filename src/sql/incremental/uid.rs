//! The uid of an operator: the key of its state in a checkpoint (as `uid()` in Flink). It is derived from the operator
//! in the logical query: its kind, its keys, and its position among the operators. Stateless nodes between operators,
//! such as a projection, and hidden columns do not affect it.
//!
//! ```text
//! Join[a = b]@0.1     the second operator below the first one below the answer
//! ```

use datafusion::{
    common::{
        Column,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{Expr, Extension, LogicalPlan},
};
use std::sync::Arc;

use super::step::{Step, StepNode};
use crate::{error::Result, sql::builtins::is_cast};

/// Assigns a uid to each operator of a rewritten plan, unique within the plan.
pub(super) fn with_uids(plan: LogicalPlan) -> Result<LogicalPlan> {
    at(plan, &mut vec![0])
}

/// `path`: the position of the next operator; its last part is the number of operators before it on this level.
fn at(plan: LogicalPlan, path: &mut Vec<usize>) -> Result<LogicalPlan> {
    let Some((node, what)) = operator(&plan) else { return below(plan, path) };
    let place = path.iter().map(ToString::to_string).collect::<Vec<_>>().join(".");
    let node = StepNode { uid: format!("{what}@{place}"), ..node };
    path.push(0);
    let plan = below(LogicalPlan::Extension(Extension { node: Arc::new(node) }), path)?;
    path.pop();
    path.iter_mut().last().into_iter().for_each(|next| *next += 1);
    Ok(plan)
}

fn below(plan: LogicalPlan, path: &mut Vec<usize>) -> Result<LogicalPlan> {
    Ok(plan.map_children(|child| Ok(Transformed::yes(at(child, path)?)))?.data)
}

/// The operator of a node and its identity: kind and keys.
fn operator(plan: &LogicalPlan) -> Option<(StepNode, String)> {
    let LogicalPlan::Extension(extension) = plan else { return None };
    let node = extension.node.as_any().downcast_ref::<StepNode>()?;
    let kind = extension.node.name();
    let what = match &node.step {
        Step::Aggregate(step) => format!("{kind}[{}]", keys(step.group.iter())),
        Step::Join(step) => {
            let on = step.on.iter().map(|(left, right)| format!("{} = {}", key(left), key(right)));
            format!("{kind}[{}]", on.collect::<Vec<_>>().join(", "))
        }
        Step::GroupPlan(step) => format!("{kind}[{}]", keys(step.keys.iter())),
        Step::Dedup(step) => format!("{kind}[{}]", keys(step.keys.iter())),
        Step::Temporal { .. } => kind.to_string(),
        Step::Upsert { key } => {
            let schema = node.inputs.first()?.schema();
            let names = key.iter().map(|column| schema.field(*column).name().as_str());
            format!("{kind}[{}]", names.collect::<Vec<_>>().join(", "))
        }
        Step::DeltaScan { .. }
        | Step::FirstEpochOnly
        | Step::StaticInput
        | Step::Watermark { .. }
        | Step::GroupInput(_) => return None,
    };
    Some((node.clone(), what))
}

fn keys<'a>(exprs: impl Iterator<Item = &'a Expr>) -> String {
    exprs.map(key).collect::<Vec<_>>().join(", ")
}

/// An expression with unqualified column names: relation aliases depend on the planner's rules.
fn key(expr: &Expr) -> String {
    let plain = expr.clone().transform(|expr| {
        Ok(match expr {
            Expr::Column(column) => Transformed::yes(Expr::Column(Column::from_name(column.name))),
            Expr::ScalarFunction(mut call) if is_cast(&call.func) && call.args.len() == 1 => {
                Transformed::yes(call.args.remove(0))
            }
            other => Transformed::no(other),
        })
    });
    plain.map_or_else(|_| expr.schema_name().to_string(), |plain| plain.data.schema_name().to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::{
        common::tree_node::TreeNodeRecursion,
        logical_expr::{LogicalPlanBuilder, LogicalTableSource, col, lit},
    };

    use super::*;
    use crate::sql::incremental::step::AggregateStep;

    fn scan(name: &str) -> LogicalPlanBuilder {
        use arrow::datatypes::{DataType, Field, Schema};
        let fields = ["k", "v"].map(|name| Field::new(name, DataType::Int64, true));
        let source = LogicalTableSource::new(Arc::new(Schema::new(fields.to_vec())));
        LogicalPlanBuilder::scan(name, Arc::new(source), None).unwrap()
    }

    fn aggregate(input: LogicalPlan, key: Expr) -> LogicalPlan {
        let schema = input.schema().clone();
        let step = AggregateStep {
            group: vec![key],
            functions: Vec::new(),
            close: None,
            timed: Vec::new(),
            emission: crate::operators::Emission::OnUpdate,
            presence: None,
            recompute: false,
            derived: false,
        };
        StepNode::plan(Step::Aggregate(step), vec![input], schema)
    }

    fn uids(plan: LogicalPlan) -> Vec<String> {
        let mut uids = Vec::new();
        with_uids(plan)
            .unwrap()
            .apply(|plan| {
                let LogicalPlan::Extension(extension) = plan else { return Ok(TreeNodeRecursion::Continue) };
                let node = extension.node.as_any().downcast_ref::<StepNode>().unwrap();
                uids.push(node.uid.clone());
                Ok(TreeNodeRecursion::Continue)
            })
            .unwrap();
        uids
    }

    #[test]
    fn uid_projection_between_operators_changes_nothing() {
        let inner = || aggregate(scan("t").build().unwrap(), col("t.k"));
        let plain = uids(aggregate(inner(), col("k")));
        assert_eq!(plain, ["Aggregate[k]@0", "Aggregate[k]@0.0"]);
        let projected = LogicalPlanBuilder::from(inner()).project([col("k"), lit(1).alias("one")]).unwrap();
        let projected = projected.alias("s").unwrap().build().unwrap();
        assert_eq!(uids(aggregate(projected, col("s.k"))), plain);
    }

    #[test]
    fn uid_equal_operators_beside_each_other_differ() {
        let part = |name| aggregate(scan(name).build().unwrap(), col("k"));
        let union = LogicalPlanBuilder::from(part("t")).union(part("t")).unwrap().union(part("u")).unwrap();
        let uids = uids(union.build().unwrap());
        assert_eq!(uids.iter().collect::<BTreeSet<_>>().len(), 3, "{uids:?}");
        assert_eq!(uids[0], "Aggregate[k]@0");
    }
}
