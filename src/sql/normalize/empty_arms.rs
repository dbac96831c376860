//! Arms of a UNION that have no rows. DataFusion removes them, and looks up the columns of the only remaining arm by
//! the names of the first arm, which it need not have: `SELECT a FROM t WHERE false UNION ALL SELECT b FROM u`.

use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::{
    common::{TableReference, tree_node::Transformed},
    error::Result as DfResult,
    logical_expr::{Expr, LogicalPlan, Projection, Union},
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule, propagate_empty_relation::PropagateEmptyRelation},
};

/// DataFusion's rule, with columns matched by position.
#[derive(Debug, Default)]
pub(in crate::sql) struct EmptyArms(PropagateEmptyRelation);

impl OptimizerRule for EmptyArms {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Union(union) => match last_arm(&union) {
                Some(place) => Ok(Transformed::yes(only_arm(union, place)?)),
                None => self.0.rewrite(LogicalPlan::Union(union), config),
            },
            other => self.0.rewrite(other, config),
        }
    }
}

fn is_empty(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row)
}

/// The index of the only arm that is not empty, if there is exactly one.
fn last_arm(union: &Union) -> Option<usize> {
    let mut full = (0..union.inputs.len()).filter(|place| !is_empty(&union.inputs[*place]));
    full.next().filter(|_| full.next().is_none())
}

/// The arm at `place`, with the columns of the union.
fn only_arm(mut union: Union, place: usize) -> DfResult<LogicalPlan> {
    let arm = union.inputs.swap_remove(place);
    let named = |(column, (relation, field)): (_, (Option<&TableReference>, &Arc<Field>))| {
        Expr::Column(column).alias_qualified(relation.cloned(), field.name())
    };
    let columns = arm.schema().columns().into_iter().zip(union.schema.iter()).map(named).collect();
    Ok(LogicalPlan::Projection(Projection::try_new_with_schema(columns, arm, union.schema)?))
}
