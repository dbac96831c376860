//! Which expressions of a plan have floats, and which of those are in canonical form already.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    common::{
        Column, DFSchema, TableReference,
        tree_node::{Transformed, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{Distinct, Expr, ExprSchemable, LogicalPlan, Projection, WindowFunctionDefinition},
};

use crate::{
    changes::has_floats,
    sql::functions::{canonical_of, canonical_value, is_canonical, is_canonical_value, is_extreme},
};

/// The columns that the expressions of a node can read.
pub(in crate::sql) struct Forms {
    schema: DFSchema,
    /// The columns whose floats are in canonical form.
    formed: Vec<Column>,
}

impl Forms {
    /// For rows of which no column is known to be canonical.
    pub fn of_schema(schema: &DFSchema) -> Forms {
        Forms { schema: schema.clone(), formed: Vec::new() }
    }

    pub fn of(plan: &LogicalPlan) -> DfResult<Forms> {
        let mut forms = Forms { schema: DFSchema::empty(), formed: Vec::new() };
        for input in plan.inputs() {
            forms.schema.merge(input.schema());
            for (n, (qualifier, field)) in input.schema().iter().enumerate() {
                if has_floats(field.data_type()) && formed_column(input, n)? {
                    forms.formed.push(Column::from((qualifier, field)));
                }
            }
        }
        if let LogicalPlan::TableScan(scan) = plan {
            forms.schema.merge(&scan.projected_schema);
        }
        Ok(forms)
    }

    pub fn type_of(&self, expr: &Expr) -> DfResult<DataType> {
        expr.get_type(&self.schema)
    }

    /// Whether an expression has floats. False if its type is unknown: then it is not compared either.
    pub fn has_floats(&self, expr: &Expr) -> bool {
        self.type_of(expr).is_ok_and(|of| has_floats(&of))
    }

    /// Brings an expression to canonical form; returns whether it changed.
    pub fn key(&self, expr: &mut Expr) -> DfResult<bool> {
        if let Expr::Alias(alias) = expr {
            return self.key(&mut alias.expr);
        }
        if !self.has_floats(expr) || self.is_formed(expr)? {
            return Ok(false);
        }
        *expr = match std::mem::take(expr) {
            Expr::Literal(value, metadata) => Expr::Literal(canonical_value(&value)?, metadata),
            other => canonical_of(other),
        };
        Ok(true)
    }

    /// [`Forms::key`] of several expressions.
    pub fn keys<'a>(&self, exprs: impl IntoIterator<Item = &'a mut Expr>) -> DfResult<bool> {
        exprs.into_iter().try_fold(false, |changed, expr| Ok(self.key(expr)? | changed))
    }

    fn is_formed(&self, expr: &Expr) -> DfResult<bool> {
        formed(expr, &self.schema, &|column| self.formed.contains(column))
    }
}

/// Whether the floats of an expression are in canonical form; `column` answers this for columns.
fn formed(expr: &Expr, schema: &DFSchema, column: &dyn Fn(&Column) -> bool) -> DfResult<bool> {
    Ok(match expr {
        Expr::Alias(alias) => formed(&alias.expr, schema, column)?,
        Expr::Column(of) => column(of),
        Expr::Literal(value, _) => is_canonical_value(value)?,
        Expr::Cast(cast) => cast.expr.get_type(schema).is_ok_and(|of| of.is_integer() || of.is_decimal()),
        Expr::AggregateFunction(call) => is_extreme(&call.func),
        Expr::WindowFunction(call) => match &call.fun {
            WindowFunctionDefinition::AggregateUDF(function) => is_extreme(function),
            WindowFunctionDefinition::WindowUDF(_) => false,
        },
        other => is_canonical(other),
    })
}

/// Whether output column `n` of a plan is in canonical form, where all nodes below have been rewritten.
fn formed_column(plan: &LogicalPlan, n: usize) -> DfResult<bool> {
    let of_inputs = |column: &Column| {
        plan.inputs().into_iter().any(|input| {
            let n = input.schema().maybe_index_of_column(column);
            n.is_some_and(|n| formed_column(input, n).unwrap_or(false))
        })
    };
    let of_expr = |expr: &Expr, input: &LogicalPlan| formed(expr, input.schema(), &of_inputs);
    match plan {
        LogicalPlan::Projection(projection) => of_expr(&projection.expr[n], &projection.input),
        LogicalPlan::Filter(_) | LogicalPlan::Sort(_) | LogicalPlan::Limit(_) | LogicalPlan::Join(_) => {
            Ok(of_inputs(&Column::from(plan.schema().qualified_field(n))))
        }
        LogicalPlan::SubqueryAlias(alias) => formed_column(&alias.input, n),
        LogicalPlan::Distinct(Distinct::All(input)) => formed_column(input, n),
        LogicalPlan::Union(union) => {
            union.inputs.iter().try_fold(true, |all, input| Ok(all && formed_column(input, n)?))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let keys = aggregate.schema.fields().len() - aggregate.aggr_expr.len();
            match n.checked_sub(keys) {
                Some(function) => of_expr(&aggregate.aggr_expr[function], &aggregate.input),
                None => Ok(true),
            }
        }
        LogicalPlan::Window(window) => match n.checked_sub(window.input.schema().fields().len()) {
            Some(function) => of_expr(&window.window_expr[function], &window.input),
            None => formed_column(&window.input, n),
        },
        _ => Ok(false),
    }
}

/// The plan with floats in canonical form, under the same column names.
pub fn in_one_form(plan: Arc<LogicalPlan>) -> DfResult<Transformed<Arc<LogicalPlan>>> {
    let mut changed = false;
    let mut column = |(n, (qualifier, field)): (usize, (Option<&TableReference>, &FieldRef))| -> DfResult<Expr> {
        let column = Expr::Column(Column::from((qualifier, field)));
        if !has_floats(field.data_type()) || formed_column(&plan, n)? {
            return Ok(column);
        }
        changed = true;
        Ok(canonical_of(column).alias_qualified(qualifier.cloned(), field.name()))
    };
    let exprs = plan.schema().iter().enumerate().map(&mut column).collect::<DfResult<Vec<_>>>()?;
    let plan = match changed {
        true => Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, plan)?)),
        false => plan,
    };
    Ok(Transformed::new(plan, changed, TreeNodeRecursion::Continue))
}
