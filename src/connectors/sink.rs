//! Where a relation's changes go.

use std::fmt;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use crate::{changes::Changes, error::Result, time::Epoch};

/// An outside system that takes the changes of a standing query, epoch by epoch.
///
/// ```text
/// open ─▶ write(5) ─▶ write(6) ─▶ …        after a crash in 6: open says 5 or 6, and 6 is written again only after 5
/// ```
#[async_trait]
pub trait Sink: Send + fmt::Debug {
    /// What a reader of the outside system may rely on.
    fn delivery(&self) -> Delivery;

    /// Takes hold of the outside system: whoever held it before under the same identity can no longer write, and what
    /// was left half done is gone or finished. Gives the last epoch that is wholly there; 0 where there is none.
    async fn open(&mut self) -> Result<Epoch>;

    /// Writes an epoch: all of it is there when this returns, together with its number, and nothing of it where it
    /// fails. Epochs come in growing order, and never one that `open` said is there.
    async fn write(&mut self, epoch: Epoch, rows: &Outgoing) -> Result<()>;
}

/// What a sink promises through `kill -9`, restart and a fault of the outside system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A row is there once.
    ExactlyOnce,
    /// A row is there once or, after a fault, more than once.
    AtLeastOnce,
    /// Rows are shown or thrown away, not kept.
    BestEffort,
}

/// The rows of one epoch.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub changes: Changes,
    /// Whether the rows are the whole answer and take the place of all that was written before.
    pub whole: bool,
}

/// What every sink is opened with.
#[derive(Debug, Clone)]
pub struct SinkDef {
    pub name: String,
    /// Names this sink, and no other of any server, for ever: what the outside system keeps for it stands under it.
    pub identity: String,
    pub schema: SchemaRef,
    /// The columns that tell rows apart, where some are known to.
    pub key: Option<Vec<usize>>,
    /// Whether rows only ever come.
    pub append_only: bool,
}
