//! Starts standing queries, with recovery, and rebuilds them after a failure.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::FutureExt;
use tokio::runtime::Handle as Runtime;

use crate::{
    catalog::{CatalogChange, ObjectKind},
    connectors::Timeouts,
    engine::{
        live_catalog::LiveCatalog,
        objects::ObjectState,
        options::EngineOptions,
        recipe::QueryRecipe,
        recovered::RecoveredState,
        returning::recovering,
        secrets::Secrets,
        sink_plan::{SinkPlan, identity_of},
        sinks::sink_identity,
        view_options::ViewOptions,
        view_plan::plan_view,
    },
    error::{Error, ErrorKind, Result},
    query::{Finished, Progress, QueryEnv, QuerySetup, Rebuild, SinkDriver, Worker, start},
    relations::{Relation, Store},
    sql::{
        plan::{CatalogView, ContinuousPlan, Planner},
        statement::CreateView,
    },
};

/// What standing queries are made with. Their tasks refer to it weakly: they end with the engine.
#[derive(Debug)]
pub struct ContinuousQueries {
    pub(in crate::engine) catalog: Arc<LiveCatalog>,
    pub(in crate::engine) secrets: Arc<Secrets>,
    pub(in crate::engine) planner: Arc<Planner>,
    pub(in crate::engine) env: QueryEnv,
    pub(in crate::engine) options: Arc<EngineOptions>,
    pub(in crate::engine) runtime: Runtime,
    /// Nothing runs, and no sink is opened.
    pub(in crate::engine) rehearsal: bool,
}

impl ContinuousQueries {
    /// Plans the standing query of a view; with the engine's partitions unless others are given.
    pub async fn plan(
        &self,
        create: &CreateView,
        options: &ViewOptions,
        snapshot: &Arc<dyn CatalogView>,
        partitions: Option<usize>,
    ) -> Result<ContinuousPlan> {
        let partitions = partitions.unwrap_or(self.planner.partitions());
        plan_view(&self.planner, create, options, snapshot, partitions).await
    }

    /// Starts the loop of a standing query, which recovers first; only readers of its rows wait for that.
    pub async fn start(
        self: &Arc<Self>,
        id: u64,
        create: &CreateView,
        options: &ViewOptions,
        recovered: RecoveredState,
        snapshot: &Arc<dyn CatalogView>,
    ) -> Result<(SchemaRef, ObjectState)> {
        // Epochs are replayed with the partitions they had, even if there were more cores then.
        let partitions = recovered.intents.iter().map(|intent| intent.partitions).max();
        let partitions = partitions.unwrap_or(1).max(self.planner.partitions());
        let standing = self.plan(create, options, snapshot, Some(partitions)).await?;
        let sink_plan = options.sink.as_ref().map(|sink| SinkPlan::new(sink, &standing)).transpose()?;
        let identity =
            sink_plan.as_ref().map_or_else(|| identity_of(&standing), |sink_plan| sink_plan.identity(&standing));
        let schema = standing.schema.clone();
        let times = Arc::new(standing.rewritten.times.clone());
        let reproducible = standing.rewritten.reproducible;
        let inputs: Vec<u64> = standing.rewritten.inputs.iter().map(|input| input.table.id).collect();
        let mut relation = Relation::new(schema.clone(), identity)?.of_a_query();
        if Store::new(self.env.storage.clone(), id).keeps_history()? {
            relation.keep_history();
        }
        recovered.followed.into_iter().for_each(|from| relation.follow(from));
        let recipe = Arc::new(QueryRecipe {
            id,
            create: create.clone(),
            options: options.clone(),
            partitions,
            shared: self.catalog.shared_relation(id, &create.name.name, relation),
            progress: Progress::new(self.env.metrics.clone(), &create.name.name),
            checkpoint_interval: options.checkpoint_interval.unwrap_or(self.options.checkpoint_interval),
            epoch_target: options.epoch_target(self.options.epoch_target),
            sink_plan,
        });
        let is_new = recovered.schema.is_none();
        let mut sink_driver = self.sink_driver(&recipe)?;
        if let Some(sink_driver) = sink_driver.as_mut().filter(|_| is_new && !self.rehearsal) {
            // `CREATE SINK` fails if the sink cannot be opened; later it is retried.
            sink_driver.open().await?;
        }
        // A new query starts paused until its definition is durable: before, it may be rolled back.
        let paused = recovered.paused || recovered.begins.is_some() || is_new;
        let worker = self.worker(&recipe, standing, sink_driver);
        let recovery = (!self.rehearsal).then_some((recovered.intents, recovered.commits));
        if recovery.is_some() {
            let label = format!("{} \"{}\"", create.kind, create.name.name);
            recipe.shared.begin_recovery(&recovering(&label));
        }
        let (shared, finished) = (recipe.shared.clone(), self.finished(id));
        let handle = {
            let _runtime = self.runtime.enter();
            Arc::new(start(worker, options.trigger, paused, recovery, self.rebuild(recipe.clone()), finished))
        };
        Ok(match create.kind {
            ObjectKind::Sink => (schema, ObjectState::Sink { handle, inputs, recipe }),
            _ => (schema, ObjectState::ContinuousQuery { shared, handle, inputs, times, reproducible }),
        })
    }

    /// Logs that a query whose trigger has ended is finished, so that it stays so after a restart.
    fn finished(&self, id: u64) -> Finished {
        let catalog = Arc::downgrade(&self.catalog);
        Box::new(move || {
            let catalog = catalog.clone();
            async move {
                let Some(catalog) = catalog.upgrade() else { return Ok(()) };
                // Waits until its own `CREATE` is durable.
                let lock = catalog.lock().await;
                lock.log_change(CatalogChange::Paused { id, paused: true }).await
            }
            .boxed()
        })
    }

    /// The function that rebuilds a failed query from its definition.
    pub(super) fn rebuild(self: &Arc<Self>, recipe: Arc<QueryRecipe>) -> Rebuild {
        let queries = Arc::downgrade(self);
        Box::new(move || {
            let (queries, recipe) = (queries.clone(), recipe.clone());
            async move {
                let stopped = || Error::new(ErrorKind::AdminShutdown, "the server is shutting down");
                let queries = queries.upgrade().ok_or_else(stopped)?;
                let snapshot: Arc<dyn CatalogView> = Arc::new(queries.catalog.snapshot());
                let standing =
                    queries.plan(&recipe.create, &recipe.options, &snapshot, Some(recipe.partitions)).await?;
                let sink_driver = queries.sink_driver(&recipe)?;
                Ok(queries.worker(&recipe, standing, sink_driver))
            }
            .boxed()
        })
    }

    /// The recipe of the same query and state with other options.
    pub(super) fn recipe_with(
        &self,
        recipe: &QueryRecipe,
        create: CreateView,
        options: ViewOptions,
        sink_plan: Option<SinkPlan>,
    ) -> QueryRecipe {
        QueryRecipe {
            id: recipe.id,
            create,
            partitions: recipe.partitions,
            shared: recipe.shared.clone(),
            progress: recipe.progress.clone(),
            checkpoint_interval: options.checkpoint_interval.unwrap_or(self.options.checkpoint_interval),
            epoch_target: options.epoch_target(self.options.epoch_target),
            options,
            sink_plan,
        }
    }

    fn sink_driver(&self, recipe: &QueryRecipe) -> Result<Option<SinkDriver>> {
        let Some(sink_plan) = &recipe.sink_plan else { return Ok(None) };
        // The value of a secret may have changed.
        let now = self.secrets.view_options(&recipe.create)?.sink;
        let sink_plan = now.map_or_else(|| sink_plan.clone(), |options| sink_plan.with(options));
        let identity = sink_identity(self.env.storage.as_ref(), recipe.id)?;
        let timeouts = Timeouts { open: self.options.open_timeout, write: self.options.write_timeout };
        sink_plan.sink_driver(&recipe.create.name.name, &identity, timeouts).map(Some)
    }

    fn worker(&self, recipe: &QueryRecipe, standing: ContinuousPlan, sink_driver: Option<SinkDriver>) -> Worker {
        let (name, relation) = (recipe.create.name.name.clone(), recipe.shared.clone());
        let (checkpoint_interval, epoch_target) = (recipe.checkpoint_interval, recipe.epoch_target);
        let setup =
            QuerySetup { id: recipe.id, name, standing, relation, sink_driver, checkpoint_interval, epoch_target };
        Worker::new(self.env.clone(), setup, recipe.progress.clone())
    }
}
