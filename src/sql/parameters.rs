//! The parameters of a statement: their numbers, and their types if the client does not give them.
//!
//! The numbers come from the statement text; the planner may have removed one. The types are inferred from the context
//! in the plan. DataFusion infers them in comparisons; casts, limits, arrays, functions and the columns of an `INSERT`
//! are handled here.

use std::{collections::BTreeMap, ops::ControlFlow};

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{
        DFSchema, ParamValues, ScalarValue,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{
        Case, Expr, ExprSchemable, LogicalPlan, Operator, expr::ScalarFunction,
        type_coercion::functions::fields_with_udf,
    },
    sql::sqlparser::ast::{self, Visit, Visitor},
};

use super::{
    statement::{Body, CopyOut, Reads, Statement},
    types::column_type,
};
use crate::error::{Error, ErrorKind, Result};

/// The maximum of a protocol message.
const PARAMETERS_MAX: usize = u16::MAX as usize;

/// The numbers of a statement's parameters, ascending: 1 and 3 for `$1 + $3`. 42P02 for an invalid one.
pub fn numbers(statement: &Statement) -> Result<Vec<usize>> {
    found(statement).map(|found| found.numbers)
}

fn found(statement: &Statement) -> Result<FoundParameter> {
    let mut found = FoundParameter::default();
    let end = match &statement.body {
        Body::Query(query)
        | Body::Declare { reads: Reads::Query(query), .. }
        | Body::CopyOut(CopyOut { reads: Reads::Query(query), .. }) => query.visit(&mut found),
        Body::Insert(insert) => insert.visit(&mut found),
        Body::Update(update) => update.visit(&mut found),
        Body::Delete(delete) => delete.visit(&mut found),
        Body::Explain { statement, .. } | Body::Prepare { statement, .. } => return self::found(statement),
        _ => ControlFlow::Continue(()),
    };
    match end {
        ControlFlow::Break(name) => Err(missing(&name)),
        ControlFlow::Continue(()) => {
            found.numbers.sort_unstable();
            found.numbers.dedup();
            Ok(found)
        }
    }
}

#[derive(Default)]
struct FoundParameter {
    numbers: Vec<usize>,
    /// The types of parameters that are cast in the text, for plans that no longer contain them.
    casts: BTreeMap<usize, ast::DataType>,
}

impl Visitor for FoundParameter {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<String> {
        if let ast::Expr::Cast { expr, data_type, .. } = expr
            && let ast::Expr::Value(value) = expr.as_ref()
            && let ast::Value::Placeholder(name) = &value.value
            && let Some(n) = number(name)
        {
            self.casts.entry(n).or_insert_with(|| data_type.clone());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_value(&mut self, value: &ast::ValueWithSpan) -> ControlFlow<String> {
        let ast::Value::Placeholder(name) = &value.value else { return ControlFlow::Continue(()) };
        match number(name).filter(|n| (1..=PARAMETERS_MAX).contains(n)) {
            Some(n) => {
                self.numbers.push(n);
                ControlFlow::Continue(())
            }
            None => ControlFlow::Break(name.clone()),
        }
    }
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::UndefinedParameter, format!("there is no parameter {name}"))
}

/// Replaces the parameters of a plan by values.
pub fn bind(plan: LogicalPlan, params: &[ScalarValue]) -> Result<LogicalPlan> {
    if params.is_empty() {
        return match plan.get_parameter_names()?.into_iter().min() {
            Some(name) => Err(missing(&name)),
            None => Ok(plan),
        };
    }
    let values = params.iter().cloned().map(Into::into).collect();
    Ok(plan.replace_params_with_values(&ParamValues::List(values))?)
}

/// The types of a statement's parameters, `$1` first: given by the client, inferred from the plan, or text. A number
/// that is not used has no type: 42P18, as in Postgres.
pub fn types(statement: &Statement, plan: &LogicalPlan, said: &[Option<DataType>]) -> Result<Vec<DataType>> {
    let FoundParameter { numbers: mentioned, casts } = found(statement)?;
    let inferred = inferred(plan)?;
    let count = mentioned.last().copied().unwrap_or(0).max(said.len());
    let of = |n: usize| {
        let known = said.get(n - 1).cloned().flatten().or_else(|| inferred.get(&n).cloned());
        let known = known.or_else(|| column_type(casts.get(&n)?).ok());
        match known {
            Some(known) => Ok(known),
            None if mentioned.binary_search(&n).is_ok() || n <= said.len() => Ok(DataType::Utf8),
            None => {
                let message = format!("could not determine data type of parameter ${n}");
                Err(Error::new(ErrorKind::IndeterminateType, message))
            }
        }
    };
    (1..=count).map(of).collect()
}

/// The types inferred from the plan. The first use decides: at others the parameter is cast.
fn inferred(plan: &LogicalPlan) -> Result<BTreeMap<usize, DataType>> {
    let mut types = ParameterTypes::default();
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Limit(limit) => {
                for expr in [&limit.skip, &limit.fetch].into_iter().flatten() {
                    types.infer_strong(expr, &DataType::Int64);
                }
            }
            LogicalPlan::Dml(dml) => types.written(&dml.input, dml.target.schema().fields()),
            _ => {}
        }
        let mut schema = DFSchema::empty();
        node.inputs().iter().for_each(|input| schema.merge(input.schema()));
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                types.expression(expr, &schema)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let ParameterTypes { strong, weak } = types;
    let mut all = weak;
    all.extend(strong);
    Ok(all)
}

#[derive(Default)]
struct ParameterTypes {
    /// From a context that accepts only one type: a cast, a column.
    strong: BTreeMap<usize, DataType>,
    /// From the other operand of a comparison or computation.
    weak: BTreeMap<usize, DataType>,
}

impl ParameterTypes {
    fn expression(&mut self, expr: &Expr, schema: &DFSchema) -> DfResult<()> {
        match expr {
            Expr::Placeholder(p) => {
                if let (Some(n), Some(field)) = (number(&p.id), &p.field) {
                    self.weak.entry(n).or_insert_with(|| plain(field.data_type()));
                }
            }
            Expr::Cast(cast) => self.infer_strong(&cast.expr, cast.field.data_type()),
            Expr::TryCast(cast) => self.infer_strong(&cast.expr, cast.field.data_type()),
            Expr::BinaryExpr(binary) if matches!(binary.op, Operator::Multiply | Operator::Divide) => {
                // An interval can only be multiplied or divided by a number.
                for (one, other) in [(&binary.left, &binary.right), (&binary.right, &binary.left)] {
                    if matches!(one.get_type(schema), Ok(DataType::Interval(_))) {
                        self.infer_strong(other, &DataType::Float64);
                    }
                }
            }
            Expr::ScalarFunction(function) => self.arguments(function, schema),
            Expr::Case(case) => self.case(case, schema),
            Expr::InList(list) => {
                let known = list.list.iter().find_map(|item| known(item, schema));
                self.infer_weak(&list.expr, known);
            }
            Expr::Not(inner) => self.infer_strong(inner, &DataType::Boolean),
            _ => {}
        }
        Ok(())
    }

    fn arguments(&mut self, function: &ScalarFunction, schema: &DFSchema) {
        if !function.args.iter().any(|arg| open(arg).is_some()) {
            return;
        }
        if let ("array_has" | "array_contains", [list, item]) = (function.name(), function.args.as_slice()) {
            let lists = known(item, schema).map(|item| DataType::new_list(item, true));
            self.infer_weak(list, lists);
            if let Some(DataType::List(field)) = known(list, schema) {
                self.infer_weak(item, Some(field.data_type().clone()));
            }
            return;
        }
        let fields: Option<Vec<FieldRef>> =
            function.args.iter().map(|arg| arg.to_field(schema).ok().map(|(_, field)| field)).collect();
        let taken = fields.and_then(|fields| fields_with_udf(&fields, function.func.as_ref()).ok());
        for (arg, field) in function.args.iter().zip(taken.into_iter().flatten()) {
            self.infer_weak(arg, Some(field.data_type().clone()));
        }
    }

    fn case(&mut self, case: &Case, schema: &DFSchema) {
        let results = || case.when_then_expr.iter().map(|(_, then)| then).chain(&case.else_expr);
        let known = results().find_map(|result| known(result, schema));
        results().for_each(|result| self.infer_weak(result, known.clone()));
    }

    /// The rows of an `INSERT … SELECT $1`: each value is cast to the type of its column.
    fn written(&mut self, rows: &LogicalPlan, columns: &[impl AsRef<Field>]) {
        let LogicalPlan::Projection(cast) = rows else { return };
        for expr in &cast.expr {
            let (_, name) = expr.qualified_name();
            let Some(column) = columns.iter().map(AsRef::as_ref).find(|c| *c.name() == name) else { continue };
            let mut inner = expr;
            while let Expr::Alias(_) | Expr::Cast(_) = inner {
                inner = match inner {
                    Expr::Alias(alias) => &alias.expr,
                    Expr::Cast(cast) => &cast.expr,
                    other => other,
                };
            }
            let Expr::Column(from) = inner else { continue };
            let Ok(at) = cast.input.schema().index_of_column(from) else { continue };
            let mut source = cast.input.as_ref();
            while let LogicalPlan::SubqueryAlias(alias) = source {
                source = &alias.input;
            }
            if let LogicalPlan::Projection(source) = source
                && let Some(value) = source.expr.get(at)
            {
                self.infer_strong(value, column.data_type());
            }
        }
    }

    fn infer_strong(&mut self, expr: &Expr, data_type: &DataType) {
        if let Some(n) = open(expr) {
            self.strong.entry(n).or_insert_with(|| plain(data_type));
        }
    }

    fn infer_weak(&mut self, expr: &Expr, data_type: Option<DataType>) {
        if let (Some(n), Some(data_type)) = (open(expr), data_type.filter(|t| *t != DataType::Null)) {
            self.weak.entry(n).or_insert_with(|| plain(&data_type));
        }
    }
}

/// The number of a parameter expression, below any alias.
fn open(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Placeholder(placeholder) => number(&placeholder.id),
        Expr::Alias(alias) => open(&alias.expr),
        _ => None,
    }
}

fn known(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match open(expr) {
        Some(_) => None,
        None => expr.get_type(schema).ok().filter(|t| *t != DataType::Null),
    }
}

/// The type that a client sends: all text encodings are one to it.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::Timestamp(_, zone) => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, zone.clone()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers_of(sql: &str) -> Result<Vec<usize>> {
        numbers(&crate::sql::parse(sql).expect(sql).remove(0))
    }

    #[test]
    fn parameter_numbers_are_collected_and_out_of_range_ones_refused() {
        assert_eq!(numbers_of("SELECT $3, $1 FROM t WHERE a IN (SELECT $1 FROM u LIMIT $2)").expect("fine"), [1, 2, 3]);
        assert_eq!(numbers_of("EXPLAIN SELECT $1").expect("fine"), [1]);
        assert_eq!(numbers_of("INSERT INTO t VALUES ($1, $2)").expect("fine"), [1, 2]);
        assert_eq!(numbers_of("FLUSH").expect("fine"), [0; 0]);
        for sql in ["SELECT $4000000000", "SELECT $0", "SELECT $65536", "SELECT $99999999999999999999999"] {
            let error = numbers_of(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::UndefinedParameter, "{sql}");
            assert!(error.message().starts_with("there is no parameter $"), "{error}");
        }
    }
}
