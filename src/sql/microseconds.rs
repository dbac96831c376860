//! Timestamps and times are in microseconds, Postgres' resolution: DataFusion's default of nanoseconds ends in 2262.
//!
//! Declared types are planned as microseconds ([`Types`]), and our functions return them. The rest comes from type
//! coercion, which chooses nanoseconds wherever a text, a date and a timestamp meet. An analyzer rule after it
//! ([`Microseconds`]) converts those back: above its scans a plan has no nanoseconds.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use datafusion::{
    common::{
        DFSchema, DFSchemaRef, ScalarValue,
        config::ConfigOptions,
        datatype::DataTypeExt,
        tree_node::{Transformed, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{
        Between, BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, Projection, TryCast, Union, Values,
        expr::ScalarFunction, expr_rewriter::NamePreserver, planner::TypePlanner,
    },
    optimizer::AnalyzerRule,
    sql::sqlparser::ast::{self, TimezoneInfo},
};

use super::{
    functions::{length_in_micros, timestamp_series},
    normalize::input_schema,
    types::{UTC, sql_type},
};
use crate::error::{Error, ErrorKind};

/// Plans `TIMESTAMP` and `TIME` in expressions as in column declarations.
#[derive(Debug)]
pub struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, declared: &ast::DataType) -> DfResult<Option<FieldRef>> {
        let planned = match declared {
            ast::DataType::Timestamp(None | Some(6), zone) => {
                let zoned = matches!(zone, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz);
                DataType::Timestamp(TimeUnit::Microsecond, zoned.then(|| UTC.into()))
            }
            ast::DataType::Time(None | Some(6), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                DataType::Time64(TimeUnit::Microsecond)
            }
            _ => return Ok(None),
        };
        Ok(Some(planned.into_nullable_field_ref()))
    }
}

/// Replaces nanoseconds by microseconds, after type coercion.
#[derive(Debug)]
pub struct Microseconds;

impl AnalyzerRule for Microseconds {
    fn name(&self) -> &str {
        "microseconds"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::TableScan(scan) if has_nanos(&scan.projected_schema) => {
            let column = |(qualifier, field): (Option<&datafusion::common::TableReference>, &FieldRef)| {
                let column = Expr::Column(datafusion::common::Column::new(qualifier.cloned(), field.name()));
                match micros(field.data_type()) {
                    Some(to) => {
                        Expr::Cast(Cast::new(Box::new(column), to)).alias_qualified(qualifier.cloned(), field.name())
                    }
                    None => column,
                }
            };
            let exprs: Vec<Expr> = scan.projected_schema.iter().map(column).collect();
            let input = Arc::new(LogicalPlan::TableScan(scan));
            Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, input)?)))
        }
        LogicalPlan::TableScan(_) => Ok(Transformed::no(plan)),
        LogicalPlan::Union(Union { inputs, schema }) if has_nanos(&schema) => {
            Ok(Transformed::yes(LogicalPlan::Union(Union { inputs, schema: with_micros(&schema)? })))
        }
        LogicalPlan::Values(Values { schema, values }) if has_nanos(&schema) => {
            let empty = DFSchema::empty();
            let value = |value| Ok(expression(value, &empty)?.data);
            let row = |row: Vec<Expr>| row.into_iter().map(value).collect::<DfResult<Vec<Expr>>>();
            let values = values.into_iter().map(row).collect::<DfResult<_>>()?;
            Ok(Transformed::yes(LogicalPlan::Values(Values { schema: with_micros(&schema)?, values })))
        }
        plan => {
            let schema = input_schema(&plan);
            let names = NamePreserver::new(&plan);
            let rewritten = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                Ok(expression(expr, &schema)?.update_data(|expr| name.restore(expr)))
            })?;
            // The inputs may have other types now.
            rewritten.map_data(LogicalPlan::recompute_schema)
        }
    }
}

/// An expression over rows of `schema` without nanoseconds.
fn expression(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::Cast(Cast { expr: inner, field }) => {
            let field = cast_to(&inner, &field, schema)?.unwrap_or(field);
            Ok(Transformed::yes(Expr::Cast(Cast::new_from_field(inner, field))))
        }
        Expr::TryCast(TryCast { expr: inner, field }) => {
            let field = cast_to(&inner, &field, schema)?.unwrap_or(field);
            Ok(Transformed::yes(Expr::TryCast(TryCast::new_from_field(inner, field))))
        }
        Expr::Literal(ScalarValue::TimestampNanosecond(at, zone), metadata) => {
            let at = at.map(|at| at.div_euclid(1_000));
            Ok(Transformed::yes(Expr::Literal(ScalarValue::TimestampMicrosecond(at, zone), metadata)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: length(left), op, right: length(right) })))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if compares(op) => {
            let spans = is_duration(&left, schema) || is_duration(&right, schema);
            let side = |side: Box<Expr>| if spans { Box::new(counted(*side)) } else { side };
            Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: side(left), op, right: side(right) })))
        }
        Expr::Between(Between { expr, negated, low, high }) if is_duration(&expr, schema) => {
            let [expr, low, high] = [expr, low, high].map(|side| Box::new(counted(*side)));
            Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
        }
        Expr::ScalarFunction(call) => series(call, schema),
        other => Ok(Transformed::no(other)),
    })
}

/// The target of a cast in microseconds; `None` if it needs no change.
fn cast_to(inner: &Expr, field: &FieldRef, schema: &DFSchema) -> DfResult<Option<FieldRef>> {
    let is_time = matches!(field.data_type(), DataType::Timestamp(..));
    if is_time && let Some(from) = inner.get_type(schema).ok().filter(DataType::is_numeric) {
        // The unit of the number would be ambiguous.
        let message = format!("cannot cast type {} to {}", sql_type(&from), sql_type(field.data_type()));
        return Err(Error::new(ErrorKind::CannotCoerce, message)
            .hint("Use to_timestamp(x) for seconds since 1970, or to_timestamp_millis(x), to_timestamp_micros(x).")
            .into());
    }
    Ok(micros(field.data_type()).map(|to| Arc::new(field.as_ref().clone().with_data_type(to))))
}

fn compares(op: Operator) -> bool {
    use Operator::*;
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// A time of day as a duration, when it is added to a timestamp.
fn length(side: Box<Expr>) -> Box<Expr> {
    match side.as_ref() {
        Expr::Cast(cast) if *cast.field.data_type() == DataType::Duration(TimeUnit::Nanosecond) => {
            Box::new(Expr::Cast(Cast::new(side, DataType::Duration(TimeUnit::Microsecond))))
        }
        _ => side,
    }
}

/// Whether a side of a comparison is a difference of timestamps, which coercion makes an interval: those end after 292
/// years, and compare field by field.
fn is_duration(side: &Expr, schema: &DFSchema) -> bool {
    match side {
        Expr::Cast(cast) if *cast.field.data_type() == DataType::Interval(IntervalUnit::MonthDayNano) => {
            matches!(cast.expr.get_type(schema), Ok(DataType::Duration(_)))
        }
        _ => false,
    }
}

/// A duration as a number of microseconds.
fn counted(side: Expr) -> Expr {
    let side = match side {
        Expr::Cast(cast) if *cast.field.data_type() == DataType::Interval(IntervalUnit::MonthDayNano) => *cast.expr,
        other => other,
    };
    Expr::ScalarFunction(ScalarFunction::new_udf(length_in_micros(), vec![side]))
}

/// `generate_series` and `range` of times.
fn series(mut call: ScalarFunction, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let of_times = matches!(call.args.first().map(|first| first.get_type(schema)), Some(Ok(DataType::Timestamp(..))));
    match timestamp_series(call.name()).filter(|_| of_times) {
        Some(function) => {
            call.func = function;
            Ok(Transformed::yes(Expr::ScalarFunction(call)))
        }
        None => Ok(Transformed::no(Expr::ScalarFunction(call))),
    }
}

/// The type with microseconds in place of nanoseconds; `None` if it has none.
fn micros(data_type: &DataType) -> Option<DataType> {
    let within = |field: &FieldRef| {
        micros(field.data_type()).map(|to| Arc::new(field.as_ref().clone().with_data_type(to)) as FieldRef)
    };
    match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::List(item) => within(item).map(DataType::List),
        DataType::LargeList(item) => within(item).map(DataType::LargeList),
        DataType::FixedSizeList(item, size) => within(item).map(|item| DataType::FixedSizeList(item, *size)),
        DataType::Struct(fields) if fields.iter().any(|field| micros(field.data_type()).is_some()) => {
            Some(DataType::Struct(fields.iter().map(|field| within(field).unwrap_or_else(|| field.clone())).collect()))
        }
        _ => None,
    }
}

fn has_nanos(schema: &DFSchema) -> bool {
    schema.fields().iter().any(|field| micros(field.data_type()).is_some())
}

fn with_micros(schema: &DFSchema) -> DfResult<DFSchemaRef> {
    let field = |field: &FieldRef| -> Arc<Field> {
        match micros(field.data_type()) {
            Some(to) => Arc::new(field.as_ref().clone().with_data_type(to)),
            None => field.clone(),
        }
    };
    let fields = schema.iter().map(|(qualifier, of)| (qualifier.cloned(), field(of))).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, schema.metadata().clone())?))
}
