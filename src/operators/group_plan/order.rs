//! How rows are kept so that the first of a group are found without looking at the others.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::SortOptions,
    datatypes::{Field, FieldRef, Fields, SchemaRef},
};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, expressions::Column};

use crate::{error::Result, state::TopN};

/// That an answer follows from the first rows of its group.
#[derive(Debug, Clone)]
pub struct TopNSpec {
    pub order: Vec<PhysicalSortExpr>,
    pub first: TopN,
    /// Whether rows only come: what is behind the first ones then never shows, and is not kept.
    pub appends: bool,
}

/// The columns of rows as they are kept: first those that they are ordered by, then the others.
#[derive(Debug)]
pub(super) struct StorageLayout {
    kept: Vec<Arc<dyn PhysicalExpr>>,
    pub fields: Fields,
    pub order: Vec<SortOptions>,
    /// For each column of the input its place among those.
    back: Vec<usize>,
}

impl StorageLayout {
    pub fn new(input: &SchemaRef, first: Option<&TopNSpec>) -> Result<Self> {
        let order = first.map_or(&[][..], |first| &first.order);
        let mut kept: Vec<Arc<dyn PhysicalExpr>> = order.iter().map(|by| by.expr.clone()).collect();
        let is = |expr: &Arc<dyn PhysicalExpr>, n| expr.downcast_ref::<Column>().is_some_and(|c| c.index() == n);
        let mut back = Vec::with_capacity(input.fields().len());
        for (n, field) in input.fields().iter().enumerate() {
            back.push(kept.iter().position(|expr| is(expr, n)).unwrap_or(kept.len()));
            if back[n] == kept.len() {
                kept.push(Arc::new(Column::new(field.name(), n)));
            }
        }
        let field = |(n, expr): (usize, &Arc<dyn PhysicalExpr>)| -> Result<FieldRef> {
            Ok(Arc::new(Field::new(n.to_string(), expr.data_type(input)?, true)))
        };
        let fields = kept.iter().enumerate().map(field).collect::<Result<Vec<_>>>()?.into();
        Ok(StorageLayout { kept, fields, order: order.iter().map(|by| by.options).collect(), back })
    }

    /// Rows of the input as they are kept.
    pub fn to_storage(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let column = |expr: &Arc<dyn PhysicalExpr>| Ok(expr.evaluate(rows)?.into_array(rows.num_rows())?);
        self.kept.iter().map(column).collect()
    }

    /// The columns of the input of rows that were kept.
    pub fn to_input(&self, kept: &[ArrayRef]) -> Vec<ArrayRef> {
        self.back.iter().map(|place| kept[*place].clone()).collect()
    }
}
