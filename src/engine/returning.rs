//! Statements over what is not back yet after a start: they wait for it, and nobody else does.

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

/// How long a statement waits at the most before it looks anew.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Runs a statement, anew each time that something is back which it had needed. Until its rows are asked for it has
    /// changed nothing.
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

    /// What has not recovered yet.
    pub(super) fn recovering(&self) -> Vec<Arc<SharedRelation>> {
        let objects = self.objects().in_order();
        let all = objects.iter().filter_map(|object| object.shared());
        all.filter(|shared| shared.is_recovering()).cloned().collect()
    }
}

/// Waits until one of some has recovered, or cannot; for a while, as something may have been made since they were listed.
pub(super) async fn one_recovered(recovering: Vec<Arc<SharedRelation>>) {
    let mut waits: Vec<_> = recovering.iter().map(|shared| shared.recovered().boxed()).collect();
    waits.push(tokio::time::sleep(LOOK_AGAIN).boxed());
    select_all(waits).await;
}
