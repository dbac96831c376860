//! Top-N: rows are stored in order, so that a group's first rows are found without reading the others.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::SortOptions,
    datatypes::{Field, FieldRef, Fields, SchemaRef},
};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr, expressions::Column};

use crate::{error::Result, state::TopN};

/// The answer depends only on the first rows of a group, in this order.
#[derive(Debug, Clone)]
pub struct TopNSpec {
    pub order: Vec<PhysicalSortExpr>,
    pub first: TopN,
    /// Whether the input is append-only: rows after the first N never appear and are not stored.
    pub appends: bool,
}

/// The stored column order: ORDER BY columns first, then the others.
#[derive(Debug)]
pub(super) struct StorageLayout {
    kept: Vec<Arc<dyn PhysicalExpr>>,
    pub fields: Fields,
    pub order: Vec<SortOptions>,
    /// Per input column: its position in storage.
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

    /// Input rows in stored column order.
    pub fn to_storage(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let column = |expr: &Arc<dyn PhysicalExpr>| Ok(expr.evaluate(rows)?.into_array(rows.num_rows())?);
        self.kept.iter().map(column).collect()
    }

    /// Stored columns in input order.
    pub fn to_input(&self, kept: &[ArrayRef]) -> Vec<ArrayRef> {
        self.back.iter().map(|place| kept[*place].clone()).collect()
    }
}
