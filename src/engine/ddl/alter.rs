//! `ALTER`: a query pauses or goes on, a source or sink forgets where it was.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::executor::{DdlExecutor, same_kind};
use crate::{
    catalog::CatalogChange,
    connectors::{self, OPEN_TIMEOUT, Source},
    engine::{
        detached::to_its_end,
        objects::{Object, ObjectState},
        reply::Reply,
    },
    error::{Error, ErrorKind, Result},
    query::Command,
    sql::statement::{Alter, AlterAction},
};

impl DdlExecutor {
    /// `ALTER … PAUSE | RESUME | RENAME TO`
    pub async fn alter(self: &Arc<Self>, alter: &Alter) -> Result<Reply> {
        let reserved = self.catalog.reserve([alter.name.name.as_str()]).await;
        let object = self.catalog.objects().find(&alter.name)?.clone();
        if !same_kind(object.kind, alter.kind) {
            return Err(Error::new(ErrorKind::WrongObjectType, format!("\"{}\" is not a {}", object.name, alter.kind)));
        }
        let ddl = self.clone();
        match (&alter.action, &object.what) {
            (AlterAction::Pause, _) => {
                to_its_end(async move {
                    let (done, wait) = oneshot::channel();
                    ddl.note_paused(&object, true).await?;
                    tell(&object, Command::Pause(done)).await?;
                    drop(reserved);
                    // A runner that has ended does not answer.
                    let _ = wait.await;
                    Ok(())
                })
                .await?;
            }
            (AlterAction::Resume, _) => {
                to_its_end(async move {
                    ddl.note_paused(&object, false).await?;
                    let _reserved = reserved;
                    tell(&object, Command::Resume).await
                })
                .await?;
            }
            (AlterAction::ResetOffsets, ObjectState::Source { source, .. }) => {
                let label = object.label();
                let reset = async { source.reset().await.map_err(|e| e.context(&label)) };
                connectors::within(self.open_timeout, OPEN_TIMEOUT, &label, reset).await?;
            }
            (AlterAction::ResetOffsets, ObjectState::Sink { handle, .. }) => handle.tell(Command::GoOn).await,
            (AlterAction::ResetOffsets, _) => return Err(Error::internal("only sources and sinks have offsets")),
            (AlterAction::RenameTo(_), _) => {
                return Err(Error::unsupported(format!("ALTER {} … RENAME", alter.kind.word().to_uppercase()))
                    .hint("Create it under the other name, beside this one."));
            }
        }
        Ok(Reply::Done(format!("ALTER {}", alter.kind.word().to_uppercase())))
    }

    /// Logs that a query is paused, or not.
    async fn note_paused(&self, object: &Object, paused: bool) -> Result<()> {
        let lock = self.catalog.lock().await;
        if object.handle().is_none() {
            let message = format!("{} does not run by itself", object.label());
            return Err(Error::new(ErrorKind::WrongObjectType, message));
        }
        if self.catalog.object(object.id).is_none() {
            return Err(Error::new(ErrorKind::UndefinedTable, format!("{} is gone", object.label())));
        }
        lock.log_change(CatalogChange::Paused { id: object.id, paused }).await
    }
}

/// Sends a command to the runner of an object.
async fn tell(object: &Object, command: Command) -> Result<()> {
    let handle = object.handle().ok_or_else(|| Error::internal("it does not run by itself"))?;
    handle.tell(command).await;
    Ok(())
}
