//! Statements that only read: queries, `EXPLAIN`, `SHOW`.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use datafusion::{
    common::{ScalarValue, tree_node::TreeNodeRecursion},
    datasource::source_as_provider,
    logical_expr::LogicalPlan,
    physical_plan::{
        SendableRecordBatchStream, displayable, execute_stream, memory::MemoryStream, stream::RecordBatchStreamAdapter,
    },
    sql::sqlparser::ast,
};
use futures::StreamExt;

use super::{
    live_catalog::LiveCatalog,
    physical::physical,
    reply::Reply,
    secrets::Secrets,
    sink_plan::SinkPlan,
    statement_planner::{StatementPlanner, renamed},
    view_plan::plan_view,
};
use crate::{
    catalog::ObjectKind,
    error::{Error, ErrorKind, Result},
    pg_catalog::Listing,
    relations::Snapshot,
    session::Session,
    sql::{
        masking::masked,
        parameters,
        plan::{CatalogView, ContinuousPlan, Planner},
        statement::{Body, CreateView, Name, Show, Statement},
        table::InputTable,
        types::sql_type,
    },
};

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

/// Runs the statements that change nothing.
#[derive(Debug)]
pub struct Reader {
    catalog: Arc<LiveCatalog>,
    statements: Arc<StatementPlanner>,
    secrets: Arc<Secrets>,
    planner: Arc<Planner>,
}

impl Reader {
    pub fn new(
        catalog: Arc<LiveCatalog>,
        statements: Arc<StatementPlanner>,
        secrets: Arc<Secrets>,
        planner: Arc<Planner>,
    ) -> Self {
        Reader { catalog, statements, secrets, planner }
    }

    /// The rows of a query, as they are computed.
    pub async fn query(
        &self,
        session: &Session,
        query: &ast::Query,
        params: &[ScalarValue],
    ) -> Result<SendableRecordBatchStream> {
        let (context, plan) = self.statements.plan_query(session, query).await?;
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

    /// `EXPLAIN`: the batch plan of a query; the epoch plan of a `CREATE … VIEW` or `SINK`, without creating it.
    pub async fn explain(
        &self,
        session: &Session,
        statement: &Statement,
        params: &[ScalarValue],
        (analyze, verbose): (bool, bool),
    ) -> Result<Reply> {
        match &statement.body {
            Body::Query(query) if analyze => {
                let (context, plan) = self.statements.plan_query(session, query).await?;
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
                let (context, plan) = self.statements.plan_query(session, query).await?;
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
    pub async fn explain_relation(&self, name: &Name) -> Result<Reply> {
        let objects = self.catalog.objects();
        let object = objects.find(name)?;
        let Body::CreateView(create) = &object.statement.body else {
            return Err(Error::new(ErrorKind::WrongObjectType, format!("{} is not a standing query", object.label())));
        };
        reply("EXPLAIN", &["QUERY PLAN"], vec![self.explain_view(create, false).await?])
    }

    async fn explain_view(&self, create: &CreateView, verbose: bool) -> Result<Vec<String>> {
        let options = self.secrets.view_options(create)?;
        let snapshot = Arc::new(self.catalog.snapshot());
        let world: Arc<dyn CatalogView> = snapshot.clone();
        let standing = plan_view(&self.planner, create, &options, &world, self.planner.partitions()).await?;
        let written = match &options.sink {
            Some(sink) => SinkPlan::new(sink, &standing)?.explain(&create.name.name, &standing, &snapshot)?,
            None => Vec::new(),
        };
        Ok(epoch_plan(&standing, written, verbose))
    }

    /// `SHOW` of objects. Settings are shown by the session.
    pub fn show(&self, show: &Show) -> Result<Reply> {
        let objects = self.catalog.objects();
        match show {
            Show::Objects(kind) => {
                let mut names: Vec<String> =
                    objects.0.values().filter(|o| o.kind == *kind).map(|o| o.name.clone()).collect();
                names.sort();
                reply("SHOW", &["name"], vec![names])
            }
            Show::Secrets => reply("SHOW", &["name"], vec![self.catalog.secret_names()]),
            Show::Functions => {
                let mut routines = self.catalog.routines();
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
