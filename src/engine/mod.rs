//! The engine: every statement of a client, a pipeline or the command line goes through [`Engine::execute`].
//!
//! `authorize.rs`: what a session may run, a read-only transaction too; `snapshot.rs`: what a statement sees; `opening.rs`:
//! opening a data directory. Methods of [`Engine`] are in a file for each kind of statement (`read`, `dml`, `create` …).

mod apply;
mod authorize;
mod build;
mod catalog_view;
mod collected;
mod collecting;
mod continuous;
mod copy_target;
mod create;
mod data_directory;
mod ddl;
mod dead_letter_replay;
mod detached;
mod discard;
mod dml;
mod drop;
mod flush;
mod functions;
mod housekeeping;
mod names;
mod objects;
mod opening;
mod options;
mod position;
mod read;
mod recipe;
mod recovered;
mod refit;
mod reply;
mod returning;
mod secrets;
mod server;
mod sink_plan;
mod sinks;
mod snapshot;
mod subscribe;
mod system;
mod tables;
mod unrecovered_log;
mod view_options;

use std::{collections::BTreeMap, sync::Arc};

use datafusion::{common::ScalarValue, physical_plan::stream::RecordBatchStreamAdapter, prelude::SessionContext};
use futures::{FutureExt, TryStreamExt};

pub use authorize::{Authorized, Privilege, authorize};
pub use copy_target::CopyInTarget;
use objects::{Object, Objects};
pub use options::{EngineOptions, Env};
use position::placed;
pub use reply::{Description, Reply};
pub use server::Engine;

use crate::{
    catalog::{CatalogChange, ObjectKind, RelationDef, Routine},
    error::{Error, ErrorKind, Result},
    metrics::Registry,
    query::{Finished, QueryState},
    session::Session,
    sql::statement::{Body, CopyOut, Reads, Statement},
    sync::locked,
};

impl Engine {
    /// Runs one authorized statement. Dropping the future, or the stream of its rows, cancels it. Statements about
    /// settings, transactions, prepared statements and cursors are handled by the session.
    pub async fn execute(
        &self,
        session: &Session,
        statement: &Authorized,
        parameters: &[ScalarValue],
    ) -> Result<Reply> {
        let this = self.this.upgrade().ok_or_else(|| Error::new(ErrorKind::AdminShutdown, "the server is stopping"))?;
        let outcome = this.dispatch_recovered(session, statement, parameters).await.map(|reply| self.masked(reply));
        let outcome = outcome.map_err(|error| placed(self.env.hidden.mask(error), statement));
        outcome.map_err(|error| match self.env.log.failure() {
            Some(failure) if matches!(error.kind(), ErrorKind::Io | ErrorKind::DiskFull) => failure
                .hint("Nothing can be made durable until the disk can be written: then the server goes on by itself."),
            _ => error,
        })
    }

    /// A reply whose errors have secrets redacted.
    fn masked(&self, reply: Reply) -> Reply {
        let Reply::Rows { tag, rows } = reply else { return reply };
        let hidden = self.env.hidden.clone();
        let schema = rows.schema();
        let rows = rows.map_err(move |error| hidden.mask(Error::from(error)).into());
        Reply::Rows { tag, rows: Box::pin(RecordBatchStreamAdapter::new(schema, rows)) }
    }

    async fn dispatch(
        self: &Arc<Self>,
        session: &Session,
        statement: &Statement,
        parameters: &[ScalarValue],
    ) -> Result<Reply> {
        match &statement.body {
            Body::CreateSource(_) | Body::CreateTable(_) | Body::CreateView(_) => self.create(session, statement).await,
            Body::CreateSecret(create) => self.create_secret(create).await,
            Body::DropSecrets(drop) => self.drop_secrets(drop).await,
            Body::CreateFunction(_) | Body::CreateAggregate(_) => self.create_function(statement).await,
            Body::DropFunctions(drop) => self.drop_functions(drop).await,
            Body::Drop(drop) => self.drop(drop).await,
            Body::Alter(alter) => self.alter(alter).await,
            Body::Query(query) => {
                let rows = self.query(session, query, parameters).await?;
                Ok(Reply::Rows { tag: "SELECT", rows })
            }
            Body::Insert(insert) => self.insert(session, insert, parameters).await,
            Body::Update(update) => self.update(session, update, parameters).await,
            Body::Delete(delete) => self.delete(session, delete, parameters).await,
            Body::CopyIn(copy) => self.copy_in(copy).await,
            Body::Subscribe(subscribe) => Ok(Reply::Live { rows: self.subscribe(subscribe).await?, copy: None }),
            Body::CopyOut(CopyOut { reads: Reads::Query(query), format }) => {
                let rows = self.query(session, query, parameters).await?;
                Ok(Reply::CopyOut { format: format.clone(), rows })
            }
            Body::CopyOut(CopyOut { reads: Reads::Subscription(subscribe), format }) => {
                Ok(Reply::Live { rows: self.subscribe(subscribe).await?, copy: Some(format.clone()) })
            }
            Body::Explain { analyze, verbose, statement } => {
                self.explain(session, statement, parameters, (*analyze, *verbose)).await
            }
            Body::ExplainRelation(name) => self.explain_relation(name).await,
            Body::Show(show) => self.show(show),
            Body::Flush(name) => self.flush(session, name.as_ref()).await,
            _ => Err(Error::internal("a statement of the session came to the engine")),
        }
    }

    /// The metrics registry of this server.
    pub fn metrics(&self) -> &Registry {
        &self.env.metrics
    }

    /// All relations that exist now.
    pub fn relations(&self) -> Vec<RelationDef> {
        let mut relations = Vec::new();
        for object in self.objects().in_order() {
            let primary_key = match &object.what {
                objects::ObjectState::Table(table) => table.key.clone(),
                objects::ObjectState::Source { key, .. } => {
                    key.iter().filter_map(|name| object.schema.index_of(name).ok()).collect()
                }
                _ => Vec::new(),
            };
            relations.push(RelationDef {
                id: object.id,
                schema: "public".to_string(),
                name: object.name.clone(),
                kind: object.kind,
                columns: object.schema.clone(),
                primary_key,
                definition: object.statement.text.clone(),
            });
        }
        relations.extend(self.system_relations());
        relations
    }

    fn system_relations(&self) -> Vec<RelationDef> {
        let snapshot = self.statement_snapshot();
        let relation = |(n, name): (usize, &&str)| {
            let columns = system::schema(&snapshot, name).ok()??;
            Some(RelationDef {
                // Below every user's object in `pg_class`, and above Postgres' own.
                id: (1 << 40) + n as u64,
                schema: "tidemark".to_string(),
                name: (*name).to_string(),
                kind: ObjectKind::System,
                columns,
                primary_key: Vec::new(),
                definition: String::new(),
            })
        };
        system::NAMES.iter().enumerate().filter_map(relation).collect()
    }

    /// Stops all queries after their running epoch, with last checkpoints.
    pub async fn shutdown(&self) {
        let mut objects = self.objects().in_order();
        objects.reverse();
        for object in &objects {
            if let Some(handle) = object.handle() {
                match handle.progress().state {
                    // Nothing to save, and recovery may take long.
                    QueryState::Recovering => handle.end().await,
                    _ => handle.stop().await,
                }
            }
        }
        for object in &objects {
            if let objects::ObjectState::Table(table) = &object.what
                && let Err(error) = table.checkpoint().await
            {
                tracing::warn!(table = object.name, %error, "not saved at shutdown; its log is");
            }
        }
        // Flushes notes that no commit has synced.
        if let Err(error) = self.env.log.append(Vec::new()).await {
            tracing::warn!(%error, "the log is not written to its end");
        }
    }

    fn objects(&self) -> Objects {
        locked(&self.live).objects.clone()
    }

    fn object(&self, id: u64) -> Option<Arc<Object>> {
        self.objects().0.values().find(|object| object.id == id).cloned()
    }

    fn add_object(&self, object: Arc<Object>) {
        let mut live = locked(&self.live);
        let mut all: BTreeMap<_, _> = live.objects.0.as_ref().clone();
        all.insert(object.name.clone(), object);
        live.objects = Objects(Arc::new(all));
    }

    /// Removes `object` from the catalog, unless its name is another object's by now.
    fn remove_object(&self, object: &Object) {
        let mut live = locked(&self.live);
        let mut all: BTreeMap<_, _> = live.objects.0.as_ref().clone();
        if all.get(&object.name).is_some_and(|other| other.id == object.id) {
            all.remove(&object.name);
        }
        live.objects = Objects(Arc::new(all));
    }

    fn next_id(&self) -> u64 {
        let mut live = locked(&self.live);
        live.catalog.last_id += 1;
        live.catalog.last_id
    }

    fn apply_change(&self, change: &CatalogChange) {
        locked(&self.live).catalog.apply(change);
    }

    /// Logs that a query whose trigger has ended is finished, so that it stays so after a restart.
    fn finished(self: &Arc<Self>, id: u64) -> Finished {
        let engine = Arc::downgrade(self);
        Box::new(move || {
            let engine = engine.clone();
            async move {
                let Some(engine) = engine.upgrade() else { return Ok(()) };
                // Waits until its own `CREATE` is durable.
                let _one = engine.ddl.lock().await;
                engine.log_change(CatalogChange::Paused { id, paused: true }).await
            }
            .boxed()
        })
    }

    fn register_pg_catalog(&self, context: &SessionContext, session: &Session) -> Result<()> {
        let listing = self.this.upgrade().ok_or_else(|| Error::internal("the engine is gone"))?;
        crate::pg_catalog::register(context, listing, &session.info)
    }
}

/// Lets rooms below the engine list relations.
impl crate::pg_catalog::Listing for Engine {
    fn relations(&self) -> Vec<RelationDef> {
        Engine::relations(self)
    }

    fn routines(&self) -> Vec<Routine> {
        Engine::routines(self)
    }
}
