//! Aggregate functions that sort their own input, for a batch query with several orders: `string_agg(x, ',' ORDER BY
//! a), string_agg(x, ',' ORDER BY b)`. DataFusion sorts the input of an aggregate once for all functions, and refuses a
//! second order.

use std::{fmt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray},
    buffer::OffsetBuffer,
    compute::{SortColumn, SortOptions, concat, lexsort_to_indices, take},
    datatypes::{DataType, Field, FieldRef},
};
use datafusion::{
    common::{ScalarValue, tree_node::Transformed},
    error::Result as DfResult,
    logical_expr::{
        Accumulator, Aggregate, AggregateUDF, AggregateUDFImpl, Expr, LogicalPlan, Signature, SortExpr, Volatility,
        expr::AggregateFunction,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::AggregateOrderSensitivity,
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// The rule that rewrites order-dependent functions to these, if an aggregate has several orders.
#[derive(Debug, Default)]
pub struct SeveralOrders;

impl OptimizerRule for SeveralOrders {
    fn name(&self) -> &str {
        "several_orders"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        let LogicalPlan::Aggregate(aggregate) = plan else { return Ok(Transformed::no(plan)) };
        let mut orders = aggregate.aggr_expr.iter().filter_map(needs_order).map(|call| &call.params.order_by);
        let first = orders.next();
        if first.is_none_or(|first| orders.all(|other| other == first)) {
            return Ok(Transformed::no(LogicalPlan::Aggregate(aggregate)));
        }
        let functions = aggregate.aggr_expr.into_iter().map(|expr| match needs_order(&expr) {
            Some(call) => ordered(call).alias(expr.schema_name().to_string()),
            None => expr,
        });
        let plan = Aggregate::try_new(aggregate.input, aggregate.group_expr, functions.collect())?;
        Ok(Transformed::yes(LogicalPlan::Aggregate(plan)))
    }
}

/// The function of an expression, if it depends on the order of its input.
fn needs_order(expr: &Expr) -> Option<&AggregateFunction> {
    match expr {
        Expr::Alias(alias) => needs_order(&alias.expr),
        Expr::AggregateFunction(call) if !call.params.order_by.is_empty() && !call.params.distinct => {
            (call.func.order_sensitivity() == AggregateOrderSensitivity::HardRequirement).then_some(call)
        }
        _ => None,
    }
}

fn ordered(call: &AggregateFunction) -> Expr {
    let options = |by: &SortExpr| SortOptions::new(!by.asc, by.nulls_first);
    let function = OrderedAccumulator {
        inner: call.func.clone(),
        arguments: call.params.args.len(),
        order: call.params.order_by.iter().map(options).collect(),
        signature: Signature::variadic_any(Volatility::Immutable),
    };
    let mut args = call.params.args.clone();
    args.extend(call.params.order_by.iter().map(|by| by.expr.clone()));
    let (filter, nulls) = (call.params.filter.clone(), call.params.null_treatment);
    let function = Arc::new(AggregateUDF::from(function));
    Expr::AggregateFunction(AggregateFunction::new_udf(function, args, false, filter, vec![], nulls))
}

/// A function whose last arguments are its sort keys.
#[derive(PartialEq, Eq, Hash)]
struct OrderedAccumulator {
    inner: Arc<AggregateUDF>,
    arguments: usize,
    order: Vec<SortOptions>,
    signature: Signature,
}

impl fmt::Debug for OrderedAccumulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in order", self.inner.name())
    }
}

impl AggregateUDFImpl for OrderedAccumulator {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(&arguments[..self.arguments])
    }

    fn return_field(&self, arguments: &[FieldRef]) -> DfResult<FieldRef> {
        self.inner.return_field(&arguments[..self.arguments])
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let types = args.expr_fields.iter().map(|field| field.data_type().clone()).collect();
        let inner = self.inner.accumulator(AccumulatorArgs {
            order_bys: &[],
            exprs: &args.exprs[..self.arguments],
            expr_fields: &args.expr_fields[..self.arguments],
            ..args
        })?;
        let rows = Vec::new();
        Ok(Box::new(OrderedRows { inner, arguments: self.arguments, order: self.order.clone(), types, rows }))
    }

    /// One list per column.
    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let field = |(n, input): (usize, &FieldRef)| {
            Arc::new(Field::new(format!("{}[{n}]", args.name), list(input.data_type().clone()), true))
        };
        Ok(args.input_fields.iter().enumerate().map(field).collect())
    }
}

fn item(of: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(of, true))
}

fn list(of: DataType) -> DataType {
    DataType::List(item(of))
}

/// The rows of one group, buffered and sorted before the function gets them.
#[derive(Debug)]
struct OrderedRows {
    inner: Box<dyn Accumulator>,
    arguments: usize,
    order: Vec<SortOptions>,
    types: Vec<DataType>,
    rows: Vec<Vec<ArrayRef>>,
}

impl OrderedRows {
    fn columns(&self) -> DfResult<Vec<ArrayRef>> {
        let column = |n: usize| -> DfResult<ArrayRef> {
            let parts: Vec<&dyn Array> = self.rows.iter().map(|columns| columns[n].as_ref()).collect();
            match parts.is_empty() {
                true => Ok(arrow::array::new_empty_array(&self.types[n])),
                false => Ok(concat(&parts)?),
            }
        };
        (0..self.types.len()).map(column).collect()
    }
}

impl Accumulator for OrderedRows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.rows.push(values.to_vec());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let rows = states.first().map_or(0, |column| column.len());
        for row in 0..rows {
            self.rows.push(states.iter().map(|column| column.as_list::<i32>().value(row)).collect());
        }
        Ok(())
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let state = |(values, of): (ArrayRef, &DataType)| -> DfResult<ScalarValue> {
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            Ok(ScalarValue::List(Arc::new(ListArray::try_new(item(of.clone()), offsets, values, None)?)))
        };
        self.columns()?.into_iter().zip(&self.types).map(state).collect()
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let columns = self.columns()?;
        self.rows.clear();
        let by = columns[self.arguments..].iter().zip(&self.order);
        let by: Vec<SortColumn> =
            by.map(|(values, options)| SortColumn { values: values.clone(), options: Some(*options) }).collect();
        let order = lexsort_to_indices(&by, None)?;
        let sorted = columns[..self.arguments].iter().map(|column| take(column, &order, None));
        self.inner.update_batch(&sorted.collect::<Result<Vec<_>, _>>()?)?;
        self.inner.evaluate()
    }

    fn size(&self) -> usize {
        let rows: usize = self.rows.iter().flatten().map(|column| column.get_array_memory_size()).sum();
        size_of_val(self) + self.inner.size() + rows
    }
}
