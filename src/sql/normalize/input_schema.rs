//! The columns that the expressions of a node refer to.

use std::sync::Arc;

use datafusion::{
    common::{DFSchema, DFSchemaRef},
    logical_expr::LogicalPlan,
};

/// The schema of a node's inputs. That of one input is not copied.
pub(in crate::sql) fn input_schema(plan: &LogicalPlan) -> DFSchemaRef {
    match plan.inputs().as_slice() {
        [input] => input.schema().clone(),
        inputs => {
            let mut schema = DFSchema::empty();
            inputs.iter().for_each(|input| schema.merge(input.schema()));
            Arc::new(schema)
        }
    }
}
