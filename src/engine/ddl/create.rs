//! `CREATE`: an object is built without a lock, however long its connector takes; then it is logged and entered under
//! the DDL lock.
//!
//! ```text
//! the name is reserved ─▶ planned and opened ─▶ lock: inputs unchanged? ─▶ logged, in the catalog ─▶ it runs
//!                         └ until here it is not visible: an error or a disconnect undoes it
//! ```

use std::sync::Arc;

use arrow::datatypes::{Field, Schema};

use super::{executor::DdlExecutor, replace::created};
use crate::{
    catalog::{CatalogChange, ObjectKind},
    engine::{
        cleanup::ObjectCleanup,
        collected::Collected,
        detached::to_its_end,
        live_catalog::DdlLock,
        objects::{Object, ObjectState},
        recovered::RecoveredState,
        reply::Reply,
        sink_plan::SinkPlan,
        snapshot::StatementSnapshot,
        tables::OnConflict,
    },
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
struct Making {
    cleanup: ObjectCleanup,
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
        self.cleanup.unmake(self.id, self.kind, self.object.take()).await;
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.known {
            self.cleanup.spawn_unmake(self.id, self.kind, self.object.take());
        }
    }
}

impl DdlExecutor {
    /// Runs any `CREATE`. The client may disconnect until it is built; connectors are called without a lock.
    pub async fn create(self: &Arc<Self>, session: &Session, statement: &Statement) -> Result<Reply> {
        let (kind, name, exists) = created(&statement.body).ok_or_else(|| Error::internal("not a CREATE"))?;
        let tag = format!("CREATE {}", kind.word().to_uppercase());
        let reserved = self.catalog.reserve([name.name.as_str()]).await;
        let rows = match &statement.body {
            Body::CreateTable(CreateTable { query: Some(query), .. })
                if exists != IfExists::Skip || self.catalog.objects().get(&name.name).is_none() =>
            {
                Some(self.statements.rows_of(query).await?)
            }
            _ => None,
        };
        let no_row_comes = self.writers_of_replaced(statement).await;
        let Some(old) = self.replaced(name, kind, exists, statement, &[]).await? else { return Ok(Reply::Done(tag)) };
        let unbounded = self.check_query(statement, old.as_deref()).await?;
        let tag = match old {
            Some(old) if self.queries.is_refit(&old, statement)? => {
                let object = Arc::new(self.queries.refitted(&old, statement).await?);
                let ddl = self.clone();
                to_its_end(async move {
                    let _reserved = reserved;
                    ddl.enter_refit(object, &old).await
                })
                .await?;
                tag
            }
            old => {
                let making = self.make_new(statement, kind).await?;
                let ddl = self.clone();
                let entered = to_its_end(async move {
                    let _held = (reserved, no_row_comes);
                    ddl.enter(making, old, rows).await
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
    async fn make_new(&self, statement: &Statement, kind: ObjectKind) -> Result<Making> {
        let statement = self.with_columns(statement).await?;
        // In this order: its inputs have smaller ids, and so are restored before it.
        let snapshot = Arc::new(self.catalog.snapshot());
        let id = self.catalog.next_id();
        let mut making =
            Making { cleanup: self.cleanup.clone(), id, kind, snapshot: snapshot.clone(), object: None, known: false };
        match self.builder.build(id, statement, RecoveredState::default(), &snapshot).await {
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
        &self,
        mut making: Making,
        old: Option<Arc<Object>>,
        rows: Option<Collected>,
    ) -> Result<Option<u64>> {
        let object = making.object.clone().ok_or_else(|| Error::internal("it was never made"))?;
        let entered = {
            let lock = self.catalog.lock().await;
            self.enter_locked(&lock, &object, &making.snapshot, old.as_deref(), rows).await
        };
        match entered {
            Ok(count) => {
                making.known = true;
                if let Some(old) = old {
                    self.cleanup.clear_away(vec![old]).await;
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
        lock: &DdlLock<'_>,
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
        let create = self.catalog.entry(object)?;
        lock.log_change(CatalogChange::Replace { drop: old.iter().map(|old| old.id).collect(), create: vec![create] })
            .await?;
        lock.add(object.clone());
        Ok(count)
    }

    async fn enter_refit(&self, object: Arc<Object>, old: &Object) -> Result<()> {
        {
            let lock = self.catalog.lock().await;
            self.check_place(&object.name, object.kind, Some(old))?;
            self.secrets.check_secrets(&object)?;
            lock.log_change(CatalogChange::Replace { drop: vec![], create: vec![self.catalog.entry(&object)?] })
                .await?;
            lock.add(object.clone());
        }
        self.queries.tell_refit(&object).await;
        Ok(())
    }

    /// Fails if something the new object was planned against was dropped or replaced meanwhile.
    fn check_unchanged(&self, object: &Object, snapshot: &StatementSnapshot) -> Result<()> {
        let gone = |what: String| {
            let message = format!("{what} was dropped or replaced while {} was being made", object.label());
            Err(Error::new(ErrorKind::ObjectNotInState, message).hint("Run the statement again."))
        };
        if let Some(id) = object.depends.iter().find(|id| self.catalog.object(**id).is_none()) {
            let was = snapshot.objects.0.values().find(|object| object.id == *id);
            return gone(was.map_or_else(|| "what it reads".to_string(), |was| was.label()));
        }
        if let Some(name) = self.functions.function_gone(&object.statement.body, &snapshot.functions()) {
            return gone(format!("function \"{name}\""));
        }
        self.secrets.check_secrets(object)
    }

    /// Fails, before anything is changed, if a view's query cannot be maintained; gives warnings of unbounded state
    /// otherwise.
    pub(super) async fn check_query(&self, statement: &Statement, old: Option<&Object>) -> Result<Vec<String>> {
        let Body::CreateView(create) = &statement.body else { return Ok(Vec::new()) };
        let options = self.secrets.view_options(create)?;
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
            let snapshot: Arc<dyn crate::sql::plan::CatalogView> = Arc::new(self.catalog.snapshot());
            let standing = self.queries.plan(create, &options, &snapshot, None).await?;
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
        self.catalog.objects().find(name).map(|_| ())
    }

    /// `CREATE TABLE … AS` as a `CREATE TABLE` with the columns of its query.
    pub(super) async fn with_columns(&self, statement: &Statement) -> Result<Statement> {
        let Body::CreateTable(create) = &statement.body else { return Ok(statement.clone()) };
        let Some(query) = &create.query else { return Ok(statement.clone()) };
        let columns = self.statements.columns_of(query).await?;
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
