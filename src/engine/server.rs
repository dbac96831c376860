//! The door of the engine: every statement of a client, a pipeline or the command line goes through [`Engine::execute`].

mod describe;
mod open;

use std::{fmt, sync::Arc};

use datafusion::{
    common::ScalarValue,
    physical_plan::{SendableRecordBatchStream, stream::RecordBatchStreamAdapter},
};
use futures::TryStreamExt;

use super::{
    authorize::Authorized, ddl::DdlExecutor, dml::TableWriter, flush::flush, functions::UserFunctions,
    live_catalog::LiveCatalog, log_compaction::LogCompaction, objects::ObjectState, options::EngineOptions,
    position::placed, read::Reader, reply::Reply, returning::one_recovered, statement_planner::StatementPlanner,
    subscribe::subscribe,
};
use crate::{
    catalog::RelationDef,
    error::{Error, ErrorKind, Result},
    metrics::Registry,
    pg_catalog::Listing,
    query::{QueryEnv, QueryState},
    session::Session,
    sql::statement::{Body, CopyOut, Reads, Statement, Subscribe},
};

/// A running server without its sockets.
pub struct Engine {
    pub(super) options: Arc<EngineOptions>,
    pub(super) env: QueryEnv,
    pub(super) catalog: Arc<LiveCatalog>,
    pub(super) statements: Arc<StatementPlanner>,
    reader: Reader,
    writer: TableWriter,
    functions: Arc<UserFunctions>,
    ddl: Arc<DdlExecutor>,
    compaction: Arc<LogCompaction>,
}

impl Engine {
    /// Runs one authorized statement. Dropping the future, or the stream of its rows, cancels it. Statements about
    /// settings, transactions, prepared statements and cursors are handled by the session.
    pub async fn execute(
        &self,
        session: &Session,
        statement: &Authorized,
        parameters: &[ScalarValue],
    ) -> Result<Reply> {
        let outcome = self.dispatch_recovered(session, statement, parameters).await.map(|reply| self.masked(reply));
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

    /// Runs a statement, and retries it after each recovery that it waited for. It changes nothing before it has its
    /// rows.
    async fn dispatch_recovered(
        &self,
        session: &Session,
        statement: &Statement,
        parameters: &[ScalarValue],
    ) -> Result<Reply> {
        loop {
            let recovering = self.catalog.recovering();
            match self.dispatch(session, statement, parameters).await {
                Err(error) if error.kind() == ErrorKind::Recovering => {
                    session.waits_for(Some(error));
                    one_recovered(recovering).await;
                    session.waits_for(None);
                }
                done => return done,
            }
        }
    }

    async fn dispatch(&self, session: &Session, statement: &Statement, parameters: &[ScalarValue]) -> Result<Reply> {
        match &statement.body {
            Body::CreateSource(_) | Body::CreateTable(_) | Body::CreateView(_) => {
                self.ddl.create(session, statement).await
            }
            Body::CreateSecret(create) => self.ddl.create_secret(create).await,
            Body::DropSecrets(drop) => self.ddl.drop_secrets(drop).await,
            Body::CreateFunction(_) | Body::CreateAggregate(_) => self.functions.create(statement).await,
            Body::DropFunctions(drop) => self.functions.remove(drop).await,
            Body::Drop(drop) => self.ddl.drop_objects(drop).await,
            Body::Alter(alter) => self.ddl.alter(alter).await,
            Body::Query(query) => {
                let rows = self.reader.query(session, query, parameters).await?;
                Ok(Reply::Rows { tag: "SELECT", rows })
            }
            Body::Insert(insert) => self.writer.insert(session, insert, parameters).await,
            Body::Update(update) => self.writer.update(session, update, parameters).await,
            Body::Delete(delete) => self.writer.delete(session, delete, parameters).await,
            Body::CopyIn(copy) => self.writer.copy_in(copy).await,
            Body::Subscribe(subscribe) => Ok(Reply::Live { rows: self.subscribe(subscribe).await?, copy: None }),
            Body::CopyOut(CopyOut { reads: Reads::Query(query), format }) => {
                let rows = self.reader.query(session, query, parameters).await?;
                Ok(Reply::CopyOut { format: format.clone(), rows })
            }
            Body::CopyOut(CopyOut { reads: Reads::Subscription(subscribe), format }) => {
                Ok(Reply::Live { rows: self.subscribe(subscribe).await?, copy: Some(format.clone()) })
            }
            Body::Explain { analyze, verbose, statement } => {
                self.reader.explain(session, statement, parameters, (*analyze, *verbose)).await
            }
            Body::ExplainRelation(name) => self.reader.explain_relation(name).await,
            Body::Show(show) => self.reader.show(show),
            Body::Flush(name) => flush(&self.catalog, &self.env.hidden, session, name.as_ref()).await,
            _ => Err(Error::internal("a statement of the session came to the engine")),
        }
    }

    async fn subscribe(&self, statement: &Subscribe) -> Result<SendableRecordBatchStream> {
        subscribe(&self.catalog, &self.env.storage, statement).await
    }

    /// Runs `CREATE` statements, ordered so that each follows its inputs, all of them or none. Until all are built none
    /// of them runs, so that no input is read and no sink written to. An error comes with the number of the statement
    /// that caused it.
    pub async fn apply(&self, statements: &[Authorized]) -> Result<(), (usize, Error)> {
        let all = statements.iter().map(|statement| (**statement).clone()).collect();
        let applied = self.ddl.apply(all).await;
        applied.map_err(|(n, error)| match statements.get(n) {
            Some(statement) => (n, placed(self.env.hidden.mask(error), statement)),
            None => (n, error),
        })
    }

    /// Validates a statement without running it: what `tidemark check` does with each.
    pub fn check(statement: &Statement) -> Result<()> {
        super::check::check(statement)
    }

    /// The metrics registry of this server.
    pub fn metrics(&self) -> &Registry {
        &self.env.metrics
    }

    /// All relations that exist now.
    pub fn relations(&self) -> Vec<RelationDef> {
        self.catalog.relations()
    }

    /// One round of log compaction: closes a full log file, and removes files that no recovery would read.
    pub async fn shorten_log(&self) -> Result<()> {
        self.compaction.shorten_log().await
    }

    /// Stops all queries after their running epoch, with last checkpoints.
    pub async fn shutdown(&self) {
        let mut objects = self.catalog.objects().in_order();
        objects.reverse();
        for object in &objects {
            if let Some(handle) = object.handle() {
                match handle.progress().state {
                    // Nothing to save, and recovery may take long.
                    QueryState::Recovering | QueryState::Failed => handle.end().await,
                    _ => handle.stop().await,
                }
            }
        }
        for object in &objects {
            if let ObjectState::Table(table) = &object.what
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
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("options", &self.options).finish_non_exhaustive()
    }
}
