//! Standing queries: planning, starting with recovery, and rebuilding after a failure.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::FutureExt;

use super::{
    Engine,
    objects::ObjectState,
    recipe::QueryRecipe,
    recovered::RecoveredState,
    sink_plan::{SinkPlan, identity_of},
    view_options::ViewOptions,
};
use crate::{
    catalog::ObjectKind,
    error::{Error, ErrorKind, Result},
    query::{Command, Progress, QuerySetup, Rebuild, SinkDriver, Worker, start},
    relations::{Relation, SharedRelation, Store},
    sql::{
        plan::{CatalogView, ContinuousPlan, emission},
        statement::CreateView,
    },
};

/// The error for reading a relation that is still recovering.
pub fn recovering(label: &str) -> Error {
    Error::new(ErrorKind::Recovering, format!("{label} is still recovering"))
        .hint("tidemark.queries tells when it is back; a statement waits for it up to statement_timeout.")
}

impl Engine {
    /// Plans the standing query of a view.
    pub(super) async fn plan_view(
        &self,
        create: &CreateView,
        options: &ViewOptions,
        snapshot: &Arc<dyn CatalogView>,
        partitions: usize,
    ) -> Result<ContinuousPlan> {
        let query = crate::sql::naming::named(&create.query);
        let context = self.planner.context(snapshot);
        let emission = emission(create.emit, options.output_mode)?;
        let label = format!("{} \"{}\"", create.kind, create.name.name);
        self.planner.continuous(&context, &query, emission, partitions, &create.columns, &label).await
    }

    /// Starts the loop of a standing query, which recovers first; only readers of its rows wait for that.
    pub(super) async fn start_query(
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
        let standing = self.plan_view(create, options, snapshot, partitions).await?;
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
            shared: SharedRelation::new(id, &create.name.name, relation, self.barrier.clone()),
            progress: Progress::new(self.env.metrics.clone(), &create.name.name),
            checkpoint_interval: options.checkpoint_interval.unwrap_or(self.options.checkpoint_interval),
            epoch_target: options.epoch_target(self.options.epoch_target),
            sink_plan,
        });
        let is_new = recovered.schema.is_none();
        let mut sink_driver = recipe.sink_driver(self)?;
        if let Some(sink_driver) = sink_driver.as_mut().filter(|_| is_new && !self.rehearsal) {
            // `CREATE SINK` fails if the sink cannot be opened; later it is retried.
            sink_driver.open().await?;
        }
        // A new query starts paused until its definition is durable: before, it may be rolled back.
        let paused = recovered.paused || recovered.begins.is_some() || is_new;
        let worker = recipe.worker(self, standing, sink_driver);
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

    /// The function that rebuilds a failed query from its definition.
    fn rebuild(self: &Arc<Self>, recipe: Arc<QueryRecipe>) -> Rebuild {
        let engine = Arc::downgrade(self);
        Box::new(move || {
            let (engine, recipe) = (engine.clone(), recipe.clone());
            async move {
                let stopped = || Error::new(ErrorKind::AdminShutdown, "the server is shutting down");
                let engine = engine.upgrade().ok_or_else(stopped)?;
                let snapshot: Arc<dyn CatalogView> = Arc::new(engine.statement_snapshot());
                let standing = engine.plan_view(&recipe.create, &recipe.options, &snapshot, recipe.partitions).await?;
                let sink_driver = recipe.sink_driver(&engine)?;
                Ok(recipe.worker(&engine, standing, sink_driver))
            }
            .boxed()
        })
    }
}

impl Engine {
    /// The command to continue a sink with another recipe.
    pub(super) fn refit(self: &Arc<Self>, recipe: Arc<QueryRecipe>) -> Command {
        let (trigger, checkpoint_interval) = (recipe.options.trigger, recipe.checkpoint_interval);
        Command::Refit { rebuild: self.rebuild(recipe), trigger, checkpoint_interval }
    }
}

impl QueryRecipe {
    /// The same query and state with other options.
    pub fn with(
        &self,
        engine: &Engine,
        create: CreateView,
        options: ViewOptions,
        sink_plan: Option<SinkPlan>,
    ) -> QueryRecipe {
        QueryRecipe {
            id: self.id,
            create,
            partitions: self.partitions,
            shared: self.shared.clone(),
            progress: self.progress.clone(),
            checkpoint_interval: options.checkpoint_interval.unwrap_or(engine.options.checkpoint_interval),
            epoch_target: options.epoch_target(engine.options.epoch_target),
            options,
            sink_plan,
        }
    }

    fn sink_driver(&self, engine: &Engine) -> Result<Option<SinkDriver>> {
        let Some(sink_plan) = &self.sink_plan else { return Ok(None) };
        // The value of a secret may have changed.
        let now = engine.view_options(&self.create)?.sink;
        let sink_plan = now.map_or_else(|| sink_plan.clone(), |options| sink_plan.with(options));
        sink_plan.sink_driver(&self.create.name.name, &engine.sink_identity(self.id)?, engine.timeouts()).map(Some)
    }

    fn worker(&self, engine: &Engine, standing: ContinuousPlan, sink_driver: Option<SinkDriver>) -> Worker {
        let (name, relation) = (self.create.name.name.clone(), self.shared.clone());
        let (checkpoint_interval, epoch_target) = (self.checkpoint_interval, self.epoch_target);
        let setup =
            QuerySetup { id: self.id, name, standing, relation, sink_driver, checkpoint_interval, epoch_target };
        Worker::new(engine.env.clone(), setup, self.progress.clone())
    }
}
