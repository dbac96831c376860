//! `CREATE`, `DROP`, `ALTER`: one at a time, durable when acknowledged.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::{
    Engine, Notice, Reply, Session, Severity,
    apply::created,
    backlog::Backlog,
    build::{Past, connector_options},
    collected::Collected,
    locked,
    objects::{Object, What, undefined},
    sinks::Feed,
    standing::ViewOptions,
    tables::OnConflict,
    to_its_end,
};
use crate::{
    catalog::{self, Change, Kind},
    checkpoint::{Record, file},
    connectors::{self, Fence, Source},
    error::{Error, Kind as ErrorKind, Result},
    query::{Checkpoints, Command, Outbox},
    relations::Store,
    sql::statement::{Alter, AlterAction, Body, CreateTable, CreateView, Drop, IfExists, Name, Statement},
};

impl Engine {
    /// `CREATE` anything.
    pub(super) async fn create(self: &Arc<Self>, session: &Session, statement: &Statement) -> Result<Reply> {
        let rows = match &statement.body {
            Body::CreateTable(CreateTable { query: Some(query), name, exists, .. })
                if *exists != IfExists::Skip || self.objects().get(&name.name).is_none() =>
            {
                Some(self.rows_of(query).await?)
            }
            _ => None,
        };
        let (engine, statement) = (self.clone(), statement.clone());
        let (reply, unbounded) = to_its_end(async move {
            let _no_row_comes = engine.writers_of_replaced(&statement).await;
            engine.create_now(&statement, rows).await
        })
        .await?;
        for message in unbounded {
            let hint = "Say how far apart in time rows may be: a.ts BETWEEN b.ts - INTERVAL '5 minutes' AND b.ts, over watermarks.";
            session.tell(Notice { severity: Severity::Warning, message, hint: Some(hint.to_string()) });
        }
        Ok(reply)
    }

    /// `rows` are those of `CREATE TABLE … AS`. Gives what of it remembers without an end, too.
    async fn create_now(
        self: &Arc<Self>,
        statement: &Statement,
        rows: Option<Collected>,
    ) -> Result<(Reply, Vec<String>)> {
        let (kind, name, exists) = created(&statement.body).ok_or_else(|| Error::internal("not a CREATE"))?;
        let tag = format!("CREATE {}", kind.word().to_uppercase());
        let _one = self.ddl.lock().await;
        let Some(old) = self.replaced(name, kind, exists, statement, &[]).await? else {
            return Ok((Reply::Done(tag), Vec::new()));
        };
        let unbounded = self.check_query(statement, old.as_deref()).await?;
        if let Some(old) = &old
            && self.is_refit(old, statement)?
        {
            let object = Arc::new(self.refitted(old, statement).await?);
            self.log_change(Change::Replace { drop: vec![], create: vec![self.entry(&object)?] }).await?;
            self.add_object(object.clone());
            self.tell_refit(&object).await;
            return Ok((Reply::Done(tag), unbounded));
        }
        let rows = self.create_new(statement, kind, old, rows).await?;
        Ok((Reply::Done(rows.map_or(tag, |rows| format!("SELECT {rows}"))), unbounded))
    }

    /// What a new thing takes the place of; `None` where there is nothing to do. What `together` makes may depend on it:
    /// that is replaced too.
    pub(super) async fn replaced(
        &self,
        name: &Name,
        kind: Kind,
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
            // The same definition again: nothing changes, and nothing is lost.
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

    /// Whoever writes to a table that is to be replaced waits: no row comes between the look at what would be lost and the
    /// end of the table. Before the lock of DDL, so that a long statement holds up no other table's.
    async fn writers_of_replaced(&self, statement: &Statement) -> Option<OwnedMutexGuard<()>> {
        let Body::CreateTable(CreateTable { name, exists: IfExists::Replace { .. }, .. }) = &statement.body else {
            return None;
        };
        let old = self.objects().get(&name.name).cloned()?;
        match &old.what {
            What::Table(table) => Some(table.hold_writers().await),
            _ => None,
        }
    }

    /// Whether something of a kind may take the place of an old one.
    fn check_replaceable(&self, old: &Object, kind: Kind, together: &[Statement]) -> Result<()> {
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

    /// Makes a thing whole, and only then lets it take its place, and that of an old one. Gives the number of its rows
    /// where it was made with some.
    async fn create_new(
        self: &Arc<Self>,
        statement: &Statement,
        kind: Kind,
        old: Option<Arc<Object>>,
        rows: Option<Collected>,
    ) -> Result<Option<u64>> {
        let id = self.next_id();
        let statement = self.with_columns(statement).await?;
        let object = match self.build(id, statement.clone(), Past::default()).await {
            Ok(object) => Arc::new(object),
            Err(error) => return Err(self.forget_traces(id, kind, error)),
        };
        let count = match self.enter(&object, old.as_deref(), rows).await {
            Ok(count) => count,
            Err(error) => {
                self.take_down(&object).await;
                return Err(self.forget_traces(id, kind, error));
            }
        };
        self.add_object(object.clone());
        if let Some(old) = &old {
            self.take_down(old).await;
            self.remove_traces(old);
        }
        self.let_begin(&object).await;
        Ok(count)
    }

    /// Makes it durable that a new object is there, with its first rows, in place of an old one.
    async fn enter(&self, object: &Object, old: Option<&Object>, rows: Option<Collected>) -> Result<Option<u64>> {
        let count = match (rows, &object.what) {
            (Some(rows), What::Table(table)) => Some(table.insert(&rows.rows, &OnConflict::Fail).await?),
            _ => None,
        };
        let create = self.entry(object)?;
        self.log_change(Change::Replace { drop: old.iter().map(|old| old.id).collect(), create: vec![create] }).await?;
        Ok(count)
    }

    /// What the catalog is to say of an object. One that was paused stays so.
    pub(super) fn entry(&self, object: &Object) -> Result<catalog::Object> {
        let paused = locked(&self.live).catalog.objects.get(&object.id).is_some_and(|known| known.paused);
        Ok(catalog::Object {
            id: object.id,
            name: object.name.clone(),
            kind: object.kind,
            definition: object.statement.text.clone(),
            schema: schema_bytes(&object.schema)?,
            depends: object.depends.clone(),
            paused,
        })
    }

    /// Fails before anything is touched if the query of a view cannot be kept.
    pub(super) async fn check_query(&self, statement: &Statement, old: Option<&Object>) -> Result<Vec<String>> {
        let Body::CreateView(create) = &statement.body else { return Ok(Vec::new()) };
        let options = self.view_options(create)?;
        for name in crate::sql::names::relations(&create.query) {
            self.check_readable(&name)?;
            if old.is_some_and(|old| name.schema.as_deref().is_none_or(|s| s == "public") && old.name == name.name) {
                let message = format!("{} \"{}\" cannot read what it replaces", create.kind, create.name.name);
                return Err(Error::new(ErrorKind::InvalidDefinition, message)
                    .at(name.position.max(1))
                    .hint("Give it another name."));
            }
        }
        if create.kind != Kind::View {
            let scene: Arc<dyn crate::sql::plan::World> = Arc::new(self.scene());
            let standing = self.plan_view(create, &options, &scene, self.planner.partitions()).await?;
            options.sink.map(|sink| Feed::new(&sink, &standing)).transpose()?;
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

    /// `CREATE TABLE … AS` with the columns of its query in place of none.
    pub(super) async fn with_columns(&self, statement: &Statement) -> Result<Statement> {
        let Body::CreateTable(create) = &statement.body else { return Ok(statement.clone()) };
        let Some(query) = &create.query else { return Ok(statement.clone()) };
        let schema = self.columns_of(query).await?;
        let columns: Vec<String> = schema
            .fields()
            .iter()
            .map(|f| format!("{} {}", crate::sql::names::quote(f.name()), crate::sql::types::sql_type(f.data_type())))
            .collect();
        let name = crate::sql::names::quote(&create.name.name);
        let text = format!("CREATE TABLE {name} ({})", columns.join(", "));
        let mut parsed = crate::sql::parse(&text)?;
        parsed.pop().ok_or_else(|| Error::internal("a table's own definition does not parse"))
    }

    /// `DROP …`
    pub(super) async fn drop(self: &Arc<Self>, drop: &Drop) -> Result<Reply> {
        let (engine, drop) = (self.clone(), drop.clone());
        to_its_end(async move { engine.drop_now(&drop).await }).await
    }

    async fn drop_now(self: &Arc<Self>, drop: &Drop) -> Result<Reply> {
        let _one = self.ddl.lock().await;
        let mut gone: Vec<Arc<Object>> = Vec::new();
        for name in &drop.names {
            let object = match self.objects().find(name) {
                Ok(object) => object.clone(),
                Err(_) if drop.if_exists => continue,
                Err(_) => {
                    let mut error = undefined(name, self.objects().0.keys());
                    if drop.kind != Kind::Table && drop.kind != Kind::View {
                        let message = format!("{} \"{}\" does not exist", drop.kind, name.name);
                        error = Error::new(ErrorKind::UndefinedTable, message).at(name.position.max(1));
                    }
                    return Err(error);
                }
            };
            if !same_kind(object.kind, drop.kind) {
                let word = object.kind.word();
                return Err(Error::new(
                    ErrorKind::WrongObjectType,
                    format!("\"{}\" is not a {}", name.name, drop.kind),
                )
                .hint(format!("Use DROP {} to remove a {word}.", word.to_uppercase()))
                .at(name.position.max(1)));
            }
            gone.push(object);
        }
        for object in gone.clone() {
            let others: Vec<_> =
                self.dependents(&object).into_iter().filter(|d| !gone.iter().any(|g| g.id == d.id)).collect();
            if !others.is_empty() && !drop.cascade {
                return Err(refused(&object.label(), "drop", &others)
                    .hint("Use DROP … CASCADE to drop the dependent objects too."));
            }
            gone.extend(others);
        }
        // Readers before what they read.
        gone.sort_by_key(|object| std::cmp::Reverse(object.id));
        gone.dedup_by_key(|object| object.id);
        if !gone.is_empty() {
            self.log_change(Change::Replace { drop: gone.iter().map(|o| o.id).collect(), create: vec![] }).await?;
        }
        for object in &gone {
            self.take_down(object).await;
            self.remove_traces(object);
        }
        Ok(Reply::Done(format!("DROP {}", drop.kind.word().to_uppercase())))
    }

    /// `ALTER … PAUSE | RESUME | RENAME TO`
    pub(super) async fn alter(self: &Arc<Self>, alter: &Alter) -> Result<Reply> {
        let (engine, alter) = (self.clone(), alter.clone());
        to_its_end(async move { engine.alter_now(&alter).await }).await
    }

    async fn alter_now(self: &Arc<Self>, alter: &Alter) -> Result<Reply> {
        let _one = self.ddl.lock().await;
        let object = self.objects().find(&alter.name)?.clone();
        if !same_kind(object.kind, alter.kind) {
            return Err(Error::new(ErrorKind::WrongObjectType, format!("\"{}\" is not a {}", object.name, alter.kind)));
        }
        let standing = || {
            object.handle().ok_or_else(|| {
                Error::new(ErrorKind::WrongObjectType, format!("{} does not run by itself", object.label()))
            })
        };
        match &alter.action {
            AlterAction::Pause => {
                let (done, wait) = oneshot::channel();
                standing()?.tell(Command::Pause(done)).await;
                self.log_change(Change::Paused { id: object.id, paused: true }).await?;
                // A runner that has ended is paused for good.
                let _ = wait.await;
            }
            AlterAction::Resume => {
                let handle = standing()?;
                self.log_change(Change::Paused { id: object.id, paused: false }).await?;
                handle.tell(Command::Resume).await;
            }
            AlterAction::ResetOffsets => match &object.what {
                What::Source { source, .. } => source.reset().await.map_err(|e| e.context(object.label()))?,
                What::Sink { handle, .. } => handle.tell(Command::GoOn).await,
                _ => return Err(Error::internal("only sources and sinks have offsets")),
            },
            AlterAction::RenameTo(_) => {
                return Err(Error::unsupported(format!("ALTER {} … RENAME", alter.kind.word().to_uppercase()))
                    .hint("Create it under the other name, beside this one."));
            }
        }
        Ok(Reply::Done(format!("ALTER {}", alter.kind.word().to_uppercase())))
    }

    /// What reads an object, directly or through others.
    pub(super) fn dependents(&self, object: &Object) -> Vec<Arc<Object>> {
        let mut reached = vec![object.id];
        let mut found = Vec::new();
        for other in self.objects().in_order() {
            if other.depends.iter().any(|d| reached.contains(d)) {
                reached.push(other.id);
                found.push(other);
            }
        }
        found
    }

    /// Ends what an object does and forgets its name, if it has that still.
    pub(super) async fn take_down(&self, object: &Object) {
        self.remove_object(object);
        if let Some(handle) = object.handle() {
            handle.stop(false).await;
        }
        if let Some(shared) = object.shared() {
            shared.set_dropped();
        }
        for input in object.inputs().iter().filter_map(|id| self.object(*id)) {
            let left = input.readers.leave(object.id);
            if let (Some(shared), None) = (input.shared(), left) {
                shared.lock().unfollow();
            }
        }
    }

    /// Removes the files of an object that is gone, and its dead letters. What cannot be removed now is removed at the next start.
    pub(super) fn remove_traces(&self, object: &Object) {
        if object.kind == Kind::Source {
            self.env.letters.forget(&object.name);
        }
        if let Err(error) = self.remove_files(object.id, object.kind) {
            tracing::warn!(object = object.name, %error, "files of a dropped object are left");
        }
    }

    pub(super) fn forget_traces(&self, id: u64, kind: Kind, error: Error) -> Error {
        if let Err(left) = self.remove_files(id, kind) {
            tracing::warn!(id, error = %left, "files of an object that was never made are left");
        }
        error
    }

    pub(super) fn remove_files(&self, id: u64, kind: Kind) -> Result<()> {
        let storage = &self.env.storage;
        if kind == Kind::Source {
            connectors::remove(id, storage.as_ref())?;
        }
        Backlog::remove(storage.as_ref(), id)?;
        Outbox::new(storage.clone(), id).remove()?;
        Checkpoints::new(storage.clone(), id).remove()?;
        Store::new(storage.clone(), id).remove()
    }

    pub(super) async fn log_change(&self, change: Change) -> Result<()> {
        let record = Record::Catalog(change.clone()).encode(&[])?;
        self.env.log.append(vec![record]).await?;
        self.apply_change(&change);
        Ok(())
    }

    /// Validates a statement without running it: what `tidemark check` does with each.
    pub fn check(statement: &Statement) -> Result<()> {
        match &statement.body {
            Body::CreateSource(create) => {
                let options = connector_options(&create.options).revealed(|name| Ok(name.to_string()))?;
                connectors::check(&create.name.name, &options)?;
                super::build::columns(&create.columns, &create.key).map(|_| ())
            }
            Body::CreateTable(create) => super::build::columns(&create.columns, &create.primary_key).map(|_| ()),
            Body::CreateView(create) => {
                let options = create.options.revealed(|name| Ok(name.to_string()))?;
                ViewOptions::take(&CreateView { options, ..create.clone() }, &Fence::default()).map(|_| ())
            }
            _ => Ok(()),
        }
    }
}

pub fn schema_bytes(schema: &SchemaRef) -> Result<Vec<u8>> {
    file::ipc(schema, &[])
}

pub fn schema_from(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(arrow::ipc::reader::StreamReader::try_new(bytes, None)?.schema())
}

/// A definition without where it stood and what was to happen to an earlier one.
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

/// `DROP STREAM` and `DROP MATERIALIZED VIEW` are one statement with two names.
fn same_kind(is: Kind, said: Kind) -> bool {
    let kept = |kind| matches!(kind, Kind::Stream | Kind::MaterializedView);
    is == said || (kept(is) && kept(said))
}

fn refused(what: &str, verb: &str, dependents: &[Arc<Object>]) -> Error {
    let list: Vec<String> = dependents.iter().map(|d| format!("{} depends on {what}", d.label())).collect();
    Error::new(ErrorKind::DependentObjects, format!("cannot {verb} {what} because other objects depend on it"))
        .detail(list.join("\n"))
}
