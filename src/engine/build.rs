//! From a statement to the live thing that it defines: the same way for a new one and, at the start, for an old one.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::{
    logical_expr::{Expr, LogicalPlan},
    prelude::cast,
};
use futures::FutureExt;

use super::{
    Engine,
    literals::spell,
    objects::{Object, Scene, What},
    sinks::{Feed, identity_of},
    tables::{self, Table},
};
use crate::{
    catalog::Kind,
    changes::OP,
    checkpoint::{Commit, Intent},
    connectors::{self, OnError, Patience, ReadLimit, Readers, SinkOptions, Source, SourceEnv},
    error::{Error, Kind as ErrorKind, Result},
    options::{Options, Taker},
    query::{Outlet, Progress, Remake, Setup, Trigger, Worker, panicked, start},
    relations::{Relation, Shared, Store},
    sql::{
        names,
        plan::{Planner, Standing, World, answer_schema, check_column_name, emission, renamed},
        statement::{Body, ColumnDef, CreateSource, CreateTable, CreateView, Emit, Statement, WatermarkDef},
        types::column_type,
        watermark::WatermarkSpec,
    },
    time::Epoch,
};

/// What the log still holds of one object.
#[derive(Debug, Default)]
pub struct Past {
    pub intents: Vec<Intent>,
    pub commits: Vec<Commit>,
    pub rows: Vec<(Epoch, Bytes)>,
    /// The columns that were fixed when the object was made.
    pub schema: Option<SchemaRef>,
    pub paused: bool,
    /// The changelog is needed from here, by somebody who was reading it.
    pub followed: Option<Epoch>,
    pub readers: Arc<Readers>,
}

/// How a standing query is to run: the options of its statement.
#[derive(Debug, Clone)]
pub struct ViewOptions {
    pub trigger: Trigger,
    pub checkpoint_interval: Option<Duration>,
    pub target_epoch: Option<Duration>,
    pub output_mode: Option<Emit>,
    pub watermark: Option<WatermarkSpec>,
    /// Of a sink.
    pub sink: Option<SinkOptions>,
}

/// The options of a sink that are its query's, whatever its connector.
const OF_A_QUERY: [&str; 3] = ["trigger", "checkpoint_interval", "target_epoch"];

impl ViewOptions {
    pub fn take(create: &CreateView) -> Result<Self> {
        let name = &create.name.name;
        if create.kind != Kind::Sink {
            return Self::take_own(create, &create.options);
        }
        let (own, outside) =
            create.options.0.clone().into_iter().partition(|(key, _)| OF_A_QUERY.contains(&key.as_str()));
        let mut options = Self::take_own(create, &Options(own))?;
        let sink = SinkOptions::take(name, &Options(outside))?;
        if sink.is_whole() {
            if create.emit.is_some_and(|emit| emit != Emit::Complete) {
                let message = "type = 'complete' and EMIT contradict each other";
                return Err(Error::new(ErrorKind::InvalidParameterValue, message).hint("Leave one of them out."));
            }
            options.output_mode = Some(Emit::Complete);
        }
        Ok(ViewOptions { sink: Some(sink), ..options })
    }

    fn take_own(create: &CreateView, options: &Options) -> Result<Self> {
        let mut taker = options.taker(format!("{} \"{}\"", create.kind, create.name.name));
        let trigger = match taker.text("trigger") {
            None => Trigger::default(),
            Some(text) => Trigger::parse(&text).ok_or_else(|| {
                Error::new(ErrorKind::InvalidParameterValue, format!("option \"trigger\" cannot be '{text}'"))
                    .hint("Use 'asap', an interval such as '500 ms', 'once' or 'available_now'.")
            })?,
        };
        let output_mode = taker.one_of(
            "output_mode",
            &[("append", Emit::OnWindowClose), ("update", Emit::OnUpdate), ("complete", Emit::Complete)],
        )?;
        let checkpoint_interval = taker.duration("checkpoint_interval")?;
        let target_epoch = taker.duration("target_epoch")?;
        let watermark = watermark(create.watermark.as_ref(), &mut taker)?;
        taker.finish()?;
        Ok(ViewOptions { trigger, checkpoint_interval, target_epoch, output_mode, watermark, sink: None })
    }

    /// How long an epoch is to take: at least as long as it may be till the next one. A single one takes what it gets.
    fn epoch_target(&self, default: Duration) -> Option<Duration> {
        let target = self.target_epoch.unwrap_or(default);
        match self.trigger {
            Trigger::Once => None,
            Trigger::Interval(interval) if !target.is_zero() => Some(target.max(interval)),
            _ => Some(target),
        }
    }
}

/// The watermark of a statement, with the options that belong to it.
pub fn watermark(def: Option<&WatermarkDef>, taker: &mut Taker) -> Result<Option<WatermarkSpec>> {
    let idle_timeout = taker.duration("watermark.idle_timeout")?;
    let ahead = taker.duration("watermark.max_ahead")?;
    let Some(def) = def else {
        return match idle_timeout.is_some() || ahead.is_some() {
            true => {
                Err(Error::new(ErrorKind::InvalidParameterValue, "there is no watermark for the watermark options")
                    .hint("Add WATERMARK FOR column AS column - INTERVAL '…'."))
            }
            false => Ok(None),
        };
    };
    let ahead_us_max = ahead.map(|ahead| ahead.as_micros() as i64);
    Ok(Some(WatermarkSpec { column: def.column.clone(), delay_us: def.delay_us, ahead_us_max, idle_timeout }))
}

/// The Arrow columns of a column list.
pub fn columns(defs: &[ColumnDef], key: &[String]) -> Result<SchemaRef> {
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

/// Where rows are removed by key, only the key's columns are always there.
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

/// What a source gives whose rows are set and removed by key: its columns, and what is to be done with a row.
fn with_op(columns: &Schema) -> SchemaRef {
    let mut fields: Vec<_> = columns.fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new(OP, DataType::Int8, false)));
    Arc::new(Schema::new(fields))
}

/// The options that are the connector's, once the engine has taken its own.
pub fn connector_options(options: &Options) -> Options {
    Options(
        options
            .0
            .iter()
            .filter(|(key, _)| !key.starts_with("watermark."))
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    )
}

impl Engine {
    /// Makes the live object of a statement. What `past` says of it is loaded and run again first.
    pub(super) async fn build(self: &Arc<Self>, id: u64, statement: Statement, past: Past) -> Result<Object> {
        match statement.body.clone() {
            Body::CreateSource(create) => {
                let (options, hidden) = self.revealed(&create.options)?;
                let create = CreateSource { options, ..create };
                self.build_source(id, statement, &create, past).await.map_err(|error| error.masked(&hidden))
            }
            Body::CreateTable(create) => self.build_table(id, statement, &create, past).await,
            Body::CreateView(create) => self.build_view(id, statement, create, past).await,
            _ => Err(Error::internal("only CREATE makes an object")),
        }
    }

    async fn build_source(&self, id: u64, statement: Statement, create: &CreateSource, past: Past) -> Result<Object> {
        let name = &create.name.name;
        let mut taker = Options(
            create
                .options
                .0
                .iter()
                .filter(|(k, _)| k.starts_with("watermark."))
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        )
        .taker(format!("source \"{name}\""));
        let watermark = watermark(create.watermark.as_ref(), &mut taker)?;
        taker.finish()?;
        let declared = match (&past.schema, create.columns.is_empty()) {
            (Some(schema), _) => Some(schema.clone()),
            (None, true) => None,
            (None, false) => Some(columns(&create.columns, &create.key)?),
        };
        let options = connector_options(&create.options);
        if past.schema.is_none()
            && let Some(declared) = &declared
        {
            check_removable(declared, create)?;
        }
        let declared = if create.key.is_empty() { declared } else { declared.map(|columns| with_op(&columns)) };
        let env = SourceEnv { storage: self.env.storage.clone(), clock: self.env.clock.clone() };
        let source = connectors::open(id, name, declared, &options, &env).await?;
        self.env.letters.mark(name, &source.marks());
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
            kind: Kind::Source,
            schema,
            depends: Vec::new(),
            watermark,
            readers: past.readers,
            what: What::Source {
                source,
                on_error: OnError::of(&options)?,
                limit,
                patience: Patience::of(&options)?,
                fixed: create.fixed,
                key: create.key.clone().into(),
            },
            statement,
        })
    }

    async fn build_table(&self, id: u64, statement: Statement, create: &CreateTable, past: Past) -> Result<Object> {
        let name = &create.name.name;
        let what = format!("table \"{name}\"");
        let mut taker = create.options.taker(what.clone());
        let watermark = watermark(create.watermark.as_ref(), &mut taker)?;
        taker.finish()?;
        let columns = match past.schema {
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
        relation.limit_changelog(self.options.changelog_rows_max);
        let store = Store::new(self.env.storage.clone(), id);
        store.load(&mut relation, None, past.followed)?;
        let shared = Shared::new(id, name, relation, self.moment.clone());
        let defaults = self.defaults(create, &columns).await?;
        let log = self.env.log.clone();
        let share = self.env.budget.share(&what);
        let table = Table::new(shared, columns.clone(), key, create.append_only, store, log, share);
        let written = |def: &ColumnDef| Some((def.name.clone(), def.default.clone()?));
        let table = table.with_defaults(defaults, create.columns.iter().filter_map(written).collect());
        past.rows.iter().try_for_each(|(epoch, bytes)| table.redo(*epoch, bytes))?;
        table.shared.publish();
        table.hold();
        Ok(Object {
            id,
            name: name.clone(),
            kind: Kind::Table,
            schema: columns,
            depends: Vec::new(),
            watermark,
            readers: past.readers,
            what: What::Table(Arc::new(table)),
            statement,
        })
    }

    /// The defaults of a table's columns, as expressions of the columns' types.
    async fn defaults(&self, create: &CreateTable, columns: &SchemaRef) -> Result<HashMap<String, Expr>> {
        let mut defaults = HashMap::new();
        for (def, field) in create.columns.iter().zip(columns.fields()) {
            let Some(mut default) = def.default.clone() else { continue };
            spell(&mut default, field.data_type())?;
            let mut parsed = crate::sql::parse(&format!("SELECT {default}")).map_err(|e| e.at(def.position))?;
            let Some(Body::Query(query)) = parsed.pop().map(|statement| statement.body) else { continue };
            let context = datafusion::prelude::SessionContext::new();
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
        self: &Arc<Self>,
        id: u64,
        statement: Statement,
        create: CreateView,
        past: Past,
    ) -> Result<Object> {
        let options = self.view_options(&create)?;
        let depends = self.depends(&create)?;
        let label = format!("{} \"{}\"", create.kind, create.name.name);
        let query = Arc::new(crate::sql::naming::named(&create.query));
        let scene: Arc<dyn World> = Arc::new(self.scene());
        let context = self.planner.context(&scene);
        let logical = renamed(Planner::logical(&context, &query).await?, &create.columns, &label)?;
        let answer = answer_schema(logical.schema().inner())?;
        check_watermark(options.watermark.as_ref(), &answer, create.watermark.as_ref(), &label)?;
        let (schema, what) = if create.kind == Kind::View || self.is_computed(&create, &options, &scene).await? {
            (answer, What::Query { query: query.clone(), columns: create.columns.clone() })
        } else {
            self.stand(id, &create, &options, &past).await?
        };
        let (name, kind, readers) = (create.name.name.clone(), create.kind, past.readers);
        Ok(Object { id, name, kind, schema, depends, watermark: options.watermark, readers, what, statement })
    }

    /// Whether a stream keeps no state, so that it is computed wherever it is read.
    async fn is_computed(&self, create: &CreateView, options: &ViewOptions, scene: &Arc<dyn World>) -> Result<bool> {
        if create.kind != Kind::Stream {
            return Ok(false);
        }
        let standing = self.plan_view(create, options, scene, self.planner.partitions()).await?;
        let mut operators = 0;
        standing.cell.each_operator(|_, _| {
            operators += 1;
            Ok(())
        })?;
        Ok(operators == 0)
    }

    /// Plans the standing query of a view.
    pub(super) async fn plan_view(
        &self,
        create: &CreateView,
        options: &ViewOptions,
        scene: &Arc<dyn World>,
        partitions: usize,
    ) -> Result<Standing> {
        let query = crate::sql::naming::named(&create.query);
        let context = self.planner.context(scene);
        let emission = emission(create.emit, options.output_mode)?;
        let label = format!("{} \"{}\"", create.kind, create.name.name);
        self.planner.standing(&context, &query, emission, partitions, &create.columns, &label).await
    }

    /// Recovers a standing query and starts its loop.
    async fn stand(
        self: &Arc<Self>,
        id: u64,
        create: &CreateView,
        options: &ViewOptions,
        past: &Past,
    ) -> Result<(SchemaRef, What)> {
        let scene: Arc<dyn World> = Arc::new(self.scene());
        // Epochs of a time with more cores are run again as they were.
        let partitions = past.intents.iter().map(|intent| intent.partitions).max();
        let partitions = partitions.unwrap_or(1).max(self.planner.partitions());
        let standing = self.plan_view(create, options, &scene, partitions).await?;
        let feed = options.sink.as_ref().map(|sink| Feed::new(sink, &standing)).transpose()?;
        let identity = feed.as_ref().map_or_else(|| identity_of(&standing), |feed| feed.identity(&standing));
        let schema = standing.schema.clone();
        let inputs: Vec<u64> = standing.rewritten.inputs.iter().map(|input| input.table.id).collect();
        let mut relation = Relation::new(schema.clone(), identity)?.of_a_query();
        past.followed.into_iter().for_each(|from| relation.follow(from));
        let recipe = Recipe {
            id,
            create: create.clone(),
            options: options.clone(),
            partitions,
            shared: Shared::new(id, &create.name.name, relation, self.moment.clone()),
            progress: Arc::new(Mutex::new(Progress::new())),
            checkpoint_interval: options.checkpoint_interval.unwrap_or(self.options.checkpoint_interval),
            epoch_target: options.epoch_target(self.options.epoch_target),
            feed,
        };
        let is_new = past.schema.is_none();
        let mut outlet = recipe.outlet(self)?;
        if let Some(outlet) = outlet.as_mut().filter(|_| is_new) {
            // Who creates a sink is told when there is nothing to write to; later it is waited for.
            outlet.open().await?;
        }
        // A new one waits until it is durable that it is there: what it writes cannot be taken back.
        let paused = past.paused || (is_new && outlet.is_some());
        let mut worker = recipe.worker(self, standing, outlet);
        // As in its loop, a panic is the query's own.
        let recovery = AssertUnwindSafe(worker.recover(&past.intents, &past.commits)).catch_unwind().await;
        let failed = recovery.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).err();
        let failed = failed.map(|error| self.env.hidden.mask(error));
        let (shared, finished) = (recipe.shared.clone(), self.finished(id));
        let handle = {
            let _runtime = self.runtime.enter();
            start(worker, options.trigger, paused, failed, self.remake(recipe), finished)
        };
        Ok(match create.kind {
            Kind::Sink => (schema, What::Sink { handle, inputs }),
            _ => (schema, What::Standing { shared, handle, inputs }),
        })
    }

    /// How a failed query is made again from nothing but its definition.
    fn remake(self: &Arc<Self>, recipe: Recipe) -> Remake {
        let (engine, recipe) = (Arc::downgrade(self), Arc::new(recipe));
        Box::new(move || {
            let (engine, recipe) = (engine.clone(), recipe.clone());
            async move {
                let stopped = || Error::new(ErrorKind::AdminShutdown, "the server is shutting down");
                let engine = engine.upgrade().ok_or_else(stopped)?;
                let scene: Arc<dyn World> = Arc::new(engine.scene());
                let standing = engine.plan_view(&recipe.create, &recipe.options, &scene, recipe.partitions).await?;
                let outlet = recipe.outlet(&engine)?;
                Ok(recipe.worker(&engine, standing, outlet))
            }
            .boxed()
        })
    }

    /// The ids of what a view reads; every name must be there.
    fn depends(&self, create: &CreateView) -> Result<Vec<u64>> {
        let objects = self.objects();
        let mut depends = Vec::new();
        for name in names::relations(&create.query) {
            if name.schema.as_deref().is_some_and(|schema| schema != "public") {
                continue;
            }
            depends.push(objects.find(&name)?.id);
        }
        depends.sort_unstable();
        depends.dedup();
        Ok(depends)
    }

    pub(super) fn scene(&self) -> Scene {
        Scene::new(self.objects(), self.env.letters.clone(), &self.moment)
    }
}

/// What a standing query is made of, the first time and after each failure.
struct Recipe {
    id: u64,
    create: CreateView,
    options: ViewOptions,
    partitions: usize,
    shared: Arc<Shared>,
    progress: Arc<Mutex<Progress>>,
    checkpoint_interval: Duration,
    epoch_target: Option<Duration>,
    /// Of a sink.
    feed: Option<Feed>,
}

impl Recipe {
    fn outlet(&self, engine: &Engine) -> Result<Option<Outlet>> {
        let Some(feed) = &self.feed else { return Ok(None) };
        feed.outlet(&self.create.name.name, &engine.sink_identity(self.id)?).map(Some)
    }

    fn worker(&self, engine: &Engine, standing: Standing, outlet: Option<Outlet>) -> Worker {
        let (name, relation) = (self.create.name.name.clone(), self.shared.clone());
        let (checkpoint_interval, epoch_target) = (self.checkpoint_interval, self.epoch_target);
        let setup = Setup { id: self.id, name, standing, relation, outlet, checkpoint_interval, epoch_target };
        Worker::new(engine.env.clone(), setup, self.progress.clone())
    }
}

/// The column of a watermark must be there and be a time.
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
