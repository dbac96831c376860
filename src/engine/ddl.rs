//! `CREATE`, `DROP`, `ALTER`: one at a time, durable when acknowledged.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tokio::sync::oneshot;

use super::{
    Engine, Reply,
    build::{Past, ViewOptions, connector_options},
    objects::{Object, undefined},
};
use crate::{
    catalog::{self, Change, Kind},
    checkpoint::{Record, file},
    connectors,
    error::{Error, Kind as ErrorKind, Result},
    query::{Checkpoints, Command},
    relations::Store,
    sql::statement::{Alter, AlterAction, Body, Drop, IfExists, Name, Statement},
};

impl Engine {
    /// `CREATE` anything.
    pub(super) async fn create(self: &Arc<Self>, statement: &Statement) -> Result<Reply> {
        let (kind, name, exists) = match &statement.body {
            Body::CreateSource(create) => (Kind::Source, &create.name, create.exists),
            Body::CreateTable(create) => (Kind::Table, &create.name, create.exists),
            Body::CreateView(create) => (create.kind, &create.name, create.exists),
            _ => return Err(Error::internal("not a CREATE")),
        };
        let tag = format!("CREATE {}", kind.word().to_uppercase());
        let _one = self.ddl.lock().await;
        if name.schema.as_deref().is_some_and(|schema| schema != "public") {
            let schema = name.schema.as_deref().unwrap_or_default();
            return Err(Error::new(ErrorKind::Unsupported, format!("cannot create anything in schema \"{schema}\""))
                .hint("There is one schema for users: public.")
                .at(name.position.max(1)));
        }
        let old = self.objects().get(&name.name).cloned();
        let drop = match (&old, exists) {
            (None, _) => None,
            (Some(_), IfExists::Skip) => return Ok(Reply::Done(tag)),
            (Some(old), IfExists::Replace) => Some(self.replaceable(old, kind, statement)?),
            (Some(_), IfExists::Fail) => {
                return Err(Error::new(
                    ErrorKind::DuplicateTable,
                    format!("relation \"{}\" already exists", name.name),
                )
                .at(name.position.max(1)));
            }
        };
        if let Some(None) = drop {
            // The same definition again: nothing changes, and nothing is lost.
            return Ok(Reply::Done(tag));
        }
        self.create_new(statement, kind, drop.flatten()).await?;
        if let Body::CreateTable(create) = &statement.body
            && let Some(query) = &create.query
        {
            let rows = self.fill(&name.name, query).await?;
            return Ok(Reply::Done(format!("SELECT {rows}")));
        }
        Ok(Reply::Done(tag))
    }

    /// What `OR REPLACE` takes away; `None` where the definition is the same.
    fn replaceable(&self, old: &Arc<Object>, kind: Kind, statement: &Statement) -> Result<Option<Arc<Object>>> {
        if old.kind != kind {
            return Err(Error::new(
                ErrorKind::WrongObjectType,
                format!("\"{}\" is a {}, not a {kind}", old.name, old.kind),
            )
            .hint(format!("Use DROP {} first.", old.kind.word().to_uppercase())));
        }
        if plain(&old.statement.body) == plain(&statement.body) {
            return Ok(None);
        }
        let dependents = self.dependents(old);
        if !dependents.is_empty() {
            return Err(refused(&old.label(), "replace", &dependents)
                .hint("Drop them first, or replace it under another name."));
        }
        Ok(Some(old.clone()))
    }

    async fn create_new(self: &Arc<Self>, statement: &Statement, kind: Kind, old: Option<Arc<Object>>) -> Result<()> {
        self.check_query(statement).await?;
        if let Some(old) = &old {
            // A new one under the same name must not find the old one's readers or rows.
            self.take_down(old).await;
        }
        let id = self.next_id();
        let statement = self.with_columns(statement).await?;
        let built = self.build(id, statement.clone(), Past::default()).await;
        let object = match (built, &old) {
            (Ok(object), _) => object,
            (Err(error), None) => return Err(self.forget_traces(id, kind, error)),
            (Err(error), Some(old)) => {
                self.put_back(old).await;
                return Err(self.forget_traces(id, kind, error));
            }
        };
        let change = Change::Replace {
            drop: old.iter().map(|old| old.id).collect(),
            create: vec![catalog::Object {
                id,
                name: object.name.clone(),
                kind,
                definition: statement.text.clone(),
                schema: schema_bytes(&object.schema)?,
                depends: object.depends.clone(),
                paused: false,
            }],
        };
        self.log_change(change).await?;
        if let Some(old) = &old {
            self.remove_traces(old);
        }
        self.add_object(object);
        Ok(())
    }

    /// Fails before anything is touched if the query of a view cannot be kept.
    async fn check_query(&self, statement: &Statement) -> Result<()> {
        let Body::CreateView(create) = &statement.body else { return Ok(()) };
        let options = ViewOptions::take(create)?;
        for name in crate::sql::names::relations(&create.query) {
            self.check_readable(&name)?;
        }
        if create.kind != Kind::View {
            let scene: Arc<dyn crate::sql::plan::World> = Arc::new(self.scene());
            self.plan_view(create, &options, &scene).await?;
        }
        Ok(())
    }

    fn check_readable(&self, name: &Name) -> Result<()> {
        if name.schema.as_deref().is_some_and(|schema| schema != "public") {
            return Ok(());
        }
        self.objects().find(name).map(|_| ())
    }

    /// `CREATE TABLE … AS` with the columns of its query in place of none.
    async fn with_columns(&self, statement: &Statement) -> Result<Statement> {
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
            AlterAction::RenameTo(_) => {
                return Err(Error::unsupported(format!("ALTER {} … RENAME", alter.kind.word().to_uppercase()))
                    .hint("Create it anew under the other name."));
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

    /// Ends what an object does and forgets its name.
    async fn take_down(&self, object: &Arc<Object>) {
        self.remove_object(&object.name);
        if let Some(handle) = object.handle() {
            handle.stop(false).await;
        }
        for input in object.depends.iter().filter_map(|id| self.object(*id)) {
            let left = input.readers.leave(object.id);
            if let (Some(shared), None) = (input.shared(), left) {
                shared.lock().unfollow();
            }
        }
    }

    /// Undoes [`Engine::take_down`] when what was to replace the object could not be made.
    async fn put_back(self: &Arc<Self>, old: &Arc<Object>) {
        let past = Past { schema: Some(old.schema.clone()), ..Past::default() };
        match self.build(old.id, old.statement.clone(), past).await {
            Ok(object) => self.add_object(object),
            Err(error) => tracing::error!(object = old.name, %error, "could not be put back before a restart"),
        }
    }

    /// Removes the files of an object that is gone. What cannot be removed now is removed at the next start.
    pub(super) fn remove_traces(&self, object: &Object) {
        if let Err(error) = self.remove_files(object.id, object.kind) {
            tracing::warn!(object = object.name, %error, "files of a dropped object are left");
        }
    }

    fn forget_traces(&self, id: u64, kind: Kind, error: Error) -> Error {
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
                let options = connector_options(&create.options);
                connectors::check(&create.name.name, &options)?;
                super::build::columns(&create.columns, &[]).map(|_| ())
            }
            Body::CreateTable(create) => super::build::columns(&create.columns, &create.primary_key).map(|_| ()),
            Body::CreateView(create) => ViewOptions::take(create).map(|_| ()),
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
