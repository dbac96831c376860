//! What all DDL shares.

use std::{sync::Arc, time::Duration};

use crate::{
    catalog::ObjectKind,
    engine::{
        build::ObjectBuilder, cleanup::ObjectCleanup, continuous::ContinuousQueries, detached::to_its_end,
        functions::UserFunctions, live_catalog::LiveCatalog, objects::Object, reply::Reply, secrets::Secrets,
        statement_planner::StatementPlanner,
    },
    error::{Error, ErrorKind, Result},
    sql::statement::{CreateSecret, DropSecrets},
};

/// Runs DDL. A statement that has begun to change the catalog goes on to its end, even if its client is gone.
#[derive(Debug)]
pub struct DdlExecutor {
    pub(in crate::engine) catalog: Arc<LiveCatalog>,
    pub(in crate::engine) statements: Arc<StatementPlanner>,
    pub(in crate::engine) secrets: Arc<Secrets>,
    pub(in crate::engine) functions: Arc<UserFunctions>,
    pub(in crate::engine) queries: Arc<ContinuousQueries>,
    pub(in crate::engine) builder: Arc<ObjectBuilder>,
    pub(in crate::engine) cleanup: ObjectCleanup,
    /// How long an outside system may take.
    pub(in crate::engine) open_timeout: Duration,
    /// Only columns are needed, and no rows.
    pub(in crate::engine) rehearsal: bool,
}

impl DdlExecutor {
    /// `CREATE SECRET`. The sinks that use it continue with its new value.
    pub async fn create_secret(self: &Arc<Self>, create: &CreateSecret) -> Result<Reply> {
        let (ddl, create) = (self.clone(), create.clone());
        to_its_end(async move {
            let lock = ddl.catalog.lock().await;
            let name = create.name.clone();
            if ddl.secrets.create(&lock, create).await? {
                ddl.queries.refit_users_of(&name).await;
            }
            Ok(Reply::Done("CREATE SECRET".to_string()))
        })
        .await
    }

    /// `DROP SECRET`
    pub async fn drop_secrets(self: &Arc<Self>, drop: &DropSecrets) -> Result<Reply> {
        let (ddl, drop) = (self.clone(), drop.clone());
        to_its_end(async move {
            let lock = ddl.catalog.lock().await;
            ddl.secrets.remove(&lock, drop).await?;
            Ok(Reply::Done("DROP SECRET".to_string()))
        })
        .await
    }
}

/// `DROP STREAM` and `DROP MATERIALIZED VIEW` are one statement with two names.
pub(super) fn same_kind(is: ObjectKind, said: ObjectKind) -> bool {
    let kept = |kind| matches!(kind, ObjectKind::Stream | ObjectKind::MaterializedView);
    is == said || (kept(is) && kept(said))
}

/// The error that objects depend on what is to be dropped or replaced.
pub(super) fn refused(what: &str, verb: &str, dependents: &[Arc<Object>]) -> Error {
    let list: Vec<String> = dependents.iter().map(|d| format!("{} depends on {what}", d.label())).collect();
    Error::new(ErrorKind::DependentObjects, format!("cannot {verb} {what} because other objects depend on it"))
        .detail(list.join("\n"))
}
