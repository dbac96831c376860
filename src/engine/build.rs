//! Builds the live object of a `CREATE` statement: the same way for a new one and when it is restored at a start.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    logical_expr::{Expr, LogicalPlan},
    prelude::cast,
    sql::sqlparser::ast::SelectItem,
};

use super::{
    continuous::ContinuousQueries,
    live_catalog::LiveCatalog,
    objects::{Object, ObjectState},
    options::EngineOptions,
    recovered::RecoveredState,
    secrets::Secrets,
    snapshot::StatementSnapshot,
    tables::{self, WritableTable},
    view_options::{ViewOptions, watermark},
};
use crate::{
    catalog::ObjectKind,
    changes::OP,
    connectors::{self, BatchingPolicy, OPEN_TIMEOUT, OnError, ReadLimit, Source, SourceEnv},
    error::{Error, ErrorKind, Result},
    options::Options,
    query::QueryEnv,
    relations::Store,
    sql::{
        functions::Functions,
        literals::spell,
        names,
        nodes::{query_of, select},
        plan::{CatalogView, Planner, answer_schema, check_column_name, renamed},
        statement::{Body, ColumnDef, CreateSource, CreateTable, CreateView, Statement, WatermarkDef},
        types::column_type,
        watermark::WatermarkSpec,
    },
};

/// The Arrow columns of a column list.
pub fn columns(defs: &[ColumnDef], key: &[String]) -> Result<SchemaRef> {
    crate::sql::check_columns(defs.len())?;
    let mut fields: Vec<Field> = Vec::new();
    for def in defs {
        if fields.iter().any(|f| f.name() == &def.name) {
            let message = format!("column \"{}\" specified more than once", def.name);
            return Err(Error::new(ErrorKind::DuplicateColumn, message).at(def.position));
        }
        check_column_name(&def.name).map_err(|e| e.at(def.position))?;
        let data_type = column_type(&def.data_type).map_err(|e| e.at(def.position))?;
        fields.push(Field::new(&def.name, data_type, !(def.not_null || key.contains(&def.name))));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// If rows are deleted by key, only key columns may be NOT NULL: a delete has no others.
fn check_removable(columns: &Schema, create: &CreateSource) -> Result<()> {
    let lacking = |field: &&Arc<Field>| !field.is_nullable() && !create.key.contains(field.name());
    match columns.fields().iter().find(lacking).filter(|_| !create.key.is_empty()) {
        None => Ok(()),
        Some(field) => {
            let message = format!("column \"{}\" of source \"{}\" cannot be NOT NULL", field.name(), create.name.name);
            Err(Error::new(ErrorKind::InvalidTableDefinition, message)
                .detail("What removes a row has the columns of its key only.")
                .hint("Leave NOT NULL out, or make the column a part of the PRIMARY KEY."))
        }
    }
}

/// The schema that an upsert source emits: its columns and the operation.
fn with_op(columns: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = columns.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(OP, DataType::Int8, false)));
    Arc::new(Schema::new(fields))
}

/// Splits the options of a source into those of the engine and those of its connector.
pub fn source_options(options: &Options) -> (Options, Options) {
    options.split("watermark.")
}

/// Makes live objects of definitions. They are not in the catalog yet.
#[derive(Debug)]
pub struct ObjectBuilder {
    pub(super) catalog: Arc<LiveCatalog>,
    pub(super) secrets: Arc<Secrets>,
    pub(super) queries: Arc<ContinuousQueries>,
    pub(super) planner: Arc<Planner>,
    pub(super) env: QueryEnv,
    pub(super) options: Arc<EngineOptions>,
    /// No source is read.
    pub(super) rehearsal: bool,
}

impl ObjectBuilder {
    /// Builds the live object of a statement; loads its checkpoints and replays its log records first.
    pub async fn build(
        &self,
        id: u64,
        statement: Statement,
        recovered: RecoveredState,
        snapshot: &Arc<StatementSnapshot>,
    ) -> Result<Object> {
        match statement.body.clone() {
            Body::CreateSource(create) => {
                let (options, hidden) = self.secrets.revealed(&create.options)?;
                let create = CreateSource { options, ..create };
                self.build_source(id, statement, &create, recovered).await.map_err(|error| error.masked(&hidden))
            }
            Body::CreateTable(create) => self.build_table(id, statement, &create, recovered).await,
            Body::CreateView(create) => self.build_view(id, statement, create, recovered, snapshot).await,
            _ => Err(Error::internal("only CREATE makes an object")),
        }
    }

    async fn build_source(
        &self,
        id: u64,
        statement: Statement,
        create: &CreateSource,
        recovered: RecoveredState,
    ) -> Result<Object> {
        let name = &create.name.name;
        let (of_watermark, options) = source_options(&create.options);
        let mut taker = of_watermark.taker(format!("source \"{name}\""));
        let watermark = watermark(create.watermark.as_ref(), &mut taker)?;
        taker.finish()?;
        let declared = match (&recovered.schema, create.columns.is_empty()) {
            (Some(schema), _) => Some(schema.clone()),
            (None, true) => None,
            (None, false) => Some(columns(&create.columns, &create.key)?),
        };
        if recovered.schema.is_none()
            && let Some(declared) = &declared
        {
            check_removable(declared, create)?;
        }
        let declared = if create.key.is_empty() { declared } else { declared.map(|columns| with_op(&columns)) };
        let (storage, clock, begins) = (self.env.storage.clone(), self.env.clock.clone(), recovered.begins.clone());
        let (fence, rehearsal) = (self.options.fence.clone(), self.rehearsal);
        let env = SourceEnv { storage, clock, begins, fence, rehearsal };
        let opened = connectors::open(id, name, declared, &options, &env);
        let source =
            connectors::within(self.options.open_timeout, OPEN_TIMEOUT, &format!("source \"{name}\""), opened).await?;
        self.env.dead_letters.restore_marks(name, &source.marks());
        let limit = connectors::read_limit(&options)?;
        let limit = ReadLimit {
            rows: limit.rows.or(Some(self.options.epoch_rows_max)),
            bytes: limit.bytes.or(Some(self.options.epoch_bytes_max)),
            ..limit
        };
        let schema = source.schema();
        let shown: Vec<_> =
            schema.fields().iter().filter(|f| create.key.is_empty() || f.name() != OP).cloned().collect();
        let schema = Arc::new(Schema::new(shown));
        schema.fields().iter().try_for_each(|field| check_column_name(field.name()))?;
        check_watermark(watermark.as_ref(), &schema, create.watermark.as_ref(), &format!("source \"{name}\""))?;
        Ok(Object {
            id,
            name: name.clone(),
            kind: ObjectKind::Source,
            schema,
            depends: Vec::new(),
            watermark,
            readers: recovered.readers,
            what: ObjectState::Source {
                source,
                on_error: OnError::of(&options)?,
                limit,
                batching: BatchingPolicy::of(&options)?,
                fixed: create.fixed,
                key: create.key.clone().into(),
            },
            statement,
        })
    }

    async fn build_table(
        &self,
        id: u64,
        statement: Statement,
        create: &CreateTable,
        recovered: RecoveredState,
    ) -> Result<Object> {
        let name = &create.name.name;
        let what = format!("table \"{name}\"");
        let mut taker = create.options.taker(what.clone());
        let watermark = watermark(create.watermark.as_ref(), &mut taker)?;
        taker.finish()?;
        let columns = match recovered.schema {
            Some(schema) => schema,
            None => columns(&create.columns, &create.primary_key)?,
        };
        check_watermark(watermark.as_ref(), &columns, create.watermark.as_ref(), &what)?;
        let mut key = Vec::new();
        for column in &create.primary_key {
            let index = columns.index_of(column).map_err(|_| {
                Error::new(ErrorKind::UndefinedColumn, format!("column \"{column}\" named in key does not exist"))
            })?;
            key.push(index);
        }
        let mut relation = tables::relation(&columns, &key, create.append_only)?;
        let thresholds = &self.env.thresholds;
        relation.limit_changelog(&self.env.changelog);
        relation.set_thresholds(thresholds.unsaved_rows_min, thresholds.compaction);
        let store = Store::new(self.env.storage.clone(), id);
        if store.keeps_history()? {
            relation.keep_history();
        }
        recovered.followed.into_iter().for_each(|from| relation.follow(from));
        let followed = relation.follows_from();
        let share = self.env.budget.share(&what);
        store.load(&mut relation, None, followed, &|bytes| share.load(bytes))?;
        let shared = self.catalog.shared_relation(id, name, relation);
        let defaults = self.defaults(create, &columns).await?;
        let log = self.env.log.clone();
        let table = WritableTable::new(shared, columns.clone(), key, create.append_only, store, log, share);
        let table = table.with_records_of(self.options.record_bytes_max);
        let written = |def: &ColumnDef| Some((def.name.clone(), def.default.clone()?));
        let table = table.with_defaults(defaults, create.columns.iter().filter_map(written).collect());
        table.redo_all(&recovered.rows)?;
        table.shared.publish();
        table.hold();
        Ok(Object {
            id,
            name: name.clone(),
            kind: ObjectKind::Table,
            schema: columns,
            depends: Vec::new(),
            watermark,
            readers: recovered.readers,
            what: ObjectState::Table(Arc::new(table)),
            statement,
        })
    }

    /// The column defaults of a table, as expressions cast to the column types.
    async fn defaults(&self, create: &CreateTable, columns: &SchemaRef) -> Result<HashMap<String, Expr>> {
        let mut defaults = HashMap::new();
        for (def, field) in create.columns.iter().zip(columns.fields()) {
            let Some(mut default) = def.default.clone() else { continue };
            spell(&mut default, field.data_type())?;
            let query = query_of(select(vec![SelectItem::UnnamedExpr(default.clone())], None));
            let state = self.planner.with(&Functions::default());
            let context = datafusion::prelude::SessionContext::new_with_state(state);
            let plan = Planner::logical(&context, &query).await?;
            let LogicalPlan::Projection(projection) = plan else {
                return Err(Error::unsupported(format!("DEFAULT {default}")).at(def.position));
            };
            if let Some(expr) = projection.expr.into_iter().next() {
                defaults.insert(def.name.clone(), cast(expr.unalias(), field.data_type().clone()));
            }
        }
        Ok(defaults)
    }

    async fn build_view(
        &self,
        id: u64,
        statement: Statement,
        create: CreateView,
        recovered: RecoveredState,
        snapshot: &Arc<StatementSnapshot>,
    ) -> Result<Object> {
        let options = self.secrets.view_options(&create)?;
        let depends = depends(&create, snapshot)?;
        let label = format!("{} \"{}\"", create.kind, create.name.name);
        let query = Arc::new(crate::sql::naming::named(&create.query));
        let snapshot: Arc<dyn CatalogView> = snapshot.clone();
        let context = self.planner.context(&snapshot);
        let logical = renamed(Planner::logical(&context, &query).await?, &create.columns, &label)?;
        let answer = answer_schema(logical.schema().inner())?;
        check_watermark(options.watermark.as_ref(), &answer, create.watermark.as_ref(), &label)?;
        let readers = recovered.readers.clone();
        let (schema, what) =
            if create.kind == ObjectKind::View || self.is_computed(&create, &options, &snapshot).await? {
                (answer, ObjectState::Query { query: query.clone(), columns: create.columns.clone() })
            } else {
                self.queries.start(id, &create, &options, recovered, &snapshot).await?
            };
        let (name, kind) = (create.name.name.clone(), create.kind);
        Ok(Object { id, name, kind, schema, depends, watermark: options.watermark, readers, what, statement })
    }

    /// Whether a stream is stateless, so that it is computed in each reader's plan.
    async fn is_computed(
        &self,
        create: &CreateView,
        options: &ViewOptions,
        snapshot: &Arc<dyn CatalogView>,
    ) -> Result<bool> {
        if create.kind != ObjectKind::Stream {
            return Ok(false);
        }
        let standing = self.queries.plan(create, options, snapshot, None).await?;
        let mut operators = 0;
        standing.epoch_context.each_operator(|_, _| {
            operators += 1;
            Ok(())
        })?;
        Ok(operators == 0)
    }
}

/// The ids of a view's inputs; fails on an undefined name.
fn depends(create: &CreateView, snapshot: &StatementSnapshot) -> Result<Vec<u64>> {
    let names = names::relations(&create.query);
    let public = names.iter().filter(|name| name.schema.as_deref().is_none_or(|schema| schema == "public"));
    let mut depends = public.map(|name| Ok(snapshot.objects.find(name)?.id)).collect::<Result<Vec<_>>>()?;
    depends.sort_unstable();
    depends.dedup();
    Ok(depends)
}

/// Fails unless the watermark column exists and is a timestamp or date.
fn check_watermark(
    spec: Option<&WatermarkSpec>,
    schema: &SchemaRef,
    def: Option<&WatermarkDef>,
    what: &str,
) -> Result<()> {
    let Some(spec) = spec else { return Ok(()) };
    let at = def.map_or(0, |def| def.position);
    let column = &spec.column;
    let error = match schema.field_with_name(column) {
        Err(_) => {
            let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
            let error = Error::new(
                ErrorKind::UndefinedColumn,
                format!("column \"{column}\" of the watermark of {what} does not exist"),
            );
            match crate::options::nearest(column, &names) {
                Some(near) => error.hint(format!("Perhaps you meant \"{near}\".")),
                None => error.hint(format!("Its columns are: {}.", names.join(", "))),
            }
        }
        Ok(field) if !crate::time::is_event_time(field.data_type()) => Error::new(
            ErrorKind::DatatypeMismatch,
            format!(
                "the watermark of {what} needs a timestamp, but column \"{column}\" is {}",
                crate::sql::types::sql_type(field.data_type())
            ),
        )
        .hint("Declare the column as TIMESTAMP."),
        Ok(_) => return Ok(()),
    };
    Err(if at > 0 { error.at(at) } else { error })
}
