//! The logical nodes of the rewrite. They exist between rewrite and physical planner only: no optimizer rule sees them.

use std::{
    any::Any,
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use datafusion::{
    common::{DFSchemaRef, JoinType},
    error::Result as DfResult,
    logical_expr::{Expr, Extension, InvariantLevel, LogicalPlan, SortExpr, UserDefinedLogicalNode},
};

use crate::{
    exec::GroupInput,
    operators::{Emission, SessionSpec, TimeColumn},
    sql::{temporal::Bound, watermark::WatermarkSpec},
    state::{Close, TopN},
};

/// A logical node of our own in an epoch's plan.
#[derive(Debug, Clone)]
pub struct StepNode {
    pub step: Step,
    pub inputs: Vec<LogicalPlan>,
    pub schema: DFSchemaRef,
    /// The key of its state in a checkpoint; empty until the rewrite is complete.
    pub uid: String,
}

#[derive(Debug, Clone)]
pub enum Step {
    /// This epoch's rows of an input, by its number.
    DeltaScan {
        input: usize,
        name: String,
        /// Whether rows with a row error are removed and reported.
        isolates_row_errors: bool,
    },
    /// The input's rows, in the first epoch only.
    FirstEpochOnly,
    /// The input's rows, computed once and kept: the static side of joins.
    StaticInput,
    /// Observes the event times of a column; by partition, if its input carries it.
    Watermark {
        column: usize,
        spec: WatermarkSpec,
        partition: bool,
    },
    Aggregate(AggregateStep),
    /// Joins its two inputs.
    Join(JoinStep),
    /// Runs a plan over the rows of each touched group.
    GroupPlan(GroupPlanStep),
    /// The leaf of that plan.
    GroupInput(GroupInput),
    /// A temporal filter.
    Temporal {
        from: Vec<Bound>,
        until: Vec<Bound>,
    },
    /// The first row of each id.
    Dedup(DedupStep),
    /// Turns upserts and deletes by key into changes. The key's columns are those of the input.
    Upsert {
        key: Vec<usize>,
    },
}

#[derive(Debug, Clone)]
pub struct AggregateStep {
    pub group: Vec<Expr>,
    pub functions: Vec<Expr>,
    pub close: Option<Close>,
    /// The event times among the keys that each row must have.
    pub timed: Vec<TimeColumn>,
    pub emission: Emission,
    /// The function that sums a group's diffs, for removing empty groups.
    pub presence: Option<usize>,
    pub recompute: bool,
    /// Whether its rows come from an operator.
    pub derived: bool,
}

#[derive(Debug, Clone)]
pub struct GroupPlanStep {
    pub keys: Vec<Expr>,
    pub given: GroupInput,
    /// The plan over the leaf; its last column is the number of the group.
    pub plan: LogicalPlan,
    /// For session windows: their end and lateness.
    pub sessions: Option<SessionSpec>,
    /// If the answer depends only on a group's first rows: which, and in what order.
    pub first: Option<(TopN, Vec<SortExpr>)>,
    pub close: Option<Close>,
    /// The event times among the keys that each row must have.
    pub timed: Vec<TimeColumn>,
    pub emission: Emission,
    /// Whether its rows come from an operator.
    pub derived: bool,
}

#[derive(Debug, Clone)]
pub struct JoinStep {
    /// Equal keys of the left and of the right side.
    pub on: Vec<(Expr, Expr)>,
    pub filter: Option<Expr>,
    pub join_type: JoinType,
    pub null_equals_null: bool,
    /// Whether rows without a match are emitted only once no match is possible, and never retracted.
    pub deferred: bool,
    /// Whether it is a lookup join: left rows match the right side as of their epoch.
    pub as_of_now: bool,
    /// Per side: when a row can have no new match, and when one is late.
    pub close: [Option<Close>; 2],
    pub late: [Option<Close>; 2],
    /// Per side: the event time that may not be NULL.
    pub timed: [Option<TimeColumn>; 2],
    /// Per side: whether its input is another operator.
    pub derived: [bool; 2],
}

#[derive(Debug, Clone)]
pub struct DedupStep {
    pub keys: Vec<Expr>,
    /// When a row is late and when its id expires, by the same column.
    pub late: Close,
    pub forget: Close,
    /// Whether its rows come from an operator.
    pub derived: bool,
}

impl StepNode {
    pub fn plan(step: Step, inputs: Vec<LogicalPlan>, schema: DFSchemaRef) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(StepNode { step, inputs, schema, uid: String::new() }) })
    }
}

impl UserDefinedLogicalNode for StepNode {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn name(&self) -> &str {
        match &self.step {
            Step::DeltaScan { .. } => "DeltaScan",
            Step::FirstEpochOnly => "FirstEpochOnly",
            Step::StaticInput => "StaticInput",
            Step::Watermark { .. } => "Watermark",
            Step::Aggregate(_) => "Aggregate",
            Step::Join(_) => "Join",
            Step::GroupPlan(_) => "GroupPlan",
            Step::GroupInput(_) => "GroupInput",
            Step::Temporal { .. } => "Temporal",
            Step::Dedup(_) => "Dedup",
            Step::Upsert { .. } => "Upsert",
        }
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.inputs.iter().collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn check_invariants(&self, _: InvariantLevel) -> DfResult<()> {
        Ok(())
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }

    fn with_exprs_and_inputs(
        &self,
        _: Vec<Expr>,
        inputs: Vec<LogicalPlan>,
    ) -> DfResult<Arc<dyn UserDefinedLogicalNode>> {
        Ok(Arc::new(StepNode { step: self.step.clone(), inputs, schema: self.schema.clone(), uid: self.uid.clone() }))
    }

    fn dyn_hash(&self, mut state: &mut dyn Hasher) {
        std::ptr::from_ref(self).hash(&mut state);
    }

    fn dyn_eq(&self, other: &dyn UserDefinedLogicalNode) -> bool {
        other.as_any().downcast_ref::<StepNode>().is_some_and(|other| std::ptr::eq(self, other))
    }

    fn dyn_ord(&self, _: &dyn UserDefinedLogicalNode) -> Option<Ordering> {
        None
    }
}
