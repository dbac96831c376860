//! Statements that only read: queries, `EXPLAIN`, `SHOW`.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::{ScalarValue, tree_node::TreeNodeRecursion},
    datasource::source_as_provider,
    error::Result as DfResult,
    execution::{SessionState, SessionStateBuilder},
    logical_expr::LogicalPlan,
    physical_plan::{
        SendableRecordBatchStream, displayable, execute_stream, memory::MemoryStream, stream::RecordBatchStreamAdapter,
    },
    prelude::SessionContext,
    sql::sqlparser::ast,
};
use futures::StreamExt;

use super::{Description, Engine, Reply, position::placed, sink_plan::SinkPlan};
use crate::{
    catalog::ObjectKind,
    error::{Error, ErrorKind, Result},
    exec::{self, Aside, Plan},
    relations::Snapshot,
    session::Session,
    sql::{
        batch_rows::batch_rows,
        masking::masked,
        naming, parameters,
        plan::{CatalogView, ContinuousPlan, Planner, of_optimizer},
        statement::{Body, CreateView, Name, Show, Statement},
        table::InputTable,
        types::sql_type,
    },
};

/// The physical plan of a query.
pub(super) async fn physical(context: &SessionContext, plan: LogicalPlan) -> Result<Plan> {
    // On the heap: the state of a session is large.
    let planning = Box::pin(async {
        let mut state = context.state();
        let optimized = state.optimize(&plan)?;
        let most = state.config().batch_size();
        let rows = batch_rows(&optimized, most)?;
        *state.config_mut() = state.config().clone().with_batch_size(rows);
        let planned = match state.query_planner().create_physical_plan(&optimized, &state).await {
            // Optimizer rules may contradict each other: planned again with the fewest rules. If that fails too, this
            // error counts.
            Err(error) => {
                tracing::debug!(%error, "a query is planned plainly");
                Box::pin(plainly(state, &optimized)).await.map_err(|_| error)
            }
            planned => planned,
        };
        planned.map(|plan| if rows < most { exec::in_batches(plan, rows) } else { plan })
    });
    let aside = Aside::of(&context.copied_config());
    exec::planned(aside, &plan, planning).await.map_err(of_optimizer)
}

/// Plans a query with the fewest rules and one partition: slower, but without what the other rules assume.
async fn plainly(state: SessionState, plan: &LogicalPlan) -> DfResult<Plan> {
    let config = state.config().clone().with_target_partitions(1);
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_physical_optimizer_rules(exec::fewest_query_rules())
        .build();
    state.query_planner().create_physical_plan(plan, &state).await
}

/// The snapshots that a query reads. While held, their memory counts as the relations'.
fn snapshots(plan: &LogicalPlan) -> Result<Vec<Arc<Snapshot>>> {
    let mut found = Vec::new();
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan {
            let provider = source_as_provider(&scan.source)?;
            found.extend(InputTable::of(provider.as_ref()).and_then(|table| table.snapshot.clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

impl Engine {
    /// A session context over all objects, including `pg_catalog`.
    pub(super) fn context(&self, session: &Session) -> Result<SessionContext> {
        let snapshot: Arc<dyn CatalogView> = Arc::new(self.statement_snapshot());
        let state = self.planner.context(&snapshot).state();
        let config = state.config().clone().with_extension(self.aside.clone());
        let state = SessionStateBuilder::new_from_existing(state).with_config(config);
        let state = state.with_physical_optimizer_rules(exec::query_rules()).build();
        let context = SessionContext::new_with_state(state);
        self.register_pg_catalog(&context, session)?;
        Ok(context)
    }

    /// The logical plan of a query against the present catalog, with unbound parameters.
    async fn plan_query(&self, session: &Session, query: &ast::Query) -> Result<(SessionContext, LogicalPlan)> {
        let context = self.context(session)?;
        let plan = Planner::logical(&context, &naming::with_unique_names(&naming::named(&compatible(query)))).await?;
        Ok((context, plan))
    }

    pub(super) async fn columns_of(&self, query: &ast::Query) -> Result<SchemaRef> {
        let (_, plan) = self.plan_query(&Session::default(), query).await?;
        Ok(renamed(plan.schema().inner(), query))
    }

    pub(super) async fn query(
        &self,
        session: &Session,
        query: &ast::Query,
        params: &[ScalarValue],
    ) -> Result<SendableRecordBatchStream> {
        let (context, plan) = self.plan_query(session, query).await?;
        let plan = parameters::bind(plan, params)?;
        let schema = renamed(plan.schema().inner(), query);
        let snapshots = snapshots(&plan)?;
        let rows = execute_stream(physical(&context, plan).await?, context.task_ctx())?;
        let to = schema.clone();
        let rows = rows.map(move |batch| {
            let (_read, batch) = (&snapshots, batch?);
            let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            // The optimizer may change a column's precision: cast to what was described to the client.
            let columns = batch.columns().iter().zip(to.fields());
            let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()));
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(RecordBatch::try_new_with_options(to.clone(), columns, &options)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    /// The parameters and columns of a statement. `types` are those the client declared; `None` is inferred.
    pub async fn describe(
        &self,
        session: &Session,
        statement: &Statement,
        types: &[Option<DataType>],
    ) -> Result<Description> {
        self.described(session, statement, types).await.map_err(|error| placed(error, statement))
    }

    async fn described(
        &self,
        session: &Session,
        statement: &Statement,
        types: &[Option<DataType>],
    ) -> Result<Description> {
        let text = |names: &[&str]| {
            let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
            Some(Arc::new(Schema::new(fields)))
        };
        let none = |columns| Ok(Description { parameters: Vec::new(), columns });
        match &statement.body {
            Body::Query(query) => {
                let (_, plan) = self.plan_query(session, query).await?;
                let parameters = parameters::types(statement, &plan, types)?;
                let parameters = crate::pg_catalog::typed_parameters(parameters, query);
                // A column that is a parameter has the client's type.
                let nulls = parameters.iter().map(ScalarValue::try_from).collect::<Result<Vec<_>, _>>()?;
                let plan = if nulls.is_empty() { plan } else { parameters::bind(plan, &nulls)? };
                let columns = Some(renamed(plan.schema().inner(), query));
                Ok(Description { parameters, columns })
            }
            Body::Insert(_) | Body::Update(_) | Body::Delete(_) => {
                let plan = self.plan_write(session, self.written(&statement.body)?).await?;
                Ok(Description { parameters: parameters::types(statement, &plan, types)?, columns: None })
            }
            Body::Explain { statement, .. } => {
                let inner = Box::pin(self.described(session, statement, types)).await?;
                Ok(Description { columns: text(&["QUERY PLAN"]), ..inner })
            }
            Body::Subscribe(subscribe) => none(Some(self.subscribe_columns(subscribe)?)),
            Body::ExplainRelation(_) => none(text(&["QUERY PLAN"])),
            Body::Show(Show::Objects(_) | Show::Secrets) => none(text(&["name"])),
            Body::Show(Show::Create(..) | Show::Functions) => none(text(&["name", "create_statement"])),
            Body::Show(Show::Columns(_)) => none(text(&["column", "type"])),
            _ => none(None),
        }
    }

    async fn plan_write(&self, session: &Session, statement: ast::Statement) -> Result<LogicalPlan> {
        Planner::plan(&self.context(session)?, statement).await
    }

    /// `EXPLAIN`: the batch plan of a query; the epoch plan of a `CREATE … VIEW` or `SINK`, without creating it.
    pub(super) async fn explain(
        &self,
        session: &Session,
        statement: &Statement,
        params: &[ScalarValue],
        (analyze, verbose): (bool, bool),
    ) -> Result<Reply> {
        match &statement.body {
            Body::Query(query) if analyze => {
                let (context, plan) = self.plan_query(session, query).await?;
                let plan = parameters::bind(plan, params)?;
                let plan = physical(&context, plan).await?;
                let started = tokio::time::Instant::now();
                let batches = datafusion::physical_plan::collect(plan.clone(), context.task_ctx()).await?;
                let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
                let mut lines = lines_of(
                    &datafusion::physical_plan::display::DisplayableExecutionPlan::with_metrics(plan.as_ref())
                        .indent(verbose)
                        .to_string(),
                );
                lines.push(format!("Rows: {rows}"));
                lines.push(format!("Execution Time: {:.3} ms", started.elapsed().as_secs_f64() * 1e3));
                reply("EXPLAIN", &["QUERY PLAN"], vec![lines])
            }
            Body::Query(query) => {
                let (context, plan) = self.plan_query(session, query).await?;
                let plan = parameters::bind(plan, params)?;
                let plan = physical(&context, plan).await?;
                reply(
                    "EXPLAIN",
                    &["QUERY PLAN"],
                    vec![lines_of(&displayable(plan.as_ref()).indent(verbose).to_string())],
                )
            }
            Body::CreateView(create) if create.kind != ObjectKind::View => {
                reply("EXPLAIN", &["QUERY PLAN"], vec![self.explain_view(create, verbose).await?])
            }
            _ => Err(Error::unsupported("EXPLAIN of this statement")
                .hint("It explains SELECT, CREATE MATERIALIZED VIEW and CREATE SINK.")),
        }
    }

    /// `EXPLAIN MATERIALIZED VIEW v`
    pub(super) async fn explain_relation(&self, name: &Name) -> Result<Reply> {
        let objects = self.objects();
        let object = objects.find(name)?;
        let Body::CreateView(create) = &object.statement.body else {
            return Err(Error::new(ErrorKind::WrongObjectType, format!("{} is not a standing query", object.label())));
        };
        reply("EXPLAIN", &["QUERY PLAN"], vec![self.explain_view(create, false).await?])
    }

    async fn explain_view(&self, create: &CreateView, verbose: bool) -> Result<Vec<String>> {
        let options = self.view_options(create)?;
        let snapshot = Arc::new(self.statement_snapshot());
        let world: Arc<dyn CatalogView> = snapshot.clone();
        let standing = self.plan_view(create, &options, &world, self.planner.partitions()).await?;
        let written = match &options.sink {
            Some(sink) => SinkPlan::new(sink, &standing)?.explain(&create.name.name, &standing, &snapshot)?,
            None => Vec::new(),
        };
        Ok(epoch_plan(&standing, written, verbose))
    }

    /// `SHOW` of objects. Settings are shown by the session.
    pub(super) fn show(&self, show: &Show) -> Result<Reply> {
        let objects = self.objects();
        match show {
            Show::Objects(kind) => {
                let mut names: Vec<String> =
                    objects.0.values().filter(|o| o.kind == *kind).map(|o| o.name.clone()).collect();
                names.sort();
                reply("SHOW", &["name"], vec![names])
            }
            Show::Secrets => reply("SHOW", &["name"], vec![self.secret_names()]),
            Show::Functions => {
                let mut routines = self.routines();
                routines.sort_by(|a, b| a.name.cmp(&b.name));
                let (names, texts) = routines.into_iter().map(|r| (r.name, r.definition)).unzip();
                reply("SHOW", &["name", "create_statement"], vec![names, texts])
            }
            Show::Create(kind, name) => {
                let object = objects.find(name)?;
                if let Some(kind) = kind.filter(|kind| *kind != object.kind) {
                    return Err(Error::new(ErrorKind::WrongObjectType, format!("\"{}\" is not a {kind}", object.name))
                        .hint(format!("It is a {}.", object.kind)));
                }
                let (name, text) = (object.name.clone(), masked(&object.statement.text));
                reply("SHOW", &["name", "create_statement"], vec![vec![name], vec![text]])
            }
            Show::Columns(name) => {
                let object = objects.find(name)?;
                let (names, types) =
                    object.schema.fields().iter().map(|f| (f.name().clone(), sql_type(f.data_type()))).unzip();
                reply("SHOW", &["column", "type"], vec![names, types])
            }
            Show::Setting(_) | Show::AllSettings => Err(Error::internal("settings belong to the session")),
        }
    }
}

/// Rewrites Postgres syntax that DataFusion does not know.
fn compatible(query: &ast::Query) -> ast::Query {
    let mut query = query.clone();
    crate::pg_catalog::rewrite(&mut query);
    query
}

/// The columns of a query, named as in Postgres.
fn renamed(schema: &SchemaRef, query: &ast::Query) -> SchemaRef {
    let schema = &crate::pg_catalog::typed(schema, query);
    let Some(names) = naming::names(query).filter(|names| names.len() == schema.fields().len()) else {
        let together = |field: &Arc<Field>| field.as_ref().clone().with_name(naming::original_name(field.name()));
        return Arc::new(Schema::new(schema.fields().iter().map(together).collect::<Vec<_>>()));
    };
    let fields: Vec<Field> =
        schema.fields().iter().zip(names).map(|(field, name)| field.as_ref().clone().with_name(name)).collect();
    Arc::new(Schema::new(fields))
}

fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(ToString::to_string).collect()
}

/// The text of a standing query's plan: its state, keys and expiry, and the plan of an epoch.
fn epoch_plan(standing: &ContinuousPlan, written: Vec<String>, verbose: bool) -> Vec<String> {
    use crate::operators::Emission;
    let emits = match standing.emission {
        Emission::OnClose => "on window close: each row once, when the watermark makes it final (append)",
        Emission::OnUpdate => "on update: each row whenever it changes (update)",
        Emission::Complete => "complete: the whole answer, nothing forgotten (complete)",
    };
    let mut lines = vec![format!("Emits {emits}")];
    lines.push(match standing.rewritten.diff {
        true => "Changes: rows come and go".to_string(),
        false => "Changes: rows only come".to_string(),
    });
    for input in &standing.rewritten.inputs {
        let columns = input.projection.as_ref().map_or("all columns".to_string(), |p| format!("{} columns", p.len()));
        lines.push(format!("Reads \"{}\": {columns}", input.table.name));
    }
    for mark in standing.rewritten.watermarks.iter().map(|mark| &mark.spec) {
        lines.push(format!("Watermark: {} - {} s", mark.column, mark.delay_us as f64 / 1e6));
    }
    match standing.rewritten.remembers.is_empty() {
        true => lines.push("Remembers: nothing; each row appears in the epoch that reads it".to_string()),
        false => lines.extend(standing.rewritten.remembers.iter().map(|line| format!("Remembers: {line}"))),
    }
    lines.extend(written);
    lines.push("Epoch plan:".to_string());
    let plan = displayable(standing.plan.as_ref()).indent(verbose).to_string();
    lines.extend(plan.lines().map(|line| format!("  {line}")));
    lines
}

/// Rows of text.
fn reply(tag: &'static str, names: &[&str], columns: Vec<Vec<String>>) -> Result<Reply> {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let columns = columns.into_iter().map(|c| Arc::new(StringArray::from(c)) as arrow::array::ArrayRef).collect();
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    Ok(Reply::Rows { tag, rows: Box::pin(MemoryStream::try_new(vec![batch], schema, None)?) })
}
