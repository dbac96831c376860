//! The definition of a folding aggregate, and the expressions it calls.

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    compute::cast,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use datafusion::{common::ScalarValue, error::Result as DfResult, physical_expr::PhysicalExpr};

use crate::changes::batch_of;

/// The definition of a user-defined aggregate.
#[derive(Debug)]
pub struct FoldSpec {
    pub name: String,
    /// Distinguishes it from earlier aggregates of the same name.
    pub id: u64,
    pub arguments: Vec<DataType>,
    pub state: DataType,
    /// The initial state (INITCOND); `None` is NULL.
    pub initial: Option<ScalarValue>,
    /// SFUNC: next state from state and arguments.
    pub step: Call,
    /// FINALFUNC: answer from state; without it the state is the answer.
    pub finish: Option<Call>,
    /// COMBINEFUNC: merges two states.
    pub combine: Option<Call>,
    pub output: DataType,
}

/// A scalar function as an expression over its arguments.
#[derive(Debug)]
pub struct Call {
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// Whether it is NULL, without a call, if an argument is NULL.
    pub strict: bool,
}

impl Call {
    /// The schema of the argument columns of `expr`.
    pub fn schema(arguments: &[DataType]) -> SchemaRef {
        let field = |(n, of): (usize, &DataType)| Field::new(format!("${}", n + 1), of.clone(), true);
        Arc::new(Schema::new(arguments.iter().enumerate().map(field).collect::<Fields>()))
    }

    pub fn new(expr: Arc<dyn PhysicalExpr>, schema: SchemaRef, strict: bool) -> Call {
        Call { expr, schema, strict }
    }

    /// Evaluates it over `rows` rows.
    pub fn of(&self, columns: Vec<ArrayRef>, rows: usize) -> DfResult<ArrayRef> {
        let batch = batch_of(&self.schema, columns, rows)?;
        self.expr.evaluate(&batch)?.into_array(rows)
    }
}

impl FoldSpec {
    /// Whether rows must be buffered until the state before them is known.
    pub(super) fn is_put_off(&self, order: &[DataType]) -> bool {
        self.combine.is_none() || !order.is_empty()
    }

    /// The fields of buffered rows: arguments, then ORDER BY columns.
    pub(super) fn row_fields(&self, order: &[DataType]) -> Fields {
        let all = self.arguments.iter().chain(order).enumerate();
        all.map(|(n, of)| Field::new(n.to_string(), of.clone(), true)).collect()
    }

    pub(super) fn rows_type(&self, order: &[DataType]) -> DataType {
        DataType::new_list(DataType::Struct(self.row_fields(order)), true)
    }
}

/// Casts a value to its declared type.
pub fn fitted(value: &ArrayRef, declared: &DataType) -> DfResult<ArrayRef> {
    match value.data_type() == declared {
        true => Ok(value.clone()),
        false => Ok(cast(value, declared)?),
    }
}
