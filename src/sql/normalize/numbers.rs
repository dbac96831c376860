//! An operation on a decimal and a float is one on floats, as in PostgreSQL. DataFusion casts the float to a decimal,
//! so that NaN, infinities and large numbers fail, and small ones become 0.
//!
//! ```text
//! x > 0.5          ─▶     x > 0.5::float8
//! coalesce(x, n)   ─▶     coalesce(x, n::float8)
//! rank() / 2       ─▶     rank()::bigint / 2
//! ```
//!
//! Row counts, which are unsigned in DataFusion, become bigint in arithmetic: with a signed operand DataFusion would
//! make them decimals.
//!
//! An analyzer rule, before type coercion.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    common::{
        Column, DFSchema, ScalarValue,
        config::ConfigOptions,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    error::Result as DfResult,
    logical_expr::{Expr, ExprSchemable, LogicalPlan, Projection, Subquery, Union, cast},
    optimizer::AnalyzerRule,
};

use super::{
    floats::{compares, named_expressions},
    input_schema::input_schema,
};

/// The analyzer rule.
#[derive(Debug)]
pub(in crate::sql) struct Numbers;

impl AnalyzerRule for Numbers {
    fn name(&self) -> &str {
        "numbers"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(node)?.data)
    }
}

fn node(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    let schema = input_schema(&plan);
    match plan {
        LogicalPlan::Union(union) => united(union),
        LogicalPlan::Join(mut join) => {
            let mut changed = false;
            for (left, right) in &mut join.on {
                changed |= meet([left, right], &schema)?;
            }
            let plan = named_expressions(LogicalPlan::Join(join), |expr| with_floats(expr, &schema))?;
            Ok(Transformed { transformed: changed | plan.transformed, ..plan })
        }
        plan => {
            // The inputs may have other types now.
            let plan = named_expressions(plan, |expr| with_floats(expr, &schema))?;
            plan.map_data(LogicalPlan::recompute_schema)
        }
    }
}

/// Functions whose arguments are coerced to one type.
const OF_ONE_TYPE: [&str; 4] = ["coalesce", "greatest", "least", "make_array"];

/// Functions that compare arrays with each other, or with an element.
const OF_ARRAYS: [&str; 14] = [
    "array_except",
    "array_has",
    "array_has_all",
    "array_has_any",
    "array_intersect",
    "array_position",
    "array_positions",
    "array_remove",
    "array_remove_all",
    "array_remove_n",
    "array_replace",
    "array_replace_all",
    "array_union",
    "nullif",
];

/// Casts decimals to float where the other operand is a float.
pub(in crate::sql) fn with_floats(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    expr.transform_up(|mut expr| {
        let changed = match &mut expr {
            Expr::BinaryExpr(binary) if compares(binary.op) => {
                meet([binary.left.as_mut(), binary.right.as_mut()], schema)?
            }
            Expr::BinaryExpr(binary) if binary.op.is_numerical_operators() => {
                signed(&mut binary.left, schema) | signed(&mut binary.right, schema)
            }
            Expr::Between(between) => {
                meet([between.expr.as_mut(), between.low.as_mut(), between.high.as_mut()], schema)?
            }
            Expr::InList(within) => meet(std::iter::once(within.expr.as_mut()).chain(&mut within.list), schema)?,
            Expr::InSubquery(within) => meet_answers(&mut within.expr, &mut within.subquery, schema)?,
            Expr::SetComparison(compared) => meet_answers(&mut compared.expr, &mut compared.subquery, schema)?,
            Expr::Case(case) => {
                let mut changed = false;
                if let Some(base) = &mut case.expr {
                    let whens = case.when_then_expr.iter_mut().map(|(when, _)| when.as_mut());
                    changed = meet(std::iter::once(base.as_mut()).chain(whens), schema)?;
                }
                let thens = case.when_then_expr.iter_mut().map(|(_, then)| then.as_mut());
                changed | meet(thens.chain(case.else_expr.as_deref_mut()), schema)?
            }
            Expr::ScalarFunction(call) if [&OF_ONE_TYPE[..], &OF_ARRAYS[..]].concat().contains(&call.name()) => {
                meet(&mut call.args, schema)?
            }
            _ => false,
        };
        Ok(Transformed::new(expr, changed, TreeNodeRecursion::Continue))
    })
}

/// Casts an unsigned integer to bigint.
fn signed(expr: &mut Expr, schema: &DFSchema) -> bool {
    let unsigned = matches!(expr.get_type(schema), Ok(DataType::UInt64));
    if unsigned {
        *expr = cast(std::mem::take(expr), DataType::Int64);
    }
    unsigned
}

/// Casts the decimals among expressions to float if one of them is a float.
fn meet<'a>(exprs: impl IntoIterator<Item = &'a mut Expr>, schema: &DFSchema) -> DfResult<bool> {
    let exprs: Vec<&mut Expr> = exprs.into_iter().collect();
    // An expression that has no type yet counts as neither.
    let types: Vec<Option<DataType>> = exprs.iter().map(|expr| expr.get_type(schema).ok()).collect();
    if !types.iter().flatten().any(is_float) {
        return Ok(false);
    }
    let mut changed = false;
    for (expr, of) in exprs.into_iter().zip(types) {
        let Some(to) = of.as_ref().and_then(floats_of) else { continue };
        *expr = match std::mem::take(expr) {
            // A literal becomes the float that is nearest to its text, not to a scaled decimal.
            Expr::Literal(value, metadata) if value.data_type().is_decimal() => {
                let value = value.to_string().parse().ok();
                Expr::Literal(ScalarValue::Float64(value), metadata)
            }
            other => cast(other, to),
        };
        changed = true;
    }
    Ok(changed)
}

/// The same for a value and the subquery that it is compared with.
fn meet_answers(value: &mut Expr, subquery: &mut Subquery, schema: &DFSchema) -> DfResult<bool> {
    let plan = &subquery.subquery;
    let Some((qualifier, field)) = plan.schema().iter().next() else { return Ok(false) };
    let Ok(of) = value.get_type(schema) else { return Ok(false) };
    let answer = Column::from((qualifier, field));
    if is_float(&of)
        && let Some(to) = floats_of(field.data_type())
    {
        let answer = cast(Expr::Column(answer.clone()), to).alias_qualified(answer.relation, answer.name);
        subquery.subquery = Arc::new(LogicalPlan::Projection(Projection::try_new(vec![answer], plan.clone())?));
        return Ok(true);
    }
    match floats_of(&of).filter(|_| is_float(field.data_type())) {
        Some(to) => {
            *value = cast(std::mem::take(value), to);
            Ok(true)
        }
        None => Ok(false),
    }
}

/// A union where one input has floats in a column and another has decimals.
fn united(union: Union) -> DfResult<Transformed<LogicalPlan>> {
    let fields = |n: usize| union.inputs.iter().filter_map(move |input| input.schema().fields().get(n));
    let columns = 0..union.schema.fields().len();
    let floats: Vec<bool> = columns.map(|n| fields(n).any(|field: &FieldRef| is_float(field.data_type()))).collect();
    let mut changed = false;
    let input = |input: Arc<LogicalPlan>| -> DfResult<Arc<LogicalPlan>> {
        let to = |n: usize| floats_of(input.schema().field(n).data_type()).filter(|_| floats.get(n) == Some(&true));
        let columns = 0..input.schema().fields().len();
        if !columns.clone().any(|n| to(n).is_some()) {
            return Ok(input);
        }
        changed = true;
        let column = |n: usize| {
            let (qualifier, field) = input.schema().qualified_field(n);
            let column = Expr::Column(Column::from((qualifier, field)));
            match to(n) {
                Some(to) => cast(column, to).alias_qualified(qualifier.cloned(), field.name()),
                None => column,
            }
        };
        let exprs = columns.map(column).collect();
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(exprs, input.clone())?)))
    };
    let inputs: Vec<_> = union.inputs.clone().into_iter().map(input).collect::<DfResult<_>>()?;
    let union = match changed {
        true => Union::try_new_with_loose_types(inputs)?,
        false => Union { inputs, ..union },
    };
    Ok(Transformed::new(LogicalPlan::Union(union), changed, TreeNodeRecursion::Continue))
}

fn is_float(of: &DataType) -> bool {
    match of {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            is_float(item.data_type())
        }
        other => other.is_floating(),
    }
}

/// The float type for a decimal type, nested ones included; `None` for others.
fn floats_of(of: &DataType) -> Option<DataType> {
    let item = |item: &FieldRef| {
        floats_of(item.data_type()).map(|to| Arc::new(item.as_ref().clone().with_data_type(to)) as FieldRef)
    };
    match of {
        DataType::List(of) => item(of).map(DataType::List),
        DataType::LargeList(of) => item(of).map(DataType::LargeList),
        DataType::FixedSizeList(of, size) => item(of).map(|of| DataType::FixedSizeList(of, *size)),
        other => other.is_decimal().then_some(DataType::Float64),
    }
}
