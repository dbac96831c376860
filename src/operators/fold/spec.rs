//! What an aggregate that folds is made of, and the expressions that it calls.

use std::sync::Arc;

use arrow::{
    array::ArrayRef,
    compute::cast,
    datatypes::{DataType, Field, Fields, Schema, SchemaRef},
};
use datafusion::{common::ScalarValue, error::Result as DfResult, physical_expr::PhysicalExpr};

use crate::changes::batch_of;

/// What an aggregate is made of.
#[derive(Debug)]
pub struct FoldSpec {
    pub name: String,
    /// Tells it from others that had its name before.
    pub id: u64,
    pub arguments: Vec<DataType>,
    pub state: DataType,
    /// What is there before any row; NULL where nobody said.
    pub initial: Option<ScalarValue>,
    /// The next state, from the state and the arguments.
    pub step: Call,
    /// The answer, from the state; else the state is it.
    pub finish: Option<Call>,
    /// One state of two.
    pub combine: Option<Call>,
    pub output: DataType,
}

/// An expression over rows of its own.
#[derive(Debug)]
pub struct Call {
    expr: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
    /// Whether it is not to be asked where an argument is NULL.
    pub strict: bool,
}

impl Call {
    /// The columns that `expr` finds its arguments in.
    pub fn schema(arguments: &[DataType]) -> SchemaRef {
        let field = |(n, of): (usize, &DataType)| Field::new(format!("${}", n + 1), of.clone(), true);
        Arc::new(Schema::new(arguments.iter().enumerate().map(field).collect::<Fields>()))
    }

    pub fn new(expr: Arc<dyn PhysicalExpr>, schema: SchemaRef, strict: bool) -> Call {
        Call { expr, schema, strict }
    }

    /// Its value over so many rows of columns.
    pub fn of(&self, columns: Vec<ArrayRef>, rows: usize) -> DfResult<ArrayRef> {
        let batch = batch_of(&self.schema, columns, rows)?;
        self.expr.evaluate(&batch)?.into_array(rows)
    }
}

impl FoldSpec {
    /// Whether rows must wait for the state that they are folded into.
    pub(super) fn is_put_off(&self, order: &[DataType]) -> bool {
        self.combine.is_none() || !order.is_empty()
    }

    /// What rows that wait are: the arguments, and what they are ordered by.
    pub(super) fn row_fields(&self, order: &[DataType]) -> Fields {
        let all = self.arguments.iter().chain(order).enumerate();
        all.map(|(n, of)| Field::new(n.to_string(), of.clone(), true)).collect()
    }

    pub(super) fn rows_type(&self, order: &[DataType]) -> DataType {
        DataType::new_list(DataType::Struct(self.row_fields(order)), true)
    }
}

/// A value in the type that was declared for it.
pub fn fitted(value: &ArrayRef, declared: &DataType) -> DfResult<ArrayRef> {
    match value.data_type() == declared {
        true => Ok(value.clone()),
        false => Ok(cast(value, declared)?),
    }
}
