//! Hidden columns that rows carry through an epoch's plan: source partition, and diff.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field};
use datafusion::{
    common::{Column, DFSchema, DFSchemaRef, TableReference},
    logical_expr::{Expr, LogicalPlan, Projection, lit},
};

use crate::{
    changes::{DIFF, PARTITION},
    error::{Error, Result},
};

/// Which hidden columns follow a node's own, in this order. DataFusion's filters and projections pass them through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Carried {
    /// The partition: from a source up to its watermark.
    pub partition: bool,
    /// The diff: if there are retractions.
    pub diff: bool,
}

impl Carried {
    fn names(self) -> impl Iterator<Item = &'static str> {
        [(self.partition, PARTITION), (self.diff, DIFF)].into_iter().filter_map(|(is, name)| is.then_some(name))
    }

    /// `own` with these columns appended.
    pub fn schema(self, own: &DFSchema) -> Result<DFSchemaRef> {
        let mut fields: Vec<_> = own.iter().map(|(q, f)| (q.cloned(), f.clone())).collect();
        fields.extend(self.names().map(field));
        Ok(Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?))
    }

    /// These columns of `plan`, by name.
    pub fn exprs(self, plan: &LogicalPlan) -> Result<Vec<Expr>> {
        self.names().map(|name| Ok(Expr::Column(column(plan, name)?).alias(name))).collect()
    }

    /// Adds or drops hidden columns of a plan that has those of `has`: a missing partition becomes `NO_PARTITION`, a
    /// missing diff +1.
    pub fn reshape(self, has: Carried, plan: LogicalPlan) -> Result<LogicalPlan> {
        if has == self {
            return Ok(plan);
        }
        let own = plan.schema().fields().len() - has.names().count();
        let mut exprs: Vec<Expr> = plan.schema().columns().into_iter().take(own).map(Expr::Column).collect();
        let mut fields: Vec<_> = plan.schema().iter().take(own).map(|(q, f)| (q.cloned(), f.clone())).collect();
        for name in self.names() {
            exprs.push(match has.names().any(|other| other == name) {
                true => Expr::Column(column(&plan, name)?).alias(name),
                false => lit(if name == DIFF { 1i64 } else { NO_PARTITION }).alias(name),
            });
            fields.push(field(name));
        }
        let schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(LogicalPlan::Projection(Projection::try_new_with_schema(exprs, Arc::new(plan), schema)?))
    }
}

/// The partition of rows that are not from a source.
const NO_PARTITION: i64 = -1;

fn field(name: &str) -> (Option<TableReference>, Arc<Field>) {
    (None, Arc::new(Field::new(name, DataType::Int64, false)))
}

pub(super) fn diff_field() -> (Option<TableReference>, Arc<Field>) {
    field(DIFF)
}

/// The diff column of a plan that has one.
pub(super) fn diff_column(plan: &LogicalPlan) -> Result<Column> {
    column(plan, DIFF)
}

pub(super) fn column(plan: &LogicalPlan, name: &str) -> Result<Column> {
    let found = plan.schema().iter().find(|(_, field)| field.name() == name);
    let (qualifier, field) = found.ok_or_else(|| Error::internal(format!("a plan lost its column {name}")))?;
    Ok(Column::new(qualifier.cloned(), field.name()))
}
