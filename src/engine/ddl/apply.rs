//! Applies the definitions of a pipeline atomically: all are created, or none.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{executor::DdlExecutor, replace::created};
use crate::{
    catalog::{CatalogChange, ObjectKind},
    engine::{
        detached::to_its_end,
        live_catalog::DdlLock,
        objects::{Object, ObjectState},
        recovered::RecoveredState,
        returning::one_recovered,
        tables::OnConflict,
    },
    error::{Error, ErrorKind, Result},
    query::Command,
    sql::statement::{Body, CreateTable, IfExists, Name, Statement},
};

/// An object that is built but not yet in the catalog, and the one it replaces.
struct Made {
    object: Arc<Object>,
    old: Option<Arc<Object>>,
    /// Whether it is the old sink with other options.
    refit: bool,
}

impl Made {
    /// The object that is dropped once this is durable.
    fn gone(&self) -> Option<&Arc<Object>> {
        self.old.as_ref().filter(|_| !self.refit)
    }
}

impl DdlExecutor {
    /// Runs `CREATE` statements, ordered so that each follows its inputs, all of them or none. Until all are built none
    /// of them runs, so that no input is read and no sink written to. An error comes with the number of the statement
    /// that caused it.
    pub async fn apply(self: &Arc<Self>, all: Vec<Statement>) -> Result<(), (usize, Error)> {
        let ddl = self.clone();
        let done = to_its_end(async move {
            loop {
                let recovering = ddl.catalog.recovering();
                match ddl.apply_now(&all).await {
                    // Nothing was created: retry once an input has recovered.
                    Err((_, error)) if error.kind() == ErrorKind::Recovering => one_recovered(recovering).await,
                    done => return Ok(done),
                }
            }
        });
        done.await.map_err(|error| (0, error))?
    }

    async fn apply_now(&self, statements: &[Statement]) -> Result<(), (usize, Error)> {
        let lock = self.catalog.lock().await;
        let begins = CancellationToken::new();
        let mut all = Vec::new();
        for (n, statement) in statements.iter().enumerate() {
            match self.make(statement, statements, &begins).await {
                Ok(None) => {}
                Ok(Some(made)) => {
                    lock.add(made.object.clone());
                    all.push(made);
                }
                Err(error) => {
                    self.unmake_all(&lock, all).await;
                    return Err((n, in_a_circle(error, &statements[n + 1..])));
                }
            }
        }
        if let Err(error) = self.enter_all(&lock, &all).await {
            self.unmake_all(&lock, all).await;
            return Err((0, error));
        }
        let mut old: Vec<Arc<Object>> = all.iter().filter_map(|made| made.gone().cloned()).collect();
        // Readers before their inputs.
        old.sort_by_key(|object| std::cmp::Reverse(object.id));
        self.cleanup.clear_away(old).await;
        begins.cancel();
        for Made { object, refit, .. } in &all {
            match object.handle() {
                Some(_) if *refit => self.queries.tell_refit(object).await,
                Some(handle) => handle.tell(Command::Resume).await,
                None => {}
            }
        }
        Ok(())
    }

    /// Builds the object of one statement; `None` if it exists unchanged.
    async fn make(&self, statement: &Statement, all: &[Statement], begins: &CancellationToken) -> Result<Option<Made>> {
        let (kind, name, exists) = created(&statement.body).ok_or_else(|| Error::internal("not a CREATE"))?;
        let Some(old) = self.replaced(name, kind, exists, statement, all).await? else { return Ok(None) };
        self.check_query(statement, old.as_deref()).await?;
        if let Some(was) = &old
            && self.queries.is_refit(was, statement)?
        {
            let object = Arc::new(self.queries.refitted(was, statement).await?);
            return Ok(Some(Made { object, old, refit: true }));
        }
        let rows = match &statement.body {
            // A rehearsal needs only the columns.
            Body::CreateTable(CreateTable { query: Some(query), .. }) if !self.rehearsal => {
                Some(self.statements.rows_of(query).await?)
            }
            _ => None,
        };
        let id = self.catalog.next_id();
        let statement = self.with_columns(statement).await?;
        let recovered = RecoveredState { begins: Some(begins.clone()), ..RecoveredState::default() };
        let object = match self.builder.build(id, statement, recovered, &Arc::new(self.catalog.snapshot())).await {
            Ok(object) => Arc::new(object),
            Err(error) => {
                self.cleanup.unmake(id, kind, None).await;
                return Err(error);
            }
        };
        if let (Some(rows), ObjectState::Table(table)) = (rows, &object.what)
            && let Err(error) = table.insert(&rows.rows, &OnConflict::Fail).await
        {
            self.cleanup.unmake(id, kind, Some(object)).await;
            return Err(error);
        }
        Ok(Some(Made { object, old, refit: false }))
    }

    /// Logs all of it in one record.
    async fn enter_all(&self, lock: &DdlLock<'_>, all: &[Made]) -> Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        let drop = all.iter().filter_map(|made| Some(made.gone()?.id)).collect();
        let create = all.iter().map(|made| self.catalog.entry(&made.object)).collect::<Result<_>>()?;
        lock.log_change(CatalogChange::Replace { drop, create }).await
    }

    /// Removes everything built; replaced objects get their names back.
    async fn unmake_all(&self, lock: &DdlLock<'_>, all: Vec<Made>) {
        for made in all.into_iter().rev() {
            // A sink with other options has not been changed yet.
            if !made.refit {
                let (id, kind) = (made.object.id, made.object.kind);
                self.cleanup.unmake(id, kind, Some(made.object)).await;
            }
            if let Some(old) = made.old {
                lock.add(old);
            }
        }
    }
}

/// Adds to an undefined-relation error that a later statement defines it: statements are ordered by their inputs, so
/// there is a cycle.
fn in_a_circle(error: Error, later: &[Statement]) -> Error {
    let missing = |(kind, name, _): &(ObjectKind, &Name, IfExists)| {
        *kind != ObjectKind::Sink && error.message().ends_with(&format!("relation \"{}\" does not exist", name.name))
    };
    let found = later.iter().filter_map(|statement| created(&statement.body)).find(missing);
    match found.filter(|_| error.kind() == ErrorKind::UndefinedTable) {
        Some((kind, name, _)) => {
            let name = &name.name;
            error.detail(format!("{kind} \"{name}\" is declared, but needs what is declared here itself: a circle."))
        }
        None => error,
    }
}
