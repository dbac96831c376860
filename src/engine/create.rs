//! `CREATE`: an object is built without a lock, however long its connector takes; then it is logged and entered under
//! the DDL lock.
//!
//! ```text
//! the name is reserved ─▶ planned and opened ─▶ lock: inputs unchanged? ─▶ logged, in the catalog ─▶ it runs
//!                         └ until here it is not visible: an error or a disconnect undoes it
//! ```

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use tokio::sync::OwnedMutexGuard;

use super::{
    Engine, Reply,
    apply::created,
    collected::Collected,
    ddl::refused,
    detached::to_its_end,
    objects::{Object, ObjectState},
    recovered::RecoveredState,
    sink_plan::SinkPlan,
    snapshot::StatementSnapshot,
    tables::OnConflict,
};
use crate::{
    catalog::{CatalogChange, ObjectKind},
    error::{Error, ErrorKind, Result},
    session::{Notice, Session, Severity},
    sql::{
        names::quote,
        parse,
        plan::CatalogView,
        statement::{Body, CreateTable, IfExists, Name, Statement},
        types::sql_type,
    },
};

/// An object being built. If it is dropped before it is entered, what was built is removed.
pub(super) struct Making {
    engine: Arc<Engine>,
    id: u64,
    kind: ObjectKind,
    /// The catalog it was planned against.
    snapshot: Arc<StatementSnapshot>,
    /// `Some` once it is built.
    object: Option<Arc<Object>>,
    known: bool,
}

impl Making {
    /// Removes what was built.
    async fn undo(mut self) {
        self.known = true;
        self.engine.unmake(self.id, self.kind, self.object.take()).await;
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.known {
            let (engine, id, kind, object) = (self.engine.clone(), self.id, self.kind, self.object.take());
            self.engine.runtime.spawn(async move { engine.unmake(id, kind, object).await });
        }
    }
}

impl Engine {
    /// Runs any `CREATE`. The client may disconnect until it is built; connectors are called without a lock.
    pub(super) async fn create(self: &Arc<Self>, session: &Session, statement: &Statement) -> Result<Reply> {
        let (kind, name, exists) = created(&statement.body).ok_or_else(|| Error::internal("not a CREATE"))?;
        let tag = format!("CREATE {}", kind.word().to_uppercase());
        let reserved = self.names.reserve([name.name.as_str()]).await;
        let rows = match &statement.body {
            Body::CreateTable(CreateTable { query: Some(query), .. })
                if exists != IfExists::Skip || self.objects().get(&name.name).is_none() =>
            {
                Some(self.rows_of(query).await?)
            }
            _ => None,
        };
        let no_row_comes = self.writers_of_replaced(statement).await;
        let Some(old) = self.replaced(name, kind, exists, statement, &[]).await? else { return Ok(Reply::Done(tag)) };
        let unbounded = self.check_query(statement, old.as_deref()).await?;
        let tag = match old {
            Some(old) if self.is_refit(&old, statement)? => {
                let object = Arc::new(self.refitted(&old, statement).await?);
                let engine = self.clone();
                to_its_end(async move {
                    let _reserved = reserved;
                    engine.enter_refit(object, &old).await
                })
                .await?;
                tag
            }
            old => {
                let making = self.make_new(statement, kind).await?;
                let engine = self.clone();
                let entered = to_its_end(async move {
                    let _held = (reserved, no_row_comes);
                    engine.enter(making, old, rows).await
                });
                entered.await?.map_or(tag, |rows| format!("SELECT {rows}"))
            }
        };
        for message in unbounded {
            let hint = "Say how far apart in time rows may be: a.ts BETWEEN b.ts - INTERVAL '5 minutes' AND b.ts, over watermarks.";
            session.tell(Notice { severity: Severity::Warning, message, hint: Some(hint.to_string()) });
        }
        Ok(Reply::Done(tag))
    }

    /// Builds a new object against the present catalog. It is not visible and does not run.
    async fn make_new(self: &Arc<Self>, statement: &Statement, kind: ObjectKind) -> Result<Making> {
        let statement = self.with_columns(statement).await?;
        // In this order: its inputs have smaller ids, and so are restored before it.
        let snapshot = Arc::new(self.statement_snapshot());
        let id = self.next_id();
        let mut making =
            Making { engine: self.clone(), id, kind, snapshot: snapshot.clone(), object: None, known: false };
        match self.build(id, statement, RecoveredState::default(), &snapshot).await {
            Ok(object) => {
                making.object = Some(Arc::new(object));
                Ok(making)
            }
            Err(error) => {
                making.undo().await;
                Err(error)
            }
        }
    }

    /// Enters a new object, with its first rows, into log and catalog in place of `old`. Gives the number of those
    /// rows, if it was made with some.
    async fn enter(
        self: &Arc<Self>,
        mut making: Making,
        old: Option<Arc<Object>>,
        rows: Option<Collected>,
    ) -> Result<Option<u64>> {
        let object = making.object.clone().ok_or_else(|| Error::internal("it was never made"))?;
        let entered = {
            let _one = self.ddl.lock().await;
            self.enter_locked(&object, &making.snapshot, old.as_deref(), rows).await
        };
        match entered {
            Ok(count) => {
                making.known = true;
                if let Some(old) = old {
                    self.clear_away(vec![old]).await;
                }
                if let Some(handle) = object.handle() {
                    handle.begin().await;
                }
                Ok(count)
            }
            Err(error) => {
                making.undo().await;
                Err(error)
            }
        }
    }

    async fn enter_locked(
        &self,
        object: &Arc<Object>,
        snapshot: &StatementSnapshot,
        old: Option<&Object>,
        rows: Option<Collected>,
    ) -> Result<Option<u64>> {
        self.check_unchanged(object, snapshot)?;
        self.check_place(&object.name, object.kind, old)?;
        let count = match (rows, &object.what) {
            (Some(rows), ObjectState::Table(table)) => Some(table.insert(&rows.rows, &OnConflict::Fail).await?),
            _ => None,
        };
        let create = self.entry(object)?;
        self.log_change(CatalogChange::Replace { drop: old.iter().map(|old| old.id).collect(), create: vec![create] })
            .await?;
        self.add_object(object.clone());
        Ok(count)
    }

    async fn enter_refit(self: &Arc<Self>, object: Arc<Object>, old: &Object) -> Result<()> {
        {
            let _one = self.ddl.lock().await;
            self.check_place(&object.name, object.kind, Some(old))?;
            self.check_secrets(&object)?;
            self.log_change(CatalogChange::Replace { drop: vec![], create: vec![self.entry(&object)?] }).await?;
            self.add_object(object.clone());
        }
        self.tell_refit(&object).await;
        Ok(())
    }

    /// Fails if something the new object was planned against was dropped or replaced meanwhile.
    fn check_unchanged(&self, object: &Object, snapshot: &StatementSnapshot) -> Result<()> {
        let gone = |what: String| {
            let message = format!("{what} was dropped or replaced while {} was being made", object.label());
            Err(Error::new(ErrorKind::ObjectNotInState, message).hint("Run the statement again."))
        };
        if let Some(id) = object.depends.iter().find(|id| self.object(**id).is_none()) {
            let was = snapshot.objects.0.values().find(|object| object.id == *id);
            return gone(was.map_or_else(|| "what it reads".to_string(), |was| was.label()));
        }
        if let Some(name) = self.function_gone(&object.statement.body, &snapshot.functions()) {
            return gone(format!("function \"{name}\""));
        }
        self.check_secrets(object)
    }

    /// Fails if its name is no longer free, or no longer that of `old`.
    fn check_place(&self, name: &str, kind: ObjectKind, old: Option<&Object>) -> Result<()> {
        let now = self.objects().get(name).cloned();
        if now.as_ref().map(|now| now.id) != old.map(|old| old.id) {
            let message = format!("{kind} \"{name}\" was changed by another statement at the same time");
            return Err(Error::new(ErrorKind::ObjectNotInState, message).hint("Run the statement again."));
        }
        old.map_or(Ok(()), |old| self.check_replaceable(old, kind, &[]))
    }

    /// The object that a `CREATE` replaces; `None` if there is nothing to do. Dependents that the statements `together`
    /// define are replaced too.
    pub(super) async fn replaced(
        &self,
        name: &Name,
        kind: ObjectKind,
        exists: IfExists,
        statement: &Statement,
        together: &[Statement],
    ) -> Result<Option<Option<Arc<Object>>>> {
        if name.schema.as_deref().is_some_and(|schema| schema != "public") {
            let schema = name.schema.as_deref().unwrap_or_default();
            return Err(Error::new(ErrorKind::Unsupported, format!("cannot create anything in schema \"{schema}\""))
                .hint("There is one schema for users: public.")
                .at(name.position.max(1)));
        }
        let Some(old) = self.objects().get(&name.name).cloned() else { return Ok(Some(None)) };
        match exists {
            IfExists::Skip => Ok(None),
            // The same definition: nothing to do.
            IfExists::Replace { .. } if old.kind == kind && plain(&old.statement.body) == plain(&statement.body) => {
                Ok(None)
            }
            IfExists::Replace { discard_rows } => {
                self.check_replaceable(&old, kind, together)?;
                if !discard_rows {
                    self.check_discard(&old).await?;
                }
                Ok(Some(Some(old)))
            }
            IfExists::Fail => {
                let message = format!("relation \"{}\" already exists", name.name);
                Err(Error::new(ErrorKind::DuplicateTable, message).at(name.position.max(1)))
            }
        }
    }

    /// Blocks writers of a table that is to be replaced, so that no row is inserted between the check of what would be
    /// lost and the replacement. Taken before the DDL lock, so that a long statement blocks only its own table.
    async fn writers_of_replaced(&self, statement: &Statement) -> Option<OwnedMutexGuard<()>> {
        let Body::CreateTable(CreateTable { name, exists: IfExists::Replace { .. }, .. }) = &statement.body else {
            return None;
        };
        let old = self.objects().get(&name.name).cloned()?;
        match &old.what {
            ObjectState::Table(table) => Some(table.hold_writers().await),
            _ => None,
        }
    }

    /// Fails if an object of this kind may not replace `old`.
    fn check_replaceable(&self, old: &Object, kind: ObjectKind, together: &[Statement]) -> Result<()> {
        if old.kind != kind {
            let message = format!("\"{}\" is a {}, not a {kind}", old.name, old.kind);
            return Err(Error::new(ErrorKind::WrongObjectType, message).hint("Give the new one another name."));
        }
        let is_made = |object: &Object| {
            let mut names = together.iter().filter_map(|statement| created(&statement.body));
            names.any(|(_, name, _)| name.name == object.name)
        };
        let dependents: Vec<_> = self.dependents(old).into_iter().filter(|object| !is_made(object)).collect();
        match dependents.is_empty() {
            true => Ok(()),
            false => {
                Err(refused(&old.label(), "replace", &dependents)
                    .hint("Create the new one under another name, beside it."))
            }
        }
    }

    /// Fails, before anything is changed, if a view's query cannot be maintained; gives warnings of unbounded state
    /// otherwise.
    pub(super) async fn check_query(&self, statement: &Statement, old: Option<&Object>) -> Result<Vec<String>> {
        let Body::CreateView(create) = &statement.body else { return Ok(Vec::new()) };
        let options = self.view_options(create)?;
        if create.columns.is_empty() {
            crate::sql::naming::check_casts(&create.query)?;
        }
        for name in crate::sql::names::relations(&create.query) {
            self.check_readable(&name)?;
            if old.is_some_and(|old| name.schema.as_deref().is_none_or(|s| s == "public") && old.name == name.name) {
                let message = format!("{} \"{}\" cannot read what it replaces", create.kind, create.name.name);
                return Err(Error::new(ErrorKind::InvalidDefinition, message)
                    .at(name.position.max(1))
                    .hint("Give it another name."));
            }
        }
        if create.kind != ObjectKind::View {
            let snapshot: Arc<dyn crate::sql::plan::CatalogView> = Arc::new(self.statement_snapshot());
            let standing = self.plan_view(create, &options, &snapshot, self.planner.partitions()).await?;
            options.sink.map(|sink| SinkPlan::new(&sink, &standing)).transpose()?;
            let label = format!("{} \"{}\"", create.kind, create.name.name);
            let warning = |what: &String| format!("{label} remembers without an end: {what}");
            return Ok(standing.rewritten.unbounded.iter().map(warning).collect());
        }
        Ok(Vec::new())
    }

    fn check_readable(&self, name: &Name) -> Result<()> {
        if name.schema.as_deref().is_some_and(|schema| schema != "public") {
            return Ok(());
        }
        self.objects().find(name).map(|_| ())
    }

    /// `CREATE TABLE … AS` as a `CREATE TABLE` with the columns of its query.
    pub(super) async fn with_columns(&self, statement: &Statement) -> Result<Statement> {
        let Body::CreateTable(create) = &statement.body else { return Ok(statement.clone()) };
        let Some(query) = &create.query else { return Ok(statement.clone()) };
        let columns = self.columns_of(query).await?;
        declared(&create.name.name, &columns)
    }
}

/// The definition of a table with these columns. Parsed from the text that the catalog stores, as at every start.
fn declared(table: &str, columns: &Schema) -> Result<Statement> {
    let column = |field: &Arc<Field>| format!("{} {}", quote(field.name()), sql_type(field.data_type()));
    let columns: Vec<String> = columns.fields().iter().map(column).collect();
    let text = format!("CREATE TABLE {} ({})", quote(table), columns.join(", "));
    let mut parsed = parse(&text)?;
    parsed.pop().ok_or_else(|| Error::internal("a table's own definition does not parse"))
}

/// A definition without positions and `OR REPLACE` or `IF NOT EXISTS`.
fn plain(body: &Body) -> Body {
    let mut body = body.clone();
    let (name, exists, watermark) = match &mut body {
        Body::CreateSource(c) => {
            c.columns.iter_mut().for_each(|column| column.position = 0);
            (&mut c.name, &mut c.exists, &mut c.watermark)
        }
        Body::CreateTable(c) => {
            c.columns.iter_mut().for_each(|column| column.position = 0);
            (&mut c.name, &mut c.exists, &mut c.watermark)
        }
        Body::CreateView(c) => (&mut c.name, &mut c.exists, &mut c.watermark),
        _ => return body,
    };
    name.position = 0;
    *exists = IfExists::Fail;
    watermark.iter_mut().for_each(|watermark| watermark.position = 0);
    body
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn declared_table_has_names_that_need_quotes_as_they_are() {
        let names = ["select", "A b", "say \"x\"", "\"\"", "a; DROP TABLE t; --", "plain"];
        let fields = names.map(|name| Field::new(name, DataType::new_list(DataType::Int64, true), true));
        let statement = declared("my \"own\".table", &Schema::new(fields.to_vec())).expect("it parses");
        let Body::CreateTable(create) = &statement.body else { panic!("no table") };
        assert_eq!((create.name.schema.as_deref(), create.name.name.as_str()), (None, "my \"own\".table"));
        assert_eq!(create.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), names);
        assert_eq!(parse(&statement.text).expect("it parses")[0].body, statement.body, "as at the next start");
    }
}
