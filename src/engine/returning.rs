//! Relations that are still recovering: a statement waits for them, and is then run again.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::select_all};

use crate::{
    error::{Error, ErrorKind},
    relations::SharedRelation,
};

/// The longest wait before a statement is retried.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The error for reading a relation that is still recovering.
pub fn recovering(label: &str) -> Error {
    Error::new(ErrorKind::Recovering, format!("{label} is still recovering"))
        .hint("tidemark.queries tells when it is back; a statement waits for it up to statement_timeout.")
}

/// Waits until one of `recovering` has recovered or failed, at most [`LOOK_AGAIN`], since others may have been added.
pub(super) async fn one_recovered(recovering: Vec<Arc<SharedRelation>>) {
    let mut waits: Vec<_> = recovering.iter().map(|shared| shared.recovered().boxed()).collect();
    waits.push(tokio::time::sleep(LOOK_AGAIN).boxed());
    select_all(waits).await;
}
