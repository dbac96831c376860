//! Statement to plan: name resolution against one catalog snapshot, then DataFusion's planner.

use std::{collections::HashMap, fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, Session, TableProvider, view::ViewTable},
    error::Result as DfResult,
    execution::{
        FunctionRegistry, SessionState, SessionStateBuilder, context::QueryPlanner, memory_pool::MemoryPool,
        runtime_env::RuntimeEnv,
    },
    logical_expr::{LogicalPlan, planner::ExprPlanner},
    optimizer::{self, Analyzer, Optimizer, OptimizerRule},
    physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner},
    prelude::{SessionConfig, SessionContext},
    sql::{parser::Statement as DfStatement, sqlparser::ast},
};

use super::{
    builtins::{self, CheckedNumbers, ResolvedCalls, SpecialForms},
    distinct_on,
    functions::{CheckSizes, DictionaryValues, FieldsOfNull, Functions, Inliner, ResultLimit, UnnestOfNull},
    incremental::{Rewritten, plan_epoch, refuse, rewrite},
    microseconds::{Microseconds, Types},
    normalize::{
        ComputedKeys, CountedOffsets, EmptyArms, FloatRules, HeldFilters, InLists, LateralJoins, MarkSubqueries,
        NestedOrders, Numbers, OrdersOnce, SplitWindows, constants_as_calls, normalize, refuse_subqueries, unordered,
    },
    statement::Emit,
    table::InputTable,
    temporal,
    watermark::{WatermarkNode, WatermarkPlanner, WatermarkSpec},
};
use crate::{
    changes::without_diff,
    error::{Error, ErrorKind, Result},
    exec::{EpochContext, Plan},
    operators::Emission,
};

pub use crate::changes::check_column_name;

/// The object that a name resolves to.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// An input: a source, table or materialized view.
    Input(InputTable, Option<WatermarkSpec>),
    /// A named query: a stream that only filters and projects, or a plain view.
    Query { query: Arc<ast::Query>, columns: Vec<String>, watermark: Option<WatermarkSpec>, what: String },
    /// A system table.
    Table(Arc<dyn TableProvider>),
}

/// A snapshot of the catalog. A statement uses one `CatalogView` from beginning to end.
pub trait CatalogView: fmt::Debug + Send + Sync {
    /// Resolves a name in schema `public`.
    fn public(&self, name: &str) -> Result<Option<Resolved>>;
    fn public_names(&self) -> Vec<String>;
    /// Resolves a name in schema `tidemark`.
    fn system(&self, name: &str) -> Result<Option<Resolved>>;
    fn system_names(&self) -> Vec<String>;
    /// The user-defined functions.
    fn functions(&self) -> Functions {
        Functions::default()
    }
}

/// The name of the only database.
pub const DATABASE: &str = "tidemark";

/// The planner, with the functions and settings that all sessions share.
#[derive(Debug)]
pub struct Planner {
    base: SessionState,
    /// The runtime environment (memory pool) of epochs.
    epochs: Arc<RuntimeEnv>,
}

/// A standing query, planned.
#[derive(Debug)]
pub struct ContinuousPlan {
    pub plan: Plan,
    pub epoch_context: Arc<EpochContext>,
    pub rewritten: Rewritten,
    /// The output columns.
    pub schema: SchemaRef,
    pub emission: Emission,
}

impl Planner {
    /// `partitions` is the number of cores for a query, `runtime` has the memory limit, and a value may have at most
    /// `value_bytes_max` bytes.
    pub fn new(partitions: usize, runtime: Arc<RuntimeEnv>, value_bytes_max: usize) -> Self {
        let results = ResultLimit::new(runtime.memory_pool.clone(), value_bytes_max);
        let mut config = SessionConfig::new()
            .with_target_partitions(partitions)
            .with_default_catalog_and_schema(DATABASE, "public")
            .with_create_default_catalog_and_schema(false)
            .with_information_schema(false);
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        // It would remove sorts that a LIMIT further up depends on; `normalize` removes those without effect.
        config.options_mut().sql_parser.enable_subquery_sort_elimination = false;
        // A literal is an exact decimal, not the nearest binary float.
        config.options_mut().sql_parser.parse_float_as_decimal = true;
        // The physical plan is less precise about nullability, as of `CASE WHEN a <= b THEN a ELSE 1 END`.
        config.options_mut().execution.skip_physical_aggregate_schema_check = true;
        // It makes a separate group for each row with a NaN key.
        config.options_mut().optimizer.enable_topk_aggregation = false;
        // Errors need text positions.
        config.options_mut().sql_parser.collect_spans = true;
        // `now()` and casts to timestamptz need a time zone. It is UTC, as of columns, not the session's: text without
        // an offset must mean the same in a query, in an INSERT, and in a view, which has no session. Results are
        // displayed in the session's time zone.
        config.options_mut().execution.time_zone = Some(super::types::UTC.to_string());
        config.options_mut().sql_parser.enable_ident_normalization = true;
        config.options_mut().sql_parser.default_null_ordering = "nulls_max".into();
        let base = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime);
        let builtins = builtins::functions();
        // Must precede DataFusion's own.
        let planners: [Arc<dyn ExprPlanner>; 2] =
            [Arc::new(super::functions::RowCounts), Arc::new(SpecialForms::new(builtins.clone()))];
        let base = base.with_expr_planners(planners.into()).with_default_features();
        let mut batch_rules = marking(Optimizer::new().rules);
        batch_rules.push(Arc::new(super::functions::SeveralOrders));
        batch_rules.push(Arc::new(NestedOrders));
        batch_rules.push(Arc::new(ComputedKeys));
        batch_rules.insert(0, Arc::new(CountedOffsets));
        let base = base.with_query_planner(Arc::new(BatchPlanner)).with_optimizer_rules(batch_rules);
        let base = base.with_type_planner(Arc::new(Types));
        let mut rules = Analyzer::new().rules;
        let coercion = rules.iter().position(|rule| rule.name() == "type_coercion").unwrap_or(rules.len());
        rules.splice(coercion..coercion, [Arc::new(Numbers) as _, Arc::new(ResolvedCalls::new(builtins.clone())) as _]);
        let base = base.with_analyzer_rules(rules);
        let base = base.with_analyzer_rule(Arc::new(UnnestOfNull)).with_analyzer_rule(Arc::new(Microseconds));
        let base = base.with_analyzer_rule(Arc::new(CheckedNumbers));
        // Must follow all rules that determine types.
        let base = base.with_analyzer_rule(Arc::new(FloatRules));
        let mut base = base.build();
        let functions = [super::functions::all(), builtins].concat();
        for function in &functions {
            // With the aliases of DataFusion's function, under which a copy of the state would find it again.
            let _ = FunctionRegistry::deregister_udf(&mut base, function.name());
        }
        for function in functions {
            // Registering only fails on a name clash with another kind of function; ours have none.
            let _ = FunctionRegistry::register_udf(&mut base, function);
        }
        for function in super::functions::aggregates() {
            let _ = FunctionRegistry::register_udaf(&mut base, function);
        }
        for (name, function) in super::functions::tables() {
            base.register_udtf(name, function);
        }
        for function in super::functions::windows() {
            let _ = FunctionRegistry::register_udwf(&mut base, function);
        }
        // A session's state accepts any.
        let _ = FunctionRegistry::register_expr_planner(&mut base, super::functions::operators());
        let _ = FunctionRegistry::register_function_rewrite(&mut base, Arc::new(Inliner));
        let _ = FunctionRegistry::register_function_rewrite(&mut base, Arc::new(FieldsOfNull));
        let _ = FunctionRegistry::register_function_rewrite(&mut base, Arc::new(DictionaryValues));
        let _ = FunctionRegistry::register_function_rewrite(&mut base, Arc::new(CheckSizes(results)));
        let epochs = base.runtime_env().clone();
        Planner { base, epochs }
    }

    /// The planner with a separate memory pool for epochs.
    pub fn with_epochs(self, epochs: Arc<RuntimeEnv>) -> Self {
        Planner { epochs, ..self }
    }

    /// The planner with `rows` per batch.
    pub fn with_batch_rows(mut self, rows: usize) -> Self {
        let config = self.base.config_mut();
        *config = config.clone().with_batch_size(rows.max(1));
        self
    }

    /// The task context of epochs.
    pub fn epoch_context(&self) -> Arc<datafusion::execution::TaskContext> {
        Arc::new(datafusion::execution::TaskContext::from(&self.base).with_runtime(self.epochs.clone()))
    }

    /// The memory pool of client queries.
    pub fn memory_pool(&self) -> &Arc<dyn MemoryPool> {
        &self.base.runtime_env().memory_pool
    }

    pub fn partitions(&self) -> usize {
        self.base.config().target_partitions()
    }

    /// A session state with the shared functions and settings, and with user-defined functions.
    pub fn with(&self, functions: &Functions) -> SessionState {
        let mut state = self.base.clone();
        functions.register(&mut state);
        state
    }

    /// A session context over a catalog view; more schemas and functions can be registered in it.
    pub fn context(self: &Arc<Self>, world: &Arc<dyn CatalogView>) -> SessionContext {
        let state = SessionStateBuilder::new_from_existing(self.with(&world.functions()))
            .with_catalog_list(Arc::new(datafusion::catalog::MemoryCatalogProviderList::new()))
            .build();
        let context = SessionContext::new_with_state(state);
        let catalog = MemoryCatalogProvider::new();
        for (name, part) in [("public", SchemaName::Public), ("tidemark", SchemaName::System)] {
            let schema = SchemaScope { planner: self.clone(), world: world.clone(), part };
            // Cannot fail: a fresh memory catalog accepts any schema.
            let _ = catalog.register_schema(name, Arc::new(schema));
        }
        context.register_catalog(DATABASE, Arc::new(catalog));
        context
    }

    /// The logical plan of a query, analyzed but not optimized; with its watermark nodes.
    pub async fn logical(context: &SessionContext, query: &ast::Query) -> Result<LogicalPlan> {
        let plan = Planner::plan(context, ast::Statement::Query(Box::new(query.clone()))).await?;
        // `*` may expand to many columns.
        super::check_targets(plan.schema().fields().len())?;
        Planner::normalized(context, plan)
    }

    /// DataFusion's plan of a statement, after its queries are rewritten to PostgreSQL's semantics as far as SQL can
    /// express them.
    pub async fn plan(context: &SessionContext, mut statement: ast::Statement) -> Result<LogicalPlan> {
        // Boxed: a session state is large, and so is the future that awaits a plan.
        let state = Box::new(context.state());
        super::orders::by_input(&mut statement);
        super::naming::name_subqueries(&mut statement);
        Box::pin(super::using::without_using(&state, &mut statement)).await?;
        super::quantified::with_nulls(&mut statement);
        super::casts::name_ambiguous_casts(&mut statement);
        Ok(Box::pin(state.statement_to_plan(DfStatement::Statement(Box::new(statement)))).await?)
    }

    /// The plan of a query, or of the rows that a statement writes, with PostgreSQL's semantics; analyzed, unless it
    /// has unbound parameters.
    pub fn normalized(context: &SessionContext, plan: LogicalPlan) -> Result<LogicalPlan> {
        let plan = super::frames::by_groups(normalize(plan)?)?;
        if !plan.get_parameter_names()?.is_empty() {
            return Ok(plan);
        }
        // The types of its columns are only known now: `CASE` has that of its first branch until it is analyzed.
        let state = Box::new(context.state());
        Ok(state.analyzer().execute_and_check(plan, state.config_options(), |_, _| {})?)
    }

    /// Plans a standing query over a context, for inputs in up to `partitions` streams each; `columns`, if not empty,
    /// are its column names, and `what` names it in errors.
    pub async fn continuous(
        &self,
        context: &SessionContext,
        query: &ast::Query,
        emission: Emission,
        partitions: usize,
        columns: &[String],
        what: &str,
    ) -> Result<ContinuousPlan> {
        let logical = renamed(Planner::logical(context, query).await?, columns, what)?;
        let mut state = context.state();
        // As a join, a changed subquery result also updates the results of earlier rows.
        state.config_mut().options_mut().optimizer.enable_physical_uncorrelated_scalar_subquery = false;
        let analyzed = state.analyzer().execute_and_check(logical, state.config_options(), |_, _| {})?;
        let analyzed = temporal::lift(unordered(analyzed)?)?;
        refuse(&analyzed)?;
        let rewritten = match rewritten(&state, analyzed.clone(), emission) {
            // For append-only output, DISTINCT ON may be planned as a deduplication.
            Err(error) if emission == Emission::OnClose => match distinct_on::lift(analyzed)? {
                Some(lifted) => rewritten(&state, lifted, emission)?,
                None => return Err(error),
            },
            rewritten => rewritten?,
        };
        let epoch_context = EpochContext::new(partitions);
        let plan = plan_epoch(&rewritten, &state, &epoch_context, &self.epochs).await.map_err(of_optimizer)?;
        let schema = answer_schema(&without_diff(&plan.schema()))?;
        Ok(ContinuousPlan { plan, epoch_context, rewritten, schema, emission })
    }
}

/// An analyzed query, optimized and rewritten to process one epoch's rows at a time.
fn rewritten(state: &SessionState, analyzed: LogicalPlan, emission: Emission) -> Result<Rewritten> {
    let optimized = Optimizer::with_rules(marking(rules())).optimize(analyzed, state, |_, _| {});
    let optimized = optimized.map_err(of_optimizer)?;
    refuse_subqueries(&optimized)?;
    // DISTINCT ON is an aggregate with an ORDER BY by now.
    rewrite(&unordered(optimized)?, emission)
}

/// A missing or ambiguous name in the optimizer is a generated one, since all names of the query were resolved before:
/// the query's shape is then unsupported.
pub fn of_optimizer(error: impl Into<Error>) -> Error {
    let error = error.into();
    match error.kind() {
        ErrorKind::UndefinedColumn | ErrorKind::AmbiguousColumn | ErrorKind::DuplicateColumn => {
            Error::unsupported("a query of this shape")
                .hint("Write its subqueries and LATERALs as joins, or make views of them and join these.")
                .caused_by(error)
        }
        _ => error,
    }
}

/// DataFusion's planner for batch queries; watermark nodes become their input. They stay in the plan until here, so
/// that a query reads the same columns as a standing one: which records are bad may depend on them.
#[derive(Debug)]
struct BatchPlanner;

#[async_trait]
impl QueryPlanner for BatchPlanner {
    async fn create_physical_plan(&self, plan: &LogicalPlan, session: &dyn Session) -> DfResult<Plan> {
        refuse_subqueries(plan)?;
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(WatermarkPlanner)]);
        planner.create_physical_plan(&constants_as_calls(plan.clone())?, session).await
    }
}

/// The columns clients see: unique names, all nullable.
pub fn answer_schema(schema: &SchemaRef) -> Result<SchemaRef> {
    if schema.fields().is_empty() {
        return Err(Error::unsupported("a view without columns").hint("Count its rows: SELECT count(*) FROM …"));
    }
    let mut seen = std::collections::HashSet::new();
    for field in schema.fields() {
        check_column_name(field.name())?;
        // Duplicates of a subquery may have been renamed for `*`.
        let name = super::naming::original_name(field.name());
        if !seen.insert(name) {
            return Err(Error::new(ErrorKind::DuplicateColumn, format!("column \"{name}\" specified more than once"))
                .hint("Give one of them another name with AS."));
        }
    }
    let fields: Vec<_> =
        schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true).with_metadata(HashMap::new())).collect();
    Ok(Arc::new(arrow::datatypes::Schema::new(fields)))
}

/// The logical rules that are valid for a plan of one epoch's rows: they change the shape, never the result over a part
/// of the rows, and do not depend on row counts. A test lists DataFusion's own, so that an upgrade that adds one is
/// noticed.
pub fn rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(optimizer::rewrite_set_comparison::RewriteSetComparison::new()),
        Arc::new(optimizer::simplify_expressions::SimplifyExpressions::new()),
        Arc::new(optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate::new()),
        Arc::new(optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery::new()),
        Arc::new(optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin::new()),
        Arc::new(optimizer::decorrelate_lateral_join::DecorrelateLateralJoin::new()),
        Arc::new(optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate::new()),
        Arc::new(optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr::new()),
        Arc::new(optimizer::eliminate_filter::EliminateFilter::new()),
        Arc::new(optimizer::eliminate_cross_join::EliminateCrossJoin::new()),
        Arc::new(optimizer::propagate_empty_relation::PropagateEmptyRelation::new()),
        Arc::new(optimizer::eliminate_outer_join::EliminateOuterJoin::new()),
        Arc::new(optimizer::push_down_filter::PushDownFilter::new()),
        Arc::new(optimizer::common_subexpr_eliminate::CommonSubexprEliminate::new()),
        Arc::new(optimizer::optimize_projections::OptimizeProjections::new()),
    ]
}

/// Adds our subquery rule before DataFusion's decorrelation, and replaces the rules that we correct.
fn marking(mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let conditions = optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery::new();
    let place = rules.iter().position(|rule| rule.name() == conditions.name()).unwrap_or(0);
    rules.insert(place, Arc::new(MarkSubqueries));
    // It ignores a LATERAL's outer references to the other side, and removes that side.
    let joins = rules.iter().position(|rule| rule.name() == optimizer::eliminate_join::EliminateJoin::new().name());
    let laterals = rules.iter().position(|rule| rule.name() == LateralJoins::default().name());
    if let (Some(joins), Some(laterals)) = (joins, laterals)
        && joins < laterals
    {
        rules[joins..=laterals].rotate_left(1);
    }
    for rule in &mut rules {
        if rule.name() == EmptyArms::default().name() {
            *rule = Arc::new(EmptyArms::default());
        }
        if rule.name() == HeldFilters::default().name() {
            *rule = Arc::new(HeldFilters::default());
        }
        if rule.name() == LateralJoins::default().name() {
            *rule = Arc::new(LateralJoins::default());
        }
    }
    let common = optimizer::common_subexpr_eliminate::CommonSubexprEliminate::new();
    let place = rules.iter().position(|rule| rule.name() == common.name()).unwrap_or(rules.len());
    rules.insert(place, Arc::new(SplitWindows));
    rules.push(Arc::new(OrdersOnce));
    rules.push(Arc::new(SplitWindows));
    rules.push(Arc::new(InLists));
    rules
}

/// The emission mode of a query, from its `EMIT` clause or its `output_mode` option.
pub fn emission(emit: Option<Emit>, output_mode: Option<Emit>) -> Result<Emission> {
    if let (Some(emit), Some(mode)) = (emit, output_mode)
        && emit != mode
    {
        return Err(Error::new(ErrorKind::InvalidParameterValue, "EMIT and output_mode contradict each other")
            .hint("Leave one of them out."));
    }
    Ok(match emit.or(output_mode) {
        Some(Emit::OnWindowClose) => Emission::OnClose,
        Some(Emit::OnUpdate) | None => Emission::OnUpdate,
        Some(Emit::Complete) => Emission::Complete,
    })
}

#[derive(Debug, Clone, Copy)]
enum SchemaName {
    Public,
    System,
}

/// One schema of a catalog view, as DataFusion sees it.
#[derive(Debug)]
struct SchemaScope {
    planner: Arc<Planner>,
    world: Arc<dyn CatalogView>,
    part: SchemaName,
}

impl SchemaScope {
    fn resolve(&self, name: &str) -> Result<Option<Resolved>> {
        match self.part {
            SchemaName::Public => self.world.public(name),
            SchemaName::System => self.world.system(name),
        }
    }

    async fn provider(&self, resolved: Resolved) -> Result<Arc<dyn TableProvider>> {
        let (plan, watermark, what) = match resolved {
            Resolved::Table(table) => return Ok(table),
            Resolved::Input(table, None) => return Ok(Arc::new(table)),
            Resolved::Input(table, Some(watermark)) => {
                let what = format!("\"{}\"", table.name);
                let name = table.name.clone();
                let source = datafusion::catalog::default_table_source::provider_as_source(Arc::new(table));
                let plan = datafusion::logical_expr::LogicalPlanBuilder::scan(name, source, None)?.build()?;
                (plan, Some(watermark), what)
            }
            Resolved::Query { query, columns, watermark, what } => {
                let context = self.planner.context(&self.world);
                let plan = Planner::logical(&context, &query).await?;
                (renamed(plan, &columns, &what)?, watermark, what)
            }
        };
        let plan = match watermark {
            Some(spec) => WatermarkNode::plan(plan, spec, &what)?,
            None => plan,
        };
        Ok(Arc::new(ViewTable::new(plan, None)))
    }
}

/// A plan with its columns renamed as in `CREATE VIEW v (a, b)`.
pub fn renamed(plan: LogicalPlan, columns: &[String], what: &str) -> Result<LogicalPlan> {
    use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
    if columns.is_empty() {
        return Ok(plan);
    }
    let own = plan.schema().columns();
    if own.len() != columns.len() {
        let message = format!("{what} names {} columns, but its query has {}", columns.len(), own.len());
        return Err(Error::new(ErrorKind::InvalidTableDefinition, message));
    }
    let exprs = own.into_iter().zip(columns).map(|(column, name)| Expr::Column(column).alias(name));
    Ok(LogicalPlanBuilder::from(plan).project(exprs)?.build()?)
}

#[async_trait]
impl SchemaProvider for SchemaScope {
    fn table_names(&self) -> Vec<String> {
        match self.part {
            SchemaName::Public => self.world.public_names(),
            SchemaName::System => self.world.system_names(),
        }
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match self.resolve(name)? {
            Some(resolved) => Ok(Some(self.provider(resolved).await?)),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.resolve(name).is_ok_and(|found| found.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of DataFusion's own rules was reviewed: is it valid for a plan of one epoch's rows? A new one in an upgrade
    /// must be reviewed too, and added here or to [`rules`].
    #[test]
    fn optimizer_rules_of_datafusion_are_each_used_or_left_out() {
        let ours: Vec<String> = rules().iter().map(|rule| rule.name().to_string()).collect();
        let theirs: Vec<String> = Optimizer::new().rules.iter().map(|rule| rule.name().to_string()).collect();
        let left_out = [
            // Valid only over all rows, not over those of an epoch; or dependent on row counts.
            "single_distinct_aggregation_to_group_by",
            "push_down_limit",
            "eliminate_limit",
            "unions_to_filter",
            "eliminate_join",
            "filter_null_join_keys",
            "eliminate_group_by_constant",
            // Changes only the shape.
            "optimize_unions",
            "extract_leaf_expressions",
            "push_down_leaf_projections",
        ];
        let undecided: Vec<&String> =
            theirs.iter().filter(|rule| !ours.contains(rule) && !left_out.contains(&rule.as_str())).collect();
        assert!(undecided.is_empty(), "{undecided:?}");
        let gone: Vec<&&str> = left_out.iter().filter(|rule| !theirs.iter().any(|their| their == *rule)).collect();
        assert!(gone.is_empty(), "no longer there: {gone:?}");
    }
}
