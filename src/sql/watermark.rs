//! The watermark node of a plan: passes rows on unchanged, and defines their event time column.

use std::{cmp::Ordering, collections::HashSet, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::DFSchemaRef,
    error::Result as DfResult,
    logical_expr::{
        Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
        physical_planning_context::PhysicalPlanningContext,
    },
    physical_planner::{ExtensionPlanner, PhysicalPlanner},
};

use crate::{
    error::{Error, ErrorKind, Result},
    exec::Plan,
    time::is_event_time,
};

/// The definition of a watermark.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub struct WatermarkSpec {
    pub column: String,
    pub delay_us: i64,
    /// Event times further ahead of the clock than this (microseconds) are ignored.
    pub ahead_us_max: Option<i64>,
    /// After this long without rows, it advances with the wall clock.
    pub idle_timeout: Option<Duration>,
}

/// Passes its input on unchanged. Filters are not pushed below it: rows that a query drops still advance the watermark.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WatermarkNode {
    pub spec: WatermarkSpec,
    pub input: Arc<LogicalPlan>,
}

impl PartialOrd for WatermarkNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.spec.partial_cmp(&other.spec)
    }
}

impl WatermarkNode {
    /// Adds a watermark to a plan. Fails unless the column exists and is a time.
    pub fn plan(input: LogicalPlan, spec: WatermarkSpec, what: &str) -> Result<LogicalPlan> {
        let column = &spec.column;
        let Ok(field) = input.schema().field_with_unqualified_name(column) else {
            return Err(Error::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{column}\" of the watermark of {what} does not exist"),
            ));
        };
        if !is_event_time(field.data_type()) {
            return Err(Error::new(
                ErrorKind::DatatypeMismatch,
                format!("the watermark of {what} needs a timestamp, but column \"{column}\" is {}", field.data_type()),
            )
            .hint(format!("Declare the column as TIMESTAMP, or select to_timestamp({column}) AS {column}.")));
        }
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(WatermarkNode { spec, input: Arc::new(input) }) }))
    }

    pub fn of(plan: &LogicalPlan) -> Option<&WatermarkNode> {
        match plan {
            LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref(),
            _ => None,
        }
    }

    /// The index of the event time column in the node's schema.
    pub fn column(&self) -> Result<usize> {
        let index = self.input.schema().iter().position(|(_, field)| field.name() == &self.spec.column);
        index.ok_or_else(|| Error::internal("a watermark lost its column"))
    }
}

/// Replaces watermark nodes by their input in batch queries.
pub struct WatermarkPlanner;

#[async_trait]
impl ExtensionPlanner for WatermarkPlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Plan],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> DfResult<Option<Plan>> {
        Ok(node.as_any().downcast_ref::<WatermarkNode>().and(inputs.first().cloned()))
    }
}

impl UserDefinedLogicalNodeCore for WatermarkNode {
    fn name(&self) -> &str {
        "Watermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.input.schema().fields().iter().map(|f| f.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Watermark: {}", self.spec.column)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| Error::internal("a watermark has no input"))?;
        Ok(WatermarkNode { spec: self.spec.clone(), input: Arc::new(input) })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed = output_columns.to_vec();
        let own = self.column().ok()?;
        if !needed.contains(&own) {
            needed.push(own);
        }
        needed.sort_unstable();
        Some(vec![needed])
    }
}
