//! Computed sort keys become columns of a projection below the sort; keys that are constant are removed.
//!
//! DataFusion derives the ordering of an expression from its inputs. Where it cannot (the negative of a product), it
//! assumes no ordering, even above the sort that it added itself, and rejects its own plan. Constant arrays it cannot
//! compare, and expressions that become equal in a late rule it counts once or twice. The ordering of plain columns it
//! always knows.
//!
//! ```text
//! Sort -(k * 2)           Projection k
//!   Scan k                  Sort __key_0
//!                     ─▶      Projection k, -(k * 2) AS __key_0
//!                               Scan k
//! ```

use std::sync::Arc;

use datafusion::{
    common::{
        Column, DFSchemaRef,
        tree_node::{Transformed, TransformedResult, TreeNode},
    },
    error::Result as DfResult,
    logical_expr::{
        Aggregate, Expr, Limit, LogicalPlan, LogicalPlanBuilder, Projection, Sort, SortExpr, Window,
        expr::{AggregateFunction, WindowFunction},
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
};

/// Runs after all rules that simplify expressions.
#[derive(Debug, Default)]
pub(in crate::sql) struct ComputedKeys;

impl OptimizerRule for ComputedKeys {
    fn name(&self) -> &str {
        "computed_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> DfResult<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Sort(sort) if is_computed_order(&sort.expr) => of_sort(sort, |sorted| sorted),
            // The sort stays directly below the LIMIT: DataFusion would drop it under another node.
            LogicalPlan::Limit(Limit { skip, fetch, input }) => match Arc::unwrap_or_clone(input) {
                LogicalPlan::Sort(sort) if is_computed_order(&sort.expr) => {
                    of_sort(sort, |sorted| LogicalPlan::Limit(Limit { skip, fetch, input: Arc::new(sorted) }))
                }
                input => Ok(Transformed::no(LogicalPlan::Limit(Limit { skip, fetch, input: Arc::new(input) }))),
            },
            other => of_functions(other),
        }
    }
}

/// The same for the plan of an epoch, which the optimizer does not see. Its input is one partition, sorted as a whole.
pub(in crate::sql) fn keys_as_columns(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    plan.transform_up(of_functions).data()
}

fn is_computed_order(order: &[SortExpr]) -> bool {
    order.iter().any(|by| !is_column(&by.expr))
}

fn of_functions(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    match plan {
        LogicalPlan::Window(window) if window.window_expr.iter().any(is_computed) => of_window(window),
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.iter().any(is_computed) => of_aggregate(aggregate),
        other => Ok(Transformed::no(other)),
    }
}

/// Rewrites a sort; `over` adds the node above it.
fn of_sort(
    Sort { expr, input, fetch }: Sort,
    over: impl FnOnce(LogicalPlan) -> LogicalPlan,
) -> DfResult<Transformed<LogicalPlan>> {
    let mut keys = SortKeys::of(&input);
    let expr = keys.order(expr);
    if expr.is_empty() {
        let input = Arc::unwrap_or_clone(input);
        return Ok(Transformed::yes(over(match fetch {
            Some(rows) => LogicalPlanBuilder::from(input).limit(0, Some(rows))?.build()?,
            None => input,
        })));
    }
    let schema = input.schema().clone();
    let sort = LogicalPlan::Sort(Sort { expr, input: keys.beside(input)?, fetch });
    let own = schema.columns().into_iter().map(Expr::Column).collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new_with_schema(own, Arc::new(over(sort)), schema)?)))
}

fn of_window(Window { input, window_expr, schema }: Window) -> DfResult<Transformed<LogicalPlan>> {
    let mut keys = SortKeys::of(&input);
    let function = |expr: Expr| {
        named(expr, |expr| match expr {
            Expr::WindowFunction(call) => Expr::WindowFunction(Box::new(keys.window(*call))),
            other => other,
        })
    };
    let functions = window_expr.into_iter().map(function).collect();
    let own = input.schema().columns();
    let input = keys.beside(input)?;
    let results = input.schema().fields().len();
    let window = LogicalPlan::Window(Window::try_new(functions, input)?);
    let results = window.schema().columns().split_off(results);
    let columns = own.into_iter().chain(results).map(Expr::Column).collect();
    Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new_with_schema(columns, Arc::new(window), schema)?)))
}

fn of_aggregate(aggregate: Aggregate) -> DfResult<Transformed<LogicalPlan>> {
    let mut keys = SortKeys::of(&aggregate.input);
    let function = |expr: Expr| {
        named(expr, |expr| match expr {
            Expr::AggregateFunction(mut call) => {
                call.params.order_by = keys.order(call.params.order_by);
                Expr::AggregateFunction(call)
            }
            other => other,
        })
    };
    let functions = aggregate.aggr_expr.into_iter().map(function).collect();
    let input = keys.beside(aggregate.input)?;
    let aggregate = Aggregate::try_new_with_schema(input, aggregate.group_expr, functions, aggregate.schema)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(aggregate)))
}

/// Applies `into` to an expression and keeps its name.
fn named(expr: Expr, into: impl FnOnce(Expr) -> Expr) -> Expr {
    match is_computed(&expr) {
        true => {
            let name = expr.schema_name().to_string();
            into(expr.unalias()).alias(name)
        }
        false => expr,
    }
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(_))
}

/// Whether an expression is constant; a folded one may still have an alias.
fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_constant(&alias.expr),
        expr => matches!(expr, Expr::Literal(..)),
    }
}

/// Whether a function has a sort key that is not a column. `WITHIN GROUP (ORDER BY …)` is an argument, not a key.
fn is_computed(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(alias) => is_computed(&alias.expr),
        Expr::AggregateFunction(AggregateFunction { func, params }) => {
            !func.supports_within_group_clause() && is_computed_order(&params.order_by)
        }
        Expr::WindowFunction(call) => {
            let order = call.params.order_by.iter().map(|by| &by.expr);
            !call.params.partition_by.iter().chain(order).all(is_column)
        }
        _ => false,
    }
}

/// Sort keys that become columns, added to those of an input.
struct SortKeys {
    input: DFSchemaRef,
    computed: Vec<(Expr, String)>,
}

impl SortKeys {
    fn of(input: &LogicalPlan) -> SortKeys {
        SortKeys { input: input.schema().clone(), computed: Vec::new() }
    }

    /// The ORDER BY list without constant keys.
    fn order(&mut self, order: Vec<SortExpr>) -> Vec<SortExpr> {
        let sorts = order.into_iter().filter(|by| !is_constant(&by.expr));
        sorts.map(|by| SortExpr { expr: self.column(by.expr.clone()), ..by }).collect()
    }

    /// Constant ORDER BY keys stay: the frame depends on them.
    fn window(&mut self, mut call: WindowFunction) -> WindowFunction {
        let partition = std::mem::take(&mut call.params.partition_by).into_iter();
        let partition = partition.filter(|key| !is_constant(key));
        call.params.partition_by = partition.map(|key| self.column(key)).collect();
        let order = std::mem::take(&mut call.params.order_by).into_iter();
        call.params.order_by = order.map(|by| SortExpr { expr: self.column(by.expr.clone()), ..by }).collect();
        call
    }

    fn column(&mut self, key: Expr) -> Expr {
        let key = key.unalias();
        if is_column(&key) {
            return key;
        }
        if let Some((_, name)) = self.computed.iter().find(|(expr, _)| *expr == key && !key.is_volatile()) {
            return Expr::Column(Column::new_unqualified(name));
        }
        let free = |name: &String| {
            !self.input.has_column_with_unqualified_name(name) && self.computed.iter().all(|(_, other)| other != name)
        };
        let name = (0..).map(|n| format!("__key_{n}")).find(free).unwrap_or_default();
        self.computed.push((key, name.clone()));
        Expr::Column(Column::new_unqualified(name))
    }

    /// A projection of the input's columns, followed by the key columns.
    fn beside(self, input: Arc<LogicalPlan>) -> DfResult<Arc<LogicalPlan>> {
        if self.computed.is_empty() {
            return Ok(input);
        }
        let own = self.input.columns().into_iter().map(Expr::Column);
        let computed = self.computed.into_iter().map(|(key, name)| key.alias(name));
        Ok(Arc::new(LogicalPlan::Projection(Projection::try_new(own.chain(computed).collect(), input)?)))
    }
}
