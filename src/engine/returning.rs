//! Statements over relations that are still recovering: they wait and are retried.

use std::{sync::Arc, time::Duration};

use datafusion::common::ScalarValue;
use futures::{FutureExt, future::select_all};

use super::{Engine, Reply};
use crate::{
    error::{ErrorKind, Result},
    relations::SharedRelation,
    session::Session,
    sql::statement::Statement,
};

/// The longest wait before a statement is retried.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Runs a statement, and retries it after each recovery that it waited for. It changes nothing before it has its
    /// rows.
    pub(super) async fn dispatch_recovered(
        self: &Arc<Self>,
        session: &Session,
        statement: &Statement,
        parameters: &[ScalarValue],
    ) -> Result<Reply> {
        loop {
            let recovering = self.recovering();
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

    /// The relations that are still recovering.
    pub(super) fn recovering(&self) -> Vec<Arc<SharedRelation>> {
        let objects = self.objects().in_order();
        let all = objects.iter().filter_map(|object| object.shared());
        all.filter(|shared| shared.is_recovering()).cloned().collect()
    }
}

/// Waits until one of `recovering` has recovered or failed, at most [`LOOK_AGAIN`], since others may have been added.
pub(super) async fn one_recovered(recovering: Vec<Arc<SharedRelation>>) {
    let mut waits: Vec<_> = recovering.iter().map(|shared| shared.recovered().boxed()).collect();
    waits.push(tokio::time::sleep(LOOK_AGAIN).boxed());
    select_all(waits).await;
}
