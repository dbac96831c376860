//! The object that a `CREATE` replaces: whether it may, and whether its rows may go.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::executor::{DdlExecutor, refused};
use crate::{
    catalog::ObjectKind,
    engine::objects::{Object, ObjectState},
    error::{Error, ErrorKind, Result},
    sql::statement::{Body, CreateTable, IfExists, Name, Statement},
};

impl DdlExecutor {
    /// Fails if its name is no longer free, or no longer that of `old`.
    pub(super) fn check_place(&self, name: &str, kind: ObjectKind, old: Option<&Object>) -> Result<()> {
        let now = self.catalog.objects().get(name).cloned();
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
        let Some(old) = self.catalog.objects().get(&name.name).cloned() else { return Ok(Some(None)) };
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
    pub(super) async fn writers_of_replaced(&self, statement: &Statement) -> Option<OwnedMutexGuard<()>> {
        let Body::CreateTable(CreateTable { name, exists: IfExists::Replace { .. }, .. }) = &statement.body else {
            return None;
        };
        let old = self.catalog.objects().get(&name.name).cloned()?;
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
        let dependents: Vec<_> =
            self.catalog.objects().dependents(old).into_iter().filter(|object| !is_made(object)).collect();
        match dependents.is_empty() {
            true => Ok(()),
            false => {
                Err(refused(&old.label(), "replace", &dependents)
                    .hint("Create the new one under another name, beside it."))
            }
        }
    }
}

/// The kind and name that a `CREATE` defines, and what it does if the name exists.
pub(super) fn created(body: &Body) -> Option<(ObjectKind, &Name, IfExists)> {
    match body {
        Body::CreateSource(create) => Some((ObjectKind::Source, &create.name, create.exists)),
        Body::CreateTable(create) => Some((ObjectKind::Table, &create.name, create.exists)),
        Body::CreateView(create) => Some((create.kind, &create.name, create.exists)),
        _ => None,
    }
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
