//! `DROP`: objects disappear at once, then their tasks end and files are removed.

use std::sync::Arc;

use super::executor::{DdlExecutor, refused, same_kind};
use crate::{
    catalog::{CatalogChange, ObjectKind},
    engine::{
        detached::to_its_end,
        objects::{Object, undefined},
        reply::Reply,
    },
    error::{Error, ErrorKind, Result},
    sql::statement::Drop,
};

impl DdlExecutor {
    /// `DROP …`
    pub async fn drop_objects(self: &Arc<Self>, drop: &Drop) -> Result<Reply> {
        // An object being created under the name is entered first, or not created.
        let reserved = self.catalog.reserve(drop.names.iter().map(|name| name.name.as_str())).await;
        let (ddl, drop) = (self.clone(), drop.clone());
        to_its_end(async move {
            let gone = ddl.drop_now(&drop).await?;
            std::mem::drop(reserved);
            ddl.cleanup.clear_away(gone).await;
            Ok(Reply::Done(format!("DROP {}", drop.kind.word().to_uppercase())))
        })
        .await
    }

    /// Removes objects from log and catalog. Returns them, readers before their inputs.
    async fn drop_now(&self, drop: &Drop) -> Result<Vec<Arc<Object>>> {
        let lock = self.catalog.lock().await;
        let mut gone: Vec<Arc<Object>> = Vec::new();
        for name in &drop.names {
            let object = match self.catalog.objects().find(name) {
                Ok(object) => object.clone(),
                Err(_) if drop.if_exists => continue,
                Err(_) => {
                    let mut error = undefined(name, self.catalog.objects().0.keys());
                    if drop.kind != ObjectKind::Table && drop.kind != ObjectKind::View {
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
            let others: Vec<_> = self
                .catalog
                .objects()
                .dependents(&object)
                .into_iter()
                .filter(|d| !gone.iter().any(|g| g.id == d.id))
                .collect();
            if !others.is_empty() && !drop.cascade {
                return Err(refused(&object.label(), "drop", &others)
                    .hint("Use DROP … CASCADE to drop the dependent objects too."));
            }
            gone.extend(others);
        }
        // Readers before their inputs.
        gone.sort_by_key(|object| std::cmp::Reverse(object.id));
        gone.dedup_by_key(|object| object.id);
        if !gone.is_empty() {
            lock.log_change(CatalogChange::Replace { drop: gone.iter().map(|o| o.id).collect(), create: vec![] })
                .await?;
        }
        for object in &gone {
            self.catalog.remove(object);
        }
        Ok(gone)
    }
}
